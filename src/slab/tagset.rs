//! The hashes of an item's tags: a short list in place.
//!
//! A tag is known by 64 bits of its hash alone. The hash has no secret, unlike that of keys, so that options can be
//! made before there is a cache, and kept for several. Two tags of one hash are one tag: who invalidates the one
//! invalidates the other too, which costs a miss and never shows an old value.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

/// The most tags that an item can have.
pub(crate) const MAX_TAGS: usize = 16;

const SECRETS: RapidSecrets = RapidSecrets::seed_cpp(0);

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TagSet {
    /// One more than fit stands for more than fit.
    len: u8,
    hashes: [u64; MAX_TAGS],
}

impl TagSet {
    /// The hash of a tag; never 0.
    pub(crate) fn hash(tag: &[u8]) -> u64 {
        rapidhash_v3_inline::<true, false, false>(tag, &SECRETS).max(1)
    }

    /// The hash that a tag of this hash has in a namespace; never 0.
    pub(crate) fn hash_in(hash: u64, namespace: u8) -> u64 {
        if namespace == 0 {
            return hash;
        }
        let mixed = u128::from(hash ^ u64::from(namespace)) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        ((mixed as u64) ^ (mixed >> 64) as u64).max(1)
    }

    /// Adds a hash that is not there yet.
    pub(crate) fn push(&mut self, hash: u64) {
        if self.as_slice().contains(&hash) {
            return;
        }
        if let Some(place) = self.hashes.get_mut(usize::from(self.len)) {
            *place = hash;
        }
        self.len = (self.len + 1).min(MAX_TAGS as u8 + 1);
    }

    /// The same tags in a namespace.
    pub(crate) fn in_namespace(&self, namespace: u8) -> TagSet {
        self.as_slice().iter().map(|&hash| TagSet::hash_in(hash, namespace)).collect()
    }

    /// Whether more were given than an item can have.
    pub(crate) fn is_too_long(&self) -> bool {
        usize::from(self.len) > MAX_TAGS
    }

    pub(crate) fn len(&self) -> u8 {
        self.len.min(MAX_TAGS as u8)
    }

    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.hashes[..usize::from(self.len())]
    }
}

impl FromIterator<u64> for TagSet {
    fn from_iter<I: IntoIterator<Item = u64>>(hashes: I) -> TagSet {
        let mut set = TagSet::default();
        hashes.into_iter().for_each(|hash| set.push(hash));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_is_there_once_and_too_many_are_noticed() {
        let set: TagSet = [5, 7, 5].into_iter().collect();
        assert_eq!((set.as_slice(), set.is_too_long()), (&[5, 7][..], false));
        let full: TagSet = (1..=MAX_TAGS as u64).collect();
        assert!(!full.is_too_long() && full.as_slice().len() == MAX_TAGS);
        let more: TagSet = (1..=MAX_TAGS as u64 + 3).collect();
        assert!(more.is_too_long() && more.as_slice().len() == MAX_TAGS);
    }

    #[test]
    fn namespaces_have_tags_of_their_own() {
        let hash = TagSet::hash(b"user:42");
        assert_eq!(TagSet::hash_in(hash, 0), hash);
        assert_ne!(TagSet::hash_in(hash, 1), TagSet::hash_in(hash, 2));
        assert_eq!(hash, TagSet::hash(b"user:42"));
    }
}
