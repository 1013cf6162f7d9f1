//! Typed keys and values over a namespace of a byte cache: [`TypedCache`], and the codecs that turn one into the other.
//!
//! # Which codec
//! | codec | for | beside the cache's own cost, a `get` costs |
//! |---|---|---|
//! | [`DefaultCodec`] (feature `serde`) | all types that serde knows | decoding and what it allocates; one copy \* |
//! | [`Plain`] | strings, bytes, numbers, arrays of numbers | one copy; reading in place, none |
//! | `Pod`, `PodVec` (feature `bytemuck`) | structs and vectors that are plain memory | the same, if aligned |
//! | your own [`Codec`] | JSON, protobuf, compressed ... | what it does |
//!
//! \* Of `String`, `Vec<u8>` and `bytes::Bytes`, which can be read in place, too.
//!
//! Values live in the cache as bytes, not as objects. So **every `get` makes a new value**: there is no `Arc` that
//! two callers share, nothing to lock, no destructor to wait for, and the memory limit counts bytes and is kept. For
//! small values that is little. For large ones of many parts (maps, vectors of strings) it may cost more than
//! everything else; then
//! - read in place: [`TypedCache::read`] and [`TypedCache::get_ref`] show strings, bytes, arrays and plain memory
//!   without a copy, whatever their size;
//! - or keep `Arc`s in a map or in another cache, and the bytes here behind it;
//! - or split the value, so that a `get` decodes what is needed.
//!
//! # The format of the default codec
//! `String`, `Box<str>`, `Arc<str>`, `Cow<str>`, `Vec<u8>`, `Box<[u8]>`, `Arc<[u8]>`, `Cow<[u8]>` and `bytes::Bytes`,
//! as the whole key or the whole value, are stored as their bytes, without anything added. Everything else is stored by
//! [postcard](https://docs.rs/postcard) 1, whose format is documented and stable: numbers in as few bytes as they need,
//! no names of fields. It is not self-describing. So fields must not be skipped conditionally
//! (`skip_serializing_if`), and `#[serde(untagged)]`, `#[serde(flatten)]` and `serde_json::Value` cannot be read back.
//! A type that gets another field no longer decodes what was stored before: see
//! [`undecodable_as_miss`](TypedCache::undecodable_as_miss).
//!
//! # Keys
//! A key is its bytes: equal bytes, equal keys. Look-ups take any borrowed form that has the same bytes: `&str` for
//! `String`, `Box<str>`, `Arc<str>` and `Cow<str>`; `&[T]` for `Vec<T>`, `Box<[T]>` and `Arc<[T]>`; `&[u8]` for
//! `[u8; N]` and `Bytes`; `&Path` for `PathBuf`; `&T` for `Box<T>` and `Arc<T>`. Other forms do not compile: a slice is
//! stored with its length, which an array of other things than bytes is not, and a string within another type with
//! its own, which a string by itself is not. A type of yours that is looked up by what it holds says how, by a
//! [`KeyCodec`] for the two. Types whose equal values serialise differently, such as `HashMap`, are no keys.
//! ```compile_fail,E0277
//! # use larder::{Cache, TypedCache};
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct UserId(String);
//!
//! impl std::borrow::Borrow<str> for UserId {
//!     fn borrow(&self) -> &str {
//!         &self.0
//!     }
//! }
//!
//! let ages: TypedCache<UserId, u32> = TypedCache::new(Cache::new(1 << 20)?);
//! ages.get("ann")?;                        // the bytes of `UserId("ann")` have a length before them: no such look-up
//! # Ok::<(), larder::Error>(())
//! ```
//!
//! # Namespaces
//! A typed cache is a view on one [namespace](crate::Cache::namespace): take another one for each type, and all share
//! the memory limit.
//! ```
//! use larder::typed::Plain;
//! use larder::{Cache, TypedCache};
//!
//! let cache = Cache::new(64 << 20)?;
//! let names: TypedCache<u64, String, Plain> = TypedCache::new(cache.namespace(1));
//! let pages: TypedCache<String, Vec<u8>, Plain> = TypedCache::new(cache.namespace(2));
//! names.insert(&7, &"Ann".to_owned())?;
//! pages.insert("/", &b"<html>".to_vec())?;
//! assert_eq!((names.len(), pages.len()), (1, 1));
//! # Ok::<(), larder::Error>(())
//! ```

mod cache;
mod codec;
mod entry;
#[cfg(feature = "async")]
mod entry_async;
mod guard;
mod listen;
mod load;
#[cfg(feature = "async")]
mod load_async;
#[cfg(feature = "bytemuck")]
mod pod;
mod scratch;
#[cfg(feature = "serde")]
mod serde_codec;
mod walk;

pub use cache::TypedCache;
pub use codec::{Codec, CodecError, KeyCodec, Plain, ViewCodec};
pub use entry::{Computed, EntrySelector, Op};
pub use guard::TypedGuard;
#[cfg(feature = "bytemuck")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytemuck")))]
pub use pod::{Pod, PodVec};
pub use walk::TypedIter;

/// The codec of [`TypedCache`] unless another is named: all types that serde knows, by postcard; strings and bytes as
/// they are. It can do something only with the feature `serde`; see the [module](self) for the format.
///
/// # Examples
/// ```
/// # #[cfg(feature = "serde")] {
/// use larder::{Cache, TypedCache};
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct User { name: String, age: u8 }
///
/// let users: TypedCache<u64, User> = TypedCache::new(Cache::new(1 << 20)?);
/// let ann = User { name: "Ann".into(), age: 30 };
/// users.insert(&7, &ann)?;
/// assert_eq!(users.get(&7)?, Some(ann));
/// # }
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DefaultCodec;
