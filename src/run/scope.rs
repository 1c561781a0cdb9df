//! What a step's templates and expressions see: only what they mention is put together, so that a
//! run of a thousand steps stays linear.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::event::StepFinished;
use super::graph::{Node, NodeIx};
use super::state::{Blobs, Run, StepState, fetch};
use crate::limits::EXPRESSION_OUTPUT_BYTES_MAX;
use crate::runbook::model::Parse;
use crate::runbook::resolve::mentioned;
use crate::runbook::scope::Scope;
use crate::time::Timestamp;

impl Run {
    /// The scope in which the step `ix` is evaluated.
    #[must_use]
    pub fn scope_of(&self, ix: NodeIx) -> Scope {
        let step = self.graph.step(ix);
        let mut scope = self.scope_for(&mentioned(step));
        scope.absent_ok = self.graph.is_in_finally(ix);
        scope
    }

    /// A scope that holds what `names` mention.
    #[must_use]
    pub fn scope_for(&self, names: &BTreeSet<Vec<String>>) -> Scope {
        let mut roots = Map::new();
        for name in names {
            match name.as_slice() {
                [first] if first == "steps" => {
                    roots.insert("steps".to_owned(), self.all_steps());
                    break;
                }
                [first, id, ..] if first == "steps" => {
                    let steps = roots.entry("steps").or_insert_with(|| json!({}));
                    if let (Some(steps), Some(ix)) = (steps.as_object_mut(), self.graph.find(id)) {
                        steps.entry(id.as_str()).or_insert_with(|| self.value_of(ix));
                    }
                }
                [first, ..] if !roots.contains_key(first.as_str()) => {
                    if let Some(value) = self.root(first) {
                        roots.insert(first.clone(), value);
                    }
                }
                _ => {}
            }
        }
        Scope { roots, absent_ok: false }
    }

    fn root(&self, name: &str) -> Option<Value> {
        match name {
            "inputs" => Some(Value::Object((*self.inputs).clone())),
            "run" => Some(self.run_facts()),
            "runbook" => Some(self.runbook_facts()),
            "target" => Some(json!({ "name": "local", "address": "localhost", "labels": {} })),
            // The id of a `set` stands for its values.
            _ => self.graph.find(name).map(|ix| self.value_of(ix)),
        }
    }

    fn run_facts(&self) -> Value {
        let mut facts = json!({
            "id": self.id,
            "requester": self.requested.requester.principal,
            "trigger": self.requested.trigger,
            "verdict": self.verdict(),
            "outcome": self.outcome_so_far(),
            "targets": self.target_summary(),
        });
        let map = facts.as_object_mut().expect("built as an object");
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        put("reason", self.requested.reason.clone().map(Value::String));
        put("ticket", self.requested.ticket.clone().map(Value::String));
        put("started_at", self.started_at.map(|at| json!(at)));
        put("error", self.first_problem().map(Value::String));
        facts
    }

    fn runbook_facts(&self) -> Value {
        let runbook = &self.graph.runbook;
        let mut facts = json!({
            "name": runbook.name,
            "version": runbook.version.to_string(),
            "digest": runbook.digest,
            "kind": runbook.kind,
            "title": runbook.title,
            "labels": runbook.labels,
        });
        if let (Some(owner), Some(map)) = (&runbook.owner, facts.as_object_mut()) {
            map.insert("owner".to_owned(), json!(owner));
        }
        facts
    }

    /// `run.targets`: `[{ name, verdict, problems: [{ step, text }] }]` (spec 1).
    fn target_summary(&self) -> Value {
        let mut problems = Vec::new();
        for (ix, state) in self.steps.iter().enumerate() {
            if let Some(end) = state.end()
                && (end.status.is_failure() || end.verdict != crate::outcome::Verdict::Ok)
            {
                let step = self.graph.step(NodeIx(ix));
                let text = end.message.clone().unwrap_or_else(|| format!("{:?}", end.status));
                problems.push(json!({ "step": step.id, "text": text }));
            }
        }
        json!([{ "name": "local", "verdict": self.verdict(), "problems": problems }])
    }

    fn all_steps(&self) -> Value {
        let all = (0..self.graph.nodes.len()).map(NodeIx);
        all.map(|ix| (self.graph.step(ix).id.clone(), self.value_of(ix))).collect()
    }

    /// A step that did not run has all its fields, undefined: an empty object.
    fn value_of(&self, ix: NodeIx) -> Value {
        match self.state_of(ix) {
            StepState::Settled(end) | StepState::Held { end } => (*end.value).clone(),
            _ => json!({}),
        }
    }
}

/// What `steps.<id>` of a step that ended so is, for the steps after it.
#[must_use]
pub fn visible(
    node: &Node,
    finished: &StepFinished,
    first_started_at: Timestamp,
    at: Timestamp,
    blobs: &Blobs<'_>,
) -> Value {
    let mut value = Map::new();
    for (name, output) in &finished.outputs {
        value.insert(name.clone(), output.clone());
    }
    for (name, field) in &finished.result {
        value.insert(name.clone(), field.clone());
    }
    for (name, stored) in &finished.large {
        if node.is_read(name)
            && let Some(field) = fetch(stored, blobs)
        {
            value.insert(name.clone(), field);
        }
    }
    let text_of = |output: &Option<super::event::Output>| -> Option<String> {
        match output {
            None => Some(String::new()),
            Some(output) if output.truncated || output.bytes > EXPRESSION_OUTPUT_BYTES_MAX => None,
            Some(output) => Some(String::from_utf8_lossy(&blobs(&output.blob?)?).into_owned()),
        }
    };
    let is_process = finished.result.contains_key("exit_code");
    if is_process
        && node.is_read("stderr")
        && let Some(text) = text_of(&finished.stderr)
    {
        value.insert("stderr".to_owned(), Value::String(text));
    }
    if is_process
        && (node.is_read("stdout") || node.is_read("value"))
        && let Some(text) = text_of(&finished.stdout)
    {
        if matches!(node.step.parse, None | Some(Parse::Text)) {
            value.insert("value".to_owned(), Value::String(without_newline(&text).to_owned()));
        }
        value.insert("stdout".to_owned(), Value::String(text));
    }
    value.insert("outputs".to_owned(), Value::Object(finished.outputs.clone()));
    value.insert("status".to_owned(), json!(finished.status));
    value.insert("verdict".to_owned(), json!(finished.verdict));
    value.insert("changed".to_owned(), json!(finished.changed));
    value.insert("attempts".to_owned(), json!(finished.attempt));
    value.insert("started_at".to_owned(), json!(first_started_at));
    value.insert("finished_at".to_owned(), json!(at));
    value.insert("duration_seconds".to_owned(), json!(at.since(first_started_at).as_secs_f64()));
    if let Some(error) = &finished.error {
        value.insert("error".to_owned(), json!(error));
    }
    Value::Object(value)
}

/// `parse: text` drops one final newline (spec 1).
#[must_use]
pub fn without_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}
