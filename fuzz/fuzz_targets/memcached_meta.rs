//! Meta commands: their flags in every order, and raw bytes.
#![no_main]

#[path = "../support/memcached.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::Lines;

const WORDS: &[&str] = &[
    "ms a 3\r\nabc\r\n",
    "ms n 2\r\n10\r\n",
    "ma n N0 J7 v",
    "mg a v c t\r\n",
    "md a I T30\r\n",
    "ms big 5000\r\n",
    "set auth 0 0 3\r\nu p\r\n",
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
    "\r\n",
    "\r\nx\r\n",
    "\r\n12\r\n",
    "\r\n",
    " ",
];

fuzz_target!(|lines: Lines| lines.compare(WORDS));
