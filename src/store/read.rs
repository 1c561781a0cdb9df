//! What everybody else sees of the store: its own connection, so that reading never waits for
//! writing. A row that nobody of ours wrote stops nobody from reading the others.

use std::path::Path;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, params, params_from_iter};

use super::blob::{self, BlobReader};
use super::error::{StoreError, sqlite};
use super::layout::Layout;
use super::runs::{self, COLUMNS, RunRow};
use super::{log, schema};
use crate::audit::entry::{self, Entry, NotAnEntry};
use crate::audit::key::Vkey;
use crate::audit::tree::{self, Frontier, Hash};
use crate::id::{Digest, RunId};
use crate::outcome::Verdict;
use crate::run::event::{Event, RunOutcome, RunState};
use crate::runbook::model::Kind;
use crate::time::Timestamp;

/// A reader of the store. One thread at a time; open as many as there are threads.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    layout: Layout,
}

/// The newest signed head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root of their tree.
    pub root: Hash,
    /// The signed note.
    pub note: String,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its number.
    pub seq: u64,
    /// Its bytes, which are what is hashed.
    pub bytes: Vec<u8>,
}

impl StoredEntry {
    /// The entry, read.
    ///
    /// # Errors
    ///
    /// [`NotAnEntry`]: the row holds something else; [`Reader::verify`] says what that means.
    pub fn parse(&self) -> Result<Entry, NotAnEntry> {
        Entry::parse(&self.bytes)
    }

    /// The fact of a run that it holds.
    ///
    /// # Errors
    ///
    /// [`NotAnEntry`]: no entry, or of a type that is no fact of a run.
    pub fn event(&self) -> Result<Event, NotAnEntry> {
        entry::event(&self.bytes)
    }
}

/// Which runs; what is `None` or empty does not filter.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Any of these states.
    pub states: Vec<RunState>,
    /// Any of these outcomes.
    pub outcomes: Vec<RunOutcome>,
    /// Any of these verdicts.
    pub verdicts: Vec<Verdict>,
    /// The runbook's name.
    pub runbook: Option<String>,
    /// What the runbook is for.
    pub kind: Option<Kind>,
    /// Who asked.
    pub requester: Option<String>,
    /// Ticket number.
    pub ticket: Option<String>,
    /// A target that it has.
    pub target: Option<String>,
    /// Asked for at or after this.
    pub since: Option<Timestamp>,
    /// Asked for before this.
    pub until: Option<Timestamp>,
    /// Only runs before this one: the last of the page before.
    pub before: Option<RunId>,
    /// At most so many; `None`: all.
    pub limit: Option<u32>,
}

/// Runs, newest first.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    /// What could be read.
    pub rows: Vec<RunRow>,
    /// How many rows could not.
    pub unreadable: u64,
}

/// What a piece of an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    None,
    /// This run.
    One(RunId),
    /// More than one run.
    Many,
}

impl Reader {
    /// Opens the store in `dir` for reading. Verifies nothing: see [`Reader::verify`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::NewerSchema`], or what the disk says.
    pub fn open(dir: &Path) -> Result<Reader, StoreError> {
        let layout = Layout::new(dir);
        let path = layout.database();
        if !path.is_file() {
            return Err(StoreError::Missing(dir.to_owned()));
        }
        let err = sqlite("open the store for reading");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&path, flags).and_then(|conn| {
            conn.query_row("PRAGMA schema_version", [], |_| Ok(())).map(|()| conn)
        });
        let conn = match opened {
            Ok(conn) => conn,
            // On a disk that nobody may write, SQLite cannot make the index that it shares with
            // writers; there are none, then.
            Err(_) if has_no_wal(&path) => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(immutable(&path), flags).map_err(&err)?
            }
            Err(found) => return Err(err(found)),
        };
        schema::prepare(&conn)?;
        if schema::version(&conn)? == 0 {
            return Err(StoreError::Missing(dir.to_owned()));
        }
        Ok(Reader { conn, layout })
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Paths of the state folder.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Changes whenever any other connection has committed: what a poll compares.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(sqlite("look for news in the store"))
    }

    /// The newest signed head; `None`: the log is empty.
    ///
    /// # Errors
    ///
    /// As any read; [`StoreError::Tampered`] if its row cannot be read.
    pub fn head(&self) -> Result<Option<Head>, StoreError> {
        Ok(log::head(&self.conn)?.map(|(size, root, note)| Head { size, root, note }))
    }

    /// Heads that both keys have signed, where the key changed; oldest first.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn boundaries(&self) -> Result<Vec<String>, StoreError> {
        let err = sqlite("read the heads where keys changed");
        let mut statement =
            self.conn.prepare_cached("SELECT note FROM boundaries ORDER BY size").map_err(&err)?;
        let notes = statement.query_map([], |row| row.get(0)).map_err(&err)?;
        notes.collect::<Result<_, _>>().map_err(err)
    }

    /// The keys that the log names as its own, oldest first.
    ///
    /// # Errors
    ///
    /// As any read; [`StoreError::Tampered`] if an entry that should name one does not.
    pub fn keys(&self) -> Result<Vec<Vkey>, StoreError> {
        log::keys(&self.conn)
    }

    /// Entry `seq`; `None`: there is none.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn entry(&self, seq: u64) -> Result<Option<StoredEntry>, StoreError> {
        let bytes = log::entry_bytes(&self.conn, seq)?;
        Ok(bytes.map(|bytes| StoredEntry { seq, bytes }))
    }

    /// Gives each entry from `first` on to `each`, in order, until it says `false`: in bounded
    /// memory, all from one moment of the log.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn entries(
        &self,
        first: u64,
        mut each: impl FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let err = sqlite("read the log");
        let sql = "SELECT seq, bytes, leaf FROM entries WHERE seq >= ?1 ORDER BY seq";
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        let mut rows = statement.query([first as i64]).map_err(&err)?;
        while let Some(row) = rows.next().map_err(&err)? {
            let (seq, bytes, _) = log::stored(row).map_err(&err)?;
            if !each(seq, bytes) {
                break;
            }
        }
        Ok(())
    }

    /// The entries of `run` behind entry `after`; `None`: all of them.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn entries_of(
        &self,
        run: RunId,
        after: Option<u64>,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let err = sqlite("read the entries of a run");
        let sql = "SELECT seq, bytes, leaf FROM entries WHERE run = ?1 AND seq > ?2 ORDER BY seq";
        let after = after.map_or(-1, |after| after as i64);
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        let mut rows = statement.query(params![run.as_bytes(), after]).map_err(&err)?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().map_err(&err)? {
            let (seq, bytes, _) = log::stored(row).map_err(&err)?;
            entries.push(StoredEntry { seq, bytes: bytes.to_vec() });
        }
        Ok(entries)
    }

    /// The row of a run; `None`: no such run, or a row that cannot be read.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn run_row(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        runs::load(&self.conn, run)
    }

    /// Runs that `filter` lets pass, newest first.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn runs(&self, filter: &RunFilter) -> Result<Runs, StoreError> {
        let (sql, values) = select(filter);
        let err = sqlite("list the runs");
        let mut statement = self.conn.prepare_cached(&sql).map_err(&err)?;
        let mut rows = statement.query(params_from_iter(values)).map_err(&err)?;
        let mut found = Runs::default();
        while let Some(row) = rows.next().map_err(&err)? {
            match runs::from_row(row).map_err(&err)? {
                Some(row) => found.rows.push(row),
                None => found.unreadable += 1,
            }
        }
        Ok(found)
    }

    /// Runs that have not ended, oldest first: whoever finds an owner dead may take one over.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn unfinished(&self) -> Result<Runs, StoreError> {
        use RunState::{Queued, Running, Suspended, WaitingApproval};
        let states = vec![Queued, WaitingApproval, Running, Suspended];
        let mut found = self.runs(&RunFilter { states, ..RunFilter::default() })?;
        found.rows.reverse();
        Ok(found)
    }

    /// The run whose id begins with `prefix`: hexadecimal digits, dashes or none.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn find(&self, prefix: &str) -> Result<Found, StoreError> {
        let digits: String = prefix.chars().filter(|c| *c != '-').collect();
        let digits = digits.to_ascii_uppercase();
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if digits.is_empty() || digits.len() > 32 || !is_hex {
            return Ok(Found::None);
        }
        // From `0192` come the bounds `019200…` and `0192ff…`, so that the key's index answers.
        let bound = |fill: &str| format!("{digits}{}", fill.repeat(32 - digits.len()));
        let sql = format!(
            "SELECT id FROM runs WHERE id BETWEEN x'{}' AND x'{}' LIMIT 2",
            bound("0"),
            bound("F")
        );
        let err = sqlite("look a run up");
        let mut statement = self.conn.prepare(&sql).map_err(&err)?;
        let ids = statement
            .query_map([], |row| row.get::<_, [u8; 16]>(0))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(&err)?;
        Ok(match ids[..] {
            [] => Found::None,
            [one] => Found::One(RunId::from_bytes(one)),
            _ => Found::Many,
        })
    }

    /// The bytes of a blob; `None`: the store never had it.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadBlob`]: it had it, and it is gone or spoilt.
    pub fn blob(&self, digest: &Digest) -> Result<Option<BlobReader>, StoreError> {
        blob::open(&self.conn, &self.layout, digest)
    }

    /// The proof that entry `seq` is in the log of `size` entries; `None`: it is not. Reads the
    /// leaf hashes of the whole log once.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn inclusion_proof(&self, seq: u64, size: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.roots(tree::inclusion_path(seq, size))
    }

    /// The proof that the log of `old` entries is the beginning of that of `new` entries.
    ///
    /// # Errors
    ///
    /// As any read.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.roots(tree::consistency_path(old, new))
    }

    fn roots(&self, path: Option<Vec<tree::Leaves>>) -> Result<Option<Vec<Hash>>, StoreError> {
        path.map(|path| path.into_iter().map(|leaves| self.root_of(leaves)).collect()).transpose()
    }

    fn root_of(&self, leaves: tree::Leaves) -> Result<Hash, StoreError> {
        let err = sqlite("read the log");
        let sql = "SELECT leaf FROM entries WHERE seq >= ?1 AND seq < ?2 ORDER BY seq";
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        let mut rows =
            statement.query(params![leaves.start as i64, leaves.end as i64]).map_err(&err)?;
        let mut tree = Frontier::new();
        while let Some(row) = rows.next().map_err(&err)? {
            tree.push(row.get(0).map_err(&err)?);
        }
        Ok(tree.root())
    }
}

/// Whether no committed page waits beside the database.
fn has_no_wal(database: &Path) -> bool {
    let mut wal = database.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(wal).map_or(true, |found| found.len() == 0)
}

/// `file:` and the path, with what a URI gives a meaning to escaped.
fn immutable(database: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "file:".to_owned();
    for byte in database.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            other => write!(uri, "%{other:02X}").expect("a string takes what is written to it"),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// The statement and the values of a filter.
fn select(filter: &RunFilter) -> (String, Vec<Sql>) {
    let mut terms: Vec<String> = Vec::new();
    let mut values: Vec<Sql> = Vec::new();
    let mut any_of = |column: &str, names: Vec<String>| {
        if !names.is_empty() {
            terms.push(format!("{column} IN ({})", vec!["?"; names.len()].join(", ")));
            values.extend(names.into_iter().map(Sql::Text));
        }
    };
    any_of("state", filter.states.iter().map(runs::name).collect());
    any_of("outcome", filter.outcomes.iter().map(runs::name).collect());
    any_of("verdict", filter.verdicts.iter().map(runs::name).collect());
    any_of("kind", filter.kind.iter().map(runs::name).collect());
    any_of("runbook", filter.runbook.iter().cloned().collect());
    any_of("requester", filter.requester.iter().cloned().collect());
    any_of("ticket", filter.ticket.iter().cloned().collect());
    let mut compare = |term: &str, value: Option<Sql>| {
        if let Some(value) = value {
            terms.push(term.to_owned());
            values.push(value);
        }
    };
    let is_target = "EXISTS (SELECT 1 FROM json_each(CASE json_valid(targets) WHEN 1 \
                     THEN targets ELSE '[]' END) WHERE value = ?)";
    compare(is_target, filter.target.clone().map(Sql::Text));
    let millis = |at: Timestamp| Sql::Integer(at.as_millis());
    compare("created_at >= ?", filter.since.map(millis));
    compare("created_at < ?", filter.until.map(millis));
    compare("id < ?", filter.before.map(|run| Sql::Blob(run.as_bytes().to_vec())));
    let mut sql = format!("SELECT {COLUMNS} FROM runs");
    if !terms.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&terms.join(" AND "));
    }
    sql.push_str(" ORDER BY id DESC");
    if let Some(limit) = filter.limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    (sql, values)
}
