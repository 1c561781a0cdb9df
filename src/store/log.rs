//! The log as this process knows it: the tree in memory, and how it follows what others wrote.
//!
//! Nothing is signed on top of what was not checked: whatever stands in the database and was not
//! written by this process is hashed, chained and compared with a signed head first. So somebody
//! who can write the file, but has not the key, cannot have his entries signed by us.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::{StoreError, sqlite};
use super::layout::Layout;
use super::runs::number;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::entry::Entry;
use crate::audit::key::{Signer, Vkey};
use crate::audit::note::{Disbelief, Note};
use crate::audit::scan;
use crate::audit::tree::{Frontier, Hash, leaf_hash};
use crate::audit::verify::{Code, Failure, failure};
use crate::limits::{STORE_FRONTIER_ENTRIES, STORE_TAIL_ENTRIES};

/// The end of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Tip {
    /// Its tree.
    pub tree: Frontier,
    /// Leaf hash of its last entry; zeros before the first.
    pub prev: Hash,
    /// The signed note of its head; empty before the first.
    pub note: String,
}

fn tampered(code: Code, seq: Option<u64>, message: impl Into<String>) -> StoreError {
    StoreError::Tampered(failure(code, seq, message))
}

/// Reads the row of the signed head; `None`: there is none.
pub(super) fn head(conn: &Connection) -> Result<Option<(u64, Hash, String)>, StoreError> {
    let sql = "SELECT size, root, note FROM head WHERE id = 1";
    let err = sqlite("read the head of the log");
    let mut statement = conn.prepare_cached(sql).map_err(&err)?;
    let read =
        statement.query_row([], |row| Ok((number(row, 0)?, row.get(1)?, row.get(2)?))).optional();
    match read {
        Err(
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..),
        ) => Err(tampered(Code::Format, None, "the head cannot be read")),
        other => other.map_err(err),
    }
}

/// The last entries, recomputed against the head that one of `keys` has signed, as a store does
/// when it opens.
///
/// # Errors
///
/// [`StoreError::Tampered`] with the first bad entry.
pub(super) fn recompute_tail(conn: &Connection, keys: &[Vkey]) -> Result<Tip, StoreError> {
    let Some((size, root, note)) = head(conn)? else {
        return match last_seq(conn)? {
            None => Ok(Tip::default()),
            Some(_) => Err(tampered(Code::Sig, None, "the log has no signed head")),
        };
    };
    check_head(size, root, &note, keys)?;
    let mut tip = base(conn, size)?;
    extend(conn, &mut tip, size)?;
    match last_seq(conn)? {
        Some(last) if last + 1 == size => {}
        _ => return Err(tampered(Code::Root, Some(size), "it is in no signed head")),
    }
    if tip.tree.root() != root {
        return Err(tampered(Code::Root, None, "the entries are not those of the signed head"));
    }
    tip.note = note;
    Ok(tip)
}

/// Brings `tip` to what the database holds now; whether others have written. `signer` becomes the
/// key that is in use now.
///
/// # Errors
///
/// [`StoreError::Tampered`]: what is there does not continue what this process saw, or is not
/// signed.
pub(super) fn follow(
    conn: &Connection,
    tip: &mut Tip,
    signer: &mut Signer,
    layout: &Layout,
) -> Result<bool, StoreError> {
    let Some((size, root, note)) = head(conn)? else {
        return Err(tampered(Code::Rollback, None, "the head is gone"));
    };
    if note == tip.note && size == tip.tree.size() {
        return Ok(false);
    }
    let known = tip.tree.size();
    if size < known {
        let what = format!("the log had {known} entries and now has {size}");
        return Err(tampered(Code::Rollback, None, what));
    }
    if size == known && root != tip.tree.root() {
        return Err(tampered(Code::Fork, None, format!("there are two heads of size {size}")));
    }
    let mut next = tip.clone();
    let mut key = signer.vkey().clone();
    for change in extend(conn, &mut next, size)? {
        key = change.next_key(conn, &key)?;
    }
    check_head(size, root, &note, std::slice::from_ref(&key))?;
    if next.tree.root() != root {
        return Err(tampered(Code::Root, None, "the new entries are not those of the signed head"));
    }
    if key != *signer.vkey() {
        *signer = layout.read_signer(&key)?;
    }
    next.note = note;
    *tip = next;
    Ok(true)
}

/// A `key.rotated` that was met on the way.
struct KeyChange {
    /// The entry.
    bytes: Vec<u8>,
    /// Size and root of the log with it as its last entry.
    size: u64,
    root: Hash,
}

impl KeyChange {
    /// The key from here on, if `now` and it have both signed the head that stands here.
    fn next_key(&self, conn: &Connection, now: &Vkey) -> Result<Vkey, StoreError> {
        let seq = Some(self.size - 1);
        let entry =
            Entry::parse(&self.bytes).map_err(|_| tampered(Code::Format, seq, "it is no entry"))?;
        let named = |key| entry.fact.get(key).and_then(|key| key.as_str()?.parse::<Vkey>().ok());
        let (Some(old), Some(new)) = (named("old"), named("new")) else {
            return Err(tampered(Code::Format, seq, "it does not name two keys"));
        };
        if old != *now {
            let what = "it replaces a key that is not the one in use";
            return Err(tampered(Code::Epoch, seq, what));
        }
        let note: Option<String> = conn
            .query_row("SELECT note FROM boundaries WHERE size = ?1", [self.size as i64], |row| {
                row.get(0)
            })
            .optional()
            .map_err(sqlite("read the head where the key changed"))?;
        let unsigned = "no head that both keys have signed stands where the key changed";
        let note = note.ok_or_else(|| tampered(Code::Epoch, seq, unsigned))?;
        for key in [&old, &new] {
            check_head(self.size, self.root, &note, std::slice::from_ref(key))?;
        }
        Ok(new)
    }
}

/// Whether the note says what the row says, and one of `keys` has signed it.
fn check_head(size: u64, root: Hash, note: &str, keys: &[Vkey]) -> Result<(), StoreError> {
    let bad = |err: crate::audit::note::NotANote| tampered(Code::Format, None, err.to_string());
    let note = Note::parse(note.as_bytes()).map_err(bad)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(bad)?;
    let keys: Vec<&Vkey> = keys.iter().collect();
    if keys.iter().all(|key| key.name() != checkpoint.origin) {
        let what = format!("the head is of another log, `{}`", checkpoint.origin);
        return Err(tampered(Code::Origin, None, what));
    }
    note.signed_by(&keys).map_err(|err| {
        let code = match err {
            Disbelief::UnknownKey => Code::Key,
            Disbelief::BadSignature(_) => Code::Sig,
        };
        tampered(code, None, err.to_string())
    })?;
    if checkpoint.size != size || checkpoint.root != root {
        return Err(tampered(Code::Root, None, "the head's row is not what its note says"));
    }
    Ok(())
}

/// A noted state of the tree from which the tail of a log of `size` entries is recomputed.
fn base(conn: &Connection, size: u64) -> Result<Tip, StoreError> {
    let err = sqlite("read the state of the tree");
    let wanted = size.saturating_sub(STORE_TAIL_ENTRIES);
    let sql = "SELECT size, nodes FROM frontiers WHERE size <= ?1 ORDER BY size DESC LIMIT 1";
    let noted: Option<(u64, Vec<u8>)> = conn
        .query_row(sql, [wanted as i64], |row| Ok((number(row, 0)?, row.get(1)?)))
        .optional()
        .map_err(&err)?;
    let mut tip = Tip::default();
    let Some((size, nodes)) = noted.filter(|noted| noted.0 > 0) else { return Ok(tip) };
    tip.tree = Frontier::from_bytes(size, &nodes)
        .map_err(|err| tampered(Code::Format, None, err.to_string()))?;
    let before: Option<Vec<u8>> = conn
        .query_row("SELECT bytes FROM entries WHERE seq = ?1", [(size - 1) as i64], |row| {
            row.get(0)
        })
        .optional()
        .map_err(&err)?;
    let before = before.ok_or_else(|| tampered(Code::Seq, Some(size - 1), "it is missing"))?;
    tip.prev = leaf_hash(&before);
    Ok(tip)
}

/// Adds the stored entries from the end of `tip` up to `size`; returns where the key changed.
fn extend(conn: &Connection, tip: &mut Tip, size: u64) -> Result<Vec<KeyChange>, StoreError> {
    let err = sqlite("read the log");
    let sql = "SELECT seq, bytes, leaf FROM entries WHERE seq >= ?1 AND seq < ?2 ORDER BY seq";
    let mut statement = conn.prepare_cached(sql).map_err(&err)?;
    let mut rows = statement.query(params![tip.tree.size() as i64, size as i64]).map_err(&err)?;
    let (mut blobs, mut changes) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().map_err(&err)? {
        let due = tip.tree.size();
        let (seq, bytes, leaf) = stored(row).map_err(&err)?;
        if seq != due {
            return Err(tampered(Code::Seq, Some(due), format!("the next entry is number {seq}")));
        }
        let hash = leaf_hash(bytes);
        if leaf != hash {
            let what = "its bytes are not those that its leaf hash stands for";
            return Err(tampered(Code::Leaf, Some(seq), what));
        }
        let place = match scan::scan(bytes, &mut blobs) {
            Ok(scanned) => Some((scanned.seq, scanned.prev, scanned.kind == "key.rotated")),
            // Not canonical is for `verify` to judge; here only the place counts.
            Err(_) => Entry::parse(bytes)
                .ok()
                .map(|entry| (entry.seq, entry.prev, entry.kind == "key.rotated")),
        };
        match place {
            None => return Err(tampered(Code::Format, Some(seq), "it is no entry")),
            Some((own, prev, _)) if own != seq || prev != tip.prev => {
                let what = "it does not follow the entry before it";
                return Err(tampered(Code::Seq, Some(seq), what));
            }
            Some(_) => {}
        }
        tip.prev = hash;
        tip.tree.push(hash);
        if place.is_some_and(|place| place.2) {
            let (size, root) = (tip.tree.size(), tip.tree.root());
            changes.push(KeyChange { bytes: bytes.to_vec(), size, root });
        }
    }
    match tip.tree.size() {
        found if found == size => Ok(changes),
        found => Err(tampered(Code::Trunc, Some(found), "the log ends before its signed head")),
    }
}

/// `seq`, `bytes` and `leaf` of a row, borrowed from it; what is no blob is empty.
pub(super) fn stored<'row>(
    row: &'row rusqlite::Row<'_>,
) -> rusqlite::Result<(u64, &'row [u8], &'row [u8])> {
    let seq = row.get_ref(0)?.as_i64().ok().and_then(|seq| u64::try_from(seq).ok());
    let bytes = row.get_ref(1)?.as_bytes().unwrap_or_default();
    let leaf = row.get_ref(2)?.as_bytes().unwrap_or_default();
    Ok((seq.unwrap_or(u64::MAX), bytes, leaf))
}

/// Number of the last stored entry, whatever the head says.
fn last_seq(conn: &Connection) -> Result<Option<u64>, StoreError> {
    let last: Option<i64> = conn
        .query_row("SELECT max(seq) FROM entries", [], |row| row.get(0))
        .map_err(sqlite("read the log"))?;
    Ok(last.map(|last| u64::try_from(last).unwrap_or(u64::MAX - 1)))
}

/// Entry `seq`, unchecked.
pub(super) fn entry_bytes(conn: &Connection, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
    conn.prepare_cached("SELECT bytes FROM entries WHERE seq = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([seq as i64], |row| {
                    Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec())
                })
                .optional()
        })
        .map_err(sqlite("read the log"))
}

/// Writes the entries that `made` holds, from number `first` on, notes the state of the tree where
/// it is due, and the head. Part of the caller's transaction.
pub(super) fn write(conn: &Connection, made: &Made) -> Result<(), StoreError> {
    let err = sqlite("append to the log");
    let sql = "INSERT INTO entries (seq, bytes, leaf, run) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = conn.prepare_cached(sql).map_err(&err)?;
    for entry in &made.entries {
        insert
            .execute(params![entry.seq as i64, entry.bytes, entry.leaf, entry.run])
            .map_err(&err)?;
    }
    for (size, nodes) in &made.frontiers {
        let sql = "INSERT OR REPLACE INTO frontiers (size, nodes) VALUES (?1, ?2)";
        conn.prepare_cached(sql)
            .and_then(|mut insert| insert.execute(params![*size as i64, nodes]))
            .map_err(&err)?;
        // A tail begins at one of the last few; older ones serve nobody.
        let useless = size.saturating_sub(STORE_TAIL_ENTRIES + 2 * STORE_FRONTIER_ENTRIES);
        conn.prepare_cached("DELETE FROM frontiers WHERE size < ?1")
            .and_then(|mut delete| delete.execute([useless as i64]))
            .map_err(&err)?;
    }
    let sql = "INSERT INTO head (id, size, root, note) VALUES (1, ?1, ?2, ?3) \
               ON CONFLICT (id) DO UPDATE SET size = ?1, root = ?2, note = ?3";
    let tip = &made.tip;
    conn.prepare_cached(sql)
        .and_then(|mut update| {
            update.execute(params![tip.tree.size() as i64, tip.tree.root(), tip.note])
        })
        .map_err(&err)?;
    Ok(())
}

/// Keeps the head of `tip`, at which the key changes, for ever.
pub(super) fn write_boundary(conn: &Connection, tip: &Tip) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO boundaries (size, note) VALUES (?1, ?2)",
        params![tip.tree.size() as i64, tip.note],
    )
    .map(drop)
    .map_err(sqlite("write the head where the key changes"))
}

/// Entries that are to be written, and the end of the log with them.
#[derive(Debug)]
pub(super) struct Made {
    pub tip: Tip,
    pub entries: Vec<MadeEntry>,
    pub frontiers: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct MadeEntry {
    pub seq: u64,
    pub bytes: Vec<u8>,
    pub leaf: Hash,
    pub run: Option<[u8; 16]>,
}

impl Made {
    pub(super) fn after(tip: &Tip) -> Made {
        Made { tip: tip.clone(), entries: Vec::new(), frontiers: Vec::new() }
    }

    /// Adds an entry whose bytes were built for the place behind the last one.
    pub(super) fn push(&mut self, bytes: Vec<u8>, run: Option<[u8; 16]>) {
        let (seq, leaf) = (self.tip.tree.size(), leaf_hash(&bytes));
        self.tip.tree.push(leaf);
        self.tip.prev = leaf;
        self.entries.push(MadeEntry { seq, bytes, leaf, run });
        let size = seq + 1;
        if size.is_multiple_of(STORE_FRONTIER_ENTRIES) {
            self.frontiers.push((size, self.tip.tree.to_bytes()));
        }
    }

    /// Takes back all but the first `count` entries; `tip` is the end of the log with these.
    pub(super) fn truncate(&mut self, count: usize, tip: Tip) {
        self.entries.truncate(count);
        self.frontiers.retain(|(size, _)| *size <= tip.tree.size());
        self.tip = tip;
    }

    /// Signs the head, where the key changes with both. The origin of the log is the name of its
    /// keys.
    pub(super) fn sign(&mut self, signer: &Signer, next: Option<&Signer>) {
        let tree = &self.tip.tree;
        let origin = signer.vkey().name().to_owned();
        let mut note = Checkpoint { origin, size: tree.size(), root: tree.root() }.sign(signer);
        next.into_iter().for_each(|next| note.add(next));
        self.tip.note = note.to_string();
    }
}

/// The keys that the log says it had, oldest first, read from the entries themselves.
pub(super) fn keys(conn: &Connection) -> Result<Vec<Vkey>, StoreError> {
    let bad = |seq| tampered(Code::Format, Some(seq), "it names no key");
    let parse = |seq, value: Option<&serde_json::Value>| {
        value.and_then(|value| value.as_str()).and_then(|text| text.parse().ok()).ok_or(bad(seq))
    };
    let Some(first) = entry_bytes(conn, 0)? else { return Ok(Vec::new()) };
    let first = Entry::parse(&first).map_err(|_| bad(0))?;
    let mut keys = vec![parse(0, first.fact.get("keys").and_then(|keys| keys.get(0)))?];
    let err = sqlite("read the keys of the log");
    let mut statement =
        conn.prepare_cached("SELECT size FROM boundaries ORDER BY size").map_err(&err)?;
    let sizes = statement.query_map([], |row| number(row, 0)).map_err(&err)?;
    for size in sizes {
        let seq = size.map_err(&err)?.saturating_sub(1);
        let bytes = entry_bytes(conn, seq)?.ok_or_else(|| bad(seq))?;
        let entry = Entry::parse(&bytes).map_err(|_| bad(seq))?;
        keys.push(parse(seq, entry.fact.get("new"))?);
    }
    Ok(keys)
}

/// Shorthand of [`Failure`] for those who have one.
impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        StoreError::Tampered(failure)
    }
}
