//! A memcached server on a larder cache: sockets, threads and options around `larder::protocol::memcached`.
//!
//! ```sh
//! cargo run --release --example memcached --features memcached -- -m 1024 -t 2
//! printf 'set k 0 60 5\r\nhello\r\nget k\r\nquit\r\n' | nc 127.0.0.1 11211
//! ```
//! It takes memcached's options; `--help` lists them. Only this machine's clients are let in unless `--allow` names
//! networks. SIGTERM and SIGINT end it after replies that are ready are sent; SIGHUP has it read its files again.

mod extended;
mod front;
mod options;
mod process;
mod serve;

#[path = "../support/net/mod.rs"]
mod net;

use std::process::ExitCode;

use options::{Asked, HELP, Options};

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Serve(options)) => options,
        Ok(Asked::Help) => {
            print!("{HELP}");
            #[cfg(feature = "example-tls")]
            print!("{}", options::TLS_HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            println!("memcached {} (larder)", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Licence) => {
            println!("larder {}: {}", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_LICENSE"));
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("memcached: {message}\nTry --help.");
            // EX_USAGE
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("memcached: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    if options.daemon && !process::is_background() {
        return process::start_background();
    }
    if options.daemon {
        process::leave_session()?;
    }
    serve::serve(options)?;
    Ok(ExitCode::SUCCESS)
}
