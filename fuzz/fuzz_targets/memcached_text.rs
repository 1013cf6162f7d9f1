//! The text protocol: lines made of words that it knows, and raw bytes.
#![no_main]

#[path = "../support/memcached.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::Lines;

const WORDS: &[&str] = &[
    "set a 0 0 3\r\nabc\r\n",
    "append a 0 0 1\r\nz\r\n",
    "set n 0 0 2\r\n10\r\n",
    "get a b n\r\n",
    "gets n",
    "set big 0 0 5000\r\n",
    "set auth 0 0 3\r\nu p\r\n",
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
    "0 0 1\r\nx",
    "0 0 5\r\n12345",
    "noreply",
    "flush_all",
    "stats",
    "stats settings",
    "stats detail on",
    "stats detail dump",
    "verbosity 1",
    "slabs automove 1",
    "config get cluster",
    "config set cluster 0 1\r\nx",
    "quit",
    "shutdown",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    " ",
];

fuzz_target!(|lines: Lines| lines.compare(WORDS));
