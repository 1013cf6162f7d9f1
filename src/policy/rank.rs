//! What a policy knows of an item, in a form that outlives the policy: for snapshots.
//!
//! ```text
//!  23  22      15 14               0
//! ┌───┬──────────┬──────────────────┐
//! │ P │ uses (8) │ age (15)         │
//! └───┴──────────┴──────────────────┘
//! ```
//! P: it was used again since it came, or came back (protected, main queue). Uses: as the policy counts them. Age:
//! ticks of the policy's clock since its last use, the most there is for more. A policy of the same family goes on
//! exactly where the other was, as far as clocks go; another one makes the best of it: order of use and protection
//! carry over.

use super::Bits;

const AGE_BITS: u32 = 15;
#[cfg(any(test, feature = "snapshot"))]
const USES_BITS: u32 = 8;
/// The highest age.
pub(crate) const MAX_AGE: u32 = (1 << AGE_BITS) - 1;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rank {
    pub(crate) protected: bool,
    pub(crate) uses: u8,
    pub(crate) age: u16,
}

impl Rank {
    pub(super) fn new(protected: bool, uses: u32, age: u64) -> Rank {
        Rank { protected, uses: uses.min(255) as u8, age: age.min(u64::from(MAX_AGE)) as u16 }
    }

    /// The rank in 24 bits.
    #[cfg(any(test, feature = "snapshot"))]
    pub(crate) fn to_code(self) -> u32 {
        u32::from(self.protected) << (AGE_BITS + USES_BITS)
            | u32::from(self.uses) << AGE_BITS
            | u32::from(self.age) & MAX_AGE
    }

    #[cfg(any(test, feature = "snapshot"))]
    pub(crate) fn from_code(code: u32) -> Rank {
        Rank {
            protected: code >> (AGE_BITS + USES_BITS) & 1 == 1,
            uses: (code >> AGE_BITS) as u8,
            age: (code & MAX_AGE) as u16,
        }
    }
}

/// Ticks between a clock and an item's stamp, both of so many bits.
pub(super) fn ticks_since(clock: u64, bits: Bits, mask: u64) -> u64 {
    clock.wrapping_sub(u64::from(bits)) & mask
}

#[cfg(test)]
mod tests {
    use super::super::{EvictionPolicy, Objective, Policy, Shared};
    use super::*;

    #[test]
    fn a_rank_survives_its_code() {
        for (protected, uses, age) in
            [(false, 0, 0), (true, 255, u64::from(MAX_AGE)), (true, 3, 77), (false, 9, 1 << 40)]
        {
            let rank = Rank::new(protected, uses, age);
            assert_eq!(Rank::from_code(rank.to_code()), rank);
            assert!(rank.to_code() < 1 << 24);
        }
    }

    #[test]
    fn a_new_policy_of_the_family_gives_an_item_the_rank_that_it_had() {
        for kind in EvictionPolicy::ALL {
            let shared = Shared::new(kind, Objective::Hits);
            let mut policy: Policy<u32> = Policy::new(kind, Objective::Hits, 1);
            let mut stored = |rank: Rank| {
                let arrival = policy.arriving(&shared, 42, 100, 1 << 20).ranked(rank);
                let bits = policy.insert(&shared, arrival);
                policy.rank(bits)
            };
            for code in [0x00_8003, 0x81_8000, 0x80_8500, 0x00_8000] {
                let rank = stored(Rank::from_code(code));
                assert_eq!(stored(rank), rank, "{kind}: {code:#x}");
            }
        }
    }
}
