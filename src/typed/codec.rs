//! How typed keys and values become bytes and come back: the traits, and the codec of types that are bytes already.

use std::borrow::Cow;
use std::sync::Arc;

/// What a codec may answer: any error, kept as the source of larder's.
///
/// # Examples
/// ```
/// fn decode(bytes: &[u8]) -> Result<u8, larder::typed::CodecError> {
///     if bytes.len() == 1 { Ok(bytes[0]) } else { Err("one byte, please".into()) }
/// }
/// assert!(decode(b"ab").is_err());
/// ```
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// Turns values of a type into bytes and back.
///
/// A codec is called without any lock. It may panic; nothing is stored then. What [`decode`](Self::decode) is given
/// may come from an older program or from anybody who writes bytes into the namespace: it answers with an error, and
/// does not trust lengths.
///
/// # Examples
/// Values as JSON, to be read by others. Keys go by another codec, here [`Plain`]:
/// ```
/// use larder::typed::{Codec, CodecError, Plain};
/// use larder::{Cache, TypedCache};
///
/// #[derive(Default)]
/// struct Json;
///
/// impl Codec<serde_json::Value> for Json {
///     fn encode<'a>(&self, v: &'a serde_json::Value, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
///         serde_json::to_writer(&mut *buffer, v)?;
///         Ok(buffer)
///     }
///     fn decode(&self, bytes: &[u8]) -> Result<serde_json::Value, CodecError> {
///         Ok(serde_json::from_slice(bytes)?)
///     }
/// }
///
/// let cache: TypedCache<String, serde_json::Value, Json, Plain> = TypedCache::new(Cache::new(1 << 20)?);
/// cache.insert("k", &serde_json::json!({ "n": 1 }))?;
/// assert_eq!(cache.get("k")?.unwrap()["n"], 1);
/// # Ok::<(), larder::Error>(())
/// ```
pub trait Codec<T>: Send + Sync + 'static {
    /// The value as bytes: its own if it has them in this form already, else written into the buffer, which is empty.
    ///
    /// # Errors
    /// If there is no such form; the operation then fails with [`Encode`](crate::ErrorKind::Encode).
    ///
    /// # Examples
    /// See [`Codec`].
    fn encode<'a>(&self, value: &'a T, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError>;

    /// The value whose bytes these are.
    ///
    /// # Errors
    /// If they are no value's; the operation then fails with [`Decode`](crate::ErrorKind::Decode).
    ///
    /// # Examples
    /// See [`Codec`].
    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// Turns keys of a type into bytes, in its own form or in a borrowed one: `str` for keys that are `String`.
///
/// Equal keys must have equal bytes, and different keys different bytes. **A borrowed key must have the bytes of the
/// owned one**: that is what an implementation for two types promises, and why there is one for each pair. A look-up
/// by a form that has no implementation does not compile.
///
/// # Examples
/// ```
/// use larder::typed::{KeyCodec, Plain};
/// let (mut a, mut b) = (Vec::new(), Vec::new());
/// let borrowed = KeyCodec::<String, str>::encode_key(&Plain, "k", &mut a).unwrap();
/// assert_eq!(borrowed, KeyCodec::<String>::encode_key(&Plain, &"k".to_owned(), &mut b).unwrap());
/// ```
/// A type of one's own that is looked up by what it holds:
/// ```
/// use larder::typed::{Codec, CodecError, KeyCodec};
/// use larder::{Cache, TypedCache};
/// use std::borrow::Borrow;
///
/// struct UserId(String);
///
/// impl Borrow<str> for UserId {
///     fn borrow(&self) -> &str {
///         &self.0
///     }
/// }
///
/// /// Their bytes.
/// #[derive(Default)]
/// struct Ids;
///
/// impl KeyCodec<UserId> for Ids {
///     fn encode_key<'a>(&self, key: &'a UserId, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
///         Ok(key.0.as_bytes())
///     }
/// }
///
/// impl KeyCodec<UserId, str> for Ids {
///     fn encode_key<'a>(&self, key: &'a str, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
///         Ok(key.as_bytes())
///     }
/// }
///
/// let ages: TypedCache<UserId, u32, larder::typed::Plain, Ids> = TypedCache::new(Cache::new(1 << 20)?);
/// ages.insert(&UserId("ann".to_owned()), &30)?;
/// assert_eq!(ages.get("ann")?, Some(30));
/// # Ok::<(), larder::Error>(())
/// ```
pub trait KeyCodec<K, Q: ?Sized = K>: Send + Sync + 'static {
    /// The key as bytes: its own if it has them, else written into the buffer, which is empty.
    ///
    /// # Errors
    /// If there is no such form.
    ///
    /// # Examples
    /// See [`KeyCodec`].
    fn encode_key<'a>(&self, key: &'a Q, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError>;
}

/// A codec whose bytes can be read where they are, without making a value of them.
///
/// # Examples
/// ```
/// use larder::typed::{Plain, ViewCodec};
/// let view: &str = ViewCodec::<String>::view(&Plain, b"in place").unwrap();
/// assert_eq!(view, "in place");
/// ```
pub trait ViewCodec<T>: Codec<T> {
    /// What is seen of the value: something that borrows its bytes.
    type View<'b>;

    /// A look at the bytes of a value.
    ///
    /// # Errors
    /// If they are no value's.
    ///
    /// # Examples
    /// See [`ViewCodec`].
    fn view<'b>(&self, bytes: &'b [u8]) -> Result<Self::View<'b>, CodecError>;
}

/// The codec of types that are bytes already, or as good as.
///
/// | type | stored as | seen in place as |
/// |---|---|---|
/// | `Vec<u8>`, `Box<[u8]>`, `Arc<[u8]>`, `bytes::Bytes` (feature `bytes`) | the bytes | `&[u8]` |
/// | `String`, `Box<str>`, `Arc<str>` | the bytes | `&str` |
/// | `[u8; N]` | the bytes | `&[u8; N]` |
/// | integers, floats, `bool`, `char` | little-endian, in as many bytes as they have | themselves |
/// | arrays of integers and floats | one after the other, little-endian | arrays |
/// | `()` | nothing | `()` |
///
/// Storing strings and bytes copies them once, into the cache. Keys are stored the same way, so that the byte cache
/// below finds `"k"` as `b"k"`.
///
/// # Examples
/// ```
/// use larder::typed::Plain;
/// use larder::{Cache, TypedCache};
/// let cache = Cache::new(1 << 20)?;
/// let scores: TypedCache<String, f64, Plain> = TypedCache::new(cache.clone());
/// scores.insert("ann", &1.5)?;
/// assert_eq!(scores.get("ann")?, Some(1.5));
/// assert_eq!(cache.read(b"ann", |bytes| bytes.to_vec()), Some(1.5f64.to_le_bytes().to_vec()));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plain;

fn wrong_length(expected: usize, found: usize) -> CodecError {
    format!("{expected} bytes were expected, {found} found").into()
}

/// Types that hold their stored form.
macro_rules! held {
    ($($type:ty, $borrowed:ty, $as_bytes:expr, $view:expr;)*) => {$(
        impl Codec<$type> for Plain {
            fn encode<'a>(&self, value: &'a $type, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
                let as_bytes: fn(&$type) -> &[u8] = $as_bytes;
                Ok(as_bytes(value))
            }

            fn decode(&self, bytes: &[u8]) -> Result<$type, CodecError> {
                let view: fn(&[u8]) -> Result<&$borrowed, CodecError> = $view;
                Ok(view(bytes)?.into())
            }
        }

        impl KeyCodec<$type> for Plain {
            fn encode_key<'a>(&self, key: &'a $type, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
                self.encode(key, buffer)
            }
        }

        impl ViewCodec<$type> for Plain {
            type View<'b> = &'b $borrowed;

            fn view<'b>(&self, bytes: &'b [u8]) -> Result<&'b $borrowed, CodecError> {
                let view: fn(&[u8]) -> Result<&$borrowed, CodecError> = $view;
                view(bytes)
            }
        }
    )*};
}

fn text(bytes: &[u8]) -> Result<&str, CodecError> {
    Ok(std::str::from_utf8(bytes)?)
}

held! {
    Vec<u8>, [u8], |v| v, |bytes| Ok(bytes);
    Box<[u8]>, [u8], |v| v, |bytes| Ok(bytes);
    Arc<[u8]>, [u8], |v| v, |bytes| Ok(bytes);
    String, str, |v| v.as_bytes(), text;
    Box<str>, str, |v| v.as_bytes(), text;
    Arc<str>, str, |v| v.as_bytes(), text;
}

#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl Codec<bytes::Bytes> for Plain {
    fn encode<'a>(&self, value: &'a bytes::Bytes, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(value)
    }

    fn decode(&self, bytes: &[u8]) -> Result<bytes::Bytes, CodecError> {
        Ok(bytes::Bytes::copy_from_slice(bytes))
    }
}

#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl KeyCodec<bytes::Bytes> for Plain {
    fn encode_key<'a>(&self, key: &'a bytes::Bytes, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(key)
    }
}

#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl ViewCodec<bytes::Bytes> for Plain {
    type View<'b> = &'b [u8];

    fn view<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8], CodecError> {
        Ok(bytes)
    }
}

/// Borrowed forms that have the bytes of the owned ones.
macro_rules! looked_up_by {
    ($($form:ty: $($type:ty),*; $key:ident => $bytes:expr;)*) => {$($(
        impl KeyCodec<$type, $form> for Plain {
            fn encode_key<'a>(&self, $key: &'a $form, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
                Ok($bytes)
            }
        }
    )*)*};
}

looked_up_by! {
    str: String, Box<str>, Arc<str>, Cow<'static, str>; key => key.as_bytes();
    [u8]: Vec<u8>, Box<[u8]>, Arc<[u8]>; key => key;
}

#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl KeyCodec<bytes::Bytes, [u8]> for Plain {
    fn encode_key<'a>(&self, key: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(key)
    }
}

impl<const N: usize> KeyCodec<[u8; N], [u8]> for Plain {
    fn encode_key<'a>(&self, key: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(key)
    }
}

impl KeyCodec<Cow<'static, str>> for Plain {
    fn encode_key<'a>(&self, key: &'a Cow<'static, str>, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(key.as_bytes())
    }
}

impl<const N: usize> Codec<[u8; N]> for Plain {
    fn encode<'a>(&self, value: &'a [u8; N], _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(value)
    }

    fn decode(&self, bytes: &[u8]) -> Result<[u8; N], CodecError> {
        bytes.try_into().map_err(|_| wrong_length(N, bytes.len()))
    }
}

impl<const N: usize> KeyCodec<[u8; N]> for Plain {
    fn encode_key<'a>(&self, key: &'a [u8; N], _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(key)
    }
}

impl<const N: usize> ViewCodec<[u8; N]> for Plain {
    type View<'b> = &'b [u8; N];

    fn view<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8; N], CodecError> {
        bytes.try_into().map_err(|_| wrong_length(N, bytes.len()))
    }
}

/// Types of a fixed number of bytes that are seen as themselves.
macro_rules! seen_as_itself {
    ($([$($generics:tt)*] $type:ty, $value:ident, $buffer:ident => $encode:expr, $bytes:ident => $decode:expr;)*) => {$(
        impl<$($generics)*> Codec<$type> for Plain {
            fn encode<'a>(&self, $value: &'a $type, $buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
                $encode;
                Ok($buffer)
            }

            fn decode(&self, $bytes: &[u8]) -> Result<$type, CodecError> {
                $decode
            }
        }

        impl<$($generics)*> KeyCodec<$type> for Plain {
            fn encode_key<'a>(&self, key: &'a $type, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
                self.encode(key, buffer)
            }
        }

        impl<$($generics)*> ViewCodec<$type> for Plain {
            type View<'b> = $type;

            fn view(&self, bytes: &[u8]) -> Result<$type, CodecError> {
                self.decode(bytes)
            }
        }
    )*};
}

macro_rules! numbers {
    ($($type:ident)*) => {$(
        seen_as_itself! {
            [] $type, value, buffer => buffer.extend_from_slice(&value.to_le_bytes()),
                bytes => Ok($type::from_le_bytes(Codec::<[u8; size_of::<$type>()]>::decode(&Plain, bytes)?));
        }
    )*};
}

macro_rules! arrays {
    ($($type:ident)*) => {$(
        seen_as_itself! {
            [const N: usize] [$type; N],
                value, buffer => value.iter().for_each(|n| buffer.extend_from_slice(&n.to_le_bytes())),
                bytes => {
                    let mut array = [$type::default(); N];
                    if bytes.len() != size_of::<[$type; N]>() {
                        return Err(wrong_length(size_of::<[$type; N]>(), bytes.len()));
                    }
                    for (to, from) in array.iter_mut().zip(bytes.as_chunks().0) {
                        *to = $type::from_le_bytes(*from);
                    }
                    Ok(array)
                };
        }
    )*};
}

// usize and isize are left out: their size is the machine's.
numbers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 }
arrays! { u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 }

seen_as_itself! {
    [] bool, value, buffer => buffer.push(u8::from(*value)), bytes => match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err("a bool is one byte, 0 or 1".into()),
    };
    [] char, value, buffer => buffer.extend_from_slice(&u32::from(*value).to_le_bytes()),
        bytes => Ok(char::try_from(<Plain as Codec<u32>>::decode(&Plain, bytes)?)?);
    [] (), value, buffer => { let () = value; buffer.clear() }, bytes => match bytes {
        [] => Ok(()),
        _ => Err(wrong_length(0, bytes.len())),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: PartialEq + std::fmt::Debug>(value: &T, len: usize)
    where
        Plain: Codec<T> + KeyCodec<T>,
    {
        let (mut buffer, mut other) = (Vec::new(), Vec::new());
        let bytes = Plain.encode(value, &mut buffer).unwrap();
        assert_eq!(bytes.len(), len);
        assert_eq!(KeyCodec::<T>::encode_key(&Plain, value, &mut other).unwrap(), bytes);
        assert_eq!(&Codec::<T>::decode(&Plain, bytes).unwrap(), value);
    }

    #[test]
    fn all_types_come_back() {
        round(&vec![1u8, 2, 3], 3);
        round(&Box::<[u8]>::from([1u8, 2]), 2);
        round(&Arc::<[u8]>::from([1u8, 2]), 2);
        round(&"grün".to_owned(), 5);
        round(&Box::<str>::from(""), 0);
        round(&Arc::<str>::from("a"), 1);
        round(&[1u8; 5], 5);
        round(&[1u8; 0], 0);
        round(&u128::MAX, 16);
        round(&i16::MIN, 2);
        round(&-0.5f32, 4);
        round(&[1u64, 2, 3], 24);
        round(&[0.25f32; 100], 400);
        round(&true, 1);
        round(&'ß', 4);
        round(&(), 0);
        #[cfg(feature = "bytes")]
        round(&bytes::Bytes::from_static(b"abc"), 3);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        assert!(Codec::<String>::decode(&Plain, b"\xff").is_err());
        assert!(Codec::<u32>::decode(&Plain, b"abc").is_err());
        assert!(Codec::<[u8; 2]>::decode(&Plain, b"abc").is_err());
        assert!(Codec::<[u32; 2]>::decode(&Plain, b"abc").is_err());
        assert!(Codec::<bool>::decode(&Plain, &[2]).is_err());
        assert!(Codec::<char>::decode(&Plain, &0xd800u32.to_le_bytes()).is_err());
        assert!(Codec::<()>::decode(&Plain, b" ").is_err());
    }

    #[test]
    fn views_borrow() {
        let bytes = b"abcd".to_vec();
        let text: &str = ViewCodec::<String>::view(&Plain, &bytes).unwrap();
        let array: &[u8; 4] = ViewCodec::<[u8; 4]>::view(&Plain, &bytes).unwrap();
        assert!(std::ptr::eq(text.as_ptr(), bytes.as_ptr()) && std::ptr::eq(array.as_ptr(), bytes.as_ptr()));
        assert_eq!(ViewCodec::<u32>::view(&Plain, &bytes).unwrap(), u32::from_le_bytes(*b"abcd"));
    }
}
