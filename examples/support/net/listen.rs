//! Sockets that listen: TCP with a backlog, Unix with a mode, UDP.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UdpSocket, UnixListener};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// A socket that listens, and how it is called in statistics.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Listening,
    /// Its place among the server's listeners, for front-ends that treat them differently.
    pub(crate) number: usize,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Where a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Place {
    /// As in `stats conns`: `tcp:127.0.0.1:11211`, `tcp6:[::1]:11211`, `unix:/path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let six = |address: &SocketAddr| if address.is_ipv6() { "6" } else { "" };
        match self {
            Place::Tcp(address) => write!(f, "tcp{}:{address}", six(address)),
            Place::Udp(address) => write!(f, "udp{}:{address}", six(address)),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    /// Listens on a TCP address; port 0 takes a free one.
    pub(crate) fn tcp(address: SocketAddr, backlog: i32, number: usize) -> Result<Listener, String> {
        let open = || -> io::Result<TcpListener> {
            let socket = socket(family(address), SocketType::STREAM)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            only_ipv6(&socket, address)?;
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, backlog)?;
            Ok(TcpListener::from_std(socket.into()))
        };
        let listener = open().map_err(|e| format!("cannot listen on TCP {address}: {e}"))?;
        let own = listener.local_addr().map_err(|e| format!("a listening socket without an address: {e}"))?;
        Ok(Listener { socket: Listening::Tcp(listener), number, place: Place::Tcp(own) })
    }

    /// Listens on a Unix socket whose file gets the permissions `mode`. A socket file that nobody listens on is
    /// replaced.
    pub(crate) fn unix(path: &Path, mode: u32, backlog: i32, number: usize) -> Result<Listener, String> {
        let stale = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
            && std::os::unix::net::UnixStream::connect(path).is_err();
        if stale {
            fs::remove_file(path).map_err(|e| format!("cannot remove the old socket {}: {e}", path.display()))?;
        }
        let open = || -> io::Result<UnixListener> {
            let socket = socket(AddressFamily::UNIX, SocketType::STREAM)?;
            // Nobody else may connect before the mode is set.
            let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
            let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(path)?);
            rustix::process::umask(before);
            bound?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            rustix::net::listen(&socket, backlog)?;
            Ok(UnixListener::from_std(socket.into()))
        };
        let listener = open().map_err(|e| format!("cannot listen on the Unix socket {}: {e}", path.display()))?;
        Ok(Listener { socket: Listening::Unix(listener), number, place: Place::Unix(path.to_path_buf()) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        match &self.socket {
            Listening::Tcp(listener) => listener.as_raw_fd(),
            Listening::Unix(listener) => listener.as_raw_fd(),
        }
    }
}

/// A UDP socket, and where it is.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) socket: UdpSocket,
    pub(crate) number: usize,
    pub(crate) place: Place,
}

impl Datagrams {
    pub(crate) fn bind(address: SocketAddr, number: usize) -> Result<Datagrams, String> {
        let open = || -> io::Result<UdpSocket> {
            let socket = socket(family(address), SocketType::DGRAM)?;
            only_ipv6(&socket, address)?;
            rustix::net::bind(&socket, &address)?;
            Ok(UdpSocket::from_std(socket.into()))
        };
        let socket = open().map_err(|e| format!("cannot listen on UDP {address}: {e}"))?;
        let own = socket.local_addr().map_err(|e| format!("a bound socket without an address: {e}"))?;
        Ok(Datagrams { socket, number, place: Place::Udp(own) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn socket(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET }
}

/// A listener on `[::]` leaves `0.0.0.0` to another.
fn only_ipv6(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(socket, true)?;
    }
    Ok(())
}

/// The addresses that `text` - an address or a name, with or without a port - stands for; `*` is every interface.
pub(crate) fn resolve(text: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if text == "*" {
        return Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| format!("'{text}' is no IPv6 address"))?;
        return Ok(vec![SocketAddr::new(address.into(), port)]);
    }
    let found = match text.rsplit_once(':') {
        Some((_, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => text.to_socket_addrs(),
        _ => (text, port).to_socket_addrs(),
    };
    let found: Vec<SocketAddr> = found.map_err(|e| format!("cannot listen on '{text}': {e}"))?.collect();
    if found.is_empty() { Err(format!("'{text}' has no address")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_resolved() {
        let text = |found: Vec<SocketAddr>| found.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(text(resolve("127.0.0.1", 7).unwrap()), "127.0.0.1:7");
        assert_eq!(text(resolve("127.0.0.1:9", 7).unwrap()), "127.0.0.1:9");
        assert_eq!(text(resolve("::1", 7).unwrap()), "[::1]:7");
        assert_eq!(text(resolve("[::1]", 7).unwrap()), "[::1]:7");
        assert_eq!(text(resolve("[::1]:9", 7).unwrap()), "[::1]:9");
        assert_eq!(text(resolve("*", 7).unwrap()), "0.0.0.0:7 [::]:7");
        assert!(resolve("127.0.0.1:99999", 7).is_err() && resolve("[x]", 7).is_err());
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_used_one_is_not() {
        let path = std::env::temp_dir().join(format!("larder-listen-{}", std::process::id()));
        let first = Listener::unix(&path, 0o700, 5, 0).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(Listener::unix(&path, 0o700, 5, 0).is_err());
        drop(first);
        let second = Listener::unix(&path, 0o770, 5, 0).unwrap();
        assert_eq!(second.place.to_string(), format!("unix:{}", path.display()));
        fs::remove_file(&path).unwrap();
    }
}
