//! Settings of both sides out of a group of parameters.

use crate::error::Result;
use crate::params::ParameterValues;

use super::options::{PrimaryOptions, ReplicaOptions};

/// Milliseconds of a parameter that is a duration.
fn ms(values: &ParameterValues, name: &str) -> Result<u64> {
    Ok(u64::try_from(values.duration(name)?.as_millis()).unwrap_or(u64::MAX))
}

impl PrimaryOptions {
    /// The same with what `repl-backlog-size`, `repl-backlog-ttl`, `repl-timeout`, `min-slaves-to-write` and
    /// `min-slaves-max-lag` say. All of them can be changed while it runs: see
    /// [`Primary::set_options`](super::Primary::set_options).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the version of these parameters does not know
    /// replication.
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// use larder::replication::PrimaryOptions;
    /// let mut values = ParameterValues::new(Family::Redis2_8);
    /// values.set("min-slaves-to-write", "1")?;
    /// let options = PrimaryOptions::new().parameters(&values)?;
    /// assert!(PrimaryOptions::new().parameters(&ParameterValues::new(Family::Memcached1_4)).is_err());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn parameters(self, values: &ParameterValues) -> Result<Self> {
        let least = values.get("min-slaves-to-write")?.as_integer().unwrap_or_default();
        Ok(self
            .backlog(values.bytes("repl-backlog-size")?, ms(values, "repl-backlog-ttl")?)
            .timeout_ms(ms(values, "repl-timeout")?)
            .min_replicas(usize::try_from(least).unwrap_or_default(), ms(values, "min-slaves-max-lag")?))
    }
}

impl ReplicaOptions {
    /// The same with what `repl-backlog-size` and `repl-timeout` say.
    ///
    /// # Errors
    /// As [`PrimaryOptions::parameters`].
    ///
    /// # Examples
    /// ```
    /// use larder::params::{Family, ParameterValues};
    /// use larder::replication::ReplicaOptions;
    /// let options = ReplicaOptions::new("r").parameters(&ParameterValues::new(Family::Redis2_8))?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn parameters(self, values: &ParameterValues) -> Result<Self> {
        Ok(self.backlog(values.bytes("repl-backlog-size")?).timeout_ms(ms(values, "repl-timeout")?))
    }
}
