//! What the log costs: one durable append, opening a store, verifying a million entries.
//!
//! `cargo bench --bench audit [-- ENTRIES]`. Prints one line a figure; aims are in its brackets.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::path::Path;
use std::time::{Duration, Instant};

use runwarden::audit::verify::Trust;
use runwarden::id::{Digest, Epoch, Owner, RunId};
use runwarden::outcome::Verdict;
use runwarden::run::event::{
    Event, Requester, RunRequested, RunbookRef, Status, StepFinished, Stored,
};
use runwarden::runbook::model::{Effect, Kind};
use runwarden::store::{Append, OpenMode, Reader, Store};
use runwarden::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_678);

fn main() {
    let entries = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    appends(&dir.path().join("small"));
    verification(&dir.path().join("large"), entries);
}

/// One owner, two entries an append, each waited for.
fn appends(dir: &Path) {
    const COUNT: u32 = 3_000;
    let store = open(dir);
    let run = request(&store);
    let (wall, cpu) = (Instant::now(), cpu_time());
    for i in 0..COUNT {
        append(&store, run, step(i));
    }
    let (wall, cpu) = (wall.elapsed() / COUNT, (cpu_time() - cpu) / COUNT);
    println!("append of 2 entries: {wall:?} each, of it {cpu:?} processor [150 µs]");
    drop(store);
    let wall = Instant::now();
    drop(open(dir));
    println!("open and close: {:?}", wall.elapsed());
}

fn verification(dir: &Path, entries: u64) {
    const BATCH: u32 = 500;
    let store = open(dir);
    let run = request(&store);
    let wall = Instant::now();
    for batch in 0..entries / 2 / u64::from(BATCH) {
        let first = batch as u32 * BATCH;
        append(&store, run, (first..first + BATCH).flat_map(step).collect());
    }
    let rate = entries as f64 / wall.elapsed().as_secs_f64();
    println!("append in batches of 1000: {rate:.0} entries/s [50000]");
    drop(store);
    let reader = Reader::open(dir).expect("the store opens");
    let before = peak_memory_kib();
    let wall = Instant::now();
    let report = reader.verify(Trust::default()).expect("the log verifies");
    let rate = report.size as f64 / wall.elapsed().as_secs_f64();
    let grown = peak_memory_kib() - before;
    println!("verify {}: {rate:.0} entries/s [300000], {grown} KiB more memory", report.size);
    let wall = Instant::now();
    let store = open(dir);
    println!("open with {} entries: {:?}", report.size, wall.elapsed());
    let wall = Instant::now();
    append(&store, run, step(0));
    println!("first append to it: {:?}", wall.elapsed());
}

fn open(dir: &Path) -> Store {
    Store::open(dir, OpenMode::ReadWrite).expect("the store opens")
}

fn append(store: &Store, run: RunId, events: Vec<Event>) {
    store.append_blocking(Append::of(run, events, NOW)).expect("the facts are written");
}

fn request(store: &Store) -> RunId {
    let run = RunId::generate();
    let requested = RunRequested {
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
        trigger: Default::default(),
        reason: None,
        ticket: None,
        owner: Owner { pid: 1, start: 1, boot: "boot".to_owned(), host: "host".to_owned() },
        epoch: Epoch(1),
    };
    append(store, run, vec![Event::RunRequested(Box::new(requested))]);
    run
}

fn step(i: u32) -> Vec<Event> {
    let started = Event::StepStarted {
        step: format!("step-{i}"),
        attempt: 1,
        action: "shell".to_owned(),
        effect: Effect::Change,
        target: Some("web-1.example.com".to_owned()),
        spec: Stored::Inline {
            inline: serde_json::json!({ "shell": "systemctl restart checkout", "timeout_s": 60 }),
        },
        plan_digest: Digest::of(b"plan"),
    };
    let finished = Event::StepFinished(Box::new(StepFinished {
        did_not_happen: false,
        note: None,
        step: format!("step-{i}"),
        attempt: 1,
        status: Status::Succeeded,
        verdict: Verdict::Ok,
        changed: true,
        duration_seconds: 1.25 + f64::from(i) / 1000.0,
        result: serde_json::from_str(r#"{"exit_code":0,"value":"active"}"#).expect("is JSON"),
        large: Default::default(),
        error: None,
        stdout: None,
        stderr: None,
        outputs: Default::default(),
        measures: Default::default(),
        next_attempt_at: None,
        was_done: false,
        left: Vec::new(),
    }));
    vec![started, finished]
}

/// Processor time of all threads of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// `VmHWM`: the most memory that this process ever had.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
