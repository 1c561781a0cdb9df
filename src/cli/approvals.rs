//! `approvals`: the manual steps that runs wait for.

use serde_json::{Map, Value, json};

use super::args::{Approvals, Confirm, Global};
use super::drive::{Motor, exit_of};
use super::exit::{Exit, Failure};
use super::report::{Out, indent, visible, visible_text};
use super::run::{Wishes, tell_end, to_end};
use super::summary::{moment, text};
use super::{history, inputs, state};
use crate::engine::load;
use crate::run::event::{Event, RunState};
use crate::run::graph::NodeIx;
use crate::store::{Reader, RunFilter, RunRow};

/// `approvals …`.
///
/// # Errors
///
/// Whatever kept the command from doing what was asked.
pub(super) fn approvals(command: &Approvals, global: &Global, out: Out) -> Result<Exit, Failure> {
    match command {
        Approvals::List => list(global, out),
        Approvals::Confirm(args) => confirm(args, global, out),
    }
}

fn list(global: &Global, out: Out) -> Result<Exit, Failure> {
    let mut waiting = Vec::new();
    if let Some(reader) = history::open(global)? {
        let states = vec![RunState::WaitingApproval, RunState::Running, RunState::Suspended];
        for row in reader.runs(&RunFilter { states, ..RunFilter::default() })?.rows {
            waiting.extend(of_run(&reader, &row)?);
        }
    }
    if out.is_json() {
        out.json(&Value::Array(waiting))?;
    } else if waiting.is_empty() {
        out.say("nothing waits");
    } else {
        out.result(&waiting.iter().map(shown).collect::<String>())?;
    }
    Ok(Exit::Ok)
}

/// The manual steps that a run waits for.
fn of_run(reader: &Reader, row: &RunRow) -> Result<Vec<Value>, Failure> {
    let loaded = load(reader, row.id)?;
    let mut waiting = Vec::new();
    for ix in (0..loaded.run.graph.nodes.len()).map(NodeIx) {
        let step = loaded.run.graph.step(ix);
        if !loaded.run.is_manual(ix) || !loaded.run.state_of(ix).is_active() {
            continue;
        }
        let started = loaded.facts.iter().rev().find_map(|fact| match &fact.event {
            Event::StepStarted { step: id, spec, .. } if *id == step.id => Some((fact.time, spec)),
            _ => None,
        });
        let Some((since, spec)) = started else { continue };
        let blobs = |digest: &crate::id::Digest| {
            let mut bytes = Vec::new();
            let mut from = reader.blob(digest).ok()??;
            std::io::Read::read_to_end(&mut from, &mut bytes).ok()?;
            Some(bytes)
        };
        let spec = crate::run::state::fetch(spec, &blobs).unwrap_or_default();
        let manual = find_object(&spec, "instructions").cloned().unwrap_or_default();
        waiting.push(json!({
            "id": format!("{}/{}", row.id, step.id),
            "run": row.id,
            "step": step.id,
            "kind": "manual",
            "state": "pending",
            "title": step.title,
            "runbook": { "name": row.runbook, "version": row.version },
            "requester": row.requester,
            "since": since,
            "instructions": manual.get("instructions"),
            "ask": manual.get("ask").cloned().unwrap_or_else(|| json!([])),
        }));
    }
    Ok(waiting)
}

/// The object that has `key`, however deep it stands.
fn find_object<'a>(value: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    let map = value.as_object()?;
    match map.contains_key(key) {
        true => Some(map),
        false => map.values().find_map(|value| find_object(value, key)),
    }
}

fn shown(one: &Value) -> String {
    let mut shown = format!(
        "{}\n  {} of {} {}, since {}, for {}\n",
        visible(text(one, "id")),
        visible(text(one, "title")),
        visible(text(&one["runbook"], "name")),
        visible(text(&one["runbook"], "version")),
        moment(text(one, "since")),
        visible(text(one, "requester")),
    );
    shown.push_str(&indent(&visible_text(text(one, "instructions")), "  | "));
    let mut command = format!("runwarden approvals confirm {}", visible(text(one, "id")));
    for name in one["ask"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        command.push_str(&format!(" --answer {}=…", visible(name)));
    }
    shown.push_str(&format!("  to confirm it: {command}\n"));
    shown
}

fn confirm(args: &Confirm, global: &Global, out: Out) -> Result<Exit, Failure> {
    let Some((run, step)) = args.id.split_once('/').filter(|(_, step)| !step.is_empty()) else {
        return Err(Failure::request(format!("`{}` is no RUN/STEP", args.id))
            .hint("`runwarden approvals list` shows what waits, with its id"));
    };
    let answers = inputs::answers(&args.answers)?;
    let id = history::find(&history::need(global)?, run)?;
    let mut motor = Motor::open(&state::folder(global)?, out)?;
    let (by, note) = (state::principal(), args.note.clone());
    let step = step.to_owned();
    let confirmed = motor.begin(async |engine| engine.confirm(id, step, by, note, answers).await);
    let Some(begun) = confirmed? else {
        out.say(&format!("confirmed; its process goes on: runwarden runs watch {id}"));
        return Ok(Exit::Ok);
    };
    let wishes = Wishes { waits: !args.no_wait, can_ask: out.can_ask, is_nagios: false };
    let (ended, _) = to_end(&mut motor, begun, &wishes, out)?;
    tell_end(&ended, id, out);
    Ok(exit_of(&ended, false))
}
