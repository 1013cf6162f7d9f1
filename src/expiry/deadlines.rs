//! A tournament tree over pages: each leaf a page's earliest deadline, each node the lower of its two.
//!
//! ```text
//!              7
//!          ┌───┴───┐
//!          9       7          first() walks down to leaf 2
//!        ┌─┴─┐   ┌─┴─┐
//!        9   -   7   12       leaves: units 0 to 3
//! ```
//! Lowering a leaf or asking for the first costs O(log pages). A leaf is a lower bound: it may be too early, never too
//! late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::slab::UnitId;

const NEVER: u64 = u64::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Node 1 is the root; leaves are the upper half.
    tree: Vec<u64>,
}

impl Deadlines {
    fn leaves(&self) -> usize {
        self.tree.len() / 2
    }

    fn make_room(&mut self, leaf: usize) {
        let old = self.leaves();
        if leaf < old {
            return;
        }
        let leaves = (leaf + 1).next_power_of_two().max(8);
        let mut tree = vec![NEVER; leaves * 2];
        if old > 0 {
            tree[leaves..leaves + old].copy_from_slice(&self.tree[old..]);
        }
        for node in (1..leaves).rev() {
            tree[node] = tree[2 * node].min(tree[2 * node + 1]);
        }
        self.tree = tree;
    }

    /// The bound of a unit; None if nothing in it ends.
    pub(crate) fn get(&self, unit: UnitId) -> Option<u64> {
        let leaf = self.tree.get(self.leaves() + unit.0 as usize).copied()?;
        (leaf != NEVER).then_some(leaf)
    }

    /// Sets a unit's bound; 0 and None both mean that nothing in it ends.
    pub(crate) fn set(&mut self, unit: UnitId, deadline: Option<u64>) {
        let deadline = deadline.filter(|&d| d != 0).unwrap_or(NEVER);
        if deadline == NEVER && unit.0 as usize >= self.leaves() {
            return;
        }
        self.make_room(unit.0 as usize);
        let mut node = self.leaves() + unit.0 as usize;
        self.tree[node] = deadline;
        while node > 1 {
            node /= 2;
            let lower = self.tree[2 * node].min(self.tree[2 * node + 1]);
            if self.tree[node] == lower {
                break;
            }
            self.tree[node] = lower;
        }
    }

    /// Lowers a unit's bound to a deadline (not 0), if it is not that low already.
    #[inline]
    pub(crate) fn lower(&mut self, unit: UnitId, deadline: u64) {
        if self.get(unit).is_none_or(|bound| deadline < bound) {
            self.set(unit, Some(deadline));
        }
    }

    /// The unit with the lowest bound.
    pub(crate) fn first(&self) -> Option<(UnitId, u64)> {
        let first = self.tree.get(1).copied().filter(|&d| d != NEVER)?;
        let mut node = 1;
        while node < self.leaves() {
            node = if self.tree[2 * node] == first { 2 * node } else { 2 * node + 1 };
        }
        Some((UnitId((node - self.leaves()) as u32), first))
    }

    /// Every unit with a bound, the lowest first; O(log pages) each.
    pub(crate) fn ascending(&self) -> impl Iterator<Item = (UnitId, u64)> + '_ {
        // Nodes whose subtrees were not entered yet. A node's value is its lowest leaf's, so the lowest of them leads
        // on.
        let mut open = BinaryHeap::new();
        open.extend(self.tree.get(1).map(|&bound| Reverse((bound, 1))));
        std::iter::from_fn(move || {
            loop {
                let Reverse((bound, node)) = open.pop()?;
                if bound == NEVER {
                    return None;
                }
                if node >= self.leaves() {
                    return Some((UnitId((node - self.leaves()) as u32), bound));
                }
                open.extend([2 * node, 2 * node + 1].map(|node| Reverse((self.tree[node], node))));
            }
        })
    }

    /// Heap bytes, for the ledger.
    pub(crate) fn memory(&self) -> u64 {
        self.tree.capacity() as u64 * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_minimum_of_a_vector(steps in prop::collection::vec((0u32..100, 0u64..50, any::<bool>()), 1..200)) {
            let mut tree = Deadlines::default();
            let mut model = vec![NEVER; 100];
            for (unit, deadline, lower) in steps {
                let leaf = &mut model[unit as usize];
                if lower && deadline > 0 {
                    tree.lower(UnitId(unit), deadline);
                    *leaf = (*leaf).min(deadline);
                } else {
                    tree.set(UnitId(unit), Some(deadline));
                    *leaf = if deadline == 0 { NEVER } else { deadline };
                }
                let least = *model.iter().min().unwrap();
                let first = tree.first();
                prop_assert_eq!(first.map_or(NEVER, |f| f.1), least);
                if let Some((unit, _)) = first {
                    prop_assert_eq!(model[unit.0 as usize], least);
                }
                let all: Vec<_> = tree.ascending().map(|(unit, bound)| (bound, unit.0)).collect();
                let mut expected: Vec<_> = (0..100).map(|u| (model[u as usize], u)).filter(|e| e.0 != NEVER).collect();
                expected.sort_unstable();
                prop_assert_eq!(all, expected);
                prop_assert_eq!(tree.get(UnitId(unit)).unwrap_or(NEVER), model[unit as usize]);
            }
        }
    }
}
