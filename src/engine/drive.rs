//! The loop of one run: a fact comes in, the core decides, the store makes it durable, and only
//! then effects start and people are told.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::load::{facts_after, load, read_blob};
use super::prepare::Prepared;
use super::step::{AttemptEnd, Bench};
use super::{Commit, Control, Ended, Engine, EngineError, Notice, Request, Wires, owner, sweep};
use crate::action::{Cancel, Live};
use crate::id::{Digest, Epoch, RunId};
use crate::limits::FOREIGN_POLL;
use crate::outcome::{End, ErrorInfo, Outcome};
use crate::run::event::{Event, ResumeAction, RunRequested, RunState, RunbookRef, Stored};
use crate::run::graph::{Graph, NodeIx};
use crate::run::judge::Report;
use crate::run::state::StepState;
use crate::run::view::Fact;
use crate::run::{Advance, Attempt, Input, Rejected, Run};
use crate::runbook::model::{Action, Runbook};
use crate::store::{Append, Appended, Blob, Reader, RowChange, StoreError};
use crate::time::Timestamp;

/// A run that this process owns, with what is to be started first.
#[derive(Debug)]
pub struct Begun {
    /// Its id.
    pub id: RunId,
    run: Run,
    start: Vec<Attempt>,
    cancel: Vec<NodeIx>,
    told: Vec<Notice>,
}

impl Begun {
    /// The runbook that it runs.
    #[must_use]
    pub fn runbook(&self) -> &Runbook {
        &self.run.graph.runbook
    }
}

/// What is kept of an attempt under way.
struct UnderWay {
    cancel: watch::Sender<Cancel>,
}

type Joined = Result<AttemptEnd, StoreError>;

impl Engine {
    /// Records the run (request, plan, start and first steps in one append) and returns it, begun.
    ///
    /// # Errors
    ///
    /// [`EngineError::Store`]: then nothing was recorded and nothing happens.
    pub async fn submit(
        &self,
        prepared: &Prepared,
        request: Request,
    ) -> Result<Begun, EngineError> {
        let id = RunId::generate();
        let now = self.clock.now();
        let (requested, mut blobs) = requested(prepared, request);
        let graph = Arc::new(Graph::of(Arc::clone(&prepared.runbook)));
        let files = Arc::new(prepared.files.clone());
        let mut run = Run::new(id, graph, files, prepared.inputs.clone(), requested.clone(), now);
        let begin = Input::Begin {
            plan_digest: prepared.plan.digest,
            plan: prepared.plan.bytes.clone(),
            targets: prepared.plan.targets.clone(),
        };
        let mut advance = run.advance(begin, now).expect("a new run may begin");
        advance.events.insert(0, Event::RunRequested(Box::new(requested)));
        blobs.extend(inline_blobs(&mut advance));
        let mut begun = Begun { id, run, start: Vec::new(), cancel: Vec::new(), told: Vec::new() };
        self.record(&mut begun.run, advance, blobs, now, None, &mut begun.told).await.map(
            |(start, cancel)| {
                begun.start = start;
                begun.cancel = cancel;
                begun
            },
        )
    }

    /// Drives a run until it ends, is suspended, waits for a person while nobody waits with it
    /// ([`Wires::waits`]), or belongs to another process.
    ///
    /// # Errors
    ///
    /// [`EngineError::Store`]: the log cannot be written; attempts under way have been ended and
    /// nothing more starts.
    pub async fn drive(&self, begun: Begun, wires: Wires) -> Result<Ended, EngineError> {
        let scratch = self.store.layout().run_scratch(begun.id);
        make_scratch(&scratch).map_err(|source| EngineError::Scratch { run: begun.id, source })?;
        let reader = self.store.reader()?;
        let mut driver = Driver {
            bench: Bench {
                run: begun.id,
                scratch: scratch.clone(),
                perform: Arc::clone(&self.perform),
                store: Arc::clone(&self.store),
                is_sensitive: false,
            },
            engine: self,
            seen_version: reader.data_version()?,
            reader,
            run: begun.run,
            wires,
            attempts: JoinSet::new(),
            under_way: HashMap::new(),
            tasks: HashMap::new(),
            is_left: false,
        };
        for notice in begun.told {
            driver.tell(notice);
        }
        driver.start(begun.start);
        driver.cancel(&begun.cancel);
        let ended = driver.run_to_end().await;
        if ended.is_err() {
            driver.end_all_at_once().await;
        }
        let is_over = matches!(ended, Ok(Ended::Finished(_)));
        if is_over {
            // Nothing of a finished run is worth keeping here; what cannot be removed is litter,
            // not a failure of the run.
            let _ = fs::remove_dir_all(&scratch);
        }
        ended
    }

    async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        match self.commit {
            Commit::InPlace => self.store.append_blocking(append),
            Commit::Queued => self.store.append(append).await,
        }
    }

    /// Appends what `advance` decided and returns the effects that may start now.
    async fn record(
        &self,
        run: &mut Run,
        advance: Advance,
        blobs: Vec<Blob>,
        now: Timestamp,
        before: Option<RunState>,
        told: &mut Vec<Notice>,
    ) -> Result<(Vec<Attempt>, Vec<NodeIx>), EngineError> {
        if advance.events.is_empty() {
            return Ok((advance.start, advance.cancel));
        }
        let state = run.state();
        let is_taken =
            advance.events.iter().any(|event| matches!(event, Event::RunTakenOver { .. }));
        let row = (before != Some(state) || is_taken).then(|| RowChange {
            state,
            outcome: run.finished.as_ref().map(|finished| finished.outcome),
            owner: is_taken.then(|| (run.epoch, run.owner.clone())),
        });
        // On a full disk what has ended is still recorded, and nothing more starts.
        let is_end = advance.start.is_empty();
        let blobs_again = if is_end { Vec::new() } else { blobs.clone() };
        let append = Append {
            epoch: Some(run.epoch),
            expected: run.last_seq,
            events: advance.events.clone(),
            blobs,
            row,
            is_end,
            ..Append::of(run.id, Vec::new(), now)
        };
        let appended = match self.append(append).await {
            Err(StoreError::Full(_)) if !is_end => {
                return Err(self.record_ends(run, advance, blobs_again, now).await);
            }
            other => other?,
        };
        run.last_seq = Some(appended.last_seq);
        for (at, event) in advance.events.into_iter().enumerate() {
            told.push(Notice::Fact { seq: appended.first_seq + at as u64, time: now, event });
        }
        Ok((advance.start, advance.cancel))
    }

    /// The ends among what was decided, with the room that is kept for them; the rest is decided
    /// again by whoever resumes the run.
    async fn record_ends(
        &self,
        run: &Run,
        advance: Advance,
        blobs: Vec<Blob>,
        now: Timestamp,
    ) -> EngineError {
        let is_start = |event: &Event| matches!(event, Event::StepStarted { .. });
        let ends: Vec<Event> =
            advance.events.into_iter().take_while(|event| !is_start(event)).collect();
        let is_begun = ends.iter().any(|event| matches!(event, Event::RunRequested(_)));
        if !ends.is_empty() && !is_begun {
            let append = Append {
                epoch: Some(run.epoch),
                expected: run.last_seq,
                blobs,
                is_end: true,
                ..Append::of(run.id, ends, now)
            };
            if let Err(error) = self.append(append).await {
                return error.into();
            }
        }
        StoreError::Full("append to the log").into()
    }

    /// Decides and records, on the newest state: if others have written about the run meanwhile,
    /// it is read back first.
    async fn advance(
        &self,
        reader: &Reader,
        run: &mut Run,
        input: Input,
        blobs: &[Blob],
        told: &mut Vec<Notice>,
    ) -> Result<(Vec<Attempt>, Vec<NodeIx>), EngineError> {
        loop {
            let now = self.clock.now();
            let before = run.state();
            let mut advance = run
                .advance(input.clone(), now)
                .map_err(|source| EngineError::Rejected { run: run.id, source })?;
            let mut all = blobs.to_vec();
            all.extend(inline_blobs(&mut advance));
            match self.record(run, advance, all, now, Some(before), told).await {
                Err(EngineError::Store(StoreError::Conflict { .. })) => {
                    let last = run.last_seq;
                    let loaded = load(reader, run.id)?;
                    *run = loaded.run;
                    for fact in loaded.facts.into_iter().filter(|fact| Some(fact.seq) > last) {
                        let Fact { seq, time, event } = fact;
                        told.push(Notice::Fact { seq, time, event });
                    }
                }
                other => return other,
            }
        }
    }

    /// Takes a run over whose owner is dead or has let it go, with a decision.
    ///
    /// # Errors
    ///
    /// [`EngineError::Owned`] if its owner is at work; [`EngineError::Rejected`] if the decision
    /// does not fit (then nothing but the takeover is recorded).
    pub async fn resume(
        &self,
        id: RunId,
        action: ResumeAction,
        step: Option<String>,
        by: String,
        comment: Option<String>,
    ) -> Result<Begun, EngineError> {
        let mut begun = self.take_over(id).await?;
        let reader = self.store.reader()?;
        let resume = Input::Resume { action, step, by, comment };
        self.continue_with(&reader, &mut begun, resume).await?;
        Ok(begun)
    }

    /// Asks a run to end in order. If its owner lives, the fact is left for it and `None` comes
    /// back; else the run is taken over, to be driven to its end.
    ///
    /// # Errors
    ///
    /// [`EngineError::Rejected`] if the run is ending or over.
    pub async fn cancel(
        &self,
        id: RunId,
        by: String,
        comment: Option<String>,
    ) -> Result<Option<Begun>, EngineError> {
        let input = Input::Cancel { by, via: "cli".to_owned(), comment };
        self.tell_owner_or_take_over(id, input).await
    }

    /// Confirms a `manual` step. If the run's owner lives, the fact is left for it and `None`
    /// comes back; else the run is taken over, to be driven on.
    ///
    /// # Errors
    ///
    /// [`EngineError::Rejected`] if nobody waits for it or the answers do not fit.
    pub async fn confirm(
        &self,
        id: RunId,
        step: String,
        by: String,
        note: Option<String>,
        answers: Map<String, Value>,
    ) -> Result<Option<Begun>, EngineError> {
        let input = Input::Confirm { step, by, note, answers };
        self.tell_owner_or_take_over(id, input).await
    }

    async fn tell_owner_or_take_over(
        &self,
        id: RunId,
        input: Input,
    ) -> Result<Option<Begun>, EngineError> {
        let reader = self.store.reader()?;
        loop {
            let loaded = load(&reader, id)?;
            if !Self::is_at_work(&loaded.run) {
                break;
            }
            let mut copy = loaded.run.clone();
            let now = self.clock.now();
            let advance = copy
                .advance(input.clone(), now)
                .map_err(|source| EngineError::Rejected { run: id, source })?;
            // Only the fact itself: what follows from it is for the owner to decide.
            let events = advance.events.into_iter().take(1).collect();
            let append = Append {
                expected: loaded.run.last_seq,
                is_end: true,
                ..Append::of(id, events, now)
            };
            match self.append(append).await {
                Ok(_) => return Ok(None),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut begun = self.take_over(id).await?;
        self.continue_with(&reader, &mut begun, input).await?;
        Ok(Some(begun))
    }

    async fn continue_with(
        &self,
        reader: &Reader,
        begun: &mut Begun,
        input: Input,
    ) -> Result<(), EngineError> {
        let (start, cancel) =
            self.advance(reader, &mut begun.run, input, &[], &mut begun.told).await?;
        begun.start.extend(start);
        begun.cancel.extend(cancel);
        // What was due from the takeover and is not any more must not start.
        let under_way = begun.run.under_way();
        begun.start.retain(|attempt| under_way.contains(&(attempt.node, attempt.attempt)));
        Ok(())
    }

    /// Holds off everybody else who would take the run over, until it is dropped: what a dead owner
    /// left is ended only by whoever has then seen, in the log, that the owner is dead. Without it
    /// a second comer would end what the first has just started.
    fn claim(&self, run: RunId) -> Result<fs::File, EngineError> {
        let scratch = self.store.layout().run_scratch(run);
        let locked = make_scratch(&scratch).and_then(|()| {
            let folder = fs::File::open(&scratch)?;
            folder.lock()?;
            Ok(folder)
        });
        locked.map_err(|source| EngineError::Scratch { run, source })
    }

    /// Ends what a dead owner left, and owns the run from now on.
    async fn take_over(&self, id: RunId) -> Result<Begun, EngineError> {
        let reader = self.store.reader()?;
        let is_over = |run: &Run| match run.state() {
            RunState::Finished => {
                Err(EngineError::Rejected { run: id, source: Rejected::Finished })
            }
            _ => Ok(()),
        };
        is_over(&load(&reader, id)?.run)?;
        let _claim = self.claim(id)?;
        let run = load(&reader, id)?.run;
        is_over(&run)?;
        if Self::is_at_work(&run) {
            let (pid, host) = (run.owner.pid, run.owner.host.clone());
            return Err(EngineError::Owned { run: id, pid, host });
        }
        let ended = self.perform.end_leftovers(&self.store.layout().run_scratch(id), id);
        let mut begun = Begun { id, run, start: Vec::new(), cancel: Vec::new(), told: Vec::new() };
        let epoch = Epoch(begun.run.epoch.0 + 1);
        let input = Input::TakeOver { epoch, owner: owner::current(), ended, holds: false };
        match self.advance(&reader, &mut begun.run, input, &[], &mut begun.told).await {
            Ok((start, cancel)) => {
                begun.start = start;
                begun.cancel = cancel;
                Ok(begun)
            }
            Err(EngineError::Rejected { source: Rejected::StaleEpoch(_), .. }) => {
                // Somebody else was faster.
                let run = load(&reader, id)?.run;
                let (pid, host) = (run.owner.pid, run.owner.host.clone());
                Err(EngineError::Owned { run: id, pid, host })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the owner of the run is alive and drives it.
    fn is_at_work(run: &Run) -> bool {
        // Whoever drove a run that is suspended has let it go.
        let is_let_go = run.state() == RunState::Suspended || run.owner == owner::current();
        !is_let_go && owner::is_alive(&run.owner)
    }

    /// Marks the runs of dead owners as such: what they left is ended, steps that may have
    /// happened become `interrupted`. Nothing of them is started: a person resumes them.
    ///
    /// # Errors
    ///
    /// [`EngineError::Store`]; a run that cannot be read back is passed over.
    pub async fn settle_dead(&self) -> Result<Vec<RunId>, EngineError> {
        let reader = self.store.reader()?;
        let mut settled = Vec::new();
        sweep::scratch(&reader);
        for row in reader.unfinished()?.rows {
            if row.owner == owner::nobody() || owner::is_alive(&row.owner) {
                continue;
            }
            // Whoever left it to wait for a person let nothing of it go on.
            if matches!(row.state, RunState::WaitingApproval | RunState::Suspended) {
                continue;
            }
            let _claim = self.claim(row.id)?;
            let Ok(loaded) = load(&reader, row.id) else { continue };
            let mut run = loaded.run;
            // While the claim was waited for, somebody else may have taken the run over.
            if run.owner == owner::nobody() || owner::is_alive(&run.owner) {
                continue;
            }
            let ended =
                self.perform.end_leftovers(&self.store.layout().run_scratch(row.id), row.id);
            let epoch = Epoch(run.epoch.0 + 1);
            let input = Input::TakeOver { epoch, owner: owner::nobody(), ended, holds: true };
            match self.advance(&reader, &mut run, input, &[], &mut Vec::new()).await {
                Ok(_) => settled.push(row.id),
                // Somebody else was faster.
                Err(
                    EngineError::Rejected { .. }
                    | EngineError::Store(StoreError::StaleEpoch { .. }),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(settled)
    }
}

/// The request as a fact, and the texts that it names.
fn requested(prepared: &Prepared, request: Request) -> (RunRequested, Vec<Blob>) {
    let mut blobs = Vec::new();
    let mut raw = |bytes: &[u8]| {
        let blob = Digest::of(bytes);
        blobs.push(Blob::Bytes { digest: blob, bytes: bytes.to_vec() });
        Stored::Blob { blob, bytes: bytes.len() as u64 }
    };
    let runbook = &prepared.runbook;
    let source = raw(&prepared.source.bytes);
    let files = prepared.files.iter().map(|(path, text)| (path.clone(), raw(text.as_bytes())));
    let files = files.collect();
    let inputs = Value::Object(prepared.inputs.clone());
    let text = inputs.to_string();
    let inputs = match text.len() > crate::limits::ENTRY_FIELD_BYTES_MAX {
        true => raw(text.as_bytes()),
        false => Stored::Inline { inline: inputs },
    };
    let requested = RunRequested {
        runbook: RunbookRef {
            name: runbook.name.clone(),
            version: runbook.version.to_string(),
            digest: runbook.digest,
            kind: runbook.kind,
            title: runbook.title.clone(),
            path: prepared.source.path.as_ref().map(|path| path.display().to_string()),
        },
        source,
        files,
        inputs,
        requester: request.requester,
        trigger: request.trigger,
        reason: request.reason,
        ticket: request.ticket,
        owner: owner::current(),
        epoch: Epoch(1),
    };
    (requested, blobs)
}

fn inline_blobs(advance: &mut Advance) -> Vec<Blob> {
    let made = advance.blobs.drain(..);
    made.map(|(digest, bytes)| Blob::Bytes { digest, bytes }).collect()
}

fn make_scratch(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

struct Driver<'a> {
    engine: &'a Engine,
    bench: Bench,
    reader: Reader,
    seen_version: i64,
    run: Run,
    wires: Wires,
    attempts: JoinSet<Joined>,
    under_way: HashMap<NodeIx, UnderWay>,
    tasks: HashMap<tokio::task::Id, (NodeIx, u32)>,
    is_left: bool,
}

/// What woke the loop.
#[expect(clippy::large_enum_variant, reason = "one at a time is there, on the stack")]
enum Woken {
    Done(Result<(tokio::task::Id, Joined), tokio::task::JoinError>),
    Control(Control),
    Tick,
    Look,
}

impl Driver<'_> {
    async fn run_to_end(&mut self) -> Result<Ended, EngineError> {
        loop {
            if let Some(ended) = self.ended().await? {
                return Ok(ended);
            }
            let woken = self.wait().await;
            let taken = match woken {
                Woken::Done(done) => self.attempt_done(done).await,
                Woken::Control(control) => self.controlled(control).await,
                Woken::Tick => self.take(Input::Tick, &[]).await,
                Woken::Look => self.look_around().await,
            };
            match taken {
                Ok(()) => {}
                Err(EngineError::Store(StoreError::StaleEpoch { .. })) => {
                    self.end_all_at_once().await;
                    return Ok(Ended::TakenOver);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What already happened is settled before more is accepted.
    async fn wait(&mut self) -> Woken {
        let due = self.run.next_due();
        let pause = due.map(|due| due.since(self.engine.clock.now()));
        tokio::select! {
            biased;
            Some(done) = self.attempts.join_next_with_id() => Woken::Done(done),
            Some(control) = self.wires.control.recv() => Woken::Control(control),
            () = sleep_or_never(pause) => Woken::Tick,
            () = tokio::time::sleep(FOREIGN_POLL) => Woken::Look,
        }
    }

    async fn ended(&mut self) -> Result<Option<Ended>, EngineError> {
        if let Some(finished) = &self.run.finished {
            let outcome = finished.outcome;
            self.end_all_at_once().await;
            return Ok(Some(Ended::Finished(outcome)));
        }
        if !self.under_way.is_empty() {
            return Ok(None);
        }
        let step_of = |ix: NodeIx| self.run.graph.step(ix).id.clone();
        let ended = match self.run.state() {
            RunState::Suspended => {
                let held = self.run.first_held().map(step_of).unwrap_or_default();
                Ended::Suspended { step: held }
            }
            RunState::WaitingApproval if !self.wires.waits || self.is_left => {
                let waiting = self.waiting().map(step_of).unwrap_or_default();
                Ended::Waiting { step: waiting }
            }
            _ => return Ok(None),
        };
        Ok(Some(ended))
    }

    /// The first step that waits for a person.
    fn waiting(&self) -> Option<NodeIx> {
        let waits = |state: &StepState| matches!(state, StepState::Running { confirmed: None, .. });
        let nodes = (0..self.run.steps.len()).map(NodeIx);
        let mut nodes = nodes.filter(|ix| self.run.is_manual(*ix));
        nodes.find(|ix| waits(self.run.state_of(*ix)))
    }

    async fn take(&mut self, input: Input, blobs: &[Blob]) -> Result<(), EngineError> {
        let mut told = Vec::new();
        let taken = self.engine.advance(&self.reader, &mut self.run, input, blobs, &mut told).await;
        for notice in told {
            self.tell(notice);
        }
        let (start, cancel) = taken?;
        self.start(start);
        self.cancel(&cancel);
        Ok(())
    }

    fn start(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let (node, number) = (attempt.node, attempt.attempt);
            let (cancel, cancelled) = watch::channel(Cancel::No);
            let live = Arc::new(Live::default());
            let is_sensitive = attempt.step.sensitive;
            // Of a sensitive step nobody watches what it prints.
            let shown = if is_sensitive { Arc::default() } else { Arc::clone(&live) };
            self.tell(Notice::Attempt {
                step: attempt.step.id.clone(),
                attempt: number,
                live: shown,
            });
            let bench = Bench { is_sensitive, ..self.bench.clone() };
            let work = bench.perform(attempt, cancelled, live);
            let task = self.attempts.spawn(work).id();
            self.tasks.insert(task, (node, number));
            self.under_way.insert(node, UnderWay { cancel });
        }
    }

    fn cancel(&mut self, nodes: &[NodeIx]) {
        for node in nodes {
            if let Some(attempt) = self.under_way.get(node) {
                // A cancel at once is not taken back.
                attempt.cancel.send_if_modified(|cancel| {
                    let is_new = *cancel < Cancel::InOrder;
                    *cancel = (*cancel).max(Cancel::InOrder);
                    is_new
                });
            }
        }
    }

    async fn attempt_done(
        &mut self,
        done: Result<(tokio::task::Id, Joined), tokio::task::JoinError>,
    ) -> Result<(), EngineError> {
        let (task, end) = match done {
            Ok((task, end)) => (task, end),
            // A panic comes back as a fact like any other end: the attempt may have happened.
            Err(panic) => (panic.id(), Ok(lost())),
        };
        let Some((node, number)) = self.tasks.remove(&task) else { return Ok(()) };
        self.under_way.remove(&node);
        let end = end?;
        let input = Input::AttemptEnded {
            node,
            attempt: number,
            report: Box::new(end.report),
            was_done: end.was_done,
            duration: end.duration,
        };
        self.take(input, &end.blobs).await
    }

    async fn controlled(&mut self, control: Control) -> Result<(), EngineError> {
        let input = match control {
            Control::Cancel { by, via } => Input::Cancel { by, via, comment: None },
            Control::Abandon { by } => {
                self.kill_all();
                Input::Abandon { by }
            }
            Control::Confirm { step, by, note, answers } => {
                Input::Confirm { step, by, note, answers }
            }
            Control::Resume { action, step, by, comment } => {
                Input::Resume { action, step, by, comment }
            }
            Control::Leave => {
                self.is_left = true;
                return Ok(());
            }
        };
        match self.take(input, &[]).await {
            Err(EngineError::Rejected { source, .. }) => {
                self.tell(Notice::Refused { why: source });
                Ok(())
            }
            other => other,
        }
    }

    /// Others may have asked this run to end, or confirmed a step of it.
    async fn look_around(&mut self) -> Result<(), EngineError> {
        let version = self.reader.data_version()?;
        if version == self.seen_version {
            return Ok(());
        }
        self.seen_version = version;
        let facts = facts_after(&self.reader, self.run.id, self.run.last_seq)?;
        if facts.is_empty() {
            return Ok(());
        }
        for fact in facts {
            let reader = &self.reader;
            let blobs = |digest: &Digest| read_blob(reader, digest);
            self.run.apply(&fact.event, fact.time, &blobs);
            self.run.last_seq = Some(fact.seq);
            if let Event::RunTakenOver { .. } = fact.event {
                let epoch = self.run.epoch;
                return Err(StoreError::StaleEpoch { run: self.run.id, found: epoch }.into());
            }
            self.tell(Notice::Fact { seq: fact.seq, time: fact.time, event: fact.event });
        }
        self.take(Input::Tick, &[]).await
    }

    fn tell(&self, notice: Notice) {
        if let Notice::Fact { event: Event::StepStarted { step, .. }, .. } = &notice
            && let Some(manual) = self.manual_notice(step)
        {
            let _ = self.wires.notices.send(notice);
            let _ = self.wires.notices.send(manual);
            return;
        }
        // Nobody has to listen.
        let _ = self.wires.notices.send(notice);
    }

    fn manual_notice(&self, id: &str) -> Option<Notice> {
        let ix = self.run.graph.find(id)?;
        let step = self.run.graph.step(ix);
        let Action::Manual(manual) = &step.action else { return None };
        let instructions = manual.instructions.render_text(&self.run.scope_of(ix)).ok()?;
        let ask = manual.ask.iter().map(|(name, ty)| (name.clone(), ty.kind().to_owned()));
        Some(Notice::Manual { step: id.to_owned(), instructions, ask: ask.collect() })
    }

    fn kill_all(&mut self) {
        for attempt in self.under_way.values() {
            let _ = attempt.cancel.send(Cancel::AtOnce);
        }
    }

    /// Ends every attempt and waits until they have ended, but not for ever.
    async fn end_all_at_once(&mut self) {
        self.kill_all();
        let all = async { while self.attempts.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(2), all).await;
        self.under_way.clear();
        self.tasks.clear();
    }
}

async fn sleep_or_never(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn lost() -> AttemptEnd {
    let message = "the attempt was lost by an error of ours: it may have happened".to_owned();
    let error = Some(ErrorInfo { code: "E_INTERNAL".to_owned(), message });
    let outcome = Outcome { end: End::Interrupted, error, ..Outcome::default() };
    AttemptEnd {
        report: Report { outcome, ..Report::default() },
        was_done: false,
        duration: Duration::ZERO,
        blobs: Vec::new(),
    }
}

/// The channel pair that most callers want.
#[must_use]
pub fn wires(
    waits: bool,
) -> (Wires, mpsc::UnboundedSender<Control>, mpsc::UnboundedReceiver<Notice>) {
    let (control, controlled) = mpsc::unbounded_channel();
    let (notices, noticed) = mpsc::unbounded_channel();
    (Wires { control: controlled, notices, waits }, control, noticed)
}
