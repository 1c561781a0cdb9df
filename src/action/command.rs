//! `command`, `shell`, `script`: a process of the author's.

use crate::outcome::Outcome;
use crate::runbook::params::{Command, Script, Shell};

use super::{Cx, process};

pub(super) async fn perform_command(params: &Command, cx: &Cx) -> Outcome {
    let end = process::run_process(&params.argv, &params.process, cx).await;
    Outcome { end: end.end, ..Outcome::default() }
}

pub(super) async fn perform_shell(params: &Shell, cx: &Cx) -> Outcome {
    let end = process::run_process(&params.interpreter, &params.process, cx).await;
    Outcome { end: end.end, ..Outcome::default() }
}

pub(super) async fn perform_script(params: &Script, cx: &Cx) -> Outcome {
    let end = process::run_process(&params.interpreter, &params.process, cx).await;
    Outcome { end: end.end, ..Outcome::default() }
}
