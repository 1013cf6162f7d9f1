//! The binary protocol: whole requests of every kind, and raw bytes.
#![no_main]

#[path = "../support/memcached.rs"]
mod support;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use support::{Service, compare};

#[derive(Debug, Arbitrary)]
struct Request {
    opcode: u8,
    key: Option<u8>,
    extras: [u8; 20],
    extras_len: u8,
    value: Vec<u8>,
    repeat: u16,
    token: u8,
    /// Added to the length that is told.
    lie: Option<i8>,
}

#[derive(Debug, Arbitrary)]
struct Input {
    requests: Vec<Request>,
    raw: Vec<u8>,
    cuts: Vec<u8>,
    sasl: bool,
}

impl Request {
    fn put(&self, bytes: &mut Vec<u8>) {
        let key: &[u8] = match self.key {
            None => b"",
            Some(key) if key % 16 == 0 => b"PLAIN",
            Some(key) => &[b'a' + key % 3],
        };
        let extras = &self.extras[..usize::from(self.extras_len) % 21];
        let value = self.value.repeat(usize::from(self.repeat % 64));
        let len = (extras.len() + key.len() + value.len()) as u32;
        let told = len.wrapping_add_signed(self.lie.map_or(0, i32::from));
        bytes.extend_from_slice(&[0x80, self.opcode % 0x68]);
        bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
        bytes.extend_from_slice(&told.to_be_bytes());
        bytes.extend_from_slice(b"opaq");
        bytes.extend_from_slice(&u64::from(self.token).to_be_bytes());
        bytes.extend_from_slice(extras);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&value);
    }
}

fuzz_target!(|input: Input| {
    let mut bytes = Vec::new();
    input.requests.iter().for_each(|request| request.put(&mut bytes));
    bytes.extend_from_slice(&input.raw);
    compare(if input.sasl { Service::Sasl } else { Service::Open }, &bytes, &input.cuts);
});
