//! A run, for people: made from "A run, as JSON" (spec 4) alone, so that text and JSON cannot
//! disagree.

use std::time::Duration;

use serde_json::Value;

use super::report::{Paint, count, inline, pad, table, visible, visible_text, width};
use super::words::{self, Mood};
use crate::unit::{show_duration, show_size};

/// Lines of a failed step's output that are shown.
pub(super) const TAIL_LINES: usize = 5;
/// Columns that a step's value may take.
const VALUE_WIDTH: usize = 60;

/// Finds the last lines that a step wrote: of standard error, else of standard output.
pub(super) type Tails<'a> = dyn Fn(&str) -> Option<Tail> + 'a;

/// The end of an output.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// `stdout` or `stderr`.
    pub(super) stream: &'static str,
    /// Its last lines, already visible.
    pub(super) lines: Vec<String>,
    /// Whether there is more before them.
    pub(super) is_cut: bool,
}

/// What of a run its JSON does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    /// Its process died while it was under way.
    pub(super) is_orphan: bool,
    /// A step waits for a person's decision.
    pub(super) is_held: bool,
}

/// Text of a field; empty if it is absent.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn steps(run: &Value) -> &[Value] {
    run.get("steps").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Seconds as people say them; empty if absent.
fn took(value: &Value, key: &str) -> String {
    let seconds = value.get(key).and_then(Value::as_f64);
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.map_or(String::new(), show_duration)
}

/// `2026-01-02T03:04:05.678Z` as `2026-01-02 03:04:05Z`.
#[must_use]
pub(super) fn moment(at: &str) -> String {
    let (day, rest) = at.split_once('T').unwrap_or((at, ""));
    let clock = rest.split(['.', 'Z']).next().unwrap_or_default();
    if clock.is_empty() { visible(at) } else { visible(&format!("{day} {clock}Z")) }
}

/// The name of the outcome, or of the state while there is none.
#[must_use]
pub(super) fn standing(run: &Value) -> &str {
    match text(run, "outcome") {
        "" => text(run, "state"),
        outcome => outcome,
    }
}

/// The manual step that waits to be confirmed.
#[must_use]
pub(super) fn manual(run: &Value) -> Option<&str> {
    let waits = |step: &&Value| {
        text(step, "action") == "manual"
            && step.get("status").is_none_or(Value::is_null)
            && step.get("started_at").is_some_and(Value::is_string)
    };
    steps(run).iter().find(waits).map(|step| text(step, "id"))
}

/// What is said when a command that drove a run is done with it.
#[must_use]
pub(super) fn brief(run: &Value, beside: Beside, paint: Paint, tails: &Tails<'_>) -> String {
    if text(&run["runbook"], "kind") == "health-check" && !text(run, "outcome").is_empty() {
        return health(run, paint, tails);
    }
    let problems = problems(run, Told::All, paint, tails);
    let mut shown = headline(run, paint);
    if problems.is_empty() {
        shown.push_str(&message(run));
    }
    shown.push_str(&problems);
    shown.push_str(&fields(run, &["outputs", "measures"]));
    shown.push_str(&footer(run, beside));
    shown
}

/// The report of a health check: every check, what it measured, what is wrong.
fn health(run: &Value, paint: Paint, tails: &Tails<'_>) -> String {
    let runbook = &run["runbook"];
    let title = visible(text(runbook, "title"));
    let host = visible(&crate::engine::owner::host_name());
    let at = moment(text(run, "finished_at"));
    let mut shown = format!("{} on {host}, {at}\n", paint.bold(&title));
    shown.push_str(&headline(run, paint));
    shown.push('\n');
    let told: Vec<&Value> = steps(run).iter().filter(|step| is_told(step)).collect();
    let widest = told.iter().map(|step| width(&visible(text(step, "title")))).max().unwrap_or(0);
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for step in &told {
        let word = words::of_step(text(step, "status"), text(step, "verdict"));
        match counts.iter_mut().find(|(name, _)| *name == word.word) {
            Some((_, number)) => *number += 1,
            None => counts.push((word.word, 1)),
        }
        let name = pad(&visible(text(step, "title")), widest.min(VALUE_WIDTH));
        let line = format!("{} {name}  {}", word.padded(paint), finding(step));
        shown.push_str(line.trim_end());
        shown.push('\n');
    }
    let words: Vec<String> =
        counts.iter().map(|(name, number)| format!("{number} {name}")).collect();
    shown.push_str(&format!("\n{}: {}\n", count(told.len(), "check"), words.join(", ")));
    let failed = problems(run, Told::WithOutput, paint, tails);
    if !failed.is_empty() {
        shown.push_str(&failed);
        shown.push('\n');
    }
    shown.push_str(&fields(run, &["outputs", "measures"]));
    shown.push_str(&footer(run, Beside::default()));
    shown
}

/// Steps that only hold or compute are not checks of the world.
pub(super) fn is_told(step: &Value) -> bool {
    match text(step, "action") {
        "block" | "switch" | "end" => false,
        "set" => text(step, "status") != "succeeded",
        _ => true,
    }
}

/// What a step found, in a few words: its message, and the values that its action is asked for.
#[must_use]
pub(super) fn finding(step: &Value) -> String {
    let mut parts = Vec::new();
    let said = step.get("error").map_or("", |error| text(error, "message"));
    let values = values(step);
    // What failed says what it found; what it could not look at has no values.
    let is_failed = text(step, "status") != "succeeded" && !said.is_empty();
    if !values.is_empty() && !is_failed {
        parts.push(values);
    }
    if !said.is_empty() {
        parts.push(visible(said));
    }
    if !text(step, "note").is_empty() {
        parts.push(visible(text(step, "note")));
    }
    let reason = text(step, "skip_reason");
    if !reason.is_empty() {
        parts.push(visible(words::skip_reason(reason)));
    }
    parts.join("; ")
}

/// Result fields worth a look at 6 a.m., by action.
fn interesting(action: &str) -> &'static [&'static str] {
    match action {
        "disk" => &["used_percent", "free_bytes", "inodes_used_percent"],
        "memory" => &["used_percent", "available_bytes", "swap_used_percent"],
        "load" => &["one", "five", "fifteen", "per_core"],
        "process" => &["count", "rss_bytes"],
        "file" => &["exists", "size_bytes", "age_seconds"],
        "clock" => &["offset_seconds"],
        "http" => &["status_code", "latency_seconds", "tls_days_left"],
        "tcp" => &["connected", "latency_seconds"],
        "dns" => &["rcode", "answers"],
        "tls" => &["days_left", "verified"],
        "service" => &["active", "state"],
        "find" => &["count", "total_bytes"],
        "nagios" => &["text"],
        "wait" => &["waited_seconds"],
        "prometheus" | "command" | "shell" | "script" => &["value"],
        _ => &[],
    }
}

fn values(step: &Value) -> String {
    let result = &step["result"];
    let mut shown = Vec::new();
    for name in interesting(text(step, "action")) {
        let value = match result.get(name) {
            None | Some(Value::Null | Value::Object(_)) => continue,
            // What is not there is said by the step's note or message.
            Some(Value::Bool(false)) if !text(step, "note").is_empty() => continue,
            Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
            Some(Value::String(text)) if text.is_empty() || text.contains('\n') => continue,
            Some(value) => quantity(name, value),
        };
        if width(&value) > VALUE_WIDTH {
            continue;
        }
        match *name {
            "value" | "text" => shown.push(value),
            _ => shown.push(format!("{} {value}", label(name))),
        }
    }
    shown.join(", ")
}

/// A field's name without its unit.
fn label(name: &str) -> String {
    let bare = ["_percent", "_bytes", "_seconds"].iter().find_map(|unit| name.strip_suffix(unit));
    bare.unwrap_or(name).replace('_', " ")
}

/// A field's value with its unit.
fn quantity(name: &str, value: &Value) -> String {
    match value.as_f64() {
        Some(number) if name.ends_with("_percent") => format!("{} %", round(number, 1)),
        Some(number) if name.ends_with("_bytes") && number >= 0.0 => show_size(number as u64),
        Some(number) if name.ends_with("_seconds") => {
            let sign = if number < 0.0 { "-" } else { "" };
            match Duration::try_from_secs_f64(number.abs()) {
                Ok(span) => format!("{sign}{}", show_duration(span)),
                Err(_) => inline(value),
            }
        }
        Some(number) if value.is_f64() => round(number, 3),
        _ => inline(value),
    }
}

/// At most so many decimals, and none that are zero.
pub(super) fn round(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn headline(run: &Value, paint: Paint) -> String {
    let runbook = &run["runbook"];
    let word = words::of_run(standing(run));
    let verdict = text(run, "verdict");
    let mut line = word.paint(paint, &format!("{} {}", word.sign, word.word));
    if !matches!(verdict, "" | "ok") {
        line.push_str(&format!(" ({verdict})"));
    }
    line.push_str(&format!(
        "  {} {}",
        visible(text(runbook, "name")),
        visible(text(runbook, "version"))
    ));
    let took = took(run, "duration_seconds");
    if !took.is_empty() {
        line.push_str(&format!("  in {took}"));
    }
    line.push('\n');
    line
}

/// Why the run ended, where no step says it.
fn message(run: &Value) -> String {
    let message = text(run, "message");
    if message.is_empty() { String::new() } else { format!("{}\n", visible(message)) }
}

/// Which problems are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// All.
    All,
    /// Those with something to add to a report that names each step already.
    WithOutput,
}

/// The steps that went wrong, each with why and the last lines of its output.
fn problems(run: &Value, told: Told, paint: Paint, tails: &Tails<'_>) -> String {
    let id = text(run, "id");
    let mut shown = String::new();
    for step in steps(run) {
        let (status, verdict) = (text(step, "status"), text(step, "verdict"));
        let word = words::of_step(status, verdict);
        let is_holder = matches!(text(step, "action"), "block" | "switch");
        if word.mood != Mood::Bad || is_holder {
            continue;
        }
        let name = text(step, "id");
        let tail = tails(name);
        let has_left = step.get("left").is_some();
        if told == Told::WithOutput && tail.is_none() && !has_left {
            continue;
        }
        let title = visible(text(step, "title"));
        let title = if title == name { String::new() } else { format!(" ({title})") };
        let step_line = format!("{} {} {}{title}", word.sign, visible(name), word.word);
        shown.push_str(&format!("\n{}", word.paint(paint, &step_line)));
        if let Some(error) = step.get("error").filter(|error| error.is_object()) {
            let code = text(error, "code");
            let message = visible_text(text(error, "message")).replace('\n', "\n  ");
            shown.push_str(&format!("\n  {message}"));
            if !code.is_empty() {
                shown.push_str(&paint.dim(&format!(" [{}]", visible(code))));
            }
        }
        shown.push('\n');
        if let Some(tail) = tail {
            let flag = if tail.stream == "stderr" { " --stderr" } else { "" };
            if tail.is_cut {
                let all = format!("runwarden runs output {id} {}{flag}", visible(name));
                shown.push_str(&format!("  the end of its {} (all: {all})\n", tail.stream));
            } else {
                shown.push_str(&format!("  its {}\n", tail.stream));
            }
            for line in &tail.lines {
                shown.push_str(&format!("  | {line}\n"));
            }
        }
        for left in step.get("left").and_then(Value::as_array).into_iter().flatten() {
            shown.push_str(&format!("  could not be ended: {}\n", inline(left)));
        }
    }
    let left = run.get("left_to_undo").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !left.is_empty() {
        let left: Vec<String> = left.iter().map(inline).collect();
        shown.push_str(&format!("\nnot undone: {}\n", left.join(", ")));
    }
    shown
}

/// Objects of the run that are not empty, a line an entry.
fn fields(run: &Value, names: &[&str]) -> String {
    let mut shown = String::new();
    for name in names {
        let Some(object) = run.get(name).and_then(Value::as_object) else { continue };
        let rows: Vec<Vec<String>> = object
            .iter()
            .map(|(key, value)| {
                let value = if *name == "measures" { quantity(key, value) } else { inline(value) };
                vec![format!("  {}", visible(key)), value]
            })
            .collect();
        if !rows.is_empty() {
            shown.push_str(&format!("{name}\n{}", table(&rows)));
        }
    }
    shown
}

/// Where it stands in the log, and how to see more or go on.
fn footer(run: &Value, beside: Beside) -> String {
    let id = text(run, "id");
    let mut rows = vec![("run", id.to_owned())];
    if let Some(log) = run.get("log").filter(|log| log.is_object()) {
        let number = |key| inline(&log[key]);
        rows.push((
            "log",
            format!(
                "entries {} to {}, size {}, root {}",
                number("first_seq"),
                number("last_seq"),
                number("size"),
                inline(&log["root"])
            ),
        ));
    }
    rows.push(("more", format!("runwarden runs show {id}")));
    if text(run, "state") != "finished" {
        rows.extend(ways_on(run, beside));
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect();
    table(&rows)
}

/// What a person can do about a run that waits.
fn ways_on(run: &Value, beside: Beside) -> Vec<(&'static str, String)> {
    let id = text(run, "id");
    if let Some(step) = manual(run) {
        let command = format!("runwarden approvals confirm {id}/{}", visible(step));
        return vec![("confirm", command)];
    }
    if text(run, "state") != "suspended" {
        return vec![("watch", format!("runwarden runs watch {id}"))];
    }
    ways_to_resume(id, beside.is_held).into_iter().map(|way| ("go on", way)).collect()
}

/// The commands that resume a run that is suspended.
pub(super) fn ways_to_resume(id: &str, is_held: bool) -> Vec<String> {
    let ways: &[&str] = match is_held {
        true => &[" --retry", " --skip", " --stop"],
        false => &["", " --stop"],
    };
    ways.iter().map(|way| format!("runwarden runs resume {id}{way}")).collect()
}

/// Everything about a run.
#[must_use]
pub(super) fn whole(run: &Value, beside: Beside, paint: Paint, tails: &Tails<'_>) -> String {
    let runbook = &run["runbook"];
    let mut shown = format!("{}\n", paint.bold(&visible(text(runbook, "title"))));
    shown.push_str(&headline(run, paint));
    if beside.is_orphan {
        let line = "its process died while it was under way; nothing of it is running";
        shown.push_str(&format!("{}\n", paint.yellow(line)));
    }
    shown.push('\n');
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![key.to_owned(), value]);
        }
    };
    row("run", visible(text(run, "id")));
    row("runbook", visible(text(runbook, "path")));
    row("kind", visible(text(runbook, "kind")));
    row("digest", visible(text(runbook, "digest")));
    row("plan", visible(text(run, "plan_digest")));
    row("requester", visible(text(&run["requester"], "principal")));
    row("reason", visible(text(run, "reason")));
    row("ticket", visible(text(run, "ticket")));
    for (key, name) in
        [("asked for", "created_at"), ("started", "started_at"), ("finished", "finished_at")]
    {
        let at = text(run, name);
        row(key, if at.is_empty() { String::new() } else { moment(at) });
    }
    shown.push_str(&table(&rows));
    shown.push_str(&fields(run, &["inputs"]));
    shown.push_str("\nsteps\n");
    let rows: Vec<Vec<String>> = steps(run).iter().map(step_row).collect();
    shown.push_str(&table(&rows));
    let problems = problems(run, Told::All, paint, tails);
    if problems.is_empty() {
        shown.push_str(&message(run));
    }
    shown.push_str(&problems);
    shown.push('\n');
    shown.push_str(&fields(run, &["outputs", "measures"]));
    shown.push_str(&footer(run, beside));
    shown
}

fn step_row(step: &Value) -> Vec<String> {
    let is_running = step.get("started_at").is_some_and(Value::is_string);
    let status = match text(step, "status") {
        "" if is_running && text(step, "action") != "manual" => "running",
        status => status,
    };
    let word = words::of_step(status, text(step, "verdict"));
    let attempts = step.get("attempts").and_then(Value::as_u64).unwrap_or(0);
    let attempts = if attempts > 1 { format!("{attempts} attempts") } else { String::new() };
    let (id, title) = (visible(text(step, "id")), visible(text(step, "title")));
    let title = if title == id { String::new() } else { title };
    vec![
        format!("  {} {}", word.sign, word.word),
        id,
        text(step, "action").to_owned(),
        took(step, "duration_seconds"),
        attempts,
        title,
        if word.mood == Mood::Bad { String::new() } else { finding(step) },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run() -> Value {
        json!({
            "id": "0192aaaa-0000-7000-8000-000000000000",
            "runbook": { "name": "host", "version": "1.0.0", "kind": "health-check", "title": "Host" },
            "state": "finished", "outcome": "degraded", "verdict": "warning",
            "finished_at": "2026-01-02T03:04:05.678Z", "duration_seconds": 0.25,
            "steps": [
                { "id": "disk", "title": "Disk", "action": "disk", "status": "succeeded",
                  "verdict": "warning",
                  "result": { "used_percent": 91.25, "free_bytes": 1536, "inodes_used_percent": 3.0 } },
                { "id": "calc", "title": "calc", "action": "set", "status": "succeeded", "verdict": "ok",
                  "result": {} },
                { "id": "swap", "title": "Swap", "action": "memory", "status": "skipped", "verdict": "ok",
                  "result": null, "skip_reason": "when" },
            ],
            "measures": { "disk_used_percent": 91.25, "odd='name": 1e21 },
            "log": { "first_seq": 1, "last_seq": 7, "size": 8, "root": "abc=" },
        })
    }

    /// Goal: what an operator reads at 6 a.m. is all there, and below one another.
    #[test]
    fn a_health_check_is_a_report() {
        let shown = brief(&run(), Beside::default(), Paint::OFF, &|_| None);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("Host on "), "{shown}");
        assert!(lines[0].ends_with(", 2026-01-02 03:04:05Z"), "{shown}");
        assert_eq!(lines[1], "! degraded (warning)  host 1.0.0  in 250ms");
        assert_eq!(lines[3], "! warning     Disk  used 91.2 %, free 1.5 KiB, inodes used 3 %");
        assert_eq!(lines[4], "– skipped     Swap  its `when` does not hold");
        assert_eq!(lines[6], "2 checks: 1 warning, 1 skipped");
        assert!(shown.contains("log   entries 1 to 7, size 8, root abc=\n"), "{shown}");
    }

    /// Goal: a failure says why, shows the end of the output, and how to see all of it.
    #[test]
    fn a_failure_shows_the_end_of_the_output() {
        let mut run = run();
        run["runbook"]["kind"] = json!("task");
        run["outcome"] = json!("failed");
        run["steps"] = json!([{ "id": "go", "title": "Go", "action": "shell", "status": "failed",
            "verdict": "critical", "error": { "code": "E_EXIT", "message": "exit code 1\x1b" } }]);
        let tail = Tail { stream: "stderr", lines: vec!["boom".to_owned()], is_cut: true };
        let shown = brief(&run, Beside::default(), Paint::OFF, &|_| Some(tail.clone()));
        let want = "\n✗ go failed (Go)\n  exit code 1\\x1b [E_EXIT]\n  the end of its stderr (all: \
                    runwarden runs output 0192aaaa-0000-7000-8000-000000000000 go --stderr)\n  | boom\n";
        assert!(shown.contains(want), "{shown}");
    }
}
