//! Listings of all items, a piece at a time: `lru_crawler metadump` and `mgdump`.

use super::base64;
use super::connection::{Connection, State, Step};
use super::server::Shared;
use super::store::BINARY_KEY;
use crate::api::Cursor;
use crate::protocol::{Limits, Output};

/// Items that are looked for between looks at the output.
const BATCH: usize = 64;
/// Batches after which others have their turn, whatever was found: few items may be of the classes that are asked for.
const BATCHES: usize = 16;

/// memcached has no more classes than this.
const MEMCACHED_CLASSES: usize = 63;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// All that is known of an item.
    Meta,
    /// The request that would get it.
    Get,
}

/// A listing that is under way.
#[derive(Debug)]
pub(super) struct Dump {
    form: Form,
    /// Classes, from 1; empty for all.
    classes: Vec<usize>,
    cursor: Option<Cursor>,
}

impl Dump {
    pub(super) fn new(form: Form, classes: Vec<usize>) -> Dump {
        Dump { form, classes, cursor: Some(Cursor::START) }
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Dump>() + self.classes.capacity() * size_of::<usize>()
    }

    /// Puts some items. Whether there are more.
    fn go_on(&mut self, shared: &Shared, output: &mut Output) -> bool {
        let Some(cursor) = self.cursor else { return false };
        let (entries, next) = shared.cache.scan(cursor, BATCH);
        for entry in entries {
            self.put(shared, &entry.key, output);
        }
        self.cursor = next;
        if next.is_none() {
            output.put(if self.form == Form::Meta { b"END\r\n" } else { b"EN\r\n" });
        }
        next.is_some()
    }

    fn put(&self, shared: &Shared, key: &[u8], output: &mut Output) {
        let Some(seen) = shared.inspect(key) else { return };
        if !self.classes.is_empty() && !self.classes.contains(&seen.class) {
            return;
        }
        let attributes = seen.attributes;
        let is_binary = attributes.marks & BINARY_KEY != 0;
        if self.form == Form::Get {
            output.put(b"mg ");
            match is_binary {
                true => {
                    output.put(&base64::encode(key));
                    output.put(b" b");
                }
                false => output.put(key),
            }
            return output.put(b"\r\n");
        }
        output.put(b"key=");
        output.put(escaped(key).as_bytes());
        let ctx = &shared.cache.engine().ctx;
        let end = match attributes.deadline {
            0 => "-1".to_owned(),
            deadline => (ctx.to_unix(deadline) / 1000).to_string(),
        };
        let used = if attributes.idle_ms > 0 { ctx.to_unix(attributes.last_use) } else { shared.cache.now_ms() } / 1000;
        let (token, fetched) = (attributes.token.unwrap_or(0), if seen.fetched { "yes" } else { "no" });
        let (class, size, flags) = (seen.class, seen.size, attributes.client_flags);
        let rest = format!(" exp={end} la={used} cas={token} fetch={fetched} cls={class} size={size} flags={flags}\n");
        output.put(rest.as_bytes());
    }
}

/// A key as it would be in an address: what is no letter, digit or one of `-._~` as two digits after a percent sign.
pub(super) fn escaped(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for &byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// What is known of an item.
pub(super) struct Inspected {
    pub(super) attributes: crate::slab::Attributes,
    pub(super) fetched: bool,
    /// From 1; one above the last for items too large for a class.
    pub(super) class: usize,
    pub(super) size: usize,
    pub(super) value_len: usize,
}

impl Shared {
    /// Looks at an item without using it.
    pub(super) fn inspect(&self, key: &[u8]) -> Option<Inspected> {
        let value = self.cache.peek(key).ok()??;
        let (attributes, fetched) = value.attributes();
        let size = attributes.item_len(key.len(), value.len());
        Some(Inspected { attributes, fetched, class: self.class_of(size), size, value_len: value.len() })
    }

    /// The highest class that a client may name: memcached's, or larder's if it has more.
    pub(super) fn most_class(&self) -> usize {
        (self.cache.engine().ctx.classes.len() + 1).max(MEMCACHED_CLASSES)
    }

    /// The class of items of this size, from 1.
    pub(super) fn class_of(&self, size: usize) -> usize {
        let classes = &self.cache.engine().ctx.classes;
        classes.of(size).map_or(classes.len(), |class| class.index()) + 1
    }
}

impl Connection {
    pub(super) fn dump_step(&mut self, output: &mut Output, limits: &Limits) -> Step {
        let State::Dump(dump) = &mut self.state else { return Step::Starved };
        for _ in 0..BATCHES {
            if !dump.go_on(&self.server.0, output) {
                self.state = State::Command;
                return Step::Took(0);
            }
            if output.len() > limits.output_bytes {
                break;
            }
        }
        Step::Paused(0)
    }
}
