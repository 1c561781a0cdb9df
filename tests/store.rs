//! The store in temporary folders: what is appended is there, in order, signed, once; and whoever
//! changes a byte of it is found.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use facts::{NOW, database, ended, finished, open, owner, requested, run, started, verify};
use runwarden::audit::key::Signer;
use runwarden::audit::verify::{Code, Level, Trust};
use runwarden::id::{Digest, Epoch, RunId};
use runwarden::run::event::{Event, RunOutcome, RunState};
use runwarden::store::{
    Append, Blob, Found, OpenMode, Reader, RowChange, RunFilter, Store, StoreError,
};

mod facts;

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

    let pinned = Trust { keys: vec![store.vkey()], held: Vec::new() };
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

/// Goal: an implementation that is not ours, of nothing but Python's standard library and
/// `openssl`, finds the same root under the same signature, and misses no edit.
#[test]
fn a_verifier_that_is_not_ours_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    run(&store, 150);
    let head = store.reader().unwrap().head().unwrap().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_log.py");
    let check = |vkey: &str| {
        Command::new("python3").arg(&script).arg(dir.path()).arg(vkey).output().map(|output| {
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
        })
    };
    let has = |program: &str| Command::new(program).arg("--help").output().is_ok();
    if !has("python3") || !has("openssl") {
        eprintln!("skipped: python3 and openssl are needed to verify with something else");
        return;
    }
    let vkey = store.vkey().to_string();
    let root = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, head.root);
    assert_eq!(check(&vkey).unwrap(), (true, format!("{} {root}", head.size)));
    let stranger = Signer::from_seed(store.vkey().name(), &[1; 32]).unwrap();
    let (passed, said) = check(&stranger.vkey().to_string()).unwrap();
    assert!(!passed && said.contains("the key has not signed the head"), "{said}");
    drop(store);
    let conn = database(dir.path());
    conn.execute("UPDATE head SET note = replace(note, 'runwarden.dev/', 'runwarden.dex/')", [])
        .unwrap();
    assert!(!check(&vkey).unwrap().0);
    conn.execute("UPDATE head SET note = replace(note, 'runwarden.dex/', 'runwarden.dev/')", [])
        .unwrap();
    assert!(check(&vkey).unwrap().0);
    conn.execute(
        "UPDATE entries SET bytes = CAST(replace(bytes, 'shell', 'shall') AS BLOB) WHERE seq = 9",
        [],
    )
    .unwrap();
    let (passed, said) = check(&vkey).unwrap();
    assert!(!passed && said.contains("not the signed log"), "{said}");
}

/// Goal: an owner that was replaced, or that did not see what others wrote, writes nothing.
#[test]
fn a_stale_owner_and_a_late_reader_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = RunId::generate();
    let append = |append: Append| store.append_blocking(append);
    let unknown = append(Append::of(id, vec![Event::RunStarted {}], NOW)).unwrap_err();
    assert!(matches!(unknown, StoreError::UnknownRun(run) if run == id));
    let first = append(Append::of(id, vec![requested()], NOW)).unwrap();
    let again = append(Append::of(id, vec![requested()], NOW)).unwrap_err();
    assert!(matches!(again, StoreError::RunExists(_)));

    let with = |epoch: u64, expected: Option<u64>| Append {
        epoch: Some(Epoch(epoch)),
        expected,
        ..Append::of(id, vec![Event::RunStarted {}], NOW)
    };
    append(with(1, Some(first.last_seq))).unwrap();
    let late = append(with(1, Some(first.last_seq))).unwrap_err();
    assert!(matches!(late, StoreError::Conflict { expected: 1, found: 2 }), "{late}");
    let ahead = append(with(2, None)).unwrap_err();
    assert!(matches!(ahead, StoreError::StaleEpoch { found: Epoch(1), .. }), "{ahead}");

    let taken = |epoch: u64| Append {
        epoch: Some(Epoch(epoch)),
        expected: Some(2),
        row: Some(RowChange {
            state: RunState::Running,
            outcome: None,
            owner: Some((Epoch(epoch), owner(2))),
        }),
        ..Append::of(
            id,
            vec![Event::RunTakenOver { epoch: Epoch(epoch), owner: owner(2), ended: Vec::new() }],
            NOW,
        )
    };
    assert!(matches!(append(taken(1)).unwrap_err(), StoreError::StaleEpoch { .. }));
    append(taken(2)).unwrap();
    let second = append(Append { expected: None, ..taken(2) }).unwrap_err();
    assert!(matches!(second, StoreError::StaleEpoch { found: Epoch(2), .. }), "{second}");
    let old = append(with(1, None)).unwrap_err();
    assert!(matches!(old, StoreError::StaleEpoch { found: Epoch(2), .. }), "{old}");
    // Anybody may add a fact that is not the owner's.
    append(Append::of(id, vec![ended()], NOW)).unwrap();
    let row = store.reader().unwrap().run_row(id).unwrap().unwrap();
    assert_eq!((row.epoch, row.owner), (Epoch(2), owner(2)));
    assert_eq!(verify(dir.path(), Trust::default()).unwrap().size, 5);
}

/// Goal: appends that wait together share a commit, and one that is refused sinks no other.
#[test]
fn a_refused_append_sinks_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Until all are handed over, another process writes.
    let other = database(dir.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answers = runtime.block_on(async {
        let appends = (0..300).map(|i| {
            let run = RunId::generate();
            let append = match i % 5 {
                0..3 => Append::of(run, vec![requested()], NOW),
                3 => Append::of(run, vec![Event::RunStarted {}], NOW),
                _ => {
                    let fact =
                        serde_json::json!({ "type": "agent.started", "x": "y".repeat(70_000) });
                    Append::raw(serde_json::from_value(fact).unwrap(), NOW)
                }
            };
            // Else the runtime lets a task hand over 128 at a time.
            tokio::task::unconstrained(store.append(append))
        });
        let mut waiting: Vec<_> = appends.map(Box::pin).collect();
        for future in &mut waiting {
            assert!(poll(future.as_mut()).await.is_pending());
        }
        other.execute_batch("ROLLBACK").unwrap();
        let mut answers = Vec::new();
        for future in waiting {
            answers.push(future.await);
        }
        answers
    });
    let (mut sizes, mut refused) = (Vec::new(), 0);
    for answer in answers {
        match answer {
            Ok(appended) => sizes.push(appended.size),
            Err(StoreError::UnknownRun(_) | StoreError::NotAFact(_)) => refused += 1,
            Err(err) => panic!("{err}"),
        }
    }
    assert_eq!((sizes.len(), refused), (180, 120));
    sizes.dedup();
    // The first went alone, perhaps; the others in groups of up to 256.
    assert!(sizes.len() <= 3, "{} commits for 180 appends", sizes.len());
    assert_eq!(verify(dir.path(), Trust::default()).unwrap().size, 181);
    assert_eq!(store.reader().unwrap().runs(&RunFilter::default()).unwrap().rows.len(), 180);
}

async fn poll<F: Future + Unpin>(mut future: F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(cx)))
        .await
}

/// Not a test of its own: what [`processes_share_one_log`] starts as processes of their own.
#[test]
fn a_process_that_appends() {
    let Some(dir) = std::env::var_os("STORE_TEST_DIR") else { return };
    let store = open(Path::new(&dir));
    for _ in 0..20 {
        run(&store, 2);
    }
}

/// Goal: processes that create and fill one folder at the same moment make one log: one key, one
/// chain, no entry lost.
#[test]
fn processes_share_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_process_that_appends"])
                .env("STORE_TEST_DIR", &state)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let report = verify(&state, Trust::default()).unwrap();
    assert_eq!((report.size, report.runs_finished, report.keys.len()), (1 + 80 * 7, 80, 1));
    let runs = Reader::open(&state).unwrap().runs(&RunFilter::default()).unwrap();
    assert_eq!((runs.rows.len(), runs.unreadable), (80, 0));
    assert!(runs.rows.iter().all(|row| row.log.is_some()));
}

/// Goal: a creation that a crash cut off anywhere is completed by the next start, with the key that
/// was already made.
#[test]
fn a_creation_that_was_cut_off_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let key = open(&whole).vkey().to_string();
    let keep = |names: &[&str]| {
        let state = dir.path().join(names.concat());
        fs::create_dir(&state).unwrap();
        for name in names {
            match *name {
                "log.db" => fs::write(state.join(name), b"").unwrap(),
                name => drop(fs::copy(whole.join(name), state.join(name)).unwrap()),
            }
        }
        state
    };
    for names in [&["key"][..], &["key", "log.db"], &["key", "lock", "log.db"]] {
        let store = open(&keep(names));
        assert!(store.is_new());
        assert_eq!(store.vkey().to_string(), key, "{names:?}");
    }
    let store = open(&keep(&["log.db"]));
    assert_ne!(store.vkey().to_string(), key);
    // A log without its key gets no other one.
    fs::remove_file(whole.join("key")).unwrap();
    let refused = Store::open(&whole, OpenMode::ReadWrite).unwrap_err();
    assert!(matches!(refused, StoreError::KeyMissing(_)), "{refused}");
    assert!(Store::open(&whole, OpenMode::ReadOnly).is_ok());
}

/// Goal: what others could have read or written is refused, with the command that mends it.
#[test]
fn wrong_modes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    drop(open(&state));
    for (name, wrong, right) in
        [("key", 0o640, 0o600), ("log.db", 0o620, 0o600), ("", 0o777, 0o700)]
    {
        let path = state.join(name);
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set(wrong);
        let refused = Store::open(&state, OpenMode::ReadWrite).unwrap_err();
        assert!(matches!(refused, StoreError::WrongMode { .. }), "{name}: {refused}");
        assert!(refused.to_string().contains("chmod"), "{refused}");
        set(right);
        drop(open(&state));
    }
    fs::write(state.join("key"), "no key\n").unwrap();
    let refused = Store::open(&state, OpenMode::ReadWrite).unwrap_err();
    assert!(matches!(refused, StoreError::BadKey { .. }), "{refused}");
}

/// Goal: a store of a later program is left alone, and one that is none is said to be none.
#[test]
fn what_is_no_store_of_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Store::open(&dir.path().join("none"), OpenMode::ReadOnly).unwrap_err();
    assert!(matches!(missing, StoreError::Missing(_)), "{missing}");
    let state = dir.path().join("state");
    drop(open(&state));
    database(&state).execute_batch("PRAGMA user_version = 99").unwrap();
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let newer = Store::open(&state, mode).unwrap_err();
        assert!(matches!(newer, StoreError::NewerSchema { found: 99, known: 1 }), "{newer}");
    }
    database(&state).execute_batch("PRAGMA user_version = 1").unwrap();
    drop(open(&state));
    fs::write(state.join("log.db"), vec![b'x'; 8192]).unwrap();
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let refused = Store::open(&state, mode).unwrap_err();
        assert!(matches!(refused, StoreError::Tampered(_)), "{refused}");
    }
}

/// Goal: values beside the entries come back whole, small or large, once, and a spoilt one is found.
#[test]
fn blobs_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let small: Vec<u8> = (0..16_384).map(|i| (i % 251) as u8).collect();
    let large: Vec<u8> =
        (0..3_000_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let scratch = store.layout().run_scratch(RunId::generate());
    runwarden::store::make_folder(&scratch).unwrap();
    let file = scratch.join("stdout");
    fs::write(&file, [&large[..], b"more than is to be kept"].concat()).unwrap();
    let placed = store.keep_file(&file, large.len() as u64).unwrap();
    assert!(matches!(placed, Blob::Placed { .. }));
    assert_eq!((placed.digest(), placed.len()), (Digest::of(&large), large.len() as u64));
    assert_eq!(store.keep_file(&file, large.len() as u64).unwrap().digest(), placed.digest());
    let inline = store.keep_file(&file, 100).unwrap();
    assert!(matches!(&inline, Blob::Bytes { bytes, .. } if bytes[..] == large[..100]));
    assert!(store.keep_file(&file, large.len() as u64 + 1_000).is_err());
    assert!(store.keep_file(&file, 1_000).is_ok());
    let middle = large[..100_000].to_vec();

    let digests = [Digest::of(&small), placed.digest(), inline.digest(), Digest::of(&middle)];
    let fact = serde_json::json!({
        "type": "x", "all": digests.iter().map(|d| serde_json::json!({ "blob": d.to_string() })).collect::<Vec<_>>(),
    });
    let fact: serde_json::Map<_, _> = serde_json::from_value(fact).unwrap();
    let blobs = || vec![Blob::of(small.clone()), inline_again(&large), Blob::of(middle.clone())];
    let mut append = Append::raw(fact.clone(), NOW);
    append.blobs = blobs();
    append.blobs.push(placed);
    store.append_blocking(append).unwrap();
    store.append_blocking(Append { blobs: blobs(), ..Append::raw(fact, NOW) }).unwrap();

    let reader = store.reader().unwrap();
    for (digest, want) in digests.iter().zip([&small[..], &large, &large[..100], &middle]) {
        let mut found = Vec::new();
        reader.blob(digest).unwrap().unwrap().read_to_end(&mut found).unwrap();
        assert!(found == want, "{digest}");
    }
    assert!(reader.blob(&Digest::of(b"unknown")).unwrap().is_none());
    let leftovers = fs::read_dir(store.layout().blobs()).unwrap();
    assert!(leftovers.flatten().all(|found| found.path().is_dir()));
    assert!(verify(dir.path(), Trust::default()).is_ok());

    let path = store.layout().blob(&digests[1]);
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    let whole = fs::read(&path).unwrap();
    let mut spoilt = whole.clone();
    spoilt[whole.len() / 2] ^= 1;
    for bytes in [&spoilt[..], &whole[..whole.len() - 9], b"", &[&whole[..], &whole[..]].concat()] {
        fs::write(&path, bytes).unwrap();
        let failure = verify(dir.path(), Trust::default()).unwrap_err();
        assert_eq!((failure.code, failure.seq), (Code::Blob, Some(1)), "{failure}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(verify(dir.path(), Trust::default()).unwrap_err().code, Code::Blob);
    fs::write(&path, &whole).unwrap();
    assert!(verify(dir.path(), Trust::default()).is_ok());
    let conn = database(dir.path());
    conn.execute("UPDATE blobs SET zstd = x'00' WHERE bytes = 16384", []).unwrap();
    assert_eq!(verify(dir.path(), Trust::default()).unwrap_err().code, Code::Blob);
    conn.execute("DELETE FROM blobs WHERE bytes = 16384", []).unwrap();
    assert_eq!(verify(dir.path(), Trust::default()).unwrap_err().code, Code::Blob);

    let wrong = Blob::Bytes { digest: Digest::of(b"a"), bytes: b"b".to_vec() };
    let absent = Blob::Placed { digest: Digest::of(b"absent"), bytes: 20_000 };
    for blob in [wrong, absent] {
        let fact = serde_json::from_str(r#"{"type":"x"}"#).unwrap();
        let append = Append { blobs: vec![blob], ..Append::raw(fact, NOW) };
        let refused = store.append_blocking(append).unwrap_err();
        assert!(matches!(refused, StoreError::BadBlob(_)), "{refused}");
    }
}

fn inline_again(large: &[u8]) -> Blob {
    Blob::of(large[..100].to_vec())
}

/// Goal: a run is found by the beginning of its id, and lists are filtered.
#[test]
fn runs_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ids: Vec<RunId> = (0..3).map(|_| run(&store, 1)).collect();
    let open_run = RunId::generate();
    store.append_blocking(Append::of(open_run, vec![requested()], NOW)).unwrap();
    let reader = store.reader().unwrap();
    let whole = ids[1].to_string();
    assert_eq!(reader.find(&whole).unwrap(), Found::One(ids[1]));
    assert_eq!(reader.find(&whole.replace('-', "")).unwrap(), Found::One(ids[1]));
    assert_eq!(reader.find(&whole[..35]).unwrap(), Found::One(ids[1]));
    assert_eq!(reader.find(&whole[..3]).unwrap(), Found::Many);
    for nothing in ["", "-", "ffffffff", "x'; DROP TABLE runs; --", "é", &"0".repeat(33)] {
        assert_eq!(reader.find(nothing).unwrap(), Found::None, "{nothing}");
    }
    let found = |filter: RunFilter| -> Vec<RunId> {
        reader.runs(&filter).unwrap().rows.iter().map(|row| row.id).collect()
    };
    let newest_first = [open_run, ids[2], ids[1], ids[0]];
    assert_eq!(found(RunFilter::default()), newest_first);
    let of = |states: Vec<RunState>| RunFilter { states, ..RunFilter::default() };
    assert_eq!(found(of(vec![RunState::Queued])), [open_run]);
    assert_eq!(found(of(vec![RunState::Finished, RunState::Queued])), newest_first);
    let page = RunFilter { before: Some(ids[2]), limit: Some(1), ..RunFilter::default() };
    assert_eq!(found(page), [ids[1]]);
    let named = |runbook: &str| RunFilter {
        runbook: Some(runbook.to_owned()),
        outcomes: vec![RunOutcome::Succeeded],
        ticket: Some("INC1".to_owned()),
        since: Some(NOW),
        ..RunFilter::default()
    };
    assert_eq!(found(named("restart-checkout")), newest_first[1..]);
    assert_eq!(found(named("restart-checkout' OR 1 --")), []);
    assert_eq!(found(RunFilter { until: Some(NOW), ..RunFilter::default() }), []);
    assert_eq!(found(RunFilter { target: Some("web-1".to_owned()), ..RunFilter::default() }), []);
    let unfinished = reader.unfinished().unwrap();
    assert_eq!(unfinished.rows.iter().map(|row| row.id).collect::<Vec<_>>(), [open_run]);
    assert_eq!(unfinished.rows[0].owner, owner(1));

    let before = reader.data_version().unwrap();
    assert_eq!(reader.data_version().unwrap(), before);
    run(&store, 1);
    assert_ne!(reader.data_version().unwrap(), before);
}

/// Goal: proofs from the table are those of the signed head.
#[test]
fn proofs_fit_the_head() {
    use runwarden::audit::tree::{is_consistent, is_included, leaf_hash};
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut heads = Vec::new();
    for _ in 0..5 {
        run(&store, 7);
        heads.push(store.reader().unwrap().head().unwrap().unwrap());
    }
    let reader = store.reader().unwrap();
    let newest = heads.last().unwrap();
    for seq in [0, 1, 40, newest.size - 1] {
        let proof = reader.inclusion_proof(seq, newest.size).unwrap().unwrap();
        let leaf = leaf_hash(&reader.entry(seq).unwrap().unwrap().bytes);
        assert!(is_included(seq, newest.size, &leaf, &proof, &newest.root));
    }
    for old in &heads {
        let proof = reader.consistency_proof(old.size, newest.size).unwrap().unwrap();
        assert!(is_consistent((old.size, &old.root), (newest.size, &newest.root), &proof));
    }
    assert_eq!(reader.inclusion_proof(newest.size, newest.size).unwrap(), None);
    assert_eq!(reader.entry(newest.size).unwrap(), None);
}
