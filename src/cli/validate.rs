//! `validate`: every problem of every file; no effect.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::args::Validate;
use super::exit::{Exit, Failure};
use super::report::{Out, count};
use super::source::read;
use super::state::is_yaml;
use crate::runbook::report::{render, to_json};
use crate::runbook::{Options, Problem, Severity, check};

/// Folders inside folders that are followed: more are a loop.
const DEPTH_MAX: usize = 64;

/// One file, judged.
struct Judged {
    path: PathBuf,
    bytes: Vec<u8>,
    result: io::Result<Vec<Problem>>,
}

/// `validate`.
///
/// # Errors
///
/// Exit 2, if there is nothing to validate.
pub(super) fn validate(args: &Validate, out: Out) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    let mut unreadable = Vec::new();
    for path in &args.paths {
        find(path, &mut files, &mut unreadable);
    }
    let judged = judge_all(&files);
    let (mut errors, mut warnings) = (0, 0);
    let mut shown = String::new();
    let mut entries = Vec::new();
    for Judged { path, bytes, result } in &judged {
        let name = path.display().to_string();
        let problems = match result {
            Ok(problems) => problems,
            Err(err) => {
                unreadable.push(format!("failed to read `{name}`: {err}"));
                continue;
            }
        };
        let bad = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        errors += bad;
        warnings += problems.len() - bad;
        match out.is_json() {
            true => entries.extend(into_list(to_json(problems, &name, bytes))),
            false => shown.push_str(&render(problems, &name, bytes, out.stdout.is_on())),
        }
    }
    if out.is_json() {
        out.json(&Value::Array(entries))?;
    } else {
        if !shown.is_empty() && !shown.ends_with("\n\n") {
            shown.push('\n');
        }
        if !out.is_quiet {
            let read = judged.len() - judged.iter().filter(|file| file.result.is_err()).count();
            let (errors, warnings) = (count(errors, "error"), count(warnings, "warning"));
            shown.push_str(&format!("{}, {errors}, {warnings}\n", count(read, "runbook")));
        }
        out.result(&shown)?;
    }
    if !unreadable.is_empty() {
        return Err(Failure::request(unreadable.join("\n")));
    }
    let is_bad = errors > 0 || (args.deny_warnings && warnings > 0);
    Ok(if is_bad { Exit::Failed } else { Exit::Ok })
}

fn into_list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        other => vec![other],
    }
}

/// Adds the runbooks at `path`: itself, or those in the folder.
fn find(path: &Path, files: &mut Vec<PathBuf>, unreadable: &mut Vec<String>) {
    if !path.is_dir() {
        // What is not there, or is no runbook, says so when it is read.
        match is_test(path) {
            true => unreadable.push(format!(
                "`{}` holds tests of a runbook: validate the runbook beside it",
                path.display()
            )),
            false => files.push(path.to_owned()),
        }
        return;
    }
    let before = files.len();
    walk(path, 0, files, unreadable);
    files[before..].sort();
    if files.len() == before {
        unreadable.push(format!("there is no `*.yaml` or `*.yml` in `{}`", path.display()));
    }
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, unreadable: &mut Vec<String>) {
    let mut cannot = |err: io::Error| {
        unreadable.push(format!("failed to read the folder `{}`: {err}", folder.display()));
    };
    if depth > DEPTH_MAX {
        cannot(io::Error::other("too many folders inside one another"));
        return;
    }
    let entries = match std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>)
    {
        Ok(entries) => entries,
        Err(err) => {
            cannot(err);
            return;
        }
    };
    for entry in entries {
        let path = entry.path();
        // A link to a folder may lead back here: it is not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !is_hidden {
                walk(&path, depth + 1, files, unreadable);
            }
        } else if is_yaml(&path) && !is_test(&path) && path.is_file() {
            files.push(path);
        }
    }
}

fn is_test(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    name.ends_with(b".test.yaml") || name.ends_with(b".test.yml")
}

/// Reads and checks all files, on as many threads as there are processors.
fn judge_all(files: &[PathBuf]) -> Vec<Judged> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    if threads <= 1 {
        return files.iter().map(|path| judge(path)).collect();
    }
    let next = AtomicUsize::new(0);
    let judged = Mutex::new(Vec::with_capacity(files.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = files.get(at) else { break };
                    let one = judge(path);
                    judged.lock().expect("no thread panics while it holds it").push((at, one));
                }
            });
        }
    });
    let mut judged = judged.into_inner().expect("no thread panics while it holds it");
    judged.sort_by_key(|(at, _)| *at);
    judged.into_iter().map(|(_, one)| one).collect()
}

fn judge(path: &Path) -> Judged {
    let (bytes, result) = match read(path) {
        Ok(bytes) => {
            let problems = check(&bytes, &options(path)).problems;
            (bytes, Ok(problems))
        }
        Err(err) => (Vec::new(), Err(err)),
    };
    Judged { path: path.to_owned(), bytes, result }
}

/// What stands beside the file.
fn options(path: &Path) -> Options {
    let has_tests =
        ["test.yaml", "test.yml"].iter().any(|ending| path.with_extension(ending).is_file());
    Options { has_tests: Some(has_tests) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: of a folder the runbooks are found, in one order, and nothing else.
    #[test]
    fn folders_are_searched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for dir in ["b", ".hidden", "b/deep"] {
            std::fs::create_dir(at(dir)).unwrap();
        }
        for file in ["z.yml", "a.yaml", "a.test.yaml", "c.txt", ".hidden/x.yaml", "b/deep/d.yaml"] {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), at("b/loop")).unwrap();
        let (mut files, mut unreadable) = (Vec::new(), Vec::new());
        find(folder.path(), &mut files, &mut unreadable);
        assert_eq!(files, [at("a.yaml"), at("b/deep/d.yaml"), at("z.yml")]);
        assert!(unreadable.is_empty());
        find(&at(".hidden"), &mut files, &mut unreadable);
        find(&at("a.test.yaml"), &mut files, &mut unreadable);
        assert_eq!((files.len(), unreadable.len()), (4, 1));
        std::fs::create_dir(at("empty")).unwrap();
        find(&at("empty"), &mut files, &mut unreadable);
        assert_eq!(unreadable.len(), 2);
    }
}
