//! service, kept by a pidfile: the way that works on every host.

use std::path::Path;

use runwarden::outcome::{End, Outcome, Verdict};
use serde_json::{Value, json};

use crate::host::Sleeper;
use crate::{assert_ok, code, fields, perform};

/// Starts a `sleep` that lives on, and writes its pidfile.
fn service(pidfile: &Path, state: Option<&str>) -> Value {
    let start = "sleep 300 >/dev/null 2>&1 & echo $! > \"$1\"";
    let mut params = json!({
        "name": "sleeper", "pidfile": pidfile,
        "start": ["sh", "-c", start, "start", pidfile],
    });
    if let Some(state) = state {
        params["state"] = json!(state);
    }
    json!({ "service": params })
}

fn pid(outcome: &Outcome) -> u64 {
    fields(outcome)["pid"].as_u64().unwrap_or_else(|| panic!("{outcome:?}"))
}

#[tokio::test]
async fn a_service_is_started_restarted_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("s.pid");
    let down = perform(service(&pidfile, None)).await;
    assert_eq!((down.rule, code(&down)), (Some(Verdict::Critical), "E_NOT_ACTIVE"));
    assert_eq!(fields(&down), json!({"active": false, "state": "inactive"}));

    let started = perform(service(&pidfile, Some("started"))).await;
    assert_ok(&started);
    assert_eq!(started.changed, Some(true));
    let first = pid(&started);
    let again = perform(service(&pidfile, Some("started"))).await;
    assert_eq!((again.changed, pid(&again)), (Some(false), first));
    let up = perform(service(&pidfile, None)).await;
    assert_ok(&up);
    assert!(fields(&up)["since"].as_str().unwrap().ends_with('Z'));

    let restarted = perform(service(&pidfile, Some("restarted"))).await;
    assert_ok(&restarted);
    assert_ne!(pid(&restarted), first);

    let stopped = perform(service(&pidfile, Some("stopped"))).await;
    assert_ok(&stopped);
    assert_eq!((stopped.changed, &fields(&stopped)["active"]), (Some(true), &json!(false)));
    let again = perform(service(&pidfile, Some("stopped"))).await;
    assert_eq!(again.changed, Some(false));
}

/// Goal: a reused pid is never signalled. Method: a pidfile older than the process it names.
#[tokio::test]
async fn a_stranger_with_the_same_pid_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("s.pid");
    let mut stranger = Sleeper::called("rwtest-stranger");
    std::fs::write(&pidfile, stranger.pid().to_string()).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&pidfile).unwrap().set_modified(long_ago).unwrap();
    let outcome = perform(service(&pidfile, Some("stopped"))).await;
    assert_ok(&outcome);
    assert_eq!(outcome.changed, Some(false));
    assert!(stranger.0.try_wait().unwrap().is_none(), "the stranger was ended");
}

#[tokio::test]
async fn a_start_that_fails_or_starts_nothing_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("s.pid");
    let with = |start: Value| {
        json!({"service": {
            "name": "x", "state": "started", "pidfile": pidfile, "start": start,
        }})
    };
    let fails = perform(with(json!(["sh", "-c", "echo no config >&2; exit 7"]))).await;
    assert_eq!((fails.rule, code(&fails)), (Some(Verdict::Critical), "E_SERVICE"));
    let why = fails.error.unwrap().message;
    assert!(why.contains("code 7") && why.contains("no config"), "{why}");
    let bad = perform(json!({"service": {"name": "--now", "state": "stopped"}})).await;
    assert_eq!((bad.end, code(&bad)), (End::NotStarted, "E_PARAMETER"));
    let unknown = perform(json!({"service": {"name": "rwtest-no-such-service"}})).await;
    assert_ne!(unknown.rule, Some(Verdict::Ok));
}
