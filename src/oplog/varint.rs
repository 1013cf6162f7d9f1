//! Numbers of varying length: seven bits a byte, lowest first, the high bit set on all bytes but the last. One way to
//! write each number: no needless zeros at the end, at most ten bytes.

/// Where encoded bytes go: into a buffer, or nowhere but a count.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn put_varint(&mut self, mut number: u64) {
        let (mut bytes, mut len) = ([0; 10], 0);
        loop {
            bytes[len] = number as u8 & 0x7f;
            number >>= 7;
            if number == 0 {
                break;
            }
            bytes[len] |= 0x80;
            len += 1;
        }
        self.put(&bytes[..=len]);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes.
#[derive(Debug, Default)]
pub(super) struct Count(pub(super) u64);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
}

/// What the first bytes of a buffer are as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Varint {
    /// The number, and its length in bytes.
    Is(u64, usize),
    /// More bytes are needed.
    Short,
    /// It is none.
    Bad,
}

pub(super) fn read(bytes: &[u8]) -> Varint {
    let mut number = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            return Varint::Bad;
        }
        number |= bits << (7 * i);
        if byte & 0x80 == 0 {
            // A zero at the end says nothing.
            return if byte == 0 && i > 0 { Varint::Bad } else { Varint::Is(number, i + 1) };
        }
    }
    if bytes.len() < 10 { Varint::Short } else { Varint::Bad }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_there_is_one_way_to_write_them() {
        for number in (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, u64::MAX >> bit]) {
            let mut bytes = Vec::new();
            bytes.put_varint(number);
            let mut count = Count::default();
            count.put_varint(number);
            assert_eq!((read(&bytes), count.0), (Varint::Is(number, bytes.len()), bytes.len() as u64));
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Varint::Short);
            }
        }
        assert_eq!(read(&[0x80, 0]), Varint::Bad);
        assert_eq!(read(&[0xff; 10]), Varint::Bad);
        assert_eq!(read(&[0xff; 9]), Varint::Short);
    }
}
