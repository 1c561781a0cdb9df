//! Goal: every pair of (state, incoming fact) is a decision, not an accident.
//! Method: one run in each state, every input on each; the whole table is compared with
//! `tests/cases/table`. `UPDATE=1` rewrites it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runwarden::id::{Digest, Epoch, Owner, RunId};
use runwarden::outcome::{End, Outcome};
use runwarden::run::event::{Requester, ResumeAction, RunRequested, RunbookRef, Stored};
use runwarden::run::graph::Graph;
use runwarden::run::judge::Report;
use runwarden::run::{Input, Run};
use runwarden::runbook::{Options, check};
use runwarden::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::world::START;

const RUNBOOK: &str = r#"
runwarden: 1
runbook: table
version: 1.0.0
kind: task
title: One step of each sort
timeout: 1h
steps:
  - id: first
    command: [first]
    rollback: { id: undo, command: [undo] }
    retry: { attempts: 2, backoff: 10s }
    idempotent: true
    on_interrupt: suspend
  - id: by_hand
    manual: { instructions: press the button, ask: { level: integer } }
  - id: held
    command: [second]
    on_failure: suspend
  - id: group
    block: [{ id: inner, command: [inner] }]
finally:
  - id: bye
    command: [bye]
"#;

fn owner() -> Owner {
    Owner { pid: 1, start: 1, boot: "b".to_owned(), host: "h".to_owned() }
}

/// A run of `text` that has not begun.
pub fn run_of(text: &str) -> Run {
    let checked = check(text.as_bytes(), &Options::default());
    let runbook = checked.runbook.unwrap_or_else(|| panic!("{:?}", checked.problems));
    let requested = RunRequested {
        runbook: RunbookRef {
            name: runbook.name.clone(),
            version: runbook.version.to_string(),
            digest: runbook.digest,
            kind: runbook.kind,
            title: runbook.title.clone(),
            path: None,
        },
        source: Stored::Inline { inline: json!(text) },
        files: BTreeMap::new(),
        inputs: Stored::Inline { inline: json!({}) },
        requester: Requester { principal: "maya".to_owned(), method: "unix".to_owned() },
        trigger: Map::new(),
        reason: None,
        ticket: None,
        owner: owner(),
        epoch: Epoch(1),
    };
    let id: RunId = "01890000-0000-7000-8000-000000000000".parse().expect("an id");
    let graph = Arc::new(Graph::of(runbook));
    Run::new(id, graph, Arc::new(BTreeMap::new()), Map::new(), requested, START)
}

pub fn begin() -> Input {
    Input::Begin {
        plan_digest: Digest::of(b"plan"),
        plan: b"plan".to_vec(),
        targets: vec!["local".to_owned()],
    }
}

pub fn ended(run: &Run, step: &str, attempt: u32, end: End, exit: i64) -> Input {
    let mut outcome = Outcome { end, ..Outcome::default() };
    outcome.fields.insert("exit_code".to_owned(), json!(exit));
    Input::AttemptEnded {
        node: run.graph.find(step).expect("the step is there"),
        attempt,
        report: Box::new(Report { outcome, ..Report::default() }),
        was_done: false,
        duration: Duration::from_millis(5),
    }
}

fn confirm(step: &str, answers: Value) -> Input {
    Input::Confirm {
        step: step.to_owned(),
        by: "dana".to_owned(),
        note: None,
        answers: answers.as_object().cloned().unwrap_or_default(),
    }
}

fn resume(action: ResumeAction, step: Option<&str>) -> Input {
    Input::Resume { action, step: step.map(str::to_owned), by: "dana".to_owned(), comment: None }
}

fn take_over(epoch: u64, holds: bool) -> Input {
    Input::TakeOver { epoch: Epoch(epoch), owner: owner(), ended: Vec::new(), holds }
}

fn cancel() -> Input {
    Input::Cancel { by: "dana".to_owned(), via: "cli".to_owned(), comment: None }
}

/// A run in each state, by name.
fn states() -> Vec<(&'static str, Run, Timestamp)> {
    let at = |seconds: u64| START.after(Duration::from_secs(seconds));
    let mut states = Vec::new();
    let mut run = run_of(RUNBOOK);
    states.push(("asked for", run.clone(), at(0)));
    run.advance(begin(), at(1)).expect("it begins");
    states.push(("first under way", run.clone(), at(2)));
    let mut pausing = run.clone();
    let failed = ended(&pausing, "first", 1, End::Completed, 1);
    pausing.advance(failed.clone(), at(3)).expect("it fails");
    states.push(("first between attempts", pausing.clone(), at(4)));
    let mut undoing = pausing;
    undoing.advance(Input::Tick, at(13)).expect("it tries again");
    let failed = ended(&undoing, "first", 2, End::Completed, 1);
    undoing.advance(failed, at(14)).expect("it fails");
    states.push(("rollback under way", undoing.clone(), at(15)));
    let mut stuck = undoing.clone();
    let failed = ended(&stuck, "undo", 1, End::Completed, 1);
    stuck.advance(failed, at(16)).expect("the undoing fails");
    states.push(("rollback held", stuck, at(17)));
    let mut leaving = undoing;
    let done = ended(&leaving, "undo", 1, End::Completed, 0);
    leaving.advance(done, at(16)).expect("it is undone");
    states.push(("finally under way", leaving.clone(), at(17)));
    let done = ended(&leaving, "bye", 1, End::Completed, 0);
    leaving.advance(done, at(18)).expect("it ends");
    states.push(("finished", leaving, at(19)));
    let mut cancelled = run.clone();
    cancelled.advance(cancel(), at(3)).expect("it can be cancelled");
    states.push(("cancel asked for", cancelled, at(4)));
    let mut lost = run.clone();
    let interrupted = ended(&lost, "first", 1, End::Interrupted, 0);
    lost.advance(interrupted, at(3)).expect("it is interrupted");
    states.push(("first held, end unknown", lost, at(4)));
    let done = ended(&run, "first", 1, End::Completed, 0);
    run.advance(done, at(5)).expect("it goes on");
    states.push(("by_hand waits", run.clone(), at(6)));
    run.advance(confirm("by_hand", json!({ "level": 3 })), at(7)).expect("it is confirmed");
    let mut held = run.clone();
    let failed = ended(&held, "held", 1, End::Completed, 1);
    held.advance(failed, at(8)).expect("it fails");
    states.push(("held failed, a person decides", held, at(9)));
    let done = ended(&run, "held", 1, End::Completed, 0);
    run.advance(done, at(8)).expect("it goes on");
    states.push(("inner of group under way", run, at(9)));
    states
}

fn inputs(run: &Run) -> Vec<(String, Input)> {
    let mut inputs = vec![("begin".to_owned(), begin())];
    for step in ["first", "by_hand", "held", "group", "inner", "undo", "bye"] {
        inputs.push((format!("{step} 1 ended"), ended(run, step, 1, End::Completed, 0)));
    }
    inputs.push(("first 1 failed".to_owned(), ended(run, "first", 1, End::Completed, 1)));
    inputs.push(("first 1 lost".to_owned(), ended(run, "first", 1, End::Interrupted, 0)));
    inputs.push(("first 2 ended".to_owned(), ended(run, "first", 2, End::Completed, 0)));
    inputs.push(("cancel".to_owned(), cancel()));
    inputs.push(("abandon".to_owned(), Input::Abandon { by: "dana".to_owned() }));
    inputs.push(("tick".to_owned(), Input::Tick));
    inputs.push(("continue".to_owned(), resume(ResumeAction::Continue, None)));
    inputs.push(("retry".to_owned(), resume(ResumeAction::Retry, None)));
    inputs.push(("retry first".to_owned(), resume(ResumeAction::Retry, Some("first"))));
    inputs.push(("skip".to_owned(), resume(ResumeAction::Skip, None)));
    inputs.push(("skip nobody".to_owned(), resume(ResumeAction::Skip, Some("nobody"))));
    inputs.push(("stop".to_owned(), resume(ResumeAction::Stop, None)));
    inputs.push(("confirm".to_owned(), confirm("by_hand", json!({ "level": "3" }))));
    inputs.push(("confirm badly".to_owned(), confirm("by_hand", json!({ "level": "much" }))));
    inputs.push(("confirm nobody".to_owned(), confirm("nobody", json!({}))));
    inputs.push(("take over".to_owned(), take_over(2, false)));
    inputs.push(("take over, hold".to_owned(), take_over(2, true)));
    inputs.push(("take over, stale".to_owned(), take_over(1, false)));
    inputs
}

#[test]
fn every_pair_of_state_and_input_is_decided() {
    let mut table = String::new();
    for (name, run, at) in states() {
        writeln!(table, "{name} ({:?}, {:?})", run.phase, run.state()).unwrap();
        for (what, input) in inputs(&run) {
            let mut copy = run.clone();
            let decided = match copy.advance(input, at) {
                Err(rejected) => format!("rejected: {rejected}"),
                Ok(advance) => {
                    let mut words: Vec<String> = advance
                        .events
                        .iter()
                        .map(|event| {
                            let line = crate::world::line(at, event);
                            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
                        })
                        .collect();
                    words.extend(
                        advance.start.iter().map(|start| format!("START {}", start.step.id)),
                    );
                    let ended = advance.cancel.iter().map(|node| &run.graph.step(*node).id);
                    words.extend(ended.map(|id| format!("END {id}")));
                    if words.is_empty() { "nothing".to_owned() } else { words.join("\n    ") }
                }
            };
            writeln!(table, "  {what} → {decided}").unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/table");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &table).expect("the table is written");
    }
    let want = std::fs::read_to_string(&path).expect("the table is there");
    assert!(table == want, "the table differs; read it, then UPDATE=1\n{table}");
}
