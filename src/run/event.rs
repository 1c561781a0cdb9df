//! The facts of a run, as the log holds them. Names are `noun.past`; keys are snake_case; absent
//! means unset. The store adds `v seq prev time run` to each when it becomes an entry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{Digest, Epoch, Owner};
use crate::outcome::{ErrorInfo, Verdict};
use crate::runbook::model::{Effect, Kind};
use crate::time::Timestamp;

/// A fact of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// Somebody asked for a run, and it exists from here on.
    #[serde(rename = "run.requested")]
    RunRequested(Box<RunRequested>),
    /// What will be done, frozen.
    #[serde(rename = "plan.created")]
    PlanCreated {
        /// SHA-256 of the plan's canonical JSON: what approvers sign.
        plan_digest: Digest,
        /// Names of the targets.
        targets: Vec<String>,
        /// The plan.
        plan: Stored,
    },
    /// The first step may start.
    #[serde(rename = "run.started")]
    RunStarted {},
    /// An attempt begins: durable before anything is spawned.
    #[serde(rename = "step.started")]
    StepStarted {
        /// The step's id, with its item where it fans out.
        step: String,
        /// Counted from 1.
        attempt: u32,
        /// The action's name.
        action: String,
        /// What it does to the world.
        effect: Effect,
        /// Where; absent: the agent's own host, or no place at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// The rendered action, as [`crate::runbook::params::Resolved`] has it.
        spec: Stored,
        /// The plan that it belongs to.
        plan_digest: Digest,
    },
    /// An attempt ended, or its end is unknown.
    #[serde(rename = "step.finished")]
    StepFinished(Box<StepFinished>),
    /// No further attempt of a step follows, since the run ends: what its last one said stands.
    #[serde(rename = "step.given_up")]
    StepGivenUp {
        /// Which.
        step: String,
    },
    /// A step will not run.
    #[serde(rename = "step.skipped")]
    StepSkipped {
        /// Which.
        step: String,
        /// `when`, `needs`, `ended`, `stopped`, `not_taken`, `done_by_person`.
        reason: String,
    },
    /// Somebody wants the run to end in order.
    #[serde(rename = "run.cancel_requested")]
    CancelRequested {
        /// Principal.
        by: String,
        /// `signal`, `cli`, `api`.
        via: String,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
    },
    /// The run's own deadline struck.
    #[serde(rename = "run.timed_out")]
    RunTimedOut {},
    /// The steps are over; rollbacks, or `finally`, begin.
    #[serde(rename = "phase.entered")]
    PhaseEntered {
        /// `rollback` or `finally`.
        phase: String,
    },
    /// The run waits for a person to decide.
    #[serde(rename = "run.suspended")]
    RunSuspended {
        /// The step that it is about.
        step: String,
        /// `failed`, `interrupted`, `rollback_failed`.
        reason: String,
        /// Steps whose rollbacks have not run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left_to_undo: Vec<String>,
    },
    /// A person decided.
    #[serde(rename = "run.resumed")]
    RunResumed {
        /// What.
        action: ResumeAction,
        /// The step that it is about; absent for `stop` and for going on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// Principal.
        by: String,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
    },
    /// Another process took the run over from one that died or let it go.
    #[serde(rename = "run.taken_over")]
    RunTakenOver {
        /// The new epoch.
        epoch: Epoch,
        /// The new owner.
        owner: Owner,
        /// Processes of the dead owner that were ended, and those that could not be.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ended: Vec<String>,
    },
    /// Rollbacks that will never run, and the point of no return that made them void.
    #[serde(rename = "rollback.voided")]
    RollbackVoided {
        /// The step with `point_of_no_return`.
        by: String,
        /// The steps whose rollbacks are void.
        steps: Vec<String>,
    },
    /// A person confirmed a `manual` step.
    #[serde(rename = "manual.confirmed")]
    ManualConfirmed {
        /// Which.
        step: String,
        /// Principal.
        by: String,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        /// By name.
        #[serde(default)]
        answers: Map<String, Value>,
    },
    /// The end.
    #[serde(rename = "run.finished")]
    RunFinished(Box<RunFinished>),
}

/// Who asked for which runbook with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRequested {
    /// Name, version, digest, kind, title.
    pub runbook: RunbookRef,
    /// The runbook's whole text: recovery reads it from here, never from a file.
    pub source: Stored,
    /// Texts of the files that its scripts name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Stored>,
    /// Resolved inputs, defaults included: an object.
    pub inputs: Stored,
    /// Who.
    pub requester: Requester,
    /// By what: `{ kind: cli }`.
    pub trigger: Map<String, Value>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Ticket number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// First owner.
    pub owner: Owner,
    /// 1.
    pub epoch: Epoch,
}

/// A runbook, named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunbookRef {
    /// Its name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// What it is for.
    pub kind: Kind,
    /// For people.
    pub title: String,
    /// The path by which it was given, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Who asked, and how we know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The principal.
    pub principal: String,
    /// `unix`, later `token`, `oidc`, `certificate`.
    pub method: String,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFinished {
    /// The step's id, with its item where it fans out.
    pub step: String,
    /// Counted from 1.
    pub attempt: u32,
    /// What became of it.
    pub status: Status,
    /// What it found.
    pub verdict: Verdict,
    /// Whether it changed something.
    pub changed: bool,
    /// Monotonic time that the attempt took.
    pub duration_seconds: f64,
    /// The action's own fields, `value` included where it is not just the text of `stdout`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub result: Map<String, Value>,
    /// Larger result fields, which stand beside the entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub large: BTreeMap<String, Stored>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorInfo>,
    /// What is to be said of a step that succeeded: why it warns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Standard output; absent if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Output>,
    /// Standard error; absent if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Output>,
    /// Published by the step.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
    /// Kept for trends.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<String, f64>,
    /// When the next attempt begins; absent: this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// `done` held: nothing was done, nothing is to be undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_done: bool,
    /// It never began: nothing is to be undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub did_not_happen: bool,
    /// Processes that could not be ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// What became of a step (spec 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1")]
pub enum Status {
    Succeeded,
    Failed,
    TimedOut,
    Unreachable,
    Skipped,
    Cancelled,
    Interrupted,
    Denied,
}

/// What a person decides about a suspended run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeAction {
    /// Go on where nothing has to be decided.
    Continue,
    /// Run the step again.
    Retry,
    /// Go on as if the step had been skipped.
    Skip,
    /// Rollbacks, `finally`, end.
    Stop,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFinished {
    /// What became of it.
    pub outcome: RunOutcome,
    /// The worst of its steps.
    pub verdict: Verdict,
    /// Monotonic where one process saw the whole run, else wall-clock time.
    pub duration_seconds: f64,
    /// Published by the runbook.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
    /// Why it ended, for people: the failed step's message, `end`'s message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Steps whose rollbacks have not run and will not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_to_undo: Vec<String>,
}

/// What became of a run (spec 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1")]
pub enum RunOutcome {
    Succeeded,
    Degraded,
    Failed,
    Cancelled,
    Interrupted,
    Denied,
}

/// A state of a run (spec 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1")]
pub enum RunState {
    Queued,
    WaitingApproval,
    Running,
    Suspended,
    Finished,
}

/// A value that stands in the entry if it is small, else beside it under its digest. A reader asks
/// the store for the blob; the fold needs it, so it is never pruned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stored {
    /// Beside the entry.
    Blob {
        /// SHA-256 of the bytes.
        blob: Digest,
        /// How many.
        bytes: u64,
    },
    /// In the entry.
    Inline {
        /// The value.
        inline: Value,
    },
}

/// A captured output: content-addressed, so that it can be pruned without breaking the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Bytes that the process wrote.
    pub bytes: u64,
    /// SHA-256 of all of them, redacted.
    pub sha256: Digest,
    /// SHA-256 of what is kept; absent where nothing is (`sensitive`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Digest>,
    /// How many bytes are kept.
    #[serde(default)]
    pub kept_bytes: u64,
    /// Where the tail begins in what is kept, if that is head and tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_at: Option<u64>,
    /// Whether less than the whole is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}
