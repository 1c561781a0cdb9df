//! Goal: wherever the program dies, a restart ends the run honestly and repeats no unsafe effect.
//! Method: kill it before and after each append, and after each effect, then resume it in the same
//! world; then the same with a step that fails, so that rollbacks are killed too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use runwarden::audit::verify::Trust;
use runwarden::engine::{Ended, EngineError};
use runwarden::id::RunId;
use runwarden::run::Rejected;
use runwarden::run::event::{Event, ResumeAction, RunOutcome, Status};
use serde_json::{Value, json};

use crate::world::{Deaths, Life, Moment, World};

/// Steps of the runbook that may be repeated: reads, `idempotent`, and those with a `done`.
const REPEATABLE: &[&str] =
    &["look", "safe_two", "checked_three", "side", "rescued", "swept", "taken", "settled", "bye"];

fn runbook() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/death/runbook.yaml")
}

/// `is three` (the `done` check) and `ready` succeed as soon as they are asked.
fn results(last: i64) -> Value {
    json!({
        "look": { "exit": 0, "stdout": "4\n" },
        "safe_two": [{ "exit": 1 }, { "exit": 0 }],
        "checked_three": [{ "exit": 1 }, { "exit": 0 }],
        "breaks": { "exit": 1 },
        "last": { "exit": last },
    })
}

#[test]
fn survives_death_at_every_moment() {
    let kills = kill_everywhere(0, RunOutcome::Degraded);
    assert!(kills > 60, "too few moments: {kills}");
}

#[test]
fn survives_death_while_it_undoes() {
    let kills = kill_everywhere(1, RunOutcome::Failed);
    assert!(kills > 60, "too few moments: {kills}");
}

/// Dies once at every moment of a life; returns how many deaths that were.
fn kill_everywhere(last: i64, want: RunOutcome) -> usize {
    let whole = Arc::new(Deaths::default());
    let world = World::new(&results(last));
    let life = world.live(&runbook(), &Value::Null, &Value::Null, &whole);
    let Life::Ended(id, ended) = life else { panic!("it died without being killed") };
    assert_eq!(ended, Ended::Finished(want), "{:#}", world.show(id));
    let mut kills = 0;
    for moment in [Moment::BeforeAppend, Moment::BeforeEffect, Moment::AfterEffect] {
        for nth in 0..whole.count(moment) {
            kill_once(moment, nth, last);
            kills += 1;
        }
    }
    kills
}

fn kill_once(moment: Moment, nth: usize, last: i64) {
    let place = format!("killed at {moment:?} {nth}");
    let world = World::new(&results(last));
    let deaths = Deaths::kill_at(moment, nth);
    let id = match world.live(&runbook(), &Value::Null, &Value::Null, &deaths) {
        Life::Died(Some(id)) => id,
        // Nothing was acknowledged yet: there may be a run in the log, or none.
        Life::Died(None) => match world.runs().first() {
            Some(id) => *id,
            None => return,
        },
        Life::Ended(..) => return,
    };
    let outcome = bring_to_end(&world, id, &place);
    let facts = world.facts(id);
    let was_unknown = facts.iter().any(|fact| {
        matches!(&fact.event, Event::StepFinished(end)
            if end.status == Status::Interrupted && end.next_attempt_at.is_none())
    });
    let shown = world.show(id);
    let told = json!([&shown["outcome"], &shown["message"]]);
    if was_unknown {
        assert_ne!(outcome, RunOutcome::Succeeded, "{place}: {told}");
    }
    let mut counts: HashMap<String, u32> = HashMap::new();
    for (step, what) in world.script.effects.lock().unwrap().iter() {
        if what.starts_with("is ") || what == "ready" {
            continue;
        }
        *counts.entry(step.clone()).or_default() += 1;
    }
    for (step, count) in &counts {
        let may_repeat = REPEATABLE.contains(&step.as_str());
        assert!(*count <= 1 || may_repeat, "{place}: `{step}` happened {count} times");
    }
    let reader = world.open().reader().expect("a reader");
    let report = reader.verify(Trust::default());
    assert!(report.is_ok(), "{place}: {report:?}");
}

/// Lives until the run is over: what only a person can decide is skipped.
fn bring_to_end(world: &World, id: RunId, place: &str) -> RunOutcome {
    let mut action = ResumeAction::Continue;
    for _ in 0..8 {
        match world.resume(id, action, None) {
            Ok(Ended::Finished(outcome)) => return outcome,
            Ok(Ended::Suspended { .. }) => action = ResumeAction::Skip,
            Err(EngineError::Rejected { source: Rejected::NeedsDecision(_), .. }) => {
                action = ResumeAction::Skip;
            }
            Err(EngineError::Rejected { source: Rejected::Finished, .. }) => {
                let shown = world.show(id);
                return serde_json::from_value(shown["outcome"].clone()).expect("an outcome");
            }
            other => panic!("{place}: {other:?}"),
        }
    }
    panic!("{place}: it never ends");
}
