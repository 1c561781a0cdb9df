//! What is due, from the state alone: recovery is replay plus this, the same path as live.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::decide::{Attempt, Moving, bare_finish};
use super::event::{Event, RunFinished, RunOutcome, Status, StepFinished};
use super::graph::{ListIx, ListKind, NodeIx};
use super::judge::{Report, judge};
use super::state::{Cause, Phase, Run, StepState};
use crate::id::Digest;
use crate::outcome::{ErrorInfo, Outcome, Verdict};
use crate::runbook::model::{Action, Assertion, Effect, OnFailure, Step};
use crate::runbook::params::Resolved;
use crate::runbook::resolve::{resolve, resolve_check};
use crate::runbook::scope::Scope;
use crate::time::Timestamp;

impl Run {
    /// The next moment at which something is due by itself: a retry, the run's deadline.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.tally.pausing == 0 {
            return self.deadline();
        }
        let pauses = self.steps.iter().filter_map(|state| match state {
            StepState::Pausing { until, .. } => Some(*until),
            _ => None,
        });
        let pauses = if self.is_suspended() { None } else { pauses.min() };
        pauses.into_iter().chain(self.deadline()).min()
    }

    /// Whether nothing more will start in the list because a step of it failed.
    fn is_stopped(&self, list: ListIx) -> bool {
        if matches!(
            self.graph.list(list).kind,
            ListKind::Finally | ListKind::BlockFinally(_) | ListKind::Rollback(_)
        ) {
            return false;
        }
        !self.progress[list.0].stoppers.is_empty()
    }

    /// Whether what the step stands in ends without a further attempt of it.
    pub(super) fn is_ending(&self, ix: NodeIx) -> bool {
        let is_cut = self.stopping.is_some() && !self.is_cleanup(ix);
        is_cut || self.is_stopped(self.graph.node(ix).list)
    }

    /// Whether steps of this list may start now.
    fn is_open(&self, list: ListIx) -> bool {
        if self.is_suspended() || self.is_stopped(list) {
            return false;
        }
        let is_cleanup = match self.graph.list(list).kind {
            ListKind::Main => false,
            ListKind::Finally | ListKind::BlockFinally(_) | ListKind::Rollback(_) => true,
            ListKind::Block(holder) | ListKind::Rescue(holder) | ListKind::Arm(holder, _) => {
                self.is_cleanup(holder)
            }
        };
        is_cleanup || self.stopping.is_none()
    }

    /// Whether nothing of the list is under way and nothing more of it will start.
    fn is_over(&self, list: ListIx) -> bool {
        let nodes = &self.graph.list(list).nodes[self.progress[list.0].settled..];
        let mut has_waiting = false;
        for ix in nodes {
            match self.state_of(*ix) {
                StepState::Settled(_) => {}
                StepState::Waiting => has_waiting = true,
                StepState::Running { .. } | StepState::Pausing { .. } | StepState::Held { .. } => {
                    return false;
                }
            }
        }
        !has_waiting || (!self.is_suspended() && !self.is_open(list))
    }

    /// What became of the run if it ended now.
    #[must_use]
    pub fn outcome_so_far(&self) -> RunOutcome {
        let mut worst = RunOutcome::Succeeded;
        let mut is_unknown = false;
        let mut is_denied = false;
        for (ix, state) in self.steps.iter().enumerate() {
            let Some(end) = state.end() else { continue };
            is_unknown |= end.status == Status::Interrupted;
            is_denied |= end.status == Status::Denied;
            let found = match (end.status.is_failure(), end.verdict) {
                (true, _) if self.is_rescued(NodeIx(ix)) => RunOutcome::Degraded,
                (true, _) => RunOutcome::Failed,
                (false, Verdict::Ok) => RunOutcome::Succeeded,
                (false, _) => RunOutcome::Degraded,
            };
            worst = worst.max(found);
        }
        match &self.stopping {
            _ if is_unknown => RunOutcome::Interrupted,
            Some(Cause::Stopped { unknown: true } | Cause::Interrupted(_)) => {
                RunOutcome::Interrupted
            }
            _ if is_denied => RunOutcome::Denied,
            Some(Cause::Cancelled) => RunOutcome::Cancelled,
            Some(Cause::Failed(_) | Cause::TimedOut | Cause::Stopped { .. }) => RunOutcome::Failed,
            Some(Cause::Ended(_, outcome)) => worst.max(*outcome),
            None => worst,
        }
    }

    /// The worst of its steps; a failure that a `rescue` dealt with counts as a warning.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let ends = self.steps.iter().enumerate().filter_map(|(ix, state)| {
            let end = state.end()?;
            let is_rescued = end.status.is_failure() && self.is_rescued(NodeIx(ix));
            Some(if is_rescued { end.verdict.min(Verdict::Warning) } else { end.verdict })
        });
        let worst = ends.max().unwrap_or(Verdict::Ok);
        match self.stopping {
            Some(Cause::TimedOut) => worst.max(Verdict::Unknown),
            Some(Cause::Ended(_, RunOutcome::Failed)) => Verdict::Critical,
            Some(Cause::Ended(_, RunOutcome::Degraded)) => worst.max(Verdict::Warning),
            _ => worst,
        }
    }

    fn is_rescued(&self, ix: NodeIx) -> bool {
        let mut at = ix;
        loop {
            match self.graph.list(self.graph.node(at).list).kind {
                ListKind::Block(holder) => {
                    if self.state_of(holder).end().is_some_and(|end| end.is_rescued) {
                        return true;
                    }
                    at = holder;
                }
                _ => match self.graph.holder(at) {
                    Some(holder) => at = holder,
                    None => return false,
                },
            }
        }
    }

    /// Why the run is not well, for people: the cause, else the first failure.
    #[must_use]
    pub fn first_problem(&self) -> Option<String> {
        let told = |ix: NodeIx| {
            let end = self.state_of(ix).end()?;
            let id = &self.graph.step(ix).id;
            Some(match &end.message {
                Some(message) => format!("step `{id}`: {message}"),
                None => format!("step `{id}` did not succeed"),
            })
        };
        match &self.stopping {
            Some(Cause::Failed(ix) | Cause::Interrupted(ix)) => told(*ix),
            Some(Cause::TimedOut) => Some("the run reached its timeout".to_owned()),
            Some(Cause::Cancelled) => Some("cancelled".to_owned()),
            Some(Cause::Stopped { .. }) => Some("stopped by a person".to_owned()),
            Some(Cause::Ended(ix, _)) => self.end_message(*ix),
            None => (0..self.steps.len()).map(NodeIx).find_map(|ix| {
                let end = self.state_of(ix).end()?;
                let is_bad = end.status.is_failure() && !self.is_construct(ix);
                if is_bad { told(ix) } else { None }
            }),
        }
    }

    fn end_message(&self, ix: NodeIx) -> Option<String> {
        self.state_of(ix).end()?.value.get("message")?.as_str().map(str::to_owned)
    }
}

impl Moving<'_> {
    /// Goes on until nothing is due any more without an effect, a person or time.
    pub(super) fn settle(&mut self) {
        while self.run.phase != Phase::Finished && self.step_on() {}
        self.collect_cancels();
    }

    fn step_on(&mut self) -> bool {
        match self.run.phase {
            Phase::Requested | Phase::Finished => false,
            Phase::Steps => {
                let main = self.run.graph.main;
                self.visit(main) || (self.run.is_over(main) && self.leave_steps())
            }
            Phase::RollingBack => self.undo_next(),
            Phase::Finally => {
                let finally = self.run.graph.finally;
                self.visit(finally) || (self.run.is_over(finally) && self.finish())
            }
        }
    }

    fn undo_next(&mut self) -> bool {
        match self.run.undo_order().first() {
            Some(next) => {
                let list = self.run.graph.node(*next).rollback.expect("it has something to undo");
                self.visit(list)
            }
            None => self.enter_finally(),
        }
    }

    fn leave_steps(&mut self) -> bool {
        if self.run.should_undo() && !self.run.undo_order().is_empty() {
            self.emit(Event::PhaseEntered { phase: Phase::RollingBack.name().to_owned() });
            return true;
        }
        self.enter_finally()
    }

    fn enter_finally(&mut self) -> bool {
        if self.run.graph.runbook.finally.is_empty() {
            return self.finish();
        }
        self.emit(Event::PhaseEntered { phase: Phase::Finally.name().to_owned() });
        true
    }

    fn finish(&mut self) -> bool {
        let mut message = self.run.first_problem();
        let mut outputs = Map::new();
        let graph = Arc::clone(&self.run.graph);
        let is_well =
            matches!(self.run.outcome_so_far(), RunOutcome::Succeeded | RunOutcome::Degraded);
        let mut outcome = self.run.outcome_so_far();
        for (name, expr) in &graph.runbook.outputs {
            let names = expr.names().iter().cloned().collect();
            match expr.eval(&self.run.scope_for(&names)) {
                Ok(value) => {
                    outputs.insert(name.clone(), value);
                }
                // Of a run that went wrong nobody expects all outputs.
                Err(_) if !is_well => {}
                Err(why) => {
                    outcome = outcome.max(RunOutcome::Degraded);
                    message.get_or_insert(format!("output `{name}`: {why}"));
                }
            }
        }
        self.emit_finish(outcome, outputs, message);
        true
    }

    pub(super) fn finish_at_once(&mut self) {
        let message = Some("stopped at once".to_owned());
        self.emit_finish(RunOutcome::Interrupted, Map::new(), message);
    }

    fn emit_finish(
        &mut self,
        outcome: RunOutcome,
        outputs: Map<String, Value>,
        message: Option<String>,
    ) {
        let run = &self.run;
        let is_undone = matches!(outcome, RunOutcome::Succeeded | RunOutcome::Degraded);
        let since = run.started_at.unwrap_or(run.created_at);
        let finished = RunFinished {
            outcome,
            verdict: run.verdict(),
            duration_seconds: self.now.since(since).as_secs_f64(),
            outputs,
            message,
            left_to_undo: if is_undone || !run.should_undo() {
                Vec::new()
            } else {
                run.left_to_undo()
            },
        };
        self.emit(Event::RunFinished(Box::new(finished)));
    }

    /// Attempts that must end because the run stops, and waiting that has no point any more.
    fn collect_cancels(&mut self) {
        let ends = matches!(
            self.run.stopping,
            Some(Cause::Cancelled | Cause::TimedOut | Cause::Stopped { .. })
        );
        if !ends {
            return;
        }
        for (node, _) in self.run.under_way() {
            if !self.run.is_cleanup(node) {
                self.out.cancel.push(node);
            }
        }
    }

    /// One look at a list; true if a fact came of it.
    fn visit(&mut self, list: ListIx) -> bool {
        let graph = Arc::clone(&self.run.graph);
        let nodes = &graph.list(list).nodes;
        let mut moved = false;
        for ix in &nodes[self.run.progress[list.0].settled.min(nodes.len())..] {
            moved |= match self.run.state_of(*ix) {
                StepState::Running { .. } if self.run.is_construct(*ix) => self.visit_inner(*ix),
                StepState::Running { .. } if self.run.is_manual(*ix) => {
                    self.visit_manual(*ix, list)
                }
                StepState::Pausing { until, .. }
                    if *until <= self.now && self.run.is_open(list) =>
                {
                    self.start(*ix)
                }
                StepState::Pausing { .. } if self.run.is_ending(*ix) => self.give_up(*ix),
                StepState::Waiting if !self.is_its_turn(*ix) => {
                    // Behind a step that is not over nothing of a sequence is due.
                    if graph.list(list).is_sequence {
                        break;
                    }
                    false
                }
                StepState::Waiting if self.run.is_open(list) => self.start_or_skip(*ix),
                _ => false,
            };
        }
        moved
    }

    fn is_its_turn(&self, ix: NodeIx) -> bool {
        let node = self.run.graph.node(ix);
        let is_over = |ix: &NodeIx| self.run.state_of(*ix).end().is_some();
        match &node.needs {
            Some(needs) => needs.iter().all(|(need, _)| is_over(need)),
            None => node.before.iter().all(is_over),
        }
    }

    fn start_or_skip(&mut self, ix: NodeIx) -> bool {
        let node = self.run.graph.node(ix).clone();
        let is_unmet = |(need, any): &(NodeIx, bool)| {
            let end = self.run.state_of(*need).end();
            !any && end.is_some_and(|end| end.status != Status::Succeeded)
        };
        if node.needs.iter().flatten().any(is_unmet) {
            return self.skip(&node.step, "needs");
        }
        let when = match &node.step.action {
            Action::End(end) => node.step.when.as_ref().or(end.when.as_ref()),
            _ => node.step.when.as_ref(),
        };
        if let Some(when) = when {
            match when.test(&self.run.scope_of(ix)) {
                Ok(true) => {}
                Ok(false) => return self.skip(&node.step, "when"),
                Err(why) => {
                    return self.fail_before_start(ix, "E_EXPRESSION", format!("`when`: {why}"));
                }
            }
        }
        self.start(ix)
    }

    fn skip(&mut self, step: &Step, reason: &str) -> bool {
        self.emit(Event::StepSkipped { step: step.id.clone(), reason: reason.to_owned() });
        true
    }

    fn attempt_of(&self, ix: NodeIx) -> u32 {
        match self.run.state_of(ix) {
            StepState::Pausing { attempt, .. } => *attempt,
            _ => 1,
        }
    }

    fn emit_started(&mut self, ix: NodeIx, spec: Value) -> u32 {
        let attempt = self.attempt_of(ix);
        let step = Arc::clone(self.run.graph.step(ix));
        let spec = self.keep(spec);
        let plan_digest = self.run.plan_digest.unwrap_or(Digest::from_bytes([0; 32]));
        self.emit(Event::StepStarted {
            step: step.id.clone(),
            attempt,
            action: step.action.name().to_owned(),
            effect: step.effect,
            target: None,
            spec,
            plan_digest,
        });
        attempt
    }

    fn fail_before_start(&mut self, ix: NodeIx, code: &str, message: String) -> bool {
        let attempt = self.emit_started(ix, Value::Null);
        let step = self.run.graph.step(ix).id.clone();
        let mut finished = bare_finish(step, attempt, Status::Failed);
        finished.verdict = Verdict::Unknown;
        finished.error = Some(ErrorInfo { code: code.to_owned(), message });
        finished.did_not_happen = true;
        self.finish_step(ix, finished);
        true
    }

    fn start(&mut self, ix: NodeIx) -> bool {
        let step = Arc::clone(self.run.graph.step(ix));
        let scope = self.run.scope_of(ix);
        match &step.action {
            Action::Set(values) => self.perform_set(ix, &step, values, &scope),
            Action::Assert(assertions) => self.perform_assert(ix, &step, assertions, &scope),
            Action::End(end) => self.perform_end(ix, &step, end.message.as_ref(), &scope),
            Action::Block(_) => {
                self.emit_started(ix, Value::Null);
                true
            }
            Action::Switch(arms) => {
                for (at, arm) in arms.iter().enumerate() {
                    match arm.when.as_ref().map_or(Ok(true), |when| when.test(&scope)) {
                        Ok(true) => {
                            self.emit_started(ix, json!({ "taken": at }));
                            return true;
                        }
                        Ok(false) => {}
                        Err(why) => {
                            let message = format!("`when` of arm {}: {why}", at + 1);
                            return self.fail_before_start(ix, "E_EXPRESSION", message);
                        }
                    }
                }
                self.emit_started(ix, Value::Null);
                true
            }
            _ => self.start_effect(ix, &step, scope),
        }
    }

    fn start_effect(&mut self, ix: NodeIx, step: &Arc<Step>, scope: Scope) -> bool {
        let files = Arc::clone(&self.run.files);
        let rendered = resolve(step, &scope, &files).and_then(|action| {
            let done = match &step.done {
                Some(check) => Some(resolve_check(check, &scope, &files)?),
                None => None,
            };
            Ok((action, done))
        });
        let (action, done) = match rendered {
            Ok(rendered) => rendered,
            Err(why) => return self.fail_before_start(ix, why.code, why.message),
        };
        let mut spec = serde_json::to_value(&action).expect("a rendered action is JSON");
        if let (Some(done), Some(spec)) = (&done, spec.as_object_mut()) {
            let done = serde_json::to_value(done).expect("a rendered action is JSON");
            spec.insert("done".to_owned(), done);
        }
        let attempt = self.emit_started(ix, spec);
        if !matches!(action, Resolved::Manual(_)) {
            let step = Arc::clone(step);
            self.out.start.push(Attempt { node: ix, step, attempt, action, done, scope });
        }
        true
    }

    fn perform_set(
        &mut self,
        ix: NodeIx,
        step: &Step,
        values: &[(String, crate::runbook::expr::Expr)],
        scope: &Scope,
    ) -> bool {
        let mut outcome = Outcome::default();
        for (name, expr) in values {
            match expr.eval(scope) {
                Ok(value) => {
                    outcome.fields.insert(name.clone(), value);
                }
                Err(why) => {
                    let message = format!("`set.{name}`: {why}");
                    return self.fail_before_start(ix, "E_EXPRESSION", message);
                }
            }
        }
        self.finish_core(ix, step, outcome, scope)
    }

    fn perform_assert(
        &mut self,
        ix: NodeIx,
        step: &Step,
        assertions: &[Assertion],
        scope: &Scope,
    ) -> bool {
        let mut failed = Vec::new();
        for assertion in assertions {
            match assertion.that.test(scope) {
                Ok(true) => {}
                Ok(false) => failed.push(told(assertion, scope)),
                Err(why) => {
                    let message = format!("`{}`: {why}", assertion.that.source());
                    return self.fail_before_start(ix, "E_EXPRESSION", message);
                }
            }
        }
        let mut outcome = Outcome { rule: Some(Verdict::Ok), ..Outcome::default() };
        if !failed.is_empty() {
            outcome.rule = Some(Verdict::Critical);
            let message = failed.join("; ");
            outcome.error = Some(ErrorInfo { code: "E_ASSERT".to_owned(), message });
        }
        outcome.fields.insert("failed".to_owned(), json!(failed));
        self.finish_core(ix, step, outcome, scope)
    }

    fn perform_end(
        &mut self,
        ix: NodeIx,
        step: &Step,
        message: Option<&crate::runbook::template::Template>,
        scope: &Scope,
    ) -> bool {
        let mut outcome = Outcome::default();
        if let Some(message) = message {
            match message.render_text(scope) {
                Ok(message) => {
                    outcome.fields.insert("message".to_owned(), Value::String(message));
                }
                Err(why) => {
                    let message = format!("`message`: {why}");
                    return self.fail_before_start(ix, "E_TEMPLATE", message);
                }
            }
        }
        self.finish_core(ix, step, outcome, scope)
    }

    /// An action that the core performs itself: started and finished in one append.
    fn finish_core(&mut self, ix: NodeIx, step: &Step, outcome: Outcome, scope: &Scope) -> bool {
        let attempt = self.emit_started(ix, Value::Null);
        let report = Report { outcome, ..Report::default() };
        let judged = judge(step, &report, scope, attempt);
        let (result, large) = self.spill(judged.result);
        let finished = StepFinished {
            verdict: judged.verdict,
            changed: judged.changed && step.effect == Effect::Change,
            result,
            large,
            error: judged.error,
            note: judged.note,
            measures: judged.measures,
            ..bare_finish(step.id.clone(), attempt, judged.status)
        };
        self.finish_step(ix, finished);
        true
    }

    fn visit_manual(&mut self, ix: NodeIx, list: ListIx) -> bool {
        let StepState::Running { attempt, confirmed, .. } = self.run.state_of(ix).clone() else {
            return false;
        };
        let step = Arc::clone(self.run.graph.step(ix));
        let Some(confirmation) = confirmed else {
            // Nobody waits for a confirmation that leads nowhere.
            if self.run.is_ending(ix) && !self.run.is_open(list) {
                let finished = bare_finish(step.id.clone(), attempt, Status::Cancelled);
                self.finish_step(ix, finished);
                return true;
            }
            return false;
        };
        let mut outcome = Outcome::default();
        outcome.fields.insert("confirmed_by".to_owned(), json!(confirmation.by));
        if let Some(note) = &confirmation.note {
            outcome.fields.insert("note".to_owned(), json!(note));
        }
        outcome.fields.insert("answers".to_owned(), Value::Object(confirmation.answers));
        let scope = self.run.scope_of(ix);
        let report = Report { outcome, ..Report::default() };
        let judged = judge(&step, &report, &scope, attempt);
        let (result, large) = self.spill(judged.result);
        let finished = StepFinished {
            verdict: judged.verdict,
            result,
            large,
            error: judged.error,
            note: judged.note,
            measures: judged.measures,
            ..bare_finish(step.id.clone(), attempt, judged.status)
        };
        self.finish_step(ix, finished);
        true
    }

    /// A step between two attempts of a run that stops: what its last attempt said stands.
    fn give_up(&mut self, ix: NodeIx) -> bool {
        let StepState::Pausing { last, .. } = self.run.state_of(ix) else { return false };
        let status = last.status;
        let step = self.run.graph.step(ix).id.clone();
        // Not another `step.finished`: no attempt is under way that it could be the end of.
        self.emit(Event::StepGivenUp { step: step.clone() });
        self.settled(ix, step, status);
        true
    }

    fn visit_inner(&mut self, ix: NodeIx) -> bool {
        let graph = Arc::clone(&self.run.graph);
        let inner = &graph.node(ix).inner;
        let StepState::Running { taken, .. } = self.run.state_of(ix) else { return false };
        match (&graph.step(ix).action, taken) {
            (Action::Switch(_), None) => self.finish_construct(ix, Status::Succeeded, json!(null)),
            (Action::Switch(_), Some(arm)) => {
                let arm = *arm;
                let list = inner[arm];
                if self.visit(list) {
                    return true;
                }
                if !self.run.is_over(list) {
                    return false;
                }
                let status = self.status_of(list);
                self.finish_construct(ix, status, json!({ "taken": arm }))
            }
            _ => self.visit_block(ix, inner[0], inner[1], inner[2]),
        }
    }

    fn visit_block(&mut self, ix: NodeIx, steps: ListIx, rescue: ListIx, finally: ListIx) -> bool {
        if self.visit(steps) {
            return true;
        }
        if !self.run.is_over(steps) {
            return false;
        }
        let mut status = self.status_of(steps);
        let mut outcome = "succeeded";
        let has_rescue = !self.run.graph.list(rescue).nodes.is_empty();
        if self.run.is_stopped(steps) {
            outcome = "failed";
            if has_rescue {
                if self.visit(rescue) {
                    return true;
                }
                if !self.run.is_over(rescue) {
                    return false;
                }
                status = self.status_of(rescue);
                if status == Status::Succeeded {
                    outcome = "rescued";
                }
            }
        }
        if self.visit(finally) {
            return true;
        }
        if !self.run.is_over(finally) {
            return false;
        }
        self.finish_construct(ix, status, json!({ "outcome": outcome }))
    }

    /// What became of a list that is over, as a whole.
    fn status_of(&self, list: ListIx) -> Status {
        let run = &self.run;
        let nodes = &run.graph.list(list).nodes;
        let mut worst = Status::Succeeded;
        for ix in nodes {
            let Some(end) = run.state_of(*ix).end() else { continue };
            if end.status == Status::Interrupted {
                return Status::Interrupted;
            }
            if end.status.is_failure() && run.graph.step(*ix).on_failure != OnFailure::Continue {
                worst = Status::Failed;
            }
        }
        let is_cut = nodes.iter().any(|ix| matches!(run.state_of(*ix), StepState::Waiting));
        match (&run.stopping, worst, is_cut) {
            (_, Status::Failed, _) => Status::Failed,
            (Some(Cause::TimedOut), _, true) => Status::TimedOut,
            (Some(Cause::Ended(..)), _, true) => Status::Succeeded,
            (Some(_), _, true) => Status::Cancelled,
            _ => Status::Succeeded,
        }
    }

    fn finish_construct(&mut self, ix: NodeIx, status: Status, result: Value) -> bool {
        let StepState::Running { attempt, .. } = *self.run.state_of(ix) else { return false };
        let step = Arc::clone(self.run.graph.step(ix));
        let mut finished = bare_finish(step.id.clone(), attempt, status);
        // Its steps carry their own verdicts; a construct adds none.
        finished.verdict = if status == Status::Succeeded { Verdict::Ok } else { finished.verdict };
        if let Value::Object(result) = result {
            finished.result = result;
        }
        if status.is_failure() {
            finished.error = self.inner_problem(ix);
        }
        finished.changed = self.has_changed(ix);
        self.finish_step(ix, finished);
        true
    }

    fn inner_problem(&self, ix: NodeIx) -> Option<ErrorInfo> {
        let lists = &self.run.graph.node(ix).inner;
        let nodes = lists.iter().flat_map(|list| &self.run.graph.list(*list).nodes);
        nodes.into_iter().find_map(|node| {
            let end = self.run.state_of(*node).end().filter(|end| end.status.is_failure())?;
            let step = &self.run.graph.step(*node).id;
            let why = end.message.as_deref().unwrap_or("did not succeed");
            let message = format!("step `{step}`: {why}");
            Some(ErrorInfo { code: "E_INNER".to_owned(), message })
        })
    }

    fn has_changed(&self, ix: NodeIx) -> bool {
        let lists = &self.run.graph.node(ix).inner;
        let mut nodes = lists.iter().flat_map(|list| &self.run.graph.list(*list).nodes);
        nodes.any(|node| self.run.state_of(*node).end().is_some_and(|end| end.changed))
    }
}

impl Run {
    /// Whether its end is one after which rollbacks run.
    fn should_undo(&self) -> bool {
        match &self.stopping {
            None => false,
            Some(Cause::Ended(_, outcome)) => *outcome == RunOutcome::Failed,
            Some(_) => true,
        }
    }
}

fn told(assertion: &Assertion, scope: &Scope) -> String {
    let written = assertion.message.as_ref().map(|message| message.render_text(scope));
    match written {
        Some(Ok(message)) => message,
        Some(Err(_)) | None => format!("`{}` does not hold", assertion.that.source()),
    }
}
