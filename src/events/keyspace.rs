//! What happened to a key, in the words of Redis: classes, forms, event names and channels of its keyspace
//! notifications.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::slab::Kind;

/// A class of key events: which kind of operation it was. The letters are those of `notify-keyspace-events`.
///
/// # Examples
/// ```
/// use larder::KeyEventClass;
/// assert_eq!(KeyEventClass::Expired.letter(), 'x');
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum KeyEventClass {
    /// `g`: not of one type: `del`, `expire`, `persist`, `rename_from`, `rename_to`.
    Generic,
    /// `$`: strings: `set`, `append`, `incrby`.
    String,
    /// `l`: lists.
    List,
    /// `s`: sets.
    Set,
    /// `h`: hashes.
    Hash,
    /// `z`: sorted sets.
    SortedSet,
    /// `x`: `expired`, when an item that has ended is removed.
    Expired,
    /// `e`: `evicted`.
    Evicted,
}

impl KeyEventClass {
    const ALL: [KeyEventClass; 8] = [
        KeyEventClass::Generic,
        KeyEventClass::String,
        KeyEventClass::List,
        KeyEventClass::Set,
        KeyEventClass::Hash,
        KeyEventClass::SortedSet,
        KeyEventClass::Expired,
        KeyEventClass::Evicted,
    ];

    /// Its letter.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::KeyEventClass::String.letter(), '$');
    /// ```
    pub fn letter(self) -> char {
        ['g', '$', 'l', 's', 'h', 'z', 'x', 'e'][self as usize]
    }

    pub(crate) fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The class to which operations on values of a kind belong.
    pub(crate) fn of(kind: Kind) -> KeyEventClass {
        match kind {
            Kind::String | Kind::HyperLogLog => KeyEventClass::String,
            Kind::Hash => KeyEventClass::Hash,
            Kind::List => KeyEventClass::List,
            Kind::Set => KeyEventClass::Set,
            Kind::SortedSet => KeyEventClass::SortedSet,
        }
    }
}

const ALL_CLASSES: u32 = (1 << KeyEventClass::ALL.len()) - 1;
const KEYSPACE: u32 = 1 << 16;
const KEYEVENT: u32 = 1 << 17;

/// Which key events are wanted, and in which form: the value of Redis's `notify-keyspace-events`.
///
/// Letters: the classes' (`g$lshzxe`), `A` for all of them, `K` for messages on `__keyspace@<namespace>__:<key>`, `E`
/// for messages on `__keyevent@<namespace>__:<event>`. As in Redis, nothing is told without `K` or `E`, and nothing
/// without a class.
///
/// # Examples
/// ```
/// use larder::{ErrorKind, KeyEvents};
/// let events: KeyEvents = "Kxe".parse()?;
/// assert_eq!(events.to_string(), "xeK");
/// assert_eq!("KQ".parse::<KeyEvents>().unwrap_err().kind(), ErrorKind::InvalidConfig);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct KeyEvents(u32);

impl KeyEvents {
    /// All classes, both forms: `KEA`.
    pub const ALL: KeyEvents = KeyEvents(ALL_CLASSES | KEYSPACE | KEYEVENT);
    /// Nothing.
    pub const NONE: KeyEvents = KeyEvents(0);

    /// Whether events of this class are told.
    ///
    /// # Examples
    /// ```
    /// use larder::{KeyEventClass, KeyEvents};
    /// let events: KeyEvents = "Kg".parse()?;
    /// assert!(events.has(KeyEventClass::Generic) && !events.has(KeyEventClass::String));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn has(self, class: KeyEventClass) -> bool {
        self.wants() & class.bit() != 0
    }

    /// Bits of the classes that are told: none without a form.
    pub(crate) fn wants(self) -> u32 {
        if self.0 & (KEYSPACE | KEYEVENT) == 0 { 0 } else { self.0 & ALL_CLASSES }
    }
}

impl FromStr for KeyEvents {
    type Err = Error;

    fn from_str(letters: &str) -> Result<KeyEvents, Error> {
        let mut bits = 0;
        for letter in letters.chars() {
            bits |= match letter {
                'K' => KEYSPACE,
                'E' => KEYEVENT,
                'A' => ALL_CLASSES,
                _ => match KeyEventClass::ALL.iter().find(|class| class.letter() == letter) {
                    Some(class) => class.bit(),
                    None => {
                        return Err(Error::new(
                            ErrorKind::InvalidConfig,
                            format!(
                                "the letter {letter:?} in {letters:?} is no class of key events: there are g $ l s h \
                                 z x e, A for all of them, and K and E for the forms"
                            ),
                        ));
                    }
                },
            };
        }
        Ok(KeyEvents(bits))
    }
}

impl fmt::Display for KeyEvents {
    /// In the order in which Redis shows it: classes (`A` for all of them), then forms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & ALL_CLASSES == ALL_CLASSES {
            f.write_str("A")?;
        } else {
            for class in KeyEventClass::ALL.iter().filter(|class| self.0 & class.bit() != 0) {
                write!(f, "{}", class.letter())?;
            }
        }
        let form = |bit, letter| if self.0 & bit != 0 { letter } else { "" };
        write!(f, "{}{}", form(KEYSPACE, "K"), form(KEYEVENT, "E"))
    }
}

/// Something that happened to a key.
///
/// # Examples
/// ```
/// use larder::{Cache, KeyEvents};
/// let cache = Cache::new(1 << 20)?;
/// let events = cache.subscribe(KeyEvents::ALL, 100);
/// cache.set(b"k", b"v")?;
/// let event = events.try_recv().unwrap();
/// assert_eq!((event.key(), event.name(), event.namespace()), (&b"k"[..], "set", 0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEvent {
    key: Arc<[u8]>,
    name: &'static str,
    namespace: u8,
    class: KeyEventClass,
    forms: KeyEvents,
}

impl KeyEvent {
    pub(crate) fn new(
        key: Arc<[u8]>,
        name: &'static str,
        namespace: u8,
        class: KeyEventClass,
        forms: KeyEvents,
    ) -> KeyEvent {
        KeyEvent { key, name, namespace, class, forms }
    }

    /// What it takes while it waits, in bytes. The key is shared between subscribers, and counted for each: whoever is
    /// last frees it.
    pub(crate) fn weight(&self) -> u64 {
        (size_of::<KeyEvent>() + 16 + self.key.len()) as u64
    }

    /// The key.
    ///
    /// # Examples
    /// See [`KeyEvent`].
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// What happened, as Redis calls it: `set`, `del`, `expired` ...
    ///
    /// # Examples
    /// See [`KeyEvent`].
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The key's namespace: Redis's database number.
    ///
    /// # Examples
    /// See [`KeyEvent`].
    pub fn namespace(&self) -> u8 {
        self.namespace
    }

    /// Its class.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEventClass, KeyEvents};
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe(KeyEvents::ALL, 100);
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(events.try_recv().unwrap().class(), KeyEventClass::String);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn class(&self) -> KeyEventClass {
        self.class
    }

    /// The messages that Redis would publish for it, channel and payload, in its order: that of the keyspace form if
    /// the subscriber asked for `K`, that of the keyevent form if it asked for `E`.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, KeyEvents};
    /// let cache = Cache::new(1 << 20)?.namespace(3);
    /// let events = cache.subscribe(KeyEvents::ALL, 100);
    /// cache.set(b"k", b"v")?;
    /// let messages: Vec<_> = events.try_recv().unwrap().messages().collect();
    /// assert_eq!(messages[0], (b"__keyspace@3__:k".to_vec(), b"set".to_vec()));
    /// assert_eq!(messages[1], (b"__keyevent@3__:set".to_vec(), b"k".to_vec()));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn messages(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + use<> {
        let channel = |form, rest: &[u8]| [format!("__{form}@{}__:", self.namespace).as_bytes(), rest].concat();
        let (key, name) = (&self.key[..], self.name.as_bytes());
        let keyspace = (self.forms.0 & KEYSPACE != 0).then(|| (channel("keyspace", key), name.to_vec()));
        let keyevent = (self.forms.0 & KEYEVENT != 0).then(|| (channel("keyevent", name), key.to_vec()));
        keyspace.into_iter().chain(keyevent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_and_written_as_redis_does() {
        for (given, shown) in
            [("", ""), ("KEA", "AKE"), ("Kg$lshzxe", "AK"), ("xE", "xE"), ("zhE", "hzE"), ("KK", "K"), ("A", "A")]
        {
            assert_eq!(given.parse::<KeyEvents>().unwrap().to_string(), shown, "{given}");
        }
        for bad in ["a", "KEAn", "K E", "t", "d", "m", "ä"] {
            let error = bad.parse::<KeyEvents>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{bad}: {error}");
        }
    }

    #[test]
    fn without_a_form_nothing_is_told() {
        let class = KeyEventClass::Generic;
        assert!(!"A".parse::<KeyEvents>().unwrap().has(class) && "AE".parse::<KeyEvents>().unwrap().has(class));
        assert_eq!(("K".parse::<KeyEvents>().unwrap().wants(), KeyEvents::NONE.wants()), (0, 0));
    }
}
