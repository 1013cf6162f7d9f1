//! Values that are plain memory, by the bytemuck crate.

use std::borrow::Cow;

use bytemuck::{NoUninit, Pod as Plain};

use super::codec::{Codec, CodecError, KeyCodec, ViewCodec};

/// The codec of types that are plain memory: those that [`bytemuck::Pod`] marks, made of numbers and arrays without
/// padding. They are stored as they are in memory, in the machine's byte order.
///
/// In place, a value is seen as a [`Cow`]: borrowed where its bytes lie right for the type, which they always do for
/// types with an alignment of 1 (of `u8`s, or `#[repr(C, packed)]`), and else copied to the stack.
///
/// # Examples
/// ```
/// use larder::typed::{Pod, Plain};
/// use larder::{Cache, TypedCache};
///
/// #[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
/// #[repr(C)]
/// struct Point { x: f32, y: f32 }
///
/// let points: TypedCache<String, Point, Pod, Plain> = TypedCache::new(Cache::new(1 << 20)?);
/// points.insert("home", &Point { x: 1.0, y: 2.0 })?;
/// assert_eq!(points.read("home", |point| point.y)?, Some(2.0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pod;

fn refused(why: bytemuck::PodCastError, size: usize, bytes: &[u8]) -> CodecError {
    format!("{size} bytes were expected, {} found ({why})", bytes.len()).into()
}

impl<T: Plain> Codec<T> for Pod {
    fn encode<'a>(&self, value: &'a T, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(bytemuck::bytes_of(value))
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        bytemuck::try_pod_read_unaligned(bytes).map_err(|why| refused(why, size_of::<T>(), bytes))
    }
}

impl<T: NoUninit> KeyCodec<T> for Pod {
    fn encode_key<'a>(&self, key: &'a T, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(bytemuck::bytes_of(key))
    }
}

impl<T: Plain> ViewCodec<T> for Pod {
    type View<'b> = Cow<'b, T>;

    fn view<'b>(&self, bytes: &'b [u8]) -> Result<Cow<'b, T>, CodecError> {
        match bytemuck::try_from_bytes(bytes) {
            Ok(value) => Ok(Cow::Borrowed(value)),
            Err(_) => self.decode(bytes).map(Cow::Owned),
        }
    }
}

/// The codec of vectors of plain memory, such as `Vec<f32>`: see [`Pod`]. Seen in place as a slice, borrowed where the
/// bytes lie right for its elements, and else copied.
///
/// # Examples
/// ```
/// use larder::typed::{Plain, PodVec};
/// use larder::{Cache, TypedCache};
/// let embeddings: TypedCache<u64, Vec<f32>, PodVec, Plain> = TypedCache::new(Cache::new(1 << 20)?);
/// embeddings.insert(&7, &vec![0.5; 256])?;
/// assert_eq!(embeddings.read(&7, |vector| vector.iter().sum::<f32>())?, Some(128.0));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PodVec;

impl<T: Plain> Codec<Vec<T>> for PodVec {
    fn encode<'a>(&self, value: &'a Vec<T>, _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(bytemuck::cast_slice(value))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<T>, CodecError> {
        ViewCodec::<Vec<T>>::view(self, bytes).map(Cow::into_owned)
    }
}

impl<T: Plain> ViewCodec<Vec<T>> for PodVec {
    type View<'b> = Cow<'b, [T]>;

    fn view<'b>(&self, bytes: &'b [u8]) -> Result<Cow<'b, [T]>, CodecError> {
        match bytemuck::try_cast_slice(bytes) {
            Ok(slice) => Ok(Cow::Borrowed(slice)),
            Err(why) if size_of::<T>() == 0 || !bytes.len().is_multiple_of(size_of::<T>()) => {
                Err(format!("{} bytes are not a whole number of elements of {} ({why})", bytes.len(), size_of::<T>())
                    .into())
            }
            Err(_) => {
                let elements = bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned);
                Ok(Cow::Owned(elements.collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_at_any_alignment() {
        let memory: Vec<u8> = (0..64).collect();
        for at in 0..8 {
            let number: Cow<'_, u64> = Pod.view(&memory[at..at + 8]).unwrap();
            assert_eq!(number.to_ne_bytes(), memory[at..at + 8]);
            let many: Cow<'_, [u32]> = ViewCodec::<Vec<u32>>::view(&PodVec, &memory[at..at + 12]).unwrap();
            assert_eq!(bytemuck::cast_slice::<u32, u8>(&many), &memory[at..at + 12]);
            let bytes: Cow<'_, [u8; 5]> = Pod.view(&memory[at..at + 5]).unwrap();
            assert!(matches!(bytes, Cow::Borrowed(_)));
        }
        assert!(Codec::<u64>::decode(&Pod, &memory[..7]).is_err());
        assert!(Codec::<Vec<u64>>::decode(&PodVec, &memory[..9]).is_err());
        assert!(Codec::<Vec<u64>>::decode(&PodVec, &[]).unwrap().is_empty());
    }
}
