//! The signed log as data: entry bytes, Merkle tree, checkpoint, keys, verification.
//!
//! Formats are not ours, so that any reader of theirs reads our log: RFC 8785 for an entry's bytes,
//! RFC 6962 for the tree, C2SP `signed-note`, `tlog-checkpoint` and `tlog-tiles` for the head and
//! for what is published.
//!
//! This module owns no state and never touches files, the database, a clock or randomness: a key's
//! seed and every byte that is judged come in as arguments.

pub mod checkpoint;
pub mod entry;
pub mod jcs;
pub mod key;
pub mod note;
pub mod scan;
pub mod tiles;
pub mod tree;
pub mod verdict;
pub mod verify;
