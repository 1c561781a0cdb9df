//! `run`, and what it shares with the commands that drive a run on.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::{Global, Run};
use super::drive::{Motor, exit_of};
use super::exit::{Exit, Failure};
use super::manual::Questions;
use super::progress::{Progress, Titles};
use super::report::{Out, Paint, visible};
use super::{history, inputs, nagios, source, state};
use crate::engine::{Begun, Ended, Prepared, Request};
use crate::id::RunId;
use crate::plan::describe;
use crate::run::event::Requester;
use crate::runbook::model::{Action, Effect, Kind, Runbook, Step};
use crate::store::{Reader, RunFilter};

/// `run`.
///
/// # Errors
///
/// Whatever kept it from running or from being recorded.
pub(super) fn run(args: &Run, global: &Global, out: Out) -> Result<Exit, Failure> {
    if let Some(target) = args.target.as_deref().filter(|target| *target != "local") {
        return Err(Failure::request(format!("no target `{target}`"))
            .hint("this version runs on this machine only: `--target local`, or no `--target`"));
    }
    let given = inputs::given(&args.inputs)?;
    let prepared = source::prepared(&args.runbook, &given, source::For::Run, out)?;
    let folder = state::folder(global)?;
    let mut motor = Motor::open(&folder, out)?;
    motor.settle(out)?;
    check_pin(&motor.engine.store.reader()?, &prepared.runbook, args.pinned, out)?;
    let can_ask = out.can_ask;
    if can_ask && !args.yes && !may_change(&prepared, out)? {
        out.say("nothing was started");
        return Ok(Exit::Cancelled);
    }
    let trigger = json!({ "kind": "cli" });
    let request = Request {
        requester: Requester { principal: state::principal(), method: "unix".to_owned() },
        trigger: trigger.as_object().cloned().unwrap_or_default(),
        reason: args.reason.clone(),
        ticket: args.ticket.clone(),
    };
    let begun = motor.begin(async |engine| engine.submit(&prepared, request).await)?;
    // The run holds what it needs; the rest would stay in memory as long as it lasts.
    drop(prepared);
    let id = begun.id;
    let wishes = Wishes { waits: !args.no_wait, can_ask, is_nagios: args.nagios };
    let (ended, shown) = to_end(&mut motor, begun, &wishes, out)?;
    if args.nagios {
        let (line, code) = nagios::report(&shown);
        out.result(&format!("{line}\n"))?;
        return Ok(Exit::plugin(code));
    }
    tell_end(&ended, id, out);
    Ok(exit_of(&ended, args.strict))
}

/// How a run is driven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wishes {
    /// Whether to stay while the run waits for a person.
    pub(super) waits: bool,
    /// Whether there is a person at the terminal.
    pub(super) can_ask: bool,
    /// Whether the result is for a monitoring system, and printed by the caller.
    pub(super) is_nagios: bool,
}

/// Drives a run and prints its result; returns how it ended and, where the caller prints the
/// result, the run as JSON.
///
/// # Errors
///
/// What kept it from being driven or recorded.
pub(super) fn to_end(
    motor: &mut Motor,
    begun: Begun,
    wishes: &Wishes,
    out: Out,
) -> Result<(Ended, Value), Failure> {
    let id = begun.id;
    let reader = motor.engine.store.reader()?;
    let (titles, kind, name) = {
        let runbook = begun.runbook();
        let name = format!("{} {}", visible(&runbook.name), runbook.version);
        (titles(runbook), runbook.kind, name)
    };
    out.say(&format!("run {id} of {name}"));
    let is_reported = kind == Kind::HealthCheck && !out.is_json();
    let progress = Progress::new(out, titles, is_reported);
    let by = state::principal();
    let questions = Questions::new(id, by, out, wishes.can_ask, wishes.waits);
    let ended = motor.drive(begun, wishes.waits, progress, questions).map_err(|err| {
        Failure::from(err).hint(format!("what happened so far: runwarden runs show {id}"))
    })?;
    if wishes.is_nagios {
        return Ok((ended, history::shown(&reader, id)?));
    }
    // The run ended as it did, whether or not somebody could be told.
    if let Err(failure) = history::print_brief(&reader, id, out) {
        out.fail(&failure);
    }
    Ok((ended, Value::Null))
}

/// What of the end is not in the result.
pub(super) fn tell_end(ended: &Ended, id: RunId, out: Out) {
    match ended {
        Ended::Finished(_) => {}
        Ended::Suspended { step } => {
            out.say_always(&format!(
                "run {id} is suspended at step `{}` and waits for a decision",
                visible(step)
            ));
        }
        Ended::Waiting { step } => {
            out.say_always(&format!("run {id} waits for a person at step `{}`", visible(step)));
        }
        Ended::TakenOver => {
            out.say_always(&format!("another process has taken run {id} over and drives it on"));
        }
    }
}

/// The titles of a runbook's steps.
#[must_use]
pub(super) fn titles(runbook: &Runbook) -> Titles {
    let mut titles = Titles::default();
    runbook.walk(&mut |step| {
        titles.titles.insert(step.id.clone(), step.title.clone());
        if matches!(step.action, Action::Block(_) | Action::Switch(_)) {
            titles.constructs.push(step.id.clone());
        }
    });
    titles
}

/// Says that a runbook's text changed under the same name and version; with `--pinned`, refuses.
fn check_pin(reader: &Reader, runbook: &Runbook, is_pinned: bool, out: Out) -> Result<(), Failure> {
    let filter = RunFilter { runbook: Some(runbook.name.clone()), ..RunFilter::default() };
    let version = runbook.version.to_string();
    let rows = reader.runs(&filter)?.rows;
    let others: BTreeSet<_> =
        rows.iter().filter(|row| row.version == version).map(|row| row.digest).collect();
    if others.is_empty() || others.contains(&runbook.digest) && (!is_pinned || others.len() == 1) {
        return Ok(());
    }
    let mut lines =
        vec![format!("`{}` {version} has run before with another text", visible(&runbook.name))];
    for digest in others.iter().filter(|digest| **digest != runbook.digest) {
        lines.push(format!("  before: {digest}"));
    }
    lines.push(format!("  now:    {}", runbook.digest));
    let hint = "one name and version stands for one text: give the changed runbook a new `version`";
    if is_pinned {
        return Err(Failure::request(lines.join("\n")).hint(hint));
    }
    out.warn(&lines.join("\n"));
    out.say(&format!("hint: {hint}"));
    Ok(())
}

/// Asks once whether the changes of the plan may be made; true if there are none.
fn may_change(prepared: &Prepared, out: Out) -> Result<bool, Failure> {
    let mut changes = Vec::new();
    changing(&prepared.runbook.steps, &mut changes);
    changing(&prepared.runbook.finally, &mut changes);
    if changes.is_empty() {
        return Ok(true);
    }
    let runbook = &prepared.runbook;
    out.say_always(&format!(
        "{} {}, on this machine, will change:",
        visible(&runbook.name),
        runbook.version
    ));
    let steps = super::plan::commands(
        &describe(&prepared.runbook, &prepared.inputs, &prepared.files),
        &changes,
    );
    out.say_always(steps.trim_end());
    eprint_prompt(out.stderr);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(0) => {
            out.say_always("");
            Ok(false)
        }
        Ok(_) => Ok(matches!(answer.trim(), "y" | "Y" | "yes")),
        Err(err) => Err(Failure::request(format!("failed to read the answer: {err}"))
            .hint("`--yes` does not ask")),
    }
}

/// The ids of the steps that change something; rollbacks only undo what these do.
fn changing(steps: &[Arc<Step>], ids: &mut Vec<String>) {
    for step in steps {
        let inner = step.inner();
        if step.effect == Effect::Change && inner.is_empty() {
            ids.push(step.id.clone());
        }
        inner.into_iter().for_each(|steps| changing(steps, ids));
    }
}

fn eprint_prompt(paint: Paint) {
    use std::io::Write as _;
    let mut stderr = std::io::stderr().lock();
    // If it cannot be seen, it will not be answered with yes.
    let _ = write!(stderr, "{} [y/N] ", paint.bold("go on?")).and_then(|()| stderr.flush());
}
