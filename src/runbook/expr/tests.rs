//! Tables: one row an expression, what it gives or which words its error holds.

use serde_json::{Value, json};

use super::*;

/// What an operator's runbook would see.
fn scope() -> Scope {
    let mut scope = Scope::default();
    for (name, value) in [
        (
            "inputs",
            json!({"limit_mb": 2048, "service": "api", "ratio": 0.8, "none": null, "on": true, "hosts": ["db1", "db2"], "n": "12"}),
        ),
        (
            "steps",
            json!({
                "rss": {"value": 3000, "status": "succeeded", "results": [
                    {"target": "a", "value": 1000, "status": "succeeded"},
                    {"target": "b", "value": 3000, "status": "succeeded"},
                    {"target": "c", "value": 5000, "status": "succeeded"}]},
                "mixed": {"results": [
                    {"target": "a", "value": 1000},
                    {"target": "b"},
                    {"target": "c", "value": "n/a"}]},
                "out": {"stdout": "line one\nERROR two\n", "stdout_bytes": 20},
                "skipped": {},
            }),
        ),
        ("over", json!({"hosts": ["b", "c"], "empty": []})),
        ("item", json!("db1")),
        ("big", json!(u64::MAX)),
        (
            "files",
            json!([{"path": "/var/a.log", "size_bytes": 5}, {"path": "/var/b.log", "size_bytes": 7}]),
        ),
    ] {
        scope.roots.insert(name.to_owned(), value);
    }
    scope
}

fn eval(source: &str) -> Result<Value, String> {
    let expr = Expr::parse(source, Span::new(0, source.len())).map_err(|problems| {
        problems
            .iter()
            .map(|p| format!("{} ({})", p.message, p.help.as_deref().unwrap_or("")))
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    expr.eval(&scope()).map_err(|err| err.message)
}

#[test]
fn smoke() {
    for source in [
        "steps.rss.results|selectattr('value', 'gt', inputs.limit_mb)|map(attribute='target')|list",
        "over.hosts|length == 0",
        "steps.mixed.results|selectattr('value', 'gt', 3)",
        "a && b || !c",
        "{{ inputs.service }}",
        "steps.rss.valu > 3",
        "inputs.limit_mb * 0.8",
        "1 == '1'",
        "inputs.n == 12",
        "x|foo",
        "a b",
        "a = 3",
        "a ==",
        "inputs.service.upper()",
        "range(3)",
        "inputs.service is matches('^a.i$')",
        "inputs.service is matches('(')",
        "7 // 2",
        "6 / 2",
        "1 < 2 < 3",
        "2**100",
        "-(-3)",
        "steps.rss.results[-1].value",
        "(over.hosts|sort).x",
        "steps.skipped.value is defined",
        "steps.skipped.value > 3",
        "1 / 0",
        "'a' * 1000000000",
        "1e400",
        "99999999999999999999999999999",
        "{'a': {'b': 1}}.a.b",
    ] {
        println!("{source}\n    {:?}", eval(source));
    }
}
