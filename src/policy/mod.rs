//! Who leaves when room is needed: the choice. (The mechanism - finding the slot, freeing the chunk - is the shard's.)
//!
//! A policy sees items only through `Store`: their 22 bits of state, which live in the index slot, and their size. The
//! same code runs in the engine's shards and in the [`Simulator`].

mod ghost;
mod items;
mod kind;
mod lfu;
mod lru;
mod miniature;
#[cfg(feature = "snapshot")]
mod rank;
mod ring;
mod s3fifo;
mod sample;
mod shared;
mod shift;
mod sieve;
mod simulator;
#[cfg(test)]
mod tests;
mod ttl;
mod value;

pub use kind::{EvictionPolicy, Objective};
pub(crate) use miniature::{Incoming, Miniature};
#[cfg(feature = "snapshot")]
pub(crate) use rank::Rank;
pub(crate) use sample::draws_for;
pub(crate) use shared::Shared;
pub use simulator::Simulator;

pub(crate) const POLICY_BITS: u32 = 22;
/// A policy's state of one item: the low [`POLICY_BITS`] bits.
pub(crate) type Bits = u32;

/// One item that may be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<H> {
    /// Where it is; good for [`Store::get`], which says whether it is still there.
    pub(crate) handle: H,
    pub(crate) bits: Bits,
    /// What it costs: the bytes of its chunk in the engine; 1 or the traced size in the simulator.
    pub(crate) size: u32,
}

/// What a policy sees of the items among which it chooses. Only eligible items are shown: a volatile policy's store
/// shows just those with a deadline.
pub(crate) trait Store {
    type Handle: Copy + PartialEq + std::fmt::Debug;
    /// Number of items stored (eligible or not).
    fn items(&self) -> u64;
    /// Number of items that may leave.
    fn eligible(&self) -> u64 {
        self.items()
    }
    /// Whether the victim is chosen among all items, or among those that always compete with each other: only then its
    /// worth is a measure for the rest. Where a page of one size is to be freed, the last victims may be worth much.
    fn is_measure(&self) -> bool {
        true
    }
    /// Sum of the sizes of all items stored.
    fn used(&self) -> u64;
    /// What `used` may reach.
    fn capacity(&self) -> u64;
    /// The size of the largest item stored, or a little more.
    fn largest(&self) -> u32;
    /// The size of all eligible items, where only those of one size are: items of other sizes are then not shown at
    /// all, though they are stored.
    fn only_size(&self) -> Option<u32> {
        None
    }
    /// Shows every eligible item of `count` neighbouring index buckets that is `wanted`, by its bits. Which buckets,
    /// `r` says, a fraction of 2^64. A bucket has 0 to 7 items, 5 to 6 usual; which ones has nothing to do with their
    /// history. `wanted` comes first, because to learn an item's size takes longer.
    fn buckets(&self, r: u64, count: u64, wanted: impl FnMut(Bits) -> bool, each: impl FnMut(Candidate<Self::Handle>));
    /// How many draws are made for a victim of a policy that ranks by use or by deadline.
    fn draws(&self) -> u64 {
        1
    }
    /// Says that these buckets will be asked for next.
    fn prefetch(&self, _r: u64, _count: u64) {}
    /// Says that an item may be the next to leave.
    fn prefetch_item(&self, _handle: Self::Handle) {}
    /// The hash of an item's key, if it is still there and at hand.
    fn hash(&self, _handle: Self::Handle) -> Option<u64> {
        None
    }
    /// The item behind a handle as it is now, if it is still the same item in the same place.
    fn get(&self, handle: Self::Handle) -> Option<Candidate<Self::Handle>>;
    /// An eligible item whose key has this hash (or, rarely, looks like it) and whose bits satisfy `same`. That there
    /// is none says that the item is gone, but where only items of [one size](Self::only_size) are eligible.
    fn find(&self, hash: u64, same: impl Fn(Bits) -> bool) -> Option<Candidate<Self::Handle>>;
    /// Changes an item's bits if they are still `from`. False when they, or the item, changed.
    fn set_bits(&self, handle: Self::Handle, from: Bits, to: Bits) -> bool;
    /// Deadline of an item in milliseconds, if it has one.
    fn deadline(&self, handle: Self::Handle) -> Option<u64>;
    /// Shows items of the page whose earliest deadline comes first (for `volatile-ttl`); may show none.
    fn soonest(&self, each: impl FnMut(Candidate<Self::Handle>, u64));
}

/// What the policy knows of an item that is about to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) hash: u64,
    pub(crate) size: u32,
    /// The region it left lately, if it is remembered.
    from: Option<u8>,
    /// Its uses, this one included.
    uses: u32,
    /// Of an item that comes out of a snapshot: how long before that it was used last, in ticks of the policy's clock.
    age: Option<u32>,
}

#[cfg(feature = "snapshot")]
impl Arrival {
    /// The same item with the rank that it had in another cache.
    pub(crate) fn ranked(self, rank: Rank) -> Arrival {
        let from = rank.protected.then_some(value::PROTECTED as u8);
        Arrival { from, uses: u32::from(rank.uses), age: Some(u32::from(rank.age)), ..self }
    }
}

/// Who makes room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict<H> {
    /// This item leaves.
    Evict(Candidate<H>),
    /// The newcomer is worth less than what it would push out: it is not stored.
    TurnAway,
    /// Nobody may leave.
    None,
}

/// One shard's policy, under the shard's lock. `H` is the [`Store::Handle`] of the store it chooses from.
#[derive(Debug)]
pub(crate) struct Policy<H> {
    state: State<H>,
}

#[derive(Debug)]
enum State<H> {
    Value(Box<value::Value<H>>),
    Lru(lru::Lru<H>),
    Lfu(lfu::Lfu<H>),
    Random { draw: sample::Draw, volatile: bool },
    Ttl(ttl::Ttl<H>),
    S3Fifo(Box<s3fifo::S3Fifo>),
    Sieve(Box<sieve::Sieve>),
    NoEviction,
}

impl<H: Copy + PartialEq> Policy<H> {
    pub(crate) fn new(policy: EvictionPolicy, objective: Objective, seed: u64) -> Self {
        let volatile = policy.is_volatile();
        let state = match policy {
            EvictionPolicy::VolatileLru | EvictionPolicy::AllkeysLru => State::Lru(lru::Lru::new(volatile, seed)),
            EvictionPolicy::VolatileLfu | EvictionPolicy::AllkeysLfu => State::Lfu(lfu::Lfu::new(volatile, seed)),
            EvictionPolicy::VolatileRandom | EvictionPolicy::AllkeysRandom => {
                State::Random { draw: sample::Draw::new(seed), volatile }
            }
            EvictionPolicy::VolatileTtl => State::Ttl(ttl::Ttl::new(seed)),
            EvictionPolicy::NoEviction => State::NoEviction,
            EvictionPolicy::S3Fifo => State::S3Fifo(Box::new(s3fifo::S3Fifo::new(seed))),
            EvictionPolicy::Sieve => State::Sieve(Box::new(sieve::Sieve::new(seed))),
            EvictionPolicy::Default | EvictionPolicy::VolatileDefault => {
                State::Value(Box::new(value::Value::new(volatile, objective, seed)))
            }
        };
        Policy { state }
    }

    /// Says that the item of this hash will be announced soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let State::Value(value) = &self.state {
            value.prefetch(hash);
        }
    }

    /// Once for each new item, before room is made for it: asks who is remembered, and adapts.
    pub(crate) fn arriving(&mut self, _shared: &Shared, hash: u64, size: u32, capacity: u64) -> Arrival {
        let remembered = match &mut self.state {
            State::Value(value) => value.arriving(hash, size, capacity),
            State::S3Fifo(s3) => s3.arriving(hash).then_some((0, 1)),
            _ => None,
        };
        let (from, uses) = remembered.map_or((None, 1), |(region, uses)| (Some(region as u8), uses));
        Arrival { hash, size, from, uses, age: None }
    }

    /// Who leaves to make room: for an item that arrives, or for something else (the limit was lowered, a table grows,
    /// an item becomes larger). The caller evicts the candidate and calls [`evicted`](Self::evicted), or, if the
    /// candidate cannot leave, asks again. Asked again until there is room.
    pub(crate) fn victim<S: Store<Handle = H>>(
        &mut self,
        shared: &Shared,
        store: &S,
        arrival: Option<&Arrival>,
    ) -> Verdict<H> {
        let found = match &mut self.state {
            State::Value(value) => return value.victim(shared, store, arrival),
            State::S3Fifo(s3) => return s3.victim(store, arrival),
            State::Lru(lru) => lru.victim(store),
            State::Lfu(lfu) => lfu.victim(store),
            State::Random { draw, volatile } => draw.any(store, *volatile),
            State::Ttl(ttl) => ttl.victim(store),
            State::Sieve(sieve) => sieve.victim(store),
            State::NoEviction => None,
        };
        found.map_or(Verdict::None, Verdict::Evict)
    }

    /// The item that arrived is stored: its first bits.
    pub(crate) fn insert(&mut self, shared: &Shared, arrival: Arrival) -> Bits {
        match &mut self.state {
            State::Value(value) => value.insert(shared, &arrival),
            State::Lru(lru) => lru.insert(shared, &arrival),
            State::Lfu(lfu) => lfu.insert(shared, &arrival),
            State::S3Fifo(s3) => {
                let bits = s3.insert(arrival.hash, arrival.size, arrival.from.is_some());
                if arrival.age.is_some() { s3fifo::with_uses(bits, arrival.uses) } else { bits }
            }
            State::Sieve(sieve) => {
                let bits = sieve.insert(arrival.hash, arrival.size);
                if arrival.age.is_some() && arrival.uses > 0 { sieve::used(bits) } else { bits }
            }
            State::Random { .. } | State::Ttl(_) | State::NoEviction => 0,
        }
    }

    /// An item was evicted, whether this policy named it or not. `bits` are those it had when it left.
    pub(crate) fn evicted(&mut self, shared: &Shared, hash: u64, bits: Bits, size: u32) {
        match &mut self.state {
            State::Value(value) => value.evicted(shared, hash, bits, size),
            State::S3Fifo(s3) => s3.evicted(hash, bits, size),
            State::Sieve(sieve) => sieve.evicted(),
            _ => {}
        }
    }

    /// The newcomer was not stored, as [`Verdict::TurnAway`] said. The default policy remembers it as if it had been
    /// evicted.
    pub(crate) fn turned_away(&mut self, _shared: &Shared, arrival: &Arrival) {
        if let State::Value(value) = &mut self.state {
            value.turned_away(arrival);
        }
    }

    /// An item left without being evicted: deleted or expired.
    pub(crate) fn removed(&mut self, shared: &Shared, bits: Bits, size: u32) {
        match &mut self.state {
            State::Value(value) => value.removed(shared, bits, size),
            State::S3Fifo(s3) => s3.removed(bits, size),
            State::Sieve(sieve) => sieve.removed(),
            _ => {}
        }
    }

    /// An item got a new value under the same key, which counts as a use. `bits` are those it had when it was replaced.
    pub(crate) fn overwritten(&mut self, shared: &Shared, hash: u64, bits: Bits, old_size: u32, new_size: u32) -> Bits {
        match &mut self.state {
            State::Value(value) => value.overwritten(shared, bits, old_size, new_size),
            State::S3Fifo(s3) => s3.overwritten(hash, bits, old_size, new_size),
            State::Sieve(sieve) => sieve.overwritten(hash, bits, old_size, new_size),
            _ => shared.hit(bits).unwrap_or(bits),
        }
    }

    /// The bits of an item that was there before this policy was.
    pub(crate) fn adopt(&mut self, shared: &Shared, hash: u64, size: u32) -> Bits {
        match &mut self.state {
            State::Value(value) => value.adopt(shared, size),
            State::Lru(lru) => lru.stamp(),
            State::Lfu(lfu) => lfu.start(),
            State::S3Fifo(s3) => s3.insert(hash, size, true),
            State::Sieve(sieve) => sieve.insert(hash, size),
            State::Random { .. } | State::Ttl(_) | State::NoEviction => 0,
        }
    }

    /// What this policy knows of an item, for a snapshot.
    #[cfg(feature = "snapshot")]
    pub(crate) fn rank(&self, bits: Bits) -> Rank {
        match &self.state {
            State::Value(value) => value.rank(bits),
            State::Lru(lru) => lru.rank(bits),
            State::Lfu(lfu) => lfu.rank(bits),
            State::S3Fifo(_) => s3fifo::rank(bits),
            State::Sieve(_) => sieve::rank(bits),
            State::Random { .. } | State::Ttl(_) | State::NoEviction => Rank::default(),
        }
    }

    /// What the default policy has learnt of the share that newcomers need.
    #[cfg(feature = "snapshot")]
    pub(crate) fn share(&self) -> Option<f64> {
        if let State::Value(value) = &self.state { Some(value.share()) } else { None }
    }

    /// Begins with a share that was learnt elsewhere.
    #[cfg(feature = "snapshot")]
    pub(crate) fn set_share(&mut self, share: f64) {
        if let State::Value(value) = &mut self.state {
            value.set_share(share);
        }
    }

    /// Heap bytes held: rings, pools, ghost.
    pub(crate) fn memory(&self) -> u64 {
        match &self.state {
            State::Value(value) => size_of::<value::Value<H>>() as u64 + value.memory(),
            State::S3Fifo(s3) => size_of::<s3fifo::S3Fifo>() as u64 + s3.memory(),
            State::Sieve(sieve) => size_of::<sieve::Sieve>() as u64 + sieve.memory(),
            State::Lru(_) | State::Lfu(_) | State::Ttl(_) | State::Random { .. } | State::NoEviction => 0,
        }
    }

    /// A bounded step (some 50 us at most) of what needs doing now and then. Called every [`MAINTAIN_EVERY`]
    /// insertions or so.
    ///
    /// `granted` bytes are set aside for the policy to grow into beyond [`memory`](Self::memory). The ghost's table is
    /// made, and made anew when the cache has changed, only if they suffice; until then the policy chooses without it,
    /// or with the old one. Returns the bytes it would like to have granted in all: 0 when it is content. Rings and
    /// pools grow by a few KiB without asking.
    pub(crate) fn maintain<S: Store<Handle = H>>(&mut self, _shared: &Shared, store: &S, granted: u64) -> u64 {
        match &mut self.state {
            State::Value(value) => return value.maintain(store, granted),
            State::S3Fifo(s3) => return s3.maintain(store, granted),
            State::Lru(lru) => lru.maintain(store),
            State::Lfu(lfu) => lfu.maintain(store),
            State::Sieve(sieve) => sieve.maintain(store),
            State::Random { .. } | State::Ttl(_) | State::NoEviction => {}
        }
        0
    }

    /// Asserts what must hold whenever the lock is free and no reader is at work.
    pub(crate) fn check<S: Store<Handle = H>>(&self, shared: &Shared, store: &S) {
        match &self.state {
            State::Value(value) => value.check(shared, store),
            State::S3Fifo(s3) => s3.check(store),
            State::Sieve(sieve) => sieve.check(store),
            _ => {}
        }
    }
}

/// Insertions between two calls of [`Policy::maintain`].
pub(crate) const MAINTAIN_EVERY: u64 = 64;

/// A bijection that spreads every bit of its argument over all of the result (the finaliser of splitmix64).
#[inline]
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
