//! Visits to the site over its own port, and what came of them. Time is driven by hand, so that lifetimes pass in a
//! moment; only the origin really takes its 30 ms.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use larder::{Cache, ManualClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::pages::Pages;
use crate::site::{self, Site};

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The header `x-cache`.
    pub(crate) fn source(&self) -> &str {
        self.header("x-cache")
    }
}

/// One request on a connection of its own. `more` are headers, each with its line's end.
pub(crate) async fn request(at: SocketAddr, what: &str, more: &str, body: &str) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(at).await?;
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

/// A site on a port of its own, and its clock.
pub(crate) struct Demo {
    pub(crate) at: SocketAddr,
    pub(crate) site: Arc<Site>,
    pub(crate) clock: ManualClock,
}

impl Demo {
    pub(crate) async fn start() -> Result<Demo, String> {
        let clock = ManualClock::new(1_700_000_000_000);
        let cache = Cache::builder().max_memory(16 << 20).clock(clock.clone()).name("pages").build();
        let site = Site::new(Pages::new(cache.map_err(|e| e.to_string())?, Duration::from_secs(60)));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
        let at = listener.local_addr().map_err(|e| e.to_string())?;
        let router = site::router(Arc::clone(&site));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Demo { at, site, clock })
    }

    async fn visit(&self, what: &str, more: &str, body: &str) -> Result<Reply, String> {
        let begun = Instant::now();
        let reply = request(self.at, what, more, body).await.map_err(|e| format!("{what}: {e}"))?;
        let (status, source, ms) = (reply.status, reply.source(), begun.elapsed().as_millis());
        println!("  {what:<18} {:<30} {status} {source:<8} {ms:>3} ms", more.trim_end());
        Ok(reply)
    }

    async fn get(&self, path: &str, more: &str) -> Result<Reply, String> {
        self.visit(&format!("GET {path}"), more, "").await
    }

    fn asked(&self) {
        println!("  the origin was asked {} time(s)\n", self.site.origin.asked());
    }

    /// Everything, one after the other.
    pub(crate) async fn play(&self) -> Result<(), String> {
        println!("A page is loaded once, and kept for a minute. Each language is a page of its own.");
        let first = self.get("/articles/1", "").await?;
        self.get("/articles/1", "").await?;
        self.get("/articles/1", "accept-language: de-AT\r\n").await?;
        self.get("/articles/1", "accept-language: de\r\n").await?;
        let known = format!("if-none-match: {}\r\n", first.header("etag"));
        self.get("/articles/1", &known).await?;
        self.asked();

        println!("Twenty visitors at once want what is not there.");
        let crowd: Vec<_> = (0..20).map(|_| tokio::spawn(request(self.at, "GET /articles/2", "", ""))).collect();
        for visitor in crowd {
            visitor.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        }
        self.asked();

        println!(
            "What must not be stored is not: a visitor's wish, a private page. That a page is missing is known for 5 s."
        );
        self.get("/articles/1", "cache-control: no-store\r\n").await?;
        self.get("/account/ann", "").await?;
        self.get("/account/ann", "").await?;
        self.get("/articles/9", "").await?;
        self.get("/articles/9", "").await?;
        self.asked();

        println!("A change: the article and the list in which it is are forgotten at once, in all languages.");
        self.get("/articles", "").await?;
        self.visit("POST /articles/1", "", "another text").await?;
        self.get("/articles/1", "").await?;
        self.get("/articles/1", "accept-language: de\r\n").await?;
        self.get("/articles", "").await?;
        self.asked();

        println!("52 seconds later one visitor loads the page anew; the others get the old one meanwhile.");
        self.clock.advance(Duration::from_secs(52));
        let (ahead, meanwhile) = tokio::join!(self.get("/articles/1", ""), async {
            while self.site.pages.cache().load_stats().refreshes == 0 {
                tokio::task::yield_now().await;
            }
            self.get("/articles/1", "").await
        });
        let (_, _) = (ahead?, meanwhile?);
        self.asked();

        println!("The origin is down: what was kept is there still, also for who would load it anew.");
        self.site.origin.is_down.store(true, SeqCst);
        self.clock.advance(Duration::from_secs(52));
        self.get("/articles/1", "").await?;
        self.get("/articles/2", "").await?;
        self.site.origin.is_down.store(false, SeqCst);
        self.asked();

        println!("GET /stats");
        print!("{}", request(self.at, "GET /stats", "", "").await.map_err(|e| e.to_string())?.body);
        Ok(())
    }
}
