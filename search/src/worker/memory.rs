//! Memory of processes and of the machine, as Linux tells it; elsewhere nothing is known.

/// What a process takes in RAM and in swap, in bytes; `None` where the system does not say.
pub(super) fn taken_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let swapped = kibibytes(&status, "VmSwap:").unwrap_or(0);
    Some(1024 * (kibibytes(&status, "VmRSS:")? + swapped))
}

/// What processes can still take on this machine without swapping, in MiB.
pub fn available_mib() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    kibibytes(&machine, "MemAvailable:").map(|kib| kib / 1024)
}

/// The number of a line like `VmRSS:     1708 kB` (proc_pid_status(5), proc_meminfo(5)).
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_counts_and_what_is_only_reserved_does_not() {
        const SIZE: usize = 256 << 20;
        let before = taken_bytes(std::process::id()).expect("Linux says");
        let mut reserved: Vec<u8> = Vec::with_capacity(SIZE);
        let untouched = taken_bytes(std::process::id()).expect("Linux says");
        assert!(untouched < before + SIZE as u64 / 2, "{before} {untouched}");
        reserved.resize(SIZE, 1);
        // The pages are written, whatever the optimiser knows of them.
        std::hint::black_box(&mut reserved);
        let written = taken_bytes(std::process::id()).expect("Linux says");
        assert!(written >= before + SIZE as u64 / 2, "{before} {written}");
        assert_eq!(reserved[SIZE - 1], 1);
    }

    #[test]
    fn numbers_are_found_by_name() {
        assert_eq!(kibibytes("VmPeak:\t 9 kB\nVmRSS:\t    1708 kB\n", "VmRSS:"), Some(1708));
        assert_eq!(kibibytes("VmRSS:\t1708 pages\n", "VmRSS:"), None);
        assert!(available_mib().expect("Linux says") > 0);
    }
}
