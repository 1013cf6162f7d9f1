//! Typed caches: structs through serde, reading in place, changing what is there, several types on one memory, and
//! values that an older version of the program has stored.

use larder::typed::Op;
use larder::{Cache, ErrorKind, TypedCache};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    visits: u32,
}

fn main() -> larder::Result<()> {
    let cache = Cache::new(64 << 20)?;
    let users: TypedCache<u64, User> = TypedCache::new(cache.namespace(1));
    let pages: TypedCache<String, String> = TypedCache::new(cache.namespace(2));

    // Any type that serde knows. A `get` decodes it: the value is the caller's own.
    users.insert(&7, &User { name: "Ann".into(), visits: 1 })?;
    println!("user 7: {:?}", users.get(&7)?);

    // Strings and bytes are stored as they are, looked up by what they borrow as, and can be read in place.
    pages.insert("/home", &"<html>".repeat(1000))?;
    println!("tags on the page: {:?}", pages.read("/home", |page| page.matches('<').count())?);

    // Changing what is there, as one step.
    let visit = |user: Option<User>| match user {
        Some(user) => Op::Put(User { visits: user.visits + 1, ..user }),
        None => Op::Nop,
    };
    println!("visited: {:?}", users.entry(&7)?.and_compute_with(visit)?);
    println!("visited: {:?}", users.entry(&8)?.and_compute_with(visit)?);

    // Walking and clearing.
    users.insert(&9, &User { name: "Ben".into(), visits: 0 })?;
    println!("removed: {}", users.retain(|_, user| user.visits > 0)?);
    for item in &users {
        let (id, user) = item?;
        println!("left: {id} {}", user.name);
    }
    pages.invalidate_all();
    println!("users: {}, pages: {}", users.len(), pages.len());

    // What is stored as something else is an error, or a miss if you say so.
    let renamed: TypedCache<u64, (String, String, u32)> = TypedCache::new(cache.namespace(1));
    match renamed.get(&7) {
        Err(error) if error.kind() == ErrorKind::Decode => println!("error: {error}"),
        other => println!("{other:?}"),
    }
    println!("as a miss: {:?}", renamed.undecodable_as_miss(true).get(&7)?);
    Ok(())
}
