//! One attempt: the `done` check, the action, its deadline, its outputs put into the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Perform;
use crate::action::{Cancel, Cx, Live};
use crate::id::{Digest, RunId};
use crate::limits::EXPRESSION_OUTPUT_BYTES_MAX;
use crate::outcome::{Captured, End, ErrorInfo, Kept, Outcome, Verdict};
use crate::run::Attempt;
use crate::run::event::{Output, Status};
use crate::run::judge::{Judged, Report, Text, judge};
use crate::runbook::model::{Action, Check, Wait as WrittenWait};
use crate::runbook::params::{Resolved, Wait};
use crate::runbook::scope::Scope;
use crate::store::{Blob, Store, StoreError};

/// What an attempt came back with, its outputs in the store.
#[derive(Debug)]
pub(super) struct AttemptEnd {
    pub(super) report: Report,
    pub(super) was_done: bool,
    pub(super) duration: Duration,
    pub(super) blobs: Vec<Blob>,
}

/// What every attempt of a run shares.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) run: RunId,
    pub(super) scratch: PathBuf,
    pub(super) perform: Arc<dyn Perform>,
    pub(super) store: Arc<Store>,
    /// Whether the step's outputs are kept as digest and size only.
    pub(super) is_sensitive: bool,
}

/// The monotonic clock of the runtime: what its timers obey, so that simulated time is one.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Bytes kept of the end of an output, for messages.
const TAIL_BYTES: usize = 2 << 10;

impl Bench {
    /// Performs an attempt to its end.
    pub(super) async fn perform(
        self,
        attempt: Attempt,
        cancel: watch::Receiver<Cancel>,
        live: Arc<Live>,
    ) -> Result<AttemptEnd, StoreError> {
        let began = now();
        let step = &attempt.step;
        let cx = Cx {
            run: self.run,
            step: step.id.clone(),
            attempt: attempt.attempt,
            deadline: step.timeout.map(|timeout| began + timeout),
            connect_timeout: step.connect_timeout,
            cancel,
            scratch: self.scratch.clone(),
            live,
        };
        let mut blobs = Vec::new();
        let mut end = AttemptEnd {
            report: Report::default(),
            was_done: false,
            duration: Duration::ZERO,
            blobs: Vec::new(),
        };
        if let (Some(done), Some(check)) = (&attempt.done, &step.done) {
            let report = self.look(done, &cx, &mut blobs).await?;
            let judged = judge(&check.0, &report, &attempt.scope, attempt.attempt);
            match verdict_of_done(&judged) {
                Done::Holds => {
                    end.was_done = true;
                    end.report = report;
                }
                Done::HoldsNot => {
                    end.report = self.act(&attempt, &cx, &mut blobs).await?;
                }
                Done::Unknown => end.report = Report { outcome: unknown_done(&judged), ..report },
            }
        } else {
            end.report = self.act(&attempt, &cx, &mut blobs).await?;
        }
        end.blobs = blobs;
        end.duration = now().duration_since(began);
        Ok(end)
    }

    async fn act(
        &self,
        attempt: &Attempt,
        cx: &Cx,
        blobs: &mut Vec<Blob>,
    ) -> Result<Report, StoreError> {
        match &attempt.action {
            Resolved::Wait(Wait::For(span)) => {
                let outcome = wait_for(span.0, cx).await;
                Ok(Report { outcome, ..Report::default() })
            }
            Resolved::Wait(Wait::Until { check, every, stable, timeout }) => {
                let Action::Wait(WrittenWait::Until { check: written, .. }) = &attempt.step.action
                else {
                    unreachable!("a rendered wait comes from a written one");
                };
                let patience = Patience {
                    every: every.0,
                    stable: stable.0,
                    deadline: now() + timeout.0,
                    timeout: timeout.0,
                };
                let report =
                    self.wait_until(written, check, &patience, &attempt.scope, cx, blobs).await;
                // The looks' own outputs are not the step's.
                blobs.clear();
                report
            }
            action => self.look(action, cx, blobs).await,
        }
    }

    /// Performs one action and puts its outputs away.
    async fn look(
        &self,
        action: &Resolved,
        cx: &Cx,
        blobs: &mut Vec<Blob>,
    ) -> Result<Report, StoreError> {
        let mut outcome = self.perform.perform(action, cx).await;
        let stdout = outcome.stdout.take();
        let stderr = outcome.stderr.take();
        let stdout = self.put_away(stdout, blobs).await?;
        let stderr = self.put_away(stderr, blobs).await?;
        if self.is_sensitive {
            // Kept as digest and size only: the bytes never reach the store's transaction.
            blobs.clear();
        }
        Ok(Report { outcome, stdout, stderr })
    }

    async fn put_away(
        &self,
        captured: Option<Captured>,
        blobs: &mut Vec<Blob>,
    ) -> Result<Option<Text>, StoreError> {
        let Some(captured) = captured.filter(|captured| captured.bytes > 0) else {
            return Ok(None);
        };
        let mut output = Output {
            bytes: captured.bytes,
            sha256: captured.sha256,
            blob: None,
            kept_bytes: 0,
            tail_at: None,
            truncated: captured.truncated,
        };
        let is_readable = !captured.truncated && captured.bytes <= EXPRESSION_OUTPUT_BYTES_MAX;
        match captured.kept {
            Kept::Memory(bytes) => {
                let digest = if captured.truncated { Digest::of(&bytes) } else { captured.sha256 };
                output.blob = Some(digest);
                output.kept_bytes = bytes.len() as u64;
                let tail = bytes[bytes.len().saturating_sub(TAIL_BYTES)..].to_vec();
                let whole = is_readable.then(|| bytes.clone());
                blobs.push(Blob::Bytes { digest, bytes });
                Ok(Some(Text { output, whole, tail }))
            }
            Kept::File { path, .. } if self.is_sensitive => {
                let read = move || {
                    let read = read_back(&path, is_readable);
                    let _ = std::fs::remove_file(&path);
                    read
                };
                let read = tokio::task::spawn_blocking(read).await;
                let (whole, tail) = read.expect("reading a file does not panic");
                Ok(Some(Text { output, whole, tail }))
            }
            Kept::File { path, bytes, tail_at } => {
                let store = Arc::clone(&self.store);
                let kept = tokio::task::spawn_blocking(move || {
                    keep_file(&store, &path, bytes, is_readable)
                });
                let (placed, whole, tail) = kept.await.expect("keeping a file does not panic")?;
                output.blob = Some(placed.digest());
                output.kept_bytes = bytes;
                output.tail_at = tail_at;
                blobs.push(placed);
                Ok(Some(Text { output, whole, tail }))
            }
        }
    }

    /// Looks until the check has held for `stable`, or time is up. A look that fails is no failure
    /// of the step.
    async fn wait_until(
        &self,
        check: &Check,
        action: &Resolved,
        patience: &Patience,
        scope: &Scope,
        cx: &Cx,
        blobs: &mut Vec<Blob>,
    ) -> Result<Report, StoreError> {
        let began = now();
        let deadline = cx.deadline.map_or(patience.deadline, |own| own.min(patience.deadline));
        let mut attempts = 0_u32;
        let mut holds_since: Option<Instant> = None;
        let mut last = String::from("no look came to its end");
        loop {
            attempts += 1;
            let look_began = now();
            let own = check.0.timeout.map_or(deadline, |timeout| look_began + timeout);
            let cx = Cx { deadline: Some(own.min(deadline)), ..cx.clone() };
            blobs.clear();
            let report = self.look(action, &cx, blobs).await?;
            let is_cut = report.outcome.end == End::Cancelled;
            let judged = judge(&check.0, &report, scope, attempts);
            if holds(&judged) {
                let since = *holds_since.get_or_insert(look_began);
                if look_began.duration_since(since) >= patience.stable {
                    return Ok(waited(began, attempts, Outcome::default(), report));
                }
            } else {
                holds_since = None;
                // A look that the wait's own end cut short saw nothing.
                let is_ours = own >= deadline && report.outcome.end == End::TimedOut;
                if !is_ours || attempts == 1 {
                    last = why_not(&judged);
                }
            }
            if is_cut || is_cancelled(&cx) {
                let outcome = Outcome { end: End::Cancelled, ..Outcome::default() };
                return Ok(waited(began, attempts, outcome, report));
            }
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                let message = format!(
                    "did not hold within {}: {last}",
                    crate::unit::show_duration(patience.timeout)
                );
                let error = Some(ErrorInfo { code: "E_WAIT".to_owned(), message });
                let outcome = Outcome { end: End::TimedOut, error, ..Outcome::default() };
                return Ok(waited(began, attempts, outcome, report));
            }
            pause_or_cancel(patience.every.min(left), &cx).await;
        }
    }
}

struct Patience {
    every: Duration,
    stable: Duration,
    deadline: Instant,
    timeout: Duration,
}

fn keep_file(
    store: &Store,
    path: &std::path::Path,
    bytes: u64,
    is_readable: bool,
) -> Result<(Blob, Option<Vec<u8>>, Vec<u8>), StoreError> {
    let (whole, tail) = read_back(path, is_readable);
    let placed = store.keep_file(path, bytes)?;
    let _ = std::fs::remove_file(path);
    Ok((placed, whole, tail))
}

/// All of a spilled output if it is small enough to be read by expressions, and its end.
fn read_back(path: &std::path::Path, is_readable: bool) -> (Option<Vec<u8>>, Vec<u8>) {
    use std::io::{Read, Seek, SeekFrom};
    let mut whole = None;
    let mut tail = Vec::new();
    // What cannot be read back is not there for expressions and messages; the store says whether
    // it can be kept.
    if let Ok(mut file) = std::fs::File::open(path) {
        if is_readable {
            let mut bytes = Vec::new();
            if file.read_to_end(&mut bytes).is_ok() {
                tail = bytes[bytes.len().saturating_sub(TAIL_BYTES)..].to_vec();
                whole = Some(bytes);
            }
        } else {
            let back = i64::try_from(TAIL_BYTES).unwrap_or(0);
            let _ = file.seek(SeekFrom::End(-back)).and_then(|_| file.read_to_end(&mut tail));
        }
    }
    (whole, tail)
}

enum Done {
    Holds,
    HoldsNot,
    Unknown,
}

fn verdict_of_done(judged: &Judged) -> Done {
    match (judged.status, judged.verdict) {
        (Status::Succeeded, _) => Done::Holds,
        (Status::Failed, Verdict::Critical) => Done::HoldsNot,
        _ => Done::Unknown,
    }
}

/// Acting although nobody knows whether it was done already is what `done` is there to prevent.
fn unknown_done(judged: &Judged) -> Outcome {
    let why = judged.error.as_ref().map_or("", |error| error.message.as_str());
    let message = format!("`done` could not be answered, so nothing was done: {why}");
    let end = match judged.status {
        Status::Cancelled => End::Cancelled,
        Status::TimedOut => End::TimedOut,
        _ => End::NotStarted,
    };
    let error = Some(ErrorInfo { code: "E_DONE".to_owned(), message });
    Outcome { end, error, ..Outcome::default() }
}

fn holds(judged: &Judged) -> bool {
    judged.status == Status::Succeeded
}

fn why_not(judged: &Judged) -> String {
    judged.error.as_ref().map_or_else(|| "it does not hold".to_owned(), |why| why.message.clone())
}

fn waited(began: Instant, attempts: u32, mut outcome: Outcome, last: Report) -> Report {
    let seconds = (now().duration_since(began).as_secs_f64() * 1e3).round() / 1e3;
    outcome.fields.insert("waited_seconds".to_owned(), json!(seconds));
    outcome.fields.insert("attempts".to_owned(), Value::from(attempts));
    outcome.left = last.outcome.left;
    Report { outcome, stdout: None, stderr: None }
}

async fn wait_for(span: Duration, cx: &Cx) -> Outcome {
    let began = now();
    let until = began + span;
    let deadline = cx.deadline.filter(|deadline| *deadline < until);
    pause_or_cancel(deadline.unwrap_or(until).saturating_duration_since(began), cx).await;
    let end = match (is_cancelled(cx), deadline) {
        (true, _) => End::Cancelled,
        (false, Some(_)) => End::TimedOut,
        (false, None) => End::Completed,
    };
    let mut outcome = Outcome { end, ..Outcome::default() };
    let seconds = (now().duration_since(began).as_secs_f64() * 1e3).round() / 1e3;
    outcome.fields.insert("waited_seconds".to_owned(), json!(seconds));
    outcome.fields.insert("attempts".to_owned(), json!(1));
    outcome
}

fn is_cancelled(cx: &Cx) -> bool {
    *cx.cancel.borrow() != Cancel::No
}

async fn pause_or_cancel(span: Duration, cx: &Cx) {
    let mut cancel = cx.cancel.clone();
    tokio::select! {
        () = tokio::time::sleep(span) => {}
        // The sender lives as long as the attempt: an error means that nobody can cancel it.
        Ok(_) = cancel.wait_for(|cancel| *cancel != Cancel::No) => {}
    }
}
