//! The limit: hashbrown's map, boxed key to boxed value, with its default hasher (foldhash). It forgets nothing,
//! protects nothing and counts nothing. One thread may write to it; several may read it when nobody writes.

use hashbrown::HashMap;

use crate::contender::{Capacity, Contender, Refusal, no_byte_bound, sum};

pub(crate) struct Map(HashMap<Box<[u8]>, Box<[u8]>>);

impl<const N: usize> Contender<N> for Map {
    const SHARED_WRITES: bool = false;

    fn build(capacity: &Capacity) -> Result<Self, Refusal> {
        if capacity.is_bytes() { Err(no_byte_bound()) } else { Ok(Map(HashMap::new())) }
    }

    #[inline]
    fn get(&self, key: &[u8; N]) -> Option<u64> {
        self.0.get(&key[..]).map(|value| sum(value))
    }

    /// Never stores: a map that is shared cannot be written to.
    #[inline]
    fn set(&self, _key: &[u8; N], _value: &[u8]) -> bool {
        false
    }

    #[inline]
    fn set_alone(&mut self, key: &[u8; N], value: &[u8]) -> bool {
        self.0.insert(Box::from(&key[..]), Box::from(value));
        true
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}
