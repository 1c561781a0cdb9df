//! Keys of the log change, and every process and verifier follows.

use std::fs;

use facts::{NOW, database, open, run, sign, stolen, tree_of, verify};
use runwarden::audit::checkpoint::Checkpoint;
use runwarden::audit::key::Signer;
use runwarden::audit::tree::{Frontier, leaf_hash};
use runwarden::audit::verify::{Code, Held, Level, Trust};
use runwarden::store::Reader;

mod facts;

/// Goal: keys have their time: what either signs outside of it, and a change that not both have
/// signed, is found.
#[test]
fn a_key_signs_only_in_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = open(&state);
    run(&store, 3);
    let first = stolen(&state);
    let second_vkey = store.rotate_key_blocking("due", NOW).unwrap();
    assert_eq!(store.vkey(), second_vkey);
    run(&store, 3);
    drop(store);
    let second = stolen(&state);
    assert_eq!(*second.vkey(), second_vkey);
    for key in [first.vkey(), second.vkey()] {
        let report = verify(&state, Trust { keys: vec![key.clone()], held: Vec::new() }).unwrap();
        let ranges: Vec<_> = report.keys.iter().map(|epoch| (epoch.from, epoch.to)).collect();
        assert_eq!((report.level, ranges), (Level::L1, vec![(1, Some(11)), (11, None)]));
    }
    let code = |trust: Trust| verify(&state, trust).map_err(|failure| failure.code).map(|_| ());
    let conn = database(&state);
    let boundary: String =
        conn.query_row("SELECT note FROM boundaries", [], |row| row.get(0)).unwrap();
    let head: String = conn.query_row("SELECT note FROM head", [], |row| row.get(0)).unwrap();
    let set_boundary = |text: &str| {
        conn.execute("UPDATE boundaries SET note = ?1", [text]).unwrap();
    };

    sign(&conn, &tree_of(&conn), &first);
    assert_eq!(code(Trust::default()), Err(Code::Epoch));
    conn.execute("UPDATE head SET note = ?1", [&head]).unwrap();
    let (text, lines) = boundary.split_once("\n\n").unwrap();
    for line in lines.trim_end().lines() {
        set_boundary(&format!("{text}\n\n{line}\n"));
        assert_eq!(code(Trust::default()), Err(Code::Epoch), "{line}");
    }
    conn.execute("DELETE FROM boundaries", []).unwrap();
    assert_eq!(code(Trust::default()), Err(Code::Epoch));
    conn.execute("INSERT INTO boundaries VALUES (11, ?1)", [&boundary]).unwrap();
    assert_eq!(code(Trust::default()), Ok(()));
    // A head from before the change that the new key has signed.
    let mut tree = Frontier::new();
    Reader::open(&state)
        .unwrap()
        .entries(0, |seq, bytes| {
            tree.push(leaf_hash(bytes));
            seq < 4
        })
        .unwrap();
    let origin = first.vkey().name().to_owned();
    let old = Checkpoint { origin, size: tree.size(), root: tree.root() };
    let kept = |key: &Signer| Trust {
        keys: Vec::new(),
        held: vec![Held::Note(old.sign(key).to_string())],
    };
    assert_eq!(code(kept(&second)), Err(Code::Epoch));
    assert_eq!(code(kept(&first)), Ok(()));
}

/// Goal: a process that had the store open before the key changed goes on with the new key, and a
/// rotation that was cut off after its commit is finished by whoever comes next.
#[test]
fn a_rotation_reaches_every_process() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()), open(dir.path()));
    let old = fs::read(dir.path().join("key")).unwrap();
    run(&one, 1);
    run(&other, 1);
    let key = one.rotate_key_blocking("due", NOW).unwrap();
    run(&one, 1);
    run(&other, 1);
    assert_eq!((one.vkey(), other.vkey()), (key.clone(), key.clone()));
    let key = other.rotate_key_blocking("due again", NOW).unwrap();
    run(&one, 1);
    drop((one, other));
    let report = verify(dir.path(), Trust::default()).unwrap();
    assert_eq!((report.keys.len(), report.runs_finished), (3, 5));
    // As a crash between the commit and the renaming leaves it.
    fs::rename(dir.path().join("key"), dir.path().join("key.next")).unwrap();
    fs::write(dir.path().join("key"), &old).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(dir.path().join("key"), mode).unwrap();
    let store = open(dir.path());
    assert_eq!(store.vkey(), key);
    run(&store, 1);
    assert!(!dir.path().join("key.next").exists());
    assert!(verify(dir.path(), Trust::default()).is_ok());
}
