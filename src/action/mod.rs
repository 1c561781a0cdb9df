//! Performs actions: the only place that starts processes or talks to targets.
//!
//! An action gets a context and returns an [`Outcome`]; it cannot write history. Judging what it
//! found (`expect`, `exit`, `warn`) is the core's.

mod bounded;
mod cert;
pub mod clock;
pub mod delete;
pub mod disk;
pub mod dns;
pub mod file;
pub mod find;
pub mod http;
pub mod load;
pub mod memory;
pub mod process_table;
pub mod prometheus;
pub mod service;
mod service_backend;
pub mod tcp;
pub mod tls;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::id::RunId;
use crate::outcome::{End, ErrorInfo, Outcome};
use crate::runbook::params::Resolved;

mod attempt;
mod capture;
pub mod cgroup;
mod command;
mod environment;
mod handover;
pub mod leftover;
mod nagios;
mod orphan;
pub mod process;
mod procfs;
mod spawn;
mod stream;

/// What one attempt needs to know beyond its rendered parameters.
#[derive(Clone, Debug)]
pub struct Cx {
    /// Whose attempt it is: goes into the environment marker and names the cgroup.
    pub run: RunId,
    /// The step's id (with the item where it fans out).
    pub step: String,
    /// Counted from 1.
    pub attempt: u32,
    /// When the attempt is ended; `None`: never.
    pub deadline: Option<Instant>,
    /// For reaching an endpoint.
    pub connect_timeout: Duration,
    /// Told when the attempt must end.
    pub cancel: watch::Receiver<Cancel>,
    /// A folder of this run, 0700, made before the first attempt and removed at the run's end:
    /// temporary files, spilled output, the list of processes that a next owner must end.
    pub scratch: PathBuf,
    /// What people watch meanwhile.
    pub live: Arc<Live>,
}

/// How urgently an attempt must end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cancel {
    /// Not at all.
    #[default]
    No,
    /// TERM, grace, KILL.
    InOrder,
    /// KILL.
    AtOnce,
}

/// What a running attempt printed last: lossy, for people.
#[derive(Debug, Default)]
pub struct Live {
    /// The last line of either stream so far, raw, at most 400 bytes.
    pub last_line: Mutex<Vec<u8>>,
}

/// Performs one attempt of a rendered action on this host.
///
/// Never panics on what it finds; ends by `cx.deadline` and `cx.cancel`, and leaves no process
/// behind that it can end.
pub async fn perform(action: &Resolved, cx: &Cx) -> Outcome {
    match action {
        Resolved::Command(params) => command::perform_command(params, cx).await,
        Resolved::Shell(params) => command::perform_shell(params, cx).await,
        Resolved::Script(params) => command::perform_script(params, cx).await,
        Resolved::Nagios(params) => nagios::perform(params, cx).await,
        Resolved::Http(params) => http::perform(params, cx).await,
        Resolved::Tcp(params) => tcp::perform(params, cx).await,
        Resolved::Dns(params) => dns::perform(params, cx).await,
        Resolved::Tls(params) => tls::perform(params, cx).await,
        Resolved::Disk(params) => disk::perform(params, cx).await,
        Resolved::Memory {} => memory::perform(cx).await,
        Resolved::Load {} => load::perform(cx).await,
        Resolved::Process(params) => process_table::perform(params, cx).await,
        Resolved::File(params) => file::perform(params, cx).await,
        Resolved::Clock(params) => clock::perform(params, cx).await,
        Resolved::Service(params) => service::perform(params, cx).await,
        Resolved::Find(params) => find::perform(params, cx).await,
        Resolved::Delete(params) => delete::perform(params, cx).await,
        Resolved::Prometheus(params) => prometheus::perform(params, cx).await,
        _ => Outcome {
            end: End::NotStarted,
            error: Some(ErrorInfo {
                code: "E_UNSUPPORTED".to_owned(),
                message: "cannot perform this action here".to_owned(),
            }),
            ..Outcome::default()
        },
    }
}
