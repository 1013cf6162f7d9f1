//! Slab classes: the chunk sizes into which pages are cut.
//!
//! Sizes grow by a factor from the smallest chunk to half a page, and each is then widened to the largest one of
//! which as many fit into a page, so that no page has a useless tail. Larger items get spans of their own.

use crate::error::{Error, ErrorKind, Result};

/// Chunks start at multiples of this many bytes, and have sizes that are multiples of it.
pub(crate) const ALIGN: usize = 8;

/// The number of a slab class. Two numbers are not classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(pub(crate) u8);

impl ClassId {
    /// A page that is part of the span of one large item.
    pub(crate) const SPAN: ClassId = ClassId(255);
    /// A page of no class: pooled, or never used.
    pub(crate) const NONE: ClassId = ClassId(254);

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// At most this many classes, so that a class number fits a byte.
const MAX_CLASSES: usize = 250;

/// The chunk sizes, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Classes {
    sizes: Vec<u32>,
    page_size: usize,
    /// Class of a size, by `(size - 1) / ALIGN`, up to the largest class.
    by_size: Vec<u8>,
}

impl Classes {
    /// Chunk sizes from `chunk_size` up, growing by `factor`, for pages of `page_size` bytes.
    pub(crate) fn new(chunk_size: usize, factor: f64, page_size: usize) -> Result<Classes> {
        if !(factor > 1.0 && factor.is_finite()) {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("chunk_size_growth_factor is {factor}; it must be a number above 1, for example 1.25"),
            ));
        }
        let largest = page_size / 2 / ALIGN * ALIGN;
        if chunk_size < 16 || chunk_size > largest {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("chunk_size is {chunk_size}; with pages of {page_size} bytes it must be from 16 to {largest}"),
            ));
        }
        let mut sizes: Vec<u32> = Vec::new();
        let mut wanted = chunk_size.next_multiple_of(ALIGN);
        loop {
            wanted = wanted.min(largest);
            let widened = page_size / (page_size / wanted) / ALIGN * ALIGN;
            sizes.push(widened as u32);
            if widened >= largest {
                break;
            }
            if sizes.len() == MAX_CLASSES {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!(
                        "chunk_size {chunk_size} and factor {factor} make over {MAX_CLASSES} slab classes; raise either"
                    ),
                ));
            }
            wanted = ((widened as f64 * factor) as usize / ALIGN * ALIGN).max(widened + ALIGN);
        }
        let mut by_size = Vec::with_capacity(largest / ALIGN + 1);
        for (class, &size) in sizes.iter().enumerate() {
            by_size.resize(size as usize / ALIGN, class as u8);
        }
        Ok(Classes { sizes, page_size, by_size })
    }

    pub(crate) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// The class for an item of `size` bytes; None if it needs a span.
    #[inline]
    pub(crate) fn of(&self, size: usize) -> Option<ClassId> {
        self.by_size.get(size.saturating_sub(1) / ALIGN).map(|&c| ClassId(c))
    }

    #[inline]
    pub(crate) fn chunk_size(&self, class: ClassId) -> u32 {
        self.sizes[class.index()]
    }

    pub(crate) fn chunks_per_page(&self, class: ClassId) -> u32 {
        self.page_size as u32 / self.chunk_size(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_fit_and_waste_no_tail() {
        for (chunk, factor, page) in
            [(48, 1.25, 65536), (48, 1.02, 65536), (32, 1.06, 16384), (64, 2.0, 4096), (16, 1.1, 1024)]
        {
            let Ok(classes) = Classes::new(chunk, factor, page) else {
                panic!("{chunk} {factor} {page}");
            };
            let mut last = 0;
            for c in 0..classes.len() {
                let id = ClassId(c as u8);
                let size = classes.chunk_size(id);
                assert!(size > last && (size as usize).is_multiple_of(ALIGN));
                assert!(
                    page - (size * classes.chunks_per_page(id)) as usize <= 8 * classes.chunks_per_page(id) as usize
                );
                assert_eq!(classes.of(size as usize), Some(id));
                assert_eq!(classes.of(last as usize + 1), Some(id));
                last = size;
            }
            assert_eq!(classes.of(last as usize + 1), None);
            assert!(last as usize * 2 <= page);
        }
    }

    #[test]
    fn absurd_settings_are_refused() {
        for (chunk, factor, page) in
            [(48, 1.0, 65536), (48, f64::NAN, 65536), (48, f64::INFINITY, 65536), (0, 1.25, 65536), (2056, 1.25, 4096)]
        {
            assert_eq!(Classes::new(chunk, factor, page).unwrap_err().kind(), ErrorKind::InvalidConfig);
        }
    }
}
