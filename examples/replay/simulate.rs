//! Plays a trace against a policy's code alone: no memory is managed, an object counts 1 or its traced size.

use std::time::{Duration, Instant};

use larder::policy::Simulator;

use crate::args::Mode;
use crate::player::Tally;
use crate::report::Outcome;
use crate::source::BATCH_REQUESTS;
use crate::trace::Op;
use crate::{Failure, Job};

/// Plays the whole trace, gets and sets alike as uses of the object; deletes are passed over. `progress` is told the
/// share that is done and the hit ratio so far.
pub(crate) fn play(job: &Job<'_>, progress: impl Fn(f64, f64)) -> Result<Outcome, Failure> {
    let mut stream = job.source.open(job.args)?;
    let mut batch = Vec::with_capacity(BATCH_REQUESTS);
    let mut simulator = Simulator::new(job.policy, job.args.objective, job.capacity, job.args.seed);
    let mut tally = Tally::new();
    let mut elapsed = Duration::ZERO;
    loop {
        stream.fill(&mut batch)?;
        if batch.is_empty() {
            break;
        }
        let start = Instant::now();
        for request in &batch {
            tally.requests += 1;
            if request.op == Op::Delete {
                continue;
            }
            let traced = u64::from(request.size).max(1);
            let size = if job.args.mode == Mode::UnitSize { 1 } else { traced };
            let hit = simulator.request(request.key, size);
            tally.operations += 1;
            tally.refused += u64::from(size > job.capacity);
            if request.op == Op::Get {
                tally.count_get(traced, hit);
            }
        }
        elapsed += start.elapsed();
        progress(stream.fraction(), tally.hit_ratio());
    }
    Ok(Outcome::of_simulator(job, &simulator, &tally, elapsed))
}
