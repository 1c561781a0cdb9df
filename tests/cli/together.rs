//! Several processes on one state folder, and streams that nobody reads to the end.

use std::io::{BufRead as _, BufReader};

use super::harness::Bench;

const WAITS: &str = r#"
runwarden: 1
runbook: waits
version: 1.0.0
kind: task
title: Waits for a file
inputs:
  dir: { type: string }
steps:
  - id: wait
    shell: echo on > "$DIR/started"; until [ -e "$DIR/go" ]; do sleep 0.02; done; seq 1 100000
    env: { DIR: "{{inputs.dir}}" }
"#;

const MANUAL: &str = r#"
runwarden: 1
runbook: manual
version: 1.0.0
kind: task
title: Asks a person
steps:
  - id: swap
    manual: { instructions: Swap the disk, ask: { slot: integer } }
  - id: after
    command: [echo, "slot {{steps.swap.answers.slot}}"]
"#;

/// Goal: two runs at once share one log, and a third process can look on and cancel.
#[test]
fn two_at_once() {
    let bench = Bench::new();
    bench.write("r.yaml", WAITS);
    let dir = format!("dir={}", bench.work().display());
    let mut first = bench.start(&["run", "r.yaml", "-i", &dir]);
    first.wait_for_file(&bench.work().join("started"));
    let mut second = bench.start(&["run", "r.yaml", "-i", &dir]);
    second.wait_for("run ");
    let runs = bench.json(&["runs", "list", "--state-is", "running"]);
    assert_eq!(runs.as_array().unwrap().len(), 2, "{runs}");
    let id = runs[0]["id"].as_str().unwrap().to_owned();
    let mut watch = bench.start(&["runs", "watch", &id, "-v"]);
    watch.wait_for("running");

    let cancelled = bench.call(&["runs", "cancel", &id, "--comment", "two are too many"]);
    assert_eq!(cancelled.status.code(), Some(0));
    let (code, _, stderr) = second.end();
    assert_eq!(code, Some(5), "{stderr}");
    assert!(stderr.contains(": two are too many"), "{stderr}");
    let (code, stdout, _) = watch.end();
    assert_eq!(code, Some(5));
    assert!(stdout.contains("✗ cancelled"), "{stdout}");

    bench.write("go", "");
    let (code, _, stderr) = first.end();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(bench.call(&["audit", "verify"]).status.code(), Some(0));
}

/// Goal: a manual step off a terminal says how to confirm it, takes the answer from another
/// process, and refuses one of the wrong type.
#[test]
fn a_manual_step_is_confirmed_from_elsewhere() {
    let bench = Bench::new();
    bench.write("r.yaml", MANUAL);
    let mut running = bench.start(&["run", "r.yaml"]);
    running.wait_for("to confirm it: runwarden approvals confirm ");
    let waiting = bench.json(&["approvals", "list"]);
    let id = waiting[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(waiting[0]["instructions"], "Swap the disk");

    let wrong = bench.call(&["approvals", "confirm", &id, "--answer", "slot=left"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    assert!(said.contains("slot"), "{said}");
    let right = bench.call(&["approvals", "confirm", &id, "--answer", "slot=3", "--note", "done"]);
    assert_eq!(right.status.code(), Some(0), "{}", String::from_utf8_lossy(&right.stderr));
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(0), "{stderr}");
    let run = id.split('/').next().unwrap();
    assert_eq!(bench.call(&["runs", "output", run, "after"]).stdout, b"slot 3\n");
    assert_eq!(bench.json(&["approvals", "list"]), serde_json::json!([]));
}

/// Goal: a run left to wait can be confirmed, and goes on in the process that confirms it.
#[test]
fn a_run_that_was_left_goes_on_when_it_is_confirmed() {
    let bench = Bench::new();
    bench.write("r.yaml", MANUAL);
    let left = bench.call(&["run", "r.yaml", "--no-wait"]);
    assert_eq!(left.status.code(), Some(4), "{}", String::from_utf8_lossy(&left.stderr));
    let run = bench.json(&["runs", "list"])[0].clone();
    assert_eq!(run["state"], "waiting_approval", "{run}");
    let id = format!("{}/swap", run["id"].as_str().unwrap());
    let done = bench.call(&["approvals", "confirm", &id, "--answer", "slot=3"]);
    let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(stdout.contains("✓ succeeded"), "{stdout}");
}

/// Goal: a reader that goes away early is no error and no panic, and changes nothing of a run.
#[test]
fn pipes_that_are_closed_early() {
    let bench = Bench::new();
    bench.write("r.yaml", WAITS);
    bench.write("go", "");
    let dir = format!("dir={}", bench.work().display());
    let mut run = bench.runwarden(&["run", "r.yaml", "-i", &dir]).spawn().unwrap();
    // Nobody reads either stream of the run.
    drop((run.stdout.take(), run.stderr.take()));
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let id = bench.json(&["runs", "list"])[0]["id"].as_str().unwrap().to_owned();

    for args in [
        &["runs", "output", &id, "wait"][..],
        &["runs", "show", &id],
        &["audit", "log"],
        &["audit", "log", "--raw"],
        &["schema"],
        &["man"],
        &["--help"],
    ] {
        let mut child = bench.runwarden(args).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        drop(stdout);
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
    let whole = bench.call(&["runs", "output", &id, "wait"]).stdout;
    assert!(whole.starts_with(b"1\n2\n") && whole.ends_with(b"\n100000\n"));
}

/// Opens the store behind the program's back.
fn database(bench: &Bench) -> rusqlite::Connection {
    rusqlite::Connection::open(bench.work().join("s/log.db")).unwrap()
}

fn ended(bench: &Bench, args: &[&str]) -> (Option<i32>, String) {
    let ended = bench.call(&[&["--state", "s"], args].concat());
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Goal: an entry that was edited is found, named, and nothing runs on such a log.
#[test]
fn an_edited_log_is_exit_6() {
    let bench = Bench::new();
    bench.write("r.yaml", MANUAL);
    assert_eq!(ended(&bench, &["run", "r.yaml", "--no-wait"]).0, Some(4));
    let sql = "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'swap', 'swat') AS BLOB) \
               WHERE seq = 4";
    assert_eq!(database(&bench).execute(sql, []).unwrap(), 1);
    let (code, said) = ended(&bench, &["audit", "verify"]);
    assert_eq!(code, Some(6));
    assert!(said.contains("the log does not verify: E_LEAF at entry 4: "), "{said}");
    let (code, said) = ended(&bench, &["audit", "verify", "-o", "json"]);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &found["code"], &found["seq"]), (Some(6), &"E_LEAF".into(), &4.into()));
    let (code, said) = ended(&bench, &["run", "r.yaml"]);
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("error: the log does not verify: E_LEAF at entry 4"), "{said}");
    let (code, said) = ended(&bench, &["run", "r.yaml", "--nagios"]);
    assert!(code == Some(3) && said.starts_with("UNKNOWN - the log does not verify"), "{said}");
}

/// Goal: the store of a newer program is left alone, with what to do.
#[test]
fn a_newer_store_is_exit_7() {
    let bench = Bench::new();
    bench.write("r.yaml", MANUAL);
    assert_eq!(ended(&bench, &["run", "r.yaml", "--no-wait"]).0, Some(4));
    database(&bench).pragma_update(None, "user_version", 99).unwrap();
    for args in [&["run", "r.yaml"][..], &["runs", "list"]] {
        let (code, said) = ended(&bench, args);
        assert_eq!(code, Some(7));
        let want = "error: failed to open the store: its schema is version 99";
        assert!(said.starts_with(want) && said.contains("hint: use the runwarden"), "{said}");
    }
}

/// Goal: commands that read work on a folder that cannot be written, and leave it as it was.
#[test]
fn reading_needs_no_right_to_write() {
    let bench = Bench::new();
    bench.write("r.yaml", WAITS);
    bench.write("go", "");
    let dir = format!("dir={}", bench.work().display());
    assert_eq!(bench.call(&["--state", "s", "run", "r.yaml", "-i", &dir]).status.code(), Some(0));
    let chmod = |mode: &str| {
        let done = bench.command("chmod").args(["-R", mode, "s"]).status().unwrap();
        assert!(done.success());
    };
    chmod("a-w");
    for args in [&["runs", "list"][..], &["audit", "verify"], &["audit", "checkpoint"]] {
        let ended = bench.call(&[&["--state", "s"], args].concat());
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
    chmod("u+w");
}
