//! Runbooks that are refused, and what a person then reads; runbooks that are not refused.
//!
//! Each folder under `tests/cases/invalid` holds a `runbook.yaml`, the whole text that `validate`
//! prints (`stderr`) and its JSON (`json`); `UPDATE=1 cargo test --test invalid` rewrites the two.

use std::path::{Path, PathBuf};
use std::{env, fs};

use runwarden::runbook::{self, Checked, Options, Severity, report, schema};

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

/// Goal: whatever is cut off or put into a runbook, it is judged without a panic, and what is
/// refused has an error that says why.
/// Method: the valid runbooks, cut at every 101st byte, and with hostile bytes put in there.
#[test]
fn no_input_panics() {
    for folder in folders("valid") {
        let source = fs::read(folder.join("runbook.yaml")).unwrap();
        for at in (0..source.len()).step_by(101) {
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
