//! The service's metrics, under the names that operators of managed memcached know.

use super::counters::Count;
use super::server::Server;
use crate::stats::{Metric, MetricKind, View};

const BYTES: &str = "Bytes";
const COUNT: &str = "Count";

impl Server {
    /// The metrics of the cache ([`Cache::metrics`](crate::Cache::metrics), for memcached) and those that only a
    /// service has: its connections, their bytes, and auto discovery. The latter begin anew when a client says
    /// `stats reset`, as do those that `stats` shows.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, protocol::memcached::{ConnectionInfo, Server, Transport}};
    /// let server = Server::builder(Cache::new(1 << 20)?).build();
    /// let connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    /// let metrics = server.metrics();
    /// let open = metrics.iter().find(|metric| metric.name == "CurrConnections").unwrap();
    /// assert_eq!((open.value, open.unit), (1, "Count"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn metrics(&self) -> Vec<Metric> {
        let counter = |name, unit, count| Metric { name, kind: MetricKind::Counter, unit, value: self.total(count) };
        let gauge = |name, value| Metric { name, kind: MetricKind::Gauge, unit: COUNT, value };
        let mut all = self.0.cache.metrics(View::Memcached);
        all.extend([
            counter("BytesReadIntoMemcached", BYTES, Count::BytesRead),
            counter("BytesWrittenOutFromMemcached", BYTES, Count::BytesWritten),
            counter("CmdConfigGet", COUNT, Count::ConfigGets),
            counter("CmdConfigSet", COUNT, Count::ConfigSets),
            gauge("CurrConfig", self.0.discovery.len() as u64),
            gauge("CurrConnections", self.0.connections.open()),
            Metric {
                name: "NewConnections",
                kind: MetricKind::Derived,
                unit: COUNT,
                value: self.0.connections.opened(),
            },
        ]);
        all
    }
}
