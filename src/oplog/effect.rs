//! What a write did, as bytes: an operation's byte, then its fields (`docs/log-format.md`).
//!
//! Effects are absolute: "this key has these bytes until then", never "one more than before". So a stretch of them can
//! be applied again from its beginning, and comes to the same end.

use super::varint::{self, Sink, Varint};
use crate::events::RemovalCause;
use crate::slab::{Kind, MAX_KEY_LEN, MAX_MARKS, MAX_VALUE_LEN};

const SET: u8 = 1;
const DELETE: u8 = 2;
const DEADLINE: u8 = 3;
const CLEAR: u8 = 4;
const CLEAR_AT: u8 = 5;
const INVALIDATE_TAG: u8 = 6;
const SEVERAL: u8 = 7;
const TIME: u8 = 8;
const TOKENS: u8 = 9;

/// Bits of the byte that says which optional fields of a value are there.
const HAS_FLAGS: u8 = 1;
const HAS_DEADLINE: u8 = 1 << 1;
const HAS_IDLE: u8 = 1 << 2;
const HAS_TOKEN: u8 = 1 << 3;
const HAS_TAGS: u8 = 1 << 4;
const HAS_MARKS: u8 = 1 << 5;

/// The most tags that an item can have.
const MAX_TAGS: u64 = 16;

/// The tags of a value: hashes, as the cache keeps them.
///
/// # Examples
/// ```
/// use larder::oplog::Tags;
/// let bytes = [7, 0, 0, 0, 0, 0, 0, 0];
/// assert_eq!(Tags::new(&bytes).unwrap().iter().collect::<Vec<_>>(), [7]);
/// assert!(Tags::new(&[1, 2, 3]).is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    /// Tags given as eight bytes each, lowest first; at most 16 of them. None for other lengths.
    ///
    /// # Examples
    /// See [`Tags`].
    pub fn new(bytes: &'a [u8]) -> Option<Tags<'a>> {
        (bytes.len().is_multiple_of(8) && bytes.len() as u64 <= MAX_TAGS * 8).then_some(Tags(bytes))
    }

    /// The hashes.
    ///
    /// # Examples
    /// See [`Tags`].
    pub fn iter(self) -> impl Iterator<Item = u64> + use<'a> {
        self.0.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// A value with all that belongs to it.
///
/// # Examples
/// ```
/// use larder::oplog::Item;
/// let item = Item::new(0, b"key", b"value");
/// assert_eq!(item.deadline_ms, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Item<'a> {
    /// The key's namespace.
    pub namespace: u8,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// What the value is.
    pub kind: Kind,
    /// Client flags.
    pub flags: u32,
    /// When it ends, in milliseconds since the Unix epoch; None for never.
    pub deadline_ms: Option<u64>,
    /// After how many milliseconds without a read it ends; None for never.
    pub idle_ms: Option<u64>,
    /// Its check-and-set token, if it has one.
    pub token: Option<u64>,
    /// Its tags.
    pub tags: Tags<'a>,
    /// Marks that a front-end has set on it, at most 15 (other bits are not kept). Of the memcached front-end: 1 the
    /// value is stale, 2 somebody was told to bring a new one, 4 the key is shown in base64.
    pub marks: u8,
}

impl<'a> Item<'a> {
    /// A plain string without an end.
    ///
    /// # Examples
    /// See [`Item`].
    pub fn new(namespace: u8, key: &'a [u8], value: &'a [u8]) -> Item<'a> {
        let (kind, flags, tags) = (Kind::String, 0, Tags::default());
        Item { namespace, key, value, kind, flags, deadline_ms: None, idle_ms: None, token: None, tags, marks: 0 }
    }
}

/// What happened to a cache.
///
/// # Examples
/// ```
/// use larder::oplog::{Effect, Item, encode};
/// let mut bytes = Vec::new();
/// encode(1, &Effect::Set(Item::new(0, b"k", b"v")), &mut bytes);
/// encode(2, &Effect::Clear { namespace: 3, due_ms: None }, &mut bytes);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect<'a> {
    /// A key has this value now.
    Set(Item<'a>),
    /// A key has no value any more.
    Delete {
        /// The key's namespace.
        namespace: u8,
        /// The key.
        key: &'a [u8],
        /// Why: removed, evicted or expired.
        cause: RemovalCause,
    },
    /// A value has another deadline.
    Deadline {
        /// The key's namespace.
        namespace: u8,
        /// The key.
        key: &'a [u8],
        /// When it ends, in milliseconds since the Unix epoch; None for never.
        deadline_ms: Option<u64>,
    },
    /// A namespace was cleared.
    Clear {
        /// The namespace.
        namespace: u8,
        /// The time for which this was planned, if it was, in milliseconds since the Unix epoch.
        due_ms: Option<u64>,
    },
    /// A namespace is to be cleared later; when that is done, it is an effect of its own.
    ClearAt {
        /// The namespace.
        namespace: u8,
        /// When, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// All values that have a tag are gone.
    InvalidateTag {
        /// The tag's hash.
        tag: u64,
    },
    /// Several effects that happened as one.
    Several(Several<'a>),
    /// It was so late when this was written, in milliseconds since the Unix epoch: how far a replica is behind.
    Time {
        /// The time.
        unix_ms: u64,
    },
    /// Check-and-set tokens below this may have been given.
    Tokens {
        /// The first that cannot have been.
        floor: u64,
    },
}

/// Effects that happened as one, in order.
///
/// # Examples
/// ```
/// use larder::oplog::{Effect, Several};
/// let mut bytes = Vec::new();
/// Several::add(&mut bytes, &Effect::Clear { namespace: 1, due_ms: None });
/// Several::add(&mut bytes, &Effect::Clear { namespace: 2, due_ms: None });
/// assert_eq!(Several::new(&bytes).unwrap().iter().count(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Several<'a>(&'a [u8]);

impl<'a> Several<'a> {
    /// Effects that were [added](Self::add) to a buffer. None if it holds anything else.
    ///
    /// # Examples
    /// See [`Several`].
    pub fn new(bytes: &'a [u8]) -> Option<Several<'a>> {
        let mut fields = Fields(bytes);
        while !fields.0.is_empty() {
            if let Effect::Several(_) = fields.effect()? {
                return None;
            }
        }
        Some(Several(bytes))
    }

    /// Those of which it is known that they are.
    pub(super) fn of_encoded(bytes: &'a [u8]) -> Several<'a> {
        Several(bytes)
    }

    /// Adds an effect to a buffer of several. Effects that are several themselves are not added.
    ///
    /// # Examples
    /// See [`Several`].
    pub fn add(buffer: &mut Vec<u8>, effect: &Effect<'_>) {
        if !matches!(effect, Effect::Several(_)) {
            effect.encode(buffer);
        }
    }

    /// The effects.
    ///
    /// # Examples
    /// See [`Several`].
    pub fn iter(self) -> impl Iterator<Item = Effect<'a>> + use<'a> {
        let mut fields = Fields(self.0);
        std::iter::from_fn(move || if fields.0.is_empty() { None } else { fields.effect() })
    }
}

fn cause_code(cause: RemovalCause) -> u8 {
    match cause {
        RemovalCause::Evicted => 1,
        RemovalCause::Expired => 2,
        RemovalCause::Removed | RemovalCause::Replaced | RemovalCause::Flushed => 0,
    }
}

impl<'a> Effect<'a> {
    pub(super) fn encode(&self, to: &mut impl Sink) {
        match *self {
            Effect::Set(ref item) => Self::encode_item(item, to),
            Effect::Delete { namespace, key, cause } => {
                to.put(&[DELETE, cause_code(cause), namespace]);
                put_bytes(key, to);
            }
            Effect::Deadline { namespace, key, deadline_ms } => {
                to.put(&[DEADLINE, namespace]);
                put_time(deadline_ms, to);
                put_bytes(key, to);
            }
            Effect::Clear { namespace, due_ms } => {
                to.put(&[CLEAR, namespace]);
                put_time(due_ms, to);
            }
            Effect::ClearAt { namespace, at_ms } => {
                to.put(&[CLEAR_AT, namespace]);
                to.put_varint(at_ms);
            }
            Effect::InvalidateTag { tag } => {
                to.put(&[INVALIDATE_TAG]);
                to.put(&tag.to_le_bytes());
            }
            Effect::Several(several) => {
                to.put(&[SEVERAL]);
                put_bytes(several.0, to);
            }
            Effect::Time { unix_ms } => {
                to.put(&[TIME]);
                to.put_varint(unix_ms);
            }
            Effect::Tokens { floor } => {
                to.put(&[TOKENS]);
                to.put_varint(floor);
            }
        }
    }

    fn encode_item(item: &Item<'_>, to: &mut impl Sink) {
        let has = |is: bool, bit: u8| if is { bit } else { 0 };
        let present = has(item.flags != 0, HAS_FLAGS)
            | has(item.deadline_ms.is_some(), HAS_DEADLINE)
            | has(item.idle_ms.is_some(), HAS_IDLE)
            | has(item.token.is_some(), HAS_TOKEN)
            | has(!item.tags.0.is_empty(), HAS_TAGS)
            | has(item.marks & MAX_MARKS != 0, HAS_MARKS);
        to.put(&[SET, present, item.kind as u8, item.namespace]);
        if item.flags != 0 {
            to.put_varint(item.flags.into());
        }
        [item.deadline_ms, item.idle_ms, item.token].into_iter().flatten().for_each(|number| to.put_varint(number));
        if !item.tags.0.is_empty() {
            to.put(&[(item.tags.0.len() / 8) as u8]);
            to.put(item.tags.0);
        }
        if item.marks & MAX_MARKS != 0 {
            to.put(&[item.marks & MAX_MARKS]);
        }
        put_bytes(item.key, to);
        put_bytes(item.value, to);
    }

    /// An effect that these bytes are, all of them.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Effect<'a>> {
        let mut fields = Fields(bytes);
        fields.effect().filter(|_| fields.0.is_empty())
    }
}

fn put_bytes(bytes: &[u8], to: &mut impl Sink) {
    to.put_varint(bytes.len() as u64);
    to.put(bytes);
}

/// A time, or none: one more than the time, or 0. (Nobody will miss the last millisecond of all.)
fn put_time(time: Option<u64>, to: &mut impl Sink) {
    to.put_varint(time.map_or(0, |ms| ms.saturating_add(1)));
}

/// What is left to be read of an effect's bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn varint(&mut self) -> Option<u64> {
        let Varint::Is(number, len) = varint::read(self.0) else { return None };
        self.0 = &self.0[len..];
        Some(number)
    }

    fn bytes(&mut self, most: usize) -> Option<&'a [u8]> {
        let len = self.varint()?;
        if len > most as u64 { None } else { self.take(len) }
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        self.bytes(MAX_KEY_LEN)
    }

    fn time(&mut self) -> Option<Option<u64>> {
        self.varint().map(|number| number.checked_sub(1))
    }

    fn effect(&mut self) -> Option<Effect<'a>> {
        Some(match self.byte()? {
            SET => Effect::Set(self.item()?),
            DELETE => {
                let cause = match self.byte()? {
                    0 => RemovalCause::Removed,
                    1 => RemovalCause::Evicted,
                    2 => RemovalCause::Expired,
                    _ => return None,
                };
                Effect::Delete { cause, namespace: self.byte()?, key: self.key()? }
            }
            DEADLINE => {
                let (namespace, deadline_ms) = (self.byte()?, self.time()?);
                Effect::Deadline { namespace, deadline_ms, key: self.key()? }
            }
            CLEAR => Effect::Clear { namespace: self.byte()?, due_ms: self.time()? },
            CLEAR_AT => Effect::ClearAt { namespace: self.byte()?, at_ms: self.varint()? },
            INVALIDATE_TAG => Effect::InvalidateTag { tag: u64::from_le_bytes(self.take(8)?.try_into().ok()?) },
            SEVERAL => Effect::Several(Several::new(self.bytes(usize::MAX)?)?),
            TIME => Effect::Time { unix_ms: self.varint()? },
            TOKENS => Effect::Tokens { floor: self.varint()? },
            _ => return None,
        })
    }

    fn item(&mut self) -> Option<Item<'a>> {
        let (present, kind, namespace) = (self.byte()?, self.byte()?, self.byte()?);
        if present >= HAS_MARKS << 1 {
            return None;
        }
        let has = |bit: u8| present & bit != 0;
        let mut number = |bit: u8| if has(bit) { self.varint().map(Some) } else { Some(None) };
        let flags = match number(HAS_FLAGS)? {
            Some(flags) => u32::try_from(flags).ok().filter(|&flags| flags != 0)?,
            None => 0,
        };
        let (deadline_ms, idle_ms, token) = (number(HAS_DEADLINE)?, number(HAS_IDLE)?, number(HAS_TOKEN)?);
        let tags = if has(HAS_TAGS) {
            let count = self.byte().filter(|&count| count > 0)?;
            Tags::new(self.take(u64::from(count) * 8)?)?
        } else {
            Tags::default()
        };
        let marks = if has(HAS_MARKS) { self.byte().filter(|marks| (1..=MAX_MARKS).contains(marks))? } else { 0 };
        let kind = Kind::of_code(kind)?;
        let (key, value) = (self.key()?, self.bytes(MAX_VALUE_LEN)?);
        Some(Item { namespace, key, value, kind, flags, deadline_ms, idle_ms, token, tags, marks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Effect<'static>> {
        let tags = Tags::new(&[1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0, 0, 0, 0, 0, 0, 0x80]).unwrap();
        let full = Item {
            kind: Kind::SortedSet,
            flags: u32::MAX,
            deadline_ms: Some(1_700_000_000_000),
            idle_ms: Some(0),
            token: Some(u64::MAX),
            tags,
            marks: 15,
            ..Item::new(255, b"a key", b"a value")
        };
        let mut effects = vec![
            Effect::Set(Item::new(0, b"", b"")),
            Effect::Set(full),
            Effect::Deadline { namespace: 7, key: b"k", deadline_ms: None },
            Effect::Deadline { namespace: 7, key: b"k", deadline_ms: Some(0) },
            Effect::Clear { namespace: 9, due_ms: None },
            Effect::Clear { namespace: 9, due_ms: Some(12) },
            Effect::ClearAt { namespace: 0, at_ms: 1 << 40 },
            Effect::InvalidateTag { tag: 0x0102_0304_0506_0708 },
            Effect::Time { unix_ms: 5 },
            Effect::Tokens { floor: 300 },
        ];
        for cause in [RemovalCause::Removed, RemovalCause::Evicted, RemovalCause::Expired] {
            effects.push(Effect::Delete { namespace: 1, key: b"gone", cause });
        }
        effects
    }

    #[test]
    fn effects_come_back_and_no_beginning_of_one_is_one() {
        let mut several = Vec::new();
        all().iter().for_each(|effect| Several::add(&mut several, effect));
        let together = Effect::Several(Several::new(&several).unwrap());
        for effect in all().into_iter().chain([together]) {
            let mut bytes = Vec::new();
            effect.encode(&mut bytes);
            assert_eq!(Effect::decode(&bytes), Some(effect));
            for cut in 0..bytes.len() {
                assert_eq!(Effect::decode(&bytes[..cut]), None);
            }
            bytes.push(0);
            assert_eq!(Effect::decode(&bytes), None);
        }
        assert_eq!(Several::new(&several).unwrap().iter().collect::<Vec<_>>(), all());
    }

    #[test]
    fn several_do_not_nest() {
        let mut inner = Vec::new();
        Effect::Several(Several(&[])).encode(&mut inner);
        assert!(Several::new(&inner).is_none());
        let mut bytes = Vec::new();
        Several::add(&mut bytes, &Effect::Several(Several(&[])));
        assert!(bytes.is_empty());
    }
}
