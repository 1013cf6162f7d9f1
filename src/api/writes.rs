//! Writing.

use std::time::Duration;

use super::builder::millis;
use super::cache::Cache;
use super::options::{Arithmetic, CasOutcome, SetOptions, SetOutcome, Token};
use super::reservation::Reservation;
use crate::engine::{Condition, Expiry, SetSpec};
use crate::error::Result;

impl Cache {
    /// Stores a value, in place of what is there.
    ///
    /// # Errors
    /// [`KeyTooLong`](crate::ErrorKind::KeyTooLong), [`ItemTooLarge`](crate::ErrorKind::ItemTooLarge), and
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) where the policy may not make room. What was there stays then.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"key", b"value")?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine().set(self.key(key), &[value], &SetSpec::default()).map(|_| ())
    }

    /// Stores a value in one of many ways.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// use std::time::Duration;
    /// let cache = Cache::new(1 << 20)?;
    /// cache.set_with(b"session", b"...", &SetOptions::new().ttl(Duration::from_secs(1800)))?;
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn set_with(&self, key: &[u8], value: &[u8], options: &SetOptions) -> Result<SetOutcome> {
        self.engine().set(self.key(key), &[value], &options.spec).map(SetOutcome::of)
    }

    fn set_if(&self, key: &[u8], value: &[u8], condition: Condition) -> Result<bool> {
        let spec = SetSpec { condition, ..SetSpec::default() };
        self.engine().set(self.key(key), &[value], &spec).map(|outcome| outcome.stored)
    }

    /// Stores a value if there is none. Whether it was stored.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(cache.add(b"k", b"1")?);
    /// assert!(!cache.add(b"k", b"2")?);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn add(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.set_if(key, value, Condition::Absent)
    }

    /// Stores a value if there is one. Whether it was stored.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// assert!(!cache.replace(b"k", b"1")?);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn replace(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.set_if(key, value, Condition::Present)
    }

    /// Adds bytes after a value, which keeps its deadline and flags. False if there is none.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"ab")?;
    /// assert!(cache.append(b"k", b"c")?);
    /// assert_eq!(cache.get(b"k")?.as_deref(), Some(&b"abc"[..]));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn append(&self, key: &[u8], bytes: &[u8]) -> Result<bool> {
        self.engine().extend(self.key(key), bytes, false)
    }

    /// Adds bytes before a value, which keeps its deadline and flags. False if there is none.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"bc")?;
    /// assert!(cache.prepend(b"k", b"a")?);
    /// assert_eq!(cache.get(b"k")?.as_deref(), Some(&b"abc"[..]));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn prepend(&self, key: &[u8], bytes: &[u8]) -> Result<bool> {
        self.engine().extend(self.key(key), bytes, true)
    }

    /// Adds to an unsigned number kept as text; None if there is no value. For other ways of counting see
    /// [`arithmetic`](Self::arithmetic).
    ///
    /// # Errors
    /// [`NotANumber`](crate::ErrorKind::NotANumber); otherwise as [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"n", b"41")?;
    /// assert_eq!(cache.increment(b"n", 1)?, Some(42));
    /// assert_eq!(cache.increment(b"absent", 1)?, None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn increment(&self, key: &[u8], by: u64) -> Result<Option<u64>> {
        // Unsigned results fit by construction.
        self.arithmetic(key, &Arithmetic::unsigned_up(by)).map(|n| n.map(|n| n as u64))
    }

    /// Subtracts from an unsigned number kept as text, down to 0; None if there is no value.
    ///
    /// # Errors
    /// As [`increment`](Self::increment).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"n", b"3")?;
    /// assert_eq!(cache.decrement(b"n", 5)?, Some(0));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn decrement(&self, key: &[u8], by: u64) -> Result<Option<u64>> {
        self.arithmetic(key, &Arithmetic::unsigned_down(by)).map(|n| n.map(|n| n as u64))
    }

    /// Counts, in memcached's way or Redis's: see [`Arithmetic`]. The new number; None if there is no value and none
    /// was made.
    ///
    /// # Errors
    /// [`NotANumber`](crate::ErrorKind::NotANumber), [`NumberOverflow`](crate::ErrorKind::NumberOverflow); otherwise as
    /// [`set`](Self::set). The value is unchanged then.
    ///
    /// # Examples
    /// ```
    /// use larder::{Arithmetic, Cache};
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.arithmetic(b"n", &Arithmetic::signed(5))?, Some(5));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn arithmetic(&self, key: &[u8], arithmetic: &Arithmetic) -> Result<Option<i128>> {
        self.engine().count(self.key(key), arithmetic.0)
    }

    /// Stores a value over the one that has this token, and over no other.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// See [`Token`].
    pub fn compare_and_swap(&self, key: &[u8], value: &[u8], token: Token) -> Result<CasOutcome> {
        self.compare_and_swap_with(key, value, token, &SetOptions::new())
    }

    /// The same with options (of which the condition does not count).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// use larder::{CasOutcome, Cache, SetOptions, Token};
    /// let cache = Cache::new(1 << 20)?;
    /// let outcome = cache.compare_and_swap_with(b"k", b"v", Token::from_u64(1), &SetOptions::new().flags(3))?;
    /// assert_eq!(outcome, CasOutcome::Missing);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn compare_and_swap_with(
        &self,
        key: &[u8],
        value: &[u8],
        token: Token,
        options: &SetOptions,
    ) -> Result<CasOutcome> {
        self.engine().compare_and_swap(self.key(key), value, token.as_u64(), &options.spec).map(CasOutcome::of)
    }

    /// Lets a value live for so long from now. A use. False if there is no value.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory), in the rare case that a small item gets a deadline more than two
    /// years after the cache's start and has to be stored anew for it.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.touch(b"k", Duration::from_secs(5))?);
    /// assert!(cache.metadata(b"k").unwrap().ttl_left <= Some(Duration::from_secs(5)));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn touch(&self, key: &[u8], ttl: Duration) -> Result<bool> {
        self.engine().touch(self.key(key), Expiry::In(millis(ttl)))
    }

    /// Lets a value live until a time in milliseconds since the Unix epoch. A use. False if there is no value.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.touch_until(b"k", 1)?, "that is long past");
    /// assert!(!cache.contains(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn touch_until(&self, key: &[u8], unix_ms: u64) -> Result<bool> {
        self.engine().touch(self.key(key), Expiry::At(unix_ms))
    }

    /// Takes a value's deadline away. False if there is no value, or if it has none already. A time to idle stays.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// cache.touch(b"k", Duration::from_secs(5))?;
    /// assert!(cache.persist(b"k"));
    /// assert!(!cache.persist(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn persist(&self, key: &[u8]) -> bool {
        self.engine().persist(self.key(key))
    }

    /// Removes a key. Whether there was a value.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert!(cache.remove(b"k") && !cache.remove(b"k"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn remove(&self, key: &[u8]) -> bool {
        self.engine().remove(self.key(key), |_, _| true, |_| ()).is_some()
    }

    /// Removes a key and returns its value.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1 << 20)?;
    /// cache.set(b"k", b"v")?;
    /// assert_eq!(cache.take(b"k"), Some(b"v".to_vec()));
    /// assert_eq!(cache.take(b"k"), None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.engine().remove(self.key(key), |_, _| true, |item| item.value().to_vec())
    }

    /// Removes a key if its value has this token: whoever read it removes what was read, and nothing newer.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().tokens(true).build()?;
    /// cache.set(b"k", b"1")?;
    /// let token = cache.metadata(b"k").unwrap().token.unwrap();
    /// cache.set(b"k", b"2")?;
    /// assert!(!cache.remove_if(b"k", token));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn remove_if(&self, key: &[u8], token: Token) -> bool {
        let is_it = |_, item: crate::slab::ItemRef<'_>| item.token() == Some(token.as_u64());
        self.engine().remove(self.key(key), is_it, |_| ()).is_some()
    }

    /// Memory for a value of `len` bytes that will arrive in pieces. Nobody sees it until it is published; dropping the
    /// reservation abandons it.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, SetOptions};
    /// let cache = Cache::new(1 << 20)?;
    /// let mut reservation = cache.reserve(b"k", 6, &SetOptions::new())?;
    /// reservation.write(b"abc")?;
    /// assert!(!cache.contains(b"k"));
    /// reservation.write(b"def")?;
    /// reservation.publish()?;
    /// assert_eq!(cache.get(b"k")?.as_deref(), Some(&b"abcdef"[..]));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn reserve(&self, key: &[u8], len: usize, options: &SetOptions) -> Result<Reservation> {
        let reserved = self.engine().reserve(self.key(key), len, &options.spec)?;
        Ok(Reservation::new(self.clone(), reserved))
    }
}
