//! How much memory and how many threads a session may use.

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System, get_current_pid};
use tallow_common::{Error, Result};

/// Share of the machine's memory, or of the container's, that a session takes by default.
const DEFAULT_SHARE: f64 = 0.6;

/// Least memory per partition: with less, sorts cannot merge what they spilled.
const MIN_PER_PARTITION: usize = 64 << 20;

/// The default memory limit in bytes.
pub fn default_memory() -> usize {
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::everything()));
    let total = system.cgroup_limits().map_or(system.total_memory(), |c| c.total_memory.min(system.total_memory()));
    (total as f64 * DEFAULT_SHARE) as usize
}

/// What this process uses.
pub struct Usage {
    system: System,
    process: Option<Pid>,
}

impl Default for Usage {
    fn default() -> Self {
        Usage { system: System::new(), process: get_current_pid().ok() }
    }
}

impl Usage {
    /// Bytes of memory, and what it used of all processors since this was last asked, of a hundred; 0 where it is not known.
    pub fn now(&mut self) -> (u64, f64) {
        let Some(pid) = self.process else { return (0, 0.0) };
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
        let processors = default_threads() as f64;
        self.system.process(pid).map_or((0, 0.0), |of| (of.memory(), f64::from(of.cpu_usage()) / processors))
    }
}

/// The number of threads by default.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Partitions to plan for, given threads and memory.
pub fn partitions(threads: usize, memory: usize) -> usize {
    threads.min(memory / MIN_PER_PARTITION).max(1)
}

/// Threads that compute, given threads and memory. More than there are partitions parse and encode at the same time, and each
/// holds what it works on and what its allocator keeps.
pub fn workers(threads: usize, memory: usize) -> usize {
    threads.min(partitions(threads, memory).max(2))
}

/// Bytes from text such as `512m`, `1.5g` or `2GiB`.
pub fn parse_bytes(text: &str) -> Result<usize> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit: f64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => f64::NAN,
    };
    match text[..digits].parse::<f64>().map(|n| n * unit) {
        Ok(bytes) if bytes >= 1.0 => Ok(bytes as usize),
        _ => Err(Error::invalid(format!("'{text}' is no size: expected a number of bytes such as 512m or 2g"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_the_usual_units() {
        assert_eq!(parse_bytes("256m").unwrap(), 256 << 20);
        assert_eq!(parse_bytes("1.5g").unwrap(), 3 << 29);
        assert_eq!(parse_bytes("2GiB").unwrap(), 2 << 30);
        assert!(parse_bytes("lots").is_err());
        assert!(parse_bytes("0").is_err());
    }

    #[test]
    fn little_memory_means_few_partitions() {
        assert_eq!(partitions(8, 256 << 20), 4);
        assert_eq!(partitions(2, 10 << 20), 1);
        assert_eq!(partitions(2, 10 << 30), 2);
        assert_eq!((workers(8, 64 << 20), workers(8, 256 << 20), workers(8, 10 << 30)), (2, 4, 8));
        assert_eq!(workers(1, 64 << 20), 1);
    }
}
