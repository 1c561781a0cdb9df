//! One commit: a group of appends, each judged on its own, in one transaction with the entries,
//! the signed head and the rows that follow from them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use serde_json::{Map, Value};

use super::blob::BlobRow;
use super::error::{StoreError, sqlite};
use super::layout::Layout;
use super::log::{self, Made, Tip};
use super::runs::{self, RunRow};
use super::{Append, Appended};
use crate::audit::entry::{self, NotAFact, Place};
use crate::audit::key::{Signer, Vkey};
use crate::id::RunId;
use crate::run::event::Event;
use crate::time::Timestamp;

/// Rows kept between commits; more than an agent has under way.
const ROWS_MAX: usize = 1_024;

/// The one writer of this process.
#[derive(Debug)]
pub(super) struct Committer {
    conn: Connection,
    layout: Layout,
    signer: Signer,
    /// What the store shows as its key.
    vkey: Arc<Mutex<Vkey>>,
    tip: Tip,
    /// Rows as the database has them, valid as long as nobody else writes.
    rows: HashMap<RunId, RunRow>,
    is_poisoned: bool,
    has_reserve: bool,
    /// It was given back to the disk, and is to be taken again when there is room.
    wants_reserve: bool,
}

/// An append whose blobs are in place and whose facts are JSON.
struct Ready<'a> {
    append: &'a Append,
    facts: Vec<Map<String, Value>>,
    blobs: Vec<BlobRow>,
}

/// What a group comes to, before it is written.
struct Draft {
    made: Made,
    rows: HashMap<RunId, RunRow>,
    finished: Vec<RunId>,
}

type Answer = Result<Appended, StoreError>;

impl Committer {
    pub(super) fn new(
        conn: Connection,
        layout: Layout,
        signer: Signer,
        vkey: Arc<Mutex<Vkey>>,
        tip: Tip,
    ) -> Committer {
        let has_reserve = layout.fill_reserve();
        let rows = HashMap::new();
        let (is_poisoned, wants_reserve) = (false, false);
        Committer { conn, layout, signer, vkey, tip, rows, is_poisoned, has_reserve, wants_reserve }
    }

    /// Commits what of `group` can be committed; one answer for each.
    pub(super) fn commit(&mut self, group: &[Append]) -> Vec<Answer> {
        if self.is_poisoned {
            return group.iter().map(|_| Err(StoreError::Poisoned)).collect();
        }
        let mut ready: Vec<_> = group.iter().map(|append| self.ready(append)).collect();
        let is_refused = |answers: &[Answer]| {
            answers
                .iter()
                .zip(group)
                .any(|(answer, append)| append.is_end && matches!(answer, Err(StoreError::Full(_))))
        };
        let mut answers = self.write_all(&mut ready, |_| true);
        if is_refused(&answers) && self.has_reserve {
            // Room to record ends: what has happened must not be lost because others filled the
            // disk. What would begin is refused until there is room again.
            self.layout.release_reserve();
            (self.has_reserve, self.wants_reserve) = (false, true);
            let mut again: Vec<_> = group.iter().map(|append| self.ready(append)).collect();
            answers = self.write_all(&mut again, |append| append.is_end);
        } else if self.wants_reserve && answers.iter().any(Result::is_ok) {
            self.has_reserve = self.layout.fill_reserve();
            self.wants_reserve = !self.has_reserve;
        }
        if answers.iter().any(|answer| answer.as_ref().is_err_and(StoreError::is_fatal)) {
            // What the failed write left on the disk is unknown, and so is what a second try of
            // the same fsync would mean.
            self.is_poisoned = true;
        }
        answers
    }

    /// Everything that needs no transaction.
    fn ready<'a>(&self, append: &'a Append) -> Result<Ready<'a>, StoreError> {
        if append.events.is_empty() && append.raw.is_empty() {
            return Err(StoreError::Nothing);
        }
        let events = append.events.iter().map(|event| match serde_json::to_value(event) {
            Ok(Value::Object(fact)) => Ok(fact),
            _ => Err(StoreError::NotAFact(NotAFact::NoType)),
        });
        let raw = append.raw.iter().map(|fact| Ok(fact.clone()));
        let facts = events.chain(raw).collect::<Result<_, StoreError>>()?;
        let blobs = append.blobs.iter().map(|blob| BlobRow::prepare(&self.layout, blob));
        Ok(Ready { append, facts, blobs: blobs.collect::<Result<_, _>>()? })
    }

    fn write_all(
        &mut self,
        ready: &mut [Result<Ready<'_>, StoreError>],
        is_welcome: impl Fn(&Append) -> bool,
    ) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = ready
            .iter()
            .map(|ready| match ready {
                Err(err) => Some(Err(err.clone())),
                Ok(ready) if !is_welcome(ready.append) => {
                    Some(Err(StoreError::Full("append to the log")))
                }
                Ok(_) => None,
            })
            .collect();
        if answers.iter().any(Option::is_none)
            && let Err(err) = self.transaction(ready, &mut answers)
        {
            // Nothing was written, so nobody was answered yes.
            for (answer, ready) in answers.iter_mut().zip(&*ready) {
                if ready.is_ok() && answer.as_ref().is_none_or(Result::is_ok) {
                    *answer = Some(Err(err.clone()));
                }
            }
        }
        answers.into_iter().map(|answer| answer.expect("each append has an answer")).collect()
    }

    /// Fills in the answers that are open. An error means that nothing was written.
    fn transaction(
        &mut self,
        ready: &mut [Result<Ready<'_>, StoreError>],
        answers: &mut [Option<Answer>],
    ) -> Result<(), StoreError> {
        run_sql(&self.conn, "BEGIN IMMEDIATE", "begin to append")?;
        let written = self.draft_and_write(ready, answers);
        match written {
            Ok(Some(draft)) => {
                if let Err(err) = run_sql(&self.conn, "COMMIT", "commit to the log") {
                    self.roll_back();
                    return Err(err);
                }
                self.tip = draft.made.tip;
                self.rows.extend(draft.rows);
                for run in &draft.finished {
                    self.rows.remove(run);
                }
                if self.rows.len() > ROWS_MAX {
                    self.rows.clear();
                }
                Ok(())
            }
            Ok(None) => {
                self.roll_back();
                Ok(())
            }
            Err(err) => {
                self.roll_back();
                Err(err)
            }
        }
    }

    /// Takes in what others have written.
    fn follow(&mut self) -> Result<(), StoreError> {
        if log::follow(&self.conn, &mut self.tip, &mut self.signer, &self.layout)? {
            self.rows.clear();
            self.show_key();
        }
        Ok(())
    }

    fn show_key(&self) {
        *self.vkey.lock().unwrap_or_else(PoisonError::into_inner) = self.signer.vkey().clone();
    }

    /// Replaces the key that signs the log by a new one, from the next entry on.
    pub(super) fn rotate(&mut self, reason: &str, time: Timestamp) -> Result<Vkey, StoreError> {
        if self.is_poisoned {
            return Err(StoreError::Poisoned);
        }
        // Two rotations at once would overwrite each other's new key.
        let _lock = self.layout.lock_creation()?;
        let next = self.layout.make_next_key(self.signer.vkey().name())?;
        run_sql(&self.conn, "BEGIN IMMEDIATE", "begin to append")?;
        let committed = self
            .write_rotation(&next, reason, time)
            .and_then(|tip| run_sql(&self.conn, "COMMIT", "commit to the log").map(|()| tip));
        match committed {
            Ok(tip) => self.tip = tip,
            Err(err) => {
                self.roll_back();
                self.is_poisoned = err.is_fatal();
                return Err(err);
            }
        }
        // The log says so already: a crash here is mended by whoever opens the store next.
        self.signer = next;
        self.show_key();
        self.layout.promote_next_key()?;
        Ok(self.signer.vkey().clone())
    }

    fn write_rotation(
        &mut self,
        next: &Signer,
        reason: &str,
        time: Timestamp,
    ) -> Result<Tip, StoreError> {
        self.follow()?;
        let mut made = Made::after(&self.tip);
        let mut fact = Map::new();
        fact.insert("type".to_owned(), "key.rotated".into());
        fact.insert("old".to_owned(), self.signer.vkey().to_string().into());
        fact.insert("new".to_owned(), next.vkey().to_string().into());
        fact.insert("reason".to_owned(), reason.into());
        let (seq, prev) = (made.tip.tree.size(), made.tip.prev);
        made.push(entry::build(fact, &Place { seq, prev, time, run: None })?, None);
        made.sign(&self.signer, Some(next));
        log::write(&self.conn, &made)?;
        log::write_boundary(&self.conn, &made.tip)?;
        Ok(made.tip)
    }

    /// SQLite may have done it already; then there is nothing to roll back.
    fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }

    fn draft_and_write(
        &mut self,
        ready: &mut [Result<Ready<'_>, StoreError>],
        answers: &mut [Option<Answer>],
    ) -> Result<Option<Draft>, StoreError> {
        self.follow()?;
        let made = Made::after(&self.tip);
        let mut draft = Draft { made, rows: HashMap::new(), finished: Vec::new() };
        let mut taken: Vec<(usize, &Ready<'_>)> = Vec::new();
        for (index, ready) in ready.iter_mut().enumerate() {
            let (None, Ok(ready)) = (&answers[index], ready) else { continue };
            match self.add(&mut draft, ready) {
                Ok((first_seq, last_seq)) => {
                    taken.push((index, &*ready));
                    answers[index] = Some(Ok(Appended {
                        first_seq,
                        last_seq,
                        size: 0,
                        root: [0; 32],
                        note: String::new(),
                    }));
                }
                Err(err) if matches!(err, StoreError::Io { .. } | StoreError::Full(_)) => {
                    return Err(err);
                }
                Err(err) => answers[index] = Some(Err(err)),
            }
        }
        if taken.is_empty() {
            return Ok(None);
        }
        draft.made.sign(&self.signer, None);
        let (size, root) = (draft.made.tip.tree.size(), draft.made.tip.tree.root());
        for run in &draft.finished {
            let row = draft.rows.get_mut(run).expect("a run that ends has a row");
            row.log = Some((size, root));
        }
        log::write(&self.conn, &draft.made)?;
        for row in draft.rows.values() {
            match self.rows.get(&row.id) {
                Some(known) if known.differs_by_last_seq(row) => runs::touch(&self.conn, row)?,
                _ => runs::save(&self.conn, row)?,
            }
        }
        for (index, ready) in taken {
            for blob in &ready.blobs {
                blob.write(&self.conn)?;
            }
            if let Some(Ok(appended)) = &mut answers[index] {
                (appended.size, appended.root) = (size, root);
                appended.note.clone_from(&draft.made.tip.note);
            }
        }
        Ok(Some(draft))
    }

    /// Judges one append and moves its facts into the draft, or leaves the draft as it was. Returns
    /// its first and its last entry.
    fn add(&self, draft: &mut Draft, ready: &mut Ready<'_>) -> Result<(u64, u64), StoreError> {
        let append = ready.append;
        let mut row = self.judge(draft, append)?;
        let (before, tip) = (draft.made.entries.len(), draft.made.tip.clone());
        let first_seq = tip.tree.size();
        for fact in std::mem::take(&mut ready.facts) {
            let place = Place {
                seq: draft.made.tip.tree.size(),
                prev: draft.made.tip.prev,
                time: append.time,
                run: append.run,
            };
            match entry::build(fact, &place) {
                Ok(bytes) => draft.made.push(bytes, append.run.map(|run| *run.as_bytes())),
                Err(err) => {
                    draft.made.truncate(before, tip);
                    return Err(err.into());
                }
            }
        }
        let last_seq = draft.made.tip.tree.size() - 1;
        let Some(run) = append.run else { return Ok((first_seq, last_seq)) };
        let mut is_finished = false;
        for (seq, event) in (first_seq..).zip(&append.events) {
            if let Event::RunRequested(fact) = event {
                row.get_or_insert_with(|| RunRow::requested(run, fact, seq, append.time));
            }
            let row = row.as_mut().expect("judged: a run begins with its request");
            is_finished |= row.apply(event, append.time);
        }
        let mut row = row.expect("judged: a run has a row or begins with its request");
        if let Some(change) = &append.row {
            row.change(change);
        }
        row.last_seq = last_seq;
        draft.rows.insert(run, row);
        if is_finished && !draft.finished.contains(&run) {
            draft.finished.push(run);
        }
        Ok((first_seq, last_seq))
    }

    /// Whether the append may happen now; the run's row, unless it begins with this append.
    fn judge(&self, draft: &Draft, append: &Append) -> Result<Option<RunRow>, StoreError> {
        let Some(run) = append.run else { return Ok(None) };
        let known = match draft.rows.get(&run).or_else(|| self.rows.get(&run)) {
            Some(row) => Some(row.clone()),
            None => runs::load(&self.conn, run)?,
        };
        let begins = matches!(append.events.first(), Some(Event::RunRequested(_)));
        let asks_again = append.events.iter().skip(1).any(|e| matches!(e, Event::RunRequested(_)));
        let row = match known {
            Some(_) if begins || asks_again => return Err(StoreError::RunExists(run)),
            None if asks_again => return Err(StoreError::RunExists(run)),
            None if begins => return Ok(None),
            None => return Err(StoreError::UnknownRun(run)),
            Some(row) => row,
        };
        let stale = StoreError::StaleEpoch { run, found: row.epoch };
        let newer = runs::takeover(append, &row);
        if newer.is_some_and(|newer| newer <= row.epoch) {
            return Err(stale);
        }
        if append.epoch.is_some_and(|epoch| epoch != row.epoch && Some(epoch) != newer) {
            return Err(stale);
        }
        match append.expected {
            Some(expected) if expected != row.last_seq => {
                Err(StoreError::Conflict { expected, found: row.last_seq })
            }
            _ => Ok(Some(row)),
        }
    }
}

fn run_sql(conn: &Connection, sql: &str, doing: &'static str) -> Result<(), StoreError> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .map_err(sqlite(doing))
}
