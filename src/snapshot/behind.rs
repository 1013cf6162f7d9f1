//! Writing behind: a piece of a file is written by a thread of its own while the next is made.
//!
//! ```text
//!  who makes them ── piece n+1 ─►│ one at a time │─► piece n ── thread ─► StoredFile::write_at
//!                 ◄──────────── emptied, or the error ─────────
//! ```
//! Invariants:
//! 1. Pieces are written in order, each after the one before has been: at most one is under way.
//! 2. After [`Behind::settle`] nothing is under way: what was given is in the file, or its error was told.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::storage::StoredFile;

/// A piece, and where in the file it belongs.
type Piece = (Vec<u8>, u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Behind {
    file: Arc<dyn StoredFile>,
    thread: Option<Running>,
    is_under_way: bool,
    /// Emptied, for the next piece.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Running {
    to: SyncSender<Piece>,
    back: Receiver<io::Result<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Behind {
    pub(super) fn new(file: Box<dyn StoredFile>) -> Behind {
        Behind { file: file.into(), thread: None, is_under_way: false, spare: Vec::new() }
    }

    pub(super) fn file(&self) -> &dyn StoredFile {
        &*self.file
    }

    /// Has what is in `piece` written, which is empty then. Waits for the piece before; its error is told here.
    pub(super) fn write(&mut self, piece: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        self.settle()?;
        if self.thread.is_none() {
            self.thread = Running::start(&self.file);
        }
        let given = std::mem::replace(piece, std::mem::take(&mut self.spare));
        let refused = match &self.thread {
            Some(running) => running.to.send((given, offset)).map_err(|refused| refused.0).err(),
            None => Some((given, offset)),
        };
        match refused {
            None => {
                self.is_under_way = true;
                Ok(())
            }
            // Without a thread it is written here.
            Some((mut given, offset)) => {
                self.file.write_all_at(&given, offset)?;
                given.clear();
                self.spare = given;
                Ok(())
            }
        }
    }

    /// Waits until nothing is under way.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_under_way) {
            return Ok(());
        }
        let written = self.thread.as_ref().and_then(|running| running.back.recv().ok());
        self.spare = written.unwrap_or_else(|| Err(io::Error::other("the storage panicked")))?;
        Ok(())
    }
}

impl Running {
    fn start(file: &Arc<dyn StoredFile>) -> Option<Running> {
        let (to, pieces) = sync_channel::<Piece>(1);
        let (done, back) = sync_channel(1);
        let file = Arc::clone(file);
        let work = move || {
            for (mut piece, offset) in pieces {
                let written = file.write_all_at(&piece, offset);
                piece.clear();
                if done.send(written.map(|()| piece)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("larder-snapshot".to_owned()).spawn(work).ok()?;
        Some(Running { to, back, thread })
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        if let Some(Running { to, back, thread }) = self.thread.take() {
            drop((to, back));
            // It ends with what it is writing. Had the storage panicked, that was told by `settle`.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Memory, Storage};

    #[test]
    fn pieces_come_in_order_and_buffers_come_back() {
        let storage = Memory::new();
        let mut behind = Behind::new(storage.create("f").unwrap());
        let (mut piece, mut offset) = (Vec::new(), 0);
        for n in 0..100u8 {
            piece.extend_from_slice(&[n; 10]);
            behind.write(&mut piece, offset).unwrap();
            assert!(piece.is_empty());
            offset += 10;
        }
        behind.settle().unwrap();
        let mut all = vec![0; 1000];
        behind.file().read_exact_at(&mut all, 0).unwrap();
        assert!(all.chunks(10).zip(0..).all(|(chunk, n)| chunk == [n; 10]));
    }
}
