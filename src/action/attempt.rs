//! One process under way: watched until it ends or must end, and what it leaves is ended too.

use std::fmt::Write as _;
use std::future::pending;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitIdStatus};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use crate::limits::{ATTEMPT_TICK, KILL_WAIT};
use crate::outcome::End;

use super::cgroup::Slot;
use super::environment::error;
use super::orphan::{self, Leader};
use super::process::{Conduct, Leftovers, ProcessEnd};
use super::procfs::{self, Stat};
use super::stream::Pipes;
use super::{Cancel, Cx, Live, spawn};

/// A process that was started.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) hold: Hold,
    pub(super) pipes: Pipes<'a>,
}

/// Our hold on a process and all that comes from it.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) leader: Leader,
    /// Absent where we may have no cgroup.
    pub(super) slot: Option<Slot>,
}

impl Attempt<'_> {
    /// Waits for the end, or brings it about. `name` is what messages call it.
    pub(super) async fn run(mut self, cx: &Cx, conduct: Conduct, name: &str) -> ProcessEnd {
        let end = watch(&self.hold, &mut self.pipes, cx, conduct).await;
        let mut left = Vec::new();
        match end {
            End::Completed => {
                drain(&mut self.pipes, &cx.live, conduct.pipe_drain).await;
                match conduct.leftovers {
                    Leftovers::End => left = self.hold.end_rest().await,
                    Leftovers::Keep => self.hold.leader.keep_orphans(),
                }
            }
            End::Interrupted => left = self.hold.all().iter().map(procfs::describe).collect(),
            _ => left = self.hold.end_rest().await,
        }
        // What is in the pipes by now counts, whoever still holds them.
        self.pipes.pump(&cx.live);
        self.pipes.show(&cx.live);
        let Hold { leader, slot } = self.hold;
        let status = match end {
            End::Interrupted => leader.give_up(),
            _ => leader.reap(),
        };
        if let Some(slot) = slot {
            slot.release();
        }
        let (stdout, stderr) = self.pipes.finish();
        let mut end = conclude(end, status, name);
        end.stdout = Some(stdout);
        end.stderr = Some(stderr);
        end.left = left;
        end
    }
}

/// Whether and how far we are ending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// TERM was sent; KILL follows at this time.
    Asked(Why, Instant),
    /// KILL was sent; at this time we stop waiting for the end.
    Killed(Why, Instant),
}

/// Why we are ending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Why {
    end: End,
    /// Our first signal leaves it no choice: if it has an exit code, it was sooner than we.
    is_deadly: bool,
}

/// Waits until the process has ended: `Completed` if it did so by itself, `TimedOut` or
/// `Cancelled` if we ended it, `Interrupted` if it does not end even so.
async fn watch(hold: &Hold, pipes: &mut Pipes<'_>, cx: &Cx, conduct: Conduct) -> End {
    let exit = spawn::watch_borrowed(hold.leader.pidfd.as_fd(), Interest::READABLE).ok();
    let mut cancel = cx.cancel.clone();
    let mut asked = Cancel::No;
    let mut ending = Ending::No;
    let mut tick = Instant::now() + ATTEMPT_TICK;
    loop {
        let due = match ending {
            Ending::No => cx.deadline,
            Ending::Asked(_, at) | Ending::Killed(_, at) => Some(at),
        };
        let wake = due.map_or(tick, |due| due.min(tick));
        tokio::select! {
            biased; // What has ended by itself was not ended by us.
            () = exited(exit.as_ref(), &hold.leader) => break,
            urgency = more_urgent(&mut cancel, asked) => {
                asked = urgency;
                if hold.leader.has_ended() {
                    break;
                }
                ending = cancelled(hold, ending, urgency, conduct);
            }
            () = sleep_until(wake.into()) => {
                let now = Instant::now();
                if now >= tick {
                    tick = now + ATTEMPT_TICK;
                    hold.look_after(pipes, &cx.live);
                }
                if due.is_some_and(|due| due <= now) {
                    match ending {
                        _ if hold.leader.has_ended() => break,
                        Ending::No => ending = hold.ask(End::TimedOut, conduct),
                        Ending::Asked(why, _) => ending = hold.kill(why),
                        Ending::Killed(..) => return End::Interrupted,
                    }
                }
            }
            () = pipes.ready() => pipes.pump(&cx.live),
        }
    }
    hold.leader.settled().await;
    match ending {
        Ending::No => End::Completed,
        Ending::Asked(why, _) | Ending::Killed(why, _) => {
            let is_too_late = why.is_deadly && hold.leader.exit_code().is_some();
            if is_too_late { End::Completed } else { why.end }
        }
    }
}

fn cancelled(hold: &Hold, ending: Ending, urgency: Cancel, conduct: Conduct) -> Ending {
    match (ending, urgency) {
        (Ending::No, Cancel::AtOnce) => hold.kill(Why { end: End::Cancelled, is_deadly: true }),
        (Ending::No, _) => hold.ask(End::Cancelled, conduct),
        (Ending::Asked(why, _), Cancel::AtOnce) => hold.kill(why),
        (under_way, _) => under_way,
    }
}

/// Waits for the process's end.
async fn exited(exit: Option<&AsyncFd<std::os::fd::BorrowedFd<'_>>>, leader: &Leader) {
    match exit {
        Some(exit) if exit.readable().await.is_ok() => {}
        // Out of watches: then we look ourselves.
        _ => {
            while !leader.has_ended() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Waits until more than `asked` is asked for.
async fn more_urgent(cancel: &mut watch::Receiver<Cancel>, asked: Cancel) -> Cancel {
    let urgency = cancel.wait_for(|urgency| *urgency > asked).await.map(|urgency| *urgency);
    match urgency {
        Ok(urgency) => urgency,
        // Nobody is there to ask any more.
        Err(_) => pending().await,
    }
}

/// Reads on after the end for as long as others hold the pipes, at most `pause`.
async fn drain(pipes: &mut Pipes<'_>, live: &Live, pause: Duration) {
    pipes.pump(live);
    if pipes.are_closed() {
        return;
    }
    let rest = async {
        while !pipes.are_closed() {
            pipes.ready().await;
            pipes.pump(live);
        }
    };
    let _ = timeout(pause, rest).await;
}

impl Hold {
    /// Everything of the attempt that is alive, its own process included.
    fn all(&self) -> Vec<Stat> {
        let mut all: Vec<Stat> = procfs::stat(self.leader.pid).into_iter().collect();
        all.extend(self.leader.remember_tree());
        all.extend(self.rest());
        all.retain(|stat| !stat.is_dead());
        all.sort_by_key(|stat| stat.pid);
        all.dedup_by_key(|stat| stat.pid);
        all
    }

    /// What is alive of it beside its own process once that has ended.
    fn rest(&self) -> Vec<Stat> {
        let mut rest = self.leader.orphans();
        if let Some(slot) = &self.slot
            && slot.is_populated()
        {
            rest.extend(slot.processes().into_iter().filter_map(procfs::stat));
        }
        rest.retain(|stat| stat.pid != self.leader.pid && !stat.is_dead());
        rest
    }

    /// Signals its group, and one by one what has left that.
    fn signal(&self, all: &[Stat], signal: Signal) {
        self.leader.signal_group(signal);
        for stat in all.iter().filter(|stat| stat.group != self.leader.pid) {
            let _ = procfs::signal(stat, signal);
        }
    }

    /// TERM; and CONT, since what is stopped would not hear it.
    fn ask(&self, end: End, conduct: Conduct) -> Ending {
        let why = Why { end, is_deadly: procfs::dies_of(self.leader.pid, Signal::TERM) };
        let all = self.all();
        self.signal(&all, Signal::TERM);
        self.signal(&all, Signal::CONT);
        Ending::Asked(why, Instant::now() + conduct.kill_grace)
    }

    /// KILL. What this misses loses its parent and is found by [`Hold::end_rest`].
    fn kill(&self, why: Why) -> Ending {
        let all = self.all();
        if let Some(slot) = &self.slot {
            slot.kill();
        }
        self.signal(&all, Signal::KILL);
        Ending::Killed(why, Instant::now() + KILL_WAIT)
    }

    /// Once in a while: reaps what died, remembers what lives, shows the last line.
    fn look_after(&self, pipes: &mut Pipes<'_>, live: &Live) {
        orphan::reap_orphans();
        if self.slot.is_none() {
            self.leader.remember_tree();
        }
        pipes.show(live);
    }

    /// Ends what is left after the process's own end; says what could not be ended.
    async fn end_rest(&self) -> Vec<String> {
        let until = Instant::now() + KILL_WAIT;
        let mut pause = Duration::from_millis(1);
        loop {
            let rest = self.rest();
            let is_populated = self.slot.as_ref().is_some_and(Slot::is_populated);
            if rest.is_empty() && !is_populated {
                return Vec::new();
            }
            if Instant::now() > until {
                return rest.iter().map(procfs::describe).collect();
            }
            if is_populated && let Some(slot) = &self.slot {
                slot.kill();
            }
            // Before its children become ours, and perhaps nobody's for a moment.
            let below = rest.iter().flat_map(|stat| procfs::tree(stat.pid));
            let all: Vec<Stat> = below.filter_map(procfs::stat).collect();
            self.leader.signal_group(Signal::KILL);
            for stat in &all {
                let _ = procfs::signal(stat, Signal::KILL);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// What is said of the end.
fn conclude(end: End, status: Option<WaitIdStatus>, name: &str) -> ProcessEnd {
    if end == End::Completed && status.is_none() {
        // It ran, and somebody else waited for it: what it found is not known.
        let message = format!("`{name}` ended, and how is not known");
        let error = Some(error("E_INTERRUPTED", message));
        return ProcessEnd { end: End::Interrupted, error, ..ProcessEnd::default() };
    }
    let exit_code = status.as_ref().and_then(WaitIdStatus::exit_status);
    let signal = status.as_ref().and_then(WaitIdStatus::terminating_signal);
    let mut how = String::new();
    if let Some(signal) = signal {
        let _ = write!(how, " by {}", signal_name(signal));
    }
    let error = match end {
        End::TimedOut => {
            Some(error("E_TIMEOUT", format!("`{name}` was ended at its deadline{how}")))
        }
        End::Cancelled => Some(error("E_CANCELLED", format!("`{name}` was ended on request{how}"))),
        End::Interrupted => {
            Some(error("E_NOT_ENDED", format!("`{name}` could not be ended and may still run")))
        }
        _ if signal.is_some() => Some(error("E_SIGNAL", format!("`{name}` was ended{how}"))),
        _ => None,
    };
    ProcessEnd { end, exit_code, signal, error, ..ProcessEnd::default() }
}

/// `SIGKILL` for 9.
pub(super) fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(number - 1).ok().and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("SIG{number}"), |name| format!("SIG{name}"))
}
