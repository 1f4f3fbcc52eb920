//! Memory of processes and of the machine, as Linux tells it; elsewhere nothing is known.
//!
//! ```text
//! MemAvailable: 22 GiB, control group: 16 GiB of which 9 are used (2 of them cache)  ->  9 GiB can still be taken
//! ```

use std::path::Path;

/// What a process takes in RAM and in swap, in bytes; `None` where the system does not say.
pub fn taken_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let swapped = kibibytes(&status, "VmSwap:").unwrap_or(0);
    Some(1024 * (kibibytes(&status, "VmRSS:")? + swapped))
}

/// What processes can still take on this machine without swapping, and in the control groups of this process (a container's
/// limit is one), in MiB.
pub fn available_mib() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    let mib = kibibytes(&machine, "MemAvailable:")? / 1024;
    Some(group_bytes().map_or(mib, |bytes| mib.min(bytes >> 20)))
}

/// What this process can still write without being ended, in bytes: memory, and the machine's swap.
pub(crate) fn left_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok()?;
    let swap_mib = kibibytes(&machine, "SwapFree:").unwrap_or(0) / 1024;
    Some((available_mib()? + swap_mib) << 20)
}

/// What the process's control group and those around it still allow (cgroup v2: Linux's admin guide, "Memory"); `None`
/// without a limit.
fn group_bytes() -> Option<u64> {
    let root = Path::new("/sys/fs/cgroup");
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = root.join(group);
    let around = folder.ancestors().take_while(|folder| folder.starts_with(root));
    around.filter_map(left_in).min()
}

/// What the limit of a control group leaves. Cached files count as used, and are dropped where memory is asked for.
fn left_in(folder: &Path) -> Option<u64> {
    let text = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    let number = |file: &str| -> Option<u64> { text(file)?.trim().parse().ok() }; // "max" is no limit
    let cached = text("memory.stat").and_then(|stat| {
        let line = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
        line.trim().parse().ok()
    });
    let used = number("memory.current")?.saturating_sub(cached.unwrap_or(0));
    Some(number("memory.max")?.saturating_sub(used))
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
    fn a_control_group_leaves_what_it_does_not_hold_yet() {
        let folder = tempfile::tempdir().unwrap();
        let set = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        assert_eq!(left_in(folder.path()), None, "not there");
        set("memory.current", "1000\n");
        set("memory.max", "max\n");
        assert_eq!(left_in(folder.path()), None);
        set("memory.max", "4096\n");
        assert_eq!(left_in(folder.path()), Some(3096));
        set("memory.stat", "anon 600\ninactive_file 300\nactive_file 100\n");
        assert_eq!(left_in(folder.path()), Some(3396));
        set("memory.current", "5000\n");
        assert_eq!(left_in(folder.path()), Some(0));
    }

    #[test]
    fn numbers_are_found_by_name() {
        assert_eq!(kibibytes("VmPeak:\t 9 kB\nVmRSS:\t    1708 kB\n", "VmRSS:"), Some(1708));
        assert_eq!(kibibytes("VmRSS:\t1708 pages\n", "VmRSS:"), None);
        assert!(available_mib().expect("Linux says") > 0);
    }
}
