//! What the reader makes of a valid runbook: every decision that the model promises is made.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::model::{
    Action, Effect, FanLimits, OnFailure, OnInterrupt, Rollback, Runbook, Step, Tree, Wait,
};
use super::{Options, Severity, check, report};

fn runbook(kind: &str, rest: &str) -> Arc<Runbook> {
    let source = format!(
        "runwarden: 1\nrunbook: a\nversion: 1.0.0\nkind: {kind}\ntitle: A\nsecrets: [s]\n{rest}"
    );
    let checked = check(source.as_bytes(), &Options::default());
    let shown = report::render(&checked.problems, "a.yaml", source.as_bytes(), false);
    checked.runbook.unwrap_or_else(|| panic!("{shown}"))
}

fn codes(source: &str) -> Vec<&'static str> {
    let checked = check(source.as_bytes(), &Options::default());
    checked.problems.iter().map(|problem| problem.code).collect()
}

fn step(kind: &str, text: &str) -> Step {
    let text = text.replace('\n', "\n    ");
    runbook(kind, &format!("steps:\n  - {text}\n")).steps[0].as_ref().clone()
}

/// Goal: effects by action, method, parameters and kind are those of the language.
#[test]
fn effects_are_decided() {
    for (text, effect) in [
        ("command: [ls]", Effect::Change),
        ("command: [ls]\neffect: read", Effect::Read),
        ("http: { url: 'http://a.example' }", Effect::Read),
        ("http: { url: 'http://a.example', method: HEAD }", Effect::Read),
        ("http: { url: 'http://a.example', method: POST }", Effect::Change),
        ("http: { url: 'http://a.example', json: {} }", Effect::Change),
        ("http: { url: 'http://a.example', method: POST }\neffect: read", Effect::Read),
        ("service: { name: a }", Effect::Read),
        ("service: { name: a, state: started }", Effect::Change),
        ("sql: { database: d, query: select 1 }", Effect::Read),
        ("nagios: { command: [check] }", Effect::Read),
        ("notify: { to: a, message: m }", Effect::Tell),
        ("manual: { instructions: m }", Effect::Tell),
        ("call: { runbook: b }", Effect::Change),
        ("approve: { message: m }", Effect::Read),
        ("block: [{ disk: { path: / } }, { notify: { to: a, message: m } }]", Effect::Tell),
        ("block: [{ block: [{ command: [ls] }] }]", Effect::Change),
        ("switch: [{ when: true, steps: [{ command: [ls] }] }]", Effect::Change),
    ] {
        assert_eq!(step("task", text).effect, effect, "{text}");
    }
    assert_eq!(step("health-check", "command: [ls]").effect, Effect::Read);
}

/// Goal: what follows an interruption is the first of check, rerun and suspend that can be had.
#[test]
fn what_follows_an_interruption_is_decided() {
    for (text, then) in [
        ("command: [ls]", OnInterrupt::Suspend),
        ("command: [ls]\neffect: read", OnInterrupt::Rerun),
        ("command: [ls]\nidempotent: true", OnInterrupt::Rerun),
        ("command: [ls]\nidempotent: true\ndone: { command: [test] }", OnInterrupt::Check),
        ("command: [ls]\ndone: { command: [test] }\non_interrupt: fail", OnInterrupt::Fail),
    ] {
        assert_eq!(step("task", text).on_interrupt, then, "{text}");
    }
}

/// Goal: deadlines, bounds and what a failure does have the defaults of the language.
#[test]
fn defaults_by_kind_and_action() {
    let seconds = Duration::from_secs;
    assert_eq!(step("task", "command: [ls]").timeout, Some(seconds(600)));
    assert_eq!(step("task", "wait: 5s").timeout, None);
    assert_eq!(step("task", "block: [{ command: [ls] }]").timeout, None);
    assert_eq!(step("task", "command: [ls]").connect_timeout, seconds(10));
    assert_eq!(step("task", "command: [ls]").on_failure, OnFailure::Stop);
    assert_eq!(step("health-check", "command: [ls]").on_failure, OnFailure::Continue);
    assert_eq!(step("task", "command: [ls]").limits, None);
    let one = FanLimits { parallel: 32, batch: Vec::new(), max_failures: Some(0) };
    assert_eq!(step("task", "command: [ls]\nfor_each: [1]").limits, Some(one.clone()));
    let unlimited = FanLimits { max_failures: None, ..one };
    assert_eq!(step("health-check", "command: [ls]\nfor_each: [1]").limits, Some(unlimited));
}

/// Goal: `defaults` reach the steps whose actions take them, and no others.
#[test]
fn defaults_reach_those_that_take_them() {
    let book = runbook(
        "task",
        "defaults: { sudo: true, timeout: 2m, retry: { attempts: 2 }, on_failure: continue }\n\
         steps:\n\
         \x20 - command: [ls]\n\
         \x20 - http: { url: 'http://a.example' }\n\
         \x20 - wait: { until: { command: [ls] } }\n\
         \x20 - approve: { message: m }\n\
         \x20 - command: [ls]\n\
         \x20   timeout: 5s\n\
         \x20   sudo: false\n",
    );
    let [ls, http, wait, gate, own] = &book.steps[..] else { panic!("five steps") };
    assert!(ls.process.sudo && ls.timeout == Some(Duration::from_secs(120)));
    assert!(ls.retry.is_none(), "a change that may not be repeated takes no default `retry`");
    assert!(http.retry.is_some() && !http.process.sudo);
    assert_eq!((wait.timeout, gate.timeout), (None, None));
    assert_eq!((ls.on_failure, gate.on_failure), (OnFailure::Continue, OnFailure::Stop));
    let Action::Wait(Wait::Until { check, .. }) = &wait.action else { panic!("a wait") };
    assert!(check.0.process.sudo && check.0.timeout == Some(Duration::from_secs(120)));
    assert!(!own.process.sudo && own.timeout == Some(Duration::from_secs(5)));
}

/// Goal: ids by place, numbers in document order, checks included.
#[test]
fn places_and_numbers() {
    let book = runbook(
        "task",
        "steps:\n\
         \x20 - wait: { until: { command: [ls] } }\n\
         \x20 - id: roll\n\
         \x20   block:\n\
         \x20     - command: [ls]\n\
         \x20       done: { command: [ls] }\n\
         \x20       rollback: { command: [undo] }\n\
         \x20   rescue: [{ command: [ls] }]\n\
         \x20   finally: [{ command: [ls] }]\n\
         \x20 - switch:\n\
         \x20     - { when: true, steps: [{ command: [ls] }] }\n\
         \x20     - else: [{ command: [ls] }]\n\
         finally: [{ command: [ls] }]\n",
    );
    let mut seen = Vec::new();
    book.walk(&mut |step| seen.push((step.ix.0, step.id.clone())));
    let seen: Vec<_> = seen.iter().map(|(ix, id)| (*ix, id.as_str())).collect();
    assert_eq!(
        seen,
        [
            (0, "1"),
            (2, "roll"),
            (3, "roll.1"),
            (5, "roll.1.rollback.1"),
            (6, "roll.rescue.1"),
            (7, "roll.finally.1"),
            (8, "3"),
            (9, "3.1.1"),
            (10, "3.2.1"),
            (11, "finally.1"),
        ]
    );
    let Action::Wait(Wait::Until { check, .. }) = &book.steps[0].action else { panic!("a wait") };
    assert_eq!((check.0.ix.0, check.0.id.as_str(), check.0.effect), (1, "1.until", Effect::Read));
}

/// Goal: a rollback runs where, and as whom, its step runs.
#[test]
fn a_rollback_inherits_target_user_and_environment() {
    let step = step(
        "task",
        "command: [ls]\ntarget: web-1\nuser: app\nenv: { A: a, B: b }\nstdin: x\n\
         rollback:\n  - command: [undo]\n    env: { B: c }\n  - notify: { to: a, message: m }",
    );
    let Some(Rollback::Steps(undo)) = &step.rollback else { panic!("two steps") };
    let texts = |step: &Step| -> Vec<(String, String)> {
        let env = step.process.env.iter();
        env.map(|(name, value)| (name.clone(), value.source().to_owned())).collect()
    };
    assert_eq!(undo[0].target.as_ref().unwrap().source(), "web-1");
    assert_eq!(undo[0].process.user.as_ref().unwrap().source(), "app");
    assert_eq!(texts(&undo[0]), [("A".into(), "a".into()), ("B".into(), "c".into())]);
    assert!(undo[0].process.stdin.is_none());
    assert!(undo[1].target.is_none() && undo[1].process.env.is_empty());
}

/// Goal: fan-out follows from the text alone.
#[test]
fn fan_out_is_decided_from_the_text() {
    const INPUTS: &str = "inputs: { one: { type: target, one: true }, many: { type: target } }\n";
    for (run, step, fans_out) in [
        ("web-1", "command: [ls]", false),
        ("local", "command: [ls]", false),
        ("all", "command: [ls]", true),
        ("name=web-1", "command: [ls]", true),
        ("'{{inputs.one}}'", "command: [ls]", false),
        ("'{{ inputs.one }}'", "command: [ls]", false),
        ("'{{inputs.many}}'", "command: [ls]", true),
        ("role=app", "command: [ls]\n    target: db-1", false),
        ("role=app", "disk: { path: / }", true),
        ("role=app", "http: { url: 'http://a.example' }", false),
        ("role=app", "set: { a: 1 }", false),
        ("role=app", "wait: { until: { command: [ls] } }", true),
        ("role=app", "wait: { until: { tcp: { host: a, port: 1 } } }", false),
        ("local", "http: { url: 'http://a.example' }\n    for_each: [1, 2]", true),
    ] {
        let book = runbook("task", &format!("targets: {run}\n{INPUTS}steps:\n  - {step}\n"));
        assert_eq!(book.steps[0].fans_out, fans_out, "{run}: {step}");
    }
}

/// Goal: a scalar means what its place expects, never what it looks like.
#[test]
fn scalars_by_place() {
    let text = "http:\n  url: 'http://a.example'\n  headers: { A: no, B: 0755, C: 1.10 }\n  \
                json: [yes, no, on, 0755, 1_000, 12:30, 1.10, 7, -7, 0x1F, true, null, ~, '5', 1e3]\n  \
                max_bytes: 64KiB";
    let Action::Plain { params, .. } = step("task", text).action else { panic!("http") };
    let value = plain(&params);
    assert_eq!(value["headers"], json!({ "A": "no", "B": "0755", "C": "1.10" }));
    assert_eq!(
        value["json"],
        json!([
            "yes", "no", "on", "0755", "1_000", "12:30", 1.1, 7, -7, 31, true, null, null, "5",
            1000.0
        ])
    );
    assert_eq!(value["max_bytes"], 65536);
}

fn plain(tree: &Tree) -> serde_json::Value {
    match tree {
        Tree::Literal(value) => value.clone(),
        Tree::Template(template) => template.source().into(),
        Tree::List(items) => items.iter().map(plain).collect(),
        Tree::Map(map) => map.iter().map(|(key, tree)| (key.clone(), plain(tree))).collect(),
    }
}

/// Goal: bounds hold, each is told by its code, and hostile files cost little.
#[test]
fn bounds_are_reached_and_told() {
    let head = "runwarden: 1\nrunbook: a\nversion: 1.0.0\nkind: task\ntitle: A\n";
    let steps = |n: usize| format!("{head}steps:\n{}", "  - end: {}\n".repeat(n));
    assert_eq!(codes(&steps(1_000)), Vec::<&str>::new());
    assert_eq!(codes(&steps(1_001)), ["E_TOO_MANY_STEPS"]);
    assert_eq!(codes(&steps(20_000)), ["E_TOO_MANY_STEPS"], "one problem, and soon");
    assert_eq!(codes(&"x".repeat((1 << 20) + 1)), ["E_FILE_TOO_LARGE"]);
    assert_eq!(codes(&"[".repeat(1 << 20)), ["E_YAML_DEPTH"]);
    assert_eq!(codes(&"{a: ".repeat(1 << 18)), ["E_YAML_DEPTH"]);
    assert_eq!(codes(&"- ".repeat(1 << 19)), ["E_YAML_DEPTH"]);
    let keys: String = (0..40_000).map(|n| format!("k{n}: 1\n")).collect();
    let found = check(keys.as_bytes(), &Options::default());
    assert_eq!(found.problems.len(), 1_001);
    assert_eq!(found.problems.last().unwrap().code, "E_TOO_MANY_PROBLEMS");
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(20));
    assert_eq!(codes(&text), ["E_YAML_SIZE"]);
    assert_eq!(codes("a: &a [*a]\n"), ["E_YAML_ALIAS"]);
}

/// Goal: warnings alone leave a runbook; errors never do.
#[test]
fn warnings_do_not_refuse() {
    let source = "runwarden: 1\nrunbook: a\nversion: 1.0.0\nkind: remediation\ntitle: A\n\
                  steps:\n  - shell: a | b\n    interpreter: sh\n    effect: read\n";
    let checked = check(source.as_bytes(), &Options { has_tests: Some(false) });
    let codes: Vec<_> = checked.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["W_NO_TESTS", "W_PIPE"]);
    assert!(checked.problems.iter().all(|problem| problem.severity == Severity::Warning));
    assert!(checked.runbook.is_some());
}

/// Goal: what rollback, rescue and `finally` hold needs neither proof nor rollback, and a block's
/// own rollback covers what it holds.
#[test]
fn only_what_is_inside_steps_is_judged() {
    runbook(
        "remediation",
        "steps:\n\
         \x20 - id: all\n\
         \x20   block:\n\
         \x20     - id: go\n\
         \x20       command: [go]\n\
         \x20     - command: [look]\n\
         \x20       effect: read\n\
         \x20       proves: go\n\
         \x20   rescue: [{ command: [calm] }]\n\
         \x20   rollback: [{ command: [back] }]\n\
         finally: [{ command: [tidy] }]\n",
    );
}
