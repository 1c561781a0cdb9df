//! What an incoming fact does to a run: [`Run::advance`] decides, applies, and goes on with what
//! is ready, so that the end of one step and the start of the next are one append.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::event::{Event, ResumeAction, Status, StepFinished, Stored};
use super::graph::{ListKind, NodeIx};
use super::judge::{Judged, Report, judge};
use super::state::{Cause, Phase, Run, StepState};
use crate::id::{Digest, Epoch, Owner};
use crate::limits::ENTRY_FIELD_BYTES_MAX;
use crate::outcome::{End, ErrorInfo, Outcome, Verdict};
use crate::runbook::model::{Action, Effect, OnFailure, OnInterrupt, Step};
use crate::runbook::params::Resolved;
use crate::runbook::scope::Scope;
use crate::time::Timestamp;

/// Everything that can happen to a run.
#[derive(Clone, Debug)]
pub enum Input {
    /// The plan is made: begin.
    Begin {
        /// Its digest.
        plan_digest: Digest,
        /// Its canonical JSON.
        plan: Vec<u8>,
        /// Names of the targets.
        targets: Vec<String>,
    },
    /// An attempt came back.
    AttemptEnded {
        /// Which step.
        node: NodeIx,
        /// Which attempt.
        attempt: u32,
        /// With what.
        report: Box<Report>,
        /// `done` held: the action was not performed.
        was_done: bool,
        /// Monotonic time that it took.
        duration: Duration,
    },
    /// Somebody wants the run to end in order.
    Cancel {
        /// Principal.
        by: String,
        /// `signal`, `cli`, `api`.
        via: String,
        /// For people.
        comment: Option<String>,
    },
    /// Stop at once: nothing is waited for, nothing undone.
    Abandon {
        /// Principal.
        by: String,
    },
    /// Time has passed.
    Tick,
    /// A person decides about a suspended run, or lets one go on.
    Resume {
        /// What.
        action: ResumeAction,
        /// The step that it is about; absent: the only one that is held.
        step: Option<String>,
        /// Principal.
        by: String,
        /// For people.
        comment: Option<String>,
    },
    /// A person confirms a `manual` step.
    Confirm {
        /// Which.
        step: String,
        /// Principal.
        by: String,
        /// For people.
        note: Option<String>,
        /// By name, as given.
        answers: Map<String, Value>,
    },
    /// The owner is dead or let the run go: this process owns it from now on.
    TakeOver {
        /// One more than the run's.
        epoch: Epoch,
        /// This process.
        owner: Owner,
        /// What of the dead owner was ended, in words.
        ended: Vec<String>,
        /// Whether nothing starts yet: whoever resumes the run lets it go on.
        holds: bool,
    },
}

/// An input that is not legal in this state; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The run is over.
    #[error("the run is finished")]
    Finished,
    /// It has begun already.
    #[error("the run has begun already")]
    Begun,
    /// Rollbacks or `finally` are under way, or it stops already.
    #[error("the run is ending already")]
    Ending,
    /// No such step.
    #[error("the runbook has no step `{0}`")]
    UnknownStep(String),
    /// The attempt is not the one under way.
    #[error("step `{step}` has no attempt {attempt} under way")]
    NotUnderWay {
        /// Which.
        step: String,
        /// Which.
        attempt: u32,
    },
    /// The step waits for nobody's decision.
    #[error("step `{0}` waits for no decision")]
    NotHeld(String),
    /// A decision is needed first.
    #[error("the run is suspended at step `{0}`: choose retry, skip or stop")]
    NeedsDecision(String),
    /// Nothing is suspended.
    #[error("the run is not suspended: there is nothing to decide")]
    NotSuspended,
    /// The step waits for nobody's confirmation.
    #[error("step `{0}` waits for no confirmation")]
    NotConfirmable(String),
    /// Answers that do not fit.
    #[error("{0}")]
    BadAnswers(String),
    /// A takeover that is not newer than the owner.
    #[error("epoch {0} is not newer than the run's")]
    StaleEpoch(u64),
}

/// One attempt that is to be performed.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which step.
    pub node: NodeIx,
    /// The step.
    pub step: std::sync::Arc<Step>,
    /// Counted from 1.
    pub attempt: u32,
    /// What is done.
    pub action: Resolved,
    /// The `done` check's action, rendered.
    pub done: Option<Resolved>,
    /// In which it was rendered; checks are judged in it.
    pub scope: Scope,
}

/// What follows from an input: facts to be made durable, then effects.
#[derive(Debug, Default)]
pub struct Advance {
    /// The facts, in order.
    pub events: Vec<Event>,
    /// What they name by digest.
    pub blobs: Vec<(Digest, Vec<u8>)>,
    /// Attempts to start, once the facts are durable.
    pub start: Vec<Attempt>,
    /// Steps whose attempt must end, in order.
    pub cancel: Vec<NodeIx>,
}

/// A run in the middle of an advance: the facts so far, applied one by one.
#[derive(Debug)]
pub(super) struct Moving<'a> {
    pub(super) run: &'a mut Run,
    pub(super) now: Timestamp,
    pub(super) out: Advance,
    /// Outputs that came with the report: found by digest like any blob.
    pub(super) outputs: Vec<(Digest, Vec<u8>)>,
    /// Nothing starts: the run has no owner that would perform it.
    pub(super) holds: bool,
}

impl Run {
    /// Takes `input` in at `now`: decides which facts it makes, applies them, and goes on with
    /// whatever is ready then. Pure: clock and log are the caller's, who appends the facts before
    /// it carries out the effects.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the input is not legal in this state; nothing has changed then.
    pub fn advance(&mut self, input: Input, now: Timestamp) -> Result<Advance, Rejected> {
        self.admit(&input)?;
        let mut moving =
            Moving { run: self, now, out: Advance::default(), outputs: Vec::new(), holds: false };
        moving.take(input)?;
        if !moving.holds {
            moving.settle();
        }
        Ok(moving.out)
    }

    /// Whether `input` is legal in this state: the table of all pairs.
    fn admit(&self, input: &Input) -> Result<(), Rejected> {
        if self.phase == Phase::Finished {
            return Err(Rejected::Finished);
        }
        match input {
            Input::Begin { .. } if self.phase != Phase::Requested => Err(Rejected::Begun),
            Input::AttemptEnded { node, attempt, .. } => match self.state_of(*node) {
                StepState::Running { attempt: now, confirmed: None, .. }
                    if now == attempt && !self.is_construct(*node) && !self.is_manual(*node) =>
                {
                    Ok(())
                }
                _ => Err(Rejected::NotUnderWay {
                    step: self.graph.step(*node).id.clone(),
                    attempt: *attempt,
                }),
            },
            Input::Cancel { .. } if self.phase > Phase::Steps || self.stopping.is_some() => {
                Err(Rejected::Ending)
            }
            Input::TakeOver { epoch, .. } if *epoch <= self.epoch => {
                Err(Rejected::StaleEpoch(epoch.0))
            }
            Input::Resume { action, step, .. } => self.admit_resume(*action, step.as_deref()),
            Input::Confirm { step, .. } => {
                let ix = self.known(step)?;
                match self.state_of(ix) {
                    StepState::Running { confirmed: None, .. } if self.is_manual(ix) => Ok(()),
                    _ => Err(Rejected::NotConfirmable(step.clone())),
                }
            }
            Input::Begin { .. }
            | Input::Cancel { .. }
            | Input::Abandon { .. }
            | Input::Tick
            | Input::TakeOver { .. } => Ok(()),
        }
    }

    fn known(&self, id: &str) -> Result<NodeIx, Rejected> {
        self.graph.find(id).ok_or_else(|| Rejected::UnknownStep(id.to_owned()))
    }

    fn admit_resume(&self, action: ResumeAction, step: Option<&str>) -> Result<(), Rejected> {
        let held = self.first_held();
        match (action, step) {
            (ResumeAction::Continue, _) => match self.first_undecided() {
                Some(ix) => Err(Rejected::NeedsDecision(self.graph.step(ix).id.clone())),
                None => Ok(()),
            },
            (ResumeAction::Stop, _) => Ok(()),
            (ResumeAction::Retry | ResumeAction::Skip, Some(id)) => {
                let ix = self.known(id)?;
                match self.state_of(ix) {
                    StepState::Held { .. } => Ok(()),
                    _ => Err(Rejected::NotHeld(id.to_owned())),
                }
            }
            (ResumeAction::Retry | ResumeAction::Skip, None) => {
                held.map(|_| ()).ok_or(Rejected::NotSuspended)
            }
        }
    }

    /// The first step about which a person must decide.
    #[must_use]
    pub fn first_held(&self) -> Option<NodeIx> {
        if self.tally.held == 0 {
            return None;
        }
        let held = |state: &StepState| matches!(state, StepState::Held { .. });
        self.steps.iter().position(held).map(NodeIx)
    }

    /// The first step about which only a person can decide: one that may be repeated is not.
    fn first_undecided(&self) -> Option<NodeIx> {
        let held = |ix: &NodeIx| matches!(self.state_of(*ix), StepState::Held { .. });
        (0..self.steps.len()).map(NodeIx).find(|ix| held(ix) && !self.repeats_by_itself(*ix))
    }

    /// Steps with an attempt under way.
    #[must_use]
    pub fn under_way(&self) -> Vec<(NodeIx, u32)> {
        let attempts = self.steps.iter().enumerate().filter_map(|(ix, state)| match state {
            StepState::Running { attempt, .. } => Some((NodeIx(ix), *attempt)),
            _ => None,
        });
        attempts.filter(|(ix, _)| !self.is_construct(*ix) && !self.is_manual(*ix)).collect()
    }

    /// Whether the step undoes or cleans up: it runs although the run is stopping.
    #[must_use]
    pub fn is_cleanup(&self, ix: NodeIx) -> bool {
        let mut at = ix;
        loop {
            match self.graph.list(self.graph.node(at).list).kind {
                ListKind::Finally | ListKind::BlockFinally(_) | ListKind::Rollback(_) => {
                    return true;
                }
                ListKind::Main => return false,
                ListKind::Block(holder) | ListKind::Rescue(holder) | ListKind::Arm(holder, _) => {
                    at = holder
                }
            }
        }
    }

    /// Whether the step is part of a rollback.
    #[must_use]
    pub fn is_undoing(&self, ix: NodeIx) -> bool {
        let mut at = Some(ix);
        while let Some(here) = at {
            if matches!(self.graph.list(self.graph.node(here).list).kind, ListKind::Rollback(_)) {
                return true;
            }
            at = self.graph.holder(here);
        }
        false
    }
}

impl Moving<'_> {
    /// Adds a fact: applied at once, so that what follows is decided in the new state.
    pub(super) fn emit(&mut self, event: Event) {
        let Moving { run, now, out, outputs, .. } = self;
        let find = |digest: &Digest| {
            let made = out.blobs.iter().chain(outputs.iter());
            made.into_iter().find(|(known, _)| known == digest).map(|(_, bytes)| bytes.clone())
        };
        run.apply(&event, *now, &find);
        out.events.push(event);
    }

    /// A value that stands in the entry if it is small, else beside it.
    pub(super) fn keep(&mut self, value: Value) -> Stored {
        let bytes = value.to_string().into_bytes();
        if bytes.len() <= ENTRY_FIELD_BYTES_MAX {
            return Stored::Inline { inline: value };
        }
        self.keep_beside(bytes)
    }

    fn keep_beside(&mut self, bytes: Vec<u8>) -> Stored {
        let blob = Digest::of(&bytes);
        let stored = Stored::Blob { blob, bytes: bytes.len() as u64 };
        self.out.blobs.push((blob, bytes));
        stored
    }

    fn take(&mut self, input: Input) -> Result<(), Rejected> {
        match input {
            Input::Begin { plan_digest, plan, targets } => {
                // Beside the entry, whatever its size: its digest is the plan's.
                let plan = self.keep_beside(plan);
                self.emit(Event::PlanCreated { plan_digest, targets, plan });
                self.emit(Event::RunStarted {});
            }
            Input::AttemptEnded { node, report, was_done, duration, .. } => {
                self.attempt_ended(node, *report, was_done, duration);
            }
            Input::Cancel { by, via, comment } => {
                self.emit(Event::CancelRequested { by, via, comment });
            }
            Input::Abandon { by } => self.abandon(by),
            Input::Tick => {
                if self.run.deadline().is_some_and(|deadline| self.now >= deadline) {
                    self.emit(Event::RunTimedOut {});
                }
            }
            Input::Resume { action, step, by, comment } => self.resume(action, step, by, comment),
            Input::Confirm { step, by, note, answers } => {
                let answers = self.accept_answers(&step, &answers)?;
                self.emit(Event::ManualConfirmed { step, by, note, answers });
            }
            Input::TakeOver { epoch, owner, ended, holds } => {
                self.holds = holds;
                self.emit(Event::RunTakenOver { epoch, owner, ended });
                for (node, _) in self.run.under_way() {
                    let outcome = Outcome { end: End::Interrupted, ..Outcome::default() };
                    let report = Report { outcome, ..Report::default() };
                    self.attempt_ended(node, report, false, Duration::ZERO);
                }
            }
        }
        Ok(())
    }

    fn abandon(&mut self, by: String) {
        let comment = Some("at once: nothing is waited for, nothing is undone".to_owned());
        self.emit(Event::CancelRequested { by, via: "signal".to_owned(), comment });
        for (node, attempt) in self.run.under_way() {
            let step = std::sync::Arc::clone(self.run.graph.step(node));
            let message = "stopped at once: it may have happened".to_owned();
            let error = Some(ErrorInfo { code: "E_INTERRUPTED".to_owned(), message });
            let mut finished = bare_finish(step.id.clone(), attempt, Status::Interrupted);
            finished.changed = step.effect == Effect::Change;
            finished.error = error;
            self.emit(Event::StepFinished(Box::new(finished)));
        }
        self.finish_at_once();
    }

    fn resume(
        &mut self,
        action: ResumeAction,
        step: Option<String>,
        by: String,
        comment: Option<String>,
    ) {
        let held = self.run.first_held().map(|ix| self.run.graph.step(ix).id.clone());
        let step = match action {
            ResumeAction::Retry | ResumeAction::Skip => step.or(held),
            ResumeAction::Continue | ResumeAction::Stop => None,
        };
        let skipped = step.clone().filter(|_| action == ResumeAction::Skip);
        self.emit(Event::RunResumed { action, step, by, comment });
        if let Some(step) = skipped {
            self.emit(Event::StepSkipped { step, reason: "person".to_owned() });
        }
    }

    fn accept_answers(
        &self,
        step: &str,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Rejected> {
        let ix = self.run.known(step)?;
        let Action::Manual(manual) = &self.run.graph.step(ix).action else {
            return Err(Rejected::NotConfirmable(step.to_owned()));
        };
        let mut accepted = Map::new();
        for (name, ty) in &manual.ask {
            let answer = given.get(name).ok_or_else(|| {
                Rejected::BadAnswers(format!(
                    "answer `{name}` is missing: give `--answer {name}=…`"
                ))
            })?;
            let answer = ty
                .accept(answer)
                .map_err(|why| Rejected::BadAnswers(format!("answer `{name}`: {why}")))?;
            accepted.insert(name.clone(), answer);
        }
        if let Some(name) = given.keys().find(|name| !accepted.contains_key(*name)) {
            let message = format!("step `{step}` asks for no answer `{name}`");
            return Err(Rejected::BadAnswers(message));
        }
        Ok(accepted)
    }

    fn attempt_ended(&mut self, node: NodeIx, report: Report, was_done: bool, duration: Duration) {
        let step = std::sync::Arc::clone(self.run.graph.step(node));
        let StepState::Running { attempt, after_interruption, .. } = *self.run.state_of(node)
        else {
            return;
        };
        let scope = self.run.scope_of(node);
        let mut judged = if was_done {
            already_done(&report, after_interruption)
        } else {
            judge(&step, &report, &scope, attempt)
        };
        if judged.status == Status::Cancelled && self.run.stopping == Some(Cause::TimedOut) {
            judged.status = Status::TimedOut;
            let message = "ended at the deadline of the run".to_owned();
            judged.error = Some(ErrorInfo { code: "E_TIMEOUT".to_owned(), message });
        }
        for text in [&report.stdout, &report.stderr].into_iter().flatten() {
            if let (Some(blob), Some(whole)) = (text.output.blob, &text.whole) {
                self.outputs.push((blob, whole.clone()));
            }
        }
        let next_attempt_at = self.next_attempt(node, attempt, &judged, &scope);
        let did_not_happen = report.outcome.end == End::NotStarted && !after_interruption;
        if step.sensitive {
            judged.result.remove("value");
        }
        let (result, large) = self.spill(judged.result);
        let finished = StepFinished {
            step: step.id.clone(),
            attempt,
            status: judged.status,
            verdict: judged.verdict,
            changed: judged.changed,
            duration_seconds: (duration.as_secs_f64() * 1e6).round() / 1e6,
            result,
            large,
            error: judged.error,
            note: judged.note,
            stdout: report.stdout.map(|text| kept_output(text.output, &step)),
            stderr: report.stderr.map(|text| kept_output(text.output, &step)),
            outputs: judged.outputs,
            measures: judged.measures,
            next_attempt_at,
            // After an interruption `done` says that it did happen: it is to be undone.
            was_done: was_done && !after_interruption,
            did_not_happen,
            left: report.outcome.left,
        };
        self.finish_step(node, finished);
    }

    /// The end of an attempt, and what it means for the run.
    pub(super) fn finish_step(&mut self, node: NodeIx, finished: StepFinished) {
        let id = finished.step.clone();
        let status = finished.status;
        let is_last = finished.next_attempt_at.is_none();
        self.emit(Event::StepFinished(Box::new(finished)));
        if is_last {
            self.settled(node, id, status);
        }
    }

    /// What follows from the end of a step.
    pub(super) fn settled(&mut self, node: NodeIx, id: String, status: Status) {
        if status == Status::Succeeded {
            self.void_earlier_rollbacks(node, id);
        } else if let Some(reason) = self.asks_a_person(node, status) {
            let left_to_undo = self.run.left_to_undo();
            self.emit(Event::RunSuspended { step: id, reason: reason.to_owned(), left_to_undo });
        }
    }

    fn void_earlier_rollbacks(&mut self, node: NodeIx, by: String) {
        if !self.run.graph.step(node).point_of_no_return {
            return;
        }
        let earlier = self.run.undo_order().into_iter().filter(|ix| *ix != node);
        let mut steps: Vec<String> = earlier.map(|ix| self.run.graph.step(ix).id.clone()).collect();
        steps.reverse();
        if !steps.is_empty() {
            self.emit(Event::RollbackVoided { by, steps });
        }
    }

    /// Whether a person must decide what this failure means, and why.
    fn asks_a_person(&self, node: NodeIx, status: Status) -> Option<&'static str> {
        let step = self.run.graph.step(node);
        let is_cleanup = self.run.is_cleanup(node);
        if !is_cleanup && self.run.stopping.is_some() {
            return None;
        }
        let is_unknown = status == Status::Interrupted;
        if is_unknown && self.holds {
            return Some("owner_died");
        }
        if is_unknown && step.on_interrupt != OnInterrupt::Fail {
            return Some("interrupted");
        }
        if self.run.is_undoing(node) {
            let is_passed = step.on_failure == OnFailure::Continue;
            return (!is_passed).then_some("rollback_failed");
        }
        (step.on_failure == OnFailure::Suspend).then_some("failed")
    }

    /// When the next attempt begins, if there is one.
    fn next_attempt(
        &self,
        node: NodeIx,
        attempt: u32,
        judged: &Judged,
        scope: &Scope,
    ) -> Option<Timestamp> {
        let step = self.run.graph.step(node);
        if self.run.is_ending(node) {
            return None;
        }
        match judged.status {
            Status::Interrupted => {
                let repeats = !self.holds && repeats_after_interruption(step);
                repeats.then_some(self.now)
            }
            Status::Failed | Status::TimedOut | Status::Unreachable => {
                let retry = step.retry.as_ref().filter(|retry| attempt < retry.attempts)?;
                if let Some(when) = &retry.when {
                    let scope = scope.clone().with("result", judged.seen.clone());
                    // What cannot be evaluated is not true.
                    if when.test(&scope) != Ok(true) {
                        return None;
                    }
                }
                Some(self.now.after(retry_delay(attempt, retry)))
            }
            _ => None,
        }
    }

    /// Splits a result into what stands in the entry and what stands beside it.
    pub(super) fn spill(
        &mut self,
        result: Map<String, Value>,
    ) -> (Map<String, Value>, BTreeMap<String, Stored>) {
        /// Of all inline fields together: leaves room for the rest of the entry.
        const INLINE_TOTAL_MAX: usize = 24 << 10;
        let mut inline = Map::new();
        let mut large = BTreeMap::new();
        let mut total = 0;
        for (name, value) in result {
            let size = match &value {
                Value::Null | Value::Bool(_) | Value::Number(_) => 24,
                other => other.to_string().len(),
            };
            if size > ENTRY_FIELD_BYTES_MAX || total + size > INLINE_TOTAL_MAX {
                let stored = self.keep_beside(value.to_string().into_bytes());
                large.insert(name, stored);
            } else {
                total += size;
                inline.insert(name, value);
            }
        }
        (inline, large)
    }
}

/// Whether the runbook lets the step run again after an interruption, without asking anybody.
pub(super) fn repeats_after_interruption(step: &Step) -> bool {
    matches!(step.on_interrupt, OnInterrupt::Check | OnInterrupt::Rerun)
}

/// `sensitive` outputs are kept as digest and size only.
fn kept_output(output: super::event::Output, step: &Step) -> super::event::Output {
    match step.sensitive {
        true => super::event::Output { blob: None, kept_bytes: 0, tail_at: None, ..output },
        false => output,
    }
}

/// `done` held: the step succeeded without acting; after an interruption it says that the attempt
/// before it did act.
fn already_done(report: &Report, after_interruption: bool) -> Judged {
    Judged {
        status: Status::Succeeded,
        verdict: Verdict::Ok,
        changed: after_interruption,
        error: None,
        note: None,
        result: report.outcome.fields.clone(),
        outputs: Map::new(),
        measures: BTreeMap::new(),
        seen: json!({}),
    }
}

/// An end without a result.
pub(super) fn bare_finish(step: String, attempt: u32, status: Status) -> StepFinished {
    let verdict = match status {
        Status::Succeeded | Status::Skipped => Verdict::Ok,
        Status::Failed => Verdict::Critical,
        _ => Verdict::Unknown,
    };
    StepFinished {
        step,
        attempt,
        status,
        verdict,
        changed: false,
        duration_seconds: 0.0,
        result: Map::new(),
        large: BTreeMap::new(),
        error: None,
        note: None,
        stdout: None,
        stderr: None,
        outputs: Map::new(),
        measures: BTreeMap::new(),
        next_attempt_at: None,
        was_done: false,
        did_not_happen: false,
        left: Vec::new(),
    }
}

/// Pause before the attempt after `attempt`, counted from 1: `backoff`, then `factor` times more
/// each time, at most `max`. No jitter: a run is replayed from its log.
#[must_use]
pub fn retry_delay(attempt: u32, retry: &crate::runbook::model::Retry) -> Duration {
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = retry.backoff.as_secs_f64() * retry.factor.powi(exponent);
    Duration::try_from_secs_f64(seconds).unwrap_or(retry.max).min(retry.max)
}
