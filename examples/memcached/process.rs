//! What the process is to the system: background, user, limits, its number in a file, CPU time.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use larder::protocol::memcached::ProcessFacts;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::unistd::{Gid, Uid, User};
use rustix::process::getpid;

/// Tells a process that it is the one in the background.
const IN_BACKGROUND: &str = "LARDER_MEMCACHED_IN_BACKGROUND";
/// What it says on its standard output when it serves.
const READY: &str = "ready";

/// Whether this process was started to be in the background.
pub(crate) fn is_background() -> bool {
    std::env::var_os(IN_BACKGROUND).is_some()
}

/// Starts this program again, in a session of its own, and waits until it serves or has failed.
pub(crate) fn start_background() -> Result<ExitCode, String> {
    let start = || -> io::Result<_> {
        Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env(IN_BACKGROUND, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut child = start().map_err(|e| format!("cannot go into the background: {e}"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if line.trim_end() == READY {
        return Ok(ExitCode::SUCCESS);
    }
    // It has said on standard error why.
    let status = child.wait().map_err(|e| format!("cannot wait for the process in the background: {e}"))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).max(1)))
}

/// Leaves the terminal's session. To be called first.
pub(crate) fn leave_session() -> Result<(), String> {
    rustix::process::setsid().map(drop).map_err(|e| format!("cannot begin a session: {e}"))
}

/// Tells who waits in [`start_background`] that all is well, and lets go of the terminal and the folder.
pub(crate) fn is_ready() -> Result<(), String> {
    let let_go = || -> io::Result<()> {
        let mut stdout = io::stdout();
        writeln!(stdout, "{READY}")?;
        stdout.flush()?;
        let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        std::env::set_current_dir("/")
    };
    let_go().map_err(|e| format!("cannot let go of the terminal: {e}"))
}

/// A file with the process's number in it, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    pub(crate) fn write(path: &Path) -> Result<PidFile, String> {
        let text = format!("{}\n", getpid().as_raw_nonzero());
        fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(PidFile(path.to_path_buf()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Becomes another user, with the groups of that user, if this process is root's.
pub(crate) fn become_user(name: Option<&str>) -> Result<(), String> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let Some(name) = name else {
        eprintln!("memcached: runs as root; -u USER makes it run as another user");
        return Ok(());
    };
    let user = User::from_name(name).ok().flatten().ok_or_else(|| format!("-u: there is no user '{name}'"))?;
    if user.uid.is_root() {
        return Ok(());
    }
    switch(&user).map_err(|e| format!("-u: cannot become {name}: {e}"))
}

fn switch(user: &User) -> nix::Result<()> {
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::errno::Errno::EINVAL)?;
    nix::unistd::initgroups(&name, Gid::from_raw(user.gid.as_raw()))?;
    nix::unistd::setgid(user.gid)?;
    nix::unistd::setuid(user.uid)
}

/// Makes sure that so many files and sockets can be open.
pub(crate) fn allow_files(wanted: u64) -> Result<(), String> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| format!("cannot read the limit of files: {e}"))?;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .map_err(|e| format!("{wanted} files have to be open for that many connections (-c), and {hard} may be: {e}"))
}

/// Lifts the limit on the size of core files.
pub(crate) fn allow_core_dumps() -> Result<(), String> {
    let unlimited = nix::libc::RLIM_INFINITY;
    let lifted = setrlimit(Resource::RLIMIT_CORE, unlimited, unlimited).or_else(|_| {
        let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
        setrlimit(Resource::RLIMIT_CORE, hard, hard)
    });
    lifted.map_err(|e| format!("-r: cannot lift the limit of core files: {e}"))
}

/// For `stats`.
pub(crate) fn facts() -> ProcessFacts {
    let mut facts = ProcessFacts { pid: std::process::id(), ..ProcessFacts::default() };
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let time = |t: nix::sys::time::TimeVal| {
            Duration::from_secs(t.tv_sec() as u64) + Duration::from_micros(t.tv_usec() as u64)
        };
        (facts.user, facts.system) = (time(usage.user_time()), time(usage.system_time()));
    }
    facts
}

/// Writes the ports that were taken where `MEMCACHED_PORT_FILENAME` says, a line each, whole or not at all.
pub(crate) fn write_ports(lines: &str) -> Result<(), String> {
    let Some(path) = std::env::var_os("MEMCACHED_PORT_FILENAME").map(PathBuf::from) else { return Ok(()) };
    let mut before = path.clone().into_os_string();
    before.push(".lck");
    let written = fs::write(&before, lines).and_then(|()| fs::rename(&before, &path));
    written.map_err(|e| format!("cannot write {}: {e}", path.display()))
}
