//! Signals, sent to the real process at moments that it announces.

use rustix::process::Signal;

use super::harness::Bench;

/// A change with a rollback, then a step that runs until it is ended, then `finally`.
const SLOW: &str = r#"
runwarden: 1
runbook: slow
version: 1.0.0
kind: task
title: Slow
steps:
  - id: change
    command: [touch, changed]
    cwd: "{{inputs.dir}}"
    rollback: { command: [rm, changed], cwd: "{{inputs.dir}}" }
  - id: sleep
    shell: echo $$ > "$DIR/started"; sleep 300
    env: { DIR: "{{inputs.dir}}" }
finally:
  - id: bye
    command: [touch, bye]
    cwd: "{{inputs.dir}}"
inputs:
  dir: { type: string }
"#;

/// A step that does not end when it is asked to.
const STUBBORN: &str = r#"
runwarden: 1
runbook: stubborn
version: 1.0.0
kind: task
title: Stubborn
steps:
  - id: deaf
    shell: trap '' TERM; echo $$ > "$DIR/started"; while :; do sleep 1; done
    env: { DIR: "{{inputs.dir}}" }
inputs:
  dir: { type: string }
"#;

fn begin(bench: &Bench, runbook: &str) -> super::harness::Running {
    bench.write("r.yaml", runbook);
    let dir = format!("dir={}", bench.work().display());
    let mut running = bench.start(&["run", "r.yaml", "-i", &dir]);
    running.wait_for_file(&bench.work().join("started"));
    running
}

fn is_alive(bench: &Bench) -> bool {
    let pid = std::fs::read_to_string(bench.work().join("started")).unwrap();
    std::path::Path::new("/proc").join(pid.trim()).exists()
}

/// Goal: one signal ends a run in order: the step is ended, what was changed is undone, `finally`
/// runs, the record says cancelled, and the exit code too.
#[test]
fn one_signal_cancels_in_order() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let bench = Bench::new();
        let running = begin(&bench, SLOW);
        running.signal(signal);
        let (code, stdout, stderr) = running.end();
        assert_eq!(code, Some(5), "{stderr}");
        assert!(stderr.contains("cancelling: the running step is ended"), "{stderr}");
        assert!(stderr.contains("Ctrl-C again stops at once"), "{stderr}");
        assert!(stdout.contains("✗ cancelled"), "{stdout}");
        assert!(!bench.work().join("changed").exists(), "not undone: {stderr}");
        assert!(bench.work().join("bye").exists(), "no `finally`: {stderr}");
        assert!(!is_alive(&bench), "the step's process lives on");
        let run = &bench.json(&["runs", "list"])[0];
        assert_eq!((&run["outcome"], &run["state"]), (&"cancelled".into(), &"finished".into()));
    }
}

/// Goal: a run whose terminal is gone, with nobody left to read a line, still ends in order.
#[test]
fn a_lost_terminal_ends_a_run_in_order() {
    let bench = Bench::new();
    let mut running = begin(&bench, SLOW);
    running.stop_reading();
    running.signal(Signal::HUP);
    assert_eq!(running.child.wait().unwrap().code(), Some(5));
    assert!(!bench.work().join("changed").exists() && bench.work().join("bye").exists());
    assert_eq!(bench.json(&["runs", "list"])[0]["outcome"], "cancelled");
}

/// Goal: a second Ctrl-C stops at once, though the step does not want to end, and the record says
/// that its end is unknown.
#[test]
fn a_second_ctrl_c_stops_at_once() {
    let bench = Bench::new();
    let mut running = begin(&bench, STUBBORN);
    running.signal(Signal::INT);
    running.wait_for("cancelling");
    running.signal(Signal::INT);
    let (code, _, stderr) = running.end();
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("stopping at once"), "{stderr}");
    assert!(!is_alive(&bench), "the step's process lives on");
    let run = &bench.json(&["runs", "list"])[0];
    assert_eq!(run["outcome"], "interrupted", "{run}");
    assert_eq!(bench.call(&["audit", "verify"]).status.code(), Some(0));
}

/// Goal: a run whose process was killed is shown as what it is by commands that only read, is
/// named by the next run, and can be resumed by a prefix of its id.
#[test]
fn a_killed_run_is_shown_and_resumed() {
    let bench = Bench::new();
    let running = begin(&bench, SLOW);
    running.signal(Signal::KILL);
    let (code, ..) = running.end();
    assert_eq!(code, None);
    let entries = bench.call(&["audit", "log", "--raw"]).stdout;

    let list = bench.call(&["runs", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("! suspended, its process died"), "{list}");
    let run = bench.json(&["runs", "list"])[0].clone();
    let id = run["id"].as_str().unwrap();
    assert_eq!(run["state"], "suspended");
    assert_eq!(bench.json(&["runs", "show", id])["state"], "suspended");
    let shown = bench.call(&["runs", "show", id]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("its process died while it was under way"), "{shown}");
    assert!(shown.contains(&format!("runwarden runs resume {id}")), "{shown}");
    let watched = bench.call(&["runs", "watch", id]);
    assert_eq!(watched.status.code(), Some(4), "a dead run is not watched for ever");
    let again = bench.call(&["audit", "log", "--raw"]).stdout;
    assert_eq!(entries, again, "commands that read have written");

    bench.write("next.yaml", &SLOW.replace("sleep 300", "true").replace("slow", "next"));
    let dir = format!("dir={}", bench.work().display());
    let next = bench.call(&["run", "next.yaml", "-i", &dir]);
    let said = String::from_utf8_lossy(&next.stderr).into_owned();
    assert_eq!(next.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("warning: the process of run {id} died")), "{said}");
    assert!(said.contains(&format!("runwarden runs resume {id} --retry")), "{said}");
    assert!(!is_alive(&bench), "what the dead process left was not ended");

    let resumed = bench.call(&["runs", "resume", id, "--stop", "--comment", "not needed"]);
    let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(matches!(resumed.status.code(), Some(1 | 4)), "{said}");
    assert_eq!(bench.json(&["runs", "show", id])["state"], "finished");
    assert_eq!(bench.call(&["audit", "verify"]).status.code(), Some(0));
}
