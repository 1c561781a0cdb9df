//! find and delete: exactly what was found, nothing that slipped in since.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use runwarden::action::Cancel;
use runwarden::outcome::{End, Outcome, Verdict};
use serde_json::{Value, json};

use crate::{assert_ok, attempt, code, fields, perform, perform_in};

/// A folder with a real path: `find` resolves links in `dir`, and these tests compare.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

/// A file so many hours old.
fn aged(path: &Path, hours: u64, size: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x".repeat(size)).unwrap();
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

fn names(outcome: &Outcome, dir: &Path) -> Vec<String> {
    let files = fields(outcome)["files"].as_array().cloned().unwrap_or_default();
    let below = |file: &Value| {
        let path = PathBuf::from(file["path"].as_str().unwrap());
        path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()
    };
    files.iter().map(below).collect()
}

async fn find(mut params: Value, dir: &Path) -> Outcome {
    params["dir"] = json!(dir);
    perform(json!({"find": params})).await
}

#[tokio::test]
async fn find_names_regular_files_oldest_first() {
    let (_held, dir) = folder();
    aged(&dir.join("young.log"), 1, 10);
    aged(&dir.join("old.log"), 50, 2000);
    aged(&dir.join("sub/older.log"), 70, 10);
    aged(&dir.join("sub/note.txt"), 90, 10);
    aged(&dir.join("new\nline.log"), 30, 10);
    let outside = folder();
    aged(&outside.1.join("secret.log"), 99, 10);
    symlink(&outside.1, dir.join("out")).unwrap();
    symlink(outside.1.join("secret.log"), dir.join("link.log")).unwrap();
    fs::write(dir.join(std::ffi::OsStr::from_bytes(b"\xff.log")), "").unwrap();

    let all = find(json!({}), &dir).await;
    assert_ok(&all);
    let want = ["sub/note.txt", "sub/older.log", "old.log", "new\nline.log", "young.log"];
    assert_eq!(names(&all, &dir), want);
    let got = fields(&all);
    assert_eq!((&got["count"], &got["total_bytes"]), (&json!(5), &json!(2040)));
    assert_eq!(got["unreadable"], 1);
    assert!(got["files"][0]["ino"].as_u64().unwrap() > 0);

    for (params, want) in [
        (json!({"glob": "*.log"}), vec!["old.log", "new\nline.log", "young.log"]),
        (json!({"glob": "**/*.log", "older_than": 172_800}), vec!["sub/older.log", "old.log"]),
        (json!({"larger_than": 1999}), vec!["old.log"]),
        (json!({"keep_newest": 3}), vec!["sub/note.txt", "sub/older.log"]),
        (json!({"glob": "*.gz"}), vec![]),
    ] {
        assert_eq!(names(&find(params.clone(), &dir).await, &dir), want, "{params}");
    }
}

#[tokio::test]
async fn find_never_gives_a_part_for_the_whole() {
    let (_held, dir) = folder();
    for number in 0..5 {
        aged(&dir.join(number.to_string()), number, 1);
    }
    assert_eq!(fields(&find(json!({"max": 5}), &dir).await)["count"], 5);
    let too_many = find(json!({"max": 4}), &dir).await;
    assert_eq!((too_many.rule, code(&too_many)), (Some(Verdict::Unknown), "E_TOO_MANY"));
    assert_eq!(fields(&too_many), json!({}));
    let missing = find(json!({}), &dir.join("nothing")).await;
    assert_eq!((missing.rule, code(&missing)), (Some(Verdict::Unknown), "E_FILE"));
    let bad = find(json!({"glob": "../*"}), &dir).await;
    assert_eq!((bad.end, code(&bad)), (End::NotStarted, "E_GLOB"));
}

#[tokio::test]
async fn find_goes_through_a_linked_dir_and_names_the_real_one() {
    let (_held, dir) = folder();
    aged(&dir.join("real/a"), 1, 1);
    symlink(dir.join("real"), dir.join("alias")).unwrap();
    let outcome = find(json!({}), &dir.join("alias")).await;
    assert_eq!(names(&outcome, &dir), ["real/a"]);
}

async fn delete(files: &Value) -> Outcome {
    perform(json!({"delete": {"files": files}})).await
}

/// Reasons by file name.
fn skipped(outcome: &Outcome) -> Vec<(String, String)> {
    let skipped = fields(outcome)["skipped"].as_array().cloned().unwrap();
    let pair = |one: &Value| {
        let path = one["path"].as_str().unwrap();
        let name = path.rsplit('/').next().unwrap().to_owned();
        (name, one["reason"].as_str().unwrap().to_owned())
    };
    skipped.iter().map(pair).collect()
}

#[tokio::test]
async fn delete_removes_exactly_what_was_found() {
    let (_held, dir) = folder();
    aged(&dir.join("a"), 3, 8192);
    aged(&dir.join("b\n"), 2, 100);
    aged(&dir.join("later"), 1, 1);
    let found = find(json!({"older_than": 5400}), &dir).await;
    let outcome = delete(&fields(&found)["files"]).await;
    assert_ok(&outcome);
    assert_eq!(outcome.changed, Some(true));
    let got = fields(&outcome);
    assert_eq!(got["deleted"], json!([dir.join("a"), dir.join("b\n")]));
    assert!(got["freed_bytes"].as_u64().is_some());
    assert_eq!((&got["skipped"], &got["remaining"]), (&json!([]), &json!(0)));
    assert!(dir.join("later").exists() && !dir.join("a").exists());
    let nothing = delete(&json!([])).await;
    assert_ok(&nothing);
    assert_eq!(nothing.changed, Some(false));
}

/// Goal: whatever is changed between find and delete, nothing is removed but what was found.
/// Method: one change a file, then look at what is left of it.
#[tokio::test]
async fn delete_leaves_alone_what_is_no_longer_the_same() {
    let (_held, dir) = folder();
    let outside = folder();
    aged(&outside.1.join("passwd"), 9, 3);
    for name in ["gone", "grown", "touched", "replaced", "folder", "link"] {
        aged(&dir.join(name), 9, 3);
    }
    aged(&dir.join("sub/passwd"), 9, 3);
    let found = fields(&find(json!({}), &dir).await)["files"].clone();

    fs::remove_file(dir.join("gone")).unwrap();
    fs::write(dir.join("grown"), "xxxx").unwrap();
    fs::File::options()
        .write(true)
        .open(dir.join("touched"))
        .unwrap()
        .set_modified(SystemTime::now())
        .unwrap();
    aged(&dir.join("new"), 9, 3);
    fs::rename(dir.join("new"), dir.join("replaced")).unwrap();
    fs::remove_file(dir.join("folder")).unwrap();
    fs::create_dir(dir.join("folder")).unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    symlink(outside.1.join("passwd"), dir.join("link")).unwrap();
    fs::remove_dir_all(dir.join("sub")).unwrap();
    symlink(&outside.1, dir.join("sub")).unwrap();

    let outcome = delete(&found).await;
    assert_eq!(outcome.rule, Some(Verdict::Warning), "{outcome:?}");
    assert_eq!((outcome.changed, &fields(&outcome)["deleted"]), (Some(false), &json!([])));
    let mut reasons = skipped(&outcome);
    reasons.sort();
    let want = [
        ("folder", "it is a folder now"),
        ("gone", "it is already gone"),
        ("grown", "its size has changed"),
        ("link", "it is a symbolic link now"),
        ("passwd", "a folder on its path is a symbolic link or a file now"),
        ("replaced", "another file has its name now"),
        ("touched", "it was written to since it was found"),
    ];
    assert_eq!(reasons, want.map(|(name, why)| (name.to_owned(), why.to_owned())));
    assert!(outside.1.join("passwd").exists());
    // What is gone is what was wanted.
    let gone: Vec<Value> = found
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["path"].as_str().unwrap().ends_with("gone"))
        .cloned()
        .collect();
    assert_ok(&delete(&json!(gone)).await);
}

#[tokio::test]
async fn delete_takes_no_path_that_is_not_plain() {
    let (_held, dir) = folder();
    aged(&dir.join("a/b"), 9, 3);
    let found = fields(&find(json!({}), &dir).await)["files"][0].clone();
    let base = dir.to_str().unwrap();
    for path in [
        "a/b".to_owned(),
        format!("{base}/a/../a/b"),
        format!("{base}//a/b"),
        format!("{base}/a/./b"),
        format!("{base}/a/b/"),
        String::new(),
        "/".to_owned(),
    ] {
        let mut file = found.clone();
        file["path"] = json!(path);
        let outcome = delete(&json!([file])).await;
        assert_eq!(outcome.rule, Some(Verdict::Warning), "{path}");
    }
    assert!(dir.join("a/b").exists());
}

#[tokio::test]
async fn delete_says_who_still_holds_a_file() {
    let (_held, dir) = folder();
    aged(&dir.join("open"), 2, 100_000);
    aged(&dir.join("linked"), 1, 100_000);
    fs::hard_link(dir.join("linked"), dir.join("twin")).unwrap();
    let found = fields(&find(json!({"glob": "[ol]*"}), &dir).await)["files"].clone();
    let open = fs::File::open(dir.join("open")).unwrap();
    let outcome = delete(&found).await;
    drop(open);
    assert_eq!(outcome.rule, Some(Verdict::Warning));
    let got = fields(&outcome);
    assert_eq!(got["held_open"], json!([{"path": dir.join("open"), "pid": std::process::id()}]));
    // Neither the open one nor the one with another name has given room back.
    assert_eq!((&got["freed_bytes"], got["deleted"].as_array().unwrap().len()), (&json!(0), 2));
    assert!(dir.join("twin").exists());
}

#[tokio::test]
async fn delete_stops_at_its_goal() {
    let (_held, dir) = folder();
    aged(&dir.join("a"), 2, 1);
    aged(&dir.join("b"), 1, 1);
    let found = fields(&find(json!({}), &dir).await)["files"].clone();
    let until = |until: Value| perform(json!({"delete": {"files": found, "until": until}}));
    let reached = until(json!({"used_percent": 100.0})).await;
    assert_ok(&reached);
    assert_eq!(fields(&reached)["goal_reached"], true);
    assert_eq!((&fields(&reached)["remaining"], reached.changed), (&json!(2), Some(false)));
    let beyond = until(json!({"free_bytes": "8000TB"})).await;
    assert_eq!(beyond.rule, Some(Verdict::Warning));
    assert_eq!((&fields(&beyond)["goal_reached"], beyond.changed), (&json!(false), Some(true)));
    let bad = until(json!({})).await;
    assert_eq!(bad.end, End::NotStarted);
}

#[tokio::test]
async fn delete_that_is_cancelled_tells_how_far_it_came() {
    let (_held, dir) = folder();
    for number in 0..200 {
        aged(&dir.join(number.to_string()), 1, 1);
    }
    let found = fields(&find(json!({}), &dir).await)["files"].clone();
    let (cx, asks) = attempt();
    asks.send(Cancel::AtOnce).unwrap();
    let outcome = perform_in(json!({"delete": {"files": found}}), &cx).await;
    let left = fs::read_dir(&dir).unwrap().count();
    let deleted = fields(&outcome)["deleted"].as_array().unwrap().len();
    assert_eq!(deleted + left, 200);
    assert_eq!(outcome.end == End::Completed, left == 0, "{outcome:?}");
}
