//! Why the store did not do as it was asked; variants by what the caller does next.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use rusqlite::ErrorCode;

use crate::audit::entry::NotAFact;
use crate::audit::verify::{Code, Failure};
use crate::id::{Digest, Epoch, RunId};

/// Why the store did not do as it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process held the store for longer than `STORE_LOCK_WAIT`. Nothing was written;
    /// asking again is safe.
    #[error("{0}: another process holds the store")]
    Locked(&'static str),
    /// No room on the disk. Nothing was written; once there is room, the store works again.
    #[error("{0}: no space is left")]
    Full(&'static str),
    /// The folder or file cannot be written, or the store was opened for reading.
    #[error("{0}: the store is read-only")]
    ReadOnly(&'static str),
    /// A newer program wrote this store; nothing was touched.
    #[error("open the store: its schema is version {found}, this program knows up to {known}")]
    NewerSchema {
        /// In the store.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// There is no store in this folder, and it was to be read only.
    #[error("open the store: there is none in `{}`", .0.display())]
    Missing(PathBuf),
    /// The disk failed. Whether the last append is there is unknown; nothing more is written.
    #[error("{doing}")]
    Io {
        /// What we were doing.
        doing: String,
        /// Why it failed.
        source: Source,
    },
    /// An earlier append met an I/O error, so nothing more is written until the process ends.
    #[error("append to the log: an earlier write failed")]
    Poisoned,
    /// The run has a newer owner. The caller lets it go.
    #[error("append to the log: run `{run}` belongs to a newer owner (epoch {})", .found.0)]
    StaleEpoch {
        /// Which run.
        run: RunId,
        /// Its epoch now.
        found: Epoch,
    },
    /// Others have written about the run since the caller looked. The caller reads on and decides
    /// again.
    #[error("append to the log: the run's last entry is {found}, not {expected}")]
    Conflict {
        /// What the caller has seen.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The run exists already.
    #[error("append to the log: run `{0}` exists already")]
    RunExists(RunId),
    /// No such run.
    #[error("no run `{0}` is in the log")]
    UnknownRun(RunId),
    /// The log is not what was signed: nothing starts on it.
    #[error("the log does not verify: {0}")]
    Tampered(Failure),
    /// The facts cannot be entries: a defect of the caller, or a field that belongs in a blob.
    #[error(transparent)]
    NotAFact(#[from] NotAFact),
    /// An append without facts.
    #[error("append to the log: there is nothing to append")]
    Nothing,
    /// What is named is not there, or is not what its digest says.
    #[error("blob `{0}` is missing or is not what its digest says")]
    BadBlob(Digest),
    /// Others may read or write what is ours alone.
    #[error("`{}` has mode {mode:04o}: others may {what} it; run `chmod {fix} {}`",
            .path.display(), .path.display())]
    WrongMode {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// `read`, `write`.
        what: &'static str,
        /// The argument of `chmod` that mends it.
        fix: &'static str,
    },
    /// The log exists but not its key: a new one would break the chain of trust.
    #[error("open the store: the log's key `{}` is missing", .0.display())]
    KeyMissing(PathBuf),
    /// The key file is not one, or is of another log.
    #[error("open the store: the key `{}` {why}", .path.display())]
    BadKey {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A cause that several appends of one commit can share.
pub type Source = Arc<dyn Error + Send + Sync>;

impl StoreError {
    /// Whether the disk can no longer be trusted, so that nothing more may be written.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, StoreError::Io { .. } | StoreError::Poisoned | StoreError::Tampered(_))
    }
}

/// What an error of SQLite means to the caller; `doing` is what we were doing.
pub(super) fn sqlite(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    /// `SQLITE_IOERR_SHMSIZE`: the shared index could not grow, for lack of room.
    const SHM_SIZE: i32 = 4874;
    move |err| {
        let code = err.sqlite_error().map(|err| (err.code, err.extended_code));
        match code {
            Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => {
                StoreError::Locked(doing)
            }
            Some((ErrorCode::DiskFull, _) | (_, SHM_SIZE)) => StoreError::Full(doing),
            Some((ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _)) => {
                StoreError::ReadOnly(doing)
            }
            // A file that is no database, or whose pages contradict each other, is no failing disk:
            // reading it worked. Whoever runs on it would run on what nobody signed.
            Some((ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt, _)) => {
                let message = format!("{doing}: {err}");
                StoreError::Tampered(Failure { code: Code::Format, seq: None, message })
            }
            _ => StoreError::Io { doing: doing.to_owned(), source: Arc::new(err) },
        }
    }
}

/// What an I/O error at `path` means to the caller.
pub(super) fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |err| match err.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(doing),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            StoreError::ReadOnly(doing)
        }
        _ => StoreError::Io {
            doing: fmt::format(format_args!("{doing} `{}`", path.display())),
            source: Arc::new(err),
        },
    }
}
