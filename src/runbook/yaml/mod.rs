//! YAML 1.2 with byte spans, read strictly: no duplicate keys, tabs, merge keys, tags, second
//! documents or alias bombs (spec 1). What a scalar means is decided by who reads it, never here.

mod load;

use super::problem::{Problem, Span};
use crate::limits;
pub(super) use load::load;

/// A node and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// From its first to its last byte; of a collection in block style up to the next token.
    pub(super) span: Span,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Text that its reader gives a meaning.
    Scalar(Scalar),
    /// In the author's order, without duplicates.
    Map(Vec<(Key, Node)>),
    /// In the author's order.
    List(Vec<Node>),
    /// Already reported: whoever reads it says nothing more.
    Broken,
}

/// A key: always a scalar.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// As it reads.
    pub(super) text: String,
    /// Where it stands.
    pub(super) span: Span,
}

/// A scalar's text.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// After unescaping and folding.
    pub(super) text: String,
    /// How it is written.
    pub(super) style: Style,
    /// Where the text itself stands: byte for byte if `is_exact`, else the node's whole span.
    pub(super) inner: Span,
    /// Whether `text` stands in the file as it is.
    pub(super) is_exact: bool,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: may stand for a number, a boolean or nothing.
    Plain,
    /// In quotes, or with `!!str`: always a string.
    Quoted,
    /// After `|`: always a string.
    Literal,
    /// After `>`: always a string.
    Folded,
}

/// What YAML or JSON text holds, read as strictly as a runbook; for data of any shape.
///
/// # Errors
///
/// The first problem, with its line.
pub(super) fn data(source: &[u8]) -> Result<serde_json::Value, String> {
    let said = |problem: &Problem, text: &str| {
        let before = text.get(..problem.span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        match &problem.help {
            Some(help) => format!("line {line}: {} ({help})", problem.message),
            None => format!("line {line}: {}", problem.message),
        }
    };
    let text = text_of(source).map_err(|problem| said(&problem, ""))?;
    let mut problems = Vec::new();
    let node = load(text, &mut problems).map_err(|problem| said(&problem, text))?;
    match problems.first() {
        Some(problem) => Err(said(problem, text)),
        None => node.data(),
    }
}

impl Node {
    /// As plain data. Depth is bounded by the reader.
    fn data(&self) -> Result<serde_json::Value, String> {
        use serde_json::Value;
        match &self.kind {
            Kind::Scalar(scalar) => core_value(scalar),
            Kind::List(items) => items.iter().map(Node::data).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|(key, value)| Ok((key.text.clone(), value.data()?)))
                .collect::<Result<serde_json::Map<_, _>, String>>()
                .map(Value::Object),
            Kind::Broken => Ok(Value::Null),
        }
    }

    /// The scalar, if it is one.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The value under `key`, if it is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => {
                entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// Whether nothing is written there: `key:`, `null` or `~`.
    pub(super) fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// What it is, for people: "a list", "the number `5`".
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Map(_) => "a map".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Broken => "nothing".to_owned(),
            Kind::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Kind::Scalar(scalar) => {
                let what = match core_value(scalar) {
                    Ok(serde_json::Value::Bool(_)) => "the boolean ",
                    Ok(serde_json::Value::Number(_)) => "the number ",
                    _ if scalar.style == Style::Plain => "",
                    _ => "the string ",
                };
                format!("{what}`{}`", shorten(&scalar.text))
            }
        }
    }
}

impl Scalar {
    fn is_null(&self) -> bool {
        self.style == Style::Plain && matches!(self.text.as_str(), "" | "null" | "~")
    }

    /// Where the byte `offset` of the text stands in `source`, as well as can be told.
    pub(super) fn locate(&self, source: &str, offset: usize) -> Option<usize> {
        if self.is_exact {
            return Some((self.inner.start + offset).min(self.inner.end));
        }
        if self.style != Style::Literal {
            return None;
        }
        let before = self.text.get(..offset)?;
        let line = before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let wanted = self.text.split('\n').nth(line)?;
        let block = source.get(self.inner.start..self.inner.end)?;
        let header = usize::from(block.starts_with('|'));
        let mut at = self.inner.start;
        for (number, written) in block.split('\n').enumerate() {
            if number == line + header {
                let indent = written.trim_end_matches('\r').strip_suffix(wanted)?.len();
                return Some(at + indent + column);
            }
            at += written.len() + 1;
        }
        None
    }
}

/// A text short enough to stand in a message, on one line.
pub(super) fn shorten(text: &str) -> String {
    const CHARS: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(CHARS).collect();
    if short.len() < text.trim_end().len() { format!("{short}…") } else { short }
}

/// The value of an untyped scalar by the core schema of YAML 1.2, stricter in what is a number or
/// a boolean: `True`, `yes`, `0755`, `1_000` stay strings.
///
/// # Errors
///
/// What cannot be kept exactly, as a text for people.
pub(super) fn core_value(scalar: &Scalar) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    let text = scalar.text.as_str();
    if scalar.style != Style::Plain {
        return Ok(Value::String(text.to_owned()));
    }
    match text {
        "" | "null" | "~" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    let radix = |prefix, radix| {
        let digits = text.strip_prefix(prefix)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| i128::from_str_radix(digits, radix))
    };
    let leading_zero =
        unsigned.len() > 1 && unsigned.starts_with('0') && unsigned.as_bytes()[1].is_ascii_digit();
    let integer = if let Some(parsed) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        parsed.ok()
    } else if !leading_zero && !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit())
    {
        Some(unsigned.parse::<i128>().map_or(i128::MAX, |n| if is_negative { -n } else { n }))
    } else {
        None
    };
    if let Some(integer) = integer {
        // 2^53 - 1: beyond it JSON, in which the log is written, rounds.
        let exact = i64::try_from(integer).ok().filter(|n| n.unsigned_abs() < 1 << 53);
        return exact.map(Value::from).ok_or_else(|| {
            format!("the number `{text}` is too large to be kept exactly: quote it")
        });
    }
    if !leading_zero && is_float(unsigned) {
        let parsed = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
        return parsed
            .map(Value::Number)
            .ok_or_else(|| format!("the number `{text}` is too large"));
    }
    Ok(Value::String(text.to_owned()))
}

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, with an exponent.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|text| {
            let text = text.strip_prefix(['-', '+']).unwrap_or(text);
            !text.is_empty() && digits(text)
        })
}

/// The file as text, or why it cannot be one.
///
/// # Errors
///
/// Too large, not UTF-8, or holding characters that YAML does not know.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Box<Problem>> {
    if bytes.len() as u64 > limits::RUNBOOK_BYTES_MAX {
        let most = crate::unit::show_size(limits::RUNBOOK_BYTES_MAX);
        return Err(Problem::error(
            "E_FILE_TOO_LARGE",
            Span::default(),
            format!("a runbook has at most {most}, this file has more"),
        )
        .into());
    }
    let text = std::str::from_utf8(bytes).map_err(|err| {
        let at = err.valid_up_to();
        Problem::error("E_ENCODING", Span::new(at, at), "the file is not UTF-8")
            .label("the first byte that is not")
            .help("save the file as UTF-8")
    })?;
    let control = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    if let Some((at, found)) = text.char_indices().find(|&(_, c)| control(c)) {
        let message = format!("the control character U+{:04X} may not stand in YAML", found as u32);
        return Err(Problem::error("E_ENCODING", Span::new(at, at + found.len_utf8()), message)
            .help("remove it, or write it as an escape inside double quotes")
            .into());
    }
    Ok(text)
}
