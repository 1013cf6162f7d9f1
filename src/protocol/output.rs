//! Replies that wait to be sent.
//!
//! Small ones are written one after the other into one buffer; a large value is a part of its own, so that no buffer
//! is moved while it grows.

use std::collections::VecDeque;
use std::io::IoSlice;

/// A value of this length or more is a part of its own.
const LARGE: usize = 32 << 10;
/// A buffer larger than this is not kept for later replies.
const KEPT: usize = 64 << 10;

/// Bytes that are to be sent, in order.
///
/// # Examples
/// ```
/// use larder::protocol::Output;
/// let mut output = Output::new();
/// output.put(b"END\r\n");
/// assert_eq!(output.len(), 5);
/// let mut slices = [std::io::IoSlice::new(&[]); 4];
/// let n = output.as_io_slices(&mut slices);
/// assert_eq!(&*slices[0], b"END\r\n");
/// output.advance(5);
/// assert!(n == 1 && output.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Output {
    /// The last one takes more, unless it is large.
    parts: VecDeque<Vec<u8>>,
    /// Bytes of the first part that were sent.
    sent: usize,
    /// Bytes that are still to be sent.
    len: usize,
}

impl Output {
    /// Nothing to send. Takes no memory.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::protocol::Output::new().is_empty());
    /// ```
    pub fn new() -> Output {
        Output::default()
    }

    /// Bytes that are still to be sent.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::protocol::Output::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is left to be sent.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::protocol::Output::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that this takes, to be charged to whatever pays for connections.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::protocol::Output::new().memory(), 0);
    /// ```
    pub fn memory(&self) -> usize {
        self.parts.iter().map(Vec::capacity).sum::<usize>() + self.parts.capacity() * size_of::<Vec<u8>>()
    }

    /// Appends bytes.
    ///
    /// # Examples
    /// ```
    /// let mut output = larder::protocol::Output::new();
    /// output.put(b"OK\r\n");
    /// assert_eq!(output.to_vec(), b"OK\r\n");
    /// ```
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if bytes.len() >= LARGE {
            self.parts.push_back(bytes.to_vec());
        } else {
            self.open().extend_from_slice(bytes);
        }
    }

    /// Appends a number in decimal digits.
    ///
    /// # Examples
    /// ```
    /// let mut output = larder::protocol::Output::new();
    /// output.put_number(1_024);
    /// assert_eq!(output.to_vec(), b"1024");
    /// ```
    #[inline]
    pub fn put_number(&mut self, number: u64) {
        self.put_small(|buffer| push_number(number, buffer));
    }

    /// Lets a closure append something small.
    #[inline]
    pub(crate) fn put_small(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        let buffer = self.open();
        let before = buffer.len();
        append(buffer);
        self.len += buffer.len() - before;
    }

    /// The buffer that takes small replies.
    #[inline]
    fn open(&mut self) -> &mut Vec<u8> {
        if self.parts.back().is_none_or(|last| last.len() >= LARGE) {
            self.parts.push_back(Vec::new());
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }

    /// Gives the first parts that are to be sent to `slices`; returns how many there are. For `writev`.
    ///
    /// # Examples
    /// See [`Output`].
    pub fn as_io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let rest = |(i, part): (usize, &'a Vec<u8>)| if i == 0 { &part[self.sent..] } else { &part[..] };
        let filled = self.parts.iter().enumerate().map(rest).filter(|part| !part.is_empty());
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(filled) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        count
    }

    /// Takes note that `n` bytes were sent. More than there are is the same as all.
    ///
    /// # Examples
    /// See [`Output`].
    pub fn advance(&mut self, n: usize) {
        let mut left = n.min(self.len);
        self.len -= left;
        let mut parts = self.parts.len();
        while let Some(first) = self.parts.front_mut() {
            let here = first.len() - self.sent;
            if left < here {
                self.sent += left;
                return;
            }
            left -= here;
            self.sent = 0;
            if parts == 1 && first.capacity() <= KEPT {
                first.clear();
                return;
            }
            self.parts.pop_front();
            parts -= 1;
        }
    }

    /// Gives back memory that is not needed: all of it when nothing is left to be sent.
    ///
    /// # Examples
    /// ```
    /// let mut output = larder::protocol::Output::new();
    /// output.put(b"OK\r\n");
    /// output.advance(4);
    /// output.shrink();
    /// assert_eq!(output.memory(), 0);
    /// ```
    pub fn shrink(&mut self) {
        if self.is_empty() {
            *self = Output::default();
        }
    }

    /// A copy of all that is still to be sent.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::protocol::Output::new().to_vec().is_empty());
    /// ```
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all: Vec<u8> = self.parts.iter().flatten().copied().collect();
        all.drain(..self.sent.min(all.len()));
        all
    }

    /// Where the output is now, for [`truncate`](Self::truncate).
    pub(crate) fn mark(&self) -> Mark {
        Mark { parts: self.parts.len(), last: self.parts.back().map_or(0, Vec::len), len: self.len }
    }

    /// Takes back what was put since `mark`; nothing may have been sent meanwhile.
    pub(crate) fn truncate(&mut self, mark: Mark) {
        self.parts.truncate(mark.parts);
        if let Some(last) = self.parts.back_mut() {
            last.truncate(mark.last);
        }
        self.len = mark.len;
    }
}

/// Appends a number in decimal digits.
pub(crate) fn push_number(mut number: u64, buffer: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[at..]);
}

/// A place in an output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    parts: usize,
    last: usize,
    len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_order_whatever_is_sent_at_once() {
        let large = vec![b'x'; LARGE];
        for step in [1, 7, 1000, LARGE, usize::MAX] {
            let mut output = Output::new();
            let mut expected = Vec::new();
            for i in 0..3u64 {
                output.put_number(i * 1_000_000_007);
                expected.extend_from_slice((i * 1_000_000_007).to_string().as_bytes());
                output.put(&large);
                expected.extend_from_slice(&large);
                let mark = output.mark();
                output.put(b"away");
                output.put(&large);
                output.truncate(mark);
            }
            assert_eq!((output.len(), output.to_vec()), (expected.len(), expected.clone()));
            let mut sent = Vec::new();
            while !output.is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = output.as_io_slices(&mut slices);
                assert!(count > 0);
                let n = slices[0].len().min(step);
                sent.extend_from_slice(&slices[0][..n]);
                output.advance(n);
            }
            assert!(sent == expected);
            output.shrink();
            assert_eq!(output.memory(), 0);
        }
    }
}
