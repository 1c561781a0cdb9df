//! Which process owns a run, and whether it still lives.

use std::fs;

use crate::id::Owner;

/// This process.
///
/// # Panics
///
/// If `/proc` is not there: nothing of this program works without it.
#[must_use]
pub fn current() -> Owner {
    let pid = std::process::id();
    Owner {
        pid,
        start: start_of(pid).expect("/proc/self/stat is there"),
        boot: boot_id(),
        host: host_name(),
    }
}

/// The owner of a run that nobody drives: never alive.
#[must_use]
pub fn nobody() -> Owner {
    Owner { pid: 0, start: 0, boot: String::new(), host: String::new() }
}

/// Whether the owner may still be at work. A process of another host cannot be looked at: it is
/// taken for alive, since two owners of one run are worse than a run that waits.
#[must_use]
pub fn is_alive(owner: &Owner) -> bool {
    if owner.pid == 0 {
        return false;
    }
    if owner.host != host_name() {
        return true;
    }
    owner.boot == boot_id() && start_of(owner.pid) == Some(owner.start)
}

/// Start time of a process in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)),
/// counted after the command name, which may hold spaces and parentheses. `None` for a zombie too.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The host's name, as the log and the owner have it.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a process number that was used again is not taken for the owner.
    #[test]
    fn a_later_process_with_the_same_number_is_another() {
        let here = current();
        assert!(is_alive(&here));
        assert!(!is_alive(&Owner { start: here.start + 1, ..here.clone() }));
        assert!(!is_alive(&Owner { boot: "another".to_owned(), ..here.clone() }));
        assert!(is_alive(&Owner { host: "elsewhere".to_owned(), ..here }));
    }
}
