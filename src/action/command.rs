//! `command`, `shell`, `script`: a process of the author's.

use serde_json::{Map, Value};

use crate::outcome::Outcome;
use crate::runbook::params::{Command, ProcessSettings, Script, Shell};

use super::Cx;
use super::attempt::signal_name;
use super::environment;
use super::handover::ScriptFile;
use super::process::{self, ProcessEnd};

/// Runs the list of strings as it stands, without a shell.
pub(super) async fn perform_command(params: &Command, cx: &Cx) -> Outcome {
    outcome(process::run_process(&params.argv, &params.process, cx).await)
}

/// Runs the text as one argument of its interpreter: nothing in it is ours, and nothing is added.
pub(super) async fn perform_shell(params: &Shell, cx: &Cx) -> Outcome {
    let mut argv = params.interpreter.clone();
    argv.extend(["-c".to_owned(), params.text.clone()]);
    outcome(process::run_process(&argv, &params.process, cx).await)
}

/// Runs the text from a file that is there for as long as the attempt.
pub(super) async fn perform_script(params: &Script, cx: &Cx) -> Outcome {
    let file = match script_file(params, &params.process, cx) {
        Ok(file) => file,
        Err(error) => return outcome(ProcessEnd::not_started(error)),
    };
    let mut argv = params.interpreter.clone();
    argv.push(file.path().to_string_lossy().into_owned());
    outcome(process::run_process(&argv, &params.process, cx).await)
}

fn script_file(
    params: &Script,
    settings: &ProcessSettings,
    cx: &Cx,
) -> Result<ScriptFile, crate::outcome::ErrorInfo> {
    let identity = environment::identity(settings)?;
    ScriptFile::create(&params.text, params.file.as_deref(), &identity, cx)
}

/// The result fields of a process, for the core to judge.
pub(super) fn outcome(end: ProcessEnd) -> Outcome {
    let mut fields = Map::new();
    if let Some(stdout) = &end.stdout {
        fields.insert("exit_code".to_owned(), end.exit_code.into());
        fields.insert("signal".to_owned(), end.signal.map(signal_name).into());
        fields.insert("stdout_bytes".to_owned(), stdout.bytes.into());
        fields.insert("stdout_truncated".to_owned(), Value::Bool(stdout.truncated));
    }
    Outcome {
        end: end.end,
        rule: None,
        changed: None,
        fields,
        error: end.error,
        stdout: end.stdout,
        stderr: end.stderr,
        outputs: end.outputs,
        left: end.left,
    }
}
