//! Drives a run to its end for the command line: the engine and the signals on a thread of their
//! own, and on this thread what people see, so that a terminal that does not take a line (Ctrl-S)
//! holds up nothing but itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::exit::{Exit, Failure};
use super::manual::Questions;
use super::progress::{Progress, REDRAW};
use super::report::Out;
use super::{history, state, summary};
use crate::engine::{
    Begun, Commit, Control, Ended, Engine, EngineError, Notice, ThisHost, Wires, load,
};
use crate::run::event::{RunOutcome, RunState};
use crate::store::{OpenMode, Store};
use crate::time::SystemClock;

/// The engine over a state folder, with what drives it.
pub(super) struct Motor {
    /// The engine.
    pub(super) engine: Engine,
    /// What runs what people see.
    runtime: Runtime,
    /// Signals that this process takes, from the moment on in which it may own a run.
    signals: Option<Signals>,
}

impl std::fmt::Debug for Motor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Motor").finish_non_exhaustive()
    }
}

impl Motor {
    /// Opens the state folder for writing.
    ///
    /// # Errors
    ///
    /// Exit 6 or 7.
    pub(super) fn open(folder: &std::path::Path, out: Out) -> Result<Motor, Failure> {
        let store = Store::open(folder, OpenMode::ReadWrite)?;
        if store.is_new() {
            out.say(&format!("new signed log in {}", folder.display()));
            out.say(&format!("its public key, for the auditor: {}", store.vkey()));
        } else if out.is_verbose {
            out.say(&format!("state folder: {}", folder.display()));
        }
        let engine = Engine {
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            perform: Arc::new(ThisHost),
            commit: Commit::InPlace,
        };
        // Of the people at the terminal; the run itself has a thread and a runtime of its own, so
        // that a terminal which does not read holds up no deadline.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|err| Failure::new(Exit::Store, format!("failed to start threads: {err}")))?;
        Ok(Motor { engine, runtime, signals: None })
    }

    /// Takes what the engine gives a run to this process by. From here on a signal does not end
    /// the process any more: it is kept for the run.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub(super) fn begin<T>(
        &mut self,
        begin: impl AsyncFnOnce(&Engine) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let (engine, signals) = (&self.engine, &mut self.signals);
        self.runtime.block_on(async {
            *signals = Signals::open();
            begin(engine).await
        })
    }

    /// Settles the runs whose processes died, and names them.
    ///
    /// # Errors
    ///
    /// Exit 6 or 7.
    pub(super) fn settle(&self, out: Out) -> Result<(), Failure> {
        let settled = self.runtime.block_on(self.engine.settle_dead())?;
        if settled.is_empty() {
            return Ok(());
        }
        let reader = self.engine.store.reader()?;
        for run in settled {
            let Some(row) = reader.run_row(run)? else { continue };
            if row.state == RunState::WaitingApproval {
                continue; // It was left to wait for a person, and still does.
            }
            let held = load(&reader, run).ok().and_then(|loaded| history::held(&loaded));
            out.warn(&format!("the process of run {run} died while it was under way"));
            out.say(&format!("  look: runwarden runs show {run}"));
            for way in summary::ways_to_resume(&run.to_string(), held.is_some()) {
                out.say(&format!("  go on: {way}"));
            }
        }
        Ok(())
    }

    /// Drives `begun` until it is over or waits; `questions` asks people on a terminal.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub(super) fn drive(
        &mut self,
        begun: Begun,
        waits: bool,
        mut progress: Progress,
        mut questions: Questions,
    ) -> Result<Ended, EngineError> {
        let (control, commands) = mpsc::unbounded_channel();
        let (told, mut notices) = mpsc::unbounded_channel();
        let (signalled, mut signals) = mpsc::unbounded_channel();
        let orders = control.clone();
        let engine = self.engine.clone();
        let signals_of_run = self.signals.take();
        let wires = Wires { control: commands, notices: told, waits };
        let run = questions.run();
        let scratch = move |source| EngineError::Scratch { run, source };
        let (ending, mut ended) = tokio::sync::oneshot::channel::<()>();
        let driving = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // One thread for all of a run: what comes back from a step is decided, recorded and
                // followed by the next step without a switch of threads.
                let runtime =
                    Builder::new_current_thread().enable_all().build().map_err(scratch)?;
                if let Some(signals) = signals_of_run {
                    runtime.spawn(signals.listen(orders, signalled));
                }
                let ended = runtime.block_on(engine.drive(begun, wires));
                drop(ending);
                // What is still under way (a name that does not resolve) holds nobody up.
                runtime.shutdown_background();
                ended
            })
            .map_err(scratch)?;
        self.runtime.block_on(async {
            let mut tick = tokio::time::interval(REDRAW);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    Some(line) = signals.recv() => progress.line(line),
                    _ = &mut ended => break,
                    line = questions.next_line() => {
                        questions.answer(line, &mut progress, &control);
                    }
                    // Ten times a second is soon enough for people; to be woken by each fact
                    // would cost the run more than writing it down.
                    _ = tick.tick() => {
                        while let Ok(notice) = notices.try_recv() {
                            show(notice, &mut progress, &mut questions);
                        }
                        progress.tick();
                    }
                }
            }
        });
        while let Ok(notice) = notices.try_recv() {
            show(notice, &mut progress, &mut questions);
        }
        while let Ok(line) = signals.try_recv() {
            progress.line(line);
        }
        progress.clear();
        questions.close(&mut progress);
        match driving.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn show(notice: Notice, progress: &mut Progress, questions: &mut Questions) {
    match notice {
        Notice::Fact { event, .. } => {
            questions.fact(&event, progress);
            progress.fact(&event, Duration::ZERO);
        }
        Notice::Attempt { step, live, .. } => progress.attempt(&step, live),
        Notice::Manual { step, instructions, ask } => {
            progress.waits(&step);
            questions.open(step, instructions, ask, progress);
        }
        Notice::Refused { why } => {
            progress.line(&format!("refused: {why}"));
            questions.refused(progress);
        }
    }
}

/// The signals that end a run.
struct Signals {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Signals {
    /// Takes them over; `None`: the system does not let us, so that they end the process as ever.
    fn open() -> Option<Signals> {
        Some(Signals {
            int: signal(SignalKind::interrupt()).ok()?,
            term: signal(SignalKind::terminate()).ok()?,
            hup: signal(SignalKind::hangup()).ok()?,
        })
    }

    /// Turns signals into what they mean: the first cancels in order, a Ctrl-C after it stops at
    /// once.
    async fn listen(
        mut self,
        control: mpsc::UnboundedSender<Control>,
        told: mpsc::UnboundedSender<&'static str>,
    ) {
        let by = state::principal();
        let mut is_cancelled = false;
        loop {
            let is_int = tokio::select! {
                Some(()) = self.int.recv() => true,
                Some(()) = self.term.recv() => false,
                Some(()) = self.hup.recv() => false,
            };
            let is_second = std::mem::replace(&mut is_cancelled, true);
            let (order, line) = match (is_second, is_int) {
                (false, _) => (
                    Control::Cancel { by: by.clone(), via: "signal".to_owned() },
                    "cancelling: the running step is ended, then rollbacks and `finally` run; Ctrl-C \
                     again stops at once",
                ),
                (true, true) => (
                    Control::Abandon { by: by.clone() },
                    "stopping at once: nothing is undone, the run is recorded as interrupted",
                ),
                // A terminal that closes may send its signal twice: that is no second wish.
                (true, false) => continue,
            };
            let _ = told.send(line);
            if control.send(order).is_err() {
                return;
            }
        }
    }
}

/// The code for how driving ended.
#[must_use]
pub(super) fn exit_of(ended: &Ended, is_strict: bool) -> Exit {
    match ended {
        Ended::Finished(outcome) => Exit::of_outcome(*outcome, is_strict),
        Ended::Suspended { .. } | Ended::Waiting { .. } | Ended::TakenOver => Exit::Waiting,
    }
}

/// The code of a command whose purpose it was to end a run.
#[must_use]
pub(super) fn exit_of_cancel(ended: &Ended) -> Exit {
    match ended {
        Ended::Finished(RunOutcome::Cancelled) => Exit::Ok,
        other => exit_of(other, false),
    }
}
