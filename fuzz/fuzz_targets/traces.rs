//! Trace files, as the examples read them: no bytes make a parser panic, hang or take memory without end.
//!
//! The first byte chooses the format; what follows is the file, plain or zstd.
#![no_main]

#[path = "../../examples/support/rng.rs"]
#[allow(dead_code)]
mod rng;
#[path = "../../examples/support/trace/mod.rs"]
#[allow(dead_code)]
mod trace;

use libfuzzer_sys::fuzz_target;
use trace::{Format, KEY_SIZE_MAX, Reader, SIZE_MAX, TIME_MAX_S};

const FORMATS: [Format; 4] = [Format::Csv, Format::OracleGeneral, Format::Twitter, Format::Arc];

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, file)) = bytes.split_first() else { return };
    let format = FORMATS.get(usize::from(choice % 8)).copied();
    let Some(format) = format else {
        // The format has to be found out: only a prefix is read, since this path has no bound on the number of
        // requests.
        if let Ok(reader) = Reader::new(file, None, "") {
            reader.take(10_000).for_each(drop);
        }
        return;
    };
    let Ok(requests) = trace::parse(format, file) else { return };
    for request in requests {
        assert!(request.size <= SIZE_MAX && request.key_size <= KEY_SIZE_MAX, "{request:?}");
        assert!(request.time_ms <= TIME_MAX_S * 1000, "{request:?}");
    }
});
