//! The one ledger: every byte the cache holds is charged here before it is committed.
//!
//! Invariants:
//! 1. `used` is the sum of the accounts. Only [`Ledger::force`] may lift it above the room; it is for what is small,
//!    fixed and cannot wait (a thread's session, the shards themselves), and is made up for by the next reclaim.
//! 2. The room is what items and all that serves them may take: the limit less what is reserved, or less what the
//!    program has charged for memory of its own (`outside`), if that is more. That memory is no part of `used`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a charge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Slab pages and spans of large values, in use or pooled.
    Slab,
    /// Buckets of the index.
    Index,
    /// Everything else: shards, sessions, ghosts, rings, copies handed out.
    Side,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: AtomicU64,
    reserved: AtomicU64,
    outside: AtomicU64,
    used: AtomicU64,
    accounts: [AtomicU64; 3],
}

impl Ledger {
    pub(crate) fn new(limit: u64, reserved: u64) -> Ledger {
        Ledger {
            limit: AtomicU64::new(limit),
            reserved: AtomicU64::new(reserved),
            outside: AtomicU64::new(0),
            used: AtomicU64::new(0),
            accounts: [const { AtomicU64::new(0) }; 3],
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Relaxed)
    }

    /// What the program has charged for memory of its own.
    pub(crate) fn outside(&self) -> u64 {
        self.outside.load(Relaxed)
    }

    /// What may be used: see invariant 2.
    pub(crate) fn room(&self) -> u64 {
        self.limit().saturating_sub(self.reserved().max(self.outside()))
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(crate) fn of(&self, account: Account) -> u64 {
        self.accounts[account as usize].load(Relaxed)
    }

    /// Bytes that can still be charged.
    pub(crate) fn spare(&self) -> u64 {
        self.room().saturating_sub(self.used())
    }

    /// Bytes by which more is used than there is room (after the limit was lowered, or a forced charge).
    pub(crate) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.room())
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    pub(crate) fn set_reserved(&self, reserved: u64) {
        self.reserved.store(reserved, Relaxed);
    }

    /// Charges `bytes` if there is room for them.
    pub(crate) fn charge(&self, account: Account, bytes: u64) -> bool {
        let room = self.room();
        let fits = self.used.fetch_update(Relaxed, Relaxed, |used| used.checked_add(bytes).filter(|&sum| sum <= room));
        if fits.is_ok() {
            self.accounts[account as usize].fetch_add(bytes, Relaxed);
        }
        fits.is_ok()
    }

    /// Charges `bytes` whatever the room (invariant 1).
    pub(crate) fn force(&self, account: Account, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
        self.accounts[account as usize].fetch_add(bytes, Relaxed);
    }

    /// Changes what the program has charged from `before` to `after` bytes, unless that is more than `most` in all.
    pub(crate) fn recharge_outside(&self, before: u64, after: u64, most: u64) -> bool {
        let change = |sum: u64| {
            let sum = sum.saturating_sub(before).checked_add(after)?;
            (after <= before || sum <= most).then_some(sum)
        };
        self.outside.fetch_update(Relaxed, Relaxed, change).is_ok()
    }

    /// Takes back a charge.
    pub(crate) fn release(&self, account: Account, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
        self.accounts[account as usize].fetch_sub(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_up_to_the_room_and_no_further() {
        let ledger = Ledger::new(100, 20);
        assert!(ledger.charge(Account::Slab, 80));
        assert!(!ledger.charge(Account::Index, 1));
        ledger.release(Account::Slab, 30);
        assert!(ledger.charge(Account::Index, 30));
        assert_eq!((ledger.used(), ledger.of(Account::Slab), ledger.of(Account::Index)), (80, 50, 30));
        ledger.set_limit(50);
        assert_eq!(ledger.excess(), 50);
        assert!(!ledger.charge(Account::Side, u64::MAX));
    }

    #[test]
    fn memory_of_the_program_takes_what_is_reserved_first() {
        let ledger = Ledger::new(100, 20);
        assert!(ledger.recharge_outside(0, 15, 50));
        assert_eq!(ledger.room(), 80);
        assert!(ledger.recharge_outside(0, 15, 50));
        assert_eq!((ledger.room(), ledger.outside()), (70, 30));
        assert!(!ledger.recharge_outside(15, 36, 50) && ledger.recharge_outside(15, 35, 50));
        ledger.set_limit(10);
        assert!(ledger.recharge_outside(35, 5, 0), "less is always possible");
        assert_eq!(ledger.outside(), 20);
    }
}
