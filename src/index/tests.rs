//! The table against a plain set, through growth and shrinking in every order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::table::Table;
use crate::slab::{Locator, Slot};

struct Twin {
    table: Table,
    hashes: BTreeMap<Locator, u64>,
    next: usize,
    random: u64,
}

impl Twin {
    fn new() -> Twin {
        Twin { table: Table::new(1 << 12, 2).unwrap(), hashes: BTreeMap::new(), next: 8, random: 1 }
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::policy::mix(self.random)
    }

    fn load(&self) -> f64 {
        self.hashes.len() as f64 / (self.table.homes() * 7) as f64
    }

    fn insert(&mut self) -> bool {
        let hash = self.random();
        let locator = Locator::from_offset(self.next);
        self.next += 8;
        let done = self.table.insert(hash, Slot::new(locator, 0, false, false), |_, _| ());
        if done {
            self.hashes.insert(locator, hash);
        }
        done
    }

    fn remove(&mut self) {
        let r = self.random();
        let Some((&locator, &hash)) = self.hashes.iter().nth(r as usize % self.hashes.len().max(1)) else { return };
        let (place, _) = self.table.find_locator(hash, locator).expect("an item that was inserted");
        assert_eq!(self.table.remove(place).locator(), Some(locator));
        self.hashes.remove(&locator);
    }

    fn step(&self, growing: bool, homes: u64) -> bool {
        let hash_of = |locator: Locator| self.hashes[&locator];
        if growing {
            self.table.grow_step(homes, |_| (), hash_of, |_, _| ())
        } else {
            self.table.shrink_step(homes, |_| (), hash_of, |_, _| ())
        }
    }

    fn check(&self) {
        self.table.check(self.hashes.len() as u64, |slot| self.hashes[&slot.locator().unwrap()]);
        for (&locator, &hash) in &self.hashes {
            assert!(self.table.find_locator(hash, locator).is_some());
        }
    }
}

#[test]
fn grows_to_any_size_at_the_load_it_promises() {
    let mut twin = Twin::new();
    let mut failed = 0;
    for i in 0..20_000 {
        failed += u32::from(!twin.insert());
        if i % 4 == 0 {
            if twin.table.is_resizing() {
                twin.step(true, 16);
            } else if twin.load() >= 0.85 {
                twin.table.begin_growth();
            }
        }
        if i % 1000 == 0 {
            twin.check();
        }
    }
    assert_eq!(failed, 0);
    assert!(twin.load() > 0.74 && twin.load() < 0.90, "load {}", twin.load());
}

#[test]
fn holds_its_load_under_churn() {
    let mut twin = Twin::new();
    while twin.hashes.len() < 3_000 || twin.load() < 0.86 {
        twin.insert();
        if twin.load() >= 0.87 {
            twin.table.begin_growth();
        }
        while twin.table.is_resizing() {
            twin.step(true, 1000);
        }
    }
    for _ in 0..30_000 {
        twin.remove();
        assert!(twin.insert(), "at a load of {}", twin.load());
    }
    twin.check();
}

/// Few items may be all that have only two places among those that move, the old bucket being one; who comes first does
/// not take them away.
#[test]
fn a_table_with_room_gets_to_the_size_it_aims_at() {
    for seed in 0..300 {
        let mut twin = Twin::new();
        twin.random = seed << 32;
        while twin.table.homes() < 110 {
            twin.table.begin_growth();
            assert!(twin.step(true, 1000));
        }
        while twin.load() < 0.66 {
            assert!(twin.insert());
        }
        assert!(twin.table.begin_shrink(twin.hashes.len() as u64));
        for _ in 0..twin.table.homes() {
            twin.step(false, 1);
        }
        assert!(!twin.table.is_resizing(), "seed {seed}: stands at home {}", twin.table.pointer());
        twin.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_growing_and_shrinking(steps in prop::collection::vec((0u8..8, 1u64..30), 1..400)) {
        let mut twin = Twin::new();
        for (what, n) in steps {
            match what {
                0..=2 => for _ in 0..n {
                    if twin.load() < 0.75 {
                        prop_assert!(twin.insert());
                    }
                },
                3 => (0..n).for_each(|_| twin.remove()),
                4 | 5 => {
                    if !twin.table.is_resizing() {
                        twin.table.begin_growth();
                    }
                    twin.step(true, n);
                }
                _ => {
                    if !twin.table.is_resizing() && twin.load() < 0.62 {
                        twin.table.begin_shrink(twin.hashes.len() as u64);
                    }
                    twin.step(false, n);
                }
            }
            twin.check();
        }
    }
}
