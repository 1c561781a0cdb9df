//! How `service` looks at a service, and what it runs or signals to change it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::Cx;
use super::bounded::{Fields, Stop, error, found, reading, unknown};
use super::process::run_process;
use super::process_table::{InFile, Running, of_pidfile};
use super::service::rest;
use crate::limits::{EXPRESSION_OUTPUT_BYTES_MAX, KILL_GRACE, SERVICE_POLL};
use crate::outcome::{Captured, End, Kept, Outcome, Verdict};
use crate::runbook::params::{Service, ServiceState};

/// Who keeps the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    /// `systemctl`.
    Systemd,
    /// The script of that path.
    Sysv(PathBuf),
    /// Nobody: a pidfile says whether it runs.
    Pidfile(PathBuf),
}

/// What is done to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Verb {
    /// What leads to `wanted`: who has no restart is stopped and started.
    pub(super) fn of(wanted: ServiceState, backend: &Backend, before: &Look) -> Vec<Verb> {
        match (wanted, backend) {
            (ServiceState::Started, _) => vec![Verb::Start],
            (ServiceState::Stopped, _) => vec![Verb::Stop],
            (ServiceState::Reloaded, _) => vec![Verb::Reload],
            (ServiceState::Restarted, Backend::Pidfile(_)) if before.active => {
                vec![Verb::Stop, Verb::Start]
            }
            (ServiceState::Restarted, Backend::Pidfile(_)) => vec![Verb::Start],
            (ServiceState::Restarted, _) => vec![Verb::Restart],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Reload => "reload",
        }
    }
}

/// A service as it was when we looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) active: bool,
    pub(super) state: String,
    since: Option<jiff::Timestamp>,
    pid: Option<i32>,
}

impl Look {
    /// Whether nothing of it runs or is about to.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state.as_str(), "inactive" | "failed" | "not-found")
    }

    /// As the step's result has it.
    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .set("active", self.active)
            .set("state", self.state.as_str())
            .set_if("since", self.since.map(|at| format!("{at:.3}")))
            .set_if("pid", self.pid)
    }

    fn of_process(running: Option<&Running>) -> Look {
        match running {
            Some(running) => Look {
                active: true,
                state: "active".to_owned(),
                since: running.since(),
                pid: Some(running.pid),
            },
            None => Look { state: "inactive".to_owned(), ..Look::default() },
        }
    }
}

impl Backend {
    /// Chosen by what the step says and what this host has.
    pub(super) fn of(params: &Service) -> Option<Backend> {
        if let Some(pidfile) = &params.pidfile {
            return Some(Backend::Pidfile(PathBuf::from(pidfile)));
        }
        // The documented test for systemd as the first process; `systemctl` exists without it too.
        if Path::new("/run/systemd/system").is_dir() {
            return Some(Backend::Systemd);
        }
        let script = Path::new("/etc/init.d").join(&params.name);
        script.is_file().then_some(Backend::Sysv(script))
    }

    /// What to run for `verb`; `None`: it is done by a signal.
    pub(super) fn argv(&self, params: &Service, verb: Verb) -> Option<Vec<String>> {
        match self {
            Backend::Systemd => {
                let words = ["systemctl", verb.word(), "--no-ask-password", "--", &params.name];
                Some(words.map(str::to_owned).to_vec())
            }
            Backend::Sysv(script) => {
                Some(vec![script.to_string_lossy().into_owned(), verb.word().to_owned()])
            }
            Backend::Pidfile(_) if verb == Verb::Start => Some(params.start.clone()),
            Backend::Pidfile(_) => None,
        }
    }

    /// Looks.
    pub(super) async fn look(&self, params: &Service, cx: &Cx) -> Result<Look, Box<Outcome>> {
        match self {
            Backend::Systemd => look_systemd(params, cx).await,
            Backend::Sysv(script) => look_sysv(script, params, cx).await,
            Backend::Pidfile(path) => {
                let running = in_pidfile(path.clone(), cx).await?;
                Ok(Look::of_process(running.as_ref()))
            }
        }
    }
}

async fn look_systemd(params: &Service, cx: &Cx) -> Result<Look, Box<Outcome>> {
    const PROPERTIES: &str =
        "--property=LoadState,ActiveState,MainPID,ActiveEnterTimestampMonotonic";
    let argv = ["systemctl", "show", "--no-pager", PROPERTIES, "--", &params.name];
    let end = run_process(&argv.map(str::to_owned), &params.process, cx).await;
    if end.end != End::Completed {
        return Err(Box::new(not_looked(end.end, end.error, params)));
    }
    if end.exit_code != Some(0) {
        let said = text_of(end.stderr.as_ref());
        let why = format!("ask systemd about `{}`: {}", params.name, said.trim());
        return Err(Box::new(unknown("E_SERVICE", why)));
    }
    Ok(read_systemd(&text_of(end.stdout.as_ref()), since_boot()))
}

fn not_looked(end: End, why: Option<crate::outcome::ErrorInfo>, params: &Service) -> Outcome {
    let default = || error("E_SERVICE", format!("look at service `{}`", params.name));
    Outcome {
        end,
        rule: Some(Verdict::Unknown),
        error: Some(why.unwrap_or_else(default)),
        ..Outcome::default()
    }
}

/// Microseconds of the clock that systemd's monotonic times are of.
fn since_boot() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

fn read_systemd(text: &str, now_us: i64) -> Look {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let active_state = value("ActiveState");
    let state = match (value("LoadState"), active_state) {
        ("not-found", "inactive") => "not-found",
        (_, "") => "unknown",
        (_, state) => state,
    };
    let active = matches!(active_state, "active" | "reloading" | "refreshing");
    let entered: Option<i64> = value("ActiveEnterTimestampMonotonic").parse().ok();
    let ago = entered.filter(|entered| active && *entered > 0).map(|entered| now_us - entered);
    Look {
        active,
        state: state.to_owned(),
        since: ago.and_then(|ago| {
            jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_micros(ago)).ok()
        }),
        pid: value("MainPID").parse().ok().filter(|pid| *pid > 0),
    }
}

async fn look_sysv(script: &Path, params: &Service, cx: &Cx) -> Result<Look, Box<Outcome>> {
    let argv = [script.to_string_lossy().into_owned(), "status".to_owned()];
    let end = run_process(&argv, &params.process, cx).await;
    if end.end != End::Completed {
        return Err(Box::new(not_looked(end.end, end.error, params)));
    }
    // The Linux Standard Base's codes: 1 and 2 are dead with something left behind, 3 is stopped.
    match end.exit_code {
        Some(0) => {
            let pidfile = PathBuf::from(format!("/run/{}.pid", params.name));
            let running = in_pidfile(pidfile, cx).await.unwrap_or_default();
            Ok(Look {
                active: true,
                state: "active".to_owned(),
                ..Look::of_process(running.as_ref())
            })
        }
        Some(1..=3) => Ok(Look { state: "inactive".to_owned(), ..Look::default() }),
        _ => {
            let why = format!("`{} status` cannot tell how the service is", script.display());
            Err(Box::new(unknown("E_SERVICE", why)))
        }
    }
}

async fn in_pidfile(path: PathBuf, cx: &Cx) -> Result<Option<Running>, Box<Outcome>> {
    let shown = path.display().to_string();
    match reading(cx, move |_| of_pidfile(&path)).await? {
        Ok(InFile::Alive(running)) => Ok(Some(running)),
        Ok(InFile::Gone(_) | InFile::Missing) => Ok(None),
        Err(why) => Err(Box::new(unknown("E_FILE", format!("read pidfile `{shown}`: {why}")))),
    }
}

/// Stops or reloads the process that the pidfile names; says whether it needed KILL.
pub(super) async fn signal(params: &Service, verb: Verb, cx: &Cx) -> Result<bool, Box<Outcome>> {
    let path = PathBuf::from(params.pidfile.as_deref().unwrap_or_default());
    let Some(running) = in_pidfile(path, cx).await? else {
        return Ok(false);
    };
    if verb == Verb::Reload {
        return send(&running, Signal::HUP, params, cx).await.map(|()| false);
    }
    send(&running, Signal::TERM, params, cx).await?;
    if gone(&running, cx).await? {
        return Ok(false);
    }
    send(&running, Signal::KILL, params, cx).await?;
    if gone(&running, cx).await? {
        return Ok(true);
    }
    let why = format!("process {} of service `{}` does not end", running.pid, params.name);
    Err(Box::new(Outcome {
        error: Some(error("E_SERVICE", why)),
        left: vec![running.pid.to_string()],
        ..found(Verdict::Critical, Fields::default().0)
    }))
}

/// Signals exactly this process: a handle is taken first, then its start time is compared, so that
/// nothing which got the same pid meanwhile is ever hit.
async fn send(
    running: &Running,
    signal: Signal,
    params: &Service,
    cx: &Cx,
) -> Result<(), Box<Outcome>> {
    if params.process.sudo || params.process.user.is_some() {
        let number = signal.as_raw().to_string();
        let pid = running.pid.to_string();
        let argv = ["kill", "-s", &number, "--", &pid].map(str::to_owned);
        let end = run_process(&argv, &params.process, cx).await;
        return match (end.end, end.exit_code, running.is_alive()) {
            (End::Completed, Some(0), _) | (_, _, false) => Ok(()),
            (end_kind, ..) => Err(Box::new(not_looked(end_kind, end.error, params))),
        };
    }
    let Some(pid) = Pid::from_raw(running.pid) else { return Ok(()) };
    let sent = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) if running.is_alive() => rustix::process::pidfd_send_signal(&handle, signal),
        // Kernels before 5.3 have no handles.
        Err(Errno::NOSYS) if running.is_alive() => rustix::process::kill_process(pid, signal),
        Ok(_) | Err(Errno::NOSYS | Errno::SRCH) => return Ok(()),
        Err(why) => Err(why),
    };
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(why) => {
            let why = format!("signal process {} of `{}`: {why}", running.pid, params.name);
            let fields = Look::of_process(Some(running)).fields().0;
            Err(Box::new(Outcome {
                error: Some(error("E_SERVICE", why)),
                changed: Some(false),
                ..found(Verdict::Critical, fields)
            }))
        }
    }
}

/// Waits for the process to end, at most the grace that every process has.
async fn gone(running: &Running, cx: &Cx) -> Result<bool, Box<Outcome>> {
    let give_up = Instant::now() + KILL_GRACE;
    while running.is_alive() {
        if Instant::now() >= give_up {
            return Ok(false);
        }
        rest(SERVICE_POLL, cx).await.map_err(|stop| {
            let how = match stop {
                Stop::Deadline => "its time ran out",
                Stop::Cancelled => "it was cancelled",
            };
            let why = format!("process {} was told to end, then {how}", running.pid);
            Box::new(Outcome { end: End::Interrupted, ..unknown("E_INTERRUPTED", why) })
        })?;
    }
    Ok(true)
}

/// What a process wrote, as text.
pub(super) fn text_of(captured: Option<&Captured>) -> String {
    let bytes = match captured.map(|captured| &captured.kept) {
        Some(Kept::Memory(bytes)) => bytes.clone(),
        Some(Kept::File { path, bytes, .. }) if *bytes <= EXPRESSION_OUTPUT_BYTES_MAX => {
            std::fs::read(path).unwrap_or_default()
        }
        Some(Kept::File { .. }) | None => Vec::new(),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says() {
        let say = |load: &str, active: &str, pid: &str| {
            let text = format!(
                "LoadState={load}\nActiveState={active}\nMainPID={pid}\n\
                 ActiveEnterTimestampMonotonic=1000000\n"
            );
            read_systemd(&text, 61_000_000)
        };
        let running = say("loaded", "active", "42");
        assert_eq!((running.active, running.pid), (true, Some(42)));
        let age = jiff::Timestamp::now().duration_since(running.since.unwrap());
        assert!((59..=61).contains(&age.as_secs()), "{age:?}");
        let down = say("loaded", "inactive", "0");
        assert_eq!((down.active, down.pid, down.since), (false, None, None));
        assert!(down.is_down());
        assert_eq!(say("not-found", "inactive", "0").state, "not-found");
        // On its way up after a crash: neither active nor down, so that a stop is not skipped.
        let looping = say("loaded", "activating", "0");
        assert!(!looping.active && !looping.is_down());
        assert_eq!(read_systemd("", 0).state, "unknown");
    }

    #[test]
    fn systemctl_takes_the_name_after_the_options() {
        let params: Service = serde_json::from_value(serde_json::json!({"name": "a"})).unwrap();
        let argv = Backend::Systemd.argv(&params, Verb::Restart).unwrap();
        assert_eq!(argv, ["systemctl", "restart", "--no-ask-password", "--", "a"]);
    }
}
