//! `nagios`: a monitoring plugin, read by the Monitoring Plugins Development Guidelines: what it
//! found is its exit code, its text the first line, its measures what follows `|`.

use std::fs::File;
use std::io::Read;

use serde_json::{Number, Value, json};

use crate::limits::EXPRESSION_OUTPUT_BYTES_MAX;
use crate::outcome::{Captured, End, Kept, Outcome, Verdict};
use crate::runbook::params::Nagios;

use super::{Cx, command, process};

/// Runs the plugin. Any exit code is a finding: 0 to 3 by the guidelines, others and a signal are
/// `unknown`.
pub(super) async fn perform(params: &Nagios, cx: &Cx) -> Outcome {
    let end = process::run_process(&params.command, &params.process, cx).await;
    let code = end.exit_code;
    let mut outcome = command::outcome(end);
    let Some(stdout) = &outcome.stdout else { return outcome };
    let stdout = text_of(stdout);
    let mut output = parse(&stdout);
    if output.text.is_empty() && output.perfdata.is_empty() {
        // A plugin that broke says why on the other stream.
        let stderr = outcome.stderr.as_ref().map(text_of).unwrap_or_default();
        output.text = stderr.lines().next().unwrap_or_default().trim().to_owned();
    }
    let verdict = verdict(code);
    if outcome.end == End::Completed {
        outcome.rule = Some(verdict);
    }
    let fields = &mut outcome.fields;
    fields.insert("plugin_status".to_owned(), Value::String(verdict.to_string()));
    fields.insert("text".to_owned(), Value::String(output.text));
    fields.insert("perfdata".to_owned(), Value::Array(output.perfdata));
    outcome
}

fn verdict(exit_code: Option<i32>) -> Verdict {
    match exit_code {
        Some(0) => Verdict::Ok,
        Some(1) => Verdict::Warning,
        Some(2) => Verdict::Critical,
        _ => Verdict::Unknown,
    }
}

/// What is kept of it, as far as expressions would see it.
fn text_of(captured: &Captured) -> String {
    let mut bytes = Vec::new();
    match &captured.kept {
        Kept::Memory(kept) => bytes.extend_from_slice(kept),
        Kept::File { path, .. } => {
            if let Ok(file) = File::open(path) {
                let _ = file.take(EXPRESSION_OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[derive(Debug, Default)]
struct Output {
    text: String,
    perfdata: Vec<Value>,
}

/// First line: `text | perfdata`. Further lines: long text, until one has a `|`; what follows that,
/// to the end, is perfdata again.
fn parse(stdout: &str) -> Output {
    let (first, further) = stdout.split_once('\n').unwrap_or((stdout, ""));
    let (text, measures) = first.split_once('|').unwrap_or((first, ""));
    let mut perfdata = parse_perfdata(measures);
    if let Some((_, measures)) = further.split_once('|') {
        perfdata.extend(parse_perfdata(measures));
    }
    Output { text: text.trim().to_owned(), perfdata }
}

/// `'label'=value[unit];[warn];[crit];[min];[max]`, separated by white space. What is written
/// otherwise is passed over: plugins are many, and their status does not hang on it.
fn parse_perfdata(text: &str) -> Vec<Value> {
    let mut measures = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (label, behind) = match label(rest) {
            Some(found) => found,
            None => {
                rest =
                    rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
                continue;
            }
        };
        let (data, behind) = behind.split_once(char::is_whitespace).unwrap_or((behind, ""));
        measures.extend(measure(&label, data));
        rest = behind.trim_start();
    }
    measures
}

/// The label and what follows its `=`. A quoted one may hold anything; a quote inside is doubled.
fn label(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(|char: char| char == '=' || char.is_whitespace())?;
        let behind = text[end..].strip_prefix('=')?;
        return (end > 0).then(|| (text[..end].to_owned(), behind));
    };
    let mut label = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        if char != '\'' {
            label.push(char);
        } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
            label.push('\'');
        } else {
            return quoted[at + 1..].strip_prefix('=').map(|behind| (label, behind));
        }
    }
    None
}

fn measure(label: &str, data: &str) -> Option<Value> {
    let mut parts = data.split(';');
    let value = parts.next()?;
    let is_of_number = |char: char| char.is_ascii_digit() || "+-.".contains(char);
    let (value, unit) = match value.strip_prefix('U') {
        // "Could not be determined": a measure without a value.
        Some("") => (Value::Null, ""),
        _ => {
            let end = value.find(|char| !is_of_number(char)).unwrap_or(value.len());
            let (digits, unit) = value.split_at(end);
            // 1e3: then the unit begins after the exponent.
            match exponent(unit) {
                Some(length) => (number(&value[..end + length])?, &unit[length..]),
                None => (number(digits)?, unit),
            }
        }
    };
    let mut range = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
    let (warn, crit) = (range(), range());
    let mut bound = || range().and_then(|part| number(&part));
    let (min, max) = (bound(), bound());
    Some(json!({
        "label": label, "value": value, "unit": unit,
        "warn": warn, "crit": crit, "min": min, "max": max,
    }))
}

/// Length of `e3`, `E-05` at the start of `text`.
fn exponent(text: &str) -> Option<usize> {
    let behind = text.strip_prefix(['e', 'E'])?;
    let digits = behind.strip_prefix(['+', '-']).unwrap_or(behind);
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    (count > 0).then(|| text.len() - digits.len() + count)
}

/// A whole number stays one.
fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    text.parse().ok().and_then(Number::from_f64).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One measure as `label=value unit [warn crit min max]`, to read cases by eye.
    fn shown(measure: &Value) -> String {
        let text = |key: &str| match &measure[key] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let bounds = ["warn", "crit", "min", "max"].map(text).join(" ");
        format!("{}={} {} [{bounds}]", text("label"), text("value"), text("unit"))
    }

    #[test]
    fn output_is_read_by_the_guidelines() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("", "", &[]),
            ("OK - fine\n", "OK - fine", &[]),
            ("OK | load=0.5;1;2;0;\n", "OK", &["load=0.5  [1 2 0 -]"]),
            (
                "DISK OK | /=2643MB;5948;5958;0;5968 /boot=68MB\nlong\ntext | a=1\nb=2s\n",
                "DISK OK",
                &[
                    "/=2643 MB [5948 5958 0 5968]",
                    "/boot=68 MB [- - - -]",
                    "a=1  [- - - -]",
                    "b=2 s [- - - -]",
                ],
            ),
            ("x|'a b''c=d'=3%;@1:2;~:9", "x", &["a b'c=d=3 % [@1:2 ~:9 - -]"]),
            ("x|t=U;1;2", "x", &["t=-  [1 2 - -]"]),
            (
                "x|t=1.5e-3s big=9223372036854775808",
                "x",
                &["t=0.0015 s [- - - -]", "big=9.223372036854776e+18  [- - - -]"],
            ),
            (
                "x|junk a= =1 'open b=1 'q'x=1 n=NaN e=-.5c",
                "x",
                &["b=1  [- - - -]", "e=-0.5 c [- - - -]"],
            ),
            ("ä|ü=1€", "ä", &["ü=1 € [- - - -]"]),
        ];
        for (stdout, text, measures) in cases {
            let output = parse(stdout);
            assert_eq!(output.text, *text, "{stdout}");
            let got: Vec<String> = output.perfdata.iter().map(shown).collect();
            assert_eq!(got, *measures, "{stdout}");
        }
    }

    #[test]
    fn codes_are_findings() {
        let cases = [
            (Some(0), Verdict::Ok),
            (Some(1), Verdict::Warning),
            (Some(2), Verdict::Critical),
            (Some(3), Verdict::Unknown),
            (Some(127), Verdict::Unknown),
            (None, Verdict::Unknown),
        ];
        for (code, expected) in cases {
            assert_eq!(verdict(code), expected, "{code:?}");
        }
    }
}
