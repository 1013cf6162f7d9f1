//! The default codec: any type that serde knows, by postcard; strings and bytes as they are.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::ser::{Error as _, Impossible, SerializeSeq};
use serde::{Serialize, Serializer, de::DeserializeOwned};

use super::codec::{Codec, CodecError, KeyCodec, ViewCodec};
use super::{DefaultCodec, Plain};

/// What is stored without a length before it: all of it is the string, or the bytes.
fn is_raw<T: ?Sized + 'static>() -> bool {
    let id = TypeId::of::<T>();
    id == TypeId::of::<str>()
        || id == TypeId::of::<[u8]>()
        || id == TypeId::of::<String>()
        || id == TypeId::of::<Vec<u8>>()
        || id == TypeId::of::<Box<str>>()
        || id == TypeId::of::<Box<[u8]>>()
        || id == TypeId::of::<Arc<str>>()
        || id == TypeId::of::<Arc<[u8]>>()
        || id == TypeId::of::<Cow<'static, str>>()
        || id == TypeId::of::<Cow<'static, [u8]>>()
        || is_bytes_crate(id)
}

#[cfg(feature = "bytes")]
fn is_bytes_crate(id: TypeId) -> bool {
    id == TypeId::of::<bytes::Bytes>()
}

#[cfg(not(feature = "bytes"))]
fn is_bytes_crate(_: TypeId) -> bool {
    false
}

/// The bytes of a value that is stored raw.
fn raw_bytes<T: 'static>(value: &T) -> Option<&[u8]> {
    let value: &dyn Any = value;
    if let Some(text) = value.downcast_ref::<String>() {
        return Some(text.as_bytes());
    }
    if let Some(bytes) = value.downcast_ref::<Vec<u8>>() {
        return Some(bytes);
    }
    if let Some(text) = value.downcast_ref::<Box<str>>() {
        return Some(text.as_bytes());
    }
    if let Some(bytes) = value.downcast_ref::<Box<[u8]>>() {
        return Some(bytes);
    }
    if let Some(text) = value.downcast_ref::<Cow<'static, str>>() {
        return Some(text.as_bytes());
    }
    if let Some(bytes) = value.downcast_ref::<Cow<'static, [u8]>>() {
        return Some(bytes);
    }
    if let Some(text) = value.downcast_ref::<Arc<str>>() {
        return Some(text.as_bytes());
    }
    if let Some(bytes) = value.downcast_ref::<Arc<[u8]>>() {
        return Some(bytes);
    }
    #[cfg(feature = "bytes")]
    if let Some(bytes) = value.downcast_ref::<bytes::Bytes>() {
        return Some(bytes);
    }
    None
}

/// A value of a type that is stored raw.
fn from_raw<T: 'static>(bytes: &[u8]) -> Result<Option<T>, CodecError> {
    fn same<S: 'static, T: 'static>(value: S) -> Option<T> {
        let mut value = Some(value);
        (&mut value as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take)
    }
    let id = TypeId::of::<T>();
    if id == TypeId::of::<Vec<u8>>() {
        return Ok(same(bytes.to_vec()));
    }
    if id == TypeId::of::<Box<[u8]>>() {
        return Ok(same(Box::<[u8]>::from(bytes)));
    }
    if id == TypeId::of::<Cow<'static, [u8]>>() {
        return Ok(same(Cow::<'static, [u8]>::Owned(bytes.to_vec())));
    }
    if id == TypeId::of::<Arc<[u8]>>() {
        return Ok(same(Arc::<[u8]>::from(bytes)));
    }
    #[cfg(feature = "bytes")]
    if id == TypeId::of::<bytes::Bytes>() {
        return Ok(same(bytes::Bytes::copy_from_slice(bytes)));
    }
    let text = std::str::from_utf8(bytes)?;
    if id == TypeId::of::<String>() {
        return Ok(same(text.to_owned()));
    }
    if id == TypeId::of::<Box<str>>() {
        return Ok(same(Box::<str>::from(text)));
    }
    if id == TypeId::of::<Arc<str>>() {
        return Ok(same(Arc::<str>::from(text)));
    }
    Ok(same(Cow::<'static, str>::Owned(text.to_owned())))
}

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for DefaultCodec {
    fn encode<'a>(&self, value: &'a T, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        if let Some(bytes) = raw_bytes(value) {
            return Ok(bytes);
        }
        *buffer = postcard::to_extend(value, std::mem::take(buffer))?;
        Ok(buffer)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        if is_raw::<T>() {
            return from_raw(bytes)?.ok_or_else(|| "no value".into());
        }
        let (value, rest) = postcard::take_from_bytes(bytes)?;
        match rest.len() {
            0 => Ok(value),
            left => Err(format!("{left} bytes are left over").into()),
        }
    }
}

impl<K: Serialize + 'static> KeyCodec<K> for DefaultCodec {
    fn encode_key<'a>(&self, key: &'a K, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        encode_as::<K, K>(key, buffer)
    }
}

/// A borrowed form of a key of type `K`, as `K` is stored: raw if that is, else by serde, which writes both alike.
fn encode_as<'a, K: 'static, Q: Serialize + ?Sized>(
    key: &'a Q,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], CodecError> {
    if is_raw::<K>() {
        key.serialize(Raw(&mut *buffer))?;
        return Ok(buffer);
    }
    DefaultCodec.encode_by_serde(key, buffer)
}

impl DefaultCodec {
    /// A key by postcard, strings and bytes too: with a length before them, as they are within another type. For types
    /// of a program's own that are looked up by what they hold.
    ///
    /// # Errors
    /// What its `Serialize` says.
    ///
    /// # Examples
    /// ```
    /// use larder::typed::{CodecError, DefaultCodec, KeyCodec};
    /// use larder::{Cache, TypedCache};
    /// use std::borrow::Borrow;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Eq, Hash)]
    /// struct UserId(String);
    ///
    /// impl Borrow<str> for UserId {
    ///     fn borrow(&self) -> &str {
    ///         &self.0
    ///     }
    /// }
    ///
    /// impl KeyCodec<UserId, str> for DefaultCodec {
    ///     fn encode_key<'a>(&self, key: &'a str, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
    ///         self.encode_by_serde(key, buffer)
    ///     }
    /// }
    ///
    /// let ages: TypedCache<UserId, u32> = TypedCache::new(Cache::new(1 << 20)?);
    /// ages.insert(&UserId("ann".to_owned()), &30)?;
    /// assert_eq!(ages.get("ann")?, Some(30));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
    pub fn encode_by_serde<'a, Q: Serialize + ?Sized>(
        &self,
        key: &'a Q,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], CodecError> {
        *buffer = postcard::to_extend(key, std::mem::take(buffer))?;
        Ok(buffer)
    }
}

/// Borrowed forms that serde, or this codec, writes as it writes the owned ones.
macro_rules! looked_up_by {
    ($([$($generics:tt)*] $type:ty, $form:ty;)*) => {$(
        impl<$($generics)*> KeyCodec<$type, $form> for DefaultCodec {
            fn encode_key<'a>(&self, key: &'a $form, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
                encode_as::<$type, $form>(key, buffer)
            }
        }
    )*};
}

looked_up_by! {
    [] String, str;
    [] Box<str>, str;
    [] Arc<str>, str;
    [] Cow<'static, str>, str;
    [] PathBuf, Path;
    [T: Serialize + 'static] Vec<T>, [T];
    [T: Serialize + 'static] Box<[T]>, [T];
    [T: Serialize + 'static] Arc<[T]>, [T];
    [T: Serialize + 'static] Box<T>, T;
    [T: Serialize + 'static] Arc<T>, T;
    [] Cow<'static, [u8]>, [u8];
}

#[cfg(feature = "bytes")]
looked_up_by! { [] bytes::Bytes, [u8]; }

/// An array is written without its length, as bytes are.
impl<const N: usize> KeyCodec<[u8; N], [u8]> for DefaultCodec {
    fn encode_key<'a>(&self, key: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        key.serialize(Raw(&mut *buffer))?;
        Ok(buffer)
    }
}

/// What is stored raw is seen in place as with [`Plain`].
macro_rules! views {
    ($($type:ty)*) => {$(
        impl ViewCodec<$type> for DefaultCodec {
            type View<'b> = <Plain as ViewCodec<$type>>::View<'b>;

            fn view<'b>(&self, bytes: &'b [u8]) -> Result<Self::View<'b>, CodecError> {
                ViewCodec::<$type>::view(&Plain, bytes)
            }
        }
    )*};
}

views! { String Box<str> Vec<u8> Box<[u8]> }

#[cfg(feature = "bytes")]
views! { bytes::Bytes }

/// Takes the bytes of a string or of bytes, and nothing else.
struct Raw<'b>(&'b mut Vec<u8>);

type Never = Impossible<(), postcard::Error>;

/// Everything that is neither string nor bytes: types of which [`is_raw`] holds do not come here.
macro_rules! refused {
    ($($name:ident($($arg:ty),*) -> $result:ty;)*) => {$(
        fn $name(self, $(_: $arg),*) -> Result<$result, postcard::Error> {
            Err(postcard::Error::custom("neither a string nor bytes"))
        }
    )*};
}

impl<'b> Serializer for Raw<'b> {
    type Ok = ();
    type Error = postcard::Error;
    type SerializeSeq = Raw<'b>;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_str(self, text: &str) -> Result<(), postcard::Error> {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), postcard::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn serialize_u8(self, byte: u8) -> Result<(), postcard::Error> {
        self.0.push(byte);
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Raw<'b>, postcard::Error> {
        self.0.reserve(len.unwrap_or_default());
        Ok(self)
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), postcard::Error> {
        self.serialize_none()
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, _: &str, _: &T) -> Result<(), postcard::Error> {
        self.serialize_none()
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &str,
        _: u32,
        _: &str,
        _: &T,
    ) -> Result<(), postcard::Error> {
        self.serialize_none()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    refused! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }
}

impl SerializeSeq for Raw<'_> {
    type Ok = ();
    type Error = postcard::Error;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, byte: &T) -> Result<(), postcard::Error> {
        byte.serialize(Raw(&mut *self.0))
    }

    fn end(self) -> Result<(), postcard::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T>(value: &T) -> Vec<u8>
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + 'static,
    {
        let (mut buffer, mut other) = (Vec::new(), Vec::new());
        let bytes = Codec::<T>::encode(&DefaultCodec, value, &mut buffer).unwrap();
        assert_eq!(KeyCodec::<T>::encode_key(&DefaultCodec, value, &mut other).unwrap(), bytes);
        assert_eq!(&Codec::<T>::decode(&DefaultCodec, bytes).unwrap(), value);
        bytes.to_vec()
    }

    fn key<K, Q: ?Sized>(key: &Q) -> Vec<u8>
    where
        DefaultCodec: KeyCodec<K, Q>,
    {
        KeyCodec::<K, Q>::encode_key(&DefaultCodec, key, &mut Vec::new()).unwrap().to_vec()
    }

    /// The bytes of a key, which are those of its borrowed form.
    fn both<K, Q: ?Sized>(owned: &K) -> Vec<u8>
    where
        K: std::borrow::Borrow<Q>,
        DefaultCodec: KeyCodec<K> + KeyCodec<K, Q>,
    {
        let bytes = key::<K, K>(owned);
        assert_eq!(key::<K, Q>(owned.borrow()), bytes);
        bytes
    }

    #[test]
    fn borrowed_keys_have_the_bytes_of_owned_ones() {
        assert_eq!(both::<String, str>(&"key".to_owned()), b"key");
        assert_eq!(both::<Box<str>, str>(&"key".into()), b"key");
        assert_eq!(both::<Cow<'static, str>, str>(&"key".into()), b"key");
        assert_eq!(both::<PathBuf, Path>(&"/a".into()), b"\x02/a");
        assert_eq!(both::<Vec<u8>, [u8]>(&b"key".to_vec()), b"key");
        assert_eq!(both::<Box<[u8]>, [u8]>(&b"key"[..].into()), b"key");
        assert_eq!(both::<Cow<'static, [u8]>, [u8]>(&Cow::Borrowed(b"key")), b"key");
        assert_eq!(both::<[u8; 3], [u8]>(b"key"), b"key");
        assert_eq!(both::<Vec<u16>, [u16]>(&vec![300, 1]), [2, 0xac, 2, 1]);
        assert_eq!(both::<Box<[u16]>, [u16]>(&vec![300, 1].into()), [2, 0xac, 2, 1]);
        assert_eq!(both::<Box<String>, String>(&Box::new("key".to_owned())), b"\x03key");
        #[cfg(feature = "bytes")]
        assert_eq!(both::<bytes::Bytes, [u8]>(&bytes::Bytes::from_static(b"key")), b"key");
        // Without serde's feature `rc`, such keys are not written by serde; what they are looked up by is.
        assert_eq!(key::<Arc<str>, str>("key"), b"key");
        assert_eq!(key::<Arc<[u8]>, [u8]>(b"key"), b"key");
    }

    #[test]
    fn strings_and_bytes_are_stored_as_they_are() {
        assert_eq!(round(&"key".to_owned()), b"key");
        assert_eq!(round(&Box::<str>::from("key")), b"key");
        assert_eq!(round(&Cow::Borrowed("key")), b"key");
        assert_eq!(round(&b"key".to_vec()), b"key");
        assert_eq!(round(&Box::<[u8]>::from(*b"key")), b"key");
        assert_eq!(round(&Cow::<'static, [u8]>::Borrowed(b"key")), b"key");
        #[cfg(feature = "bytes")]
        assert_eq!(round(&bytes::Bytes::from_static(b"key")), b"key");
        assert_eq!((round(&String::new()), key::<String, str>("")), (vec![], vec![]));
    }

    #[test]
    fn everything_else_goes_by_postcard() {
        assert_eq!(round(&300u64), [0xac, 2]);
        assert_eq!(round(&("a".to_owned(), 1u8)), [1, b'a', 1]);
        assert_eq!(round(&Some(vec![1u8, 2])), [1, 2, 1, 2]);
        assert_eq!(round(&vec!["a".to_owned()]), [1, 1, b'a']);
        assert_eq!(round(&[1u8, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        assert!(Codec::<String>::decode(&DefaultCodec, b"\xff").is_err());
        assert!(Codec::<u64>::decode(&DefaultCodec, b"").is_err());
        assert!(Codec::<u8>::decode(&DefaultCodec, b"ab").is_err(), "a byte too many");
        assert!(Codec::<Vec<u64>>::decode(&DefaultCodec, &[0xff; 9]).is_err(), "a length that is not true");
    }
}
