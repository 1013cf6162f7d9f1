//! What is behind the cache: slow, and it counts how often it is asked.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::pages::{Answer, Failure, Page};

/// How long it thinks.
const DELAY: Duration = Duration::from_millis(30);

/// Articles in two languages.
#[derive(Debug)]
pub(crate) struct Origin {
    texts: Mutex<BTreeMap<u32, String>>,
    asked: AtomicU64,
    pub(crate) is_down: AtomicBool,
}

impl Origin {
    pub(crate) fn new() -> Origin {
        let texts = (1..=3).map(|id| (id, format!("text {id}"))).collect();
        Origin { texts: Mutex::new(texts), asked: AtomicU64::new(0), is_down: AtomicBool::new(false) }
    }

    /// How often it was asked since this was asked last.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.swap(0, SeqCst)
    }

    pub(crate) fn write(&self, id: u32, text: String) {
        self.lock().insert(id, text);
    }

    /// One article; its tag is its own.
    pub(crate) async fn article(&self, id: u32, language: &str) -> Result<Answer, Failure> {
        self.think().await?;
        let Some(text) = self.lock().get(&id).cloned() else { return Ok(Answer::Missing) };
        Ok(Answer::Public { page: page(format!("[{language}] {text}\n")), tags: vec![format!("article:{id}")] })
    }

    /// The list of all, which changes with each of them. (A tag for each article in it would be as good, but an item
    /// has at most 16 tags.)
    pub(crate) async fn list(&self, language: &str) -> Result<Answer, Failure> {
        self.think().await?;
        let texts = self.lock();
        let body = texts.iter().map(|(id, text)| format!("[{language}] {id}: {text}\n")).collect();
        Ok(Answer::Public { page: page(body), tags: vec!["articles".to_owned()] })
    }

    /// What only one visitor may see.
    pub(crate) async fn account(&self, visitor: &str) -> Result<Answer, Failure> {
        self.think().await?;
        Ok(Answer::Private(page(format!("the account of {visitor}\n"))))
    }

    async fn think(&self) -> Result<(), Failure> {
        self.asked.fetch_add(1, SeqCst);
        tokio::time::sleep(DELAY).await;
        if self.is_down.load(SeqCst) { Err("the origin is down".to_owned()) } else { Ok(()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, String>> {
        self.texts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn page(body: String) -> Page {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    Page { etag: format!("\"{:016x}\"", hasher.finish()), body }
}
