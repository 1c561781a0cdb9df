//! The state of a run: nothing but the fold of its events. [`Run::apply`] is total: what the log
//! says happened, happened; whether it may happen is decided before, in [`super::decide`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::event::{
    Event, ResumeAction, RunFinished, RunOutcome, RunRequested, RunState, Status, StepFinished,
    Stored,
};
use super::graph::{Graph, ListKind, NodeIx};
use crate::id::{Digest, Epoch, Owner, RunId};
use crate::outcome::Verdict;
use crate::runbook::model::{Action, OnFailure, OnInterrupt};
use crate::time::Timestamp;

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Its steps.
    pub graph: Arc<Graph>,
    /// Who asked for what.
    pub requested: Arc<RunRequested>,
    /// The inputs, defaults included.
    pub inputs: Arc<Map<String, Value>>,
    /// The texts of the files that its scripts name.
    pub files: Arc<BTreeMap<String, String>>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The frozen plan, once made.
    pub plan_digest: Option<Digest>,
    /// When the first step could start.
    pub started_at: Option<Timestamp>,
    /// Which part is under way.
    pub phase: Phase,
    /// Why nothing new of `steps` may start, once that is so.
    pub stopping: Option<Cause>,
    /// One state a step, by [`NodeIx`].
    pub steps: Vec<StepState>,
    /// Steps with something to undo, in the order in which they started.
    pub to_undo: Vec<NodeIx>,
    /// Its owner.
    pub epoch: Epoch,
    /// Its owner's process.
    pub owner: Owner,
    /// The last entry of it that has been folded.
    pub last_seq: Option<u64>,
    /// How long it has waited for people; counts in no timeout.
    pub waited: Duration,
    /// Since when it waits for a person, while it does.
    pub waiting_since: Option<Timestamp>,
    /// Its end.
    pub finished: Option<RunFinished>,
    /// Steps by what they are doing, counted as they change.
    pub(super) tally: Tally,
    /// How far each list has come, by [`super::graph::ListIx`].
    pub(super) progress: Vec<Progress>,
}

/// How many steps are in which state: follows from the states, kept so that a run of a thousand
/// steps does not look at all of them for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// With an attempt under way.
    pub(super) busy: usize,
    /// Between two attempts.
    pub(super) pausing: usize,
    /// A person decides.
    pub(super) held: usize,
    /// A person confirms.
    pub(super) waiting: usize,
}

/// How far a list has come: follows from the states of its steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// So many of its first steps are over.
    pub(super) settled: usize,
    /// Steps whose failure lets nothing more of the list start.
    pub(super) stoppers: Vec<NodeIx>,
}

/// Which part of a run is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Asked for; `run.started` is not in the log yet.
    Requested,
    /// `steps`.
    Steps,
    /// Rollbacks, last first.
    RollingBack,
    /// `finally`.
    Finally,
    /// Over.
    Finished,
}

/// Why a run goes no further than it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A step failed.
    Failed(NodeIx),
    /// A step whose end is unknown, with `on_interrupt: fail`.
    Interrupted(NodeIx),
    /// Somebody asked for it.
    Cancelled,
    /// The run's own deadline.
    TimedOut,
    /// A person chose `--stop`.
    Stopped {
        /// Whether the end of a step was unknown then.
        unknown: bool,
    },
    /// An `end` step.
    Ended(NodeIx, RunOutcome),
}

/// What became of a step so far.
#[derive(Clone, Debug, Default)]
pub enum StepState {
    /// Not yet its turn.
    #[default]
    Waiting,
    /// Under way. Of a construct: its steps are.
    Running {
        /// Counted from 1.
        attempt: u32,
        /// When the first attempt started.
        first_started_at: Timestamp,
        /// When this attempt started.
        started_at: Timestamp,
        /// A person has confirmed it (`manual`).
        confirmed: Option<Confirmation>,
        /// The attempt before was interrupted: it may have happened.
        after_interruption: bool,
        /// Of a `switch`: the arm that is under way.
        taken: Option<usize>,
    },
    /// Between two attempts.
    Pausing {
        /// The attempt that comes.
        attempt: u32,
        /// When.
        until: Timestamp,
        /// When the first attempt started.
        first_started_at: Timestamp,
        /// The attempt before was interrupted: it may have happened.
        after_interruption: bool,
        /// What became of the attempt before.
        last: Box<StepEnd>,
    },
    /// A person decides.
    Held {
        /// What became of it so far.
        end: StepEnd,
    },
    /// Over.
    Settled(StepEnd),
}

/// What a person said of a `manual` step.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirmation {
    /// Who.
    pub by: String,
    /// For people.
    pub note: Option<String>,
    /// By name.
    pub answers: Map<String, Value>,
}

/// What became of a step.
#[derive(Clone, Debug)]
pub struct StepEnd {
    /// Its status.
    pub status: Status,
    /// What it found.
    pub verdict: Verdict,
    /// Whether it changed something.
    pub changed: bool,
    /// Attempts made.
    pub attempts: u32,
    /// Why not.
    pub message: Option<String>,
    /// What later steps may read: common fields and the action's own that are read anywhere.
    pub value: Arc<Value>,
    /// Numbers kept for trends.
    pub measures: BTreeMap<String, f64>,
    /// Its failure was dealt with by a `rescue`.
    pub is_rescued: bool,
}

impl StepState {
    /// Whether an effect or a construct of it is under way.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self, StepState::Running { .. } | StepState::Pausing { .. })
    }

    /// What became of it, once it is over.
    #[must_use]
    pub fn end(&self) -> Option<&StepEnd> {
        match self {
            StepState::Settled(end) => Some(end),
            _ => None,
        }
    }
}

impl Status {
    /// Whether a step that ended so is taken as having failed.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Status::Succeeded | Status::Skipped)
    }
}

/// Finds the bytes that an event names by digest. On the live path they were made a moment ago, on
/// replay they come from the store.
pub type Blobs<'a> = dyn Fn(&Digest) -> Option<Vec<u8>> + 'a;

/// A value that stands in an entry or beside it; `None` if it was pruned or is no JSON.
#[must_use]
pub fn fetch(stored: &Stored, blobs: &Blobs<'_>) -> Option<Value> {
    match stored {
        Stored::Inline { inline } => Some(inline.clone()),
        Stored::Blob { blob, .. } => serde_json::from_slice(&blobs(blob)?).ok(),
    }
}

impl Run {
    /// The run that `requested` asks for.
    #[must_use]
    pub fn new(
        id: RunId,
        graph: Arc<Graph>,
        files: Arc<BTreeMap<String, String>>,
        inputs: Map<String, Value>,
        requested: RunRequested,
        at: Timestamp,
    ) -> Run {
        let progress = vec![Progress::default(); graph.lists.len()];
        Run {
            id,
            steps: vec![StepState::Waiting; graph.nodes.len()],
            graph,
            files,
            created_at: at,
            plan_digest: None,
            started_at: None,
            phase: Phase::Requested,
            stopping: None,
            to_undo: Vec::new(),
            epoch: requested.epoch,
            owner: requested.owner.clone(),
            requested: Arc::new(requested),
            inputs: Arc::new(inputs),
            last_seq: None,
            waited: Duration::ZERO,
            waiting_since: None,
            finished: None,
            tally: Tally::default(),
            progress,
        }
    }

    /// A step's state.
    #[must_use]
    pub fn state_of(&self, ix: NodeIx) -> &StepState {
        &self.steps[ix.0]
    }

    /// The state that the API shows.
    #[must_use]
    pub fn state(&self) -> RunState {
        if self.phase == Phase::Finished {
            return RunState::Finished;
        }
        if self.phase == Phase::Requested {
            return RunState::Queued;
        }
        match &self.tally {
            Tally { busy: 1.., .. } | Tally { pausing: 1.., .. } => RunState::Running,
            Tally { held: 1.., .. } => RunState::Suspended,
            Tally { waiting: 1.., .. } => RunState::WaitingApproval,
            Tally { .. } => RunState::Running,
        }
    }

    /// The only way to a new state of a step: what is counted follows.
    fn put(&mut self, ix: NodeIx, state: StepState) {
        let is_construct = self.is_construct(ix);
        let is_manual = self.is_manual(ix);
        let count = |tally: &mut Tally, state: &StepState, by: isize| {
            let counter = match state {
                StepState::Running { .. } if is_construct => return,
                StepState::Running { confirmed: None, .. } if is_manual => &mut tally.waiting,
                StepState::Running { .. } if is_manual => return,
                StepState::Running { .. } => &mut tally.busy,
                StepState::Pausing { .. } => &mut tally.pausing,
                StepState::Held { .. } => &mut tally.held,
                StepState::Waiting | StepState::Settled(_) => return,
            };
            *counter = counter.wrapping_add_signed(by);
        };
        count(&mut self.tally, &self.steps[ix.0], -1);
        count(&mut self.tally, &state, 1);
        self.steps[ix.0] = state;
        let list = self.graph.node(ix).list;
        let nodes = &self.graph.list(list).nodes;
        let progress = &mut self.progress[list.0];
        let at = self.graph.node(ix).position;
        let is_settled = |ix: &NodeIx| matches!(self.steps[ix.0], StepState::Settled(_));
        if !is_settled(&ix) {
            progress.settled = progress.settled.min(at);
        }
        while nodes.get(progress.settled).is_some_and(is_settled) {
            progress.settled += 1;
        }
        let step = self.graph.step(ix);
        let stops = |end: &StepEnd| {
            end.status.is_failure()
                && (step.on_failure != OnFailure::Continue
                    || (end.status == Status::Interrupted
                        && step.on_interrupt == OnInterrupt::Fail))
        };
        progress.stoppers.retain(|node| *node != ix);
        if self.steps[ix.0].end().is_some_and(stops) {
            progress.stoppers.push(ix);
        }
    }

    /// Whether a person must decide before anything new starts.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.tally.held > 0
    }

    /// Whether the step is a `manual`.
    #[must_use]
    pub fn is_manual(&self, ix: NodeIx) -> bool {
        matches!(self.graph.step(ix).action, Action::Manual(_))
    }

    /// Whether the step holds others and does nothing itself.
    #[must_use]
    pub fn is_construct(&self, ix: NodeIx) -> bool {
        matches!(self.graph.step(ix).action, Action::Block(_) | Action::Switch(_))
    }

    /// The moment at which the run's own deadline strikes; `None` while it waits for people or
    /// has none.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let timeout = self.graph.runbook.timeout?;
        if self.waiting_since.is_some() || self.phase != Phase::Steps || self.stopping.is_some() {
            return None;
        }
        Some(self.started_at?.after(timeout).after(self.waited))
    }

    /// Steps whose rollbacks would run now, in the order in which they would.
    #[must_use]
    pub fn undo_order(&self) -> Vec<NodeIx> {
        let mut left: Vec<NodeIx> = self.to_undo.clone();
        left.reverse();
        left.retain(|ix| !self.is_undone(*ix));
        left
    }

    /// Their ids.
    #[must_use]
    pub fn left_to_undo(&self) -> Vec<String> {
        self.undo_order().iter().map(|ix| self.graph.step(*ix).id.clone()).collect()
    }

    /// Whether every step of its rollback is over.
    #[must_use]
    pub fn is_undone(&self, ix: NodeIx) -> bool {
        let Some(list) = self.graph.node(ix).rollback else { return true };
        let nodes = &self.graph.list(list).nodes;
        nodes.iter().all(|node| matches!(self.state_of(*node), StepState::Settled(_)))
    }

    /// Takes a fact in. Total and blind to time and rights: an event that makes no sense in this
    /// state (which no decision of ours writes) changes nothing.
    pub fn apply(&mut self, event: &Event, at: Timestamp, blobs: &Blobs<'_>) {
        match event {
            Event::RunRequested(_) => {}
            Event::PlanCreated { plan_digest, .. } => self.plan_digest = Some(*plan_digest),
            Event::RunStarted {} => {
                self.started_at = Some(at);
                self.phase = Phase::Steps;
            }
            Event::StepStarted { step, attempt, spec, .. } => {
                let taken = match spec {
                    Stored::Inline { inline } => inline.get("taken").and_then(Value::as_u64),
                    Stored::Blob { .. } => None,
                };
                self.step_started(step, *attempt, taken.map(|arm| arm as usize), at);
            }
            Event::StepFinished(finished) => self.step_finished(finished, at, blobs),
            Event::StepGivenUp { step } => self.step_given_up(step),
            Event::StepSkipped { step, reason } => self.step_skipped(step, reason),
            Event::CancelRequested { .. } => self.stop(Cause::Cancelled),
            Event::RunTimedOut {} => self.stop(Cause::TimedOut),
            Event::RunSuspended { step, .. } => self.hold(step),
            Event::RunResumed { action, step, .. } => self.resume(*action, step.as_deref(), at),
            Event::RunTakenOver { epoch, owner, .. } => {
                self.epoch = *epoch;
                self.owner = owner.clone();
            }
            Event::RollbackVoided { steps, .. } => {
                let void: Vec<NodeIx> = steps.iter().filter_map(|id| self.graph.find(id)).collect();
                self.to_undo.retain(|ix| !void.contains(ix));
            }
            Event::ManualConfirmed { step, by, note, answers } => {
                let confirmation =
                    Confirmation { by: by.clone(), note: note.clone(), answers: answers.clone() };
                if let Some(ix) = self.graph.find(step)
                    && let mut state @ StepState::Running { .. } = self.state_of(ix).clone()
                {
                    if let StepState::Running { confirmed, .. } = &mut state {
                        *confirmed = Some(confirmation);
                    }
                    self.put(ix, state);
                }
            }
            Event::PhaseEntered { phase } => {
                if let Some(phase) = Phase::named(phase) {
                    self.phase = phase;
                }
            }
            Event::RunFinished(finished) => {
                self.finished = Some((**finished).clone());
                self.phase = Phase::Finished;
            }
        }
        self.account_waiting(at);
    }

    /// The first cause stands; a cancel after it changes nothing but is in the log.
    fn stop(&mut self, cause: Cause) {
        if self.phase <= Phase::Steps && self.stopping.is_none() {
            self.stopping = Some(cause);
            self.release_held();
        }
    }

    /// Held steps are over as they are: nobody will be asked any more.
    fn release_held(&mut self) {
        while let Some(ix) = self.first_held() {
            if let StepState::Held { end } = self.state_of(ix) {
                let state = StepState::Settled(end.clone());
                self.put(ix, state);
            }
        }
    }

    fn step_started(&mut self, id: &str, attempt: u32, taken: Option<usize>, at: Timestamp) {
        let Some(ix) = self.graph.find(id) else { return };
        let (first_started_at, after_interruption) = match self.state_of(ix) {
            StepState::Pausing { first_started_at, after_interruption, .. } => {
                (*first_started_at, *after_interruption)
            }
            _ => (at, false),
        };
        let state = StepState::Running {
            attempt,
            first_started_at,
            started_at: at,
            confirmed: None,
            after_interruption,
            taken,
        };
        self.put(ix, state);
        if self.graph.node(ix).rollback.is_some() && !self.to_undo.contains(&ix) {
            self.to_undo.push(ix);
        }
    }

    fn step_finished(&mut self, finished: &StepFinished, at: Timestamp, blobs: &Blobs<'_>) {
        let Some(ix) = self.graph.find(&finished.step) else { return };
        let first_started_at = match self.state_of(ix) {
            StepState::Running { first_started_at, .. } => *first_started_at,
            _ => at,
        };
        if finished.was_done || finished.did_not_happen {
            self.to_undo.retain(|node| *node != ix);
        }
        let end = StepEnd {
            status: finished.status,
            verdict: finished.verdict,
            changed: finished.changed,
            attempts: finished.attempt,
            message: finished.error.as_ref().map(|error| error.message.clone()),
            value: Arc::new(self.visible_value(ix, finished, first_started_at, at, blobs)),
            measures: finished.measures.clone(),
            is_rescued: finished.result.get("outcome") == Some(&json!("rescued")),
        };
        if let Some(until) = finished.next_attempt_at {
            let state = StepState::Pausing {
                attempt: finished.attempt + 1,
                until,
                first_started_at,
                after_interruption: finished.status == Status::Interrupted,
                last: Box::new(end),
            };
            self.put(ix, state);
            return;
        }
        self.settle(ix, end);
    }

    fn step_given_up(&mut self, id: &str) {
        let Some(ix) = self.graph.find(id) else { return };
        if let StepState::Pausing { last, .. } = self.state_of(ix) {
            let end = (**last).clone();
            self.settle(ix, end);
        }
    }

    fn settle(&mut self, ix: NodeIx, end: StepEnd) {
        let cause = self.cause_of(ix, &end);
        let state = StepState::Settled(end);
        self.put(ix, state);
        if let Some(cause) = cause {
            self.stop(cause);
        }
    }

    /// Whether the end of this step stops the run: only where no construct stands between it and
    /// the run, since a construct decides for itself.
    fn cause_of(&self, ix: NodeIx, end: &StepEnd) -> Option<Cause> {
        let step = self.graph.step(ix);
        if let Action::End(action) = &step.action
            && end.status == Status::Succeeded
        {
            use crate::runbook::model::EndOutcome;
            let outcome = match action.outcome {
                EndOutcome::Succeeded => RunOutcome::Succeeded,
                EndOutcome::Degraded => RunOutcome::Degraded,
                EndOutcome::Failed => RunOutcome::Failed,
            };
            return Some(Cause::Ended(ix, outcome));
        }
        let is_main = self.graph.list(self.graph.node(ix).list).kind == ListKind::Main;
        if !is_main || !end.status.is_failure() {
            return None;
        }
        match (end.status, step.on_interrupt, step.on_failure) {
            (Status::Interrupted, OnInterrupt::Fail, _) => Some(Cause::Interrupted(ix)),
            // A person is asked: `run.suspended` follows in the same append.
            (Status::Interrupted, _, _) => None,
            (_, _, OnFailure::Stop) => Some(Cause::Failed(ix)),
            (_, _, OnFailure::Continue | OnFailure::Suspend) => None,
        }
    }

    fn step_skipped(&mut self, id: &str, reason: &str) {
        let Some(ix) = self.graph.find(id) else { return };
        let attempts = match self.state_of(ix) {
            StepState::Held { end } => end.attempts,
            _ => 0,
        };
        // What a person passed over is not simply well.
        let verdict = if reason == "person" { Verdict::Warning } else { Verdict::Ok };
        let state = StepState::Settled(StepEnd {
            status: Status::Skipped,
            verdict,
            changed: false,
            attempts,
            message: None,
            value: Arc::new(json!({ "status": "skipped", "verdict": verdict,
                "changed": false, "attempts": attempts, "skip_reason": reason })),
            measures: BTreeMap::new(),
            is_rescued: false,
        });
        self.put(ix, state);
    }

    fn hold(&mut self, id: &str) {
        let Some(ix) = self.graph.find(id) else { return };
        if let StepState::Settled(end) = self.state_of(ix) {
            let state = StepState::Held { end: end.clone() };
            self.put(ix, state);
        }
    }

    fn resume(&mut self, action: ResumeAction, id: Option<&str>, at: Timestamp) {
        let ix = id.and_then(|id| self.graph.find(id));
        match (action, ix) {
            (ResumeAction::Retry, Some(ix)) => self.try_again(ix, at),
            // `step.skipped` follows in the same append.
            (ResumeAction::Skip, _) => {}
            (ResumeAction::Continue, _) => {
                for ix in (0..self.steps.len()).map(NodeIx) {
                    if self.repeats_by_itself(ix) {
                        self.try_again(ix, at);
                    }
                }
            }
            (ResumeAction::Stop, _) => {
                let unknown = self.steps.iter().any(|state| {
                    matches!(state, StepState::Held { end } if end.status == Status::Interrupted)
                });
                self.release_held();
                match self.phase {
                    Phase::Requested | Phase::Steps => self.stop(Cause::Stopped { unknown }),
                    // The person gives the rest of the undoing up.
                    Phase::RollingBack => self.phase = Phase::Finally,
                    Phase::Finally | Phase::Finished => {}
                }
            }
            (ResumeAction::Retry, None) => {}
        }
    }

    fn try_again(&mut self, ix: NodeIx, at: Timestamp) {
        if let StepState::Held { end } = self.state_of(ix) {
            let state = StepState::Pausing {
                attempt: end.attempts + 1,
                until: at,
                first_started_at: at,
                after_interruption: end.status == Status::Interrupted,
                last: Box::new(end.clone()),
            };
            self.put(ix, state);
        }
    }

    /// Whether a held step was interrupted and its runbook lets it run again.
    pub(super) fn repeats_by_itself(&self, ix: NodeIx) -> bool {
        let repeats = super::decide::repeats_after_interruption(self.graph.step(ix));
        let state = self.state_of(ix);
        repeats && matches!(state, StepState::Held { end } if end.status == Status::Interrupted)
    }

    fn account_waiting(&mut self, at: Timestamp) {
        let waits = matches!(self.state(), RunState::Suspended | RunState::WaitingApproval);
        match (self.waiting_since, waits) {
            (None, true) => self.waiting_since = Some(at),
            (Some(since), false) => {
                self.waited += at.since(since);
                self.waiting_since = None;
            }
            _ => {}
        }
    }

    /// What later steps see as `steps.<id>`: all of it only where it is read anywhere.
    fn visible_value(
        &self,
        ix: NodeIx,
        finished: &StepFinished,
        first_started_at: Timestamp,
        at: Timestamp,
        blobs: &Blobs<'_>,
    ) -> Value {
        let node = self.graph.node(ix);
        if node.read_fields.is_empty() {
            return Value::Null;
        }
        super::scope::visible(node, finished, first_started_at, at, blobs)
    }
}

impl Phase {
    /// As the log writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Requested => "requested",
            Phase::Steps => "steps",
            Phase::RollingBack => "rollback",
            Phase::Finally => "finally",
            Phase::Finished => "finished",
        }
    }

    fn named(text: &str) -> Option<Phase> {
        [Phase::Requested, Phase::Steps, Phase::RollingBack, Phase::Finally, Phase::Finished]
            .into_iter()
            .find(|phase| phase.name() == text)
    }
}
