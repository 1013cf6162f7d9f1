//! Snapshots for programs that look into them, or turn them into something else: item by item, from bytes in pieces.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::damage::Damage;
use super::decode::{Decoder, Flow, Part, Seen};
use super::describe::Description;
use super::format::{Footer, Header};
use super::record::Record;
use crate::error::Result;
use crate::slab::Kind;

/// An item of a snapshot.
///
/// # Examples
/// See [`SnapshotReader`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotItem {
    /// The number of its namespace.
    pub namespace: u8,
    /// Its key.
    pub key: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
    /// What kind of value that is.
    pub kind: Kind,
    /// The program's flags.
    pub client_flags: u32,
    /// When it ends, unless it is used: the time to idle counts from its last use.
    pub ends: Option<SystemTime>,
    /// How long it lives without being used.
    pub time_to_idle: Option<Duration>,
    /// Its check-and-set token, if it had one.
    pub token: Option<u64>,
}

impl SnapshotItem {
    fn new(record: &Record<'_>) -> SnapshotItem {
        SnapshotItem {
            namespace: record.namespace,
            key: record.key.into(),
            value: record.value.into(),
            kind: record.kind,
            client_flags: record.client_flags,
            ends: record.end_ms().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms))),
            time_to_idle: record.idle.map(|(ms, _)| Duration::from_millis(ms)),
            token: record.token,
        }
    }
}

/// Reads a snapshot from bytes that come in pieces of any size. It opens no file and asks for nothing: the program
/// gives it bytes, and takes items out.
///
/// Damage is found when the bytes come to it: what was read before is right, but is only part of a snapshot until
/// [`finish`](Self::finish) has said that all is there.
///
/// # Examples
/// ```
/// use larder::snapshot::{SnapshotOptions, SnapshotReader};
/// use larder::{Cache, storage::{Memory, Storage}};
/// let cache = Cache::new(1 << 20)?;
/// cache.set(b"key", b"value")?;
/// let storage = Memory::new();
/// cache.snapshot_to(&storage, "s", &SnapshotOptions::new())?;
///
/// let mut reader = SnapshotReader::new();
/// let mut keys = Vec::new();
/// for piece in storage.read("s").unwrap().chunks(7) {
///     reader.push(piece)?;
///     while let Some(item) = reader.next_item() {
///         keys.push(item.key);
///     }
/// }
/// reader.finish()?;
/// assert_eq!(keys, [b"key".as_slice().into()]);
/// assert_eq!(reader.description().unwrap().source(), "larder");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct SnapshotReader {
    decoder: Decoder,
    flow: Flow,
    header: Option<Header>,
    description: Option<Description>,
    footer: Option<Footer>,
    ready: VecDeque<SnapshotItem>,
    large: Option<(SnapshotItem, Vec<u8>)>,
}

impl Default for SnapshotReader {
    fn default() -> Self {
        Self::new()
    }
}

impl SnapshotReader {
    /// A reader that has read nothing.
    ///
    /// # Examples
    /// See [`SnapshotReader`].
    pub fn new() -> SnapshotReader {
        SnapshotReader {
            decoder: Decoder::new(),
            flow: Flow::default(),
            header: None,
            description: None,
            footer: None,
            ready: VecDeque::new(),
            large: None,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged), with the offset, if they are not those of a snapshot.
    ///
    /// # Examples
    /// ```
    /// use larder::{ErrorKind, snapshot::SnapshotReader};
    /// let error = SnapshotReader::new().push(&[0; 64]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Damaged);
    /// ```
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.decoder.push(bytes);
        let (ready, large) = (&mut self.ready, &mut self.large);
        while let Some(seen) = self.decoder.next()? {
            match seen {
                Seen::Header(header) => {
                    header.compression.check()?;
                    self.header = Some(header);
                }
                Seen::Description(raw, offset) => self.description = Some(Description::decode(raw, offset)?),
                Seen::Table => {}
                Seen::Footer(footer) => self.footer = Some(footer),
                Seen::Block(block) => self.flow.parts(block, |part| {
                    match part {
                        Part::Items(records) => ready.extend(records.iter().map(SnapshotItem::new)),
                        Part::Large(record) => *large = Some((SnapshotItem::new(record), record.value.to_vec())),
                        Part::More(bytes, is_last) => {
                            if let Some((_, value)) = large {
                                value.extend_from_slice(bytes);
                            }
                            if is_last && let Some((item, value)) = large.take() {
                                ready.push_back(SnapshotItem { value: value.into(), ..item });
                            }
                        }
                    }
                    Ok::<(), crate::Error>(())
                })?,
            }
        }
        Ok(())
    }

    /// The next item that has come, in no particular order.
    ///
    /// # Examples
    /// See [`SnapshotReader`].
    pub fn next_item(&mut self) -> Option<SnapshotItem> {
        self.ready.pop_front()
    }

    /// What the snapshot says of itself, once that has come.
    ///
    /// # Examples
    /// See [`SnapshotReader`].
    pub fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// The moment that it shows, once that has come.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::snapshot::SnapshotReader::new().taken_at(), None);
    /// ```
    pub fn taken_at(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.header?.taken_ms))
    }

    /// Says that there are no more bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) if that is not the end of a snapshot.
    ///
    /// # Examples
    /// See [`SnapshotReader`].
    pub fn finish(&self) -> Result<()> {
        self.decoder.end()?;
        let footer = self.footer.unwrap_or_default();
        if !self.flow.is_whole() || footer.payload != self.flow.payload || footer.items != self.flow.items {
            let what = "the items are not those that the footer counts".into();
            return Err(Damage { offset: footer.table + footer.table_len, what }.into());
        }
        Ok(())
    }
}
