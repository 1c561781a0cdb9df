//! The one store: entries, signed head and read tables change in one transaction that reads the
//! head first, so that several processes may share a folder and the log stays one.
//!
//! It owns the state folder ([`Layout`]) and one connection that writes, on a thread of its own:
//! what waits there shares a commit, hence an fsync. It signs nothing that it has not checked, and
//! after an I/O error writes nothing more. What the facts mean is not its business, beyond the rows
//! by which runs are found.

mod append;
mod blob;
mod check;
mod error;
mod layout;
mod log;
mod open;
mod read;
mod runs;
mod schema;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

pub use self::blob::BlobReader;
pub use self::check::VerifyError;
pub use self::error::{Source, StoreError};
pub use self::layout::{Layout, make_folder};
pub use self::open::{OpenMode, Options};
pub use self::read::{Found, Head, Reader, RunFilter, Runs, StoredEntry};
pub use self::runs::RunRow;

use self::writer::Writer;
use crate::audit::key::Vkey;
use crate::audit::tree::Hash;
use crate::id::{Digest, Epoch, Owner, RunId};
use crate::run::event::{Event, RunOutcome, RunState};
use crate::time::Timestamp;

/// What is to be recorded, all or nothing.
#[derive(Debug)]
pub struct Append {
    /// Whose facts; `None`: facts of the log itself.
    pub run: Option<RunId>,
    /// The owner's epoch: the append is refused if the run has a newer one. `None`: a fact that
    /// anybody may add (cancel requested, manual confirmed).
    pub epoch: Option<Epoch>,
    /// The last entry of the run that the caller has seen: if others have written since, nothing
    /// is written and the caller reads on first. `None`: whatever is there.
    pub expected: Option<u64>,
    /// The facts, in order.
    pub events: Vec<Event>,
    /// Facts of the log itself that are no [`Event`] (`agent.started`), each with its `type`; they
    /// follow `events`.
    pub raw: Vec<Map<String, Value>>,
    /// What the facts name by digest.
    pub blobs: Vec<Blob>,
    /// The run's row in the read tables after these facts; `None`: unchanged.
    pub row: Option<RowChange>,
    /// Time of the facts.
    pub time: Timestamp,
    /// Whether it only records what has ended (`step.finished`, `run.finished`, `run.suspended`):
    /// on a full disk it may use the reserve.
    pub is_end: bool,
}

impl Append {
    /// `events` of `run` at `time`, whatever its epoch and its last entry are, and nothing else.
    #[must_use]
    pub fn of(run: RunId, events: Vec<Event>, time: Timestamp) -> Append {
        Append {
            run: Some(run),
            epoch: None,
            expected: None,
            events,
            raw: Vec::new(),
            blobs: Vec::new(),
            row: None,
            time,
            is_end: false,
        }
    }

    /// A fact of the log itself.
    #[must_use]
    pub fn raw(fact: Map<String, Value>, time: Timestamp) -> Append {
        Append {
            run: None,
            epoch: None,
            expected: None,
            events: Vec::new(),
            raw: vec![fact],
            blobs: Vec::new(),
            row: None,
            time,
            is_end: false,
        }
    }
}

/// What was recorded, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Entry of the first fact.
    pub first_seq: u64,
    /// Entry of the last fact.
    pub last_seq: u64,
    /// Number of entries of the head of this commit, which others may share.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Its signed note.
    pub note: String,
}

/// Bytes that stand beside the entries.
#[derive(Clone, Debug)]
pub enum Blob {
    /// In memory.
    Bytes {
        /// SHA-256 of `bytes`.
        digest: Digest,
        /// What is kept.
        bytes: Vec<u8>,
    },
    /// In a file that the store has already compressed, fsynced and put in place
    /// ([`Store::keep_file`]).
    Placed {
        /// SHA-256 of the kept bytes.
        digest: Digest,
        /// How many, uncompressed.
        bytes: u64,
    },
}

/// What changed in a run's row of the read tables.
#[derive(Clone, Debug)]
pub struct RowChange {
    /// Its state now.
    pub state: RunState,
    /// Its outcome, once it has one.
    pub outcome: Option<RunOutcome>,
    /// The owner from now on, where it changed.
    pub owner: Option<(Epoch, Owner)>,
}

impl Blob {
    /// A blob of these bytes.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Blob {
        Blob::Bytes { digest: Digest::of(&bytes), bytes }
    }

    /// SHA-256 of the kept bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Blob::Bytes { digest, .. } | Blob::Placed { digest, .. } => *digest,
        }
    }

    /// How many, uncompressed.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Blob::Bytes { bytes, .. } => bytes.len() as u64,
            Blob::Placed { bytes, .. } => *bytes,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The store of one state folder. Shared by reference; closed when dropped, after what was handed
/// to it is written.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    /// `None`: opened for reading.
    writer: Option<Writer>,
    vkey: Arc<Mutex<Vkey>>,
    is_new: bool,
}

impl Store {
    /// Opens the store in `dir`. For writing, it is created if there is none: folder, key, tables
    /// and the first entry. The end of the log is recomputed against its signed head.
    ///
    /// # Errors
    ///
    /// [`StoreError::Tampered`]: the log is not what was signed; nothing may run on it.
    /// [`StoreError::WrongMode`], [`StoreError::KeyMissing`], [`StoreError::BadKey`],
    /// [`StoreError::NewerSchema`]: a person must look. [`StoreError::Missing`]: to be read, and not
    /// there. Else what the disk or another process says.
    pub fn open(dir: &Path, mode: OpenMode) -> Result<Store, StoreError> {
        Store::open_with(dir, mode, &Options::default())
    }

    /// As [`Store::open`], with what a configuration says.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_with(dir: &Path, mode: OpenMode, options: &Options) -> Result<Store, StoreError> {
        open::open(dir, mode, options)
    }

    /// Records facts, durably and signed, before it returns. Dropping the future does not take
    /// back what was handed over.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; but for [`StoreError::Io`], nothing was written.
    pub async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        self.writer()?.append(append).await
    }

    /// As [`Store::append`], for a thread that may wait.
    ///
    /// # Errors
    ///
    /// As [`Store::append`].
    ///
    /// # Panics
    ///
    /// On a thread that runs asynchronous tasks.
    pub fn append_blocking(&self, append: Append) -> Result<Appended, StoreError> {
        self.writer()?.append_blocking(append)
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        self.writer.as_ref().ok_or(StoreError::ReadOnly("append to the log"))
    }

    /// A reader with a connection of its own.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`].
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(self.layout.root())
    }

    /// Compresses the first `bytes` bytes of the file at `path` to where they stay, durably, in at
    /// most a megabyte of memory. The entry that names them comes after, with the blob that this
    /// returns. The file itself is left alone.
    ///
    /// # Errors
    ///
    /// What the disk says; [`StoreError::Io`] too if the file is shorter.
    pub fn keep_file(&self, path: &Path, bytes: u64) -> Result<Blob, StoreError> {
        self.writer()?;
        blob::keep_file(&self.layout, path, bytes)
    }

    /// Paths of the state folder.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The key that signs the log; its name is the log's origin.
    #[must_use]
    pub fn vkey(&self) -> Vkey {
        self.vkey.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the key that signs the log: `key.rotated` is its next entry, whose head both keys
    /// sign; what follows, only the new one. Other processes take the new key from the folder.
    ///
    /// # Errors
    ///
    /// As [`Store::append`].
    ///
    /// # Panics
    ///
    /// On a thread that runs asynchronous tasks.
    pub fn rotate_key_blocking(&self, reason: &str, time: Timestamp) -> Result<Vkey, StoreError> {
        self.writer()?.rotate(reason, time)
    }

    /// Whether opening it made it, so that its key is to be shown to an auditor.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}
