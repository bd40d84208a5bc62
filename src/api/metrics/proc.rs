//! What the process takes of its machine, as the system says it: memory, processor time, file descriptors, threads.

use std::time::Duration;

use crate::base::clock;

/// The numbers. What the system does not report is missing: elsewhere than on Linux most of them, and the open descriptors
/// when there is none left to count them with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Processor time, the system's part included.
    pub(super) cpu: Option<Duration>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// Asks the system. It takes some tenths of a millisecond, more with thousands of open descriptors.
    pub(super) fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        // The directory itself is open while it is read.
        let open_fds = std::fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1));
        Self {
            cpu: clock::processor_time(),
            resident_bytes: kilobytes(&status, "VmRSS:"),
            virtual_bytes: kilobytes(&status, "VmSize:"),
            threads: field(&status, "Threads:"),
            open_fds,
            max_fds: field(&limits, "Max open files"),
        }
    }
}

/// The first number after `name` in the line that begins with it.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_missing() {
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t     512 kB\nThreads:\t3\n";
        assert_eq!((kilobytes(status, "VmSize:"), kilobytes(status, "VmRSS:")), (Some(2 << 20), Some(512 << 10)));
        assert_eq!(
            (field(status, "Threads:"), field(status, "None:"), field("Threads:", "Threads:")),
            (Some(3), None, None)
        );
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   524288   files\nMax x unlimited";
        assert_eq!((field(limits, "Max open files"), field(limits, "Max x")), (Some(1024), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_all_of_it_and_notices_an_open_file() {
        let before = Process::look();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let after = Process::look();
        drop(files);
        assert!(before.resident_bytes < before.virtual_bytes && before.resident_bytes > Some(1 << 20));
        assert!(before.threads >= Some(1) && after.cpu >= before.cpu && after.cpu > Some(Duration::ZERO));
        // Other tests of this process close and open files meanwhile.
        assert!(after.open_fds >= Some(50) && after.open_fds <= after.max_fds, "{before:?} {after:?}");
    }
}
