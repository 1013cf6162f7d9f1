//! TLS over a socket that never blocks, by rustls.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// Makes TLS connections of sockets.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor(Arc<ServerConfig>);

impl Acceptor {
    /// With a chain of certificates and a key from two PEM files; none if there are no files.
    pub(crate) fn from_files(files: Option<(&str, &str)>) -> Result<Option<Acceptor>, String> {
        let Some((certificates, key)) = files else { return Ok(None) };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificates)
            .map_err(|e| format!("cannot read certificates from {certificates}: {e}"))?
            .collect();
        let chain = chain.map_err(|e| format!("{certificates} has no certificates in PEM: {e}"))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("cannot read a key in PEM from {key}: {e}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|e| format!("the certificates and the key cannot be used: {e}"))?;
        Ok(Some(Acceptor(Arc::new(config))))
    }

    pub(crate) fn accept(&self, socket: TcpStream) -> Result<super::stream::Stream, String> {
        let connection = ServerConnection::new(Arc::clone(&self.0)).map_err(|e| e.to_string())?;
        Ok(super::stream::Stream::Tls(Box::new(TlsStream { socket, connection })))
    }
}

/// One connection. Reading and writing are of the plain text; a socket that is full or empty is `WouldBlock`.
#[derive(Debug)]
pub(crate) struct TlsStream {
    pub(crate) socket: TcpStream,
    connection: ServerConnection,
}

/// About what rustls keeps on the heap for a connection that waits: keys, and the ends of its buffers. Measured
/// (`conformance/tls.py`); it does not tell.
const HEAP: usize = 6 << 10;

impl TlsStream {
    /// Bytes that this takes of the process.
    pub(crate) fn memory(&self) -> usize {
        size_of::<TlsStream>() + HEAP
    }

    /// Sends what is encrypted already; whether all of it is gone.
    pub(crate) fn send_encrypted(&mut self) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

impl Read for TlsStream {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(space) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // A peer that vanished without a word of goodbye has hung up all the same.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            let came = self.connection.read_tls(&mut self.socket)?;
            if came == 0 {
                return Ok(0);
            }
            let processed = self.connection.process_new_packets();
            // Handshake messages and alerts go out whatever was found.
            self.send_encrypted()?;
            processed.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // What was written before goes first, so that little is kept here.
        if !self.send_encrypted()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = self.connection.writer().write_vectored(slices)?;
        self.send_encrypted()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_encrypted().map(drop)
    }
}
