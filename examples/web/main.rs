//! A web server that keeps its responses: load-through of pages from a slow origin, one load however many visitors want
//! it, reloading ahead of the end, keys by language (`vary`), `no-store`, `etag` and 304, absences, invalidation by
//! tag, `x-cache`, and the figures at `/stats` and `/metrics`.
//!
//! ```sh
//! cargo run --release --all-features --example web                              # visits itself, and ends
//! cargo run --release --all-features --example web -- --listen 127.0.0.1:8080   # serves
//! ```
//! ```text
//!  request ─► site (routes, headers) ─► pages (the cache) ─► origin (slow)
//!                demo (visits)
//! ```

mod demo;
mod origin;
mod pages;
mod site;
#[cfg(test)]
mod tests;

#[path = "../support/command.rs"]
mod command;

use std::process::ExitCode;
use std::time::Duration;

use command::Parsed;
use larder::Cache;
use lexopt::prelude::*;
use pages::Pages;
use site::Site;

const HELP: &str = "\
A web server that keeps its responses in a larder.

Usage: web [options]

Without options it serves on a free port of this machine, visits itself, prints what came of it, and ends.

  --listen ADDR   serve on this address until it is stopped: 127.0.0.1:8080
  -h, --help      this text

Pages: /articles, /articles/1 (GET, and POST of a text), /account/NAME, /stats, /metrics
";

/// The address to serve on, if it was given.
fn parse(mut parser: lexopt::Parser) -> Result<Parsed<Option<String>>, String> {
    let mut listen = None;
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Long("listen") => {
                let address = parser.value().map_err(|e| e.to_string())?;
                listen = Some(address.string().map_err(|e| e.to_string())?);
            }
            Short('h') | Long("help") => return Ok(Parsed::Help),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Parsed::Run(listen))
}

fn main() -> ExitCode {
    command::run("web", HELP, parse(lexopt::Parser::from_env()), |listen| {
        let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            match listen {
                Some(address) => serve(address).await,
                None => demo::Demo::start().await?.play().await,
            }
        })
    })
}

async fn serve(address: &str) -> Result<(), String> {
    let cache = Cache::builder().max_memory(64 << 20).name("pages").build().map_err(|e| e.to_string())?;
    let site = Site::new(Pages::new(cache, Duration::from_secs(60)));
    let listener =
        tokio::net::TcpListener::bind(address).await.map_err(|e| format!("cannot serve on {address}: {e}"))?;
    println!("serving on http://{}/articles", listener.local_addr().map_err(|e| e.to_string())?);
    axum::serve(listener, site::router(site)).await.map_err(|e| e.to_string())
}
