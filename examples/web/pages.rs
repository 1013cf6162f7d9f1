//! A cache of responses: this file is what to copy. It knows nothing of the web framework.

use std::future::Future;
use std::time::Duration;

use larder::{Cache, Load, LoadError, LoadOptions, SetOptions, TypedCache};
use serde::{Deserialize, Serialize};

/// A response, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) etag: String,
    pub(crate) body: String,
}

/// What the origin answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// For everybody; to be forgotten when one of its tags is invalidated.
    Public {
        page: Page,
        tags: Vec<String>,
    },
    /// `cache-control: no-store`: for this visitor alone.
    Private(Page),
    Missing,
}

/// The origin has failed; the text says why.
pub(crate) type Failure = String;

/// Where a response came from: the header `x-cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the cache, or from a load that another visitor had begun.
    Hit,
    /// From the origin.
    Miss,
    /// From the origin, ahead of the end of what was there: the others get the old one meanwhile.
    Refresh,
    /// From the origin, past the cache.
    Bypass,
}

impl Source {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Hit => "HIT",
            Source::Miss => "MISS",
            Source::Refresh => "REFRESH",
            Source::Bypass => "BYPASS",
        }
    }
}

/// Why a load has brought nothing that can be kept.
#[derive(Debug)]
enum NotKept {
    Private,
    Failed(Failure),
}

impl std::fmt::Display for NotKept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotKept::Private => f.write_str("the page is private"),
            NotKept::Failed(why) => f.write_str(why),
        }
    }
}

/// The cache of responses.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    pages: TypedCache<String, Page>,
    options: LoadOptions,
    ttl: Duration,
}

impl Pages {
    /// Responses live for `ttl`. In the last sixth of that the first who asks brings a new one. That there is no such
    /// page is remembered for a twelfth.
    pub(crate) fn new(cache: Cache, ttl: Duration) -> Pages {
        let options = LoadOptions::new().refresh_ahead(ttl / 6).negative_ttl(ttl / 12);
        Pages { pages: TypedCache::new(cache), options, ttl }
    }

    /// The cache below: for its figures.
    pub(crate) fn cache(&self) -> &Cache {
        self.pages.cache()
    }

    /// How long a response may be kept elsewhere.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A response, or None if there is no such page. However many ask at once, the origin is asked once.
    pub(crate) async fn get<F>(&self, key: &str, ask: impl Fn() -> F) -> Result<(Option<Page>, Source), Failure>
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        let (mut source, mut own) = (Source::Hit, None);
        let load = async {
            // Only where this visitor's loader runs.
            source = if self.pages.contains_key(key) { Source::Refresh } else { Source::Miss };
            match ask().await.map_err(NotKept::Failed)? {
                Answer::Public { page, tags } => Ok(Load::With(page, SetOptions::new().ttl(self.ttl).tags(tags))),
                Answer::Missing => Ok(Load::Absent),
                Answer::Private(page) => {
                    own = Some(page);
                    Err(NotKept::Private)
                }
            }
        };
        match self.pages.load_async(key, &self.options, load).await {
            Ok(page) => Ok((page, source)),
            Err(LoadError::Loader(why)) => match (&*why, own) {
                (NotKept::Failed(failure), _) => Err(failure.clone()),
                (NotKept::Private, Some(page)) => Ok((Some(page), Source::Bypass)),
                // Who has waited for another's private page asks for his own.
                (NotKept::Private, None) => self.past_the_cache(ask).await,
            },
            Err(error) => Err(error.to_string()),
        }
    }

    /// A response from the origin, which is not kept.
    pub(crate) async fn past_the_cache<F>(&self, ask: impl Fn() -> F) -> Result<(Option<Page>, Source), Failure>
    where
        F: Future<Output = Result<Answer, Failure>>,
    {
        let page = match ask().await? {
            Answer::Public { page, .. } | Answer::Private(page) => Some(page),
            Answer::Missing => None,
        };
        Ok((page, Source::Bypass))
    }

    /// Forgets all responses with a tag, however many, at once; also those that are being loaded.
    pub(crate) fn forget(&self, tag: &str) {
        self.cache().invalidate_tag(tag);
    }

    /// Forgets that there is no such page.
    pub(crate) fn forget_absence(&self, key: &str) {
        self.pages.invalidate(key);
    }
}
