//! Whoever changes the log is found, with the code that says how, and the first entry that shows it.
//! Each test takes a good log, does one thing to it, and verifies; who has stolen the key can do
//! more, and is caught by what the verifier knew before.

use std::fs;
use std::path::Path;

use facts::{
    NOW, database, ended, finished, open, requested, run, sign, started, stolen, tree_of, verify,
};
use runwarden::audit::checkpoint::Checkpoint;
use runwarden::audit::entry;
use runwarden::audit::key::Signer;
use runwarden::audit::note::Note;
use runwarden::audit::tree::{Frontier, leaf_hash};
use runwarden::audit::verify::{Code, Failure, Held, Level, Trust};
use runwarden::id::{RunId, hex};
use runwarden::store::{Append, OpenMode, Reader, Store, StoreError};
use rusqlite::{Connection, params};
use serde_json::{Map, Value};

mod facts;

/// A state folder with a log of 1 + 2 runs × 203 entries.
fn good(dir: &Path) -> std::path::PathBuf {
    let state = dir.join("good");
    if !state.exists() {
        let store = open(&state);
        run(&store, 100);
        run(&store, 100);
    }
    state
}

/// A copy of the good log in which `tamper` was done.
fn tampered(dir: &Path, name: &str, tamper: impl FnOnce(&Connection)) -> std::path::PathBuf {
    let (from, to) = (good(dir), dir.join(name.replace(['/', ' '], "-")));
    fs::create_dir(&to).unwrap();
    for file in ["log.db", "key"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let conn = database(&to);
    tamper(&conn);
    to
}

fn sql(text: &'static str) -> Box<dyn FnOnce(&Connection)> {
    Box::new(move |conn| {
        conn.execute_batch(text).unwrap();
    })
}

/// Rewrites the whole log as somebody would who knows its format: `edit` may change, drop or add
/// facts; numbers, chain and leaves then fit. The head stays as it is.
fn rewrite(conn: &Connection, edit: impl Fn(u64, &mut Vec<Map<String, Value>>)) -> Frontier {
    let mut select = conn.prepare("SELECT seq, bytes, run FROM entries ORDER BY seq").unwrap();
    type Row = (i64, Vec<u8>, Option<Vec<u8>>);
    let rows: Vec<Row> = select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    conn.execute_batch("DELETE FROM entries; DELETE FROM frontiers").unwrap();
    let (mut tree, mut prev) = (Frontier::new(), [0; 32]);
    for (seq, bytes, run) in rows {
        let read = entry::Entry::parse(&bytes).unwrap();
        let mut facts = vec![read.fact];
        edit(seq as u64, &mut facts);
        for fact in facts {
            let place = entry::Place { seq: tree.size(), prev, time: read.time, run: read.run };
            let bytes = entry::build(fact, &place).unwrap();
            prev = leaf_hash(&bytes);
            conn.execute(
                "INSERT INTO entries (seq, bytes, leaf, run) VALUES (?1, ?2, ?3, ?4)",
                params![tree.size() as i64, bytes, prev, run],
            )
            .unwrap();
            tree.push(prev);
        }
    }
    tree
}

fn refresh_leaf(seq: i64) -> Box<dyn FnOnce(&Connection)> {
    Box::new(move |conn| {
        let bytes: Vec<u8> = conn
            .query_row("SELECT bytes FROM entries WHERE seq = ?1", [seq], |row| row.get(0))
            .unwrap();
        let bytes = String::from_utf8(bytes).unwrap().replace("shell", "shall");
        let bytes = bytes.replace("\"ok\"", "\"OK\"").into_bytes();
        conn.execute(
            "UPDATE entries SET bytes = ?1, leaf = ?2 WHERE seq = ?3",
            params![bytes, leaf_hash(&bytes), seq],
        )
        .unwrap();
    })
}

type Case = (&'static str, Box<dyn FnOnce(&Connection)>, Code, Option<u64>);

/// Goal: without the key, nothing can be changed, though everything but the signature is made to
/// fit; and no agent runs on such a log.
#[test]
fn who_has_not_the_key_is_found_by_the_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let other = open(&dir.path().join("other"));
    run(&other, 1);
    let foreign = other.reader().unwrap().head().unwrap().unwrap();
    let origin = good(dir.path());
    let name = stolen(&origin).vkey().name().to_owned();
    let imposter = Signer::from_seed(&name, &[9; 32]).unwrap();
    let imposter_too = Signer::from_seed(&name, &[9; 32]).unwrap();
    let cases: Vec<Case> = vec![
        (
            "one bit",
            sql("UPDATE entries SET bytes = CAST(replace(bytes, 'shell', 'shelk') AS BLOB) \
                 WHERE seq = 9"),
            Code::Leaf,
            Some(9),
        ),
        (
            "a leaf",
            sql("UPDATE entries SET leaf = zeroblob(32) WHERE seq = 7"),
            Code::Leaf,
            Some(7),
        ),
        ("no blob", sql("UPDATE entries SET bytes = x'' WHERE seq = 7"), Code::Leaf, Some(7)),
        ("edit and leaf", refresh_leaf(201), Code::Root, Some(201)),
        ("edit in the last", refresh_leaf(406), Code::Root, None),
        (
            "edit and all that follows",
            Box::new(|conn| {
                rewrite(conn, |seq, facts| {
                    if seq == 201 {
                        facts[0].insert("action".to_owned(), "shall".into());
                    }
                });
            }),
            Code::Root,
            None,
        ),
        ("delete", sql("DELETE FROM entries WHERE seq = 50"), Code::Seq, Some(50)),
        ("delete the first", sql("DELETE FROM entries WHERE seq = 0"), Code::Seq, Some(0)),
        (
            "delete and renumber",
            sql("DELETE FROM entries WHERE seq = 50; \
                 UPDATE entries SET seq = -seq WHERE seq > 50; \
                 UPDATE entries SET seq = -seq - 1 WHERE seq < 0; \
                 UPDATE head SET size = size"),
            Code::Seq,
            Some(50),
        ),
        (
            "delete and rewrite",
            Box::new(|conn| {
                rewrite(conn, |seq, facts| {
                    if seq == 50 {
                        facts.clear()
                    }
                });
            }),
            Code::Trunc,
            Some(406),
        ),
        ("truncate", sql("DELETE FROM entries WHERE seq >= 400"), Code::Trunc, Some(400)),
        ("truncate all", sql("DELETE FROM entries"), Code::Trunc, Some(0)),
        (
            "swap",
            sql("UPDATE entries SET seq = -1 WHERE seq = 255; \
                 UPDATE entries SET seq = 255 WHERE seq = 256; \
                 UPDATE entries SET seq = 256 WHERE seq = -1"),
            Code::Seq,
            Some(255),
        ),
        (
            "replay",
            sql("INSERT INTO entries SELECT 407, bytes, leaf, run FROM entries WHERE seq = 406"),
            Code::Seq,
            Some(407),
        ),
        (
            "insert",
            Box::new(|conn| {
                rewrite(conn, |seq, facts| {
                    if seq == 60 {
                        facts.push(facts[0].clone());
                    }
                });
            }),
            Code::Root,
            None,
        ),
        (
            "re-sign with another key",
            Box::new(move |conn| sign(conn, &tree_of(conn), &imposter)),
            Code::Key,
            None,
        ),
        (
            "a broken line beside a good one",
            Box::new(move |conn| {
                let note: String =
                    conn.query_row("SELECT note FROM head", [], |row| row.get(0)).unwrap();
                let mut note = Note::parse(note.as_bytes()).unwrap();
                note.add(&imposter_too);
                let text = note.to_string();
                let (good, junk) = text.trim_end().rsplit_once(' ').unwrap();
                // The good key's id before a signature that is not its own.
                let line = good.lines().last().unwrap();
                let first = good.lines().rev().nth(1).unwrap().rsplit_once(' ').unwrap().1;
                let good = good.strip_suffix(line).unwrap();
                let mixed = format!("{good}{line} {}{}\n", &first[..8], &junk[8..]);
                conn.execute("UPDATE head SET note = ?1", [mixed]).unwrap();
            }),
            Code::Sig,
            None,
        ),
        (
            "change the size line",
            sql("UPDATE head SET size = 400, note = replace(note, char(10) || '407' || char(10), \
                 char(10) || '400' || char(10)); DELETE FROM entries WHERE seq >= 400"),
            Code::Sig,
            None,
        ),
        (
            "change the root line",
            sql(
                "UPDATE head SET note = replace(note, '407' || char(10), '407' || char(10) || 'A')",
            ),
            Code::Format,
            None,
        ),
        (
            "the head of another agent",
            Box::new(move |conn| {
                let note = foreign.note.clone();
                conn.execute(
                    "UPDATE head SET size = ?1, root = ?2, note = ?3",
                    params![foreign.size as i64, foreign.root, note],
                )
                .unwrap();
            }),
            Code::Origin,
            None,
        ),
        ("no head", sql("DELETE FROM head"), Code::Sig, None),
        (
            "crlf",
            sql("UPDATE head SET note = replace(note, char(10), char(13) || char(10))"),
            Code::Format,
            None,
        ),
    ];
    for (what, tamper, code, seq) in cases {
        let state = tampered(dir.path(), what, tamper);
        let failure = verify(&state, Trust::default()).expect_err(what);
        assert_eq!((failure.code, failure.seq), (code, seq), "{what}: {failure}");
        for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
            // An early entry is not in the tail that opening recomputes.
            let is_early = seq.is_some_and(|seq| (1..128).contains(&seq));
            match Store::open(&state, mode) {
                Err(StoreError::Tampered(_)) => {}
                Ok(_) if is_early => {}
                other => panic!("{what}: opened as {other:?}"),
            }
        }
    }
    assert!(verify(&origin, Trust::default()).is_ok());
}

/// What an auditor has: the vkey, and a head that was printed when the log had `size` entries.
fn auditor(state: &Path, size: u64) -> (Trust, Trust) {
    let reader = Reader::open(state).unwrap();
    let mut tree = Frontier::new();
    reader
        .entries(0, |seq, bytes| {
            tree.push(leaf_hash(bytes));
            seq + 1 < size
        })
        .unwrap();
    let key = stolen(state);
    let origin = key.vkey().name().to_owned();
    let head = Checkpoint { origin, size, root: tree.root() }.sign(&key).to_string();
    let pinned = Trust { keys: vec![key.vkey().clone()], held: Vec::new() };
    let held = Trust { held: vec![Held::Note(head)], ..pinned.clone() };
    (pinned, held)
}

/// Goal: who has stolen the key can rewrite and sign, and is caught by a head that was kept, by the
/// key that was kept if it is another, and by what the facts say.
#[test]
fn who_has_the_key_is_found_by_what_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let state = good(dir.path());
    let (pinned, held) = auditor(&state, 300);
    assert_eq!(verify(&state, Trust::default()).unwrap().level, Level::L0);
    assert_eq!(verify(&state, pinned.clone()).unwrap().level, Level::L1);
    assert_eq!(verify(&state, held.clone()).unwrap().level, Level::L2);
    let key = || stolen(&state);
    let check = |state: &Path, trust: &Trust| -> Option<(Code, Option<u64>)> {
        verify(state, trust.clone()).err().map(|failure| (failure.code, failure.seq))
    };

    let rewritten = tampered(dir.path(), "rewritten", |conn| {
        let tree = rewrite(conn, |seq, facts| {
            if seq == 201 {
                facts[0].insert("action".to_owned(), "other".into());
            }
        });
        sign(conn, &tree, &key());
    });
    assert_eq!(check(&rewritten, &pinned), None); // Nothing but a kept head can tell.
    assert_eq!(check(&rewritten, &held), Some((Code::Fork, None)));
    let anchor = Reader::open(&state).unwrap().head().unwrap().unwrap();
    let anchor = Held::Anchor { size: anchor.size, root: anchor.root };
    let ticket = Trust { keys: Vec::new(), held: vec![anchor] };
    assert_eq!(check(&state, &ticket), None);
    assert_eq!(check(&rewritten, &ticket), Some((Code::Fork, None)));

    let rolled_back = tampered(dir.path(), "rolled-back", |conn| {
        conn.execute_batch("DELETE FROM entries WHERE seq >= 250").unwrap();
        sign(conn, &tree_of(conn), &key());
    });
    assert_eq!(check(&rolled_back, &pinned), None);
    assert_eq!(check(&rolled_back, &held), Some((Code::Rollback, None)));

    let unfinished = tampered(dir.path(), "unfinished", |conn| {
        let tree = rewrite(conn, |seq, facts| {
            if seq == 202 {
                facts.clear()
            }
        });
        sign(conn, &tree, &key());
    });
    assert_eq!(check(&unfinished, &pinned), Some((Code::Intent, Some(202))));
    let not_started = tampered(dir.path(), "not-started", |conn| {
        let tree = rewrite(conn, |seq, facts| {
            if seq == 201 {
                facts.clear()
            }
        });
        sign(conn, &tree, &key());
    });
    assert_eq!(check(&not_started, &pinned), Some((Code::Intent, Some(201))));

    let replayed = tampered(dir.path(), "replayed", |conn| {
        let bytes: Vec<u8> =
            conn.query_row("SELECT bytes FROM entries WHERE seq = 406", [], |r| r.get(0)).unwrap();
        let bytes = String::from_utf8(bytes).unwrap().replace("\"seq\":406", "\"seq\":407");
        conn.execute(
            "INSERT INTO entries SELECT 407, ?1, ?2, run FROM entries WHERE seq = 406",
            params![bytes.as_bytes(), leaf_hash(bytes.as_bytes())],
        )
        .unwrap();
        sign(conn, &tree_of(conn), &key());
    });
    assert_eq!(check(&replayed, &pinned), Some((Code::Seq, Some(407))));

    let spelled = tampered(dir.path(), "spelled", |conn| {
        // The last entry, so that the chain still fits.
        let bytes: Vec<u8> =
            conn.query_row("SELECT bytes FROM entries WHERE seq = 406", [], |r| r.get(0)).unwrap();
        let bytes = String::from_utf8(bytes).unwrap().replace("\"seq\":", "\"seq\": ");
        conn.execute(
            "UPDATE entries SET bytes = ?1, leaf = ?2 WHERE seq = 406",
            params![bytes.as_bytes(), leaf_hash(bytes.as_bytes())],
        )
        .unwrap();
    });
    assert_eq!(check(&spelled, &pinned), Some((Code::Root, None)));
    sign(&database(&spelled), &tree_of(&database(&spelled)), &key());
    assert_eq!(check(&spelled, &pinned), Some((Code::Canon, Some(406))));

    let swapped_key = tampered(dir.path(), "swapped-key", |conn| {
        let thief = Signer::from_seed(key().vkey().name(), &[3; 32]).unwrap();
        let vkey = thief.vkey().to_string();
        let tree = rewrite(conn, |seq, facts| {
            if seq == 0 {
                facts[0].insert("keys".to_owned(), vec![vkey.clone()].into());
            }
        });
        sign(conn, &tree, &thief);
    });
    assert_eq!(check(&swapped_key, &Trust::default()), None); // A log of its own, then.
    assert_eq!(check(&swapped_key, &pinned), Some((Code::Key, None)));
    let two_keys = tampered(dir.path(), "two-keys", |conn| {
        let thief = Signer::from_seed(key().vkey().name(), &[3; 32]).unwrap();
        let keys = vec![key().vkey().to_string(), thief.vkey().to_string()];
        let tree = rewrite(conn, |seq, facts| {
            if seq == 0 {
                facts[0].insert("keys".to_owned(), keys.clone().into());
            }
        });
        sign(conn, &tree, &thief);
    });
    assert_eq!(check(&two_keys, &pinned), Some((Code::Format, Some(0))));
    let stranger = Signer::from_seed("example.com/other", &[3; 32]).unwrap();
    let wrong_pin = Trust { keys: vec![stranger.vkey().clone()], held: Vec::new() };
    assert_eq!(check(&state, &wrong_pin), Some((Code::Origin, None)));
}

/// Goal: an agent that is running signs nothing on top of what somebody put into its database, and
/// appends nothing more.
#[test]
fn a_running_agent_signs_nothing_that_it_did_not_check() {
    type Case = (&'static str, fn(&Connection), Code);
    let cases: [Case; 4] = [
        (
            "an entry of somebody's own",
            |conn| {
                let note: String =
                    conn.query_row("SELECT note FROM head", [], |row| row.get(0)).unwrap();
                let thief = Signer::from_seed(note.lines().next().unwrap(), &[1; 32]).unwrap();
                let mut tree = tree_of(conn);
                let prev = conn
                    .query_row("SELECT leaf FROM entries ORDER BY seq DESC LIMIT 1", [], |row| {
                        row.get(0)
                    })
                    .unwrap();
                let place = entry::Place { seq: tree.size(), prev, time: NOW, run: None };
                let fact = serde_json::from_str(r#"{"type":"agent.started"}"#).unwrap();
                let bytes = entry::build(fact, &place).unwrap();
                tree.push(leaf_hash(&bytes));
                conn.execute(
                    "INSERT INTO entries (seq, bytes, leaf) VALUES (?1, ?2, ?3)",
                    params![place.seq as i64, bytes, leaf_hash(&bytes)],
                )
                .unwrap();
                sign(conn, &tree, &thief);
            },
            Code::Key,
        ),
        (
            "an earlier head",
            |conn| conn.execute_batch("UPDATE head SET size = 3, note = note || ' '").unwrap(),
            Code::Rollback,
        ),
        ("no head", |conn| conn.execute_batch("DELETE FROM head").unwrap(), Code::Rollback),
        (
            "another root",
            |conn| {
                conn.execute_batch("UPDATE head SET root = zeroblob(32), note = note || ' '")
                    .unwrap()
            },
            Code::Fork,
        ),
    ];
    for (what, tamper, code) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        run(&store, 2);
        tamper(&database(dir.path()));
        let append =
            || store.append_blocking(Append::of(RunId::generate(), vec![requested()], NOW));
        let refused = append().unwrap_err();
        let StoreError::Tampered(failure) = &refused else { panic!("{what}: {refused}") };
        assert_eq!(failure.code, code, "{what}: {failure}");
        assert!(matches!(append().unwrap_err(), StoreError::Poisoned), "{what}");
    }
}

/// Goal: rows that nobody of ours wrote stop nobody from reading the others.
#[test]
fn a_poisoned_row_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (bad, well) = (run(&store, 1), run(&store, 1));
    let conn = database(dir.path());
    conn.execute("UPDATE runs SET state = 'strange' WHERE id = ?1", [bad.as_bytes()]).unwrap();
    let reader = store.reader().unwrap();
    let runs = reader.runs(&Default::default()).unwrap();
    assert_eq!((runs.rows.len(), runs.unreadable), (1, 1));
    assert_eq!(runs.rows[0].id, well);
    assert_eq!(reader.run_row(bad).unwrap(), None);
    for bytes in [&b"not json"[..], b"\xff\xfe", b"", b"{}", &[b'['; 50_000]] {
        conn.execute("UPDATE entries SET bytes = ?1 WHERE seq = 2", [bytes]).unwrap();
        let entries = reader.entries_of(bad, None).unwrap();
        assert_eq!(entries.len(), 5);
        assert!(entries[1].parse().is_err() && entries[1].event().is_err());
        assert!(entries[0].event().is_ok());
        let failure: Failure = verify(dir.path(), Trust::default()).unwrap_err();
        assert_eq!((failure.code, failure.seq), (Code::Leaf, Some(2)));
        conn.execute("UPDATE entries SET leaf = ?1 WHERE seq = 2", [leaf_hash(bytes)]).unwrap();
        let failure = verify(dir.path(), Trust::default()).unwrap_err();
        assert_eq!((failure.code, failure.seq), (Code::Format, Some(2)), "{}", hex(bytes));
    }
    run(&store, 1);
}

/// Goal: an attempt that is open at the end of the log is counted, and is no tampering.
#[test]
fn what_a_crash_left_open_is_no_tampering() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = RunId::generate();
    let append = |events| store.append_blocking(Append::of(id, events, NOW)).map(drop);
    append(vec![requested(), started("a"), started("b"), finished("a")]).unwrap();
    assert_eq!(verify(dir.path(), Trust::default()).unwrap().open_attempts, 1);
    append(vec![finished("b"), ended()]).unwrap();
    assert_eq!(verify(dir.path(), Trust::default()).unwrap().open_attempts, 0);
    append(vec![started("c")]).unwrap();
    append(vec![started("c")]).unwrap();
    assert_eq!(verify(dir.path(), Trust::default()).unwrap_err().code, Code::Intent);
}
