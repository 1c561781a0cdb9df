//! `nagios`: a monitoring plugin, read by the plugin guidelines.

use crate::outcome::Outcome;
use crate::runbook::params::Nagios;

use super::{Cx, process};

pub(super) async fn perform(params: &Nagios, cx: &Cx) -> Outcome {
    let end = process::run_process(&params.command, &params.process, cx).await;
    Outcome { end: end.end, ..Outcome::default() }
}
