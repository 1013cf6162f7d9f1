//! A typed value in place.

use std::fmt;
use std::marker::PhantomData;

use super::codec::{Codec, ViewCodec};
use crate::error::{Error, ErrorKind, Result};
use crate::{Guard, Metadata};

/// A value that was read, in place: the typed form of a [`Guard`]. It holds the bytes; [`view`](Self::view) shows them
/// as what they are.
///
/// # Examples
/// ```
/// use larder::typed::Plain;
/// use larder::{Cache, TypedCache};
/// let pages: TypedCache<String, String, Plain> = TypedCache::new(Cache::new(1 << 20)?);
/// pages.insert("/", &"<html>".to_owned())?;
/// let guard = pages.get_ref("/")?.unwrap();
/// let text: &str = guard.view()?;
/// assert_eq!(text, "<html>");
/// # Ok::<(), larder::Error>(())
/// ```
pub struct TypedGuard<'a, V, C> {
    guard: Guard<'a>,
    codec: &'a C,
    key_len: usize,
    value: PhantomData<fn() -> V>,
}

/// The error of bytes that do not decode.
pub(super) fn undecodable<V>(what: &str, key_len: usize, value_len: usize, why: super::CodecError) -> Error {
    let name = std::any::type_name::<V>();
    let message = format!(
        "the stored {what} is no {name} ({why}); key length {key_len}, value length {value_len}: \
         it was stored as another type, by another codec or by another version of the program"
    );
    Error::caused(ErrorKind::Decode, message, why)
}

impl<'a, V, C> TypedGuard<'a, V, C> {
    pub(super) fn new(guard: Guard<'a>, codec: &'a C, key_len: usize) -> TypedGuard<'a, V, C> {
        TypedGuard { guard, codec, key_len, value: PhantomData }
    }

    /// The value in place: `&str` of a `String`, `&[u8]` of a `Vec<u8>`, and so on. Checks the bytes each time, as far
    /// as they need checking (UTF-8 of strings): keep the view rather than asking twice.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) if the bytes are no value's.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let keys: TypedCache<u64, [u8; 32], Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// keys.insert(&1, &[7; 32])?;
    /// assert_eq!(keys.get_ref(&1)?.unwrap().view()?, &[7; 32]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn view(&self) -> Result<C::View<'_>>
    where
        C: ViewCodec<V>,
    {
        self.codec.view(&self.guard).map_err(|why| undecodable::<V>("value", self.key_len, self.guard.len(), why))
    }

    /// The value, decoded.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) if the bytes are no value's.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let cache: TypedCache<u64, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// cache.insert(&1, &2)?;
    /// assert_eq!(cache.get_ref(&1)?.unwrap().decode()?, 2);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn decode(&self) -> Result<V>
    where
        C: Codec<V>,
    {
        self.codec.decode(&self.guard).map_err(|why| undecodable::<V>("value", self.key_len, self.guard.len(), why))
    }

    /// The bytes as they are stored.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let cache: TypedCache<u64, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// cache.insert(&1, &2)?;
    /// assert_eq!(cache.get_ref(&1)?.unwrap().as_bytes(), [2, 0, 0, 0]);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.guard
    }

    /// What else is known of the item, as it was when it was read.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::Plain;
    /// use larder::{Cache, TypedCache};
    /// let cache: TypedCache<u64, u32, Plain> = TypedCache::new(Cache::new(1 << 20)?);
    /// cache.insert(&1, &2)?;
    /// assert_eq!(cache.get_ref(&1)?.unwrap().metadata().ttl_left, None);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn metadata(&self) -> Metadata {
        self.guard.metadata()
    }
}

impl<V, C> fmt::Debug for TypedGuard<'_, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedGuard").field("type", &std::any::type_name::<V>()).field("guard", &self.guard).finish()
    }
}
