//! The binary protocol: a header of 24 bytes, extras, key, value.
//!
//! ```text
//! 0      1      2          4     5    6          8            12           16                 24
//! ┌──────┬──────┬──────────┬─────┬────┬──────────┬────────────┬────────────┬──────────────────┐
//! │ 0x80 │opcode│ key len  │extr.│ 0  │ -/status │ body len   │ opaque     │ token            │
//! └──────┴──────┴──────────┴─────┴────┴──────────┴────────────┴────────────┴──────────────────┘
//! ```
//! The numbers are most significant byte first; the body is extras, key and value. Replies begin with 0x81 and have the
//! status. Quiet requests are answered only when there is something to say: a value, or an error.

use smallvec::SmallVec;

use super::auth;
use super::connection::{Connection, Step};
use super::counters::Count;
use super::discovery::{CLUSTER, OLD_KEY};
use super::meta::{Counted, Counting, Steps, step_number};
use super::parse::{MAX_KEY, expiry};
use super::server::Auth;
use super::stats;
use super::store::{Mode, SMALL, Store, Stored};
use super::text::{self, Keys};
use super::value::Reply;
use crate::engine::Expiry;
use crate::error::ErrorKind;
use crate::protocol::{Next, Output};

/// The first byte of a request.
pub(super) const REQUEST: u8 = 0x80;
const REPLY: u8 = 0x81;
/// Bytes of a header.
pub(super) const HEADER: usize = 24;
/// Bodies up to here are read, or thrown away; the client of a larger one is sent away.
const MAX_BODY: usize = 1 << 30;

/// Opcodes of requests, without their quiet forms.
mod op {
    pub(super) const GET: u8 = 0x00;
    pub(super) const SET: u8 = 0x01;
    pub(super) const ADD: u8 = 0x02;
    pub(super) const REPLACE: u8 = 0x03;
    pub(super) const DELETE: u8 = 0x04;
    pub(super) const INCREMENT: u8 = 0x05;
    pub(super) const DECREMENT: u8 = 0x06;
    pub(super) const QUIT: u8 = 0x07;
    pub(super) const FLUSH: u8 = 0x08;
    pub(super) const NOOP: u8 = 0x0a;
    pub(super) const VERSION: u8 = 0x0b;
    pub(super) const GETK: u8 = 0x0c;
    pub(super) const APPEND: u8 = 0x0e;
    pub(super) const PREPEND: u8 = 0x0f;
    pub(super) const STAT: u8 = 0x10;
    pub(super) const TOUCH: u8 = 0x1c;
    pub(super) const GAT: u8 = 0x1d;
    pub(super) const SASL_LIST: u8 = 0x20;
    pub(super) const SASL_AUTH: u8 = 0x21;
    pub(super) const SASL_STEP: u8 = 0x22;
    pub(super) const GATK: u8 = 0x23;
    pub(super) const CONFIG_GET: u8 = 0x60;
    pub(super) const CONFIG_SET: u8 = 0x64;
    pub(super) const CONFIG_DELETE: u8 = 0x66;

    /// The plain form of an opcode, and whether it was the quiet one.
    pub(super) fn plain(opcode: u8) -> (u8, bool) {
        match opcode {
            0x09 => (GET, true),
            0x0d => (GETK, true),
            0x11..=0x16 => (opcode - 0x10, true),
            0x17 => (QUIT, true),
            0x18 => (FLUSH, true),
            0x19 => (APPEND, true),
            0x1a => (PREPEND, true),
            0x1e => (GAT, true),
            0x24 => (GATK, true),
            other => (other, false),
        }
    }
}

/// What is told of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Status {
    Ok = 0x00,
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    Invalid = 0x04,
    NotStored = 0x05,
    NotANumber = 0x06,
    AuthError = 0x20,
    UnknownCommand = 0x81,
    NoMemory = 0x82,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Status::Ok => "",
            Status::NotFound => "Not found",
            Status::Exists => "Data exists for key.",
            Status::TooLarge => "Too large.",
            Status::Invalid => "Invalid arguments",
            Status::NotStored => "Not stored.",
            Status::NotANumber => "Non-numeric server-side value for incr or decr",
            Status::AuthError => "Auth failure.",
            Status::UnknownCommand => "Unknown command",
            Status::NoMemory => "Out of memory",
        }
    }
}

/// The header of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    opcode: u8,
    plain: u8,
    quiet: bool,
    key_len: usize,
    extras_len: usize,
    body_len: usize,
    opaque: [u8; 4],
    token: u64,
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

impl Request {
    fn parse(header: &[u8; HEADER]) -> Request {
        let (plain, quiet) = op::plain(header[1]);
        Request {
            opcode: header[1],
            plain,
            quiet,
            key_len: word(&header[2..4]) as usize,
            extras_len: usize::from(header[4]),
            body_len: word(&header[8..12]) as usize,
            opaque: [header[12], header[13], header[14], header[15]],
            token: word(&header[16..24]),
        }
    }

    /// Bytes of the value.
    fn value_len(&self) -> usize {
        self.body_len - self.key_len - self.extras_len
    }

    /// A reply of these parts.
    fn put(&self, status: Status, token: u64, parts: [&[u8]; 3], output: &mut Output) {
        let [extras, key, value] = parts;
        let mut header = [0; HEADER];
        header[0] = REPLY;
        header[1] = self.opcode;
        header[2..4].copy_from_slice(&(key.len() as u16).to_be_bytes());
        header[4] = extras.len() as u8;
        header[6..8].copy_from_slice(&(status as u16).to_be_bytes());
        header[8..12].copy_from_slice(&((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
        header[12..16].copy_from_slice(&self.opaque);
        header[16..24].copy_from_slice(&token.to_be_bytes());
        output.put(&header);
        output.put(extras);
        output.put(key);
        output.put(value);
    }

    /// All went well: not told in quiet requests.
    fn done(&self, token: u64, value: &[u8], output: &mut Output) {
        if !self.quiet {
            self.put(Status::Ok, token, [b"", b"", value], output);
        }
    }

    pub(super) fn error(&self, status: Status, output: &mut Output) {
        self.put(status, 0, [b"", b"", status.text().as_bytes()], output);
    }

    /// What came of a request that stores.
    pub(super) fn stored(&self, store: &Store, stored: Stored, output: &mut Output) {
        let status = match (stored, store.mode) {
            (Stored::Yes { token, .. }, _) => return self.done(token, b"", output),
            (Stored::Exists, _) | (Stored::No, Mode::Add) => Status::Exists,
            (Stored::NotFound, _) | (Stored::No, Mode::Replace) => Status::NotFound,
            (Stored::No, _) => Status::NotStored,
            (Stored::TooLarge, _) => Status::TooLarge,
            (Stored::NoMemory, _) => Status::NoMemory,
        };
        self.error(status, output);
    }
}

/// The parts of a request but its value.
struct Parts<'a> {
    extras: &'a [u8],
    key: &'a [u8],
}

/// Goes on with one request.
pub(super) fn command(conn: &mut Connection, rest: &[u8], output: &mut Output) -> Step {
    let Some((header, body)) = rest.split_first_chunk::<HEADER>() else { return Step::Starved };
    if header[0] != REQUEST {
        conn.next = Next::Close;
        return Step::Starved;
    }
    let request = Request::parse(header);
    // Told by the header alone: nothing is waited for that would not be used.
    let fault = match () {
        () if request.key_len + request.extras_len > request.body_len => Some(Status::UnknownCommand),
        () if request.body_len > MAX_BODY => Some(Status::Invalid),
        () if !may(conn, &request) => Some(Status::AuthError),
        () if request.key_len > MAX_KEY || !is_well_formed(&request) => Some(Status::Invalid),
        () => None,
    };
    if let Some(status) = fault {
        request.error(status, output);
        conn.next = Next::Close;
        return Step::Took(HEADER);
    }
    foresee(conn, rest, HEADER + request.body_len);
    let Some(head) = body.get(..request.extras_len + request.key_len) else { return Step::Starved };
    let (extras, key) = head.split_at(request.extras_len);
    let took = HEADER + head.len();
    run(conn, request, &Parts { extras, key }, took, &body[head.len()..], output)
}

/// Asks for the memory of the keys of this request, of so many bytes, and of those that follow it.
fn foresee(conn: &mut Connection, rest: &[u8], first: usize) {
    if conn.foreseen > 0 || rest.len() <= first {
        return;
    }
    let mut keys: SmallVec<[&[u8]; 16]> = SmallVec::new();
    let mut at = 0;
    while keys.len() < 16 {
        let Some((header, body)) = rest.get(at..).and_then(|rest| rest.split_first_chunk::<HEADER>()) else { break };
        let request = Request::parse(header);
        let key = body.get(request.extras_len..request.extras_len + request.key_len);
        keys.extend(key.filter(|key| !key.is_empty()));
        at += HEADER + request.body_len;
    }
    conn.foreseen = at;
    conn.shared().cache.foresee(keys.iter().copied());
}

/// Whether a client may do this before it has proven who it is.
fn may(conn: &Connection, request: &Request) -> bool {
    let is_open = matches!(request.plain, op::SASL_LIST | op::SASL_AUTH | op::SASL_STEP | op::VERSION);
    conn.is_known || conn.shared().config.auth == Auth::Sasl && is_open
}

/// Whether the lengths are such as the request should have.
fn is_well_formed(request: &Request) -> bool {
    let (extras, key, value) = (request.extras_len, request.key_len, request.value_len());
    match request.plain {
        op::VERSION | op::NOOP | op::QUIT | op::SASL_LIST => extras + key + value == 0,
        op::FLUSH => key + value == 0 && (extras == 0 || extras == 4),
        op::SET | op::ADD | op::REPLACE => extras == 8 && key > 0,
        op::GET | op::GETK | op::DELETE => extras == 0 && key > 0 && value == 0,
        op::INCREMENT | op::DECREMENT => extras == 20 && key > 0 && value == 0,
        op::APPEND | op::PREPEND | op::SASL_AUTH | op::SASL_STEP => extras == 0 && key > 0,
        op::TOUCH | op::GAT | op::GATK => extras == 4 && key > 0 && value == 0,
        op::STAT => extras == 0 && value == 0,
        op::CONFIG_GET | op::CONFIG_DELETE => extras == 0 && key > 0 && value == 0,
        op::CONFIG_SET => (extras == 4 || extras == 8) && key > 0,
        _ => true,
    }
}

fn run(
    conn: &mut Connection,
    request: Request,
    parts: &Parts<'_>,
    took: usize,
    data: &[u8],
    output: &mut Output,
) -> Step {
    match request.plain {
        op::SET | op::ADD | op::REPLACE | op::APPEND | op::PREPEND => {
            return update(conn, request, parts, took, data, output);
        }
        op::SASL_AUTH | op::SASL_STEP | op::CONFIG_SET => {
            return with_value(conn, request, parts, took, data, output);
        }
        op::GET | op::GETK | op::TOUCH | op::GAT | op::GATK => get(conn, request, parts, output),
        op::DELETE => delete(conn, request, parts, output),
        op::INCREMENT | op::DECREMENT => count(conn, request, parts, output),
        op::STAT => stat(conn, request, parts, output),
        op::VERSION => request.done(0, conn.shared().config.version.clone().as_bytes(), output),
        op::NOOP => request.done(0, b"", output),
        op::QUIT => {
            request.done(0, b"", output);
            conn.next = Next::Close;
        }
        op::FLUSH => flush(conn, request, parts, output),
        op::SASL_LIST if conn.shared().config.auth == Auth::Sasl => request.done(0, b"PLAIN", output),
        op::CONFIG_GET => match conn.config_get(parts.key) {
            Some((flags, value)) => request.put(Status::Ok, 0, [&flags.to_be_bytes(), b"", &value], output),
            None => request.error(Status::NotFound, output),
        },
        op::CONFIG_DELETE => match conn.shared().discovery.delete(parts.key) {
            true => request.done(0, b"", output),
            false => request.error(Status::NotFound, output),
        },
        _ => {
            request.error(Status::UnknownCommand, output);
            conn.refuse(request.value_len());
        }
    }
    Step::Took(took)
}

/// `set`, `add`, `replace`, `append`, `prepend`.
fn update(
    conn: &mut Connection,
    request: Request,
    parts: &Parts<'_>,
    took: usize,
    data: &[u8],
    output: &mut Output,
) -> Step {
    let mode = match request.plain {
        op::APPEND => Mode::Append,
        op::PREPEND => Mode::Prepend,
        _ if request.token != 0 => Mode::Cas,
        op::SET => Mode::Set,
        op::ADD => Mode::Add,
        _ => Mode::Replace,
    };
    let (flags, expiry) = match parts.extras.len() {
        8 => (word(&parts.extras[..4]) as u32, expiry(word(&parts.extras[4..]) as i64)),
        _ => (0, Expiry::Never),
    };
    let store = Store {
        token: request.token,
        want_token: true,
        drop_on_failure: request.plain == op::SET,
        ..Store::new(mode, flags, expiry)
    };
    let (len, reply) = (request.value_len(), Reply::Binary(request));
    if conn.shared().is_too_large(parts.key.len(), len) {
        conn.shared().prefixes.set(parts.key);
        conn.shared().drop_old(parts.key, &store);
        conn.answer(parts.key, &store, Stored::TooLarge, len, &reply, output);
        conn.refuse(len);
        return Step::Took(took);
    }
    if len > SMALL {
        conn.shared().prefixes.set(parts.key);
        conn.expect(parts.key, store, len, reply, output);
        return Step::Took(took);
    }
    let Some(value) = data.get(..len) else { return Step::Starved };
    conn.shared().prefixes.set(parts.key);
    conn.store(parts.key, &store, value, &reply, output);
    Step::Took(took + len)
}

/// Requests whose value is for the front-end itself.
fn with_value(
    conn: &mut Connection,
    request: Request,
    parts: &Parts<'_>,
    took: usize,
    data: &[u8],
    output: &mut Output,
) -> Step {
    let (len, is_config) = (request.value_len(), request.plain == op::CONFIG_SET);
    let most = if is_config { conn.shared().discovery.longest() } else { SMALL };
    if !is_config && conn.shared().config.auth != Auth::Sasl {
        request.error(Status::UnknownCommand, output);
        conn.refuse(len);
        return Step::Took(took);
    }
    if len > most {
        request.error(Status::TooLarge, output);
        conn.refuse(len);
        return Step::Took(took);
    }
    let Some(value) = data.get(..len) else { return Step::Starved };
    if is_config {
        conn.tally.one(Count::ConfigSets);
        match conn.shared().discovery.set(parts.key, word(&parts.extras[..4]) as u32, value) {
            Ok(()) => request.done(0, b"", output),
            Err(_) => request.error(Status::NotStored, output),
        }
    } else if request.plain == op::SASL_AUTH && parts.key == b"PLAIN" && auth::plain(conn, value) {
        request.done(0, b"Authenticated", output);
    } else {
        conn.tally.one(Count::Auths);
        conn.tally.one(Count::AuthErrors);
        request.error(Status::AuthError, output);
    }
    Step::Took(took + len)
}

fn get(conn: &mut Connection, request: Request, parts: &Parts<'_>, output: &mut Output) {
    let touch = match request.plain {
        op::GET | op::GETK => None,
        _ => Some(expiry(word(parts.extras) as i64)),
    };
    let with_key = matches!(request.plain, op::GETK | op::GATK);
    let key: &[u8] = if with_key { parts.key } else { b"" };
    if parts.key == OLD_KEY
        && request.plain != op::TOUCH
        && let Some((flags, value)) = conn.shared().discovery.get(CLUSTER)
    {
        // How old clients ask for the nodes: see `text`.
        conn.tally.one(Count::ConfigGets);
        return request.put(Status::Ok, 0, [&flags.to_be_bytes(), key, &value], output);
    }
    let Connection { server, tally, .. } = conn;
    let found = text::find(server, parts.key, Keys { with_token: true, touch });
    let (all, hit, miss) = match touch {
        None => (Count::Gets, Count::GetHits, Count::GetMisses),
        Some(_) => (Count::Touches, Count::TouchHits, Count::TouchMisses),
    };
    tally.one(all);
    tally.one(if found.is_some() { hit } else { miss });
    server.0.prefixes.get(parts.key, found.is_some());
    match found {
        Some((value, token)) => {
            let flags = value.flags().to_be_bytes();
            let shown: &[u8] = if request.plain == op::TOUCH { b"" } else { &value };
            request.put(Status::Ok, token.unwrap_or(0), [&flags, key, shown], output);
        }
        None if request.quiet => {}
        None if with_key => request.put(Status::NotFound, 0, [b"", key, b""], output),
        None => request.error(Status::NotFound, output),
    }
}

fn delete(conn: &mut Connection, request: Request, parts: &Parts<'_>, output: &mut Output) {
    conn.shared().prefixes.delete(parts.key);
    let token = (request.token != 0).then_some(request.token);
    match super::meta::remove(&conn.server, parts.key, token) {
        super::meta::Deleted::Yes => {
            conn.tally.one(Count::DeleteHits);
            request.done(0, b"", output);
        }
        super::meta::Deleted::Exists => request.error(Status::Exists, output),
        _ => {
            conn.tally.one(Count::DeleteMisses);
            request.error(Status::NotFound, output);
        }
    }
}

fn count(conn: &mut Connection, request: Request, parts: &Parts<'_>, output: &mut Output) {
    let down = request.plain == op::DECREMENT;
    let (by, initial, end) = (&parts.extras[..8], &parts.extras[8..16], word(&parts.extras[16..]));
    let steps = Steps {
        by: word(by),
        down,
        initial: word(initial),
        vivify: (end != u64::from(u32::MAX)).then(|| expiry(end as i64)),
        ttl: None,
        token: (request.token != 0).then_some(request.token),
        new_token: None,
        want_token: true,
        marks: 0,
    };
    let (hits, misses) = if down { (Count::DecrHits, Count::DecrMisses) } else { (Count::IncrHits, Count::IncrMisses) };
    match step_number(&conn.server, parts.key, &steps) {
        Ok(Counting::Done(Counted { number, token, made, .. })) => {
            if !made {
                conn.tally.one(hits);
            }
            request.done(token, &number.to_be_bytes(), output);
        }
        Ok(Counting::Exists) => request.error(Status::Exists, output),
        Ok(Counting::Missing) => {
            conn.tally.one(misses);
            request.error(Status::NotFound, output);
        }
        Err(error) if error.kind() == ErrorKind::NotANumber => request.error(Status::NotANumber, output),
        Err(_) => request.error(Status::NoMemory, output),
    }
}

fn flush(conn: &mut Connection, request: Request, parts: &Parts<'_>, output: &mut Output) {
    if !conn.shared().config.flush {
        return request.error(Status::AuthError, output);
    }
    conn.tally.one(Count::Flushes);
    conn.shared().flush(word(parts.extras) as i64);
    request.done(0, b"", output);
}

fn stat(conn: &mut Connection, request: Request, parts: &Parts<'_>, output: &mut Output) {
    let Some(rows) = stats::binary(conn, parts.key) else { return request.error(Status::NotFound, output) };
    for (name, value) in rows {
        request.put(Status::Ok, 0, [b"", name.as_bytes(), value.as_bytes()], output);
    }
    request.put(Status::Ok, 0, [b"", b"", b""], output);
}
