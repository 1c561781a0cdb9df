//! What the actions on hosts and endpoints share: every wait has an end, and the ways to end are
//! spelled once.
//!
//! Who could not look says `unknown`; who looked and found something bad says `critical`; who may
//! have changed something and does not know says `interrupted`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::{Cancel, Cx};
use crate::limits::KILL_GRACE;
use crate::outcome::{End, ErrorInfo, Outcome, Verdict};

/// Why a wait ended before what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// `cx.deadline` passed.
    Deadline,
    /// `cx.cancel` said so.
    Cancelled,
}

impl Stop {
    /// The end of an attempt that this stopped, where nothing can have happened unseen.
    pub(super) fn end(self) -> End {
        match self {
            Stop::Deadline => End::TimedOut,
            Stop::Cancelled => End::Cancelled,
        }
    }
}

/// Whether the attempt has to end before `work` is even begun.
pub(super) fn over(cx: &Cx) -> Option<Stop> {
    if *cx.cancel.borrow() != Cancel::No {
        return Some(Stop::Cancelled);
    }
    cx.deadline.filter(|at| *at <= Instant::now()).map(|_| Stop::Deadline)
}

/// Waits for `work`, but no longer than the attempt may last; work that comes too late is not
/// begun. What is already there wins over a deadline that passes at the same moment.
pub(super) async fn bounded<T>(cx: &Cx, work: impl Future<Output = T>) -> Result<T, Stop> {
    if let Some(stop) = over(cx) {
        return Err(stop);
    }
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = cancelled(cx) => Err(Stop::Cancelled),
        () = until(cx.deadline) => Err(Stop::Deadline),
    }
}

/// Pending until somebody asks the attempt to end.
async fn cancelled(cx: &Cx) {
    let mut cancel = cx.cancel.clone();
    if cancel.wait_for(|how| *how != Cancel::No).await.is_err() {
        // Nobody is left who could ask.
        std::future::pending::<()>().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// How long reaching an endpoint may take now: `connect_timeout`, or what is left of the attempt.
pub(super) fn connect_budget(cx: &Cx) -> Duration {
    match cx.deadline {
        Some(at) => cx.connect_timeout.min(at.saturating_duration_since(Instant::now())),
        None => cx.connect_timeout,
    }
}

/// Says to work on another thread that nobody waits for it any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Whether the work must stop at its next safe point.
    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs blocking `read`ing on another thread. A dead network file system can hold that thread for
/// ever; the attempt then ends without it, which is safe because reading leaves nothing behind.
pub(super) async fn reading<T: Send + 'static>(
    cx: &Cx,
    read: impl FnOnce(&Halt) -> T + Send + 'static,
) -> Result<T, Outcome> {
    let halt = Halt::default();
    let theirs = halt.clone();
    let work = tokio::task::spawn_blocking(move || read(&theirs));
    match bounded(cx, work).await {
        Ok(done) => done.map_err(|gone| unknown("E_INTERNAL", format!("lost a thread: {gone}"))),
        Err(stop) => {
            halt.0.store(true, Ordering::Relaxed);
            Err(stopped(stop))
        }
    }
}

/// Runs blocking `change`s on another thread. When the attempt must end, `change` is asked to stop
/// and its account of what it did so far is waited for; without one the end is not known.
pub(super) async fn changing<T: Send + 'static>(
    cx: &Cx,
    change: impl FnOnce(&Halt) -> T + Send + 'static,
) -> Result<(T, Option<Stop>), Outcome> {
    let halt = Halt::default();
    let theirs = halt.clone();
    let mut work = tokio::task::spawn_blocking(move || change(&theirs));
    let lost = |why: String| Outcome {
        end: End::Interrupted,
        rule: Some(Verdict::Unknown),
        error: Some(ErrorInfo { code: "E_INTERRUPTED".to_owned(), message: why }),
        ..Outcome::default()
    };
    let stop = match bounded(cx, &mut work).await {
        Ok(done) => {
            let done = done.map_err(|gone| lost(format!("lost the thread of a change: {gone}")))?;
            return Ok((done, None));
        }
        Err(stop) => stop,
    };
    halt.0.store(true, Ordering::Relaxed);
    match tokio::time::timeout(KILL_GRACE, work).await {
        Ok(Ok(done)) => Ok((done, Some(stop))),
        Ok(Err(gone)) => Err(lost(format!("lost the thread of a change: {gone}"))),
        Err(_) => Err(lost("a change did not stop when it was asked to".to_owned())),
    }
}

/// It was carried out, and this is what it found.
pub(super) fn found(rule: Verdict, fields: Map<String, Value>) -> Outcome {
    Outcome { rule: Some(rule), fields, ..Outcome::default() }
}

/// It was carried out as far as it could be, and what it found says nothing: `unknown`.
pub(super) fn unknown(code: &str, message: impl Into<String>) -> Outcome {
    Outcome {
        rule: Some(Verdict::Unknown),
        error: Some(error(code, message)),
        ..Outcome::default()
    }
}

/// The parameters make no sense: nothing was begun.
pub(super) fn refused(code: &str, message: impl Into<String>) -> Outcome {
    Outcome { end: End::NotStarted, ..unknown(code, message) }
}

/// The endpoint does not answer: for whoever relies on it that is a finding, hence `critical`.
pub(super) fn unreachable(code: &str, message: impl Into<String>) -> Outcome {
    Outcome {
        end: End::Unreachable,
        rule: Some(Verdict::Critical),
        error: Some(error(code, message)),
        ..Outcome::default()
    }
}

/// Ended from outside while it only looked.
pub(super) fn stopped(stop: Stop) -> Outcome {
    let (code, message) = match stop {
        Stop::Deadline => ("E_TIMEOUT", "the attempt's time ran out"),
        Stop::Cancelled => ("E_CANCELLED", "the attempt was cancelled"),
    };
    Outcome { end: stop.end(), ..unknown(code, message) }
}

/// An error for [`Outcome::error`].
pub(super) fn error(code: &str, message: impl Into<String>) -> ErrorInfo {
    ErrorInfo { code: code.to_owned(), message: message.into() }
}

/// Collects result fields without the noise of `to_owned` and `into`.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// Adds a field.
    pub(super) fn set(mut self, name: &str, value: impl Into<Value>) -> Fields {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a field if there is a value: what is not known stays undefined.
    pub(super) fn set_if(self, name: &str, value: Option<impl Into<Value>>) -> Fields {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }
}

/// Time as result fields have it: seconds, to the microsecond.
pub(super) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e6
}

/// A share as result fields have it: percent with two decimals; 0 of 0 is 0.
pub(super) fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole * 10_000.0).round() / 100.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_nothing_is_no_division_error() {
        assert_eq!(percent(0.0, 0.0), 0.0);
        assert_eq!(percent(1.0, 3.0), 33.33);
    }
}
