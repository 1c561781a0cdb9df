//! The binary as people and scripts meet it: each case is a folder under `tests/cli` with a `cmd`
//! (a shell script, `runwarden` on its path) and the whole of what it must print and return:
//! `stdout`, `stderr`, `status`. `UPDATE=1 cargo test --test cli` rewrites them; a reviewer reads
//! the diff.

#![expect(clippy::unwrap_used, reason = "a test says what must hold by `unwrap`")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[path = "cli/harness.rs"]
mod harness;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/terminal.rs"]
mod terminal;
#[path = "cli/together.rs"]
mod together;

use harness::{Bench, normal};

/// Goal: what the program says, where it says it, and its exit code are what they were.
/// Method: every folder under `tests/cli`, each in a private folder with an empty home.
#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("cmd").is_file())
        .collect();
    cases.sort();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().unwrap().extend(run(case));
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a case; what is not as it should be, in words.
fn run(case: &Path) -> Vec<String> {
    let bench = Bench::new();
    bench.copy(case);
    let ended = bench.command("sh").args(["-eu", "cmd"]).output().unwrap();
    let status = match ended.status.code() {
        Some(code) => format!("{code}\n"),
        None => format!("{}\n", ended.status),
    };
    let got = [
        ("stdout", normal(&ended.stdout, &bench)),
        ("stderr", normal(&ended.stderr, &bench)),
        ("status", status),
    ];
    let name = case.file_name().unwrap().to_string_lossy().into_owned();
    let mut wrong = Vec::new();
    for (stream, got) in got {
        let path = case.join(stream);
        if std::env::var_os("UPDATE").is_some() {
            match got.is_empty() {
                true => drop(fs::remove_file(&path)),
                false => fs::write(&path, &got).unwrap(),
            }
            continue;
        }
        let want = fs::read_to_string(&path).unwrap_or_default();
        if want != got {
            wrong.push(format!("== {name}: {stream}\n-- wanted\n{want}-- got\n{got}"));
        }
    }
    wrong
}
