//! Flags of meta commands: one letter each, some with a token after it.

use std::borrow::Cow;

use super::base64;
use super::parse::{MAX_KEY, expiry, number, small_number, small_signed};
use crate::engine::Expiry;
use crate::protocol::Output;

/// Words of a meta command, at most.
const MOST_WORDS: usize = 20;
/// An opaque token with its letter, at most.
const LONGEST_OPAQUE: usize = 32;

const BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";
pub(super) const LONG_OPAQUE: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";

/// What a meta command asks for.
#[derive(Debug)]
pub(super) struct Flags<'a> {
    pub(super) key: Cow<'a, [u8]>,
    pub(super) binary_key: bool,
    /// The flags themselves, in order.
    pub(super) words: &'a [&'a [u8]],
    pub(super) no_update: bool,
    pub(super) value: bool,
    pub(super) quiet: bool,
    pub(super) last_access: bool,
    pub(super) invalidate: bool,
    pub(super) remove_value: bool,
    pub(super) vivify: Option<Expiry>,
    pub(super) ttl: Option<Expiry>,
    pub(super) recache: Option<Expiry>,
    pub(super) token: Option<u64>,
    pub(super) new_token: Option<u64>,
    pub(super) client_flags: u32,
    pub(super) mode: Option<u8>,
    pub(super) initial: u64,
    pub(super) delta: u64,
}

impl<'a> Flags<'a> {
    /// Reads the flags from word `first` on. What is wrong is answered.
    pub(super) fn parse(words: &'a [&'a [u8]], first: usize) -> Result<Flags<'a>, &'static [u8]> {
        let key = words[1];
        if key.len() > MAX_KEY {
            return Err(super::text::BAD_FORMAT);
        }
        let mut all = Flags {
            key: Cow::Borrowed(key),
            binary_key: false,
            words: &words[first..],
            no_update: false,
            value: false,
            quiet: false,
            last_access: false,
            invalidate: false,
            remove_value: false,
            vivify: None,
            ttl: None,
            recache: None,
            token: None,
            new_token: None,
            client_flags: 0,
            mode: None,
            initial: 0,
            delta: 1,
        };
        if !Flags::are_letters(&words[first..]) {
            return Err(super::text::BAD_FORMAT);
        }
        if words.len() > MOST_WORDS {
            return Err(b"CLIENT_ERROR options flags are too long\r\n");
        }
        let (mut seen, mut wrong) = (0u128, None);
        for word in &words[first..] {
            let letter = word[0];
            if seen >> letter & 1 == 1 {
                return Err(b"CLIENT_ERROR duplicate flag\r\n");
            }
            seen |= 1 << letter;
            // The last word on it, but for what says least.
            wrong = match (all.flag(letter, &word[1..])?, wrong) {
                (Ok(()), wrong) => wrong,
                (Err(super::text::BAD_FORMAT), Some(wrong)) => Some(wrong),
                (Err(error), _) => Some(error),
            };
        }
        wrong.map_or(Ok(all), Err)
    }

    /// Whether flags are letters at all.
    pub(super) fn are_letters(words: &[&[u8]]) -> bool {
        words.iter().all(|word| word[0].is_ascii_alphabetic())
    }

    /// One flag. What is wrong with its token is told when all were read; a flag that there is not, at once.
    fn flag(&mut self, letter: u8, token: &[u8]) -> Result<Result<(), &'static [u8]>, &'static [u8]> {
        let bad = BAD_TOKEN;
        let time = || small_signed(token).map(|seconds| expiry(i64::from(seconds))).ok_or(bad);
        let whole = |error: &'static [u8]| number(token).ok_or(error);
        Ok(match letter {
            b'b' => base64::decode(&self.key).ok_or(&b"CLIENT_ERROR error decoding key\r\n"[..]).map(|key| {
                self.key = Cow::Owned(key);
                self.binary_key = true;
            }),
            b'N' => time().map(|time| self.vivify = Some(time)),
            b'T' => time().map(|time| self.ttl = Some(time)),
            b'R' => time().map(|time| self.recache = Some(time)),
            b'C' => whole(bad).map(|token| self.token = Some(token)),
            b'E' => whole(bad).map(|token| self.new_token = Some(token)),
            b'J' => whole(b"CLIENT_ERROR invalid numeric initial value\r\n").map(|number| self.initial = number),
            b'D' => whole(b"CLIENT_ERROR invalid numeric delta value\r\n").map(|number| self.delta = number),
            b'F' => small_number(token).ok_or(super::text::BAD_FORMAT).map(|flags| self.client_flags = flags),
            b'M' => {
                self.mode = Some(token.first().copied().unwrap_or(0));
                Ok(())
            }
            b'l' | b'v' | b'u' | b'q' | b'x' | b'I' => {
                let place = match letter {
                    b'l' => &mut self.last_access,
                    b'v' => &mut self.value,
                    b'u' => &mut self.no_update,
                    b'q' => &mut self.quiet,
                    b'x' => &mut self.remove_value,
                    _ => &mut self.invalidate,
                };
                *place = true;
                Ok(())
            }
            b'O' | b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' | b'h' => Ok(()),
            _ => return Err(b"CLIENT_ERROR invalid flag\r\n"),
        })
    }

    /// Until when an item lives that is made because of `N`: what the last of `N` and `T` says.
    pub(super) fn made_until(&self) -> Option<Expiry> {
        let last = self.words.iter().rev().find(|word| matches!(word[0], b'N' | b'T'));
        self.vivify.map(|vivify| self.ttl.filter(|_| last.is_some_and(|word| word[0] == b'T')).unwrap_or(vivify))
    }

    /// Whether a flag was given.
    pub(super) fn has(&self, letter: u8) -> bool {
        self.words.iter().any(|word| word[0] == letter)
    }

    /// Whether the opaque token is too long to be given back.
    pub(super) fn has_long_opaque(&self) -> bool {
        self.words.iter().any(|word| word[0] == b'O' && word.len() > LONGEST_OPAQUE)
    }

    /// Gives back what every reply gives back: the opaque token and the key. False if the flag is another one.
    pub(super) fn put_common(&self, word: &[u8], output: &mut Output) -> bool {
        match word[0] {
            b'O' => {
                output.put(b" ");
                output.put(word);
            }
            b'k' => put_key(&self.key, self.binary_key, output),
            _ => return false,
        }
        true
    }
}

/// The key as a flag of a reply.
pub(super) fn put_key(key: &[u8], binary: bool, output: &mut Output) {
    output.put(b" k");
    if binary {
        output.put(&base64::encode(key));
        output.put(b" b");
    } else {
        output.put(key);
    }
}

/// A letter with a number as a flag of a reply.
pub(super) fn put_flag(letter: u8, number: u64, output: &mut Output) {
    output.put(&[b' ', letter]);
    output.put_number(number);
}
