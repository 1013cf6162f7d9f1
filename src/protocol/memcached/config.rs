//! `config get`, `config set`, `config delete`: auto discovery in the text protocol.

use super::connection::{Connection, Step};
use super::counters::Count;
use super::parse::{MAX_KEY, flags, small_number, words};
use super::text::BAD_FORMAT;
use crate::protocol::Output;

/// One request. `line`: bytes of its line, which `data` comes after.
pub(super) fn command(conn: &mut Connection, bare: &[u8], line: usize, data: &[u8], output: &mut Output) -> Step {
    let words = words(bare);
    match (words.get(1).copied(), words.get(2).copied().filter(|name| name.len() <= MAX_KEY)) {
        (Some(b"get"), Some(name)) => {
            if let Some((flags, value)) = conn.config_get(name) {
                output.put(b"CONFIG ");
                output.put(name);
                output.put(format!(" {flags} {}\r\n", value.len()).as_bytes());
                output.put(&value);
                output.put(b"\r\n");
            }
            output.put(b"END\r\n");
        }
        (Some(b"delete"), Some(name)) => {
            let deleted = conn.shared().discovery.delete(name);
            output.put(if deleted { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" });
        }
        (Some(b"set"), Some(name)) => {
            let numbers = (words.get(3).and_then(|word| flags(word)), words.get(4).and_then(|word| small_number(word)));
            let (Some(flags), Some(len)) = numbers else {
                output.put(BAD_FORMAT);
                return Step::Took(line);
            };
            return set(conn, name, flags, len as usize, line, data, output);
        }
        (Some(b"get" | b"delete" | b"set"), None) => output.put(BAD_FORMAT),
        _ => output.put(b"ERROR\r\n"),
    }
    Step::Took(line)
}

fn set(
    conn: &mut Connection,
    name: &[u8],
    flags: u32,
    len: usize,
    line: usize,
    data: &[u8],
    output: &mut Output,
) -> Step {
    if len > conn.shared().discovery.longest() {
        output.put(super::text::TOO_LARGE);
        conn.refuse(len + 2);
        return Step::Took(line);
    }
    let Some((value, end)) = data.get(..len + 2).map(|all| all.split_at(len)) else { return Step::Starved };
    conn.tally.one(Count::ConfigSets);
    let reply: &[u8] = match () {
        () if end != b"\r\n" => b"CLIENT_ERROR bad data chunk\r\n",
        () if conn.shared().discovery.set(name, flags, value).is_ok() => b"STORED\r\n",
        () => b"SERVER_ERROR too many configuration entries\r\n",
    };
    output.put(reply);
    Step::Took(line + len + 2)
}

impl Connection {
    /// A configuration entry that was asked for.
    pub(super) fn config_get(&mut self, name: &[u8]) -> Option<(u32, Vec<u8>)> {
        self.tally.one(Count::ConfigGets);
        self.shared().discovery.get(name)
    }
}
