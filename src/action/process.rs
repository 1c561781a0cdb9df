//! Runs one process to its end: started clean, watched, capped, and nothing of it left behind.
//!
//! An attempt ends when its own process does. What is left of its cgroup, group, session or
//! descent is then ended, and changes no status. At a deadline or on request everything gets TERM,
//! and KILL after a grace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::limits::{KILL_GRACE, PIPE_DRAIN};
use crate::outcome::{Captured, End, ErrorInfo};
use crate::runbook::params::ProcessSettings;

use super::attempt::{Attempt, Hold};
use super::cgroup::Slot;
use super::environment::{self, Identity, error};
use super::handover::OutputFile;
use super::orphan::{self, Leader};
use super::spawn::{Failed, Stage, Start};
use super::stream::Pipes;
use super::{Cancel, Cx, leftover};

/// What became of one process.
#[derive(Clone, Debug, Default)]
pub struct ProcessEnd {
    /// How it ended; `Completed` whatever its exit code.
    pub end: End,
    /// Its exit code; `None` if it never ran or a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it, by number.
    pub signal: Option<i32>,
    /// Standard output; `None` if it never ran.
    pub stdout: Option<Captured>,
    /// Standard error; `None` if it never ran.
    pub stderr: Option<Captured>,
    /// What it wrote to `$RUNWARDEN_OUTPUT`.
    pub outputs: Option<Vec<u8>>,
    /// Why it did not run to its end, or which signal ended it.
    pub error: Option<ErrorInfo>,
    /// Processes that could not be ended, for people.
    pub left: Vec<String>,
}

impl ProcessEnd {
    /// Nothing happened.
    pub(super) fn not_started(error: ErrorInfo) -> ProcessEnd {
        ProcessEnd { end: End::NotStarted, error: Some(error), ..ProcessEnd::default() }
    }
}

/// How a process is held and ended.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// From TERM to KILL.
    pub kill_grace: Duration,
    /// After the process's own end: how long what it left may hold the pipes.
    pub pipe_drain: Duration,
    /// Whether it gets a cgroup, where one can be had.
    pub cgroup: bool,
    /// What becomes of what it leaves behind.
    pub leftovers: Leftovers,
}

impl Default for Conduct {
    fn default() -> Conduct {
        Conduct {
            kill_grace: KILL_GRACE,
            pipe_drain: PIPE_DRAIN,
            cgroup: true,
            leftovers: Leftovers::End,
        }
    }
}

/// What becomes of processes that outlive the one that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They are ended.
    End,
    /// They live on, unless the attempt is ended by us: for starting daemons.
    Keep,
}

/// Runs `argv` to its end; what it leaves behind is ended too.
pub async fn run_process(argv: &[String], settings: &ProcessSettings, cx: &Cx) -> ProcessEnd {
    run_with(argv, settings, cx, Conduct::default()).await
}

/// As [`run_process`], but what it leaves behind lives on: for starting daemons.
pub async fn start_daemon(argv: &[String], settings: &ProcessSettings, cx: &Cx) -> ProcessEnd {
    // A cgroup of ours would have to live as long as the daemon.
    let conduct = Conduct { cgroup: false, leftovers: Leftovers::Keep, ..Conduct::default() };
    run_with(argv, settings, cx, conduct).await
}

/// As [`run_process`], with another conduct.
pub async fn run_with(
    argv: &[String],
    settings: &ProcessSettings,
    cx: &Cx,
    conduct: Conduct,
) -> ProcessEnd {
    if *cx.cancel.borrow() != Cancel::No {
        return ProcessEnd { end: End::Cancelled, ..ProcessEnd::default() };
    }
    if cx.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return ProcessEnd { end: End::TimedOut, ..ProcessEnd::default() };
    }
    let (identity, output_file) = match before(settings, cx) {
        Ok(both) => both,
        Err(error) => return ProcessEnd::not_started(error),
    };
    let path = output_file.as_ref().map(OutputFile::path);
    let attempt = match begin(argv, settings, &identity, path, cx, conduct) {
        Ok(attempt) => attempt,
        Err(error) => return ProcessEnd::not_started(error),
    };
    let mut end = attempt.run(cx, conduct, &argv[0]).await;
    match output_file.map(OutputFile::read) {
        Some(Ok(bytes)) => end.outputs = Some(bytes),
        Some(Err(error)) => end.error = end.error.or(Some(error)),
        None => {}
    }
    end
}

fn before(
    settings: &ProcessSettings,
    cx: &Cx,
) -> Result<(Identity, Option<OutputFile>), ErrorInfo> {
    let identity = environment::identity(settings)?;
    let output_file =
        if settings.wants_outputs { Some(OutputFile::create(&identity, cx)?) } else { None };
    Ok((identity, output_file))
}

/// Starts it, or says why not; then nothing has happened.
fn begin<'a>(
    argv: &[String],
    settings: &'a ProcessSettings,
    identity: &Identity,
    output_file: Option<&Path>,
    cx: &Cx,
    conduct: Conduct,
) -> Result<Attempt<'a>, ErrorInfo> {
    let prepared = environment::prepare(argv, settings, identity, output_file, cx)?;
    let broken = |cause: io::Error| {
        error("E_SPAWN", format!("cannot make the pipes of `{}`: {cause}", argv[0]))
    };
    let text = settings.stdin.as_deref().unwrap_or_default();
    let (pipes, theirs) = Pipes::open(text, &cx.scratch).map_err(broken)?;
    let stdin = match &theirs.stdin {
        Some(pipe) => pipe.as_fd(),
        None => null().map_err(broken)?,
    };
    let start = Start {
        program: &prepared.program,
        argv: &prepared.argv,
        env: &prepared.env,
        cwd: prepared.cwd.as_deref(),
        stdio: [stdin, theirs.stdout.as_fd(), theirs.stderr.as_fd()],
        cgroup: None,
    };
    let slot = if conduct.cgroup { Slot::acquire() } else { None };
    match start_inside(start, slot, cx) {
        Ok((leader, slot)) => {
            leftover::record(&cx.scratch, &leader, slot.as_ref().map(Slot::path));
            Ok(Attempt { hold: Hold { leader, slot }, pipes })
        }
        Err(Failed { stage: Stage::Clone, error: cause }) => {
            Err(error("E_SPAWN", format!("cannot make a process for `{}`: {cause}", argv[0])))
        }
        Err(Failed { stage: Stage::Cwd, error: cause }) => {
            let cwd = settings.cwd.as_deref().unwrap_or_default();
            Err(error("E_CWD", format!("cannot enter the working folder `{cwd}`: {cause}")))
        }
        Err(Failed { stage: Stage::Exec, error: cause }) => {
            Err(environment::exec_error(argv, &prepared, &cause))
        }
    }
}

/// Starts it inside the cgroup, or without where the kernel does not want that.
fn start_inside(
    mut start: Start<'_>,
    slot: Option<Slot>,
    cx: &Cx,
) -> Result<(Leader, Option<Slot>), Failed> {
    let markers = || environment::markers(cx);
    let Some(slot) = slot else {
        return orphan::start(&start, markers()).map(|leader| (leader, None));
    };
    match orphan::start(&Start { cgroup: Some(slot.folder()), ..start }, markers()) {
        Ok(leader) => Ok((leader, Some(slot))),
        Err(Failed { stage: Stage::Clone, .. }) => {
            // Perhaps because of the cgroup: kernels before 5.7, sandboxes, a folder that is gone.
            start.cgroup = None;
            let started = orphan::start(&start, markers());
            if started.is_ok() {
                slot.give_up()
            } else {
                slot.release()
            }
            started.map(|leader| (leader, None))
        }
        Err(failed) => {
            slot.release();
            Err(failed)
        }
    }
}

/// `/dev/null`, opened once.
fn null() -> io::Result<BorrowedFd<'static>> {
    static NULL: OnceLock<File> = OnceLock::new();
    if let Some(file) = NULL.get() {
        return Ok(file.as_fd());
    }
    let file = File::open("/dev/null")?;
    Ok(NULL.get_or_init(|| file).as_fd())
}
