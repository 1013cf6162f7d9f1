//! A cache's figures through the `metrics` facade: for whichever exporter the program has installed (feature
//! `metrics`).
//!
//! Names and units are Prometheus': what only grows ends in `_total`, bytes in `_bytes`, times in `_seconds`. There are
//! three sets, and `docs/observability.md` lists them:
//!
//! - `larder_...`: everything that is counted or measured, classes and shards with a label of their own;
//! - `larder_memcached_...` and `larder_redis_...`: the metrics of [`View`], which operators know under such names.
//!
//! 1. A counter is given its total, never a difference: whatever is lost between two publications is made up for by
//!    the next.
//! 2. The facade's types are not part of the API: its next version is none of larder's.

mod table;
mod thread;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit};

use crate::api::Cache;
use crate::curve::MissRatioCurve;
use crate::stats::{ClassStats, Metric, MetricKind, ShardStats, View};

#[cfg(feature = "snapshot")]
use table::SNAPSHOTS;
use table::{CLASSES, Figure, GLOBAL, Kind, LOG, Measure, SHARDS, Scale};
pub use thread::PublishingThread;

const METADATA: Metadata<'static> = Metadata::new("larder", Level::INFO, Some(module_path!()));

/// Publishes the figures of one cache, whenever it is asked to, or [regularly](Self::every).
///
/// Every metric has the label `cache`, the cache's name, and those that were added. Counters are totals since the cache
/// was built; `larder_memcached_new_items` and `larder_estimated_miss_ratio` are of the time since the last
/// publication. Publishing takes each shard's lock a few times; it costs some hundred microseconds.
///
/// # Examples
/// With `metrics-exporter-prometheus` or another exporter installed:
/// ```
/// use larder::{Cache, MetricsPublisher};
/// use std::time::Duration;
/// let cache = Cache::builder().max_memory(1 << 20).name("sessions").build()?;
/// let mut publisher = MetricsPublisher::new(&cache).cluster_id("shop").node_id("0001");
/// publisher.publish();
/// let _publishing = publisher.every(Duration::from_secs(10))?;
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a publisher does nothing until `publish` or `every` is called"]
pub struct MetricsPublisher {
    cache: Cache,
    labels: Vec<Label>,
    views: Vec<View>,
    /// What `NewItems` was at the last publication.
    new_items: u64,
    curve: Option<MissRatioCurve>,
    /// Classes that had a page once: the others are left out.
    classes: Vec<bool>,
}

impl MetricsPublisher {
    /// A publisher of this cache's figures. It is a handle: the cache lives while it does.
    ///
    /// # Examples
    /// See [`MetricsPublisher`].
    pub fn new(cache: &Cache) -> Self {
        MetricsPublisher {
            cache: cache.clone(),
            labels: vec![Label::new("cache", cache.name().to_owned())],
            views: vec![View::Memcached, View::Redis],
            new_items: 0,
            curve: None,
            classes: Vec::new(),
        }
    }

    /// Adds a label to all metrics, in place of one of the same name.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, MetricsPublisher};
    /// let publisher = MetricsPublisher::new(&Cache::new(1 << 20)?).label("zone", "a");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.labels.retain(|label| label.key() != name);
        self.labels.push(Label::new(name, value.into()));
        self
    }

    /// Adds the label `CacheClusterId`.
    ///
    /// # Examples
    /// See [`MetricsPublisher`].
    pub fn cluster_id(self, id: impl Into<String>) -> Self {
        self.label("CacheClusterId", id)
    }

    /// Adds the label `CacheNodeId`.
    ///
    /// # Examples
    /// See [`MetricsPublisher`].
    pub fn node_id(self, id: impl Into<String>) -> Self {
        self.label("CacheNodeId", id)
    }

    /// Which views' metrics are published beside larder's own. Both, unless said otherwise.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, MetricsPublisher, View};
    /// let publisher = MetricsPublisher::new(&Cache::new(1 << 20)?).views(&[View::Redis]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn views(mut self, views: &[View]) -> Self {
        self.views = views.to_vec();
        self
    }

    /// Publishes everything now. Without an exporter nothing happens.
    ///
    /// # Examples
    /// See [`MetricsPublisher`].
    pub fn publish(&mut self) {
        // All is measured before the exporter, which is somebody else's code, is asked for anything.
        let measure =
            Measure { stats: self.cache.stats(), memory: self.cache.memory(), loads: self.cache.load_stats() };
        let (classes, shards) = (self.cache.classes(), self.cache.shards());
        let views: Vec<(View, Vec<Metric>)> = self.views.iter().map(|&v| (v, self.cache.metrics(v))).collect();
        let curve = self.cache.miss_ratio_curve();
        let log = self.cache.log_status();
        #[cfg(feature = "snapshot")]
        let snapshots = self.cache.snapshot_stats();
        metrics::with_recorder(|recorder| {
            for figure in &GLOBAL {
                self.figure(recorder, figure, (figure.read)(&measure), &[]);
            }
            for figure in &LOG {
                self.figure(recorder, figure, (figure.read)(&log), &[]);
            }
            #[cfg(feature = "snapshot")]
            for figure in &SNAPSHOTS {
                self.figure(recorder, figure, (figure.read)(&snapshots), &[]);
            }
            self.publish_classes(recorder, &classes);
            self.publish_shards(recorder, &shards);
            for (view, metrics) in views {
                metrics.into_iter().for_each(|metric| self.view_metric(recorder, view, metric));
            }
            if let Some(curve) = curve {
                self.publish_curve(recorder, curve);
            }
        });
    }

    /// Publishes on a thread of its own, at once and then once a period, until what is returned is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig) if the period is zero,
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) if the system refuses a thread.
    ///
    /// # Examples
    /// See [`MetricsPublisher`].
    pub fn every(self, period: std::time::Duration) -> crate::Result<PublishingThread> {
        PublishingThread::start(self, period)
    }

    fn key(&self, name: impl Into<KeyName>, more: &[Label]) -> Key {
        Key::from_parts(name, self.labels.iter().chain(more).cloned().collect::<Vec<Label>>())
    }

    fn figure<M>(&self, recorder: &dyn Recorder, figure: &Figure<M>, value: u64, more: &[Label]) {
        let (name, key) = (KeyName::from_const_str(figure.name), self.key(figure.name, more));
        let help = SharedString::const_str(figure.help);
        let scaled = value as f64 * figure.scale.factor();
        match figure.kind {
            Kind::Counter if figure.scale.factor() == 1.0 => {
                recorder.describe_counter(name, Some(figure.scale.unit()), help);
                recorder.register_counter(&key, &METADATA).absolute(value);
            }
            // The facade's counters are whole numbers: seconds that only grow have to be a gauge.
            Kind::Counter | Kind::Gauge => {
                recorder.describe_gauge(name, Some(figure.scale.unit()), help);
                recorder.register_gauge(&key, &METADATA).set(scaled);
            }
        }
    }

    fn publish_classes(&mut self, recorder: &dyn Recorder, classes: &[ClassStats]) {
        self.classes.resize(classes.len(), false);
        for (class, seen) in classes.iter().zip(&mut self.classes) {
            *seen |= class.pages > 0;
        }
        for (class, _) in classes.iter().zip(&self.classes).filter(|(_, seen)| **seen) {
            let label = [Label::new("chunk_size", class.chunk_size.to_string())];
            for figure in &CLASSES {
                self.figure(recorder, figure, (figure.read)(class), &label);
            }
        }
    }

    fn publish_shards(&self, recorder: &dyn Recorder, shards: &[ShardStats]) {
        for (number, shard) in shards.iter().enumerate() {
            let label = [Label::new("shard", number.to_string())];
            for figure in &SHARDS {
                self.figure(recorder, figure, (figure.read)(shard), &label);
            }
        }
    }

    fn view_metric(&mut self, recorder: &dyn Recorder, view: View, metric: Metric) {
        let name = KeyName::from(view_name(view, &metric));
        let key = self.key(name.clone(), &[]);
        let owner = match view {
            View::Memcached => "memcached",
            View::Redis => "Redis",
        };
        let help = SharedString::from(format!("{} of the {owner} engine's metrics.", metric.name));
        let unit = Some(unit_of(&metric).unit());
        if metric.kind == MetricKind::Counter {
            recorder.describe_counter(name, unit, help);
            recorder.register_counter(&key, &METADATA).absolute(metric.value);
            return;
        }
        let value = match metric.kind {
            // A count that is derived is what was added since the last time; derived bytes are an amount.
            MetricKind::Derived if metric.unit == "Count" => {
                let before = std::mem::replace(&mut self.new_items, metric.value);
                metric.value.saturating_sub(before)
            }
            _ => metric.value,
        };
        recorder.describe_gauge(name, unit, help);
        recorder.register_gauge(&key, &METADATA).set(value as f64);
    }

    /// The curve of the time since the last publication, if there were reads.
    fn publish_curve(&mut self, recorder: &dyn Recorder, curve: MissRatioCurve) {
        const NAME: &str = "larder_estimated_miss_ratio";
        const HELP: &str = "Misses of all reads with so many times the present memory, since the last publication.";
        let recent = match &self.curve {
            Some(before) => curve.since(before),
            None => curve.clone(),
        };
        recorder.describe_gauge(KeyName::from_const_str(NAME), None, SharedString::const_str(HELP));
        for point in recent.points() {
            let key = self.key(NAME, &[Label::new("memory_factor", point.factor.to_string())]);
            recorder.register_gauge(&key, &METADATA).set(point.miss_ratio);
        }
        self.curve = Some(curve);
    }
}

fn unit_of(metric: &Metric) -> Scale {
    match metric.unit {
        "Bytes" => Scale::Bytes,
        "Seconds" => Scale::Seconds,
        _ => Scale::Count,
    }
}

/// `GetHits` of memcached becomes `larder_memcached_get_hits_total`, `BytesUsedForHash` becomes
/// `larder_memcached_used_for_hash_bytes`.
fn view_name(view: View, metric: &Metric) -> String {
    let mut name = String::from(match view {
        View::Memcached => "larder_memcached",
        View::Redis => "larder_redis",
    });
    let words = metric.name.strip_prefix("Bytes").unwrap_or(metric.name);
    for letter in words.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name.push_str(match (metric.kind, unit_of(metric)) {
        (MetricKind::Counter, _) => "_total",
        (_, Scale::Bytes) => "_bytes",
        (_, Scale::Seconds) => "_seconds",
        _ => "",
    });
    name
}

impl Cache {
    /// Publishes the cache's figures once through the `metrics` facade, labelled with the cache's name only. Whoever
    /// does so regularly, or needs other labels, keeps a [`MetricsPublisher`]: it also knows what was new since the
    /// last time.
    ///
    /// # Examples
    /// ```
    /// larder::Cache::new(1 << 20)?.publish_metrics();
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn publish_metrics(&self) {
        MetricsPublisher::new(self).publish();
    }
}

impl Scale {
    fn unit(self) -> Unit {
        match self {
            Scale::Count => Unit::Count,
            Scale::Bytes => Unit::Bytes,
            Scale::Seconds | Scale::Millis | Scale::Nanos => Unit::Seconds,
        }
    }
}
