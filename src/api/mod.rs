//! What programs call. Thin: arguments in, engine operations, results out.
//!
//! | file | what |
//! |---|---|
//! | `builder` | settings, and what a cache is built from |
//! | `cache` | the handle; memory, policy, maintenance |
//! | `reads` `writes` | the operations |
//! | `options` | how a value is stored, and what became of it |
//! | `guard` | a value in place |
//! | `charge` | memory of the program's own that counts |
//! | `reservation` | a value that arrives slowly |
//! | `update` | several keys as one |
//! | `walk` | scan, iter, retain |
//! | `listening` | key events, engine events |
//! | `log` | the effect log; following another cache |
//! | `warm` | warm restart: how the cache has begun, closing it |
//! | `log_settings` | what settings and parameters ask of the log, done |
//! | `invalidate` | tags; keys by their beginning, or by what the program says |

mod builder;
mod cache;
mod charge;
mod guard;
mod invalidate;
mod listening;
mod log;
mod log_settings;
mod options;
mod reads;
mod reservation;
mod update;
mod walk;
mod warm;
mod writes;

pub use builder::{CacheBuilder, Maintenance};
pub(crate) use builder::{millis, random_seed};
#[cfg(feature = "snapshot")]
pub(crate) use cache::Aside;
pub(crate) use cache::WeakCache;
pub use cache::{Cache, Upkeep};
pub use charge::Charge;
pub use guard::Guard;
pub use invalidate::Invalidation;
pub use options::{Arithmetic, CasOutcome, Metadata, SetOptions, SetOutcome, Token};
pub use reservation::Reservation;
pub use update::Update;
pub use walk::{Cursor, Entry, Iter};
