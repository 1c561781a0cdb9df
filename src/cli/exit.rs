//! How the program ends: the codes, and what is said when it could not do what was asked.

use std::process::ExitCode;

use crate::engine::EngineError;
use crate::run::event::RunOutcome;
use crate::store::StoreError;

/// Exit codes (spec 3). Stable: scripts read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// The run succeeded or is degraded, the command did what was asked.
    Ok = 0,
    /// The run failed (or is degraded, with `--strict`); `validate` found errors.
    Failed = 1,
    /// The request is wrong: usage, validation, an unknown name. Nothing has happened.
    Request = 2,
    /// An approval was denied or expired.
    Denied = 3,
    /// The run is interrupted or suspended, or waits for a person.
    Waiting = 4,
    /// The run was cancelled.
    Cancelled = 5,
    /// The audit log does not verify.
    Tampered = 6,
    /// The store cannot be used: locked, full, read-only, of a newer schema.
    Store = 7,
}

impl Exit {
    /// What a run that ended so makes of the program.
    #[must_use]
    pub(super) fn of_outcome(outcome: RunOutcome, is_strict: bool) -> Exit {
        match outcome {
            RunOutcome::Succeeded => Exit::Ok,
            RunOutcome::Degraded if is_strict => Exit::Failed,
            RunOutcome::Degraded => Exit::Ok,
            RunOutcome::Failed => Exit::Failed,
            RunOutcome::Cancelled => Exit::Cancelled,
            RunOutcome::Interrupted => Exit::Waiting,
            RunOutcome::Denied => Exit::Denied,
        }
    }
}

impl Exit {
    /// What a monitoring plugin ends with, which has codes of its own: 0 fine, 1 warning,
    /// 2 critical, 3 unknown.
    #[must_use]
    pub(super) fn plugin(code: u8) -> Exit {
        match code {
            0 => Exit::Ok,
            1 => Exit::Failed,
            2 => Exit::Request,
            _ => Exit::Denied,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what was asked: what is said, and the code.
#[derive(Debug)]
pub(super) struct Failure {
    /// The code.
    pub(super) exit: Exit,
    /// What is wrong: lower case, no full stop. May have several lines. Empty: said already.
    pub(super) message: String,
    /// What to do about it, a line each.
    pub(super) hints: Vec<String>,
}

impl Failure {
    /// A wrong request: exit 2.
    #[must_use]
    pub(super) fn request(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Request, message)
    }

    /// Any failure.
    #[must_use]
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hints: Vec::new() }
    }

    /// With a cure.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }
}

/// An error and its causes, on one line.
#[must_use]
pub(super) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let said = err.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = err.source();
    }
    text
}

/// What the store says; where that is what it was doing, as a sentence.
fn said(err: &StoreError) -> String {
    let text = chain(err);
    match err {
        StoreError::Locked(_)
        | StoreError::Full(_)
        | StoreError::ReadOnly(_)
        | StoreError::NewerSchema { .. }
        | StoreError::Missing(_)
        | StoreError::Io { .. }
        | StoreError::Poisoned
        | StoreError::StaleEpoch { .. }
        | StoreError::Conflict { .. }
        | StoreError::RunExists(_)
        | StoreError::KeyMissing(_)
        | StoreError::BadKey { .. } => format!("failed to {text}"),
        _ => text,
    }
}

/// Whether the path leads nowhere, so that no disk is to blame.
fn is_wrong_path(source: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    let kind = source.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(NotFound | NotADirectory | InvalidFilename))
}

impl From<StoreError> for Failure {
    fn from(err: StoreError) -> Failure {
        let failure = Failure::new(exit_of(&err), said(&err));
        match &err {
            StoreError::Io { source, .. } if is_wrong_path(&**source) => {
                failure.hint("name a folder that can be made with `--state DIR`")
            }
            StoreError::Locked(_) => failure.hint(
                "another process held the state folder for 30 s: wait until it is done, or find it \
                 with `fuser -v STATE/log.db`",
            ),
            StoreError::Full(_) => failure.hint(
                "nothing starts without its record: make room on the disk of the state folder, or \
                 name another folder with `--state DIR`",
            ),
            StoreError::ReadOnly(_) => failure.hint(
                "name a folder that you may write with `--state DIR`; commands that only read work \
                 on this one",
            ),
            StoreError::NewerSchema { .. } => {
                failure.hint("use the runwarden that wrote it, or a newer one")
            }
            StoreError::Missing(_) => {
                failure.hint("the first `runwarden run` creates it; `--state DIR` names another")
            }
            StoreError::Io { .. } | StoreError::Poisoned => failure.hint(
                "what was recorded before is safe; look at the disk (`dmesg`), then at the log \
                 with `runwarden audit verify`",
            ),
            StoreError::Tampered(_) => failure.hint(
                "nothing starts on a log that is not what was signed: keep the folder as evidence \
                 and start with another (`--state DIR`)",
            ),
            StoreError::KeyMissing(_) | StoreError::BadKey { .. } => failure.hint(
                "put the key back from its backup: a new one would not be trusted for this log",
            ),
            _ => failure,
        }
    }
}

fn exit_of(err: &StoreError) -> Exit {
    match err {
        StoreError::Tampered(_) => Exit::Tampered,
        StoreError::UnknownRun(_) => Exit::Request,
        StoreError::StaleEpoch { .. } | StoreError::Conflict { .. } => Exit::Waiting,
        _ => Exit::Store,
    }
}

impl From<EngineError> for Failure {
    fn from(err: EngineError) -> Failure {
        match err {
            EngineError::Store(err) => Failure::from(err),
            EngineError::UnknownRun(_) | EngineError::Ambiguous(_) => {
                Failure::request(err.to_string()).hint("`runwarden runs list` shows the ids")
            }
            EngineError::Owned { run, .. } => Failure::new(Exit::Request, err.to_string())
                .hint(format!("`runwarden runs watch {run}` follows it"))
                .hint(format!("`runwarden runs cancel {run}` asks it to end")),
            EngineError::Rejected { .. } => Failure::request(chain(&err)),
            EngineError::Unreadable { .. } => Failure::new(Exit::Tampered, chain(&err))
                .hint("`runwarden audit verify` says whether the log is what was signed"),
            EngineError::Scratch { .. } => Failure::new(Exit::Store, chain(&err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each end of a run has its documented code.
    #[test]
    fn outcomes_have_their_codes() {
        for (outcome, code, strict) in [
            (RunOutcome::Succeeded, 0, 0),
            (RunOutcome::Degraded, 0, 1),
            (RunOutcome::Failed, 1, 1),
            (RunOutcome::Denied, 3, 3),
            (RunOutcome::Interrupted, 4, 4),
            (RunOutcome::Cancelled, 5, 5),
        ] {
            assert_eq!(Exit::of_outcome(outcome, false) as u8, code);
            assert_eq!(Exit::of_outcome(outcome, true) as u8, strict);
        }
    }
}
