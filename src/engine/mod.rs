//! The loop that owns a run: a fact comes in, the core decides, the store makes it durable, and
//! only then effects start. Everything that performs actions stands behind [`Perform`], everything
//! that tells the time behind [`crate::time::Clock`]: the two seams of the tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::action::{Cx, Live};
use crate::id::RunId;
use crate::outcome::Outcome;
use crate::run::Rejected;
use crate::run::event::{Event, Requester, ResumeAction, RunOutcome};
use crate::runbook::params::Resolved;
use crate::store::{Store, StoreError};
use crate::time::{Clock, Timestamp};

mod drive;
mod load;
pub mod owner;
mod prepare;
mod step;
mod sweep;

pub use drive::{Begun, wires};
pub use load::{Loaded, load, show, show_end, show_loaded, told_state};
pub use prepare::{Prepared, Refused, foresee, prepare, read_files};

/// Performs actions.
pub trait Perform: Send + Sync + 'static {
    /// One attempt. Never panics on what it finds.
    fn perform<'a>(
        &'a self,
        action: &'a Resolved,
        cx: &'a Cx,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

    /// Ends the processes that a dead owner of `run` left, by what its scratch folder says of
    /// them; returns them in words.
    fn end_leftovers(&self, scratch: &std::path::Path, run: RunId) -> Vec<String>;
}

/// Performs actions on this host, for real.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

impl Perform for ThisHost {
    fn perform<'a>(
        &'a self,
        action: &'a Resolved,
        cx: &'a Cx,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(crate::action::perform(action, cx))
    }

    fn end_leftovers(&self, scratch: &std::path::Path, run: RunId) -> Vec<String> {
        crate::action::leftover::end_leftovers(scratch, run)
    }
}

/// What runs runs.
#[derive(Clone)]
pub struct Engine {
    /// Where facts go.
    pub store: Arc<Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What performs actions.
    pub perform: Arc<dyn Perform>,
    /// How it waits for a commit.
    pub commit: Commit,
}

/// How a run waits until its facts are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The thread waits: least delay where one run is all there is, as on a command line.
    InPlace,
    /// The run waits while others go on, and shares its commit with theirs.
    Queued,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Who wants a run, and why.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who.
    pub requester: Requester,
    /// By what: `{ "kind": "cli" }`.
    pub trigger: Map<String, Value>,
    /// For people.
    pub reason: Option<String>,
    /// Ticket number.
    pub ticket: Option<String>,
}

/// What a person says to a run under way.
#[derive(Clone, Debug)]
pub enum Control {
    /// End in order: the running steps, rollbacks, `finally`.
    Cancel {
        /// Principal.
        by: String,
        /// `signal`, `cli`, `api`.
        via: String,
    },
    /// Stop at once.
    Abandon {
        /// Principal.
        by: String,
    },
    /// A `manual` step was done.
    Confirm {
        /// Which.
        step: String,
        /// Principal.
        by: String,
        /// For people.
        note: Option<String>,
        /// By name.
        answers: Map<String, Value>,
    },
    /// What to do about a suspended run.
    Resume {
        /// What.
        action: ResumeAction,
        /// Absent: the step that is held.
        step: Option<String>,
        /// Principal.
        by: String,
        /// For people.
        comment: Option<String>,
    },
    /// Nobody waits any more: leave the run as it stands once nothing of it is under way.
    Leave,
}

/// What people watch of a run: facts are never dropped, the rest may be.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A fact, now durable.
    Fact {
        /// Its place in the log.
        seq: u64,
        /// When.
        time: Timestamp,
        /// What.
        event: Event,
    },
    /// An attempt is under way; `live` says what it printed last.
    Attempt {
        /// The step's id.
        step: String,
        /// Counted from 1.
        attempt: u32,
        /// Shared with the attempt.
        live: Arc<Live>,
    },
    /// A person must confirm this `manual` step.
    Manual {
        /// The step's id.
        step: String,
        /// What to do.
        instructions: String,
        /// Names of the answers that are asked for, each with its type in words.
        ask: Vec<(String, String)>,
    },
    /// A control was refused; nothing has changed.
    Refused {
        /// Why.
        why: Rejected,
    },
}

/// How driving a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is over.
    Finished(RunOutcome),
    /// It waits for a person: the step that is held, and why.
    Suspended {
        /// The step's id.
        step: String,
    },
    /// It waits for a confirmation or an approval, and nobody waits with it.
    Waiting {
        /// The step's id.
        step: String,
    },
    /// Another process owns it now.
    TakenOver,
}

/// Why a run could not be driven further. Whatever was acknowledged is in the log.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No run has this id.
    #[error("no run `{0}` is in the log")]
    UnknownRun(String),
    /// Several runs begin with this id.
    #[error("`{0}` is the beginning of several runs' ids: give more of it")]
    Ambiguous(String),
    /// Its owner lives.
    #[error("run {run} is under way in process {pid} on {host}")]
    Owned {
        /// Which.
        run: RunId,
        /// Its owner's process id.
        pid: u32,
        /// Its owner's host.
        host: String,
    },
    /// The state does not allow it.
    #[error("cannot do that to run {run}")]
    Rejected {
        /// Which.
        run: RunId,
        /// Why.
        source: Rejected,
    },
    /// What the log holds of the run cannot be read back.
    #[error("failed to read run {run} back from the log: {why}")]
    Unreadable {
        /// Which.
        run: RunId,
        /// Why.
        why: String,
    },
    /// Its scratch folder.
    #[error("failed to prepare the folder of run {run}")]
    Scratch {
        /// Which.
        run: RunId,
        /// Why.
        source: std::io::Error,
    },
}

/// What a run is driven with.
#[derive(Debug)]
pub struct Wires {
    /// What people say.
    pub control: mpsc::UnboundedReceiver<Control>,
    /// What they are told.
    pub notices: mpsc::UnboundedSender<Notice>,
    /// Whether to stay while the run waits for a person.
    pub waits: bool,
}

/// Texts of the files that a runbook's scripts name, by path as written.
pub type Files = BTreeMap<String, String>;

/// A runbook file and what belongs to it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The path by which it was given.
    pub path: Option<PathBuf>,
}
