//! `process`: which processes run on this host, by name, pidfile or command line.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use procfs::process::{Process as Entry, Stat};
use procfs::{Current, Uptime};
use regex::bytes::Regex;

use super::Cx;
use super::bounded::{Fields, error, found, reading, refused, unknown};
use crate::limits::{PIDFILE_BYTES_MAX, PIDFILE_SLACK};
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::Process;

/// Counts processes that are alive; a zombie is not.
///
/// By `name`: exactly the name that the kernel has, or the last part of the first argument. By
/// `pidfile`: the process that wrote it; a pid that was given to a younger process is `stale`, not
/// running. By `match`: a regular expression over the whole command line, where this program and
/// those that started it do not count, because the pattern stands in their own arguments.
///
/// Fields: `count`, `pids` (ascending), `rss_bytes` of all together, `oldest_seconds` (undefined
/// if there is none). The rule: ok if there is one, else critical.
pub async fn perform(params: &Process, cx: &Cx) -> Outcome {
    let pattern = match params.matches.as_deref().map(Regex::new).transpose() {
        Ok(pattern) => pattern,
        Err(why) => return refused("E_PATTERN", format!("read `match`: {why}")),
    };
    let by = match (params.name.clone(), params.pidfile.clone(), pattern) {
        (Some(name), None, None) if !name.is_empty() => By::Name(name),
        (None, Some(path), None) => By::Pidfile(path),
        (None, None, Some(pattern)) => By::Match(pattern),
        _ => return refused("E_PARAMETER", "write exactly one of `name`, `pidfile` and `match`"),
    };
    match reading(cx, move |_| look(&by)).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

enum By {
    Name(String),
    Pidfile(String),
    Match(Regex),
}

fn look(by: &By) -> Outcome {
    let mut stale = None;
    let alive = match by {
        By::Pidfile(path) => match of_pidfile(Path::new(path)) {
            Ok(InFile::Alive(running)) => Ok(vec![running]),
            Ok(InFile::Gone(why)) => {
                stale = Some(why);
                Ok(Vec::new())
            }
            Ok(InFile::Missing) => Ok(Vec::new()),
            Err(why) => return unknown("E_FILE", format!("read pidfile `{path}`: {why}")),
        },
        By::Name(name) => all(|running| running.is_called(name)),
        By::Match(pattern) => {
            let ours = ourselves();
            all(|running| {
                let line = running.command_line();
                !line.is_empty() && !ours.contains(&running.pid) && pattern.is_match(&line)
            })
        }
    };
    let alive = match alive {
        Ok(alive) => alive,
        Err(why) => return unknown("E_PROC", format!("read the process table: {why}")),
    };
    let fields = Fields::default()
        .set("count", alive.len())
        .set("pids", alive.iter().map(|one| one.pid).collect::<Vec<_>>())
        .set("rss_bytes", alive.iter().map(|one| one.rss_bytes).sum::<u64>())
        .set_if("oldest_seconds", alive.iter().filter_map(Running::age_seconds).reduce(f64::max))
        .set_if("stale", stale.as_ref().map(|_| true));
    if !alive.is_empty() {
        return found(Verdict::Ok, fields.0);
    }
    let why = match (by, stale) {
        (By::Name(name), _) => format!("no process is called `{name}`"),
        (By::Match(pattern), _) => format!("no command line matches `{}`", pattern.as_str()),
        (By::Pidfile(path), Some(why)) => format!("pidfile `{path}`: {why}"),
        (By::Pidfile(path), None) => format!("there is no pidfile `{path}`"),
    };
    Outcome { error: Some(error("E_NO_PROCESS", why)), ..found(Verdict::Critical, fields.0) }
}

/// A process as it was when we looked. Pid and start name it for ever on this boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// Reused by the kernel, hence never enough alone.
    pub(super) pid: i32,
    /// Clock ticks since boot.
    pub(super) start_ticks: u64,
    name: String,
    rss_bytes: u64,
}

impl Running {
    /// `None` if there is no such process, or only what is left of it.
    pub(super) fn of(pid: i32) -> Option<Running> {
        let stat = Entry::new(pid).ok()?.stat().ok()?;
        Running::of_stat(stat)
    }

    fn of_stat(stat: Stat) -> Option<Running> {
        if matches!(stat.state, 'Z' | 'X' | 'x') {
            return None;
        }
        Some(Running {
            pid: stat.pid,
            start_ticks: stat.starttime,
            rss_bytes: stat.rss.saturating_mul(procfs::page_size()),
            name: stat.comm,
        })
    }

    /// Whether this very process still runs.
    pub(super) fn is_alive(&self) -> bool {
        Running::of(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks)
    }

    /// Since it started, by the clock that counts time asleep as well.
    fn age_seconds(&self) -> Option<f64> {
        let up = Uptime::current().ok()?.uptime;
        let age = up - self.start_ticks as f64 / procfs::ticks_per_second() as f64;
        Some((age.max(0.0) * 100.0).round() / 100.0)
    }

    /// When it started, by the wall clock.
    pub(super) fn since(&self) -> Option<jiff::Timestamp> {
        let age = jiff::SignedDuration::try_from_secs_f64(self.age_seconds()?).ok()?;
        jiff::Timestamp::now().checked_sub(age).ok()
    }

    /// Its arguments joined by blanks; empty for the kernel's own threads.
    fn command_line(&self) -> Vec<u8> {
        let mut line = arguments(self.pid);
        while line.last() == Some(&0) {
            line.pop();
        }
        for byte in &mut line {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        line
    }

    fn is_called(&self, name: &str) -> bool {
        if self.name == name {
            return true;
        }
        let line = arguments(self.pid);
        let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let last_part = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        last_part == name.as_bytes()
    }
}

fn arguments(pid: i32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// All that run and are `wanted`, by pid. One that ends while we look is not there.
fn all(wanted: impl Fn(&Running) -> bool) -> Result<Vec<Running>, procfs::ProcError> {
    let mut alive: Vec<Running> = procfs::process::all_processes()?
        .filter_map(|entry| Running::of_stat(entry.ok()?.stat().ok()?))
        .filter(wanted)
        .collect();
    alive.sort_by_key(|one| one.pid);
    Ok(alive)
}

/// This process, its parent, and so on up to the first.
fn ourselves() -> Vec<i32> {
    let mut line = Vec::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0 && !line.contains(pid)) {
        line.push(pid);
        next = Entry::new(pid).and_then(|entry| entry.stat()).map(|stat| stat.ppid).ok();
    }
    line
}

/// What a pidfile leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InFile {
    /// The process that it was written for.
    Alive(Running),
    /// There is a file, but not that process any more; why we think so.
    Gone(String),
    /// There is no file.
    Missing,
}

/// Reads a pidfile and finds its process. One that started after the file was written is another
/// process with a reused pid.
///
/// # Errors
///
/// The file cannot be read, or is not a pidfile.
pub(super) fn of_pidfile(path: &Path) -> io::Result<InFile> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(InFile::Missing),
        Err(why) => return Err(why),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(PIDFILE_BYTES_MAX).read_to_string(&mut text)?;
    let first = text.lines().next().unwrap_or_default().trim();
    if first.is_empty() {
        return Ok(InFile::Gone("it is empty".to_owned()));
    }
    let pid: i32 = first
        .parse()
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| io::Error::other(format!("`{first}` is not a process id")))?;
    let Some(running) = Running::of(pid) else {
        return Ok(InFile::Gone(format!("process {pid} does not run")));
    };
    let written = super::file::modified(about.mtime(), about.mtime_nsec());
    let slack = jiff::SignedDuration::try_from(PIDFILE_SLACK).unwrap_or_default();
    match (running.since(), written) {
        (Some(since), Some(written)) if since.duration_since(written) > slack => {
            Ok(InFile::Gone(format!("process {pid} is younger than the file: a reused id")))
        }
        _ => Ok(InFile::Alive(running)),
    }
}
