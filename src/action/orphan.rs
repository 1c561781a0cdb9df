//! Who runs at this moment, and what became ours because its parent ended.
//!
//! We are a subreaper: whatever an attempt leaves behind becomes our child, also a daemon that has
//! left its group and session and cleaned its environment. Nothing else in this process starts
//! processes with a session of their own, so a child that we did not start ourselves and that is
//! not in our session was left by an attempt. Whose it is follows from, in this order: its session
//! or group, having been seen below the attempt's process, the markers in its environment, and
//! last from when it began: if no other attempt was under way then, it can be no other's. What may
//! still be another attempt's is left to whoever of the two ends last.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::limits::KILL_WAIT;

use super::procfs::{self, Stat};
use super::spawn::{self, Child, Failed, Start};

/// What this process runs. A static, since being a subreaper and having children belongs to the
/// process and not to a value.
static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

struct Registry {
    own: Option<Stat>,
    /// Our first thread's list of children: there the kernel puts what becomes ours.
    adopted: Option<File>,
    /// Held while a process is made until it is in `known`, so that nobody takes it for an orphan.
    making: RwLock<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    running: HashMap<i32, Running>,
    /// By number and start: daemons that were meant to stay.
    kept: HashSet<(i32, u64)>,
    /// Attempts' own processes that could not be ended: reaped whenever they do.
    given_up: HashMap<i32, OwnedFd>,
}

struct Running {
    start: u64,
    markers: Vec<(&'static str, String)>,
    /// By number and start: seen below it while it lived.
    seen: HashSet<(i32, u64)>,
}

/// An attempt's own process while it is under way and until it is waited for.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) pid: i32,
    pub(super) start: u64,
    pub(super) pidfd: OwnedFd,
}

impl Registry {
    fn new() -> Registry {
        let pid = rustix::process::getpid();
        let _ = rustix::process::set_child_subreaper(Some(pid));
        spawn::hear_of_children();
        let number = pid.as_raw_nonzero().get();
        let adopted = File::open(format!("/proc/{number}/task/{number}/children")).ok();
        Registry {
            own: procfs::stat(number),
            adopted,
            making: RwLock::new(()),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Children that are not an attempt's own process: numbers only, and cheap.
    fn unknown_children(&self) -> Vec<i32> {
        let mut list = [0; 4096];
        let length = self.adopted.as_ref().map(|file| file.read_at(&mut list, 0));
        let children = match length {
            Some(Ok(length)) if length < list.len() => procfs::parse_numbers(&list[..length]),
            // Very many, or a kernel without the list.
            _ => {
                self.own.as_ref().map(|own| procfs::children_by_parent(own.pid)).unwrap_or_default()
            }
        };
        if children.is_empty() {
            return children;
        }
        let known = self.known();
        let is_unknown =
            |pid: &i32| !known.running.contains_key(pid) && !known.given_up.contains_key(pid);
        children.into_iter().filter(is_unknown).collect()
    }

    /// What attempts left behind, dead or alive, daemons that were meant to stay excepted.
    fn orphans(&self) -> Vec<Stat> {
        if self.unknown_children().is_empty() {
            return Vec::new();
        }
        let _nobody_starts_now = self.making.write().unwrap_or_else(PoisonError::into_inner);
        let own_session = self.own.as_ref().map(|own| own.session);
        let mut orphans: Vec<Stat> =
            self.unknown_children().into_iter().filter_map(procfs::stat).collect();
        orphans.retain(|stat| Some(stat.session) != own_session);
        let mut known = self.known();
        known.kept.retain(|(pid, start)| {
            orphans.iter().any(|stat| stat.pid == *pid && stat.start == *start && !stat.is_dead())
        });
        orphans.retain(|stat| !known.kept.contains(&(stat.pid, stat.start)));
        orphans
    }
}

/// Starts a process and enters it as an attempt's own.
///
/// # Errors
///
/// As [`spawn::spawn`].
pub(super) fn start(
    start: &Start<'_>,
    markers: Vec<(&'static str, String)>,
) -> Result<Leader, Failed> {
    let registry = &*REGISTRY;
    let _making = registry.making.read().unwrap_or_else(PoisonError::into_inner);
    let Child { pid, pidfd } = spawn::spawn(start)?;
    let started = procfs::stat(pid).map_or(0, |stat| stat.start);
    let running = Running { start: started, markers, seen: HashSet::new() };
    registry.known().running.insert(pid, running);
    Ok(Leader { pid, start: started, pidfd })
}

impl Leader {
    /// Whether its process has ended and how can be asked for, waited for or not.
    pub(super) fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), look), Ok(None))
    }

    /// Its exit code, if it has ended with one; it is not waited for yet.
    pub(super) fn exit_code(&self) -> Option<i32> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), look);
        status.ok().flatten()?.exit_status()
    }

    /// Waits until we can be told how a process that has ended did so, at most [`KILL_WAIT`]. While
    /// somebody traces it (`strace`, a debugger), its end is told to him first, and to us once he
    /// has heard of it.
    pub(super) async fn settled(&self) {
        let until = Instant::now() + KILL_WAIT;
        let mut pause = Duration::from_millis(1);
        while !self.has_ended() && Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Waits for a process that has ended. From here on its number may be given to another.
    pub(super) fn reap(self) -> Option<WaitIdStatus> {
        let mut known = REGISTRY.known();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
        known.running.remove(&self.pid);
        if let Ok(None) = status {
            // Still its tracer's.
            known.given_up.insert(self.pid, self.pidfd);
        }
        status.ok().flatten()
    }

    /// Stops watching a process that does not end: it is reaped whenever it does.
    pub(super) fn give_up(self) -> Option<WaitIdStatus> {
        let mut known = REGISTRY.known();
        known.running.remove(&self.pid);
        known.given_up.insert(self.pid, self.pidfd);
        None
    }

    /// Signals its group.
    pub(super) fn signal_group(&self, signal: Signal) {
        // The number is not free for others: its process is not waited for yet.
        if let Some(group) = Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// Remembers what is below it now, so that it is known when the links above it are gone.
    pub(super) fn remember_tree(&self) -> Vec<Stat> {
        let below: Vec<Stat> =
            procfs::tree(self.pid).into_iter().skip(1).filter_map(procfs::stat).collect();
        if let Some(running) = REGISTRY.known().running.get_mut(&self.pid) {
            running.seen.extend(below.iter().map(|stat| (stat.pid, stat.start)));
        }
        below
    }

    /// What it left behind and is alive. Reaps what is dead, whosever it was.
    pub(super) fn orphans(&self) -> Vec<Stat> {
        let mut orphans = REGISTRY.orphans();
        orphans.retain(|stat| {
            reap_if_dead(stat);
            !stat.is_dead() && whose(&REGISTRY.known(), self.pid, stat) == Whose::Ours
        });
        orphans
    }

    /// Lets what it left behind live on: it is a daemon that was to be started.
    pub(super) fn keep_orphans(&self) {
        let orphans = REGISTRY.orphans();
        let mut known = REGISTRY.known();
        for stat in orphans.iter().filter(|stat| !stat.is_dead()) {
            if whose(&known, self.pid, stat) != Whose::Others {
                known.kept.insert((stat.pid, stat.start));
            }
        }
    }
}

/// Takes the dead out of the process table: nobody else waits for them.
pub(super) fn reap_orphans() {
    REGISTRY.orphans().iter().for_each(reap_if_dead);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    REGISTRY.known().given_up.retain(|_, pidfd| {
        matches!(rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(None))
    });
}

fn reap_if_dead(stat: &Stat) {
    if stat.is_dead()
        && let Some(pid) = Pid::from_raw(stat.pid)
    {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = rustix::process::waitid(WaitId::Pid(pid), options);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    Others,
    /// It shows no mark, and began while several attempts were under way.
    Unclear,
}

/// Whether the attempt whose process is `leader` left `orphan` behind.
fn whose(known: &Known, leader: i32, orphan: &Stat) -> Whose {
    let name = (orphan.pid, orphan.start);
    let owns = |(pid, running): (&i32, &Running)| {
        orphan.session == *pid || orphan.group == *pid || running.seen.contains(&name)
    };
    let decide = |owner: i32| if owner == leader { Whose::Ours } else { Whose::Others };
    if let Some((owner, _)) = known.running.iter().find(|entry| owns(*entry)) {
        return decide(*owner);
    }
    let environment = procfs::environment(orphan.pid);
    let is_marked = |markers: &[(&'static str, String)]| {
        let mut pairs = markers.iter();
        let is_there = |(name, value): &(&str, String)| {
            procfs::variable(&environment, name) == Some(value.as_bytes())
        };
        !markers.is_empty() && pairs.all(is_there)
    };
    if known.running.get(&leader).is_some_and(|running| is_marked(&running.markers)) {
        return Whose::Ours;
    }
    if known.running.values().any(|running| is_marked(&running.markers)) {
        return Whose::Others;
    }
    let may_own = |running: &Running| running.start <= orphan.start;
    match known.running.get(&leader) {
        Some(running) if !may_own(running) => Whose::Others,
        _ if known.running.iter().any(|(pid, other)| *pid != leader && may_own(other)) => {
            Whose::Unclear
        }
        _ => Whose::Ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan(session: i32, start: u64) -> Stat {
        // A number that no process has, so that there is no environment to read.
        let pid = i32::MAX;
        Stat {
            pid,
            command: "x".to_owned(),
            state: b'S',
            parent: 1,
            group: session,
            session,
            start,
        }
    }

    fn known(running: &[(i32, u64)]) -> Known {
        let entry = |(pid, start): &(i32, u64)| {
            (*pid, Running { start: *start, markers: Vec::new(), seen: HashSet::new() })
        };
        Known { running: running.iter().map(entry).collect(), ..Known::default() }
    }

    /// Goal: an attempt that ends never ends what may be another's, and somebody does at last.
    #[test]
    fn whose_an_orphan_is() {
        let (early, late) = ((7, 100), (8, 200));
        let cases = [
            ("in our session", vec![early, late], orphan(7, 300), Whose::Ours),
            ("in another's session", vec![early, late], orphan(8, 300), Whose::Others),
            ("no mark, both ran", vec![early, late], orphan(99, 300), Whose::Unclear),
            ("no mark, the other was not there", vec![early, late], orphan(99, 150), Whose::Ours),
            ("no mark, the other is gone", vec![early], orphan(99, 300), Whose::Ours),
            ("older than we", vec![early], orphan(99, 50), Whose::Others),
        ];
        for (what, running, orphan, expected) in cases {
            assert_eq!(whose(&known(&running), 7, &orphan), expected, "{what}");
        }
    }

    #[test]
    fn what_was_seen_below_an_attempt_is_its_own() {
        let mut known = known(&[(7, 100), (8, 100)]);
        let orphan = orphan(99, 300);
        let eight = known.running.get_mut(&8).expect("it runs");
        eight.seen.insert((orphan.pid, orphan.start));
        assert_eq!(whose(&known, 7, &orphan), Whose::Others);
        assert_eq!(whose(&known, 8, &orphan), Whose::Ours);
    }
}
