//! The read table of runs: one row a run, made from its facts in the transaction that holds them.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{StoreError, sqlite};
use super::{Append, RowChange};
use crate::id::{Digest, Epoch, Owner, RunId};
use crate::outcome::Verdict;
use crate::run::event::{Event, RunOutcome, RunRequested, RunState};
use crate::runbook::model::Kind;
use crate::time::Timestamp;

/// What lists, filters and owners need to know of a run; all else is in its entries.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Which.
    pub id: RunId,
    /// The runbook's name.
    pub runbook: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub kind: Kind,
    /// For people.
    pub title: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Who asked.
    pub requester: String,
    /// How we know.
    pub requester_method: String,
    /// By what: `cli`, `api`, …
    pub trigger: String,
    /// Ticket number.
    pub ticket: Option<String>,
    /// For people.
    pub reason: Option<String>,
    /// Once there is a plan.
    pub plan_digest: Option<Digest>,
    /// Names of its targets, once there is a plan.
    pub targets: Vec<String>,
    /// Its state now.
    pub state: RunState,
    /// What became of it, once it has ended.
    pub outcome: Option<RunOutcome>,
    /// What it found, once it has ended.
    pub verdict: Option<Verdict>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its first step could start.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Which ownership.
    pub epoch: Epoch,
    /// The process that owns it, or owned it last.
    pub owner: Owner,
    /// Its first entry.
    pub first_seq: u64,
    /// Its last entry.
    pub last_seq: u64,
    /// Size and root of the head of the commit that holds `run.finished`.
    pub log: Option<(u64, [u8; 32])>,
}

impl RunRow {
    /// The row of a run that begins with this fact.
    pub(super) fn requested(id: RunId, fact: &RunRequested, seq: u64, at: Timestamp) -> RunRow {
        let trigger = fact.trigger.get("kind").and_then(Value::as_str).unwrap_or_default();
        RunRow {
            id,
            runbook: fact.runbook.name.clone(),
            version: fact.runbook.version.clone(),
            kind: fact.runbook.kind,
            title: fact.runbook.title.clone(),
            digest: fact.runbook.digest,
            requester: fact.requester.principal.clone(),
            requester_method: fact.requester.method.clone(),
            trigger: trigger.to_owned(),
            ticket: fact.ticket.clone(),
            reason: fact.reason.clone(),
            plan_digest: None,
            targets: Vec::new(),
            state: RunState::Queued,
            outcome: None,
            verdict: None,
            created_at: at,
            started_at: None,
            finished_at: None,
            epoch: fact.epoch,
            owner: fact.owner.clone(),
            first_seq: seq,
            last_seq: seq,
            log: None,
        }
    }

    /// What `event` changes; whether the run ends with it.
    pub(super) fn apply(&mut self, event: &Event, at: Timestamp) -> bool {
        match event {
            Event::PlanCreated { plan_digest, targets, .. } => {
                self.plan_digest = Some(*plan_digest);
                self.targets.clone_from(targets);
            }
            Event::RunStarted {} => {
                self.started_at = Some(at);
                self.state = RunState::Running;
            }
            Event::RunSuspended { .. } => self.state = RunState::Suspended,
            Event::RunResumed { .. } => self.state = RunState::Running,
            Event::RunTakenOver { epoch, owner, .. } => {
                self.epoch = *epoch;
                self.owner = owner.clone();
            }
            Event::RunFinished(end) => {
                self.state = RunState::Finished;
                self.outcome = Some(end.outcome);
                self.verdict = Some(end.verdict);
                self.finished_at = Some(at);
                return true;
            }
            _ => {}
        }
        false
    }

    /// What the caller says about the row.
    pub(super) fn change(&mut self, change: &RowChange) {
        self.state = change.state;
        if change.outcome.is_some() {
            self.outcome = change.outcome;
        }
        if let Some((epoch, owner)) = &change.owner {
            self.epoch = *epoch;
            self.owner = owner.clone();
        }
    }
}

/// The new epoch, if `append` makes somebody else the owner of the run of `row`.
pub(super) fn takeover(append: &Append, row: &RunRow) -> Option<Epoch> {
    let told = append.row.as_ref().and_then(|change| change.owner.as_ref());
    let told = told.filter(|told| **told != (row.epoch, row.owner.clone())).map(|told| told.0);
    let taken = append.events.iter().find_map(|event| match event {
        Event::RunTakenOver { epoch, .. } => Some(*epoch),
        _ => None,
    });
    told.max(taken)
}

/// Columns in the order of [`from_row`] and [`save`].
pub(super) const COLUMNS: &str = "id, runbook, version, kind, title, digest, requester, \
    requester_method, trigger, ticket, reason, plan_digest, targets, state, outcome, verdict, \
    created_at, started_at, finished_at, epoch, owner_pid, owner_start, owner_boot, owner_host, \
    first_seq, last_seq, log_size, log_root";

/// Reads a row. `Ok(None)`: it holds what we never wrote; that must not stop who reads others.
pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Option<RunRow>> {
    match read(row) {
        Ok(found) => Ok(Some(found)),
        Err(
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..),
        ) => Ok(None),
        Err(err) => Err(err),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    let targets: String = row.get(12)?;
    let log_size: Option<i64> = row.get(26)?;
    let log_root: Option<[u8; 32]> = row.get(27)?;
    Ok(RunRow {
        id: RunId::from_bytes(row.get(0)?),
        runbook: row.get(1)?,
        version: row.get(2)?,
        kind: word(row, 3)?,
        title: row.get(4)?,
        digest: Digest::from_bytes(row.get(5)?),
        requester: row.get(6)?,
        requester_method: row.get(7)?,
        trigger: row.get(8)?,
        ticket: row.get(9)?,
        reason: row.get(10)?,
        plan_digest: row.get::<_, Option<[u8; 32]>>(11)?.map(Digest::from_bytes),
        targets: serde_json::from_str(&targets).map_err(|err| unreadable(12, err))?,
        state: word(row, 13)?,
        outcome: word_or_none(row, 14)?,
        verdict: word_or_none(row, 15)?,
        created_at: Timestamp::from_millis(row.get(16)?),
        started_at: time(row.get(17)?),
        finished_at: time(row.get(18)?),
        epoch: Epoch(number(row, 19)?),
        owner: Owner {
            pid: row.get(20)?,
            start: number(row, 21)?,
            boot: row.get(22)?,
            host: row.get(23)?,
        },
        first_seq: number(row, 24)?,
        last_seq: number(row, 25)?,
        log: log_size.and_then(|size| u64::try_from(size).ok()).zip(log_root),
    })
}

/// An integer that is not negative.
pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let found: i64 = row.get(column)?;
    u64::try_from(found).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, found))
}

fn word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_value(Value::String(text)).map_err(|err| unreadable(column, err))
}

fn word_or_none<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    let read = |text| serde_json::from_value(Value::String(text));
    text.map(read).transpose().map_err(|err| unreadable(column, err))
}

fn unreadable(column: usize, err: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(err))
}

/// An enum's name as the language and the log have it.
pub(super) fn name<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        other => unreachable!("an enum without data is a string, not {other:?}"),
    }
}

/// One row by its id; `None`: no such run, or a row that cannot be read.
pub(super) fn load(conn: &Connection, id: RunId) -> Result<Option<RunRow>, StoreError> {
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"));
    let err = sqlite("read a run");
    let mut statement = conn.prepare_cached(&SQL).map_err(&err)?;
    let found = statement.query_row([id.as_bytes()], from_row).optional().map_err(&err)?;
    Ok(found.flatten())
}

impl RunRow {
    /// Whether nothing but its last entry is another: most appends in the middle of a run.
    pub(super) fn differs_by_last_seq(&self, after: &RunRow) -> bool {
        let mut moved = self.clone();
        moved.last_seq = after.last_seq;
        moved == *after
    }
}

/// Writes the number of a row's last entry alone: one page instead of the row and its indexes.
pub(super) fn touch(conn: &Connection, row: &RunRow) -> Result<(), StoreError> {
    let err = sqlite("write a run");
    let mut statement =
        conn.prepare_cached("UPDATE runs SET last_seq = ?2 WHERE id = ?1").map_err(&err)?;
    statement.execute(params![row.id.as_bytes(), row.last_seq as i64]).map_err(&err)?;
    Ok(())
}

/// Writes a row, new or changed.
pub(super) fn save(conn: &Connection, row: &RunRow) -> Result<(), StoreError> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let places: Vec<String> = (1..=28).map(|place| format!("?{place}")).collect();
        format!(
            "INSERT INTO runs ({COLUMNS}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET \
             plan_digest = ?12, targets = ?13, state = ?14, outcome = ?15, verdict = ?16, \
             started_at = ?18, finished_at = ?19, epoch = ?20, owner_pid = ?21, \
             owner_start = ?22, owner_boot = ?23, owner_host = ?24, last_seq = ?26, \
             log_size = ?27, log_root = ?28",
            places.join(", ")
        )
    });
    let err = sqlite("write a run");
    let targets = serde_json::to_string(&row.targets).expect("strings are JSON");
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
    conn.prepare_cached(&SQL)
        .map_err(&err)?
        .execute(params![
            row.id.as_bytes(),
            row.runbook,
            row.version,
            name(&row.kind),
            row.title,
            row.digest.as_bytes(),
            row.requester,
            row.requester_method,
            row.trigger,
            row.ticket,
            row.reason,
            row.plan_digest.as_ref().map(Digest::as_bytes),
            targets,
            name(&row.state),
            row.outcome.as_ref().map(name),
            row.verdict.as_ref().map(name),
            row.created_at.as_millis(),
            millis(row.started_at),
            millis(row.finished_at),
            row.epoch.0 as i64,
            row.owner.pid,
            row.owner.start as i64,
            row.owner.boot,
            row.owner.host,
            row.first_seq as i64,
            row.last_seq as i64,
            row.log.map(|log| log.0 as i64),
            row.log.map(|log| log.1),
        ])
        .map_err(&err)?;
    Ok(())
}
