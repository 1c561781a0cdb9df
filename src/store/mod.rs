//! The one store: entries, signed head and read tables change in one transaction that reads the
//! head first, so that several processes may share a folder and the log stays one.

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
    /// What the facts name by digest.
    pub blobs: Vec<Blob>,
    /// The run's row in the read tables after these facts; `None`: unchanged.
    pub row: Option<RowChange>,
    /// Time of the facts.
    pub time: Timestamp,
}

/// Bytes that stand beside the entries.
#[derive(Debug)]
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
