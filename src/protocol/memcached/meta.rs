//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`.
//!
//! An item that is out of date, or near its end, can be given out while one client, and no other, is told to bring a
//! new value: it *wins*. That is kept in the item's marks ([`STALE`], [`WON`]); the mark is set under the item's lock,
//! so there is one winner. A plain hit changes nothing and takes no lock.

use super::connection::{Connection, Step};
use super::counters::Count;
use super::flags::{Flags, LONG_OPAQUE, put_flag, put_key};
use super::parse::{MAX_KEY, small_signed, words};
use super::server::Server;
use super::store::{BINARY_KEY, Mode, STALE, Store, Stored, WON};
use super::text::{self, BAD_FORMAT};
use super::value::Reply;
use crate::api::Guard;
use crate::engine::{Arithmetic, Change, Engine, Expiry, Piece, Rewrite};
use crate::error::ErrorKind;
use crate::protocol::Output;
use crate::slab::Attributes;

/// What is known of an item when it is shown.
struct Shown {
    attributes: Attributes,
    size: usize,
    fetched: bool,
    token: u64,
    seconds_since_use: u64,
}

/// Whole seconds that are left until a deadline, rounded up.
fn seconds_left(deadline: u64, now: u64) -> u64 {
    deadline.saturating_sub(now).div_ceil(1000)
}

/// The flag `t`.
fn put_ttl(deadline: u64, now: u64, output: &mut Output) {
    match deadline {
        0 => output.put(b" t-1"),
        _ => put_flag(b't', seconds_left(deadline, now), output),
    }
}

/// `mg`
pub(super) fn get(conn: &mut Connection, bare: &[u8], output: &mut Output) {
    let words = words(bare);
    if words.len() < 2 {
        return output.put(BAD_FORMAT);
    }
    let flags = match Flags::parse(&words, 2) {
        Ok(flags) => flags,
        Err(error) => return output.put(error),
    };
    if flags.has_long_opaque() {
        return output.put(LONG_OPAQUE);
    }
    let Connection { server, tally, .. } = conn;
    let found = show(server, &flags, output);
    let shown = found.is_some();
    server.0.prefixes.get(&flags.key, shown);
    let (all, hit, miss) = match flags.ttl {
        Some(_) if shown => (Count::Touches, Count::TouchHits, Count::TouchMisses),
        _ => (Count::Gets, Count::GetHits, Count::GetMisses),
    };
    tally.one(all);
    tally.one(if shown { hit } else { miss });
    conn.tell_fetched(&flags.key, found);
    if !shown && !flags.quiet {
        output.put(b"EN");
        for word in flags.words {
            flags.put_common(word, output);
        }
        output.put(b"\r\n");
    }
}

/// Shows an item, or makes one if it is asked for; its value's length. None if there is none.
fn show(server: &Server, flags: &Flags<'_>, output: &mut Output) -> Option<usize> {
    let cache = &server.0.cache;
    loop {
        let seconds_since_use = if flags.last_access { since_use(server, &flags.key) } else { 0 };
        let found = if flags.no_update { cache.peek(&flags.key) } else { cache.get(&flags.key) };
        // What there is no memory to show is not there; it cannot be made either, for it may be there.
        let Some(value) = found.ok()? else {
            match flags.made_until() {
                None => return None,
                Some(expiry) => match vivify(server, flags, expiry, output) {
                    Some(made) => return made.then_some(0),
                    // Somebody else has made it.
                    None => continue,
                },
            }
        };
        let (_, fetched) = value.attributes();
        let wants_token = flags.token.is_some() || flags.has(b'c');
        let value = match wants_token && value.token().is_none() && server.0.has_tokens {
            false => value,
            true => {
                // It is given one. What was read may not be what the token is of, so it is read again.
                drop(value);
                let _ = cache.engine().token(cache.key(&flags.key));
                match cache.peek(&flags.key) {
                    Ok(Some(value)) => value,
                    _ => return None,
                }
            }
        };
        let attributes = value.attributes().0;
        let token = attributes.token.unwrap_or(0);
        let shown = Shown { attributes, size: value.len(), fetched, token, seconds_since_use };
        hit(server, flags, &value, &shown, output);
        return Some(value.len());
    }
}

/// Whole seconds since an item was used, where items know that.
fn since_use(server: &Server, key: &[u8]) -> u64 {
    let cache = &server.0.cache;
    let last = cache.engine().inspect(cache.key(key), |item| item.attributes());
    let last = last.filter(|attributes| attributes.idle_ms > 0).map(|attributes| attributes.last_use);
    last.map_or(0, |last| cache.engine().ctx.now().saturating_sub(last) / 1000)
}

/// Makes an empty item, whose value the asker is to bring. None if there is one after all; whether it was made.
fn vivify(server: &Server, flags: &Flags<'_>, expiry: Expiry, output: &mut Output) -> Option<bool> {
    let marks = WON | if flags.binary_key { BINARY_KEY } else { 0 };
    let store = Store { marks, new_token: flags.new_token, want_token: true, ..Store::new(Mode::Add, 0, expiry) };
    match server.0.store(&flags.key, &store, b"") {
        Stored::Yes { token, .. } => {
            let attributes = Attributes { marks, ..Attributes::default() };
            let shown = Shown { attributes, size: 0, fetched: false, token, seconds_since_use: 0 };
            let is_same = flags.token == Some(token);
            head(flags.value && !is_same, 0, output);
            body(server, flags, &shown, true, output);
            output.put(b" W\r\n");
            if flags.value && !is_same {
                output.put(b"\r\n");
            }
            Some(true)
        }
        Stored::No => None,
        _ => Some(false),
    }
}

fn head(value: bool, len: usize, output: &mut Output) {
    if value {
        output.put(b"VA ");
        output.put_number(len as u64);
    } else {
        output.put(b"HD");
    }
}

/// What the flags of an `mg` come to, beside the reply.
#[derive(Default)]
struct Wishes {
    /// Until when the item is to live from now on.
    touch: Option<Expiry>,
    /// It is so near its end that somebody should bring a new value.
    is_near: bool,
}

impl Wishes {
    fn touch(&self, server: &Server, flags: &Flags<'_>) {
        if let Some(expiry) = self.touch {
            // An item that left meanwhile needs no new end; one that lacks memory for it keeps its own.
            let _ = server.0.cache.engine().touch(server.0.cache.key(&flags.key), expiry);
        }
    }
}

/// The flags of a reply, in the order they were asked in, which matters for those that change the item's end or look at
/// it. `made`: the item was made now.
fn body(server: &Server, flags: &Flags<'_>, shown: &Shown, made: bool, output: &mut Output) -> Wishes {
    let engine = server.0.cache.engine();
    let now = engine.ctx.now();
    let (mut deadline, mut wishes) = (shown.attributes.deadline, Wishes::default());
    for word in flags.words {
        match word[0] {
            b'T' => {
                deadline = engine.deadline(now, flags.ttl.unwrap_or_default());
                wishes.touch = flags.ttl;
            }
            b'N' if made => deadline = engine.deadline(now, flags.vivify.unwrap_or_default()),
            b'R' => {
                let recache = engine.deadline(now, flags.recache.unwrap_or_default());
                wishes.is_near = deadline != 0 && deadline < recache;
            }
            b's' => put_flag(b's', shown.size as u64, output),
            b't' => put_ttl(deadline, now, output),
            b'c' => put_flag(b'c', shown.token, output),
            b'f' => put_flag(b'f', u64::from(shown.attributes.client_flags), output),
            b'l' => put_flag(b'l', shown.seconds_since_use, output),
            b'h' => put_flag(b'h', u64::from(shown.fetched), output),
            b'k' => put_key(&flags.key, shown.attributes.marks & BINARY_KEY != 0, output),
            _ => {
                flags.put_common(word, output);
            }
        }
    }
    wishes
}

fn hit(server: &Server, flags: &Flags<'_>, value: &Guard<'_>, shown: &Shown, output: &mut Output) {
    let with_value = flags.value && (flags.token.is_none() || flags.token != Some(shown.token));
    head(with_value, value.len(), output);
    let wishes = body(server, flags, shown, false, output);
    let marks = shown.attributes.marks;
    let may_win = marks & WON == 0 && (wishes.is_near || marks & STALE != 0);
    let wins = may_win && win(server, &flags.key, shown.attributes.token);
    wishes.touch(server, flags);
    if marks & WON != 0 || may_win && !wins {
        output.put(b" Z");
    }
    if marks & STALE != 0 {
        output.put(b" X");
    }
    if wins {
        output.put(b" W");
    }
    output.put(b"\r\n");
    if with_value {
        output.put(value);
        output.put(b"\r\n");
    }
}

/// Marks an item as one for which somebody brings a new value. False if somebody else does, or it is another by now.
fn win(server: &Server, key: &[u8], token: Option<u64>) -> bool {
    let cache = &server.0.cache;
    let won = cache.engine().rewrite(cache.key(key), Change::Form, |before, _, _| {
        if before.marks & WON != 0 || before.token != token {
            return Rewrite::Leave(false);
        }
        Rewrite::Store(Attributes { marks: before.marks | WON, ..before }, vec![Piece::Old], true)
    });
    matches!(won, Ok(Some(true)))
}

/// What the reply to `ms` is made of.
#[derive(Debug)]
pub(super) struct SetReply {
    quiet: bool,
    binary_key: bool,
    /// The flags that are given back, in order.
    flags: Vec<Box<[u8]>>,
}

impl SetReply {
    /// `sent`: how long the value is that came.
    pub(super) fn put(&self, key: &[u8], store: &Store, stored: Stored, sent: usize, output: &mut Output) {
        let (code, token, len) = match stored {
            Stored::Yes { .. } if self.quiet => return,
            Stored::Yes { token, len } => (&b"HD"[..], token, len),
            Stored::No => (&b"NS"[..], 0, sent),
            Stored::Exists => (&b"EX"[..], 0, sent),
            Stored::NotFound => (&b"NF"[..], 0, sent),
            Stored::TooLarge => return output.put(text::TOO_LARGE),
            Stored::NoMemory => return output.put(text::NO_MEMORY),
        };
        output.put(code);
        for flag in &self.flags {
            match flag[0] {
                b'O' => {
                    output.put(b" ");
                    output.put(flag);
                }
                b'k' => put_key(key, self.binary_key, output),
                b'c' => put_flag(b'c', store.new_token.filter(|_| token != 0).unwrap_or(token), output),
                _ => put_flag(b's', len as u64, output),
            }
        }
        output.put(b"\r\n");
    }
}

/// `ms`
pub(super) fn set(conn: &mut Connection, bare: &[u8], line: usize, data: &[u8], output: &mut Output) -> Step {
    let words = words(bare);
    let len = words.get(2).and_then(|word| small_signed(word)).and_then(|len| usize::try_from(len).ok());
    let Some(len) = len.filter(|&len| len <= i32::MAX as usize - 2) else {
        output.put(BAD_FORMAT);
        return Step::Took(line);
    };
    let parsed = Flags::parse(&words, 3).and_then(|flags| {
        let store = store_of(&flags)?;
        if flags.has_long_opaque() {
            return Err(LONG_OPAQUE);
        }
        Ok((flags, store))
    });
    let (flags, store) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            output.put(error);
            conn.refuse(len + 2);
            return Step::Took(line);
        }
    };
    let shown = flags.words.iter().filter(|word| matches!(word[0], b'O' | b'k' | b'c' | b's'));
    let reply = SetReply {
        quiet: flags.quiet,
        binary_key: flags.binary_key,
        flags: shown.map(|word| Box::from(*word)).collect(),
    };
    text::arrive(conn, &flags.key, store, len, Reply::Meta(reply), line, data, output)
}

fn store_of(flags: &Flags<'_>) -> Result<Store, &'static [u8]> {
    let mode = match flags.mode {
        None | Some(b'S') => Mode::Set,
        Some(b'E') => Mode::Add,
        Some(b'A') => Mode::Append,
        Some(b'P') => Mode::Prepend,
        Some(b'R') => Mode::Replace,
        Some(_) => return Err(b"CLIENT_ERROR invalid mode for ms M token\r\n"),
    };
    let mode = if flags.token.is_some() && matches!(mode, Mode::Set | Mode::Replace) { Mode::Cas } else { mode };
    let is_extension = matches!(mode, Mode::Append | Mode::Prepend);
    let expiry = match flags.vivify {
        Some(vivify) if is_extension => vivify,
        _ => flags.ttl.unwrap_or(Expiry::Never),
    };
    Ok(Store {
        token: flags.token.unwrap_or(0),
        or_stale: flags.invalidate,
        new_token: flags.new_token,
        vivify: is_extension && flags.vivify.is_some(),
        marks: if flags.binary_key { BINARY_KEY } else { 0 },
        want_token: flags.has(b'c'),
        drop_on_failure: true,
        ..Store::new(mode, flags.client_flags, expiry)
    })
}

/// What came of removing a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deleted {
    Yes,
    Marked,
    Exists,
    Missing,
    NoMemory,
}

/// `md`
pub(super) fn delete(conn: &mut Connection, bare: &[u8], output: &mut Output) {
    let words = words(bare);
    if words.len() < 2 {
        return output.put(BAD_FORMAT);
    }
    let flags = match Flags::parse(&words, 2) {
        Ok(flags) if flags.has_long_opaque() => return output.put(LONG_OPAQUE),
        Ok(flags) => flags,
        Err(error) => return output.put(error),
    };
    conn.shared().prefixes.delete(&flags.key);
    let len = if flags.invalidate { None } else { conn.before_delete(&flags.key) };
    let deleted = if flags.remove_value || flags.invalidate {
        invalidate(&conn.server, &flags)
    } else {
        remove(&conn.server, &flags.key, flags.token)
    };
    let code = match deleted {
        Deleted::Yes | Deleted::Marked => b"HD",
        Deleted::Exists => b"EX",
        Deleted::Missing => b"NF",
        Deleted::NoMemory => return output.put(b"SERVER_ERROR out of memory\r\n"),
    };
    if deleted == Deleted::Yes {
        conn.tell_deleted(&flags.key, "md", len);
    }
    match deleted {
        Deleted::Yes => conn.tally.one(Count::DeleteHits),
        Deleted::Exists | Deleted::Missing => conn.tally.one(Count::DeleteMisses),
        _ => {}
    }
    if flags.quiet && code == b"HD" {
        return;
    }
    output.put(code);
    for word in flags.words {
        flags.put_common(word, output);
    }
    output.put(b"\r\n");
}

/// Whether an item has the token that is asked for, if one is. Where there are no tokens, all are 0.
fn has_token(server: &Server, token: Option<u64>, asked: Option<u64>) -> bool {
    asked.is_none_or(|asked| if server.0.has_tokens { token == Some(asked) } else { asked == 0 })
}

pub(super) fn remove(server: &Server, key: &[u8], token: Option<u64>) -> Deleted {
    let cache = &server.0.cache;
    let mut found = false;
    let removed = cache.engine().remove(
        cache.key(key),
        |_, item| {
            found = true;
            has_token(server, item.token(), token)
        },
        |_| (),
    );
    match removed {
        Some(()) => Deleted::Yes,
        None if found => Deleted::Exists,
        None => Deleted::Missing,
    }
}

/// `md` with `I` (the item becomes stale) or `x` (its value becomes empty).
fn invalidate(server: &Server, flags: &Flags<'_>) -> Deleted {
    let cache = &server.0.cache;
    let engine = cache.engine();
    let change = if flags.remove_value { Change::Value("set") } else { Change::Form };
    let done = engine.rewrite(cache.key(&flags.key), change, |before, _, locked| {
        if !has_token(server, before.token, flags.token) {
            return Rewrite::Leave(Deleted::Exists);
        }
        let mut after = before;
        let mut piece = Piece::Old;
        if flags.remove_value {
            piece = Piece::Given(b"");
            after.client_flags = flags.client_flags;
            after.deadline = flags.ttl.map_or(0, |ttl| engine.deadline(locked.now, ttl));
            after.marks = before.marks & BINARY_KEY;
        }
        if flags.invalidate {
            if let Some(ttl) = flags.ttl {
                after.deadline = engine.deadline(locked.now, ttl);
            }
            after.marks = after.marks & !WON | STALE;
            after.token = after.token.map(|_| locked.new_token());
        }
        if flags.new_token.is_some() && server.0.has_tokens {
            after.token = flags.new_token;
        }
        Rewrite::Store(after, vec![piece], if flags.invalidate { Deleted::Marked } else { Deleted::Yes })
    });
    match done {
        Ok(done) => done.unwrap_or(Deleted::Missing),
        Err(_) => Deleted::NoMemory,
    }
}

/// A number that was stepped, or made.
pub(super) struct Counted {
    pub(super) number: u64,
    /// When it ended before.
    deadline: u64,
    pub(super) token: u64,
    pub(super) made: bool,
}

/// What came of counting.
pub(super) enum Counting {
    Done(Counted),
    Exists,
    Missing,
}

/// `ma`
pub(super) fn arithmetic(conn: &mut Connection, bare: &[u8], output: &mut Output) {
    let words = words(bare);
    if words.len() < 2 {
        return output.put(BAD_FORMAT);
    }
    let flags = match Flags::parse(&words, 2) {
        Ok(flags) => flags,
        Err(_) if words[1].len() > MAX_KEY || !Flags::are_letters(&words[2..]) => return output.put(BAD_FORMAT),
        Err(_) => return output.put(b"CLIENT_ERROR invalid or duplicate flag\r\n"),
    };
    let down = match flags.mode {
        None | Some(b'I' | b'+') => false,
        Some(b'D' | b'-') => true,
        Some(_) => return output.put(b"CLIENT_ERROR invalid mode for ma M token\r\n"),
    };
    if flags.has_long_opaque() {
        return output.put(LONG_OPAQUE);
    }
    let (hits, misses) = if down { (Count::DecrHits, Count::DecrMisses) } else { (Count::IncrHits, Count::IncrMisses) };
    let counted = match count(&conn.server, &flags, down) {
        Ok(Counting::Done(counted)) => counted,
        Ok(other) => {
            if matches!(other, Counting::Missing) {
                conn.tally.one(misses);
            }
            output.put(if matches!(other, Counting::Missing) { b"NF" } else { b"EX" });
            for word in flags.words {
                flags.put_common(word, output);
            }
            return output.put(b"\r\n");
        }
        Err(error) if error.kind() == ErrorKind::NotANumber => {
            return output.put(b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        }
        Err(_) => return output.put(b"SERVER_ERROR out of memory\r\n"),
    };
    if !counted.made {
        conn.tally.one(hits);
    }
    if !flags.quiet {
        put_counted(&conn.server, &flags, &counted, output);
    }
}

fn put_counted(server: &Server, flags: &Flags<'_>, counted: &Counted, output: &mut Output) {
    let engine = server.0.cache.engine();
    let now = engine.ctx.now();
    let digits = counted.number.to_string();
    head(flags.value, digits.len(), output);
    let mut deadline = if counted.made { 0 } else { counted.deadline };
    for word in flags.words {
        match word[0] {
            b'c' => put_flag(b'c', counted.token, output),
            b't' => put_ttl(deadline, now, output),
            b'T' => deadline = engine.deadline(now, flags.ttl.unwrap_or_default()),
            b'N' if counted.made => deadline = engine.deadline(now, flags.vivify.unwrap_or_default()),
            _ => {
                flags.put_common(word, output);
            }
        }
    }
    output.put(b"\r\n");
    if flags.value {
        output.put(digits.as_bytes());
        output.put(b"\r\n");
    }
}

fn count(server: &Server, flags: &Flags<'_>, down: bool) -> crate::Result<Counting> {
    let steps = Steps {
        by: flags.delta,
        down,
        initial: flags.initial,
        vivify: flags.made_until(),
        ttl: flags.ttl,
        token: flags.token.filter(|&token| token != 0),
        new_token: flags.new_token,
        want_token: flags.has(b'c'),
        marks: if flags.binary_key { BINARY_KEY } else { 0 },
    };
    step_number(server, &flags.key, &steps)
}

/// How a number is to be stepped.
pub(super) struct Steps {
    pub(super) by: u64,
    pub(super) down: bool,
    /// What a missing number becomes, if it is to be made, and until when.
    pub(super) initial: u64,
    pub(super) vivify: Option<Expiry>,
    /// Until when it is to live, if it was there.
    pub(super) ttl: Option<Expiry>,
    pub(super) token: Option<u64>,
    pub(super) new_token: Option<u64>,
    pub(super) want_token: bool,
    pub(super) marks: u8,
}

/// Steps a number, under the conditions that `steps` has.
pub(super) fn step_number(server: &Server, key: &[u8], steps: &Steps) -> crate::Result<Counting> {
    let (cache, has_tokens) = (&server.0.cache, server.0.has_tokens);
    let engine = cache.engine();
    let arithmetic = Arithmetic::Unsigned { by: steps.by, down: steps.down, initial: None, expiry: Expiry::Default };
    loop {
        let counted = engine.rewrite(cache.key(key), Change::Value("incrby"), |before, value, locked| {
            // Nothing is no number, whatever its token.
            if !value.is_empty() && steps.token.is_some_and(|token| before.token != Some(token)) {
                return Rewrite::Leave(Counting::Exists);
            }
            let (text, number) = match Engine::stepped(value, arithmetic) {
                Ok(stepped) => stepped,
                Err(error) => return Rewrite::Refuse(error),
            };
            let wants_token = before.token.is_some() || steps.want_token || steps.new_token.is_some();
            let token = (wants_token && has_tokens).then(|| steps.new_token.unwrap_or_else(|| locked.new_token()));
            let deadline = steps.ttl.map_or(before.deadline, |ttl| engine.deadline(locked.now, ttl));
            // Unsigned results fit by construction.
            let number = number as u64;
            let counted = Counted { number, deadline: before.deadline, token: token.unwrap_or(0), made: false };
            let after = Attributes { deadline, token, ..before };
            Rewrite::Store(after, vec![Piece::Other(text)], Counting::Done(counted))
        })?;
        if let Some(counted) = counted {
            return Ok(counted);
        }
        let Some(expiry) = steps.vivify else { return Ok(Counting::Missing) };
        let store = Store {
            new_token: steps.new_token,
            want_token: steps.want_token,
            marks: steps.marks,
            ..Store::new(Mode::Add, 0, expiry)
        };
        let made = engine.set(cache.key(key), &[steps.initial.to_string().as_bytes()], &server.0.spec(&store))?;
        if !made.existed {
            let token = made.token.unwrap_or(0);
            return Ok(Counting::Done(Counted { number: steps.initial, deadline: 0, token, made: true }));
        }
        // Somebody else has made it: count from there.
    }
}

/// `me`
pub(super) fn debug(conn: &mut Connection, bare: &[u8], output: &mut Output) {
    let words = words(bare);
    let key = match words.get(1) {
        Some(key) if key.len() <= MAX_KEY => *key,
        _ => return output.put(BAD_FORMAT),
    };
    conn.tally.one(Count::Metas);
    let decoded = if words.get(2) == Some(&&b"b"[..]) {
        match super::base64::decode(key) {
            Some(key) => key,
            None => return output.put(BAD_FORMAT),
        }
    } else {
        key.to_vec()
    };
    let shared = conn.shared();
    let Some(seen) = shared.inspect(&decoded) else { return output.put(b"EN\r\n") };
    let (attributes, class, size) = (seen.attributes, seen.class, seen.size);
    let now = shared.cache.engine().ctx.now();
    let left = match attributes.deadline {
        0 => "-1".to_owned(),
        deadline => seconds_left(deadline, now).to_string(),
    };
    let since = if attributes.idle_ms > 0 { now.saturating_sub(attributes.last_use) / 1000 } else { 0 };
    output.put(b"ME ");
    match attributes.marks & BINARY_KEY {
        0 => output.put(&decoded),
        _ => output.put(&super::base64::encode(&decoded)),
    }
    let token = attributes.token.unwrap_or(0);
    let fetched = if seen.fetched { "yes" } else { "no" };
    output.put(format!(" exp={left} la={since} cas={token} fetch={fetched} cls={class} size={size}\r\n").as_bytes());
}
