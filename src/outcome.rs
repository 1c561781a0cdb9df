//! What one attempt of an action came back with: `action` makes it, the core judges it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::Digest;

/// What became of one attempt.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The action's own judgement of what it found, where it is not an exit code: `None` for
    /// processes, whose exit code the step's `exit` maps.
    pub rule: Option<Verdict>,
    /// Whether it changed something, where the action knows.
    pub changed: Option<bool>,
    /// The action's own result fields (spec 1, Actions), without the common ones and without
    /// `stdout` and `stderr`.
    pub fields: Map<String, Value>,
    /// Why it did not succeed, where the action knows.
    pub error: Option<ErrorInfo>,
    /// Standard output, of processes.
    pub stdout: Option<Captured>,
    /// Standard error, of processes.
    pub stderr: Option<Captured>,
    /// What the step wrote to `$RUNWARDEN_OUTPUT`, at most `RESULT_BYTES_MAX`.
    pub outputs: Option<Vec<u8>>,
    /// Processes that could not be ended, named for people: `1234 (sleep) of user bob`.
    pub left: Vec<String>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By itself, whatever it found.
    #[default]
    Completed,
    /// It never began: nothing happened, a repetition is safe.
    NotStarted,
    /// The target or endpoint could not be reached.
    Unreachable,
    /// We ended it at its deadline and saw it end.
    TimedOut,
    /// We ended it on request and saw it end.
    Cancelled,
    /// It may have happened; its end is unknown.
    Interrupted,
}

/// What a step found, in order of severity of a run: `ok < warning < unknown < critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1")]
pub enum Verdict {
    Ok,
    Warning,
    Unknown,
    Critical,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Unknown => "unknown",
            Verdict::Critical => "critical",
        })
    }
}

/// Why something failed, as the log and the API have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Stable, `E_…`, listed in the documentation.
    pub code: String,
    /// For people: what we were doing and why it failed.
    pub message: String,
}

/// One captured stream: hashed whole, kept whole up to a bound, head and tail beyond it.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Bytes that the process wrote.
    pub bytes: u64,
    /// SHA-256 of all of them.
    pub sha256: Digest,
    /// What is kept.
    pub kept: Kept,
    /// Whether `kept` is less than the whole.
    pub truncated: bool,
}

/// The kept part of a stream.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Small.
    Memory(Vec<u8>),
    /// In a file of the attempt's scratch folder: whole, or head and tail one after the other.
    File {
        /// The file; whoever stores it removes it.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// Where the tail begins, if the file holds head and tail.
        tail_at: Option<u64>,
    },
}
