//! Floor 0: how much memory can still be had.
//!
//! Reserving more pages of a tmpfs or memfd than there is memory does not fail: the kernel takes what there is, and
//! then kills somebody for it, most likely the one who asked. So what is plainly too much is refused before.
//! Sources: proc_meminfo(5), cgroups(7), the kernel's cgroup-v2.rst and cgroup-v1/memory.rst.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Bytes of memory that this process can still take without anybody being killed, as far as the system tells.
pub(crate) fn memory_left() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let cgroups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = cgroups.lines().filter_map(Limit::parse);
    limits.filter_map(|limit| limit.left()).chain(machine).min()
}

/// Free memory, what the kernel can free at once, and swap.
fn available(meminfo: &str) -> Option<u64> {
    let kibibytes = |name| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kibibytes("MemAvailable:")? + kibibytes("SwapFree:").unwrap_or(0)) * 1024)
}

/// A control group's limit on memory, in one of the two versions' files.
struct Limit {
    directories: Vec<PathBuf>,
    limit: &'static str,
    usage: &'static str,
    reclaimable: &'static str,
}

impl Limit {
    /// The memory limit behind a line of /proc/self/cgroup.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (root, limit, usage, reclaimable) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
        } else {
            return None;
        };
        // Each level limits those below it. Inside a container the path may be the host's: then only the root is there.
        let inner = Path::new(path.trim_start_matches('/'));
        let directories = inner.ancestors().map(|level| Path::new(root).join(level)).collect();
        Some(Self { directories, limit, usage, reclaimable })
    }

    fn left(&self) -> Option<u64> {
        self.directories.iter().filter_map(|directory| self.left_in(directory)).min()
    }

    fn left_in(&self, directory: &Path) -> Option<u64> {
        let number = |name: &str| read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
        // No number: "max".
        let limit = number(self.limit)?;
        let stat = read_to_string(directory.join("memory.stat")).unwrap_or_default();
        let reclaimable = stat.lines().find_map(|line| line.strip_prefix(self.reclaimable)?.trim().parse().ok());
        let used = number(self.usage)?.saturating_sub(reclaimable.unwrap_or(0));
        Some(limit.saturating_sub(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_machine_has() {
        let text = "MemTotal: 100 kB\nMemFree: 5 kB\nMemAvailable:   40 kB\nSwapFree: 2 kB\n";
        assert_eq!(available(text), Some(42 * 1024));
        assert_eq!(available("MemTotal: 100 kB\n"), None);
    }

    #[test]
    fn looks_at_each_level_of_the_right_hierarchy() {
        let limit = Limit::parse("0::/a/b").unwrap();
        let roots: Vec<_> = limit.directories.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(roots, ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"]);
        assert_eq!(Limit::parse("4:memory:/x").unwrap().limit, "memory.limit_in_bytes");
        assert!(Limit::parse("3:cpuset:/").is_none());
    }

    #[test]
    fn takes_what_is_used_and_cannot_be_freed_off_the_limit() {
        let directory = std::env::temp_dir().join(format!("samemap-room-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
        write("memory.max", "1000\n");
        write("memory.current", "600\n");
        write("memory.stat", "anon 1\ninactive_file 150\n");
        let limit = Limit::parse("0::/").unwrap();
        assert_eq!(limit.left_in(&directory), Some(550));
        write("memory.max", "max\n");
        assert_eq!(limit.left_in(&directory), None);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
