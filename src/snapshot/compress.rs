//! Blocks made smaller, and back. Each block by itself, so that any can be read without the others.

use super::damage::{Damage, damaged};
use super::format::Compression;
use crate::error::{Error, ErrorKind, Result};

impl Compression {
    /// Whether this build has it.
    ///
    /// # Examples
    /// ```
    /// use larder::snapshot::Compression;
    /// assert!(Compression::None.is_supported());
    /// assert_eq!(Compression::Lz4.is_supported(), cfg!(feature = "lz4"));
    /// ```
    pub fn is_supported(self) -> bool {
        match self {
            Compression::None => true,
            Compression::Lz4 => cfg!(feature = "lz4"),
            Compression::Zstd => cfg!(feature = "zstd"),
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        if self.is_supported() {
            return Ok(());
        }
        let feature = if self == Compression::Lz4 { "lz4" } else { "zstd" };
        let why = format!("this build knows no such compression: build larder with the feature `{feature}`");
        Err(Error::new(ErrorKind::NotAllowed, why))
    }
}

/// Compresses `raw` into `out`; false if that gains nothing, or cannot be done.
pub(crate) fn compress(compression: Compression, raw: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let len = match compression {
        Compression::None => return false,
        Compression::Lz4 => compress_lz4(raw, out),
        Compression::Zstd => compress_zstd(raw, out),
    };
    out.truncate(len.unwrap_or_default());
    len.is_some_and(|len| len > 0 && len < raw.len())
}

#[cfg(feature = "lz4")]
fn compress_lz4(raw: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    out.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    lz4_flex::block::compress_into(raw, out).ok()
}

#[cfg(not(feature = "lz4"))]
fn compress_lz4(_: &[u8], _: &mut Vec<u8>) -> Option<usize> {
    None
}

#[cfg(feature = "zstd")]
fn compress_zstd(raw: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    // Its quickest level of the usual ones.
    const LEVEL: i32 = 1;
    out.resize(zstd::zstd_safe::compress_bound(raw.len()), 0);
    zstd::bulk::compress_to_buffer(raw, out.as_mut_slice(), LEVEL).ok()
}

#[cfg(not(feature = "zstd"))]
fn compress_zstd(_: &[u8], _: &mut Vec<u8>) -> Option<usize> {
    None
}

/// Fills `out` with the `raw_len` bytes that `stored` stands for.
pub(crate) fn decompress(
    compression: Compression,
    stored: &[u8],
    raw_len: usize,
    out: &mut Vec<u8>,
    offset: u64,
) -> std::result::Result<(), Damage> {
    out.clear();
    out.resize(raw_len, 0);
    let len = match compression {
        Compression::None => None,
        Compression::Lz4 => decompress_lz4(stored, out),
        Compression::Zstd => decompress_zstd(stored, out),
    };
    if len == Some(raw_len) { Ok(()) } else { damaged(offset, "a block cannot be decompressed") }
}

#[cfg(feature = "lz4")]
fn decompress_lz4(stored: &[u8], out: &mut [u8]) -> Option<usize> {
    lz4_flex::block::decompress_into(stored, out).ok()
}

#[cfg(not(feature = "lz4"))]
fn decompress_lz4(_: &[u8], _: &mut [u8]) -> Option<usize> {
    None
}

#[cfg(feature = "zstd")]
fn decompress_zstd(stored: &[u8], out: &mut [u8]) -> Option<usize> {
    zstd::bulk::decompress_to_buffer(stored, out).ok()
}

#[cfg(not(feature = "zstd"))]
fn decompress_zstd(_: &[u8], _: &mut [u8]) -> Option<usize> {
    None
}
