//! Meta commands: their flags in every order, and raw bytes.
#![no_main]

#[path = "../support/memcached.rs"]
mod support;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use support::{Service, compare};

const WORDS: &[&str] = &[
    "mg a",
    "mg b",
    "ms a 1",
    "ms b 2",
    "ms a 5000",
    "md a",
    "ma a",
    "me a",
    "mn",
    "b",
    "c",
    "f",
    "h",
    "k",
    "l",
    "q",
    "s",
    "t",
    "u",
    "v",
    "x",
    "I",
    "N30",
    "R100",
    "T9",
    "T-1",
    "C1",
    "E7",
    "F5",
    "J3",
    "D2",
    "MA",
    "MP",
    "ME",
    "MR",
    "MI",
    "MD",
    "MZ",
    "Oabc",
    "ms AAAA 1 b",
    "mg AAAA b v k",
    "\\r\\n",
    "\\r\\nx\\r\\n",
    "\\r\\n12\\r\\n",
    "\\r\\n",
    " ",
];

#[derive(Debug, Arbitrary)]
enum Piece {
    /// One of the words, with a space before it.
    Word(u8),
    Raw(Vec<u8>),
    /// So many bytes of data.
    Data(u16),
}

#[derive(Debug, Arbitrary)]
struct Input {
    pieces: Vec<Piece>,
    cuts: Vec<u8>,
    ascii_auth: bool,
}

fuzz_target!(|input: Input| {
    let mut bytes = Vec::new();
    for piece in &input.pieces {
        match piece {
            Piece::Word(word) => {
                if bytes.last().is_some_and(|last| *last != b'\n') {
                    bytes.push(b' ');
                }
                bytes.extend_from_slice(WORDS[usize::from(*word) % WORDS.len()].as_bytes());
            }
            Piece::Raw(raw) => bytes.extend_from_slice(raw),
            Piece::Data(len) => bytes.extend(std::iter::repeat_n(b'd', usize::from(*len) % 8192)),
        }
    }
    compare(if input.ascii_auth { Service::Ascii } else { Service::Open }, &bytes, &input.cuts);
});
