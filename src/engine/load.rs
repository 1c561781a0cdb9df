//! A run read back from the log: replay, the same fold as live.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::Value;

use super::{EngineError, owner};
use crate::id::{Digest, Owner, RunId};
use crate::run::Run;
use crate::run::event::{Event, RunState, Stored};
use crate::run::graph::Graph;
use crate::run::state::{StepEnd, fetch};
use crate::run::view::{Fact, LogHead, view};
use crate::runbook::{Options, check};
use crate::store::{Reader, RunRow};

/// The largest blob that a fold or a view needs: a plan, a result, what is shown of an output.
const BLOB_READ_MAX: u64 = 4 << 20;

/// A run and its facts.
#[derive(Debug)]
pub struct Loaded {
    /// Folded.
    pub run: Run,
    /// What was folded.
    pub facts: Vec<Fact>,
}

/// Reads a run back.
///
/// # Errors
///
/// [`EngineError`] if there is no such run, or what the log holds of it cannot be read.
pub fn load(reader: &Reader, id: RunId) -> Result<Loaded, EngineError> {
    let unreadable = |why: String| EngineError::Unreadable { run: id, why };
    let facts = facts_after(reader, id, None)?;
    let Some(Fact { event: Event::RunRequested(requested), time, .. }) = facts.first() else {
        return Err(EngineError::UnknownRun(id.to_string()));
    };
    let blobs = |digest: &Digest| read_blob(reader, digest);
    let raw = |stored: &Stored| match stored {
        Stored::Blob { blob, .. } => blobs(blob),
        Stored::Inline { inline } => inline.as_str().map(|text| text.as_bytes().to_vec()),
    };
    let source = raw(&requested.source)
        .ok_or_else(|| unreadable("the runbook's text is gone".to_owned()))?;
    let runbook = check(&source, &Options::default()).runbook.ok_or_else(|| {
        unreadable("this version does not accept the runbook any more".to_owned())
    })?;
    let mut files = BTreeMap::new();
    for (path, stored) in &requested.files {
        let bytes = raw(stored).ok_or_else(|| unreadable(format!("`{path}` is gone")))?;
        files.insert(path.clone(), String::from_utf8_lossy(&bytes).into_owned());
    }
    let Some(Value::Object(inputs)) = fetch(&requested.inputs, &blobs) else {
        return Err(unreadable("its inputs are gone".to_owned()));
    };
    let graph = Arc::new(Graph::of(runbook));
    let mut run = Run::new(id, graph, Arc::new(files), inputs, (**requested).clone(), *time);
    for fact in &facts {
        run.apply(&fact.event, fact.time, &blobs);
        run.last_seq = Some(fact.seq);
    }
    Ok(Loaded { run, facts })
}

/// The facts of a run after entry `after`.
pub(super) fn facts_after(
    reader: &Reader,
    id: RunId,
    after: Option<u64>,
) -> Result<Vec<Fact>, EngineError> {
    let mut facts = Vec::new();
    for entry in reader.entries_of(id, after)? {
        let unreadable = |why: &dyn std::fmt::Display| EngineError::Unreadable {
            run: id,
            why: format!("entry {}: {why}", entry.seq),
        };
        let event = entry.event().map_err(|why| unreadable(&why))?;
        let time = entry.parse().map_err(|why| unreadable(&why))?.time;
        facts.push(Fact { seq: entry.seq, time, event });
    }
    Ok(facts)
}

/// A blob's beginning, at most [`BLOB_READ_MAX`] bytes; `None` if it is gone.
pub(super) fn read_blob(reader: &Reader, digest: &Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.blob(digest).ok()??.take(BLOB_READ_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The state of a run as it is told, of one that was left in `state`. What a dead owner left under
/// way is `suspended`: nothing of it moves, and a person may resume it. A run that waits for a
/// person needs no owner.
#[must_use]
pub fn told_state(state: RunState, owner: &Owner) -> RunState {
    let needs_owner = matches!(state, RunState::Running | RunState::Queued);
    if needs_owner && !owner::is_alive(owner) { RunState::Suspended } else { state }
}

/// "A run, as JSON" (spec 4), its state as [`told_state`] has it.
///
/// # Errors
///
/// As [`load`].
pub fn show(reader: &Reader, id: RunId) -> Result<Value, EngineError> {
    show_loaded(reader, &load(reader, id)?, &|_| true)
}

/// [`show`] of a run that is read back already, with those of its steps that `is_wanted`.
///
/// # Errors
///
/// As [`load`].
pub fn show_loaded(
    reader: &Reader,
    loaded: &Loaded,
    is_wanted: &dyn Fn(&StepEnd) -> bool,
) -> Result<Value, EngineError> {
    let id = loaded.run.id;
    let row = reader.run_row(id)?.ok_or_else(|| EngineError::UnknownRun(id.to_string()))?;
    let log = log_head(&row);
    let blobs = |digest: &Digest| read_blob(reader, digest);
    let mut shown = view(&loaded.run, &loaded.facts, log.as_ref(), &blobs, is_wanted);
    let is_over = loaded.run.state() == RunState::Finished;
    if let (false, Some(map)) = (is_over, shown.as_object_mut()) {
        let is_alive = owner::is_alive(&loaded.run.owner);
        map.insert(
            "owner".to_owned(),
            serde_json::json!({
                "pid": loaded.run.owner.pid,
                "host": loaded.run.owner.host,
                "is_alive": is_alive,
            }),
        );
        let told = told_state(loaded.run.state(), &loaded.run.owner);
        map.insert("state".to_owned(), serde_json::json!(told));
    }
    Ok(shown)
}

fn log_head(row: &RunRow) -> Option<LogHead> {
    row.log.as_ref().map(|log| LogHead {
        first_seq: row.first_seq,
        last_seq: row.last_seq,
        size: log.0,
        root: base64::engine::general_purpose::STANDARD.encode(log.1),
    })
}

/// The end of a run that is over, as in [`show`] but without its steps: read entry by entry, so
/// that the last word on a long run costs no more memory than the run did.
///
/// # Errors
///
/// As [`load`].
pub fn show_end(reader: &Reader, row: &RunRow) -> Result<Value, EngineError> {
    let mut measures = serde_json::Map::new();
    let mut end = None;
    for entry in reader.entries_of(row.id, None)? {
        let unreadable = |why: &dyn std::fmt::Display| EngineError::Unreadable {
            run: row.id,
            why: format!("entry {}: {why}", entry.seq),
        };
        match entry.event().map_err(|why| unreadable(&why))? {
            Event::StepFinished(step) => {
                let numbers = step.measures.into_iter();
                measures.extend(numbers.map(|(name, value)| (name, serde_json::json!(value))));
            }
            Event::RunFinished(finished) => end = Some(finished),
            _ => {}
        }
    }
    let since = row.started_at.unwrap_or(row.created_at);
    let took = row.finished_at.map(|at| at.since(since).as_secs_f64());
    Ok(serde_json::json!({
        "id": row.id,
        "runbook": {
            "name": row.runbook,
            "version": row.version,
            "kind": row.kind,
            "title": row.title,
        },
        "state": row.state,
        "outcome": row.outcome,
        "verdict": row.verdict,
        "duration_seconds": took,
        "message": end.as_ref().and_then(|end| end.message.clone()),
        "outputs": end.map(|end| end.outputs),
        "measures": measures,
        "log": log_head(row),
    }))
}
