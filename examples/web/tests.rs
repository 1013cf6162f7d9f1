//! The site as its visitors see it.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::demo::{Demo, Reply, request};

impl Demo {
    async fn fetch(&self, what: &str, more: &str, body: &str) -> Reply {
        request(self.at, what, more, body).await.unwrap()
    }

    /// Status and source.
    async fn look(&self, path: &str, more: &str) -> (u16, String) {
        let reply = self.fetch(&format!("GET {path}"), more, "").await;
        (reply.status, reply.source().to_owned())
    }
}

fn is(status: u16, source: &str) -> (u16, String) {
    (status, source.to_owned())
}

#[tokio::test]
async fn pages_are_kept_by_language_until_their_end() {
    let demo = Demo::start().await.unwrap();
    assert_eq!(demo.look("/articles/1", "").await, is(200, "MISS"));
    assert_eq!(demo.look("/articles/1", "accept-language: fr\r\n").await, is(200, "HIT"));
    assert_eq!(demo.look("/articles/1", "accept-language: DE-at, en\r\n").await, is(200, "MISS"));
    demo.clock.advance(Duration::from_secs(49));
    assert_eq!(demo.look("/articles/1", "").await, is(200, "HIT"));
    demo.clock.advance(Duration::from_secs(1));
    assert_eq!(demo.look("/articles/1", "").await, is(200, "REFRESH"));
    assert_eq!(demo.look("/articles/1", "").await, is(200, "HIT"));
    demo.clock.advance(Duration::from_secs(60));
    assert_eq!(demo.look("/articles/1", "").await, is(200, "MISS"));
    assert_eq!(demo.site.origin.asked(), 4);
}

#[tokio::test]
async fn who_has_a_page_is_told_so() {
    let demo = Demo::start().await.unwrap();
    let page = demo.fetch("GET /articles/1", "", "").await;
    assert_eq!((page.header("vary"), page.header("cache-control")), ("accept-language", "public, max-age=60"));
    let known = format!("if-none-match: \"other\", W/{}\r\n", page.header("etag"));
    let again = demo.fetch("GET /articles/1", &known, "").await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", page.header("etag")));
    demo.fetch("POST /articles/1", "", "new").await;
    assert_eq!(demo.look("/articles/1", &known).await, is(200, "MISS"), "another version");
}

#[tokio::test]
async fn what_must_not_be_stored_is_not() {
    let demo = Demo::start().await.unwrap();
    assert_eq!(demo.look("/articles/1", "cache-control: max-age=0, No-Store\r\n").await, is(200, "BYPASS"));
    assert_eq!(demo.look("/articles/1", "").await, is(200, "MISS"));
    let (ann, ben, ann_too) = tokio::join!(
        demo.fetch("GET /account/ann", "", ""),
        demo.fetch("GET /account/ben", "", ""),
        demo.fetch("GET /account/ann", "", ""),
    );
    for (reply, name) in [(&ann, "ann"), (&ben, "ben"), (&ann_too, "ann")] {
        assert_eq!((reply.source(), reply.header("cache-control")), ("BYPASS", "no-store"));
        assert!(reply.body.contains(name));
    }
    assert_eq!(demo.site.origin.asked(), 2 + 3, "each private page is a request of its own");
    assert_eq!(demo.site.pages.cache().len(), 1);
}

#[tokio::test]
async fn a_change_is_seen_everywhere_at_once() {
    let demo = Demo::start().await.unwrap();
    assert_eq!(demo.look("/articles/9", "").await, is(404, "MISS"));
    assert_eq!(demo.look("/articles/9", "").await, is(404, "HIT"));
    for path in ["/articles", "/articles/1", "/articles/2"] {
        assert_eq!(demo.look(path, "").await, is(200, "MISS"));
    }
    assert_eq!(demo.fetch("POST /articles/9", "", "nine").await.status, 204);
    assert_eq!(demo.look("/articles/9", "").await, is(200, "MISS"));
    assert!(demo.fetch("GET /articles", "", "").await.body.contains("9: nine"));
    for path in ["/articles", "/articles/1", "/articles/2"] {
        assert_eq!(demo.look(path, "").await, is(200, "HIT"));
    }
}

#[tokio::test]
async fn many_visitors_and_one_load_also_when_it_fails() {
    let demo = Demo::start().await.unwrap();
    demo.site.origin.is_down.store(true, SeqCst);
    let crowd = || (0..10).map(|_| tokio::spawn(request(demo.at, "GET /articles/1", "", ""))).collect::<Vec<_>>();
    for visitor in crowd() {
        let reply = visitor.await.unwrap().unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (502, "the origin is down\n"));
    }
    demo.site.origin.is_down.store(false, SeqCst);
    demo.site.origin.asked();
    for visitor in crowd() {
        assert_eq!(visitor.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(demo.site.origin.asked(), 1);
    demo.clock.advance(Duration::from_secs(55));
    demo.site.origin.is_down.store(true, SeqCst);
    assert_eq!(demo.look("/articles/1", "").await, is(200, "REFRESH"), "the old one is good still");
}

#[tokio::test]
async fn figures() {
    let demo = Demo::start().await.unwrap();
    demo.look("/articles/1", "").await;
    demo.look("/articles/1", "").await;
    assert!(demo.fetch("GET /stats", "", "").await.body.contains("look-ups 2, hits 1, misses 1\n"));
    let metrics = demo.fetch("GET /metrics", "", "").await.body;
    assert!(metrics.contains("larder_get_hits_total{cache=\"pages\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn the_demo_plays() {
    Demo::start().await.unwrap().play().await.unwrap();
}
