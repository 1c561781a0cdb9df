//! Types of inputs, answers and outputs, and the values that fit them.
//!
//! A value is read by its type once, at the edge; nothing here opens a file or looks at the
//! environment, so `@/etc/passwd` or `${HOME}` in a value are those characters and no more.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::expr::nearest;
use super::model::Input;
use crate::limits::{INPUT_BYTES_MAX, RESULT_BYTES_MAX};
use crate::outcome::ErrorInfo;
use crate::unit::{parse_duration, parse_size, show_duration, show_size};

mod schema;

#[cfg(test)]
mod tests;

pub use schema::inputs_schema;

/// Integers that JSON, and so the log, can hold exactly: 2^53 - 1 and its negative.
const INTEGER_MAX: i64 = 9_007_199_254_740_991;
/// Characters of a refused value that its error shows.
const SHOWN_MAX: usize = 60;

/// A type with its bounds (spec 1, Inputs).
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Inputs")]
pub enum InputType {
    String {
        pattern: Option<regex::Regex>,
        min_length: Option<u64>,
        max_length: Option<u64>,
        values: Vec<String>,
    },
    Integer {
        minimum: Option<i64>,
        maximum: Option<i64>,
    },
    Number {
        minimum: Option<f64>,
        maximum: Option<f64>,
    },
    Boolean,
    /// Kept as a number of seconds.
    Duration {
        minimum: Option<Duration>,
        maximum: Option<Duration>,
    },
    /// Kept as a number of bytes.
    Size {
        minimum: Option<u64>,
        maximum: Option<u64>,
    },
    /// Kept as RFC 3339 text, in UTC with milliseconds, so that text order is order of time.
    Timestamp,
    /// A target's name or a selector.
    Target {
        one: bool,
    },
    List {
        items: Option<Box<InputType>>,
        min_items: Option<u64>,
        max_items: Option<u64>,
    },
    Object {
        properties: Vec<(String, InputType, /* required */ bool)>,
    },
}

impl InputType {
    /// What it is, with its article: "an integer".
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            InputType::String { .. } => "a string",
            InputType::Integer { .. } => "an integer",
            InputType::Number { .. } => "a number",
            InputType::Boolean => "a boolean",
            InputType::Duration { .. } => "a duration",
            InputType::Size { .. } => "a size",
            InputType::Timestamp => "a timestamp",
            InputType::Target { one: true } => "the name of a target",
            InputType::Target { one: false } => "a target's name or a selector",
            InputType::List { .. } => "a list",
            InputType::Object { .. } => "an object",
        }
    }

    /// The value that `given` stands for, or why it does not fit.
    ///
    /// `given` comes from JSON, YAML or, as a string, from a command line: a string is read as the
    /// type says (`"64"` for an integer, `"30s"` for a duration, `"a,b"` or `"[1, 2]"` for a list,
    /// JSON for an object); nothing else is converted.
    ///
    /// # Errors
    ///
    /// One line that names the bound and the value, to stand after "input `x`: ".
    pub fn accept(&self, given: &Value) -> Result<Value, String> {
        Reader { is_shown: true }.top(self, given)
    }

    /// As [`InputType::accept`], of a text such as the right side of `name=value`.
    ///
    /// # Errors
    ///
    /// As [`InputType::accept`].
    pub fn accept_text(&self, given: &str) -> Result<Value, String> {
        self.accept(&Value::String(given.to_owned()))
    }

    /// Its JSON Schema (2020-12).
    #[must_use]
    pub fn to_json_schema(&self) -> Value {
        schema::of(self)
    }
}

/// Reads values; of what a step wrote, which may be sensitive, errors show nothing.
#[derive(Clone, Copy)]
struct Reader {
    is_shown: bool,
}

impl Reader {
    fn top(self, ty: &InputType, given: &Value) -> Result<Value, String> {
        let bytes = super::expr::value::size(given, INPUT_BYTES_MAX);
        if bytes > INPUT_BYTES_MAX {
            return Err(format!("a value is at most {} large", show_size(INPUT_BYTES_MAX as u64)));
        }
        self.read(ty, given)
    }

    /// The value as an error shows it.
    fn show(self, value: &Value) -> String {
        if !self.is_shown {
            return "the value".to_owned();
        }
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut shown: String = text.chars().take(SHOWN_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        format!("`{}`", shown.replace(char::is_control, "\u{fffd}"))
    }

    fn mismatch(self, ty: &InputType, given: &Value) -> String {
        format!("expected {}, got {}", ty.kind(), self.with_kind(given))
    }

    fn with_kind(self, given: &Value) -> String {
        match given {
            Value::Null => "null".to_owned(),
            Value::String(_) => format!("the text {}", self.show(given)),
            Value::Bool(_) | Value::Number(_) => self.show(given),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        }
    }

    fn read(self, ty: &InputType, given: &Value) -> Result<Value, String> {
        let mismatch = || self.mismatch(ty, given);
        match ty {
            InputType::String { .. } => self.string(ty, given),
            InputType::Integer { .. }
            | InputType::Number { .. }
            | InputType::Duration { .. }
            | InputType::Size { .. } => self.quantity(ty, given),
            InputType::Boolean => match given {
                Value::Bool(_) => Ok(given.clone()),
                Value::String(text) if text == "true" => Ok(true.into()),
                Value::String(text) if text == "false" => Ok(false.into()),
                _ => Err(format!("{}: write `true` or `false`", mismatch())),
            },
            InputType::Timestamp => {
                let instant =
                    given.as_str().and_then(|text| text.parse::<crate::time::Timestamp>().ok());
                let instant = instant
                    .ok_or_else(|| format!("{}: write `2026-01-31T12:00:00Z`", mismatch()))?;
                Ok(instant.to_string().into())
            }
            InputType::Target { one } => self.target(ty, *one, given),
            InputType::List { items, min_items, max_items } => {
                let list = list(given, items.as_deref()).ok_or_else(mismatch)?;
                let count = list.len() as u64;
                let show = |count: &u64| format!("{count} items");
                let shown = Value::from(count);
                Reader { is_shown: true }
                    .bounds(&shown, &count, min_items.as_ref(), max_items.as_ref(), show)
                    .map_err(|why| format!("the number of items: {why}"))?;
                let read = list.iter().enumerate().map(|(index, item)| match items {
                    Some(ty) => {
                        self.read(ty, item).map_err(|why| format!("item {}: {why}", index + 1))
                    }
                    None => Ok(item.clone()),
                });
                read.collect::<Result<_, _>>().map(Value::Array)
            }
            InputType::Object { properties } => self.object(ty, properties, given),
        }
    }

    /// A number, or what is kept as one.
    fn quantity(self, ty: &InputType, given: &Value) -> Result<Value, String> {
        let mismatch = || self.mismatch(ty, given);
        match ty {
            InputType::Integer { minimum, maximum } => {
                let number = integer(given).ok_or_else(mismatch)?;
                self.bounds(
                    given,
                    &number,
                    minimum.as_ref(),
                    maximum.as_ref(),
                    ToString::to_string,
                )?;
                if !(-INTEGER_MAX..=INTEGER_MAX).contains(&number) {
                    return Err(format!("{} is beyond ±{INTEGER_MAX}", self.show(given)));
                }
                Ok(number.into())
            }
            InputType::Number { minimum, maximum } => {
                let number = match given {
                    Value::Number(number) => Some(number.clone()),
                    Value::String(text) => text.parse::<serde_json::Number>().ok(),
                    _ => None,
                };
                let number = number.ok_or_else(mismatch)?;
                let float =
                    number.as_f64().filter(|float| float.is_finite()).ok_or_else(mismatch)?;
                self.bounds(
                    given,
                    &float,
                    minimum.as_ref(),
                    maximum.as_ref(),
                    ToString::to_string,
                )?;
                Ok(Value::Number(number))
            }
            InputType::Duration { minimum, maximum } => {
                let span = parse_duration(&quantity(given).ok_or_else(mismatch)?)
                    .map_err(|why| self.unit(ty, &why))?;
                let show = |span: &Duration| show_duration(*span);
                self.bounds(given, &span, minimum.as_ref(), maximum.as_ref(), show)?;
                Ok(seconds(span))
            }
            InputType::Size { minimum, maximum } => {
                let bytes = parse_size(&quantity(given).ok_or_else(mismatch)?)
                    .map_err(|why| self.unit(ty, &why))?;
                let show = |bytes: &u64| show_size(*bytes);
                self.bounds(given, &bytes, minimum.as_ref(), maximum.as_ref(), show)?;
                Ok(bytes.into())
            }
            _ => Err(mismatch()),
        }
    }

    /// A unit's error shows the value.
    fn unit(self, ty: &InputType, why: &crate::unit::UnitError) -> String {
        if self.is_shown { why.to_string() } else { format!("expected {}", ty.kind()) }
    }

    fn bounds<T: PartialOrd>(
        self,
        given: &Value,
        value: &T,
        minimum: Option<&T>,
        maximum: Option<&T>,
        show: impl Fn(&T) -> String,
    ) -> Result<(), String> {
        if let Some(minimum) = minimum.filter(|minimum| value < minimum) {
            return Err(format!("{} is below the minimum {}", self.show(given), show(minimum)));
        }
        if let Some(maximum) = maximum.filter(|maximum| value > maximum) {
            return Err(format!("{} is above the maximum {}", self.show(given), show(maximum)));
        }
        Ok(())
    }

    fn string(self, ty: &InputType, given: &Value) -> Result<Value, String> {
        let InputType::String { pattern, min_length, max_length, values } = ty else {
            return Err(self.mismatch(ty, given));
        };
        let Value::String(text) = given else { return Err(self.mismatch(ty, given)) };
        let length = text.chars().count() as u64;
        let show = |length: &u64| format!("{length} characters");
        let shown = Value::from(length);
        Reader { is_shown: true }
            .bounds(&shown, &length, min_length.as_ref(), max_length.as_ref(), show)
            .map_err(|why| format!("the length: {why}"))?;
        if !values.is_empty() && !values.contains(text) {
            let mut why = format!("{} is none of `{}`", self.show(given), values.join("`, `"));
            if let Some(near) = nearest(text, values.iter().map(String::as_str)) {
                let _ = write!(why, "; did you mean `{near}`?");
            }
            return Err(why);
        }
        if let Some(pattern) = pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let pattern = pattern.as_str();
            return Err(format!("{} does not match the pattern `{pattern}`", self.show(given)));
        }
        Ok(given.clone())
    }

    /// Whether the inventory knows it is asked later; here it must be able to be one, and must not
    /// be readable as an option of a program.
    fn target(self, ty: &InputType, one: bool, given: &Value) -> Result<Value, String> {
        let Value::String(text) = given else { return Err(self.mismatch(ty, given)) };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_printable = !text.chars().any(char::is_control);
        if text.trim().is_empty() || text.starts_with('-') || !is_printable {
            return Err(format!("{} is not {}", self.show(given), ty.kind()));
        }
        if one && (!text.chars().all(is_plain) || text == "all") {
            let why = "one target is wanted, no selector";
            return Err(format!("{} is not {}: {why}", self.show(given), ty.kind()));
        }
        Ok(given.clone())
    }

    fn object(
        self,
        ty: &InputType,
        properties: &[(String, InputType, bool)],
        given: &Value,
    ) -> Result<Value, String> {
        let parsed;
        let map = match given {
            Value::Object(map) => map,
            Value::String(text) => {
                parsed = serde_json::from_str::<Map<String, Value>>(text)
                    .map_err(|_| self.mismatch(ty, given) + ": write it as JSON")?;
                &parsed
            }
            _ => return Err(self.mismatch(ty, given)),
        };
        if properties.is_empty() {
            return Ok(Value::Object(map.clone()));
        }
        let names = || properties.iter().map(|(name, ..)| name.as_str());
        if let Some(unknown) = map.keys().find(|key| !names().any(|name| name == *key)) {
            return Err(unknown_name("field", unknown, names()));
        }
        let mut read = Map::new();
        for (name, ty, is_required) in properties {
            match map.get(name) {
                Some(value) => {
                    let value =
                        self.read(ty, value).map_err(|why| format!("field `{name}`: {why}"))?;
                    read.insert(name.clone(), value);
                }
                None if *is_required => {
                    return Err(format!("field `{name}`: {} is missing", ty.kind()));
                }
                None => {}
            }
        }
        Ok(Value::Object(read))
    }
}

fn unknown_name<'k>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> String {
    let shown: String = name.chars().take(SHOWN_MAX).collect();
    let shown = shown.replace(char::is_control, "\u{fffd}");
    match nearest(name, known.clone()) {
        Some(near) => format!("unknown {what} `{shown}`; did you mean `{near}`?"),
        None => {
            let known: Vec<&str> = known.collect();
            if known.is_empty() {
                format!("unknown {what} `{shown}`; there is none")
            } else {
                format!("unknown {what} `{shown}`; known: {}", known.join(", "))
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
#[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact")]
fn integer(given: &Value) -> Option<i64> {
    match given {
        Value::Number(number) => number.as_i64().or_else(|| {
            // JSON does not tell `64.0` from `64`.
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() <= INTEGER_MAX as f64).then_some(float as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The text of a duration or size; a bare number too, so that its error shows both readings.
fn quantity(given: &Value) -> Option<String> {
    match given {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A duration as it is kept: a number of seconds, whole where it is whole.
fn seconds(span: Duration) -> Value {
    if span.subsec_nanos() == 0 { json!(span.as_secs()) } else { json!(span.as_secs_f64()) }
}

/// The items of a list; of a text, JSON or what stands between commas.
fn list(given: &Value, items: Option<&InputType>) -> Option<Vec<Value>> {
    match given {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str(text).ok()
        }
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        Value::String(text) => {
            // A list of lists or objects has commas of its own.
            let is_flat = !matches!(items, Some(InputType::List { .. } | InputType::Object { .. }));
            is_flat.then(|| text.split(',').map(Value::from).collect())
        }
        _ => None,
    }
}

/// Checks what a caller gave against what a runbook declares: unknown names, missing ones and
/// misfits, all at once. The result has every declared input that has a value, in the author's
/// order, defaults filled in.
///
/// # Errors
///
/// One line a problem, each naming its input.
pub fn check_inputs(
    declared: &[Input],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<String>> {
    let mut problems = Vec::new();
    let mut checked = Map::new();
    let names = || declared.iter().map(|input| input.name.as_str());
    for name in given.keys() {
        if !names().any(|known| known == name) {
            problems.push(unknown_name("input", name, names()));
        }
    }
    for input in declared {
        let name = &input.name;
        match (given.get(name), &input.default) {
            (Some(value), _) => match input.ty.accept(value) {
                Ok(value) => {
                    checked.insert(name.clone(), value);
                }
                Err(why) => problems.push(format!("input `{name}`: {why}")),
            },
            (None, Some(default)) => {
                checked.insert(name.clone(), default.clone());
            }
            // Optional and not given: `is defined` and `|default(…)` ask for it.
            (None, None) if !input.is_required => {}
            (None, None) => {
                problems.push(format!("input `{name}`: {} is required", input.ty.kind()));
            }
        }
    }
    if problems.is_empty() { Ok(checked) } else { Err(problems) }
}

/// Reads what a step wrote to `$RUNWARDEN_OUTPUT`: one JSON object, or `name=value` lines. A
/// declared name may be absent. Error texts hold no values: a step may be sensitive.
///
/// # Errors
///
/// `E_RESULT_TOO_LARGE` above `RESULT_BYTES_MAX`; `E_OUTPUT` for what cannot be read, an undeclared
/// name, a name written twice, or a value that does not fit its type.
pub fn parse_outputs(
    declared: &[(String, InputType)],
    bytes: &[u8],
) -> Result<Map<String, Value>, ErrorInfo> {
    let wrong = |message: String| ErrorInfo { code: "E_OUTPUT".to_owned(), message };
    if bytes.len() > RESULT_BYTES_MAX {
        return Err(ErrorInfo {
            code: "E_RESULT_TOO_LARGE".to_owned(),
            message: format!("the outputs are larger than {RESULT_BYTES_MAX} bytes"),
        });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| wrong("the outputs are not UTF-8 text".to_owned()))?;
    let written: Vec<(String, Value)> = if text.trim_start().starts_with('{') {
        let map: Map<String, Value> = serde_json::from_str(text)
            .map_err(|err| wrong(format!("the outputs are no JSON object: line {}", err.line())))?;
        map.into_iter().collect()
    } else {
        output_lines(text).map_err(wrong)?
    };
    let mut outputs = Map::new();
    for (name, value) in written {
        let Some((_, ty)) = declared.iter().find(|(known, _)| *known == name) else {
            let known = declared.iter().map(|(known, _)| known.as_str());
            return Err(wrong(unknown_name("output", &name, known)));
        };
        let value = Reader { is_shown: false }
            .top(ty, &value)
            .map_err(|why| wrong(format!("output `{name}`: {why}")))?;
        if outputs.insert(name.clone(), value).is_some() {
            return Err(wrong(format!("output `{name}` is written twice")));
        }
    }
    Ok(outputs)
}

fn output_lines(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut written = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {} of the outputs is not `name=value`", index + 1));
        };
        written.push((name.trim().to_owned(), Value::String(value.to_owned())));
    }
    Ok(written)
}
