//! One connection's bytes: TCP, a Unix socket, or TLS over TCP. Never blocks.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

#[cfg(feature = "example-tls")]
use super::tls::TlsStream;

/// See the module.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "example-tls")]
    Tls(Box<TlsStream>),
}

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// So many bytes; whether there may be more at once.
    Bytes(usize, bool),
    /// Nothing at present.
    Nothing,
    /// The peer has ended its side.
    End,
}

impl Stream {
    pub(crate) fn fd(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            #[cfg(feature = "example-tls")]
            Stream::Tls(stream) => stream.socket.as_raw_fd(),
        }
    }

    /// Reads what is there, up to `space`.
    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<Came> {
        loop {
            let read = match self {
                Stream::Tcp(stream) => stream.read(space),
                Stream::Unix(stream) => stream.read(space),
                #[cfg(feature = "example-tls")]
                Stream::Tls(stream) => stream.read(space),
            };
            return match read {
                Ok(0) => Ok(Came::End),
                // A socket that gave less than was asked for is empty; whatever comes after raises a new event. TLS
                // hands out records, so that says nothing.
                Ok(n) => Ok(Came::Bytes(n, n == space.len() || self.is_tls())),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Came::Nothing),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }

    /// Writes some of `slices`; None if the socket takes nothing now.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        loop {
            let written = match (&mut *self, slices) {
                (Stream::Tcp(stream), [one]) => stream.write(one),
                (Stream::Tcp(stream), _) => stream.write_vectored(slices),
                (Stream::Unix(stream), _) => stream.write_vectored(slices),
                #[cfg(feature = "example-tls")]
                (Stream::Tls(stream), _) => stream.write_vectored(slices),
            };
            return match written {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => Ok(Some(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }

    /// Hands what was written to the system; whether all of it is there (always so, but for TLS).
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(true),
            #[cfg(feature = "example-tls")]
            Stream::Tls(stream) => stream.send_encrypted(),
        }
    }

    /// Bytes that it keeps on the heap.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => 0,
            #[cfg(feature = "example-tls")]
            Stream::Tls(stream) => stream.memory(),
        }
    }

    fn is_tls(&self) -> bool {
        #[cfg(feature = "example-tls")]
        if matches!(self, Stream::Tls(_)) {
            return true;
        }
        false
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
            #[cfg(feature = "example-tls")]
            Stream::Tls(stream) => &mut stream.socket,
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token, Interest::READABLE | Interest::WRITABLE)
    }
}
