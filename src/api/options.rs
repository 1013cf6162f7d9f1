//! How a value is stored, and what became of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::builder::millis;
use crate::engine::{self, Condition, Engine, Expiry, Outcome, SetSpec};
use crate::slab::{Attributes, Kind, TagSet};

/// A check-and-set token: names one stored value of one key, and never any other.
///
/// # Examples
/// ```
/// use larder::{CasOutcome, Cache};
/// let cache = Cache::new(1 << 20)?;
/// cache.set(b"k", b"1")?;
/// let (value, token) = cache.get_with_token(b"k")?.unwrap();
/// drop(value);
/// assert!(matches!(cache.compare_and_swap(b"k", b"2", token)?, CasOutcome::Stored(_)));
/// assert_eq!(cache.compare_and_swap(b"k", b"3", token)?, CasOutcome::Changed);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// The token as a number, for a wire.
    ///
    /// # Examples
    /// ```
    /// use larder::Token;
    /// assert_eq!(Token::from_u64(7).as_u64(), 7);
    /// ```
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// A token from a number that [`as_u64`](Self::as_u64) gave.
    ///
    /// # Examples
    /// ```
    /// let token = larder::Token::from_u64(7);
    /// ```
    pub fn from_u64(raw: u64) -> Token {
        Token(raw)
    }
}

/// How a value is stored. Starts as what [`Cache::set`](crate::Cache::set) does.
///
/// # Examples
/// ```
/// use larder::{Cache, SetOptions};
/// use std::time::Duration;
/// let cache = Cache::new(1 << 20)?;
/// let options = SetOptions::new().ttl(Duration::from_secs(60)).if_absent();
/// assert!(cache.set_with(b"lock", b"me", &options)?.stored);
/// assert!(!cache.set_with(b"lock", b"you", &options)?.stored);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct SetOptions {
    pub(crate) spec: SetSpec,
}

impl SetOptions {
    /// The defaults: the cache's time to live, whatever is there now.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new();
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Lives so long from now, rounded up to milliseconds. Zero: ends at once.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().ttl(std::time::Duration::from_millis(1500));
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.spec.expiry = Expiry::In(millis(ttl));
        self
    }

    /// Lives until a time on the cache's clock, in milliseconds since the Unix epoch. What is past ends at once.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().deadline_ms(1_900_000_000_000);
    /// ```
    pub fn deadline_ms(mut self, unix_ms: u64) -> Self {
        self.spec.expiry = Expiry::At(unix_ms);
        self
    }

    /// Lives until a time.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// let options = larder::SetOptions::new().deadline(SystemTime::now() + Duration::from_secs(1));
    /// ```
    pub fn deadline(self, at: SystemTime) -> Self {
        self.deadline_ms(millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    /// Lives as long as the value that is there; for ever if there is none.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().keep_ttl();
    /// ```
    pub fn keep_ttl(mut self) -> Self {
        self.spec.expiry = Expiry::Keep;
        self
    }

    /// Lives for ever, whatever the cache's defaults.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().never();
    /// ```
    pub fn never(mut self) -> Self {
        self.spec.expiry = Expiry::Never;
        self
    }

    /// Ends when it was not read for so long. Costs 16 bytes.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().time_to_idle(std::time::Duration::from_secs(60));
    /// ```
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.spec.idle_ms = Some(millis(idle).max(1));
        self
    }

    /// Stores only if there is no value.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().if_absent();
    /// ```
    pub fn if_absent(mut self) -> Self {
        self.spec.condition = Condition::Absent;
        self
    }

    /// Stores only if there is a value.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().if_present();
    /// ```
    pub fn if_present(mut self) -> Self {
        self.spec.condition = Condition::Present;
        self
    }

    /// Stores only over the value that has this token.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().if_token(larder::Token::from_u64(7));
    /// ```
    pub fn if_token(mut self, token: Token) -> Self {
        self.spec.condition = Condition::Token(token.0);
        self
    }

    /// Client flags: a number kept with the value. Other than 0, costs 4 bytes.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().flags(1);
    /// ```
    pub fn flags(mut self, flags: u32) -> Self {
        self.spec.client_flags = flags;
        self
    }

    /// What the value is.
    ///
    /// # Examples
    /// ```
    /// let options = larder::SetOptions::new().kind(larder::Kind::List);
    /// ```
    pub fn kind(mut self, kind: Kind) -> Self {
        self.spec.kind = kind;
        self
    }

    /// Gives the value a tag more: see [`tags`](Self::tags).
    ///
    /// # Examples
    /// See [`Cache::invalidate_tag`](crate::Cache::invalidate_tag).
    pub fn tag(self, tag: impl AsRef<[u8]>) -> Self {
        self.tags([tag])
    }

    /// Gives the value tags, by which it can be invalidated together with others
    /// ([`Cache::invalidate_tag`](crate::Cache::invalidate_tag)): at most 16, or storing it is an error
    /// ([`TooManyTags`](crate::ErrorKind::TooManyTags)). Costs 9 bytes, 8 more for each tag, and 8 if the item is a
    /// small one.
    ///
    /// Tags belong to the value that is stored: storing another without tags leaves none. What changes the value or
    /// its deadline in place (append, prepend, counting, touch, persist) keeps them.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, ErrorKind, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set_with(b"page:1", b"...", &SetOptions::new().tags(["user:42", "site:7"]))?;
    /// assert_eq!(cache.metadata(b"page:1").map(|m| m.tags), Some(2));
    /// let many = SetOptions::new().tags((0..17u8).map(|i| [i]));
    /// assert_eq!(cache.set_with(b"k", b"v", &many).unwrap_err().kind(), ErrorKind::TooManyTags);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn tags<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        let mut set: TagSet = self.spec.tags.unwrap_or_default();
        tags.into_iter().for_each(|tag| set.push(TagSet::hash(tag.as_ref())));
        self.spec.tags = Some(set).filter(|set| set.len() > 0);
        self
    }

    /// What [key events](crate::Cache::subscribe) call the storing of this value, instead of `set`: a front-end that
    /// keeps an encoded hash says `hset`. The class is that of the value's [kind](Self::kind).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Kind, KeyEventClass, KeyEvents, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// let events = cache.subscribe(KeyEvents::ALL, 10);
    /// cache.set_with(b"h", b"...", &SetOptions::new().kind(Kind::Hash).event("hset"))?;
    /// let event = events.try_recv().unwrap();
    /// assert_eq!((event.name(), event.class()), ("hset", KeyEventClass::Hash));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn event(mut self, name: &'static str) -> Self {
        self.spec.event = Some(name);
        self
    }

    /// Returns the value that was there.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set(b"k", b"old")?;
    /// let outcome = cache.set_with(b"k", b"new", &SetOptions::new().want_old())?;
    /// assert_eq!(outcome.old.as_deref(), Some(&b"old"[..]));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn want_old(mut self) -> Self {
        self.spec.want_old = true;
        self
    }

    /// Gives the value a check-and-set token and returns it. Costs 8 bytes.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// assert!(cache.set_with(b"k", b"v", &SetOptions::new().want_token())?.token.is_some());
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn want_token(mut self) -> Self {
        self.spec.want_token = true;
        self
    }
}

/// What became of a value that was to be stored.
///
/// # Examples
/// ```
/// use larder::{Cache, SetOptions};
/// let outcome = Cache::new(1 << 20)?.set_with(b"k", b"v", &SetOptions::new())?;
/// assert!(outcome.stored && !outcome.existed);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetOutcome {
    /// Whether it is stored: no if the condition did not hold, or if the policy turned a new key away because it takes
    /// so much room that what would have to leave for it is worth more. That is judged for each item that leaves: some
    /// may have left before one was found that is worth more.
    pub stored: bool,
    /// Whether there was a value of this key.
    pub existed: bool,
    /// The value that was there, if it was asked for.
    pub old: Option<Vec<u8>>,
    /// The new value's token, if it has one.
    pub token: Option<Token>,
}

impl SetOutcome {
    pub(super) fn of(outcome: Outcome) -> SetOutcome {
        let token = outcome.token.filter(|_| outcome.stored).map(Token);
        SetOutcome { stored: outcome.stored, existed: outcome.existed, old: outcome.old, token }
    }
}

/// What a check-and-set came to.
///
/// # Examples
/// ```
/// use larder::{CasOutcome, Cache, Token};
/// let cache = Cache::new(1 << 20)?;
/// assert_eq!(cache.compare_and_swap(b"absent", b"v", Token::from_u64(1))?, CasOutcome::Missing);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CasOutcome {
    /// The value had the token, and was replaced; the new value's token.
    Stored(Token),
    /// The value has another token, or none.
    Changed,
    /// There is no value.
    Missing,
}

impl CasOutcome {
    pub(super) fn of(swap: engine::Swap) -> CasOutcome {
        match swap {
            engine::Swap::Stored(token) => CasOutcome::Stored(Token(token)),
            engine::Swap::Changed => CasOutcome::Changed,
            engine::Swap::Missing => CasOutcome::Missing,
        }
    }
}

/// What is known of an item beside its value.
///
/// # Examples
/// ```
/// let cache = larder::Cache::new(1 << 20)?;
/// cache.set(b"k", b"value")?;
/// let metadata = cache.metadata(b"k").unwrap();
/// assert_eq!((metadata.size, metadata.ttl_left, metadata.flags), (5, None, 0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Bytes of the value.
    pub size: usize,
    /// How long it will live at most; None for ever.
    pub ttl_left: Option<Duration>,
    /// When that is, in milliseconds since the Unix epoch.
    pub deadline_ms: Option<u64>,
    /// After how long without a read it ends.
    pub time_to_idle: Option<Duration>,
    /// Client flags.
    pub flags: u32,
    /// Check-and-set token, if it has one.
    pub token: Option<Token>,
    /// What the value is.
    pub kind: Kind,
    /// How many tags it has.
    pub tags: usize,
}

impl Metadata {
    pub(super) fn of(engine: &Engine, attributes: &Attributes, size: usize) -> Metadata {
        let deadline = Some(attributes.deadline).filter(|&d| d != 0);
        Metadata {
            size,
            ttl_left: deadline.map(|d| Duration::from_millis(d.saturating_sub(engine.ctx.now()))),
            deadline_ms: deadline.map(|d| engine.ctx.to_unix(d)),
            time_to_idle: Some(attributes.idle_ms).filter(|&ms| ms != 0).map(Duration::from_millis),
            flags: attributes.client_flags,
            token: attributes.token.map(Token),
            kind: attributes.kind,
            tags: usize::from(attributes.tags),
        }
    }
}

/// How to count: a number kept as decimal text, in memcached's way or in Redis's.
///
/// # Examples
/// ```
/// use larder::{Arithmetic, Cache};
/// let cache = Cache::new(1 << 20)?;
/// assert_eq!(cache.arithmetic(b"n", &Arithmetic::signed(-3))?, Some(-3));
/// assert_eq!(cache.arithmetic(b"hits", &Arithmetic::unsigned_up(1))?, None);
/// assert_eq!(cache.arithmetic(b"hits", &Arithmetic::unsigned_up(1).initial(10))?, Some(10));
/// assert_eq!(cache.arithmetic(b"hits", &Arithmetic::unsigned_up(1))?, Some(11));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Arithmetic(pub(super) engine::Arithmetic);

impl Arithmetic {
    /// Adds to an unsigned 64-bit number, around its end. A missing key stays missing unless there is an
    /// [`initial`](Self::initial) number.
    ///
    /// # Examples
    /// ```
    /// let arithmetic = larder::Arithmetic::unsigned_up(1);
    /// ```
    pub fn unsigned_up(by: u64) -> Self {
        Arithmetic(engine::Arithmetic::Unsigned { by, down: false, initial: None, expiry: Expiry::Default })
    }

    /// Subtracts from an unsigned 64-bit number, down to 0. The text keeps its length: it is padded with spaces.
    ///
    /// # Examples
    /// ```
    /// use larder::{Arithmetic, Cache};
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set(b"n", b"10")?;
    /// assert_eq!(cache.arithmetic(b"n", &Arithmetic::unsigned_down(1))?, Some(9));
    /// assert_eq!(cache.read(b"n", |v| v.to_vec()).unwrap(), b"9 ");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn unsigned_down(by: u64) -> Self {
        Arithmetic(engine::Arithmetic::Unsigned { by, down: true, initial: None, expiry: Expiry::Default })
    }

    /// Adds to a signed 64-bit number; leaving its range is an error. A missing key counts as 0, or as the
    /// [`initial`](Self::initial) number, before the step.
    ///
    /// # Examples
    /// ```
    /// let arithmetic = larder::Arithmetic::signed(-1);
    /// ```
    pub fn signed(by: i64) -> Self {
        Arithmetic(engine::Arithmetic::Signed { by, initial: 0, expiry: Expiry::Default })
    }

    /// What a missing key starts from. Unsigned: becomes, without the step. Signed: is taken to hold, before the step
    /// (and what does not fit into 63 bits counts as the largest number).
    ///
    /// # Examples
    /// ```
    /// let arithmetic = larder::Arithmetic::unsigned_up(1).initial(100);
    /// ```
    pub fn initial(mut self, number: u64) -> Self {
        match &mut self.0 {
            engine::Arithmetic::Unsigned { initial, .. } => *initial = Some(number),
            engine::Arithmetic::Signed { initial, .. } => *initial = i64::try_from(number).unwrap_or(i64::MAX),
        }
        self
    }

    /// How long a number lives that this step makes. One that is there keeps its time.
    ///
    /// # Examples
    /// ```
    /// let arithmetic = larder::Arithmetic::signed(1).ttl(std::time::Duration::from_secs(60));
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        match &mut self.0 {
            engine::Arithmetic::Unsigned { expiry, .. } | engine::Arithmetic::Signed { expiry, .. } => {
                *expiry = Expiry::In(millis(ttl));
            }
        }
        self
    }
}
