//! The text protocol: lines of words, and what most of them do.

use smallvec::SmallVec;

use super::connection::{Connection, State, Step};
use super::counters::Count;
use super::discovery::{CLUSTER, OLD_KEY};
use super::parse::{
    MAX_KEY, MAX_KEYS_LINE, MAX_LINE, Words, each_word, expiry, flags, number, small_number, small_signed, without_end,
    words,
};
use super::server::{Auth, Server};
use super::store::{Mode, SMALL, Store, Stored};
use super::value::Reply;
use super::{admin, auth, config, meta, stats};
use crate::api::{Arithmetic, Guard};
use crate::engine::Expiry;
use crate::error::ErrorKind;
use crate::protocol::output::push_number;
use crate::protocol::{Limits, Next, Output};

pub(super) const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
pub(super) const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
pub(super) const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
/// Keys that are looked for together.
const BATCH: usize = 16;

/// A retrieval of keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) with_token: bool,
    pub(super) touch: Option<Expiry>,
}

/// The line at the head of the input, its end included. None: there is none yet, or what is there is too long for one,
/// and the connection is to be closed.
pub(super) fn line<'a>(conn: &mut Connection, rest: &'a [u8]) -> Option<&'a [u8]> {
    let start = rest.trim_ascii_start();
    // Nobody has to keep much for clients that have not said who they are.
    let may_be_long =
        conn.is_known && [&b"get "[..], b"gets ", b"gat ", b"gats "].iter().any(|command| start.starts_with(command));
    let longest = if may_be_long { MAX_KEYS_LINE } else { MAX_LINE };
    let from = conn.scanned.min(rest.len());
    let found = rest[from..].iter().position(|&byte| byte == b'\n').map(|at| from + at + 1);
    if found.unwrap_or(rest.len()) > longest {
        conn.next = Next::Close;
        conn.ending = "error";
        return None;
    }
    conn.scanned = found.map_or(rest.len(), |end| end - 1);
    found.map(|end| &rest[..end])
}

/// Goes on with one request.
pub(super) fn command(conn: &mut Connection, rest: &[u8], output: &mut Output) -> Step {
    let Some(line) = line(conn, rest) else { return Step::Starved };
    if !conn.is_known {
        return match conn.shared().config.auth {
            Auth::Ascii => auth::command(conn, line, rest, output),
            _ => {
                conn.next = Next::Close;
                Step::Starved
            }
        };
    }
    let data = &rest[line.len()..];
    if line.len() < 4 {
        output.put(BAD_FORMAT);
        return Step::Took(line.len());
    }
    let bare = without_end(line);
    let name = bare.split(|&byte| byte == b' ').next().unwrap_or_default();
    let keys = Keys { with_token: false, touch: None };
    match name {
        b"get" => retrieve(conn, rest, line.len(), 4, keys, output),
        b"gets" => retrieve(conn, rest, line.len(), 5, Keys { with_token: true, ..keys }, output),
        b"gat" | b"gats" => get_and_touch(conn, rest, line.len(), bare, output),
        b"mg" => {
            foresee(conn, rest, line.len());
            meta::get(conn, bare, output);
            Step::Took(line.len())
        }
        b"ms" => {
            foresee(conn, rest, line.len());
            meta::set(conn, bare, line.len(), data, output)
        }
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            foresee(conn, rest, line.len());
            storage(conn, name, bare, line.len(), data, output)
        }
        b"config" => config::command(conn, bare, line.len(), data, output),
        _ => {
            other(conn, name, bare, output);
            Step::Took(line.len())
        }
    }
}

/// Requests that are a line and nothing else.
fn other(conn: &mut Connection, name: &[u8], bare: &[u8], output: &mut Output) {
    let words = words(bare);
    let mark = output.mark();
    let noreply = words.last() == Some(&&b"noreply"[..]);
    match name {
        b"md" => meta::delete(conn, bare, output),
        b"ma" => meta::arithmetic(conn, bare, output),
        b"me" => meta::debug(conn, bare, output),
        b"mn" => output.put(b"MN\r\n"),
        b"quit" => conn.next = Next::Close,
        b"version" => {
            output.put(b"VERSION ");
            output.put(conn.shared().config.version.as_bytes());
            output.put(b"\r\n");
        }
        b"stats" => stats::text(conn, &words, output),
        b"watch" => conn.watch(&words[1..], output),
        b"delete" => quietly(noreply && words.len() > 1, output, mark, |output| delete(conn, &words, output)),
        b"incr" | b"decr" => {
            let enough = words.len() > 2;
            quietly(noreply && enough, output, mark, |output| count(conn, &words, name == b"incr", output));
        }
        b"touch" => quietly(noreply && words.len() > 2, output, mark, |output| touch(conn, &words, output)),
        _ => quietly(noreply, output, mark, |output| admin::command(conn, &words, noreply, output)),
    }
}

/// Does something whose reply may not be wanted.
fn quietly(quiet: bool, output: &mut Output, mark: crate::protocol::output::Mark, f: impl FnOnce(&mut Output)) {
    f(output);
    if quiet {
        output.truncate(mark);
    }
}

/// The key of a request that begins an input, if it is a common one.
pub(super) fn first_key(input: &[u8]) -> Option<&[u8]> {
    let names: [&[u8]; 6] = [b"get ", b"set ", b"gets ", b"mg ", b"ms ", b"delete "];
    let rest = names.iter().find_map(|name| input.strip_prefix(*name))?;
    let len = rest.iter().take(MAX_KEY + 1).position(|&byte| byte == b' ' || byte == b'\r' || byte == b'\n')?;
    Some(&rest[..len])
}

/// Asks for the memory of the keys of this request and of those that follow it.
fn foresee(conn: &mut Connection, rest: &[u8], line: usize) {
    if conn.foreseen > 0 || rest.len() == line {
        return;
    }
    let mut keys: SmallVec<[&[u8]; BATCH]> = SmallVec::new();
    let mut at = 0;
    while keys.len() < BATCH && at < rest.len() {
        let Some(end) = rest[at..].iter().position(|&byte| byte == b'\n') else { break };
        let line = without_end(&rest[at..at + end + 1]);
        at += end + 1;
        if line.starts_with(b"get ") || line.starts_with(b"gets ") {
            let room = BATCH - keys.len();
            keys.extend(each_word(line).skip(1).take(room));
        } else if line.starts_with(b"mg ") {
            keys.extend(each_word(line).nth(1));
        } else if line.starts_with(b"set ") || line.starts_with(b"ms ") {
            let mut words = each_word(line).skip(1);
            let key = words.next();
            let len = if line.starts_with(b"ms ") { words.next() } else { words.nth(2) };
            let Some(len) = len.and_then(small_number).map(|len| len as usize) else { break };
            keys.extend(key);
            at = at.saturating_add(len + 2);
        } else {
            break;
        }
    }
    conn.foreseen = at;
    conn.shared().cache.foresee(keys.iter().copied());
}

fn get_and_touch(conn: &mut Connection, rest: &[u8], line: usize, bare: &[u8], output: &mut Output) -> Step {
    let mut parts = each_word(bare);
    let (name, exptime) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_none() {
        output.put(BAD_FORMAT);
        return Step::Took(line);
    }
    let exptime = exptime.unwrap_or_default();
    let Some(seconds) = small_signed(exptime) else {
        output.put(b"CLIENT_ERROR invalid exptime argument\r\n");
        return Step::Took(line);
    };
    // Where the word ends, seen from where the line begins.
    let after = exptime.as_ptr() as usize - bare.as_ptr() as usize + exptime.len();
    let keys = Keys { with_token: name == b"gats", touch: Some(expiry(i64::from(seconds))) };
    retrieve(conn, rest, line, after, keys, output)
}

/// A retrieval whose keys begin at `from` in a line of `line` bytes.
fn retrieve(conn: &mut Connection, rest: &[u8], line: usize, from: usize, keys: Keys, output: &mut Output) -> Step {
    let bare = without_end(&rest[..line]);
    let names = bare.get(from..).unwrap_or_default();
    let mut count = 0;
    for name in each_word(names) {
        if name.len() > MAX_KEY {
            output.put(BAD_FORMAT);
            return Step::Took(line);
        }
        count += 1;
    }
    if count == 0 {
        output.put(BAD_FORMAT);
        return Step::Took(line);
    }
    if count == 1 {
        if keys.touch.is_none() {
            foresee(conn, rest, line);
        }
        each_word(names).for_each(|name| one(conn, name, keys, output));
        output.put(b"END\r\n");
        return Step::Took(line);
    }
    // The keys are looked for by the state that can stop within them.
    conn.state = State::Keys(keys);
    Step::Took(from)
}

/// Goes on with a retrieval.
pub(super) fn keys(conn: &mut Connection, rest: &[u8], output: &mut Output, limits: &Limits) -> Step {
    let State::Keys(kind) = conn.state else { return Step::Starved };
    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return Step::Starved };
    let names = without_end(&rest[..=end]);
    let mut batch: SmallVec<[&[u8]; BATCH]> = SmallVec::new();
    let mut each = each_word(names);
    loop {
        batch.clear();
        batch.extend(each.by_ref().take(BATCH));
        conn.shared().cache.foresee(batch.iter().copied());
        for (i, name) in batch.iter().enumerate() {
            if output.len() > limits.output_bytes {
                return Step::Paused(batch[i].as_ptr() as usize - rest.as_ptr() as usize);
            }
            one(conn, name, kind, output);
        }
        if batch.len() < BATCH {
            output.put(b"END\r\n");
            conn.state = State::Command;
            return Step::Took(end + 1);
        }
    }
}

/// One key of a retrieval.
fn one(conn: &mut Connection, key: &[u8], keys: Keys, output: &mut Output) {
    if key == OLD_KEY && old_cluster_key(conn, keys, output) {
        return;
    }
    let Connection { server, tally, .. } = conn;
    let found = find(server, key, keys);
    let (all, hits, misses) = match keys.touch {
        None => (Count::Gets, Count::GetHits, Count::GetMisses),
        Some(_) => (Count::Touches, Count::TouchHits, Count::TouchMisses),
    };
    tally.one(all);
    tally.one(if found.is_some() { hits } else { misses });
    server.0.prefixes.get(key, found.is_some());
    let len = found.map(|(value, token)| {
        value_line(key, value.flags(), &value, token, output);
        value.len()
    });
    conn.tell_fetched(key, len);
}

/// A value and its token, if that is wanted. What there is no memory for is not there.
pub(super) fn find<'s>(server: &'s Server, key: &[u8], keys: Keys) -> Option<(Guard<'s>, Option<u64>)> {
    let cache = &server.0.cache;
    if let Some(expiry) = keys.touch {
        let value = cache.get_and_expire(key, expiry).ok()??;
        if !keys.with_token {
            return Some((value, None));
        }
        let token = token_of(server, key, &value);
        return Some((value, Some(token)));
    }
    let value = cache.get(key).ok()??;
    if !keys.with_token {
        return Some((value, None));
    }
    match value.token() {
        Some(token) => Some((value, Some(token.as_u64()))),
        None if !server.0.has_tokens => Some((value, Some(0))),
        // It is given one. What was read may not be what the token is of, so it is read again. Without memory for a
        // token, the client is told one that no value has.
        None => {
            drop(value);
            let _ = cache.engine().token(cache.key(key));
            let value = cache.peek(key).ok()??;
            let token = value.token().map(|token| token.as_u64());
            let token = token.unwrap_or_else(|| cache.engine().spent_token(cache.key(key)));
            Some((value, Some(token)))
        }
    }
}

/// The token of a value that was read; one that no value has, if it is not there any more. 0 where there are none.
pub(super) fn token_of(server: &Server, key: &[u8], value: &Guard<'_>) -> u64 {
    let cache = &server.0.cache;
    match value.token() {
        Some(token) => token.as_u64(),
        None if !server.0.has_tokens => 0,
        None => match cache.engine().token(cache.key(key)) {
            Ok(Some(token)) => token,
            _ => cache.engine().spent_token(cache.key(key)),
        },
    }
}

fn value_line(key: &[u8], flags: u32, value: &[u8], token: Option<u64>, output: &mut Output) {
    output.put_small(|buffer| {
        buffer.extend_from_slice(b"VALUE ");
        buffer.extend_from_slice(key);
        buffer.push(b' ');
        push_number(u64::from(flags), buffer);
        buffer.push(b' ');
        push_number(value.len() as u64, buffer);
        if let Some(token) = token {
            buffer.push(b' ');
            push_number(token, buffer);
        }
        buffer.extend_from_slice(b"\r\n");
    });
    output.put(value);
    output.put(b"\r\n");
}

/// The key by which old clients ask for the nodes. While there is something to tell them it is no item, and does not
/// count as one; otherwise it is a key as any other.
fn old_cluster_key(conn: &mut Connection, keys: Keys, output: &mut Output) -> bool {
    let Some((flags, value)) = conn.shared().discovery.get(CLUSTER) else { return false };
    conn.tally.one(Count::ConfigGets);
    value_line(OLD_KEY, flags, &value, keys.with_token.then_some(0), output);
    true
}

/// `set` and its kin.
fn storage(conn: &mut Connection, name: &[u8], bare: &[u8], line: usize, data: &[u8], output: &mut Output) -> Step {
    let words = words(bare);
    let len = words.get(4).and_then(|word| small_signed(word)).and_then(|len| usize::try_from(len).ok());
    let Some(len) = len.filter(|&len| len <= i32::MAX as usize - 2) else {
        output.put(BAD_FORMAT);
        return Step::Took(line);
    };
    let noreply = words.last() == Some(&&b"noreply"[..]);
    let key = words[1];
    let Some(store) = parse_storage(name, &words) else {
        if !noreply {
            output.put(BAD_FORMAT);
        }
        conn.refuse(len + 2);
        return Step::Took(line);
    };
    arrive(conn, key, store, len, Reply::Text { noreply }, line, data, output)
}

/// A value is to come: stores it if all of it is there, makes place for it if it is large.
#[expect(clippy::too_many_arguments, reason = "all of a request")]
pub(super) fn arrive(
    conn: &mut Connection,
    key: &[u8],
    store: Store,
    len: usize,
    reply: Reply,
    line: usize,
    data: &[u8],
    output: &mut Output,
) -> Step {
    if conn.shared().is_too_large(key.len(), len) {
        conn.shared().prefixes.set(key);
        conn.shared().drop_old(key, &store);
        conn.answer(key, &store, Stored::TooLarge, len, &reply, output);
        conn.refuse(len + 2);
        return Step::Took(line);
    }
    if len > SMALL {
        conn.shared().prefixes.set(key);
        conn.expect(key, store, len, reply, output);
        return Step::Took(line);
    }
    let Some((value, end)) = data.get(..len + 2).map(|all| all.split_at(len)) else { return Step::Starved };
    conn.shared().prefixes.set(key);
    if end == b"\r\n" {
        conn.store(key, &store, value, &reply, output);
    } else {
        conn.bad_chunk(&reply, output);
    }
    Step::Took(line + len + 2)
}

fn parse_storage(name: &[u8], words: &Words<'_>) -> Option<Store> {
    let mode = match name {
        b"set" => Mode::Set,
        b"add" => Mode::Add,
        b"replace" => Mode::Replace,
        b"append" => Mode::Append,
        b"prepend" => Mode::Prepend,
        _ => Mode::Cas,
    };
    if words[1].len() > MAX_KEY {
        return None;
    }
    let seconds = small_signed(words[3].strip_prefix(b"+").unwrap_or(words[3]))?;
    let mut store = Store::new(mode, flags(words[2])?, expiry(i64::from(seconds)));
    if mode == Mode::Cas {
        store.token = number(words.get(5)?)?;
    }
    Some(store)
}

/// What came of a request that stores.
pub(super) fn stored(stored: Stored, noreply: bool, output: &mut Output) {
    let reply: &[u8] = match stored {
        _ if noreply => return,
        Stored::Yes { .. } => b"STORED\r\n",
        Stored::No => b"NOT_STORED\r\n",
        Stored::Exists => b"EXISTS\r\n",
        Stored::NotFound => b"NOT_FOUND\r\n",
        Stored::TooLarge => TOO_LARGE,
        Stored::NoMemory => NO_MEMORY,
    };
    output.put(reply);
}

/// The key of a request, if it may be one.
fn key_of<'a>(words: &Words<'a>, least: usize, output: &mut Output) -> Option<&'a [u8]> {
    match words.get(1) {
        Some(key) if words.len() >= least && key.len() <= MAX_KEY => Some(key),
        _ => {
            output.put(BAD_FORMAT);
            None
        }
    }
}

fn delete(conn: &mut Connection, words: &Words<'_>, output: &mut Output) {
    let Some(key) = key_of(words, 2, output) else { return };
    // Old clients send a time of 0.
    if !matches!(words[2..], [] | [b"0" | b"noreply"] | [b"0", b"noreply"]) {
        return output.put(b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
    }
    conn.shared().prefixes.delete(key);
    let len = conn.before_delete(key);
    let removed = conn.shared().cache.remove(key);
    if removed {
        conn.tell_deleted(key, "delete", len);
    }
    conn.tally.one(if removed { Count::DeleteHits } else { Count::DeleteMisses });
    output.put(if removed { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" });
}

fn count(conn: &mut Connection, words: &Words<'_>, up: bool, output: &mut Output) {
    let Some(key) = key_of(words, 3, output) else { return };
    let Some(by) = number(words[2]) else {
        return output.put(b"CLIENT_ERROR invalid numeric delta argument\r\n");
    };
    let (hits, misses) = if up { (Count::IncrHits, Count::IncrMisses) } else { (Count::DecrHits, Count::DecrMisses) };
    let arithmetic = if up { Arithmetic::unsigned_up(by) } else { Arithmetic::unsigned_down(by) };
    match conn.shared().cache.arithmetic(key, &arithmetic) {
        Ok(Some(number)) => {
            conn.tally.one(hits);
            // Unsigned results fit by construction.
            output.put_number(number as u64);
            output.put(b"\r\n");
        }
        Ok(None) => {
            conn.tally.one(misses);
            output.put(b"NOT_FOUND\r\n");
        }
        Err(error) if error.kind() == ErrorKind::NotANumber => {
            output.put(b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        }
        Err(_) => output.put(b"SERVER_ERROR out of memory\r\n"),
    }
}

fn touch(conn: &mut Connection, words: &Words<'_>, output: &mut Output) {
    let Some(key) = key_of(words, 3, output) else { return };
    let Some(seconds) = small_signed(words[2]) else {
        return output.put(b"CLIENT_ERROR invalid exptime argument\r\n");
    };
    let cache = &conn.shared().cache;
    let touched = cache.engine().touch(cache.key(key), expiry(i64::from(seconds)));
    conn.tally.one(Count::Touches);
    match touched {
        Ok(true) => {
            conn.tally.one(Count::TouchHits);
            output.put(b"TOUCHED\r\n");
        }
        Ok(false) => {
            conn.tally.one(Count::TouchMisses);
            output.put(b"NOT_FOUND\r\n");
        }
        Err(_) => output.put(b"SERVER_ERROR out of memory\r\n"),
    }
}
