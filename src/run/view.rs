//! "A run, as JSON" (spec 4): the same value for the API, `run -o json` and `runs show -o json`.
//! Made from the run's entries alone; fields are added, never renamed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::event::{Event, Output, RunFinished, Status, StepFinished};
use super::graph::{ListKind, NodeIx};
use super::scope::without_newline;
use super::state::{Blobs, Run, StepEnd, fetch};
use crate::limits::SHOWN_OUTPUT_BYTES_MAX;
use crate::outcome::Verdict;
use crate::runbook::model::Parse;
use crate::time::Timestamp;

/// Where the log stood when the run ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LogHead {
    /// First entry of the run.
    pub first_seq: u64,
    /// Last entry of the run.
    pub last_seq: u64,
    /// Size of the log at the commit that holds `run.finished`.
    pub size: u64,
    /// Its root, base64.
    pub root: String,
}

/// One entry of a run.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Its place in the log.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
    /// What.
    pub event: Event,
}

#[derive(Default)]
struct Shown<'a> {
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    attempts: u32,
    finished: Option<&'a StepFinished>,
    /// The attempt that its last end promised will not come.
    is_given_up: bool,
    skipped: Option<&'a str>,
}

/// The view of `run`, whose facts are `facts`. `blobs` finds bytes by digest. Steps that are over
/// are shown if `is_wanted` says so.
#[must_use]
pub fn view(
    run: &Run,
    facts: &[Fact],
    log: Option<&LogHead>,
    blobs: &Blobs<'_>,
    is_wanted: &dyn Fn(&StepEnd) -> bool,
) -> Value {
    let mut shown: BTreeMap<NodeIx, Shown<'_>> = BTreeMap::new();
    let mut finished: Option<(Timestamp, &RunFinished)> = None;
    for fact in facts {
        match &fact.event {
            Event::StepStarted { step, attempt, .. } => {
                let Some(ix) = run.graph.find(step) else { continue };
                let step = shown.entry(ix).or_default();
                step.started_at.get_or_insert(fact.time);
                step.attempts = *attempt;
                step.finished = None;
            }
            Event::StepFinished(end) => {
                let Some(ix) = run.graph.find(&end.step) else { continue };
                let step = shown.entry(ix).or_default();
                step.finished_at = Some(fact.time);
                step.finished = Some(end);
            }
            Event::StepGivenUp { step } => {
                let Some(ix) = run.graph.find(step) else { continue };
                shown.entry(ix).or_default().is_given_up = true;
            }
            Event::StepSkipped { step, reason } => {
                let Some(ix) = run.graph.find(step) else { continue };
                let step = shown.entry(ix).or_default();
                step.finished_at = Some(fact.time);
                step.skipped = Some(reason);
            }
            Event::RunFinished(end) => finished = Some((fact.time, end)),
            _ => {}
        }
    }
    let is_over = finished.is_some();
    let mut measures = Map::new();
    let mut steps = Vec::new();
    for ix in (0..run.graph.nodes.len()).map(NodeIx) {
        let step = shown.remove(&ix).unwrap_or_default();
        let has_run = step.attempts > 0 || step.skipped.is_some();
        if !has_run && is_extra(run, ix) {
            continue;
        }
        if let Some(end) = step.finished {
            measures.extend(end.measures.iter().map(|(name, value)| (name.clone(), json!(value))));
        }
        if run.state_of(ix).end().is_none_or(is_wanted) {
            steps.push(step_view(run, ix, &step, is_over, blobs));
        }
    }
    let request = &run.requested;
    let mut runbook = json!({
        "name": request.runbook.name,
        "version": request.runbook.version,
        "digest": request.runbook.digest,
        "kind": request.runbook.kind,
        "title": request.runbook.title,
    });
    if let (Some(path), Some(runbook)) = (&request.runbook.path, runbook.as_object_mut()) {
        runbook.insert("path".to_owned(), json!(path));
    }
    let end = finished.map(|(_, end)| end);
    let since = run.started_at.unwrap_or(run.created_at);
    json!({
        "id": run.id,
        "runbook": runbook,
        "state": run.state(),
        "outcome": end.map(|end| end.outcome),
        "verdict": end.map(|end| end.verdict),
        "requester": request.requester,
        "trigger": request.trigger,
        "reason": request.reason,
        "ticket": request.ticket,
        "inputs": *run.inputs,
        "plan_digest": run.plan_digest,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": finished.map(|(at, _)| at),
        "duration_seconds": finished.map(|(at, _)| at.since(since).as_secs_f64()),
        "message": end.and_then(|end| end.message.clone()),
        "targets": ["local"],
        "steps": steps,
        "gates": [],
        "outputs": end.map_or_else(|| json!({}), |end| Value::Object(end.outputs.clone())),
        "measures": measures,
        "left_to_undo": end.map_or_else(Vec::new, |end| end.left_to_undo.clone()),
        "log": log,
    })
}

/// Steps that most runs never reach: shown only when they ran.
fn is_extra(run: &Run, ix: NodeIx) -> bool {
    let mut at = Some(ix);
    while let Some(here) = at {
        match run.graph.list(run.graph.node(here).list).kind {
            ListKind::Rescue(_) | ListKind::Rollback(_) => return true,
            _ => at = run.graph.holder(here),
        }
    }
    false
}

fn step_view(run: &Run, ix: NodeIx, shown: &Shown<'_>, is_over: bool, blobs: &Blobs<'_>) -> Value {
    let step = run.graph.step(ix);
    let is_last = |end: &&StepFinished| end.next_attempt_at.is_none() || shown.is_given_up;
    let last = shown.finished.filter(is_last);
    let status = match (last, shown.skipped) {
        (Some(end), None) => Some(end.status),
        (_, Some(_)) => Some(Status::Skipped),
        (None, None) if is_over => Some(Status::Skipped),
        (None, None) => None,
    };
    let is_over = status.is_some();
    let duration = match (last, shown.started_at, shown.finished_at) {
        (Some(end), ..) if end.attempt <= 1 && end.duration_seconds > 0.0 => {
            Some(end.duration_seconds)
        }
        (Some(_), Some(from), Some(to)) => Some(to.since(from).as_secs_f64()),
        _ => None,
    };
    let verdict = match (last, status) {
        (Some(end), _) => Some(end.verdict),
        (None, Some(_)) if shown.skipped == Some("person") => Some(Verdict::Warning),
        (None, Some(_)) => Some(Verdict::Ok),
        (None, None) => None,
    };
    let mut view = json!({
        "id": step.id,
        "title": step.title,
        "action": step.action.name(),
        "effect": step.effect,
        "target": null,
        "item": null,
        "status": status,
        "verdict": verdict,
        "changed": last.is_some_and(|end| end.changed),
        "attempts": shown.attempts,
        "started_at": shown.started_at,
        "finished_at": if is_over { shown.finished_at } else { None },
        "duration_seconds": duration,
        "result": last.map(|end| result_view(run, ix, end, blobs)),
        "error": last.and_then(|end| end.error.clone()),
        "note": last.and_then(|end| end.note.clone()),
    });
    let map = view.as_object_mut().expect("built as an object");
    if let Some(reason) = shown.skipped {
        map.insert("skip_reason".to_owned(), json!(reason));
    }
    if let Some(end) = last.filter(|end| !end.left.is_empty()) {
        map.insert("left".to_owned(), json!(end.left));
    }
    view
}

/// The step's own fields, with outputs as text.
fn result_view(run: &Run, ix: NodeIx, end: &StepFinished, blobs: &Blobs<'_>) -> Value {
    let mut result = end.result.clone();
    for (name, stored) in &end.large {
        let value = fetch(stored, blobs).unwrap_or_else(|| json!(stored));
        result.insert(name.clone(), value);
    }
    if end.result.contains_key("exit_code") {
        let stdout = shown_text(end.stdout.as_ref(), blobs);
        if let (Some(text), None | Some(Parse::Text)) = (&stdout, &run.graph.step(ix).parse)
            && end.stdout.as_ref().is_none_or(|output| output.bytes <= SHOWN_OUTPUT_BYTES_MAX)
        {
            result.insert("value".to_owned(), json!(without_newline(text)));
        }
        result.insert("stdout".to_owned(), json!(stdout));
        result.insert("stderr".to_owned(), json!(shown_text(end.stderr.as_ref(), blobs)));
        let bytes = end.stdout.as_ref().map_or(0, |output| output.bytes);
        result.insert("stdout_bytes".to_owned(), json!(bytes));
        let is_cut = end
            .stdout
            .as_ref()
            .is_some_and(|output| output.truncated || output.bytes > SHOWN_OUTPUT_BYTES_MAX);
        result.insert("stdout_truncated".to_owned(), json!(is_cut));
    }
    if !end.outputs.is_empty() {
        result.insert("outputs".to_owned(), Value::Object(end.outputs.clone()));
    }
    if !end.measures.is_empty() {
        result.insert("measures".to_owned(), json!(end.measures));
    }
    Value::Object(result)
}

/// At most `SHOWN_OUTPUT_BYTES_MAX` of an output; `None` where it was not kept or was pruned.
fn shown_text(output: Option<&Output>, blobs: &Blobs<'_>) -> Option<String> {
    let Some(output) = output else { return Some(String::new()) };
    let mut bytes = blobs(&output.blob?)?;
    bytes.truncate(usize::try_from(SHOWN_OUTPUT_BYTES_MAX).unwrap_or(usize::MAX));
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
