//! Runbooks that are refused, and what a person then reads; runbooks that are not refused.
//!
//! Each folder under `tests/cases/invalid` holds a `runbook.yaml`, the whole text that `validate`
//! prints (`stderr`) and its JSON (`json`); `UPDATE=1 cargo test --test invalid` rewrites the two.

use std::path::{Path, PathBuf};
use std::{env, fs};

use runwarden::runbook::{self, Checked, Options, Severity, report, schema};
use serde_json::Value;

fn folders(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(kind);
    let mut found: Vec<_> = fs::read_dir(&root)
        .unwrap_or_else(|err| panic!("{}: {err}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

fn check(source: &[u8]) -> Checked {
    runbook::check(source, &Options { has_tests: Some(true) })
}

fn is_update() -> bool {
    env::var_os("UPDATE").is_some()
}

/// Compares, or with `UPDATE=1` writes, one expected file; what differs is added to `wrong`.
fn compare(path: &Path, got: &str, wrong: &mut Vec<String>) {
    if is_update() {
        fs::write(path, got).unwrap();
        return;
    }
    match fs::read_to_string(path) {
        Ok(want) if want == got => {}
        Ok(want) => wrong.push(format!("{}:\nexpected:\n{want}\ngot:\n{got}", path.display())),
        Err(err) => wrong.push(format!("{}: {err}\ngot:\n{got}", path.display())),
    }
}

/// Goal: every class of mistake is told with place, cause and cure, and all of a file at once.
/// Method: whole output compared, as text and as JSON.
#[test]
fn invalid_runbooks_are_told_what_is_wrong() {
    let folders = folders("invalid");
    assert!(folders.len() >= 40, "only {} cases", folders.len());
    let mut wrong = Vec::new();
    for folder in folders {
        let source = fs::read(folder.join("runbook.yaml")).unwrap();
        let checked = check(&source);
        if checked.problems.is_empty() {
            wrong.push(format!("{}: nothing is wrong", folder.display()));
        }
        let text = report::render(&checked.problems, "runbook.yaml", &source, false);
        compare(&folder.join("stderr"), &text, &mut wrong);
        let json = report::to_json(&checked.problems, "runbook.yaml", &source);
        let json = format!("{}\n", serde_json::to_string_pretty(&json).unwrap());
        compare(&folder.join("json"), &json, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Goal: no valid runbook is refused, and each step that was read is in the model.
#[test]
fn valid_runbooks_are_accepted() {
    let mut wrong = Vec::new();
    let folders = folders("valid");
    assert!(folders.len() >= 7, "only {} cases", folders.len());
    for folder in folders {
        let source = fs::read(folder.join("runbook.yaml")).unwrap();
        let checked = check(&source);
        let text = report::render(&checked.problems, "runbook.yaml", &source, false);
        if checked.problems.iter().any(|problem| problem.severity == Severity::Error) {
            wrong.push(format!("{}:\n{text}", folder.display()));
        } else if checked.runbook.is_none() {
            wrong.push(format!("{}: no errors and no runbook", folder.display()));
        } else if !checked.problems.is_empty() {
            wrong.push(format!("{}: warnings:\n{text}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Goal: the schema that editors use is the one that the program would make now.
#[test]
fn the_schema_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/runbook.v1.json");
    let now = format!("{}\n", serde_json::to_string_pretty(&schema::runbook_schema()).unwrap());
    if is_update() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &now).unwrap();
    }
    let was = fs::read_to_string(&path).unwrap_or_default();
    assert!(was == now, "schemas/runbook.v1.json is stale: `UPDATE=1 cargo test --test invalid`");
}

/// Goal: the schema accepts what the program accepts, and refuses what has a wrong shape.
/// Method: valid runbooks that are written in JSON, which is YAML, against the part of JSON Schema
/// that our schema uses; then with one key too many, one too few and one of a wrong type.
#[test]
fn the_schema_accepts_valid_runbooks() {
    let schema = schema::runbook_schema();
    let mut seen = 0;
    for folder in folders("valid") {
        let source = fs::read(folder.join("runbook.yaml")).unwrap();
        let Ok(valid) = serde_json::from_slice::<Value>(&source) else { continue };
        seen += 1;
        assert!(fits(&schema, &schema, &valid), "{}", folder.display());
        let change = |path: &str, value: Value| {
            let mut wrong = valid.clone();
            *wrong.pointer_mut(path).unwrap() = value;
            assert!(!fits(&schema, &schema, &wrong), "{path} of {}", folder.display());
        };
        change("/steps", serde_json::json!([]));
        change("/kind", "other".into());
        change("/steps/0", serde_json::json!({ "title": "no action" }));
        change("/steps/0", serde_json::json!({ "command": ["a"], "shell": "b" }));
        change("/steps/0", serde_json::json!({ "comand": ["a"] }));
        change("/steps/0", serde_json::json!({ "tcp": { "host": "a", "port": "b" } }));
        change("/steps/0", serde_json::json!({ "command": ["a"], "timeout": 5 }));
    }
    assert!(seen >= 2, "no runbook is written in JSON");
}

/// Whether `value` fits `schema`, a part of `root`.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(rules) = schema.as_object() else { return schema != false };
    rules.iter().all(|(rule, want)| match rule.as_str() {
        "$ref" => {
            let path = want.as_str().unwrap().strip_prefix('#').unwrap();
            fits(root, root.pointer(path).unwrap(), value)
        }
        "type" => {
            let names = want.as_array().cloned().unwrap_or_else(|| vec![want.clone()]);
            names.iter().any(|name| match name.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                other => panic!("type {other}"),
            })
        }
        "const" => value == want,
        "enum" => want.as_array().unwrap().contains(value),
        "pattern" => {
            let pattern = regex::Regex::new(want.as_str().unwrap()).unwrap();
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "minimum" => value.as_i64().is_none_or(|n| n >= want.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|n| n <= want.as_i64().unwrap()),
        "minItems" => {
            value.as_array().is_none_or(|items| items.len() as u64 >= want.as_u64().unwrap())
        }
        "items" => {
            value.as_array().is_none_or(|items| items.iter().all(|item| fits(root, want, item)))
        }
        "required" => value.as_object().is_none_or(|map| {
            want.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter().all(|(key, value)| want.get(key).is_none_or(|want| fits(root, want, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = schema.get("properties");
            map.iter()
                .filter(|(key, _)| known.is_none_or(|known| known.get(key.as_str()).is_none()))
                .all(|(_, value)| fits(root, want, value))
        }),
        "anyOf" => want.as_array().unwrap().iter().any(|one| fits(root, one, value)),
        "oneOf" => {
            want.as_array().unwrap().iter().filter(|one| fits(root, one, value)).count() == 1
        }
        "$schema" | "$id" | "$defs" | "title" | "description" => true,
        other => panic!("the schema uses `{other}`, which this test does not know"),
    })
}

/// Goal: whatever is cut off or put into a runbook, it is judged without a panic, and what is
/// refused has an error that says why.
/// Method: the valid runbooks, cut at every 307th byte, and with hostile bytes put in there.
#[test]
fn no_input_panics() {
    for folder in folders("valid") {
        let source = fs::read(folder.join("runbook.yaml")).unwrap();
        for at in (0..source.len()).step_by(307) {
            for inserted in
                [&b""[..], b"{", b"\t", b"\"", b": ", b"\xff", b"{{", b"- ", b"|\n", b"&a *a"]
            {
                let mut bytes = source[..at].to_vec();
                bytes.extend(inserted);
                if !inserted.is_empty() {
                    bytes.extend(&source[at..]);
                }
                let checked = check(&bytes);
                let has_errors =
                    checked.problems.iter().any(|problem| problem.severity == Severity::Error);
                assert_eq!(checked.runbook.is_none(), has_errors);
                let text = report::render(&checked.problems, "x.yaml", &bytes, true);
                let json = report::to_json(&checked.problems, "x.yaml", &bytes);
                assert_eq!(text.is_empty(), checked.problems.is_empty());
                assert_eq!(json.as_array().unwrap().len(), checked.problems.len());
            }
        }
    }
}
