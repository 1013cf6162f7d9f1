//! What the kernel says about this process: resident memory now and at its highest.

/// A memory figure of `/proc/self/status` in bytes - `VmRSS`: resident now, `VmHWM`: the most there has been -; `None`
/// where there is no `/proc`.
pub(crate) fn memory_bytes(figure: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    field_in(&status, figure)
}

fn field_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     100 kB\nThreads:\t1\n";
        assert_eq!(field_in(status, "VmRSS"), Some(102_400));
        assert_eq!(field_in(status, "VmHWM"), Some(2 << 20));
        assert_eq!(field_in(status, "VmSwap"), None);
        assert_eq!(field_in("VmRSS:\tmuch kB\n", "VmRSS"), None);
    }
}
