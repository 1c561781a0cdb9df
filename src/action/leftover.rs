//! What a run that lost its owner left running: recorded while it ran, ended by the next owner.
//!
//! Each start adds one line to a file in the run's scratch folder: boot, number, start time and
//! cgroup. It is not synced: a machine that stops ends the processes too. A process counts as
//! left behind only if its number and its start time are those of the record, or if it carries the
//! run's marker in its environment: a number alone may be a stranger's by now.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::id::RunId;
use crate::limits::KILL_WAIT;

use super::procfs::{self, Stat};
use super::{cgroup, orphan};

/// The record, inside the scratch folder.
const FILE: &str = "processes";

/// Notes a process that has just been started; failing is no reason to end it again, the marker in
/// its environment remains.
pub(super) fn record(scratch: &Path, leader: &orphan::Leader, cgroup: Option<&Path>) {
    let cgroup = cgroup.unwrap_or(Path::new("-")).display();
    let line = format!("process {} {} {} {cgroup}\n", procfs::boot_id(), leader.pid, leader.start);
    append(scratch, line.as_bytes());
}

/// Notes a folder outside the scratch folder that is removed with the attempt.
pub(super) fn record_folder(scratch: &Path, folder: &Path) {
    append(scratch, &[b"folder ", folder.as_os_str().as_bytes(), b"\n"].concat());
}

fn append(scratch: &Path, line: &[u8]) {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(scratch.join(FILE));
    let _ = file.and_then(|mut file| file.write_all(line));
}

/// A record, read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    processes: HashSet<(i32, u64)>,
    cgroups: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

fn parse(text: &str, boot: &str) -> Record {
    let mut record = Record::default();
    for line in text.lines() {
        if let Some(folder) = line.strip_prefix("folder ") {
            record.folders.push(PathBuf::from(folder));
            continue;
        }
        let mut words = line.splitn(5, ' ');
        if words.next() != Some("process") || words.next() != Some(boot) {
            continue;
        }
        let pid = words.next().and_then(|word| word.parse().ok());
        let start = words.next().and_then(|word| word.parse().ok());
        // The last line may be cut: then the marker has to do.
        let (Some(pid), Some(start), Some(cgroup)) = (pid, start, words.next()) else { continue };
        record.processes.insert((pid, start));
        let cgroup = PathBuf::from(cgroup);
        if cgroup.is_absolute() && !record.cgroups.contains(&cgroup) {
            record.cgroups.push(cgroup);
        }
    }
    record
}

/// Ends what the dead owner of `run` left running, and says what that was and what could not be
/// ended, in words for people. Blocks until it has ended, at most [`KILL_WAIT`].
///
/// `scratch` is the run's scratch folder, which need not exist any more. The owner must be dead: a
/// process that it started meanwhile would be ended too.
pub fn end_leftovers(scratch: &Path, run: RunId) -> Vec<String> {
    let text = fs::read(scratch.join(FILE)).unwrap_or_default();
    let record = parse(&String::from_utf8_lossy(&text), procfs::boot_id());
    let marker = run.to_string();
    let until = Instant::now() + KILL_WAIT;
    let mut ended: Vec<(i32, u64, String)> = Vec::new();
    let mut note = |stat: &Stat| {
        if !ended.iter().any(|(pid, start, _)| *pid == stat.pid && *start == stat.start) {
            ended.push((stat.pid, stat.start, procfs::describe(stat)));
        }
    };
    let mut alive = Vec::new();
    for round in 0.. {
        for path in &record.cgroups {
            if is_the_runs(path, &marker) {
                // Named first: of the dead nobody knows the owner.
                let inside = cgroup::processes_of_ours(path).into_iter();
                inside.filter_map(procfs::stat).for_each(|stat| note(&stat));
                cgroup::end_foreign(path);
            }
        }
        alive = find(&record, &marker);
        alive.iter().for_each(&mut note);
        for stat in &alive {
            let _ = procfs::signal(stat, Signal::KILL);
        }
        let is_over =
            alive.is_empty() && !record.cgroups.iter().any(|path| is_the_runs(path, &marker));
        if is_over || Instant::now() > until {
            break;
        }
        std::thread::sleep(Duration::from_millis(1 << round.min(5)));
    }
    for folder in &record.folders {
        if is_ours(folder) {
            let _ = fs::remove_dir_all(folder);
        }
    }
    if alive.is_empty() {
        let _ = fs::remove_file(scratch.join(FILE));
    }
    let is_alive = |pid, start| alive.iter().any(|stat| stat.pid == pid && stat.start == start);
    let words = ended.into_iter().map(|(pid, start, name)| {
        if is_alive(pid, start) { format!("could not end {name}") } else { format!("ended {name}") }
    });
    words.collect()
}

/// Whether living processes are in this cgroup and all of them may be the run's: the owner may have
/// used it for another run since, and a new process of ours may have its name.
fn is_the_runs(cgroup: &Path, run: &str) -> bool {
    let processes = cgroup::processes_of_ours(cgroup);
    !processes.is_empty()
        && processes.iter().all(|pid| {
            let environment = procfs::environment(*pid);
            procfs::variable(&environment, "RUNWARDEN_RUN")
                .is_none_or(|marker| marker == run.as_bytes())
        })
}

/// What is alive of the run: recorded or marked, with all that descends from it and the groups
/// that recorded processes lead.
fn find(record: &Record, run: &str) -> Vec<Stat> {
    let own = std::process::id();
    let stats: Vec<Stat> = procfs::all().into_iter().filter_map(procfs::stat).collect();
    let is_recorded = |stat: &Stat| record.processes.contains(&(stat.pid, stat.start));
    let leaders: HashSet<i32> =
        stats.iter().filter(|stat| is_recorded(stat)).map(|stat| stat.pid).collect();
    let is_marked = |stat: &Stat| {
        let environment = procfs::environment(stat.pid);
        procfs::variable(&environment, "RUNWARDEN_RUN") == Some(run.as_bytes())
    };
    let mut found: Vec<i32> = stats
        .iter()
        .filter(|stat| {
            is_recorded(stat)
                || leaders.contains(&stat.group)
                || leaders.contains(&stat.session)
                || is_marked(stat)
        })
        .map(|stat| stat.pid)
        .collect();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        let children = stats.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid);
        let new: Vec<i32> = children.filter(|pid| !found.contains(pid)).collect();
        found.extend(new);
    }
    let is_left = |stat: &Stat| {
        found.contains(&stat.pid) && !stat.is_dead() && u32::try_from(stat.pid) != Ok(own)
    };
    stats.into_iter().filter(is_left).collect()
}

/// Whether a recorded folder is one that an attempt made.
fn is_ours(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    let is_plain = fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir());
    is_plain
        && folder.parent() == Some(std::env::temp_dir().as_path())
        && name.is_some_and(|name| name.starts_with("runwarden-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a record that is cut, foreign or of another boot names nobody wrongly.
    #[test]
    fn records_are_read_as_far_as_they_are_sure() {
        let text = "process b 12 34 /sys/fs/cgroup/x y\nprocess old 5 6 -\nprocess b 7 8 -\n\
                    nonsense\nfolder /tmp/a b\nprocess b x 8 -\nprocess b 9 10";
        let record = parse(text, "b");
        assert_eq!(record.processes, HashSet::from([(12, 34), (7, 8)]));
        assert_eq!(record.cgroups, [PathBuf::from("/sys/fs/cgroup/x y")]);
        assert_eq!(record.folders, [PathBuf::from("/tmp/a b")]);
    }

    /// Goal: a process that has the number of a recorded one, but another start, is a stranger.
    #[test]
    fn a_reused_number_is_a_strangers() {
        let own = i32::try_from(std::process::id()).expect("fits");
        let parent = procfs::stat(own).expect("we run").parent;
        let start = procfs::stat(parent).map_or(0, |stat| stat.start);
        let record =
            Record { processes: HashSet::from([(parent, start + 1)]), ..Record::default() };
        assert_eq!(find(&record, &RunId::generate().to_string()), []);
    }
}
