//! The store in temporary folders: what is appended is there, in order, signed, once; and whoever
//! changes a byte of it is found.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use runwarden::audit::verify::{Code, Failure, Held, Level, Report, Trust};
use runwarden::id::{Digest, Epoch, Owner, RunId};
use runwarden::outcome::Verdict;
use runwarden::run::event::{
    Event, Requester, RunFinished, RunOutcome, RunRequested, RunState, RunbookRef, Status,
    StepFinished, Stored,
};
use runwarden::runbook::model::{Effect, Kind};
use runwarden::store::{
    Append, Blob, Found, OpenMode, Reader, RowChange, RunFilter, Store, StoreError, VerifyError,
};
use runwarden::time::Timestamp;
use rusqlite::Connection;

const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_678);

fn owner(pid: u32) -> Owner {
    Owner { pid, start: 7, boot: "boot".to_owned(), host: "host".to_owned() }
}

fn requested() -> Event {
    Event::RunRequested(Box::new(RunRequested {
        runbook: RunbookRef {
            name: "restart-checkout".to_owned(),
            version: "1.2.0".to_owned(),
            digest: Digest::of(b"runbook"),
            kind: Kind::Remediation,
            title: "Restart checkout".to_owned(),
            path: None,
        },
        source: Stored::Inline { inline: "runwarden: 1\n".into() },
        files: Default::default(),
        inputs: Default::default(),
        requester: Requester { principal: "maya".to_owned(), method: "unix".to_owned() },
        trigger: serde_json::from_str(r#"{"kind":"cli"}"#).unwrap(),
        reason: None,
        ticket: Some("INC1".to_owned()),
        owner: owner(1),
        epoch: Epoch(1),
    }))
}

fn started(step: &str) -> Event {
    Event::StepStarted {
        step: step.to_owned(),
        attempt: 1,
        action: "shell".to_owned(),
        effect: Effect::Change,
        target: None,
        spec: Stored::Inline { inline: serde_json::json!({ "shell": "true" }) },
        plan_digest: Digest::of(b"plan"),
    }
}

fn finished(step: &str) -> Event {
    Event::StepFinished(Box::new(StepFinished {
        step: step.to_owned(),
        attempt: 1,
        status: Status::Succeeded,
        verdict: Verdict::Ok,
        changed: true,
        duration_seconds: 0.1 + 0.2,
        result: Default::default(),
        large: Default::default(),
        error: None,
        stdout: None,
        stderr: None,
        outputs: Default::default(),
        measures: Default::default(),
        next_attempt_at: None,
        was_done: false,
        left: Vec::new(),
    }))
}

fn ended() -> Event {
    Event::RunFinished(Box::new(RunFinished {
        outcome: RunOutcome::Succeeded,
        verdict: Verdict::Ok,
        duration_seconds: 1.5,
        outputs: Default::default(),
        message: None,
        left_to_undo: Vec::new(),
    }))
}

fn open(dir: &Path) -> Store {
    Store::open(dir, OpenMode::ReadWrite).unwrap()
}

/// A whole run of `steps` steps, one append a step boundary.
fn run(store: &Store, steps: usize) -> RunId {
    let id = RunId::generate();
    let append = |events| store.append_blocking(Append::of(id, events, NOW)).unwrap();
    append(vec![requested(), Event::RunStarted {}]);
    for step in 0..steps {
        append(vec![started(&format!("s{step}"))]);
        append(vec![finished(&format!("s{step}"))]);
    }
    append(vec![ended()]);
    id
}

fn verify(dir: &Path, trust: Trust) -> Result<Report, Failure> {
    match Reader::open(dir).unwrap().verify(trust) {
        Ok(report) => Ok(report),
        Err(VerifyError::Tampered(failure)) => Err(failure),
        Err(VerifyError::Unreadable(err)) => panic!("{err}"),
    }
}

/// Goal: what was appended is read back to the last bit, its row follows, and the log verifies.
#[test]
fn what_is_appended_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(store.is_new());
    let id = run(&store, 2);
    let reader = store.reader().unwrap();
    let entries = reader.entries_of(id, None).unwrap();
    let events: Vec<Event> = entries.iter().map(|entry| entry.event().unwrap()).collect();
    let want = vec![
        requested(),
        Event::RunStarted {},
        started("s0"),
        finished("s0"),
        started("s1"),
        finished("s1"),
        ended(),
    ];
    assert_eq!(events, want);
    assert_eq!(
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        (1..8).collect::<Vec<_>>()
    );
    assert_eq!(reader.entries_of(id, Some(6)).unwrap(), entries[6..]);

    let row = reader.run_row(id).unwrap().unwrap();
    assert_eq!((row.state, row.outcome), (RunState::Finished, Some(RunOutcome::Succeeded)));
    assert_eq!((row.first_seq, row.last_seq), (1, 7));
    let head = reader.head().unwrap().unwrap();
    assert_eq!(row.log, Some((head.size, head.root)));
    assert_eq!(head.size, 8);

    let pinned = Trust { keys: vec![store.vkey().clone()], held: Vec::new() };
    let report = verify(dir.path(), pinned).unwrap();
    assert_eq!((report.size, report.level, report.open_attempts), (8, Level::L1, 0));
    assert_eq!(report.origin, store.vkey().name());
}

/// Goal: a store that is closed and opened again is the same log with the same key.
#[test]
fn reopened_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/b/state");
    let mut sizes = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..4 {
        let store = open(&state);
        run(&store, 70);
        sizes.push(store.reader().unwrap().head().unwrap().unwrap().size);
        keys.push(store.vkey().to_string());
    }
    assert_eq!(sizes, [144, 287, 430, 573]);
    keys.dedup();
    assert_eq!(keys.len(), 1);
    assert_eq!(verify(&state, Trust::default()).unwrap().size, 573);
    for (name, mode) in [("", 0o700), ("log.db", 0o600), ("key", 0o600), ("reserve", 0o600)] {
        let found = fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{name}");
    }
    let store = Store::open(&state, OpenMode::ReadOnly).unwrap();
    let id = RunId::generate();
    let refused = store.append_blocking(Append::of(id, vec![requested()], NOW)).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly(_)), "{refused}");
}
