//! Buffers that codecs write into, kept by each thread so that an operation does not allocate.

use std::cell::RefCell;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A larger buffer is not kept.
const MOST_BYTES: usize = 64 << 10;
/// A key's and a value's, and those of a codec that uses another cache.
const MOST_BUFFERS: usize = 4;

/// Runs something with an empty buffer.
pub(super) fn with_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = f(&mut buffer);
    if (1..=MOST_BYTES).contains(&buffer.capacity()) {
        buffer.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST_BUFFERS {
                spare.push(buffer);
            }
        });
    }
    result
}
