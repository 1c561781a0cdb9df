//! `plan`: what a run would do, as text or JSON, from the frozen plan alone. Touches no state.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::args::Plan;
use super::exit::{Exit, Failure};
use super::report::{Out, indent, inline, table, visible, visible_text};
use super::{inputs, source};
use crate::engine::Prepared;
use crate::unit::show_duration;

/// Keys of a step that its heading says.
const HEADING: [&str; 4] = ["id", "action", "effect", "title"];
/// Keys of a step that stand on its last line.
const LAST: [&str; 4] = ["timeout_seconds", "on_failure", "on_interrupt", "idempotent"];
/// Keys of a step that are shown first, in this order; the rest follows as it stands.
const FIRST: [&str; 5] = ["target", "for_each", "when", "needs", "process"];

/// `plan`.
///
/// # Errors
///
/// Exit 2: the runbook or its inputs are wrong.
pub(super) fn plan(args: &Plan, out: Out) -> Result<Exit, Failure> {
    let given = inputs::given(&args.inputs)?;
    let prepared = source::prepared(&args.runbook, &given, source::For::Plan, out)?;
    if out.is_json() {
        let digest = prepared.plan.digest;
        out.json(&json!({ "plan_digest": digest, "plan": prepared.plan.json }))?;
    } else {
        out.result(&text(&prepared))?;
    }
    Ok(Exit::Ok)
}

fn text(prepared: &Prepared) -> String {
    let (runbook, plan) = (&prepared.runbook, &prepared.plan);
    let kind = inline(&plan.json["runbook"]["kind"]);
    let mut shown = format!(
        "{}\n{} {} ({kind}), nothing is done yet\n\n",
        visible(&runbook.title),
        visible(&runbook.name),
        runbook.version
    );
    let mut rows = Vec::new();
    let mut row = |key: &str, value: String| rows.push(vec![key.to_owned(), value]);
    row("runbook", runbook.digest.to_string());
    let targets: Vec<String> = plan.targets.iter().map(|target| visible(target)).collect();
    row("targets", targets.join(", "));
    for (key, value) in plan.json.as_object().into_iter().flatten() {
        let is_shown_elsewhere =
            matches!(key.as_str(), "runbook" | "targets" | "inputs" | "steps" | "finally");
        if !is_shown_elsewhere {
            row(&bare(key), span(key, value));
        }
    }
    shown.push_str(&table(&rows));
    if let Some(inputs) = plan.json["inputs"].as_object().filter(|inputs| !inputs.is_empty()) {
        let rows: Vec<Vec<String>> = inputs
            .iter()
            .map(|(name, value)| vec![format!("  {}", visible(name)), quoted(value)])
            .collect();
        shown.push_str(&format!("\ninputs\n{}", table(&rows)));
    }
    let titles = super::run::titles(runbook).titles;
    let mut titled = plan.json.clone();
    add_titles(&mut titled, &titles);
    for list in ["steps", "finally"] {
        if let Some(steps) = titled[list].as_array() {
            shown.push_str(&format!("\n{list}\n"));
            shown.push_str(&indent(&steps_text(steps), "  "));
        }
    }
    shown.push_str(&format!("\nplan digest {}\n", plan.digest));
    shown
}

/// Strings in quotes, so that a number and a text of digits are told apart.
fn quoted(value: &Value) -> String {
    super::report::escape_json(&value.to_string())
}

fn steps_text(steps: &[Value]) -> String {
    steps.iter().enumerate().map(|(at, step)| step_text(at + 1, step)).collect()
}

fn step_text(number: usize, step: &Value) -> String {
    let get = |key: &str| step.get(key).map(inline).unwrap_or_default();
    let (id, action, effect) = (get("id"), get("action"), get("effect"));
    // A step without an id of its own is called by its place.
    let name = if id == number.to_string() { format!("{id}.") } else { format!("{number}. {id}") };
    let heading = format!("{name}  {action} [{effect}]  {}", get("title"));
    let mut shown = format!("{}\n", heading.trim_end());
    let mut body = String::new();
    if let Some(done) = step.get(&action) {
        body.push_str(&action_text(&action, done));
    }
    let map = step.as_object().cloned().unwrap_or_default();
    let is_done = |key: &str| HEADING.contains(&key) || LAST.contains(&key) || key == action;
    for key in FIRST {
        if let Some(value) = map.get(key).filter(|_| !is_done(key)) {
            body.push_str(&field_text(key, value));
        }
    }
    for (key, value) in &map {
        if !is_done(key) && !FIRST.contains(&key.as_str()) {
            body.push_str(&field_text(key, value));
        }
    }
    // What every step has stands on one line.
    let last: Vec<String> = LAST
        .iter()
        .filter_map(|key| map.get(*key).map(|value| format!("{}: {}", bare(key), span(key, value))))
        .collect();
    if !last.is_empty() {
        body.push_str(&format!("{}\n", last.join(", ")));
    }
    shown.push_str(&indent(&body, "   "));
    shown
}

/// A key without its unit.
fn bare(key: &str) -> String {
    visible(key.strip_suffix("_seconds").unwrap_or(key))
}

/// A value; seconds as people say them.
fn span(key: &str, value: &Value) -> String {
    // Parameters of actions have no unit in their names.
    let is_span = key.ends_with("_seconds")
        || matches!(key, "every" | "stable" | "timeout" | "wait" | "older_than");
    let seconds = value.as_f64().filter(|_| is_span);
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(span) => show_duration(span),
        None => inline(value),
    }
}

/// What the action itself is given.
fn action_text(action: &str, value: &Value) -> String {
    match (action, value) {
        ("command", Value::Array(args)) => format!("{}\n", command_line(args)),
        ("shell" | "script", Value::Object(map)) => script_text(map),
        ("block", Value::Object(map)) => ["steps", "rescue", "finally"]
            .iter()
            .filter_map(|list| {
                let steps = map.get(*list)?.as_array().filter(|steps| !steps.is_empty())?;
                Some(format!("{list}\n{}", indent(&steps_text(steps), "  ")))
            })
            .collect(),
        ("switch", Value::Array(arms)) => arms.iter().map(arm_text).collect(),
        (_, Value::Object(map)) => map.iter().map(|(key, value)| field_text(key, value)).collect(),
        (_, Value::Array(items)) => {
            items.iter().map(|item| format!("- {}\n", inline(item))).collect()
        }
        (_, Value::Null) => String::new(),
        (_, other) => block_or_line(action, other),
    }
}

/// Puts the titles of steps beside their ids: the plan itself, which is signed, has none.
fn add_titles(value: &mut Value, titles: &BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| add_titles(item, titles)),
        Value::Object(map) => {
            map.values_mut().for_each(|value| add_titles(value, titles));
            let id = map.get("id").and_then(Value::as_str).unwrap_or_default();
            let title = titles.get(id).filter(|title| *title != id).cloned();
            if let (Some(title), true) = (title, map.contains_key("action")) {
                map.insert("title".to_owned(), Value::String(title));
            }
        }
        _ => {}
    }
}

fn arm_text(arm: &Value) -> String {
    let when = match arm.get("when").filter(|when| !when.is_null()) {
        Some(when) => format!("when {}", inline(when)),
        None => "else".to_owned(),
    };
    let steps = arm["steps"].as_array().map_or(String::new(), |steps| steps_text(steps));
    format!("{when}\n{}", indent(&steps, "  "))
}

fn script_text(map: &Map<String, Value>) -> String {
    let mut shown = String::new();
    if let Some(argv) = map.get("interpreter").and_then(Value::as_array) {
        shown.push_str(&format!("interpreter: {}\n", command_line(argv)));
    }
    for (key, value) in map {
        match (key.as_str(), value) {
            ("interpreter", _) | (_, Value::Null) => {}
            ("text", Value::String(text)) => shown.push_str(&indent(&visible_text(text), "| ")),
            _ => shown.push_str(&field_text(key, value)),
        }
    }
    shown
}

/// Arguments as a shell would take them, so that where one ends is seen.
fn command_line(args: &[Value]) -> String {
    let args: Vec<String> = args
        .iter()
        .map(|arg| match arg {
            Value::String(text) => argument(text),
            other => match other.get("each") {
                Some(each) => format!("{{each: {}}}", inline(each)),
                // One template of a number or a boolean keeps its type.
                None => argument(&other.to_string()),
            },
        })
        .collect();
    args.join(" ")
}

fn argument(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,{}".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", visible(text).replace('\'', "'\\''"))
}

/// One key of a step; steps under it are steps again.
fn field_text(key: &str, value: &Value) -> String {
    let is_steps = |value: &&Value| {
        let items = value.as_array().filter(|items| !items.is_empty());
        items.is_some_and(|items| items.iter().all(|item| item.get("action").is_some()))
    };
    let name = visible(key);
    match value {
        Value::Null => String::new(),
        steps if is_steps(&steps) => {
            let steps = steps.as_array().map_or(String::new(), |steps| steps_text(steps));
            format!("{name}:\n{}", indent(&steps, "  "))
        }
        check if check.get("action").is_some() => {
            format!("{name}:\n{}", indent(&step_text(1, check), "  "))
        }
        Value::Object(map) if !map.is_empty() => {
            let body: String = map.iter().map(|(key, value)| field_text(key, value)).collect();
            format!("{name}:\n{}", indent(&body, "  "))
        }
        other => block_or_line(key, other),
    }
}

fn block_or_line(key: &str, value: &Value) -> String {
    let name = visible(key);
    match value {
        Value::String(text) if text.trim_end().contains('\n') => {
            format!("{name}:\n{}", indent(&visible_text(text), "| "))
        }
        other => format!("{}: {}\n", bare(key), span(key, other)),
    }
}

/// The steps with these ids, wherever in the plan they stand, each with what it does: for the
/// question before the first change.
#[must_use]
pub(super) fn commands(plan: &Value, ids: &[String]) -> String {
    let mut shown = String::new();
    collect(plan, ids, &mut shown);
    shown
}

fn collect(value: &Value, ids: &[String], shown: &mut String) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, ids, shown)),
        Value::Object(map) => {
            let id = map.get("id").and_then(Value::as_str);
            let action = map.get("action").and_then(Value::as_str);
            if let (Some(id), Some(action)) = (id, action)
                && ids.iter().any(|wanted| wanted == id)
            {
                let done = map.get(action).map(|done| action_text(action, done));
                let done = indent(&done.unwrap_or_default(), "      ");
                shown.push_str(&format!("  {}  {action}\n{done}", visible(id)));
            }
            map.values().for_each(|value| collect(value, ids, shown));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a reader sees where each argument ends, and nothing in it can hide.
    #[test]
    fn arguments_are_told_apart() {
        let args = [
            json!("rm"),
            json!("a b"),
            json!(""),
            json!("it's"),
            json!("\u{202e}x\n"),
            json!({ "each": "files" }),
            json!(3),
            json!(true),
        ];
        assert_eq!(
            command_line(&args),
            "rm 'a b' '' 'it'\\''s' '\\u{202e}x\\n' {each: files} 3 true"
        );
    }

    /// Goal: whatever stands in a step is shown, also what this code does not know by name.
    #[test]
    fn nothing_of_a_step_is_left_out() {
        let step = json!({
            "id": "go", "action": "command", "effect": "change", "command": ["true"],
            "when": "inputs.x", "timeout_seconds": 600.0, "novel": { "a": [1] },
            "rollback": [{ "id": "go.rollback.1", "action": "shell", "effect": "change",
                           "shell": { "text": "one\ntwo\n", "interpreter": null } }],
            "done": { "id": "d", "action": "file", "effect": "read", "file": { "path": "/x" } },
        });
        let want = "\
2. go  command [change]
   true
   when: inputs.x
   novel:
     a: [1]
   rollback:
     1. go.rollback.1  shell [change]
        | one
        | two
   done:
     1. d  file [read]
        path: /x
   timeout: 10m 00s
";
        assert_eq!(step_text(2, &step), want);
        assert_eq!(
            commands(&json!({ "steps": [step] }), &["go.rollback.1".to_owned()]),
            "  go.rollback.1  shell\n      | one\n      | two\n"
        );
    }
}
