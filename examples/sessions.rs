//! Sessions of users: a time to live, a time to idle, and a tag for each user, so that all of a user's sessions are
//! logged out at once. A listener says why each session ended. Time is driven by hand, so it runs in a moment.
//!
//! ```sh
//! cargo run --release --example sessions
//! ```

use std::time::Duration;

use larder::{Cache, Maintenance, ManualClock, RemovalCause, SetOptions};

const MINUTE: Duration = Duration::from_secs(60);

/// Stores a session, which ends after eight hours, or half an hour after it was used last.
fn log_in(cache: &Cache, session: &str, user: &str) -> larder::Result<()> {
    let options = SetOptions::new().ttl(8 * 60 * MINUTE).time_to_idle(30 * MINUTE).tag(format!("user:{user}"));
    cache.set_with(session.as_bytes(), user.as_bytes(), &options)?;
    println!("{user} logs in: {session}");
    Ok(())
}

fn who(cache: &Cache, session: &str) -> String {
    let user = cache.read(session.as_bytes(), |user| String::from_utf8_lossy(user).into_owned());
    user.unwrap_or_else(|| "nobody".to_owned())
}

fn main() -> larder::Result<()> {
    let clock = ManualClock::new(1_700_000_000_000);
    let cache = Cache::builder()
        .max_memory(1 << 20)
        .clock(clock.clone())
        .maintenance(Maintenance::Manual)
        .expiry_lag(Duration::ZERO)
        .name("sessions")
        .eviction_listener(|removal| {
            let (session, user) = (String::from_utf8_lossy(removal.key), String::from_utf8_lossy(removal.value));
            let why = match removal.cause {
                RemovalCause::Expired => "was not used for too long, or is too old",
                RemovalCause::Flushed => "was logged out with all of the user's sessions",
                RemovalCause::Removed => "was logged out",
                RemovalCause::Replaced => "was renewed",
                _ => "had to make room",
            };
            println!("  {session} of {user} {why}");
        })
        .build()?;

    log_in(&cache, "s1", "alice")?;
    log_in(&cache, "s2", "alice")?;
    log_in(&cache, "s3", "bob")?;
    log_in(&cache, "s4", "carol")?;

    println!("carol logs out");
    cache.remove(b"s4");

    println!("alice changes her password: all her sessions end, at once");
    cache.invalidate_tag("user:alice");
    println!("s1 is {}'s, s2 is {}'s, s3 is {}'s", who(&cache, "s1"), who(&cache, "s2"), who(&cache, "s3"));
    // Their memory comes back by maintenance, which also tells the listener.
    cache.run_maintenance(Duration::from_millis(10));
    log_in(&cache, "s5", "alice")?;

    for half in 1..=3 {
        clock.advance(20 * MINUTE);
        println!("{} minutes later s5 is {}'s", half * 20, who(&cache, "s5"));
    }
    cache.run_maintenance(Duration::from_millis(10));
    println!("s3 is {}'s, {} session is left", who(&cache, "s3"), cache.len());
    Ok(())
}
