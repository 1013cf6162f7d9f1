//! The routes: what a request means for the cache, and what its answer looks like.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use larder::{Cache, MetricsPublisher};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::sync::Mutex;

use crate::origin::Origin;
use crate::pages::{Failure, Page, Pages, Source};

/// What all handlers share.
pub(crate) struct Site {
    pub(crate) pages: Pages,
    pub(crate) origin: Origin,
    exposition: Mutex<(PrometheusRecorder, MetricsPublisher)>,
}

impl Site {
    pub(crate) fn new(pages: Pages) -> Arc<Site> {
        let publisher = MetricsPublisher::new(pages.cache());
        let exposition = Mutex::new((PrometheusBuilder::new().build_recorder(), publisher));
        Arc::new(Site { pages, origin: Origin::new(), exposition })
    }
}

pub(crate) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/articles", get(list))
        .route("/articles/{id}", get(article).post(write))
        .route("/account/{visitor}", get(account))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .with_state(site)
}

/// A key of the cache: what a response depends on, which is the path and, as `vary` says, the language.
fn key(path: &str, language: &str) -> String {
    format!("{path} {language}")
}

/// One of the languages that there are: anything finer would be a key of its own, and seldom a hit.
fn language(headers: &HeaderMap) -> &'static str {
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted.trim_start().to_ascii_lowercase().starts_with("de") { "de" } else { "en" }
}

/// Whether the visitor wants nothing stored.
fn is_no_store(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-store"))
}

/// Whether the visitor has this version already.
fn has_it(headers: &HeaderMap, page: &Page) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag == page.etag)
}

async fn article(State(site): State<Arc<Site>>, Path(id): Path<u32>, headers: HeaderMap) -> Response {
    let language = language(&headers);
    let ask = || site.origin.article(id, language);
    let found = match is_no_store(&headers) {
        true => site.pages.past_the_cache(ask).await,
        false => site.pages.get(&key(&format!("/articles/{id}"), language), ask).await,
    };
    response(&site, &headers, found)
}

async fn list(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let language = language(&headers);
    let ask = || site.origin.list(language);
    let found = match is_no_store(&headers) {
        true => site.pages.past_the_cache(ask).await,
        false => site.pages.get(&key("/articles", language), ask).await,
    };
    response(&site, &headers, found)
}

async fn account(State(site): State<Arc<Site>>, Path(visitor): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("/account/{visitor}");
    let found = site.pages.get(&key(&path, language(&headers)), || site.origin.account(&visitor)).await;
    response(&site, &headers, found)
}

/// First the origin is changed, then everything is forgotten that showed what was there before.
async fn write(State(site): State<Arc<Site>>, Path(id): Path<u32>, text: String) -> StatusCode {
    site.origin.write(id, text);
    site.pages.forget(&format!("article:{id}"));
    site.pages.forget("articles");
    ["en", "de"].iter().for_each(|language| site.pages.forget_absence(&key(&format!("/articles/{id}"), language)));
    StatusCode::NO_CONTENT
}

fn response(site: &Site, headers: &HeaderMap, found: Result<(Option<Page>, Source), Failure>) -> Response {
    let (page, source) = match found {
        Ok((Some(page), source)) => (page, source),
        Ok((None, source)) => return (StatusCode::NOT_FOUND, [("x-cache", source.name())]).into_response(),
        Err(why) => return (StatusCode::BAD_GATEWAY, format!("{why}\n")).into_response(),
    };
    let kept = match source {
        Source::Bypass => "no-store".to_owned(),
        _ => format!("public, max-age={}", site.pages.ttl().as_secs()),
    };
    let about = [
        (header::ETAG, page.etag.clone()),
        (header::CACHE_CONTROL, kept),
        (header::VARY, "accept-language".to_owned()),
        (header::HeaderName::from_static("x-cache"), source.name().to_owned()),
    ];
    match has_it(headers, &page) {
        true => (StatusCode::NOT_MODIFIED, about).into_response(),
        false => (about, page.body).into_response(),
    }
}

/// The figures for people.
async fn stats(State(site): State<Arc<Site>>) -> String {
    summary(site.pages.cache())
}

pub(crate) fn summary(cache: &Cache) -> String {
    let (stats, memory, loads) = (cache.stats(), cache.memory(), cache.load_stats());
    format!(
        "items {}, {} of {} bytes used\nlook-ups {}, hits {}, misses {}\n\
         loads {}, of them ahead {}, failed {}; visitors that waited for one {}, told of an absence {}\n",
        cache.len(),
        memory.used,
        memory.limit,
        stats.gets,
        stats.hits,
        stats.misses,
        loads.loads,
        loads.refreshes,
        loads.failures,
        loads.waits,
        loads.known_absent,
    )
}

/// The figures for Prometheus.
async fn metrics(State(site): State<Arc<Site>>) -> String {
    let (recorder, publisher) = &mut *site.exposition.lock().await;
    ::metrics::with_local_recorder(recorder, || publisher.publish());
    recorder.handle().render()
}
