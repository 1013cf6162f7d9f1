//! Who may connect.

use std::collections::HashMap;

/// User names and passwords.
///
/// # Examples
/// ```
/// use larder::protocol::memcached::Users;
/// let users = Users::parse("# operators\nalice:secret\nbob:x:y\n");
/// assert!(users.check(b"alice", b"secret") && users.check(b"bob", b"x:y"));
/// assert!(!users.check(b"alice", b"secre") && !users.check(b"carol", b""));
/// ```
#[derive(Clone, Default)]
pub struct Users(HashMap<Vec<u8>, Vec<u8>>);

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("count", &self.0.len()).finish_non_exhaustive()
    }
}

impl Users {
    /// Nobody.
    ///
    /// # Examples
    /// ```
    /// assert!(!larder::protocol::memcached::Users::new().check(b"alice", b""));
    /// ```
    pub fn new() -> Users {
        Users::default()
    }

    /// Lines of `user:password`. Lines without a colon, and those that begin with `#`, say nothing.
    ///
    /// # Examples
    /// See [`Users`].
    pub fn parse(text: &str) -> Users {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.trim_end_matches('\r').split_once(':'))
            .fold(Users::new(), |users, (user, password)| users.with(user, password))
    }

    /// One more user.
    ///
    /// # Examples
    /// ```
    /// use larder::protocol::memcached::Users;
    /// assert!(Users::new().with("alice", "secret").check(b"alice", b"secret"));
    /// ```
    #[must_use]
    pub fn with(mut self, user: &str, password: &str) -> Users {
        self.0.insert(user.as_bytes().to_vec(), password.as_bytes().to_vec());
        self
    }

    /// Whether there is nobody.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::protocol::memcached::Users::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is a user's password. Takes as long for a password that is wrong in its first byte as for one that
    /// is wrong in its last.
    ///
    /// # Examples
    /// See [`Users`].
    pub fn check(&self, user: &[u8], password: &[u8]) -> bool {
        let Some(right) = self.0.get(user) else { return false };
        let differ =
            right.iter().zip(password).fold(right.len() ^ password.len(), |sum, (a, b)| sum | usize::from(a ^ b));
        differ == 0
    }
}
