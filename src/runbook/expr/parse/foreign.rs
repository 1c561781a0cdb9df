//! What authors bring along from other languages, each with the word that is meant here.

use minijinja::machinery::ast as jinja;

use super::{Reader, nearest};

/// Signs of other languages, outside strings, all of them at once.
pub(super) fn check(reader: &mut Reader<'_>) {
    let source = reader.source;
    let trimmed = source.trim();
    let begin = source.len() - source.trim_start().len();
    if trimmed.starts_with("{{") || trimmed.starts_with("{%") {
        let inner = trimmed.trim_start_matches(['{', '%']).trim_end_matches(['}', '%']).trim();
        let help = if trimmed.starts_with("{{") && !inner.contains("{{") {
            format!("an expression stands without braces: write `{inner}`")
        } else {
            "an expression stands without braces; join texts with `~`".to_owned()
        };
        let end = begin + trimmed.len();
        reader.problem(begin, end, "a template where an expression is expected", &help);
        return;
    }
    let bytes = source.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        let (byte, next) = (bytes[at], bytes.get(at + 1).copied());
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'&') => {
                let width = if next == Some(b'&') { 2 } else { 1 };
                let found = &source[at..at + width];
                reader.problem(at, at + width, format!("`{found}` is no operator"), "write `and`");
                at += width - 1;
            }
            (None, b'|') if next == Some(b'|') => {
                reader.problem(at, at + 2, "`||` is no operator", "write `or`");
                at += 1;
            }
            (None, b'!') if next != Some(b'=') => {
                reader.problem(at, at + 1, "`!` is no operator", "write `not`");
            }
            (None, b'=') if next == Some(b'=') && bytes.get(at + 2) == Some(&b'=') => {
                reader.problem(at, at + 3, "`===` is no operator", "write `==`");
                at += 2;
            }
            (None, b'!') if bytes.get(at + 2) == Some(&b'=') => {
                reader.problem(at, at + 3, "`!==` is no operator", "write `!=`");
                at += 2;
            }
            _ => {}
        }
        at += 1;
    }
}

/// A call: there are neither functions nor methods.
pub(super) fn call(reader: &mut Reader<'_>, call: &jinja::Call<'_>, place: (usize, usize)) {
    let (message, help) = match &call.expr {
        jinja::Expr::Var(var) => (
            format!("there is no function `{}`", var.id),
            match var.id {
                "len" => "write `x|length`",
                "int" | "float" | "abs" | "round" | "sum" | "min" | "max" | "list" | "sorted" => {
                    "filters do that: `x|int`, `x|sum`, `x|sort`"
                }
                "str" => "write `x|string`",
                "defined" => "write `x is defined`",
                "matches" => "write `x is matches('…')`",
                "lookup" | "query" | "env" | "now" | "file" => {
                    "an expression sees only its context: read the world in a step before it"
                }
                _ => "an expression has operators, filters `x|f` and tests `x is t`, no functions",
            },
        ),
        jinja::Expr::GetAttr(get) => (
            format!("values have no methods: `{}` cannot be called", get.name),
            match get.name {
                "startswith" => "write `x is startingwith('…')`",
                "endswith" => "write `x is endingwith('…')`",
                "strip" => "write `x|trim`",
                "get" => "write `x['key']|default(…)`",
                "format" => "join texts with `~`",
                "splitlines" => "write `x|lines`",
                "index" | "find" | "count" => "write `'…' in x`",
                "append" | "extend" => "write `x + […]`",
                "items" | "keys" | "values" | "split" | "replace" | "lower" | "upper" | "join" => {
                    "write it as a filter: `x|split(',')`, `x|items`, `x|lower`"
                }
                _ => "use filters `x|f` and tests `x is t`",
            },
        ),
        _ => ("a value cannot be called".to_owned(), ""),
    };
    reader.problem(place.0, place.1, message, help);
}

/// What to say of an unknown name: the word that is meant, else the nearest, and the whole list.
pub(super) fn unknown(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'static str> + Clone,
    hint: Option<&str>,
) -> String {
    let known: Vec<&str> = known.collect();
    let list = known.join(" ");
    match (hint, nearest(name, known.iter().copied())) {
        (Some(hint), _) => format!("{hint}; {what}: {list}"),
        (None, Some(near)) => format!("did you mean `{near}`? {what}: {list}"),
        (None, None) => format!("{what}: {list}"),
    }
}

/// Filters of Jinja and Ansible that have another form here.
pub(super) fn filter_hint(name: &str) -> Option<&'static str> {
    Some(match name {
        "regex_search" | "regex_findall" | "regex_replace" | "search" => {
            "use the test `is matches('…')`, or `parse: { regex: … }` on the step"
        }
        "ternary" => "write `a if condition else b`",
        "dict2items" | "dictsort" => "write `x|items`",
        "from_json" | "from_yaml" => "write `parse: json` on the step that reads it",
        "format" => "join texts with `~`",
        "safe" | "escape" | "e" | "quote" | "urlencode" => {
            "values are escaped by the place where they stand"
        }
        "len" | "size" => "write `length`",
        "strip" => "write `trim`",
        "average" | "avg" | "mean" => "write `x|sum / x|length`",
        _ => return None,
    })
}

/// Tests of Ansible that have another form here.
pub(super) fn test_hint(name: &str) -> Option<&'static str> {
    Some(match name {
        "match" | "search" | "regex" => {
            "write `is matches('…')`, which searches anywhere: anchor it with `^` and `$`"
        }
        "succeeded" | "success" | "failed" | "skipped" | "unreachable" => {
            "compare its status: `steps.x.status == 'failed'`"
        }
        "changed" | "change" => "write `steps.x.changed`",
        "exists" | "file" | "directory" => "use the action `file` in a step before it",
        "empty" => "write `x|length == 0`",
        "dict" | "object" => "write `is mapping`",
        "bool" => "write `is boolean`",
        "int" => "write `is integer`",
        "startswith" => "write `is startingwith('…')`",
        "endswith" => "write `is endingwith('…')`",
        _ => return None,
    })
}
