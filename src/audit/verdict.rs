//! What verification says: a failure with a code that never changes, or a level of trust.

use std::fmt;

/// What is wrong, in words that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is explained by `Code::meaning`")]
pub enum Code {
    Leaf,
    Root,
    Seq,
    Trunc,
    Sig,
    Key,
    Epoch,
    Origin,
    Fork,
    Rollback,
    Quorum,
    Approval,
    Intent,
    Attest,
    Blob,
    Redact,
    Format,
    Canon,
    Bundle,
    Index,
}

impl Code {
    /// `E_LEAF` and so on.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Leaf => "E_LEAF",
            Code::Root => "E_ROOT",
            Code::Seq => "E_SEQ",
            Code::Trunc => "E_TRUNC",
            Code::Sig => "E_SIG",
            Code::Key => "E_KEY",
            Code::Epoch => "E_EPOCH",
            Code::Origin => "E_ORIGIN",
            Code::Fork => "E_FORK",
            Code::Rollback => "E_ROLLBACK",
            Code::Quorum => "E_QUORUM",
            Code::Approval => "E_APPROVAL",
            Code::Intent => "E_INTENT",
            Code::Attest => "E_ATTEST",
            Code::Blob => "E_BLOB",
            Code::Redact => "E_REDACT",
            Code::Format => "E_FORMAT",
            Code::Canon => "E_CANON",
            Code::Bundle => "E_BUNDLE",
            Code::Index => "E_INDEX",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The log is not what was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// What is wrong.
    pub code: Code,
    /// The first entry that shows it, where one does.
    pub seq: Option<u64>,
    /// For people.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "{} at entry {seq}: {}", self.code, self.message),
            None => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

/// Shorthand for a failure.
pub(crate) fn failure(code: Code, seq: Option<u64>, message: impl Into<String>) -> Failure {
    Failure { code, seq, message: message.into() }
}

/// How much the verdict is worth: what an attacker would have needed to deceive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The files agree with each other: bit rot and careless edits are out.
    L0,
    /// A key that came by another way has signed: forging takes that key.
    L1,
    /// A head that came by another way is a part: nothing below it was rewritten, even with the key.
    L2,
    /// Witnesses have signed: nobody is shown another log.
    L3,
    /// Keys were rotated and wiped: a stolen key rewrites nothing that is older.
    L4,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
