//! From what an attempt found to what it means: `exit`, `parse`, `expect`, `warn`, `changed`,
//! `measure`, `outputs` (spec 1, "Rules that hold everywhere").

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::event::{Output, Status};
use super::scope::without_newline;
use crate::limits::{EXPRESSION_OUTPUT_BYTES_MAX, RESULT_BYTES_MAX};
use crate::outcome::{End, ErrorInfo, Outcome, Verdict};
use crate::runbook::expr::Expr;
use crate::runbook::model::{Effect, ExitCodes, Parse, Step};
use crate::runbook::scope::Scope;

/// What an attempt came back with, its outputs already stored.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How it ended and what it found.
    pub outcome: Outcome,
    /// Standard output; `None` if empty.
    pub stdout: Option<Text>,
    /// Standard error; `None` if empty.
    pub stderr: Option<Text>,
}

/// One stored output.
#[derive(Clone, Debug)]
pub struct Text {
    /// What the log will say of it.
    pub output: Output,
    /// All of it, where it is whole and at most `EXPRESSION_OUTPUT_BYTES_MAX`.
    pub whole: Option<Vec<u8>>,
    /// Its last bytes, for messages.
    pub tail: Vec<u8>,
}

/// What an attempt means.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What became of it.
    pub status: Status,
    /// What it found.
    pub verdict: Verdict,
    /// Whether it changed something.
    pub changed: bool,
    /// Why not.
    pub error: Option<ErrorInfo>,
    /// What is to be said of a step that succeeded.
    pub note: Option<String>,
    /// The action's own fields; `value` where it is not just the text of `stdout`.
    pub result: Map<String, Value>,
    /// Published by the step.
    pub outputs: Map<String, Value>,
    /// Kept for trends.
    pub measures: BTreeMap<String, f64>,
    /// What `result` is in the step's own expressions.
    pub seen: Value,
}

/// Judges an attempt of `step`. `scope` is the one in which the step was rendered.
#[must_use]
pub fn judge(step: &Step, report: &Report, scope: &Scope, attempt: u32) -> Judged {
    let outcome = &report.outcome;
    let mut judged = Judged {
        status: Status::Succeeded,
        verdict: Verdict::Ok,
        changed: false,
        error: outcome.error.clone(),
        note: None,
        result: outcome.fields.clone(),
        outputs: Map::new(),
        measures: BTreeMap::new(),
        seen: Value::Null,
    };
    if let Some(status) = ended_by_force(outcome.end) {
        judged.status = status;
        judged.verdict = Verdict::Unknown;
        judged.changed = step.effect == Effect::Change && outcome.end != End::NotStarted;
        judged.error.get_or_insert_with(|| forced_error(outcome.end, step));
        judged.seen = Value::Object(judged.result.clone());
        return judged;
    }
    let value = parse_value(step, report);
    let mut seen = judged.result.clone();
    let stdout = text_of(report.stdout.as_ref());
    if outcome.fields.contains_key("exit_code") {
        if let Some(text) = &stdout {
            seen.insert("stdout".to_owned(), json!(text));
        }
        if let Some(text) = text_of(report.stderr.as_ref()) {
            seen.insert("stderr".to_owned(), json!(text));
        }
    }
    let mut parse_error = None;
    match value {
        Ok(Some(value)) => {
            if !matches!(step.parse, None | Some(Parse::Text)) {
                judged.result.insert("value".to_owned(), value.clone());
            }
            seen.insert("value".to_owned(), value);
        }
        Ok(None) => {}
        Err(error) => parse_error = Some(error),
    }
    seen.insert("attempts".to_owned(), json!(attempt));
    if let Some(error) = &judged.error {
        seen.insert("error".to_owned(), json!(error));
    }
    judged.seen = Value::Object(seen);
    let scope = scope.clone().with("result", judged.seen.clone());
    judged.rule(step, report);
    // What failed by its exit code has said why: that its output is no value follows from it.
    if let Some(error) = parse_error
        && judged.status != Status::Failed
    {
        judged.not_evaluable(error);
    }
    judged.expressions(step, &scope);
    judged.changes(step, outcome, &scope);
    judged.publish(step, outcome, &scope);
    judged
}

fn ended_by_force(end: End) -> Option<Status> {
    match end {
        End::Completed => None,
        End::NotStarted => Some(Status::Failed),
        End::Unreachable => Some(Status::Unreachable),
        End::TimedOut => Some(Status::TimedOut),
        End::Cancelled => Some(Status::Cancelled),
        End::Interrupted => Some(Status::Interrupted),
    }
}

fn forced_error(end: End, step: &Step) -> ErrorInfo {
    let (code, message) = match end {
        End::TimedOut => (
            "E_TIMEOUT",
            match step.timeout {
                Some(timeout) => {
                    format!("ended after its timeout of {}", crate::unit::show_duration(timeout))
                }
                None => "ended at its deadline".to_owned(),
            },
        ),
        End::Cancelled => ("E_CANCELLED", "ended on request".to_owned()),
        End::Interrupted => {
            ("E_INTERRUPTED", "its end is unknown: it may have happened".to_owned())
        }
        End::Unreachable => ("E_UNREACHABLE", "could not be reached".to_owned()),
        End::NotStarted | End::Completed => ("E_SPAWN", "could not be started".to_owned()),
    };
    ErrorInfo { code: code.to_owned(), message }
}

fn text_of(text: Option<&Text>) -> Option<String> {
    match text {
        None => Some(String::new()),
        Some(text) => text.whole.as_ref().map(|whole| String::from_utf8_lossy(whole).into_owned()),
    }
}

/// `value` of a process; `Ok(None)` where there is none and nobody said there must be.
fn parse_value(step: &Step, report: &Report) -> Result<Option<Value>, ErrorInfo> {
    if !report.outcome.fields.contains_key("exit_code") {
        return Ok(None);
    }
    let written = step.parse.as_ref();
    let Some(text) = text_of(report.stdout.as_ref()) else {
        return match written {
            None | Some(Parse::None) => Ok(None),
            Some(_) => Err(error(
                "E_RESULT_TOO_LARGE",
                format!(
                    "standard output is larger than the {EXPRESSION_OUTPUT_BYTES_MAX} bytes \
                     that `parse` reads"
                ),
            )),
        };
    };
    let value = match written {
        None | Some(Parse::Text) => json!(without_newline(&text)),
        Some(Parse::None) => return Ok(None),
        Some(Parse::Lines) => text.lines().map(Value::from).collect(),
        Some(Parse::Number) => parse_number(&text)?,
        Some(Parse::Json) => serde_json::from_str(&text).map_err(|why| {
            error("E_PARSE", format!("standard output is not JSON: {why}: `{}`", shorten(&text)))
        })?,
        Some(Parse::Regex(regex)) => match_groups(regex, &text)?,
    };
    let is_written = written.is_some();
    if is_written && value.to_string().len() > RESULT_BYTES_MAX {
        let message = format!("`value` is larger than {RESULT_BYTES_MAX} bytes");
        return Err(error("E_RESULT_TOO_LARGE", message));
    }
    Ok(Some(value))
}

fn parse_number(text: &str) -> Result<Value, ErrorInfo> {
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse::<i64>() {
        return Ok(json!(number));
    }
    match trimmed.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(json!(number)),
        _ => Err(error(
            "E_PARSE",
            format!("standard output is not a number: `{}`", shorten(trimmed)),
        )),
    }
}

/// Named groups as an object, else group 1, else the whole match.
fn match_groups(regex: &regex::Regex, text: &str) -> Result<Value, ErrorInfo> {
    let Some(found) = regex.captures(text) else {
        let message = format!("`{regex}` matches nothing in standard output: `{}`", shorten(text));
        return Err(error("E_PARSE", message));
    };
    let named: Map<String, Value> = regex
        .capture_names()
        .flatten()
        .filter_map(|name| Some((name.to_owned(), json!(found.name(name)?.as_str()))))
        .collect();
    if regex.capture_names().flatten().next().is_some() {
        return Ok(Value::Object(named));
    }
    Ok(json!(found.get(1).or(found.get(0)).map(|group| group.as_str())))
}

/// At most 60 characters of a text, on one line, for a message.
fn shorten(text: &str) -> String {
    let line: String = text.chars().take(60).collect::<String>().escape_debug().to_string();
    if text.chars().nth(60).is_some() { format!("{line}…") } else { line }
}

fn error(code: &str, message: String) -> ErrorInfo {
    ErrorInfo { code: code.to_owned(), message }
}

impl Judged {
    /// The action's own rule, or the exit code's. With `expect` it holds only where the author
    /// wrote `exit` as well.
    fn rule(&mut self, step: &Step, report: &Report) {
        let outcome = &report.outcome;
        let is_overruled = step.expect.is_some() && step.exit.is_none();
        if is_overruled && outcome.rule != Some(Verdict::Unknown) {
            self.settle_error(step, outcome);
            return;
        }
        let verdict = match (outcome.rule, outcome.fields.get("exit_code")) {
            (Some(rule), _) => rule,
            (None, Some(code)) => exit_verdict(step.exit.as_ref(), code.as_i64()),
            (None, None) => Verdict::Ok,
        };
        self.verdict = verdict;
        if verdict <= Verdict::Warning {
            self.settle_error(step, outcome);
            return;
        }
        self.status = Status::Failed;
        if self.error.is_none() {
            self.error = Some(exit_error(report, step.sensitive));
        }
    }

    /// An action that found what it wanted has no error, only something to say; but what it wrote
    /// to `$RUNWARDEN_OUTPUT` must have been readable.
    fn settle_error(&mut self, step: &Step, outcome: &Outcome) {
        let is_unreadable = !step.outputs.is_empty() && outcome.outputs.is_none();
        match self.error.take() {
            Some(error) if is_unreadable && outcome.fields.contains_key("exit_code") => {
                self.not_evaluable(error);
            }
            Some(error) => self.note = Some(error.message),
            None => {}
        }
    }

    fn not_evaluable(&mut self, error: ErrorInfo) {
        self.status = Status::Failed;
        self.verdict = Verdict::Unknown;
        self.error = Some(error);
    }

    fn expressions(&mut self, step: &Step, scope: &Scope) {
        // What could not be carried out is not evaluable either.
        let could_not = self.verdict == Verdict::Unknown && self.status == Status::Failed;
        if let Some(expect) = &step.expect
            && !could_not
        {
            match expect.test(scope) {
                Ok(true) => {}
                Ok(false) => {
                    self.status = Status::Failed;
                    self.verdict = Verdict::Critical;
                    self.error =
                        Some(error("E_EXPECT", seen_values("expected", expect, scope, step)));
                }
                Err(why) => self.not_evaluable(error("E_EXPRESSION", format!("`expect`: {why}"))),
            }
        }
        if let Some(warn) = &step.warn
            && self.status == Status::Succeeded
        {
            match warn.test(scope) {
                Ok(true) => {
                    self.verdict = self.verdict.max(Verdict::Warning);
                    self.note = Some(seen_values("warning", warn, scope, step));
                }
                Ok(false) => {}
                Err(why) => self.not_evaluable(error("E_EXPRESSION", format!("`warn`: {why}"))),
            }
        }
    }

    fn changes(&mut self, step: &Step, outcome: &Outcome, scope: &Scope) {
        self.changed = outcome.changed.unwrap_or(step.effect == Effect::Change);
        if let Some(changed) = &step.changed {
            match changed.test(scope) {
                Ok(changed) => self.changed = changed,
                Err(why) => self.not_evaluable(error("E_EXPRESSION", format!("`changed`: {why}"))),
            }
        }
    }

    /// Only an attempt that succeeded publishes.
    fn publish(&mut self, step: &Step, outcome: &Outcome, scope: &Scope) {
        if self.status != Status::Succeeded {
            return;
        }
        if let (Some(bytes), false) = (&outcome.outputs, step.outputs.is_empty()) {
            match crate::runbook::value::parse_outputs(&step.outputs, bytes) {
                Ok(outputs) => self.outputs = outputs,
                Err(error) => return self.not_evaluable(error),
            }
        }
        for (name, expr) in &step.measure {
            match expr.eval(scope).map(|value| value.as_f64()) {
                Ok(Some(number)) if number.is_finite() => {
                    self.measures.insert(name.clone(), number);
                }
                Ok(_) => {
                    let message = format!("`measure.{name}` is not a number");
                    return self.not_evaluable(error("E_MEASURE", message));
                }
                Err(why) => {
                    let message = format!("`measure.{name}`: {why}");
                    return self.not_evaluable(error("E_EXPRESSION", message));
                }
            }
        }
    }
}

fn exit_verdict(exit: Option<&ExitCodes>, code: Option<i64>) -> Verdict {
    let Some(code) = code.and_then(|code| i32::try_from(code).ok()) else {
        return Verdict::Critical;
    };
    match exit {
        None => [Verdict::Critical, Verdict::Ok][usize::from(code == 0)],
        Some(exit) if exit.ok.contains(&code) => Verdict::Ok,
        Some(exit) if exit.warning.contains(&code) => Verdict::Warning,
        Some(_) => Verdict::Critical,
    }
}

fn exit_error(report: &Report, is_sensitive: bool) -> ErrorInfo {
    let fields = &report.outcome.fields;
    let mut message = match (fields.get("exit_code"), fields.get("signal")) {
        (_, Some(Value::String(signal))) => format!("ended by {signal}"),
        (Some(code), _) if !code.is_null() => format!("exited with {code}"),
        _ => "the action's own rule does not hold".to_owned(),
    };
    if let Some(line) = last_line(report).filter(|_| !is_sensitive) {
        message.push_str(": ");
        message.push_str(&line);
    }
    error(if fields.contains_key("exit_code") { "E_EXIT" } else { "E_RULE" }, message)
}

/// The last line that says something: of standard error, else of standard output.
fn last_line(report: &Report) -> Option<String> {
    let texts = [report.stderr.as_ref(), report.stdout.as_ref()];
    texts.into_iter().flatten().find_map(|text| {
        let text = String::from_utf8_lossy(&text.tail).into_owned();
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?.trim().to_owned();
        Some(line.chars().take(200).collect())
    })
}

/// The expression, and what the first names in it were: `expected `result.used_percent < 90`;
/// result.used_percent is 95.2`.
fn seen_values(what: &str, expr: &Expr, scope: &Scope, step: &Step) -> String {
    let mut text = format!("{what} `{}`", expr.source());
    if step.sensitive {
        return text;
    }
    for name in expr.names().iter().take(3) {
        let pointer: String = name.iter().skip(1).map(|part| format!("/{part}")).collect();
        let Some(value) = scope.roots.get(&name[0]).and_then(|root| root.pointer(&pointer)) else {
            continue;
        };
        if value.is_object() || value.is_array() {
            continue;
        }
        text.push_str(&format!("; {} is {}", name.join("."), shorten(&value.to_string())));
    }
    text
}
