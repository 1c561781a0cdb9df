//! Cgroups: what keeps hold of a process whatever it does to its group, session or parent.
//!
//! A process is born inside one ([`super::spawn`]); nothing is ever moved. Making and removing one
//! a step would cost more than the step, so emptied ones are used again. Where we may make none
//! (no cgroup v2, no delegation), attempts do without, see [`super::orphan`].

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use super::procfs;

/// Folders are named `runwarden-<pid of the owner>-<number>`.
const PREFIX: &str = "runwarden-";

/// Cgroups that are empty, ready for the next attempt.
static IDLE: Mutex<Vec<Slot>> = Mutex::new(Vec::new());
/// Set once a cgroup could be made, but no process started in it.
static UNUSABLE: AtomicBool = AtomicBool::new(false);

/// One cgroup, held by at most one attempt at a time.
#[derive(Debug)]
pub(super) struct Slot {
    path: PathBuf,
    folder: OwnedFd,
    events: OwnedFd,
    /// KILL was used on it: kernels since 6.12 then kill whatever is born into it by
    /// `CLONE_INTO_CGROUP` (they compare its count of kills with that of the parent's cgroup), so
    /// it cannot be used again.
    was_killed: AtomicBool,
}

impl Slot {
    /// An empty cgroup, or `None` where we may have none.
    pub(super) fn acquire() -> Option<Slot> {
        if UNUSABLE.load(Ordering::Relaxed) {
            return None;
        }
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.or_else(|| Slot::make(parent()?))
    }

    fn make(parent: &Path) -> Option<Slot> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        if fs::create_dir(&path).is_err() {
            // Left by a dead owner that had our number, and perhaps killed: never used as it is.
            fs::remove_dir(&path).and_then(|()| fs::create_dir(&path)).ok()?;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags | OFlags::DIRECTORY, Mode::empty()).ok()?;
        let events = rustix::fs::openat(&folder, "cgroup.events", flags, Mode::empty()).ok()?;
        Some(Slot { path, folder, events, was_killed: AtomicBool::new(false) })
    }

    /// Gives it back for the next attempt; one that could not be emptied is left as it is.
    pub(super) fn release(self) {
        if self.was_killed.load(Ordering::Relaxed) {
            let _ = fs::remove_dir(&self.path);
        } else if !self.is_populated() {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(self);
        }
    }

    /// Gives up on cgroups for the rest of this process: the kernel started nothing in this one.
    pub(super) fn give_up(self) {
        UNUSABLE.store(true, Ordering::Relaxed);
        let _ = fs::remove_dir(&self.path);
    }

    /// The folder's descriptor, for birth inside it.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Where it is, for the record that a next owner reads.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a living process is inside, in whatever depth.
    pub(super) fn is_populated(&self) -> bool {
        let mut text = [0; 256];
        match rustix::io::pread(&self.events, &mut text, 0) {
            Ok(length) => is_populated(&text[..length]),
            Err(_) => false,
        }
    }

    /// Processes directly inside.
    pub(super) fn processes(&self) -> Vec<i32> {
        processes(&self.path)
    }

    /// KILL for all inside, in one stroke: no fork escapes it, and no other user's process either.
    pub(super) fn kill(&self) {
        self.was_killed.store(true, Ordering::Relaxed);
        kill(&self.path);
    }
}

fn is_populated(events: &[u8]) -> bool {
    events.split(|byte| *byte == b'\n').any(|line| line == b"populated 1")
}

fn processes(cgroup: &Path) -> Vec<i32> {
    procfs::parse_numbers(&fs::read(cgroup.join("cgroup.procs")).unwrap_or_default())
}

/// KILL for all processes of the cgroup at `path`.
fn kill(path: &Path) {
    if fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // Before Linux 5.14: one by one; who calls looks again whether any is left.
    for stat in processes(path).into_iter().filter_map(procfs::stat) {
        let _ = procfs::signal(&stat, Signal::KILL);
    }
}

/// Whether `path`, read from a record, is a cgroup that a process of ours may have made.
fn is_one_of_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.starts_with("/sys/fs/cgroup")
        && !path.components().any(|part| part == Component::ParentDir)
        && name.is_some_and(|name| owner(name).is_some())
}

/// Processes in a dead owner's cgroup; none if it is not one of ours.
pub(super) fn processes_of_ours(path: &Path) -> Vec<i32> {
    if is_one_of_ours(path) { processes(path) } else { Vec::new() }
}

/// Ends all in a dead owner's cgroup; nothing if it is not one of ours.
pub(super) fn end_foreign(path: &Path) {
    if is_one_of_ours(path) {
        kill(path);
    }
}

/// Takes the folders of idle cgroups away. For the end of the program; attempts that follow
/// would make new ones.
pub fn remove_idle() {
    for slot in IDLE.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_dir(&slot.path);
    }
}

/// Our own cgroup's folder, below which ours are made: found once; dead owners' empty ones are
/// taken away on the way.
fn parent() -> Option<&'static Path> {
    static PARENT: OnceLock<Option<PathBuf>> = OnceLock::new();
    PARENT
        .get_or_init(|| {
            let lines = fs::read_to_string("/proc/self/cgroup").ok()?;
            let own = own(&lines)?;
            let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
            let mount = mounts
                .into_iter()
                .find(|mount| Path::new(mount).join("cgroup.controllers").exists())?;
            let folder = Path::new(mount).join(own);
            remove_stale(&folder);
            Some(folder)
        })
        .as_deref()
}

/// The v2 line of `/proc/self/cgroup`, relative to the mount; `None` also for what lies outside
/// our namespace.
fn own(lines: &str) -> Option<&str> {
    let path = lines.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.split('/').any(|part| part == "..")).then_some(path)
}

/// Removes the folders of owners that are gone. The kernel refuses where processes are inside:
/// those belong to a run that somebody will take over.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(owner) else { continue };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn owner(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_the_v2_line() {
        let cases = [
            ("0::/\n", Some("")),
            ("4:memory:/a\n0::/system.slice/x.service\n", Some("system.slice/x.service")),
            ("4:memory:/a\n", None),
            ("0::/../outside\n", None),
            ("", None),
        ];
        for (lines, path) in cases {
            assert_eq!(own(lines), path, "{lines}");
        }
    }

    #[test]
    fn names_tell_the_owner() {
        let cases = [
            ("runwarden-12-0", Some(12)),
            ("runwarden-12", None),
            ("runwarden--1-0", None),
            ("runwarden-12-x", None),
            ("other-12-0", None),
        ];
        for (name, pid) in cases {
            assert_eq!(owner(name), pid, "{name}");
        }
    }

    #[test]
    fn population_is_its_own_line() {
        assert!(is_populated(b"populated 1\nfrozen 0\n"));
        assert!(!is_populated(b"populated 0\nfrozen 1\n"));
    }

    /// Goal: a record that somebody forged makes us kill nothing outside our own cgroups.
    #[test]
    fn foreign_cgroups_are_not_touched() {
        let base = tempfile::tempdir().expect("a folder");
        let forged = base.path().join("runwarden-1-0");
        fs::create_dir(&forged).expect("a folder");
        for path in [forged.as_path(), Path::new("/sys/fs/cgroup/../../tmp/runwarden-1-0")] {
            end_foreign(path);
        }
        assert!(!forged.join("cgroup.kill").exists());
    }
}
