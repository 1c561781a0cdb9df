//! Opening a store: create what is missing, refuse what is wrong, recompute the tail.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value, json};

use super::append::Committer;
use super::error::{StoreError, io, sqlite};
use super::layout::{Layout, create_private, sync_folder};
use super::log::{self, Made, Tip};
use super::read::Reader;
use super::writer::Writer;
use super::{Store, schema};
use crate::audit::entry::{self, Place};
use crate::audit::key::Signer;
use crate::audit::verify::{Code, failure};
use crate::time::{Clock as _, SystemClock};

/// What the store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading and writing; creates what is missing.
    ReadWrite,
    /// Reading only; a store must be there, its key need not.
    ReadOnly,
}

/// What a configuration says about a store.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `runwarden.dev/<fleet>/<agent>`; `None`: made of the host's name and the key's id. Fixed
    /// when the log is created.
    pub origin: Option<String>,
}

pub(super) fn open(dir: &Path, mode: OpenMode, options: &Options) -> Result<Store, StoreError> {
    let layout = Layout::new(dir);
    if mode == OpenMode::ReadOnly {
        let reader = Reader::open(dir)?;
        let keys = log::keys(reader.conn())?;
        log::recompute_tail(reader.conn(), &keys)?;
        let none = || failure(Code::Trunc, Some(0), "the log has no entries");
        let vkey = keys.last().cloned().ok_or_else(none)?;
        let vkey = Arc::new(Mutex::new(vkey));
        return Ok(Store { layout, writer: None, vkey, is_new: false });
    }
    layout.prepare()?;
    let mut is_new = false;
    let mut conn = connect(&layout)?;
    if conn.as_ref().map_or(Ok(0), schema::version)? < schema::VERSION {
        drop(conn);
        (conn, is_new) = create(&layout, options).map(|(conn, is_new)| (Some(conn), is_new))?;
    }
    let conn = conn.expect("created if it was not there");
    let (signer, tip) = {
        // One moment of the log, though others go on writing.
        let moment = conn.unchecked_transaction().map_err(sqlite("read the log"))?;
        let signer = match log::keys(&moment)?.last() {
            Some(key) => layout.read_signer(key)?,
            None => return Err(failure(Code::Trunc, Some(0), "the log has no entries").into()),
        };
        let tip = log::recompute_tail(&moment, std::slice::from_ref(signer.vkey()))?;
        (signer, tip)
    };
    let vkey = Arc::new(Mutex::new(signer.vkey().clone()));
    let committer = Committer::new(conn, layout.clone(), signer, Arc::clone(&vkey), tip);
    Ok(Store { layout, writer: Some(Writer::new(committer)), vkey, is_new })
}

/// Connects to the database for writing; `None`: it is not there.
fn connect(layout: &Layout) -> Result<Option<Connection>, StoreError> {
    let path = layout.database();
    match std::fs::metadata(&path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(io("open the store", &path)(err)),
        Ok(found) if found.mode() & 0o022 != 0 => {
            let mode = found.mode() & 0o7777;
            return Err(StoreError::WrongMode { path, mode, what: "write", fix: "600" });
        }
        Ok(_) => {}
    }
    let err = sqlite("open the store");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&path, flags).map_err(&err)?;
    if conn.is_readonly("main").map_err(&err)? {
        return Err(StoreError::ReadOnly("open the store"));
    }
    schema::prepare(&conn)?;
    // The head of the log is durable when a commit returns: nothing less is worth signing.
    conn.pragma_update(None, "synchronous", "FULL").map_err(&err)?;
    Ok(Some(conn))
}

/// Makes key, tables and first entry, or brings older tables up to date; one process at a time.
/// Each step is found done if a crash cut the others off.
fn create(layout: &Layout, options: &Options) -> Result<(Connection, bool), StoreError> {
    let _lock = layout.lock_creation()?;
    let err = sqlite("create the store");
    create_private(&layout.database())?;
    let conn = connect(layout)?.expect("just created");
    let found = schema::version(&conn)?;
    if found == schema::VERSION {
        return Ok((conn, false)); // Another process was faster.
    }
    if found > 0 {
        let tx = conn.unchecked_transaction().map_err(&err)?;
        schema::migrate(&tx, found)?;
        tx.commit().map_err(&err)?;
        return Ok((conn, false));
    }
    let signer = match layout.read_key()? {
        Some(signer) => signer,
        None => layout.make_key(options.origin.as_deref())?,
    };
    conn.pragma_update(None, "journal_mode", "WAL").map_err(&err)?;
    let tx = conn.unchecked_transaction().map_err(&err)?;
    schema::migrate(&tx, 0)?;
    let mut made = Made::after(&Tip::default());
    let now = SystemClock.now();
    let place = Place { seq: 0, prev: [0; 32], time: now, run: None };
    made.push(entry::build(log_created(&signer), &place)?, None);
    made.sign(&signer, None);
    log::write(&tx, &made)?;
    tx.commit().map_err(&err)?;
    sync_folder(layout.root())?;
    Ok((conn, true))
}

/// The first fact: which log this is, who signs it, who made it.
fn log_created(signer: &Signer) -> Map<String, Value> {
    let host = rustix::system::uname();
    let fact = json!({
        "type": "log.created",
        "origin": signer.vkey().name(),
        "keys": [signer.vkey().to_string()],
        "host": host.nodename().to_string_lossy(),
        "agent": { "version": env!("CARGO_PKG_VERSION") },
    });
    match fact {
        Value::Object(fact) => fact,
        _ => unreachable!("an object was written"),
    }
}
