//! The memory behind a table: an array of atomic words in reserved address space, zero until written.
//!
//! Under loom it is a plain vector of loom's atomics, so that the models drive the table's own code.
#![allow(unsafe_code)]

use crate::error::Result;
#[cfg(not(loom))]
use crate::slab::Region;
use crate::sync::AtomicU64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Words {
    #[cfg(not(loom))]
    memory: Region,
    #[cfg(loom)]
    memory: Vec<AtomicU64>,
}

#[cfg(not(loom))]
impl Words {
    /// Room for `len` words.
    pub(crate) fn reserve(len: usize) -> Result<Words> {
        Ok(Words { memory: Region::reserve(len * 8, false, false)? })
    }

    pub(crate) fn len(&self) -> usize {
        self.memory.len() / 8
    }

    /// Eight neighbouring words: a bucket.
    #[inline(always)]
    pub(crate) fn eight(&self, at: usize) -> &[AtomicU64; 8] {
        assert!(at + 8 <= self.len());
        // SAFETY: inside the mapping, which is aligned to a page, lives as long as `self` and is readable and writable
        // throughout (`slab::os`, invariant 1); its words are only ever used as atomics.
        unsafe { &*self.memory.base().cast::<AtomicU64>().add(at).cast::<[AtomicU64; 8]>() }
    }

    /// Gives the pages inside `[from, to)` back; they read as zeros afterwards.
    pub(crate) fn give_back(&self, from: usize, to: usize) {
        self.memory.give_back(from * 8, (to - from) * 8);
    }
}

#[cfg(loom)]
impl Words {
    pub(crate) fn reserve(len: usize) -> Result<Words> {
        Ok(Words { memory: (0..len).map(|_| AtomicU64::new(0)).collect() })
    }

    pub(crate) fn eight(&self, at: usize) -> &[AtomicU64; 8] {
        self.memory[at..at + 8].try_into().expect("eight words")
    }

    pub(crate) fn give_back(&self, _from: usize, _to: usize) {}
}
