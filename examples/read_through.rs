//! Read-through: many callers and one loader a key, for threads and for futures; errors that are shared, absences that
//! are remembered, values that are loaded anew before they end.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use larder::typed::Plain;
use larder::{Cache, LoadOptions, TypedCache};

/// A slow database that counts how often it is asked.
#[derive(Default)]
struct Database {
    asked: AtomicU32,
}

impl Database {
    fn name(&self, id: u64) -> Option<String> {
        self.asked.fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_millis(20));
        (id < 100).then(|| format!("user {id}"))
    }

    async fn name_async(&self, id: u64) -> Result<String, String> {
        self.asked.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if id < 100 { Ok(format!("user {id}")) } else { Err(format!("there is no user {id}")) }
    }

    fn asked(&self) -> u32 {
        self.asked.swap(0, Relaxed)
    }
}

fn threads(names: &TypedCache<u64, String, Plain>, database: &Database) -> larder::Result<()> {
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| names.optionally_get_with(&7, || database.name(7)));
        }
    });
    println!("50 threads want one name: the database is asked {} time(s)", database.asked());
    for _ in 0..50 {
        names.optionally_get_with(&123, || database.name(123))?;
    }
    println!("50 looks for a name that does not exist: asked {} time(s)", database.asked());

    // This one lives for 300 ms, and is loaded anew by whoever asks in the last 200.
    let options = LoadOptions::new().ttl(Duration::from_millis(300)).refresh_ahead(Duration::from_millis(200));
    let short = names.clone().load_options(options);
    short.get_with(&8, || database.name(8).unwrap_or_default())?;
    std::thread::sleep(Duration::from_millis(150));
    short.get_with(&8, || database.name(8).unwrap_or_default())?;
    println!("a name that ends soon: asked {} time(s), {} of them ahead", database.asked(), stats(names).refreshes);
    Ok(())
}

async fn futures(names: &TypedCache<u64, String, Plain>, database: &Database) -> larder::Result<()> {
    let want = |id| async move { names.try_get_with_async(&id, database.name_async(id)).await };
    let (a, b, c) = tokio::join!(want(9), want(9), want(9));
    println!(
        "three tasks: {:?}, asked {} time(s)",
        [a.ok(), b.ok(), c.ok()].map(Option::unwrap_or_default),
        database.asked()
    );
    let (a, b) = tokio::join!(want(200), want(200));
    for error in [a, b].into_iter().filter_map(Result::err) {
        println!("error: {error}");
    }
    println!("... which they share: asked {} time(s)", database.asked());
    // A loader that is given up: the next who waits takes over.
    let gave_up = tokio::time::timeout(Duration::from_millis(5), want(10));
    let (first, second) = tokio::join!(gave_up, want(10));
    println!("given up: {}, taken over: {}, asked {} time(s)", first.is_err(), second.is_ok(), database.asked());
    Ok(())
}

fn stats(names: &TypedCache<u64, String, Plain>) -> larder::LoadStats {
    names.cache().load_stats()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> larder::Result<()> {
    let cache = Cache::new(16 << 20)?;
    let options = LoadOptions::new().ttl(Duration::from_secs(60)).negative_ttl(Duration::from_secs(5));
    let names: TypedCache<u64, String, Plain> = TypedCache::new(cache).load_options(options);
    let database = Database::default();
    threads(&names, &database)?;
    futures(&names, &database).await?;
    println!("{:?}", stats(&names));
    Ok(())
}
