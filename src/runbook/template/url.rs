//! URLs: a value becomes a component and can open no other one.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use url::Url;

use super::{Body, Parsed, Piece};
use crate::limits::URL_BYTES_MAX;
use crate::runbook::expr::EvalError;
use crate::runbook::problem::Problem;

const CODE: &str = "E_URL";

fn error(message: impl Into<String>) -> EvalError {
    EvalError { code: CODE, message: message.into() }
}

/// What can be said of a URL before any value is known.
pub(super) fn check(parsed: &Parsed) -> Result<(), Box<Problem>> {
    let wrong = |why: String| {
        let problem = Problem::error(CODE, parsed.span, why);
        Err(Box::new(problem.help("write `https://host/path`, or one `{{name}}`")))
    };
    match &parsed.body {
        Body::Whole(_) => Ok(()),
        Body::Literal(text) => {
            let text = text.as_ref().unwrap_or(&parsed.source);
            read(text).map(|_| ()).or_else(|why| wrong(format!("`{text}` {why}")))
        }
        Body::Pieces(pieces) => match pieces.as_slice() {
            [Piece::Text(text), ..] => {
                let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
                if is_http(scheme) && text.contains("://") {
                    if rest.starts_with('/') {
                        wrong("the URL names no host".into())
                    } else {
                        Ok(())
                    }
                } else {
                    wrong("a URL begins with `http://` or `https://`".into())
                }
            }
            [Piece::Value(_), Piece::Text(text), ..] if text.starts_with('/') => Ok(()),
            _ => wrong("a URL begins with its scheme, or with one name and then `/`".into()),
        },
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// `Err` reads after the URL or its name.
fn read(text: &str) -> Result<Url, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("is longer than {URL_BYTES_MAX} bytes"));
    }
    // The parser would drop or turn these without a word.
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err("holds white space, a control character or a backslash".to_owned());
    }
    let url = Url::parse(text).map_err(|err| format!("is no URL: {err}"))?;
    if !is_http(url.scheme()) {
        return Err("is no http or https URL".to_owned());
    }
    // `http:example.org` is read as a URL, but nobody writes it.
    if !text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://")) {
        return Err("lacks `//` after its scheme".to_owned());
    }
    Ok(url)
}

/// A URL that is wholly one value.
pub(super) fn whole(value: &Value, name: &str) -> Result<(), EvalError> {
    match value {
        Value::String(text) => {
            read(text).map(|_| ()).map_err(|why| error(format!("the value of `{name}` {why}")))
        }
        _ => Err(error(format!("the value of `{name}` is no string"))),
    }
}

/// The component that is being written.
enum Zone {
    Start,
    /// After `://`, before the first of `/ ? #`.
    Authority,
    Path,
    /// Query or fragment.
    After,
}

/// Rules for the values of a URL that also has the author's text.
#[derive(Default)]
pub(super) struct UrlText {
    /// Whether a value stands in the path: it must not make it climb.
    has_path_value: bool,
}

impl UrlText {
    /// Appends a value to `out`, encoded for where it stands.
    pub(super) fn value(
        &mut self,
        out: &mut String,
        text: &str,
        name: &str,
    ) -> Result<(), EvalError> {
        if out.len() + text.len() > URL_BYTES_MAX {
            return Err(error(format!("the URL grows above {URL_BYTES_MAX} bytes at `{name}`")));
        }
        match zone(out) {
            Zone::Start => base(out, text, name),
            Zone::Authority => authority(out, text, name),
            Zone::Path => {
                self.has_path_value = true;
                encode(out, text);
                Ok(())
            }
            Zone::After => {
                encode(out, text);
                Ok(())
            }
        }
    }

    /// The URL as a whole must still be one.
    pub(super) fn finish(self, text: &str) -> Result<String, EvalError> {
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
        let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
        if self.has_path_value && path.split('/').any(|part| part == "." || part == "..") {
            return Err(error("a value makes `.` or `..` of a part of the URL's path"));
        }
        read(text).map_err(|why| error(format!("the rendered URL {why}")))?;
        Ok(text.to_owned())
    }
}

fn zone(out: &str) -> Zone {
    let Some((_, rest)) = out.split_once("://") else { return Zone::Start };
    match rest.find(['/', '?', '#']) {
        None => Zone::Authority,
        Some(at) if rest[at..].contains(['?', '#']) => Zone::After,
        Some(_) => Zone::Path,
    }
}

/// A value that the URL begins with, the author's path after it: a URL without query, fragment or
/// user, so that what follows is appended to its path and to nothing else.
fn base(out: &mut String, text: &str, name: &str) -> Result<(), EvalError> {
    let wrong = |why: &str| error(format!("the value of `{name}` {why}"));
    let url = read(text).map_err(|why| wrong(&why))?;
    let has_more = url.query().is_some() || url.fragment().is_some();
    if has_more || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a query, a fragment or a user, and the URL goes on after it"));
    }
    out.push_str(text.trim_end_matches('/'));
    Ok(())
}

fn authority(out: &mut String, text: &str, name: &str) -> Result<(), EvalError> {
    let before = out.split_once("://").map_or("", |(_, rest)| rest);
    let in_brackets = before.contains('[') && !before.contains(']');
    if before.ends_with(':') && !in_brackets {
        return match text.parse::<u16>() {
            Ok(_) if text.bytes().all(|b| b.is_ascii_digit()) => {
                out.push_str(text);
                Ok(())
            }
            _ => Err(error(format!("the value of `{name}` stands for a port and is none"))),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() && (before.is_empty() || before == "[") {
        if in_brackets {
            out.push_str(text);
        } else {
            let _ = write!(out, "[{text}]");
        }
        return Ok(());
    }
    let is_part =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    // A value that is the whole of the host so far must be one by itself.
    let fits = if before.is_empty() { is_host(text) } else { is_part && !in_brackets };
    if !fits {
        return Err(error(format!(
            "the value of `{name}` stands for a host and is none; a port is a value of its own"
        )));
    }
    out.push_str(text);
    Ok(())
}

/// A host's name or IPv4 address; underscores are not in the standard, but in names.
fn is_host(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    text.parse::<Ipv4Addr>().is_ok()
        || (text.len() <= 253
            && labels.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            }))
}

/// Everything but RFC 3986's unreserved characters.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
