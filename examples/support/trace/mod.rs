//! Cache traces from files: a stream of [`Request`]s, whatever the format, plain or zstd.
//!
//! ```text
//!  bytes ─► zstd (by magic) ─► format (by content) ─► one parser a format ─► Request, Request, ...
//! ```
//! 1. Memory is bounded: one line or record at a time, a zstd window of at most 128 MiB.
//! 2. Nothing in a file makes a parser panic: what cannot be read is a [`TraceError`] that names its line or record.
//! 3. After an error, or the end, a [`Reader`] gives nothing more.
//! 4. Numbers are held within what a cache can be asked to do ([`SIZE_MAX`], [`TIME_MAX_S`] ...); beyond is an error.

mod arc;
mod csv;
mod lines;
mod oracle_general;
mod twitter;

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::str::FromStr;

/// The largest object a trace may speak of: 1 GiB.
pub(crate) const SIZE_MAX: u32 = 1 << 30;
/// The longest key a trace may speak of.
pub(crate) const KEY_SIZE_MAX: u16 = 16 << 10;
/// The latest time, in seconds (the year 5138 as unix time).
pub(crate) const TIME_MAX_S: u64 = 100_000_000_000;
/// The most requests and decompressed bytes that [`parse`] takes.
const PARSE_REQUESTS_MAX: usize = 1 << 20;
const PARSE_BYTES_MAX: u64 = 64 << 20;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// What the format is judged from.
const HEAD_BYTES: usize = 4096;

/// What is done to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Get,
    Set,
    Delete,
}

/// One line or record of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Milliseconds since whatever the trace counts from.
    pub(crate) time_ms: u64,
    pub(crate) key: u64,
    /// Bytes of the object, key included where the trace knows the key's size; 1 in a trace without sizes.
    pub(crate) size: u32,
    /// Seconds the object is to be kept; 0 for ever.
    pub(crate) ttl_s: u32,
    /// Bytes of the original key; 0 when the trace does not say.
    pub(crate) key_size: u16,
    pub(crate) op: Op,
}

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text, a header line, then `timestamp_s,key,size_bytes,ttl_s,op`.
    Csv,
    /// libCacheSim's binary records of 24 bytes.
    OracleGeneral,
    /// The open-source Twitter cache traces.
    Twitter,
    /// The ARC paper's block traces.
    Arc,
}

impl Format {
    pub(crate) const NAMES: &str = "csv, oracle-general, twitter, arc";
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "csv" => Ok(Format::Csv),
            "oracle-general" | "oracle" => Ok(Format::OracleGeneral),
            "twitter" => Ok(Format::Twitter),
            "arc" | "lis" => Ok(Format::Arc),
            _ => Err(format!("unknown format '{name}'; one of {}", Format::NAMES)),
        }
    }
}

/// Where in a trace something was wrong, and what.
#[derive(Debug)]
pub(crate) struct TraceError {
    place: Place,
    message: String,
}

/// A place in a trace, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Start,
    Line(u64),
    Record(u64),
}

impl TraceError {
    fn new(place: Place, message: impl Into<String>) -> Self {
        TraceError { place, message: message.into() }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Start => f.write_str(&self.message),
            Place::Line(n) => write!(f, "line {n}: {}", self.message),
            Place::Record(n) => write!(f, "record {n}: {}", self.message),
        }
    }
}

impl std::error::Error for TraceError {}

/// One parser: the next request, or `None` at the end.
trait Parser {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError>;
}

/// A trace being read.
pub(crate) struct Reader<'a> {
    parser: Box<dyn Parser + 'a>,
    done: bool,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("done", &self.done).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// Reads a trace from `input`. Without a `format` it is found out from the first bytes and the file's `name`.
    pub(crate) fn new(input: impl Read + 'a, format: Option<Format>, name: &str) -> Result<Self, TraceError> {
        let (head, bytes) = peek(decompressed(input)?)?;
        let format = match format {
            Some(format) => format,
            None => detect(&head, name)?,
        };
        let bytes: Bytes<'a> = Box::new(BufReader::with_capacity(1 << 16, bytes));
        let parser: Box<dyn Parser + 'a> = match format {
            Format::Csv => Box::new(csv::Csv::new(bytes)),
            Format::OracleGeneral => Box::new(oracle_general::OracleGeneral::new(bytes)),
            Format::Twitter => Box::new(twitter::Twitter::new(bytes)),
            Format::Arc => Box::new(arc::Arc::new(bytes)),
        };
        Ok(Reader { parser, done: false })
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Request, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.parser.next_request().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// Reads a whole small trace from memory. More than a million requests, or 64 MiB decompressed, is an error: this is
/// for tests and fuzzing, files go through [`Reader`].
#[cfg_attr(not(any(test, fuzzing)), expect(dead_code, reason = "the entry for tests and for the fuzz target"))]
pub(crate) fn parse(format: Format, bytes: &[u8]) -> Result<Vec<Request>, TraceError> {
    let plain = decompressed(bytes)?.take(PARSE_BYTES_MAX + 1);
    let mut limited = Vec::new();
    BufReader::new(plain).read_to_end(&mut limited).map_err(|error| unreadable(Place::Start, &error))?;
    if limited.len() as u64 > PARSE_BYTES_MAX {
        return Err(TraceError::new(Place::Start, format!("more than {PARSE_BYTES_MAX} bytes")));
    }
    let mut requests = Vec::new();
    for request in Reader::new(limited.as_slice(), Some(format), "")? {
        if requests.len() == PARSE_REQUESTS_MAX {
            return Err(TraceError::new(Place::Start, format!("more than {PARSE_REQUESTS_MAX} requests")));
        }
        requests.push(request?);
    }
    Ok(requests)
}

type Bytes<'a> = Box<dyn BufRead + 'a>;

fn unreadable(place: Place, error: &io::Error) -> TraceError {
    TraceError::new(place, format!("cannot read on: {error}"))
}

/// Undoes zstd if the input begins with its magic number.
fn decompressed<'a>(input: impl Read + 'a) -> Result<Box<dyn Read + 'a>, TraceError> {
    let (head, rest) = take_head(input, ZSTD_MAGIC.len())?;
    let is_zstd = head == ZSTD_MAGIC;
    let input = Cursor::new(head).chain(rest);
    if !is_zstd {
        return Ok(Box::new(input));
    }
    let mut decoder = zstd::Decoder::new(input).map_err(|error| unreadable(Place::Start, &error))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| unreadable(Place::Start, &error))?;
    Ok(Box::new(decoder))
}

/// The first bytes, and all bytes (the first ones again).
fn peek<'a>(input: Box<dyn Read + 'a>) -> Result<(Vec<u8>, Box<dyn Read + 'a>), TraceError> {
    let (head, rest) = take_head(input, HEAD_BYTES)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(rest))))
}

fn take_head<R: Read>(mut input: R, bytes: usize) -> Result<(Vec<u8>, R), TraceError> {
    let mut head = Vec::with_capacity(bytes);
    input.by_ref().take(bytes as u64).read_to_end(&mut head).map_err(|error| unreadable(Place::Start, &error))?;
    Ok((head, input))
}

/// Finds out a trace's format. The name decides where the content cannot.
fn detect(head: &[u8], name: &str) -> Result<Format, TraceError> {
    let name = name.trim_end_matches(".zst").to_ascii_lowercase();
    if name.ends_with(".lis") {
        return Ok(Format::Arc);
    }
    if name.ends_with("oraclegeneral") || name.ends_with("oraclegeneral.bin") {
        return Ok(Format::OracleGeneral);
    }
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    if !head.iter().all(is_text) {
        return Ok(Format::OracleGeneral);
    }
    let line = head.split(|&byte| byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let (line, commas) = (line.trim(), line.matches(',').count());
    if line.trim_start_matches('#').trim_start().starts_with("time") || (3..=5).contains(&commas) {
        Ok(Format::Csv)
    } else if commas >= 6 {
        Ok(Format::Twitter)
    } else if commas == 0 && line.split_whitespace().count() == 4 {
        Ok(Format::Arc)
    } else {
        let message = format!("cannot tell the trace's format; say it with --format ({})", Format::NAMES);
        Err(TraceError::new(Place::Start, message))
    }
}

#[cfg(test)]
mod tests;
