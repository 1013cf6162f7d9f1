//! The servers that are measured: started for it, pinned, and ended.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    child: Child,
}

impl Target {
    pub(crate) fn start(
        name: &'static str,
        program: &str,
        cpus: &str,
        threads: usize,
        memory_mib: u64,
    ) -> Result<Target, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
        let mut command = Command::new("taskset");
        command.args(["-c", cpus, program, "-l", "127.0.0.1", "-p", &port.to_string()]);
        command.args(["-t", &threads.to_string(), "-m", &memory_mib.to_string(), "-c", "1024", "-u", "root"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.map_err(|e| format!("cannot start taskset -c {cpus} {program}: {e}"))?;
        let mut target = Target { name, port, child };
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Ok(Some(status)) = target.child.try_wait() {
                return Err(format!("{program} has ended: {status}"));
            }
            if Instant::now() > end {
                return Err(format!("{program} does not listen on port {port}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(target)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this process on some cores.
pub(crate) fn pin_self(cpus: &str) -> Result<(), String> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset").args(["-acp", cpus, &pid]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("taskset -acp {cpus} {pid}: {status}")),
        Err(e) => Err(format!("cannot run taskset: {e}")),
    }
}

/// A program in the same folder as this one.
pub(crate) fn beside(name: &str) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let path = own.with_file_name(name);
    if !path.exists() {
        return Err(format!("{} is not there: build the example {name}, or name it with --larder", path.display()));
    }
    Ok(path.display().to_string())
}

/// Bytes of memory that a process has.
pub(crate) fn resident(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| format!("{path} has no VmRSS"))
}

/// CPU time a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl CpuTime {
    pub(crate) fn of(pid: u32) -> Result<CpuTime, String> {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
        Self::in_stat(&text).ok_or_else(|| format!("{path} has no CPU times"))
    }

    /// From a line of `/proc/PID/stat`: fields 14 and 15, in hundredths of a second (as on every Linux of today). The
    /// second field may have blanks in it, and ends with the last bracket.
    fn in_stat(text: &str) -> Option<CpuTime> {
        let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
        let mut next = || Some(Duration::from_millis(10 * fields.next()?.parse::<u64>().ok()?));
        Some(CpuTime { user: next()?, system: next()? })
    }

    pub(crate) fn since(self, before: CpuTime) -> CpuTime {
        CpuTime { user: self.user - before.user, system: self.system - before.system }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let line = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 1 0 100 0 0";
        let times = CpuTime::in_stat(line).unwrap();
        assert_eq!((times.user.as_millis(), times.system.as_millis()), (2500, 310));
        assert!(CpuTime::of(std::process::id()).is_ok());
        assert!(resident(std::process::id()).unwrap() > 1 << 16);
    }
}
