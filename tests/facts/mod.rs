//! Facts of small runs, and whole runs appended to a store, for the tests of the log.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::Path;

use runwarden::audit::checkpoint::Checkpoint;
use runwarden::audit::key::Signer;
use runwarden::audit::tree::{Frontier, leaf_hash};
use runwarden::audit::verify::{Failure, Report, Trust};
use runwarden::id::{Digest, Epoch, Owner, RunId};
use runwarden::outcome::Verdict;
use runwarden::run::event::{
    Event, Requester, RunFinished, RunOutcome, RunRequested, RunbookRef, Status, StepFinished,
    Stored,
};
use runwarden::runbook::model::{Effect, Kind};
use runwarden::store::{Append, OpenMode, Reader, Store, VerifyError};
use runwarden::time::Timestamp;
use rusqlite::{Connection, params};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_678);

pub(crate) fn owner(pid: u32) -> Owner {
    Owner { pid, start: 7, boot: "boot".to_owned(), host: "host".to_owned() }
}

pub(crate) fn requested() -> Event {
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
        inputs: Stored::Inline { inline: serde_json::json!({}) },
        requester: Requester { principal: "maya".to_owned(), method: "unix".to_owned() },
        trigger: serde_json::from_str(r#"{"kind":"cli"}"#).unwrap(),
        reason: None,
        ticket: Some("INC1".to_owned()),
        owner: owner(1),
        epoch: Epoch(1),
    }))
}

pub(crate) fn started(step: &str) -> Event {
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

pub(crate) fn finished(step: &str) -> Event {
    Event::StepFinished(Box::new(StepFinished {
        did_not_happen: false,
        note: None,
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

pub(crate) fn ended() -> Event {
    Event::RunFinished(Box::new(RunFinished {
        outcome: RunOutcome::Succeeded,
        verdict: Verdict::Ok,
        duration_seconds: 1.5,
        outputs: Default::default(),
        message: None,
        left_to_undo: Vec::new(),
    }))
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(dir, OpenMode::ReadWrite).unwrap()
}

/// A whole run of `steps` steps, one append a step boundary.
pub(crate) fn run(store: &Store, steps: usize) -> RunId {
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

pub(crate) fn verify(dir: &Path, trust: Trust) -> Result<Report, Failure> {
    match Reader::open(dir).unwrap().verify(trust) {
        Ok(report) => Ok(report),
        Err(VerifyError::Tampered(failure)) => Err(failure),
        Err(VerifyError::Unreadable(err)) => panic!("{err}"),
    }
}

pub(crate) fn database(dir: &Path) -> Connection {
    Connection::open(dir.join("log.db")).unwrap()
}

/// Puts a head for `tree` in place, signed by `signer`.
pub(crate) fn sign(conn: &Connection, tree: &Frontier, signer: &Signer) {
    let origin = signer.vkey().name().to_owned();
    let head = Checkpoint { origin, size: tree.size(), root: tree.root() };
    let note = head.sign(signer).to_string();
    conn.execute(
        "UPDATE head SET size = ?1, root = ?2, note = ?3",
        params![tree.size() as i64, tree.root(), note],
    )
    .unwrap();
}

pub(crate) fn tree_of(conn: &Connection) -> Frontier {
    let mut tree = Frontier::new();
    let mut select = conn.prepare("SELECT bytes FROM entries ORDER BY seq").unwrap();
    let rows = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.for_each(|bytes| tree.push(leaf_hash(&bytes.unwrap())));
    tree
}

pub(crate) fn stolen(state: &Path) -> Signer {
    Signer::from_skey(fs::read_to_string(state.join("key")).unwrap().trim_end()).unwrap()
}
