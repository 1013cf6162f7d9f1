//! Who the client is: a first `set` in the text protocol, SASL PLAIN in the binary one.

use super::connection::{Connection, Step};
use super::counters::Count;
use super::parse::{small_number, without_end, words};
use crate::protocol::{Next, Output};

/// The longest `user password`.
const LONGEST: usize = 16 << 10;

/// A line of a client that has not yet said who it is: `set <any key> <flags> <exptime> <bytes>`.
pub(super) fn command(conn: &mut Connection, line: &[u8], rest: &[u8], output: &mut Output) -> Step {
    let words = words(without_end(line));
    if line.len() <= 6 {
        conn.next = Next::Close;
        return Step::Took(line.len());
    }
    let len = words.get(4).and_then(|word| small_number(word)).filter(|_| line.starts_with(b"set"));
    let Some(len) = len.map(|len| len as usize) else {
        output.put(b"CLIENT_ERROR unauthenticated\r\n");
        return Step::Took(line.len());
    };
    if len > LONGEST {
        output.put(b"CLIENT_ERROR auth token too long\r\n");
        return Step::Took(line.len());
    }
    let Some((said, end)) = rest.get(line.len()..line.len() + len + 2).map(|all| all.split_at(len)) else {
        return Step::Starved;
    };
    let reply: &[u8] = match said.iter().position(|&byte| byte == b' ') {
        _ if end != b"\r\n" => b"CLIENT_ERROR bad command line termination\r\n",
        None => b"CLIENT_ERROR bad authentication token format\r\n",
        Some(space) if check(conn, &said[..space], &said[space + 1..]) => b"STORED\r\n",
        Some(_) => b"CLIENT_ERROR authentication failure\r\n",
    };
    output.put(reply);
    Step::Took(line.len() + len + 2)
}

/// SASL PLAIN: an identity that is not looked at, user and password, apart by zero bytes. Whoever tries again begins
/// anew.
pub(super) fn plain(conn: &mut Connection, said: &[u8]) -> bool {
    conn.is_known = false;
    conn.user = None;
    let mut parts = said.splitn(3, |&byte| byte == 0).skip(1);
    let (Some(user), Some(password)) = (parts.next(), parts.next()) else { return false };
    if conn.shared().users.read().check(user, password) {
        conn.tally.one(Count::Auths);
        become_known(conn, user);
    }
    conn.is_known
}

fn check(conn: &mut Connection, user: &[u8], password: &[u8]) -> bool {
    conn.tally.one(Count::Auths);
    let right = conn.shared().users.read().check(user, password);
    if right {
        become_known(conn, user);
    } else {
        conn.tally.one(Count::AuthErrors);
    }
    right
}

fn become_known(conn: &mut Connection, user: &[u8]) {
    conn.is_known = true;
    conn.user = Some(user.into());
}

impl Connection {
    /// Who the client has proven to be.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::{ConnectionInfo, Server, Transport, Users};
    /// use larder::protocol::{Limits, Output};
    /// let users = Users::new().with("alice", "secret");
    /// let server = Server::builder(larder::Cache::new(1 << 20)?).ascii_auth(users).build();
    /// let mut connection = server.connect(ConnectionInfo::new(1, Transport::Tcp));
    /// connection.receive(b"set auth 0 0 12\r\nalice secret\r\n", &mut Output::new(), &Limits::default());
    /// assert_eq!(connection.user(), Some(&b"alice"[..]));
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn user(&self) -> Option<&[u8]> {
        self.user.as_deref()
    }
}
