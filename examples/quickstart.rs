//! The first five minutes: bytes in, bytes out, a time to live, a typed view, a value that is loaded.

use std::time::Duration;

use larder::typed::Plain;
use larder::{Cache, SetOptions, TypedCache};

fn main() -> larder::Result<()> {
    let cache = Cache::new(64 << 20)?; // 64 MiB, everything included

    // Bytes.
    cache.set(b"greeting", b"hello")?;
    cache.set_with(b"session", b"alice", &SetOptions::new().ttl(Duration::from_millis(50)))?;
    if let Some(value) = cache.get(b"greeting")? {
        println!("greeting: {}", String::from_utf8_lossy(&value)); // in place, not a copy
    }
    std::thread::sleep(Duration::from_millis(60));
    println!("session after its time: {:?}", cache.get(b"session")?.map(|value| value.to_vec()));

    // Types, in a namespace of their own on the same memory.
    let ages: TypedCache<String, u32, Plain> = TypedCache::new(cache.namespace(1));
    ages.insert("ann", &30)?;
    println!("ann: {:?}, ben: {:?}", ages.get("ann")?, ages.get("ben")?);

    // What is not there is loaded, by one caller a key.
    let load = || {
        println!("(asking somebody slow)");
        12
    };
    println!("ben: {}", ages.get_with("ben", load)?);
    println!("ben: {}", ages.get_with("ben", load)?);

    let (memory, stats) = (cache.memory(), cache.stats());
    println!("{} items, {} of {} KiB used", memory.items, memory.used >> 10, memory.limit >> 10);
    println!("{} gets, {} hits", stats.gets, stats.hits);
    Ok(())
}
