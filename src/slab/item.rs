//! One item in its chunk: header, key, value. You pay for what you use.
//!
//! ```text
//!            63                       28 27     18 17   12 11  8 7  6 4 3  2  1  0
//! short      ┌──────────────────────────┬─────────┬───────┬─────┬──┬───┬──┬──┬──┬──┐
//! word 0     │ deadline (36)            │ vlen 10 │klen 6 │gen 4│NS│knd│ID│TK│CF│ 0│
//!            └──────────────────────────┴─────────┴───────┴─────┴──┴───┴──┴──┴──┴──┘
//!            63 59 58              29 28           12 11  8 7  6 4 3  2  1  0
//! long       ┌────┬──────────────────┬───────────────┬─────┬──┬───┬──┬──┬──┬──┐
//! word 0     │MMMT│ vlen (30)        │ klen (17)     │gen 4│NS│knd│ID│TK│CF│ 1│
//!            ├────┴──────────────────┴───────────────┴─────┴──┴───┴──┴──┴──┴──┤
//! word 1     │ deadline (64)                                                  │
//!            └────────────────────────────────────────────────────────────────┘
//! then, each only if its flag is set: TK token (8) · ID last use (8), time to idle (8) · CF client flags (4) · NS
//! namespace (1); then the key, then the value. An item with tags (T, bit 59 of a long header) has them at its end, so
//! that key and value are found without knowing of them: their count (1), the sequence number of the cache's last tag
//! invalidation when the value was stored (8), and 8 bytes a tag, unaligned.
//! ```
//! M (bits 60 to 63): marks that a front-end has set on the item, in long headers alone.
//! Short: keys to 63 bytes, values to 1,023 and deadlines within 2 years of the cache's start: 8 bytes in all.
//! A free chunk's first word has kind 7 and, from bit 8 up, the number of the next free chunk of its page plus one.
//!
//! Invariants:
//! 1. Key, value, lengths, generation, token, flags and tags never change from publication until the chunk is reused,
//!    and it is reused only when no reader can be inside (`index::hazard`).
//! 2. The deadline word and the two idle words are atomics: they change in place.
//! 3. Deadlines are milliseconds since the cache's start, 0 for none; a deadline that is there is at least 1.
#![allow(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::tagset::{MAX_TAGS, TagSet};

/// What a value is. Larder itself stores only strings; front-ends store their own encodings under the other kinds.
///
/// # Examples
/// ```
/// use larder::{Cache, Kind, SetOptions};
/// let cache = Cache::new(1 << 20)?;
/// cache.set_with(b"h", b"...", &SetOptions::new().kind(Kind::Hash))?;
/// assert_eq!(cache.metadata(b"h").map(|m| m.kind), Some(Kind::Hash));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A byte string.
    #[default]
    String,
    /// An encoded hash (field to value).
    Hash,
    /// An encoded list.
    List,
    /// An encoded set.
    Set,
    /// An encoded sorted set.
    SortedSet,
    /// An encoded HyperLogLog.
    HyperLogLog,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::String, Kind::Hash, Kind::List, Kind::Set, Kind::SortedSet, Kind::HyperLogLog];

    /// The kind of this number, in files; None for a number that is none's.
    pub(crate) fn of_code(code: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(code)).copied()
    }

    fn from_code(code: u64) -> Kind {
        Kind::ALL.get(code as usize).copied().unwrap_or_default()
    }
}

/// The longest key, in bytes.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// assert!(cache.set(&[b'k'; larder::MAX_KEY_LEN], b"v").is_ok());
/// # Ok::<(), larder::Error>(())
/// ```
pub const MAX_KEY_LEN: usize = 65_536;
/// The largest `max_item_size` that can be set: 512 MiB.
///
/// # Examples
/// ```
/// let builder = larder::Cache::builder().max_memory(4 << 30).max_item_size(larder::MAX_VALUE_LEN);
/// assert!(builder.build().is_ok());
/// ```
pub const MAX_VALUE_LEN: usize = 512 << 20;

const LONG: u64 = 1;
const CLIENT_FLAGS: u64 = 1 << 1;
const TOKEN: u64 = 1 << 2;
const IDLE: u64 = 1 << 3;
const KIND_SHIFT: u32 = 4;
const NAMESPACED: u64 = 1 << 7;
const GENERATION_SHIFT: u32 = 8;
/// Generations count modulo this.
pub(crate) const GENERATIONS: u8 = 16;

const SHORT_KLEN_SHIFT: u32 = 12;
const SHORT_KLEN_MAX: usize = 63;
const SHORT_VLEN_SHIFT: u32 = 18;
const SHORT_VLEN_MAX: usize = 1023;
const SHORT_DEADLINE_SHIFT: u32 = 28;
const SHORT_DEADLINE_MAX: u64 = (1 << 36) - 1;
const SHORT_FIXED: u64 = (1 << SHORT_DEADLINE_SHIFT) - 1;

const LONG_KLEN_SHIFT: u32 = 12;
const LONG_KLEN_MASK: u64 = (1 << 17) - 1;
const LONG_VLEN_SHIFT: u32 = 29;
const LONG_VLEN_MASK: u64 = (1 << 30) - 1;

/// In a long header: the item has tags.
const TAGGED: u64 = 1 << 59;
const LONG_AND_TAGGED: u64 = LONG | TAGGED;
const MARKS_SHIFT: u32 = 60;
/// How many marks there are: bits of [`Attributes::marks`].
const MARKS: u32 = 4;
/// All marks.
pub(crate) const MAX_MARKS: u8 = (1 << MARKS) - 1;
/// Bytes of an item's tags beside the tags: their count and the sequence number.
const TAGS_FIXED: usize = 1 + 8;

const FREE_KIND: u64 = 7 << KIND_SHIFT;

const _: () = assert!(SHORT_KLEN_SHIFT + 6 == SHORT_VLEN_SHIFT && SHORT_VLEN_SHIFT + 10 == SHORT_DEADLINE_SHIFT);
const _: () = assert!(SHORT_DEADLINE_SHIFT + 36 == 64 && GENERATION_SHIFT + 4 == SHORT_KLEN_SHIFT);
const _: () = assert!(MARKS_SHIFT + MARKS == 64 && TAGGED < 1 << MARKS_SHIFT);
const _: () = assert!(LONG_KLEN_SHIFT + 17 == LONG_VLEN_SHIFT && TAGGED == 1 << (LONG_VLEN_SHIFT + 30));
const _: () = assert!(MAX_KEY_LEN as u64 <= LONG_KLEN_MASK && MAX_VALUE_LEN as u64 <= LONG_VLEN_MASK);
const _: () = assert!(1 << (SHORT_KLEN_SHIFT - GENERATION_SHIFT) == GENERATIONS as u32);

/// Everything about an item but its key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    pub(crate) kind: Kind,
    pub(crate) namespace: u8,
    pub(crate) generation: u8,
    /// Milliseconds since the cache's start; 0 for none.
    pub(crate) deadline: u64,
    pub(crate) client_flags: u32,
    /// Four bits that a front-end keeps with the item. Others than 0 make the header a long one.
    pub(crate) marks: u8,
    pub(crate) token: Option<u64>,
    /// Time to idle in milliseconds; 0 for none.
    pub(crate) idle_ms: u64,
    /// Last use in milliseconds since the cache's start; only kept with `idle_ms`.
    pub(crate) last_use: u64,
    /// How many tags it has.
    pub(crate) tags: u8,
    /// The number of the last tag invalidation when the value was stored; only kept with tags.
    pub(crate) sequence: u64,
}

impl Attributes {
    fn is_long(&self, klen: usize, vlen: usize) -> bool {
        klen > SHORT_KLEN_MAX || vlen > SHORT_VLEN_MAX || self.deadline > SHORT_DEADLINE_MAX || self.is_special()
    }

    /// Whether it has what only long headers have room for.
    fn is_special(&self) -> bool {
        self.tags > 0 || self.marks != 0
    }

    /// Bytes after the value.
    fn tail_len(&self) -> usize {
        tail_len(usize::from(self.tags))
    }

    /// Bytes before the key.
    fn header_len(&self, klen: usize, vlen: usize) -> usize {
        let fixed = if self.is_long(klen, vlen) { 16 } else { 8 };
        let token = if self.token.is_some() { 8 } else { 0 };
        let idle = if self.idle_ms > 0 { 16 } else { 0 };
        let flags = if self.client_flags != 0 { 4 } else { 0 };
        fixed + token + idle + flags + usize::from(self.namespace != 0)
    }

    /// Bytes of the whole item.
    pub(crate) fn item_len(&self, klen: usize, vlen: usize) -> usize {
        self.header_len(klen, vlen) + klen + vlen + self.tail_len()
    }

    fn word0(&self, klen: usize, vlen: usize) -> u64 {
        let flags = if self.client_flags != 0 { CLIENT_FLAGS } else { 0 }
            | if self.token.is_some() { TOKEN } else { 0 }
            | if self.idle_ms > 0 { IDLE } else { 0 }
            | if self.namespace != 0 { NAMESPACED } else { 0 }
            | (self.kind as u64) << KIND_SHIFT
            | u64::from(self.generation) << GENERATION_SHIFT;
        let tagged = if self.tags > 0 { TAGGED } else { 0 } | u64::from(self.marks) << MARKS_SHIFT;
        if self.is_long(klen, vlen) {
            flags | LONG | tagged | (klen as u64) << LONG_KLEN_SHIFT | (vlen as u64) << LONG_VLEN_SHIFT
        } else {
            flags
                | (klen as u64) << SHORT_KLEN_SHIFT
                | (vlen as u64) << SHORT_VLEN_SHIFT
                | self.deadline << SHORT_DEADLINE_SHIFT
        }
    }

    /// Writes a header into the chunk at `base`. Returns the key's place.
    ///
    /// # Safety
    /// `base` is aligned to 8 and starts `header_len` writable bytes that nobody else can reach.
    unsafe fn write_header(&self, base: *mut u8, klen: usize, vlen: usize) -> *mut u8 {
        // SAFETY: all of it lies within the bytes that the caller vouches for: the fields are written in the order and
        // with the sizes that header_len has added up. Those of 8 bytes come first, so they are aligned.
        unsafe {
            let mut at = base;
            at.cast::<u64>().write(self.word0(klen, vlen));
            at = at.add(8);
            if self.is_long(klen, vlen) {
                at.cast::<u64>().write(self.deadline);
                at = at.add(8);
            }
            if let Some(token) = self.token {
                at.cast::<u64>().write(token);
                at = at.add(8);
            }
            if self.idle_ms > 0 {
                at.cast::<u64>().write(self.last_use);
                at.add(8).cast::<u64>().write(self.idle_ms);
                at = at.add(16);
            }
            if self.client_flags != 0 {
                at.cast::<u32>().write(self.client_flags);
                at = at.add(4);
            }
            if self.namespace != 0 {
                at.write(self.namespace);
                at = at.add(1);
            }
            debug_assert_eq!(at.offset_from(base), self.header_len(klen, vlen) as isize);
            at
        }
    }

    /// Writes an item whose value is yet to come into the chunk at `base`: header and key. Returns the value's place.
    ///
    /// # Safety
    /// `base` is aligned to 8 and starts `item_len(key.len(), vlen)` writable bytes that nobody else can reach.
    pub(super) unsafe fn write(&self, base: *mut u8, key: &[u8], vlen: usize) -> *mut u8 {
        // SAFETY: the caller's word covers header and key.
        unsafe {
            let at = self.write_header(base, key.len(), vlen);
            std::ptr::copy_nonoverlapping(key.as_ptr(), at, key.len());
            at.add(key.len())
        }
    }

    /// Writes what follows the value, at `at`.
    ///
    /// # Safety
    /// `at` starts `tail_len` writable bytes that nobody else can reach.
    pub(super) unsafe fn write_tail(&self, at: *mut u8, tags: &[u64]) {
        debug_assert_eq!(tags.len(), usize::from(self.tags));
        if self.tags == 0 {
            return;
        }
        // SAFETY: a byte, eight, and eight for each tag: what tail_len adds up.
        unsafe {
            at.write(self.tags);
            at.add(1).cast::<u64>().write_unaligned(self.sequence);
            for (i, &tag) in tags.iter().take(usize::from(self.tags)).enumerate() {
                at.add(TAGS_FIXED + 8 * i).cast::<u64>().write_unaligned(tag);
            }
        }
    }

    /// Writes another header over that of the item at `base`, if it is as long and has as many tags. False if not.
    ///
    /// # Safety
    /// `base` starts an item that is not published.
    pub(super) unsafe fn rewrite(&self, base: *mut u8) -> bool {
        // SAFETY: the caller's word; the header written is as long as the one that was there.
        unsafe {
            let item = ItemRef::at(base);
            let (klen, vlen, len) = (item.key_len(), item.value_len(), item.header_len());
            if self.header_len(klen, vlen) != len || self.tags != item.tag_count() {
                return false;
            }
            self.write_header(base, klen, vlen);
            if self.tags > 0 {
                base.add(len + klen + vlen + 1).cast::<u64>().write_unaligned(self.sequence);
            }
        }
        true
    }
}

/// Bytes that so many tags take.
fn tail_len(tags: usize) -> usize {
    if tags == 0 { 0 } else { TAGS_FIXED + 8 * tags }
}

/// Length of a header by the low byte of its first word, which has all its flags.
static HEADER_LEN: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut flags = 0;
    while flags < lengths.len() as u64 {
        let optional = (flags & LONG) * 8
            + (flags & CLIENT_FLAGS) / CLIENT_FLAGS * 4
            + (flags & TOKEN) / TOKEN * 8
            + (flags & IDLE) / IDLE * 16
            + (flags & NAMESPACED) / NAMESPACED;
        lengths[flags as usize] = 8 + optional as u8;
        flags += 1;
    }
    lengths
};

/// An item in place. Copyable, like a reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemRef<'a> {
    base: *const u8,
    word0: u64,
    _chunk: std::marker::PhantomData<&'a u8>,
}

impl<'a> ItemRef<'a> {
    /// The item, or free chunk, at `base`.
    ///
    /// # Safety
    /// `base` is aligned to 8, and for `'a` it starts an item that was written by [`Attributes::write`], or a free
    /// chunk; nothing of it but the atomics (invariant 2) changes for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn at(base: *const u8) -> ItemRef<'a> {
        // SAFETY: an item's first word is an atomic for as long as it is one (invariant 2).
        let word0 = unsafe { (*base.cast::<AtomicU64>()).load(Acquire) };
        ItemRef { base, word0, _chunk: std::marker::PhantomData }
    }

    /// The item at `base`, if all that its header speaks of lies within `limit` bytes and makes sense; None for a free
    /// chunk, and for bytes that are no item.
    ///
    /// # Safety
    /// `base` is aligned to 8 and starts `limit` readable bytes, 16 at least, that nobody writes for `'a`. They may
    /// hold anything.
    pub(super) unsafe fn checked(base: *const u8, limit: usize) -> Option<ItemRef<'a>> {
        // SAFETY: the first word is there. What follows reads no byte beyond `limit`: the header's length is known from
        // that word alone, and each part is looked at only after its end was compared.
        let item = unsafe { ItemRef::at(base) };
        if item.word0 >> KIND_SHIFT & 7 >= Kind::ALL.len() as u64 || item.header_len() > limit {
            return None;
        }
        let tail = item.tail();
        if item.key_len() > MAX_KEY_LEN || item.value_len() > MAX_VALUE_LEN || tail > limit {
            return None;
        }
        if item.is_tagged() {
            let tags = if tail < limit { usize::from(item.tag_count()) } else { 0 };
            if !(1..=MAX_TAGS).contains(&tags) || tail + tail_len(tags) > limit {
                return None;
            }
        }
        Some(item)
    }

    #[inline(always)]
    fn is_long(self) -> bool {
        self.word0 & LONG != 0
    }

    /// True for a chunk that holds no item.
    #[inline(always)]
    pub(crate) fn is_free(self) -> bool {
        self.word0 & FREE_KIND == FREE_KIND
    }

    #[inline(always)]
    pub(crate) fn key_len(self) -> usize {
        if self.is_long() { self.long_lengths().0 } else { self.short_lengths().0 }
    }

    #[inline(always)]
    pub(crate) fn value_len(self) -> usize {
        if self.is_long() { self.long_lengths().1 } else { self.short_lengths().1 }
    }

    /// Bytes before the key.
    #[inline(always)]
    fn header_len(self) -> usize {
        usize::from(HEADER_LEN[usize::from(self.word0 as u8)])
    }

    pub(crate) fn item_len(self) -> usize {
        self.tail() + tail_len(usize::from(self.tag_count()))
    }

    /// Where the value begins.
    pub(super) fn value_offset(self) -> usize {
        self.header_len() + self.key_len()
    }

    /// Where the value ends: tags, if any, begin there.
    fn tail(self) -> usize {
        self.value_offset() + self.value_len()
    }

    /// Whether it has tags.
    #[inline(always)]
    pub(crate) fn is_tagged(self) -> bool {
        self.word0 & LONG_AND_TAGGED == LONG_AND_TAGGED
    }

    fn tag_count(self) -> u8 {
        if self.is_tagged() { self.bytes(self.tail(), 1)[0] } else { 0 }
    }

    fn unaligned(self, at: usize) -> u64 {
        let mut eight = [0; 8];
        eight.copy_from_slice(self.bytes(at, 8));
        u64::from_ne_bytes(eight)
    }

    /// The number of the last tag invalidation when the value was stored; 0 without tags.
    pub(crate) fn sequence(self) -> u64 {
        if self.is_tagged() { self.unaligned(self.tail() + 1) } else { 0 }
    }

    /// The hashes of its tags.
    pub(crate) fn tags(self) -> TagSet {
        let first = self.tail() + TAGS_FIXED;
        (0..usize::from(self.tag_count())).map(|i| self.unaligned(first + 8 * i)).collect()
    }

    /// Payload: key and value.
    pub(crate) fn payload_len(self) -> usize {
        self.key_len() + self.value_len()
    }

    #[inline(always)]
    fn word(self, index: usize) -> &'a AtomicU64 {
        // SAFETY: callers ask only for words that the flags say are there; they are aligned, and atomics by invariant 2
        // (or never written while published, by invariant 1).
        unsafe { &*self.base.cast::<AtomicU64>().add(index) }
    }

    #[inline(always)]
    fn bytes(self, from: usize, len: usize) -> &'a [u8] {
        // SAFETY: callers stay within header + key + value, which `at` vouches for, and beyond the atomic words;
        // invariant 1 says that they do not change for 'a.
        unsafe { std::slice::from_raw_parts(self.base.add(from), len) }
    }

    #[inline(always)]
    pub(crate) fn key(self) -> &'a [u8] {
        self.bytes(self.header_len(), self.key_len())
    }

    #[inline(always)]
    pub(crate) fn value(self) -> &'a [u8] {
        self.bytes(self.header_len() + self.key_len(), self.value_len())
    }

    #[inline(always)]
    pub(crate) fn namespace(self) -> u8 {
        if self.word0 & NAMESPACED != 0 { self.bytes(self.header_len() - 1, 1)[0] } else { 0 }
    }

    /// Whether this is the item of this key.
    #[inline(always)]
    pub(crate) fn is(self, namespace: u8, key: &[u8]) -> bool {
        self.value_of(namespace, key).is_some()
    }

    /// The value if this is the item of this key. One pass over the header: every hit comes through here.
    #[inline(always)]
    pub(crate) fn value_of(self, namespace: u8, key: &[u8]) -> Option<&'a [u8]> {
        debug_assert!(!self.is_free());
        let (klen, vlen) = if self.is_long() { self.long_lengths() } else { self.short_lengths() };
        let at = self.header_len();
        if klen != key.len() || !same_bytes(self.bytes(at, klen), key) || self.namespace() != namespace {
            return None;
        }
        Some(self.bytes(at + klen, vlen))
    }

    #[inline(always)]
    fn short_lengths(self) -> (usize, usize) {
        let (klen, vlen) = (self.word0 >> SHORT_KLEN_SHIFT, self.word0 >> SHORT_VLEN_SHIFT);
        (klen as usize & SHORT_KLEN_MAX, vlen as usize & SHORT_VLEN_MAX)
    }

    /// Apart, so that the lengths of short items are not computed both ways.
    #[cold]
    #[inline(never)]
    fn long_lengths(self) -> (usize, usize) {
        let (klen, vlen) = (self.word0 >> LONG_KLEN_SHIFT, self.word0 >> LONG_VLEN_SHIFT);
        ((klen & LONG_KLEN_MASK) as usize, (vlen & LONG_VLEN_MASK) as usize)
    }

    #[inline(always)]
    pub(crate) fn generation(self) -> u8 {
        (self.word0 >> GENERATION_SHIFT) as u8 & (GENERATIONS - 1)
    }

    pub(crate) fn kind(self) -> Kind {
        Kind::from_code(self.word0 >> KIND_SHIFT & 7)
    }

    /// Milliseconds since the cache's start; 0 for none.
    #[inline(always)]
    pub(crate) fn deadline(self) -> u64 {
        if self.is_long() { self.word(1).load(Acquire) } else { self.word(0).load(Acquire) >> SHORT_DEADLINE_SHIFT }
    }

    /// Changes the deadline in place. False if this form of header cannot hold it: the item has to be written anew.
    pub(crate) fn set_deadline(self, deadline: u64) -> bool {
        if self.is_long() {
            self.word(1).store(deadline, Release);
        } else if deadline <= SHORT_DEADLINE_MAX {
            self.word(0).store(self.word0 & SHORT_FIXED | deadline << SHORT_DEADLINE_SHIFT, Release);
        } else {
            return false;
        }
        true
    }

    /// The marks that a front-end has set on it.
    pub(crate) fn marks(self) -> u8 {
        if self.is_long() { (self.word0 >> MARKS_SHIFT) as u8 } else { 0 }
    }

    pub(crate) fn token(self) -> Option<u64> {
        (self.word0 & TOKEN != 0).then(|| self.word(1 + (self.word0 & LONG) as usize).load(Relaxed))
    }

    fn idle_word(self) -> usize {
        1 + (self.word0 & LONG) as usize + usize::from(self.word0 & TOKEN != 0)
    }

    /// Last use and time to idle, if this item has one.
    #[inline(always)]
    pub(crate) fn idle(self) -> Option<(u64, u64)> {
        if self.word0 & IDLE == 0 {
            return None;
        }
        let at = self.idle_word();
        Some((self.word(at).load(Acquire), self.word(at + 1).load(Relaxed)))
    }

    /// Notes a use of an item that has a time to idle. Later of the two times wins.
    pub(crate) fn used_at(self, now: u64) {
        if self.word0 & IDLE != 0 {
            self.word(self.idle_word()).fetch_max(now, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// When this item ends: the earlier of its deadline and the end of its idle time. 0 for never.
    #[inline(always)]
    pub(crate) fn ends(self) -> u64 {
        let deadline = self.deadline();
        if self.word0 & IDLE == 0 { deadline } else { self.ends_idle(deadline) }
    }

    /// The same as it was when this reference was made.
    #[inline(always)]
    pub(crate) fn ended(self) -> u64 {
        if self.word0 & (LONG | IDLE) == 0 { self.word0 >> SHORT_DEADLINE_SHIFT } else { self.ends_slow() }
    }

    /// Of an item with tags never 0: there is more than its end to be looked at.
    #[cold]
    #[inline(never)]
    fn ends_slow(self) -> u64 {
        match self.ends() {
            0 if self.is_tagged() => u64::MAX,
            end => end,
        }
    }

    fn ends_idle(self, deadline: u64) -> u64 {
        let (last_use, idle_ms) = self.idle().unwrap_or((u64::MAX, 0));
        let idle_end = last_use.saturating_add(idle_ms).max(1);
        if deadline == 0 { idle_end } else { deadline.min(idle_end) }
    }

    #[inline(always)]
    pub(crate) fn has_end(self) -> bool {
        self.deadline() != 0 || self.word0 & IDLE != 0
    }

    pub(crate) fn client_flags(self) -> u32 {
        if self.word0 & CLIENT_FLAGS == 0 {
            return 0;
        }
        let at = self.header_len() - usize::from(self.word0 & NAMESPACED != 0) - 4;
        let mut four = [0; 4];
        four.copy_from_slice(self.bytes(at, 4));
        u32::from_ne_bytes(four)
    }

    pub(crate) fn attributes(self) -> Attributes {
        let (last_use, idle_ms) = self.idle().unwrap_or_default();
        Attributes {
            kind: self.kind(),
            namespace: self.namespace(),
            generation: self.generation(),
            deadline: self.deadline(),
            client_flags: self.client_flags(),
            marks: self.marks(),
            token: self.token(),
            idle_ms,
            last_use,
            tags: self.tag_count(),
            sequence: self.sequence(),
        }
    }
}

/// Byte equality, by words where there are enough: the compiler's call to `memcmp` costs more than short keys do.
#[inline(always)]
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    let n = b.len();
    if a.len() != n || n < 8 {
        return a == b;
    }
    let word = |s: &[u8], at: usize| {
        let mut w = [0; 8];
        w.copy_from_slice(&s[at..at + 8]);
        u64::from_ne_bytes(w)
    };
    let mut at = 0;
    while at + 8 <= n {
        if word(a, at) != word(b, at) {
            return false;
        }
        at += 8;
    }
    word(a, n - 8) == word(b, n - 8)
}

/// Marks the chunk at `base` free, with the number of the next free chunk of its page plus one.
///
/// # Safety
/// `base` starts a chunk that nobody else can reach.
pub(super) unsafe fn write_free(base: *mut u8, next_plus_one: u32) {
    // SAFETY: a chunk is at least 16 bytes and aligned to 8; it is the caller's alone.
    unsafe { (*base.cast::<AtomicU64>()).store(FREE_KIND | u64::from(next_plus_one) << GENERATION_SHIFT, Relaxed) }
}

/// Reads what [`write_free`] wrote.
///
/// # Safety
/// `base` starts a free chunk.
pub(super) unsafe fn read_free(base: *const u8) -> u32 {
    // SAFETY: as for `write_free`.
    unsafe { ((*base.cast::<AtomicU64>()).load(Relaxed) >> GENERATION_SHIFT) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [u64; 3] = [1, u64::MAX, 0x0123_4567_89ab_cdef];

    fn written(attributes: &Attributes, key: &[u8], value: &[u8]) -> Vec<u64> {
        let len = attributes.item_len(key.len(), value.len());
        let mut chunk = vec![0u64; len.div_ceil(8)];
        // SAFETY: the vector is ours, aligned to 8 and long enough.
        unsafe {
            let at = attributes.write(chunk.as_mut_ptr().cast(), key, value.len());
            std::ptr::copy_nonoverlapping(value.as_ptr(), at, value.len());
            attributes.write_tail(at.add(value.len()), &TAGS[..usize::from(attributes.tags)]);
        }
        chunk
    }

    #[test]
    fn every_combination_reads_back() {
        for case in 0..1024u32 {
            let bit = |n: u32| case >> n & 1 == 1;
            let attributes = Attributes {
                kind: if bit(0) { Kind::SortedSet } else { Kind::String },
                namespace: if bit(1) { 9 } else { 0 },
                generation: (case % 16) as u8,
                deadline: [0, 1, SHORT_DEADLINE_MAX, u64::MAX][(case >> 2 & 3) as usize],
                client_flags: if bit(4) { 0xdead_beef } else { 0 },
                marks: if bit(9) { 15 } else { u8::from(bit(8)) },
                token: bit(5).then_some(u64::MAX - 1),
                idle_ms: if bit(6) { 77 } else { 0 },
                last_use: if bit(6) { 1234 } else { 0 },
                tags: if bit(9) { (case % 3) as u8 + 1 } else { 0 },
                sequence: if bit(9) { u64::MAX - 2 } else { 0 },
            };
            let key = vec![b'k'; if bit(7) { 64 } else { 5 }];
            let value = vec![b'v'; if bit(8) { 1024 } else { 0 }];
            let chunk = written(&attributes, &key, &value);
            // SAFETY: just written, and it outlives the reference.
            let item = unsafe { ItemRef::at(chunk.as_ptr().cast()) };
            assert_eq!(item.attributes(), attributes);
            assert_eq!(item.tags().as_slice(), &TAGS[..usize::from(attributes.tags)]);
            assert_eq!(item.is_tagged(), attributes.tags > 0);
            assert_eq!((item.key(), item.value()), (&key[..], &value[..]));
            assert_eq!(item.item_len(), attributes.item_len(key.len(), value.len()));
            assert!(item.is(attributes.namespace, &key) && !item.is(attributes.namespace ^ 1, &key) && !item.is_free());
        }
    }

    #[test]
    fn a_small_item_pays_eight_bytes() {
        let attributes = Attributes { deadline: 86_400_000, ..Attributes::default() };
        assert_eq!(attributes.item_len(24, 100) - 124, 8);
    }

    #[test]
    fn deadlines_change_in_place_where_they_fit() {
        let chunk = written(&Attributes::default(), b"key", b"value");
        // SAFETY: just written, and it outlives the reference.
        let item = unsafe { ItemRef::at(chunk.as_ptr().cast()) };
        assert!(item.set_deadline(SHORT_DEADLINE_MAX) && !item.set_deadline(SHORT_DEADLINE_MAX + 1));
        assert_eq!((item.deadline(), item.key(), item.value()), (SHORT_DEADLINE_MAX, &b"key"[..], &b"value"[..]));
    }
}
