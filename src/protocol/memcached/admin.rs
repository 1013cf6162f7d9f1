//! Commands for operators: `flush_all`, `verbosity`, `slabs`, `lru_crawler`, `lru`, `cache_memlimit`, `shutdown`, and
//! `debugtime` in tests.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::connection::{Connection, State};
use super::counters::Count;
use super::dump::{Dump, Form};
use super::parse::{MONTH, Words, fraction, number, signed, small_number, small_signed};
use super::server::Shared;
use super::text::BAD_FORMAT;
use crate::error::ErrorKind;
use crate::protocol::{Next, Output};
use crate::shard::Automove;

const OK: &[u8] = b"OK\r\n";
const ERROR: &[u8] = b"ERROR\r\n";
/// Verbosity is no higher than this.
const MOST_VERBOSE: u32 = 3;
/// How long a crawl may take at once.
const CRAWL: Duration = Duration::from_millis(5);

/// One command; what it is answered is the result, or what it has put itself.
pub(super) fn command(conn: &mut Connection, words: &Words<'_>, noreply: bool, output: &mut Output) {
    let arguments = &words[words.len().min(1)..];
    let shared = conn.shared();
    let reply = match words.first().copied().unwrap_or_default() {
        b"flush_all" => flush_all(conn, &arguments[..arguments.len() - usize::from(noreply)]),
        b"verbosity" => match arguments.first().and_then(|word| small_number(word)) {
            Some(level) => {
                shared.live.verbosity.store(level.min(MOST_VERBOSE), Relaxed);
                OK
            }
            None => BAD_FORMAT,
        },
        b"slabs" => slabs(shared, arguments),
        b"lru_crawler" => return lru_crawler(conn, arguments, output),
        b"lru" => lru(shared, arguments),
        b"cache_memlimit" => memlimit(shared, arguments),
        b"shutdown" => shutdown(conn, arguments),
        b"debugtime" => debug_time(shared, arguments),
        _ => {
            // A browser.
            if words.len() > 1 && words.last().is_some_and(|last| last.starts_with(b"HTTP/")) {
                conn.next = Next::Close;
                conn.ending = "error";
                return;
            }
            ERROR
        }
    };
    output.put(reply);
}

fn flush_all(conn: &mut Connection, arguments: &[&[u8]]) -> &'static [u8] {
    conn.tally.one(Count::Flushes);
    if !conn.shared().config.flush {
        return b"CLIENT_ERROR flush_all not allowed\r\n";
    }
    let seconds = match arguments.first() {
        None => Some(0),
        Some(word) => small_signed(word),
    };
    let Some(seconds) = seconds else { return b"CLIENT_ERROR invalid exptime argument\r\n" };
    conn.shared().flush(i64::from(seconds));
    OK
}

impl Shared {
    /// Clears the namespace: at once, after so many seconds, or at a Unix time.
    pub(super) fn flush(&self, seconds: i64) {
        let now = (self.cache.now_ms() / 1000) as i64;
        let delay = if seconds > MONTH { seconds - now } else { seconds };
        match u64::try_from(delay) {
            Ok(delay) if delay > 0 => self.cache.clear_after(Duration::from_secs(delay)),
            _ => self.cache.clear(),
        }
    }
}

fn slabs(shared: &Shared, arguments: &[&[u8]]) -> &'static [u8] {
    match arguments {
        [b"reassign", from, to] => reassign(shared, from, to),
        [b"automove", b"ratio", ratio, ..] => match fraction(ratio) {
            Some(ratio) => {
                *shared.live.automove_ratio.lock() = ratio;
                OK
            }
            None => ERROR,
        },
        [b"automove", b"window", seconds, ..] => match small_number(seconds) {
            Some(3..=1800) => OK,
            Some(_) => b"CLIENT_ERROR automove window too low or too high\r\n",
            None => BAD_FORMAT,
        },
        [b"automove", level, ..] => {
            let automove = match small_number(level) {
                Some(0) => Automove::Off,
                Some(1) => Automove::Slow,
                Some(2) => Automove::Always,
                Some(_) => return ERROR,
                None => return BAD_FORMAT,
            };
            shared.cache.set_automove(automove);
            OK
        }
        _ => ERROR,
    }
}

/// Classes are counted from 1 here; a source of -1 means any class that has a page to spare.
fn reassign(shared: &Shared, from: &[u8], to: &[u8]) -> &'static [u8] {
    if !shared.cache.settings().reassign {
        return b"CLIENT_ERROR slab reassignment disabled\r\n";
    }
    let (Some(from), Some(to)) = (small_signed(from), small_signed(to)) else { return BAD_FORMAT };
    if from == to {
        return b"SAME src and dst class are identical\r\n";
    }
    let classes = shared.cache.classes();
    let known = |class: i32| usize::try_from(class).ok().filter(|&class| (1..=classes.len()).contains(&class));
    let from = match from {
        -1 => classes.iter().enumerate().max_by_key(|(_, class)| class.free_chunks / class.chunks_per_page.max(1)),
        class => known(class).map(|class| (class - 1, &classes[class - 1])),
    };
    let (Some((from, source)), Some(to)) = (from, known(to)) else {
        return b"BADCLASS invalid src or dst class id\r\n";
    };
    if source.pages < 2 {
        return b"NOSPARE source class has no spare pages\r\n";
    }
    match shared.cache.reassign_page(from, to - 1) {
        Ok(true) => OK,
        Ok(false) => b"NOSPARE source class has no spare pages\r\n",
        Err(error) if error.kind() == ErrorKind::NotFound => b"BADCLASS invalid src or dst class id\r\n",
        Err(_) => b"CLIENT_ERROR slab reassignment disabled\r\n",
    }
}

fn lru_crawler(conn: &mut Connection, arguments: &[&[u8]], output: &mut Output) {
    let shared = conn.shared();
    let is_on = shared.live.crawler.load(Relaxed);
    let reply: &[u8] = match arguments {
        [b"enable"] => {
            shared.live.crawler.store(true, Relaxed);
            OK
        }
        [b"disable"] => {
            shared.live.crawler.store(false, Relaxed);
            OK
        }
        [b"sleep", time] => match small_number(time) {
            Some(time @ 0..=1_000_000) => {
                shared.live.crawler_sleep_us.store(time, Relaxed);
                OK
            }
            Some(_) => b"CLIENT_ERROR sleep must be one second or less\r\n",
            None => BAD_FORMAT,
        },
        [b"tocrawl", items] => match small_number(items) {
            Some(items) => {
                shared.live.crawler_tocrawl.store(items, Relaxed);
                OK
            }
            None => BAD_FORMAT,
        },
        [b"crawl" | b"metadump" | b"mgdump", _] if !is_on => b"CLIENT_ERROR lru crawler disabled\r\n",
        [b"metadump", _] if !shared.config.dump => b"ERROR metadump not allowed\r\n",
        [b"mgdump", _] if !shared.config.dump => b"ERROR key dump not allowed\r\n",
        [b"metadump", _] if !output.is_empty() => b"ERROR cannot pipeline other commands before metadump\r\n",
        [b"mgdump", _] if !output.is_empty() => b"ERROR cannot pipeline other commands before mgdump\r\n",
        [name @ (b"crawl" | b"metadump" | b"mgdump"), which] => match classes(which, shared.most_class()) {
            None => b"BADCLASS invalid class id\r\n",
            Some(classes) => {
                shared.live.crawler_starts.fetch_add(1, Relaxed);
                if *name == b"crawl" {
                    // The sweeper looks where something has ended, whatever its class.
                    shared.cache.run_maintenance(CRAWL);
                    OK
                } else {
                    let form = if *name == b"metadump" { Form::Meta } else { Form::Get };
                    conn.state = State::Dump(Box::new(Dump::new(form, classes)));
                    OK
                }
            }
        },
        _ => ERROR,
    };
    output.put(reply);
}

/// The classes that a list of numbers names, from 1 to `most`; nothing for all of them. None if it is no such list.
fn classes(which: &[u8], most: usize) -> Option<Vec<usize>> {
    if which == b"all" || which == b"hash" {
        return Some(Vec::new());
    }
    let class = |word: &[u8]| number(word).map(|class| class as usize).filter(|class| (1..=most).contains(class));
    which.split(|&byte| byte == b',').map(class).collect()
}

fn lru(shared: &Shared, arguments: &[&[u8]]) -> &'static [u8] {
    let mut lru = shared.live.lru.lock();
    match arguments {
        [b"tune", hot, warm, hot_factor, warm_factor] => {
            let numbers = (small_number(hot), small_number(warm), fraction(hot_factor), fraction(warm_factor));
            let (Some(hot), Some(warm), Some(hot_factor), Some(warm_factor)) = numbers else { return ERROR };
            if u64::from(hot) + u64::from(warm) > 80 {
                return b"ERROR hot and warm pcts must not exceed 80\r\n";
            }
            if hot_factor <= 0.0 || warm_factor <= 0.0 {
                return b"ERROR hot/warm age factors must be greater than 0\r\n";
            }
            (lru.hot_percent, lru.warm_percent) = (hot, warm);
            (lru.hot_factor, lru.warm_factor) = (hot_factor, warm_factor);
            OK
        }
        [b"mode", mode @ (b"flat" | b"segmented"), ..] if shared.config.lru_maintainer => {
            lru.segmented = *mode == b"segmented";
            OK
        }
        [b"temp_ttl", ttl, ..] if shared.config.lru_maintainer => match small_signed(ttl) {
            Some(ttl) => {
                lru.temporary_ttl = u32::try_from(ttl).ok();
                OK
            }
            None => ERROR,
        },
        _ => ERROR,
    }
}

fn memlimit(shared: &Shared, arguments: &[&[u8]]) -> &'static [u8] {
    match arguments.first().and_then(|word| small_number(word)) {
        None => ERROR,
        Some(0..=7) => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
        Some(1_000_000_001..) => b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
        Some(mebibytes) => match shared.cache.set_max_memory(u64::from(mebibytes) << 20) {
            Ok(()) => OK,
            Err(_) => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n",
        },
    }
}

fn shutdown(conn: &mut Connection, arguments: &[&[u8]]) -> &'static [u8] {
    let graceful = match arguments {
        _ if !conn.shared().config.shutdown => return b"SERVER_ERROR: shutdown not enabled\r\n",
        [] => false,
        [b"graceful"] => true,
        _ => return b"CLIENT_ERROR invalid shutdown mode\r\n",
    };
    conn.next = Next::Shutdown { graceful };
    b""
}

fn debug_time(shared: &Shared, arguments: &[&[u8]]) -> &'static [u8] {
    let (Some(clock), Some(what)) = (&shared.config.clock, arguments.first()) else { return ERROR };
    match *what {
        b"p" => clock.pause(),
        b"r" => clock.resume(),
        seconds => match signed(seconds.strip_prefix(b"+").unwrap_or(seconds)) {
            Some(seconds) => clock.move_by(seconds),
            None => return ERROR,
        },
    }
    OK
}
