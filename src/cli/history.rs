//! Runs as the store has them, found by id, and said truthfully: a run whose process died is not
//! running, whatever its last entry says. Writes nothing.

use serde_json::Value;

use super::args::Global;
use super::exit::Failure;
use super::report::{Out, visible};
use super::summary::Beside;
use super::{output, state, summary};
use crate::engine::{self, EngineError, Loaded, load, owner, show_end, show_loaded};
use crate::id::RunId;
use crate::outcome::Verdict;
use crate::run::event::{RunOutcome, RunState};
use crate::run::state::StepEnd;
use crate::runbook::model::Kind;
use crate::store::{Found, Reader, RunRow, StoreError};

/// The state folder for reading; `None`: nothing was ever recorded there.
///
/// # Errors
///
/// Exit 2, 6 or 7.
pub(super) fn open(global: &Global) -> Result<Option<Reader>, Failure> {
    match Reader::open(&state::folder(global)?) {
        Ok(reader) => Ok(Some(reader)),
        Err(StoreError::Missing(_)) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// As [`open`], where there must be something.
///
/// # Errors
///
/// Exit 2, if there is nothing; else as [`open`].
pub(super) fn need(global: &Global) -> Result<Reader, Failure> {
    open(global)?.ok_or_else(|| match state::folder(global) {
        Ok(folder) => Failure::request(format!("there is no log in `{}` yet", folder.display()))
            .hint("the first `runwarden run` creates it; `--state DIR` names another folder"),
        Err(failure) => failure,
    })
}

/// The run's id that `text` is or begins.
///
/// # Errors
///
/// Exit 2: none or several.
pub(super) fn find(reader: &Reader, text: &str) -> Result<RunId, Failure> {
    match reader.find(text)? {
        Found::One(id) => Ok(id),
        Found::None => Err(EngineError::UnknownRun(visible(text)).into()),
        Found::Many => Err(EngineError::Ambiguous(visible(text)).into()),
    }
}

/// Whether the run's process died while the run was under way.
#[must_use]
pub(super) fn is_orphan(row: &RunRow) -> bool {
    told_state(row) != row.state
}

/// Whether some process drives the run on.
#[must_use]
pub(super) fn is_driven(row: &RunRow) -> bool {
    !matches!(row.state, RunState::Finished | RunState::Suspended) && owner::is_alive(&row.owner)
}

/// The state, as people are told it.
#[must_use]
pub(super) fn told_state(row: &RunRow) -> RunState {
    engine::told_state(row.state, &row.owner)
}

/// The row of a run.
///
/// # Errors
///
/// Exit 2, if there is none.
pub(super) fn row(reader: &Reader, id: RunId) -> Result<RunRow, Failure> {
    reader.run_row(id)?.ok_or_else(|| EngineError::UnknownRun(id.to_string()).into())
}

/// "A run, as JSON".
///
/// # Errors
///
/// Exit 2, if there is no such run, exit 6, if it cannot be read back.
pub(super) fn shown(reader: &Reader, id: RunId) -> Result<Value, Failure> {
    Ok(engine::show(reader, id)?)
}

/// The step that waits for a person's decision.
pub(super) fn held(loaded: &Loaded) -> Option<String> {
    let ix = loaded.run.first_held()?;
    Some(loaded.run.graph.step(ix).id.clone())
}

/// What of a run its JSON does not say.
fn beside(reader: &Reader, loaded: &Loaded) -> Result<Beside, Failure> {
    let row = row(reader, loaded.run.id)?;
    Ok(Beside { is_orphan: is_orphan(&row), is_held: held(loaded).is_some() })
}

/// Everything about a run, or its JSON.
///
/// # Errors
///
/// As [`shown`].
pub(super) fn print_whole(reader: &Reader, id: RunId, out: Out) -> Result<(), Failure> {
    let value = shown(reader, id)?;
    if out.is_json() {
        return out.json(&value);
    }
    let loaded = load(reader, id)?;
    let tails = |step: &str| output::tail(reader, &loaded, step);
    let beside = beside(reader, &loaded)?;
    out.result(&summary::whole(&value, beside, out.stdout, &tails))
}

/// What people want to know when a run is over or waits, or its JSON.
///
/// # Errors
///
/// As [`shown`].
pub(super) fn print_brief(reader: &Reader, id: RunId, out: Out) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(&shown(reader, id)?);
    }
    let row = row(reader, id)?;
    let is_good = matches!(row.outcome, Some(RunOutcome::Succeeded | RunOutcome::Degraded));
    if out.is_quiet && is_good {
        return Ok(());
    }
    // Of a long run that is well nobody wants every step again.
    if row.outcome == Some(RunOutcome::Succeeded) && row.kind != Kind::HealthCheck {
        let value = show_end(reader, &row)?;
        return out.result(&summary::brief(&value, Beside::default(), out.stdout, &|_| None));
    }
    let loaded = load(reader, id)?;
    let is_told = |end: &StepEnd| {
        row.kind == Kind::HealthCheck || end.status.is_failure() || end.verdict != Verdict::Ok
    };
    let value = show_loaded(reader, &loaded, &is_told)?;
    let tails = |step: &str| output::tail(reader, &loaded, step);
    let beside = beside(reader, &loaded)?;
    out.result(&summary::brief(&value, beside, out.stdout, &tails))
}
