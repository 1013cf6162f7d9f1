//! The text protocol: lines made of words that it knows, and raw bytes.
#![no_main]

#[path = "../support/memcached.rs"]
mod support;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use support::{Service, compare};

const WORDS: &[&str] = &[
    "get",
    "gets",
    "gat 9",
    "set",
    "add",
    "cas",
    "append",
    "prepend",
    "replace",
    "delete",
    "incr",
    "decr",
    "touch",
    "a",
    "b",
    "a b",
    "0",
    "1",
    "-1",
    "5000",
    "70000",
    "99999999999",
    "0 0 1\\r\\nx",
    "0 0 5\\r\\n12345",
    "noreply",
    "flush_all",
    "stats",
    "stats settings",
    "stats detail on",
    "stats detail dump",
    "verbosity 1",
    "slabs automove 1",
    "config get cluster",
    "config set cluster 0 1\\r\\nx",
    "quit",
    "shutdown",
    "\\r\\n",
    "\\r\\n",
    "\\r\\n",
    "\\n",
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
