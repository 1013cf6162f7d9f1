//! Who leaves when room is needed: the choice. (The mechanism - finding the slot, freeing the chunk - is the shard's.)
//!
//! A policy sees items only through [`Store`]: their 22 bits of state, which live in the index slot, and their size. The
//! same code runs in the engine's shards and in the [`Simulator`].

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

/// What a policy sees of the items among which it chooses. Only eligible items are shown: a volatile policy's store shows
/// just those with a deadline.
pub(crate) trait Store {
    type Handle: Copy + PartialEq + std::fmt::Debug;
    /// Number of items stored (eligible or not).
    fn items(&self) -> u64;
    /// Sum of the sizes of all items stored.
    fn used(&self) -> u64;
    /// What `used` may reach.
    fn capacity(&self) -> u64;
    /// Shows every eligible item of one index bucket; which one, `r` says (uniform in all 64 bits). 0 to 7 items, 5 to 6 usual.
    fn bucket(&self, r: u64, each: impl FnMut(Candidate<Self::Handle>));
    /// Says that `bucket(r)` will be asked for soon.
    fn prefetch(&self, _r: u64) {}
    /// The item behind a handle as it is now, if it is still the same item in the same place.
    fn get(&self, handle: Self::Handle) -> Option<Candidate<Self::Handle>>;
    /// An item whose key has this hash (or, rarely, looks like it) and whose bits satisfy `same`.
    fn find(&self, hash: u64, same: impl Fn(Bits) -> bool) -> Option<Candidate<Self::Handle>>;
    /// Changes an item's bits if they are still `from`. False when they, or the item, changed.
    fn set_bits(&self, handle: Self::Handle, from: Bits, to: Bits) -> bool;
    /// Deadline of an item in milliseconds, if it has one.
    fn deadline(&self, handle: Self::Handle) -> Option<u64>;
    /// Shows items of the page whose earliest deadline comes first (for `volatile-ttl`); may show none.
    fn soonest(&self, each: impl FnMut(Candidate<Self::Handle>, u64));
}
