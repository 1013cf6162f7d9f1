//! Comma-separated requests: `timestamp_s,key,size_bytes,ttl_s,op`.
//!
//! A header line, with or without `#` before it, names the columns, in any order; columns with other names are passed
//! over, and only `key` must be there. Without a header the order is the one above. Further lines that begin with `#`
//! are comments. Times and lifetimes may have fractions.

use super::lines::{self, FieldResult, Lines};
use super::{Bytes, Op, Parser, Request, TraceError};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Time,
    Key,
    Size,
    Ttl,
    Op,
    Other,
}

const ORDER: [Column; 5] = [Column::Time, Column::Key, Column::Size, Column::Ttl, Column::Op];

pub(super) struct Csv<'a> {
    lines: Lines<'a>,
    columns: Vec<Column>,
    started: bool,
}

impl<'a> Csv<'a> {
    pub(super) fn new(bytes: Bytes<'a>) -> Self {
        Csv { lines: Lines::new(bytes), columns: ORDER.to_vec(), started: false }
    }

    /// True when the first line was a header.
    fn take_header(&mut self) -> Result<bool, TraceError> {
        let line = self.lines.text();
        let names = line.strip_prefix(b"#").unwrap_or(line);
        let columns: Vec<Column> = names.split(|&byte| byte == b',').map(column).collect();
        if columns.iter().all(|&column| column == Column::Other) {
            return Ok(false);
        }
        if !columns.contains(&Column::Key) {
            return Err(self.lines.error("the header names no column 'key'"));
        }
        self.columns = columns;
        Ok(true)
    }
}

impl Parser for Csv<'_> {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        while self.lines.advance()? {
            if !std::mem::replace(&mut self.started, true) && self.take_header()? {
                continue;
            }
            if self.lines.text().starts_with(b"#") {
                continue;
            }
            return request(&self.columns, self.lines.text()).map(Some).map_err(|message| self.lines.error(message));
        }
        Ok(None)
    }
}

fn column(name: &[u8]) -> Column {
    match name.trim_ascii().to_ascii_lowercase().as_slice() {
        b"timestamp_s" | b"timestamp" | b"time_s" | b"time" => Column::Time,
        b"key" | b"id" | b"obj_id" => Column::Key,
        b"size_bytes" | b"size" | b"obj_size" => Column::Size,
        b"ttl_s" | b"ttl" => Column::Ttl,
        b"op" | b"operation" => Column::Op,
        _ => Column::Other,
    }
}

fn request(columns: &[Column], line: &[u8]) -> FieldResult<Request> {
    let mut request = Request { time_ms: 0, key: 0, size: 1, ttl_s: 0, key_size: 0, op: Op::Get };
    let mut fields = line.split(|&byte| byte == b',');
    for (i, column) in columns.iter().enumerate() {
        let Some(field) = fields.next() else {
            return Err(format!("{i} fields where {} are expected", columns.len()));
        };
        match column {
            Column::Time => request.time_ms = lines::seconds_to_ms("timestamp", field)?,
            Column::Key => request.key = lines::whole("key", field)?,
            Column::Size => request.size = lines::size("size", field)?,
            // Nothing there: no end.
            Column::Ttl if field.trim_ascii().is_empty() => {}
            Column::Ttl => request.ttl_s = lines::ttl_s("ttl", field)?,
            Column::Op => request.op = op(field)?,
            Column::Other => {}
        }
    }
    match fields.count() {
        0 => Ok(request),
        more => Err(format!("{} fields where {} are expected", columns.len() + more, columns.len())),
    }
}

/// An operation by the names that caches use for it.
pub(super) fn op(field: &[u8]) -> FieldResult<Op> {
    match field.trim_ascii().to_ascii_lowercase().as_slice() {
        b"get" | b"gets" | b"read" => Ok(Op::Get),
        b"set" | b"add" | b"replace" | b"cas" | b"append" | b"prepend" | b"incr" | b"decr" | b"write" | b"put" => {
            Ok(Op::Set)
        }
        b"delete" | b"del" | b"remove" => Ok(Op::Delete),
        other => {
            let shown = String::from_utf8_lossy(&other[..other.len().min(40)]).escape_debug().to_string();
            Err(format!("unknown operation '{shown}'; one of get, set, delete and memcached's other names"))
        }
    }
}
