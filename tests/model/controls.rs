//! Clearing, limits, policy, pages, maintenance and time.

use std::time::Duration;

use larder::{ErrorKind, EvictionPolicy};

use crate::ops::{Key, Op, TAGS};
use crate::run::Run;

impl Run<'_> {
    pub(crate) fn control(&mut self, op: &Op) {
        let cache = self.cache(0);
        match *op {
            Op::Clear(space) => {
                self.cache(space).clear();
                self.twin.clear(space);
                assert_eq!(self.cache(space).len(), 0);
            }
            Op::InvalidateTag(space, tag) => {
                self.cache(space).invalidate_tag(TAGS[tag]);
                self.twin.invalidate(space, tag);
            }
            Op::InvalidatePrefix(space, digit) => {
                let prefix = format!("key-{digit}").into_bytes();
                let matching = |key: &Key| key.space == space && key.bytes().starts_with(&prefix);
                let there = self.twin.items.keys().filter(|key| matching(key)).count() as u64;
                let removed = self.cache(space).invalidate_prefix(&prefix).run();
                assert!(removed <= there && there - removed <= self.unnoticed(), "{removed} of {there} were removed");
                self.noticed += there - removed;
                self.twin.items.retain(|key, _| !matching(key));
            }
            Op::ClearAll => {
                cache.clear_all();
                self.twin.items.clear();
                assert_eq!(cache.memory().items, 0);
            }
            Op::ClearAfter(space, ms) => {
                self.cache(space).clear_after(Duration::from_millis(ms));
                self.twin.clears.push((self.twin.now + ms, space));
                self.twin.settle();
            }
            Op::SetMaxMemory(bytes) => {
                if let Err(error) = cache.set_max_memory(bytes) {
                    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
                    assert!(bytes < cache.memory().reserved + (64 << 10), "{bytes}: {error}");
                }
                self.new_ceiling();
            }
            Op::SetReservedMemory(bytes) => {
                if let Err(error) = cache.set_reserved_memory(bytes) {
                    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
                    assert!(bytes + (64 << 10) > cache.memory().limit, "{bytes}: {error}");
                }
                self.new_ceiling();
            }
            Op::SetPolicy(policy, objective) => {
                cache.set_policy(policy, objective);
                assert_eq!((cache.policy(), cache.objective()), (policy, objective));
                self.policy = policy;
                self.only_volatile &= policy == EvictionPolicy::NoEviction || policy.is_volatile();
                self.new_ceiling();
            }
            Op::SetAutomove(automove) => {
                cache.set_automove(automove);
                assert_eq!(cache.automove(), automove);
            }
            Op::ReassignPage(from, to) => {
                let classes = cache.classes().len();
                let result = cache.reassign_page(from, to);
                assert_eq!(result.is_ok(), from < classes && to < classes && from != to);
            }
            Op::Maintain => {
                cache.run_maintenance(Duration::from_millis(50));
            }
            Op::Advance(ms) => self.tick(ms),
            _ => unreachable!("{op:?} is no control"),
        }
    }
}
