//! What became of a step or a run, in the words that people see: one sign, one word, one colour.

use super::report::Paint;

/// How something is to be painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// As hoped.
    Good,
    /// To be looked at.
    Odd,
    /// Wrong.
    Bad,
    /// Did not happen, or has not yet.
    None,
}

/// A sign, a word and their colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// One column wide.
    pub(super) sign: &'static str,
    /// At most [`WORD_WIDTH`] columns.
    pub(super) word: &'static str,
    /// Colour.
    pub(super) mood: Mood,
}

/// Columns of the longest word.
pub(super) const WORD_WIDTH: usize = 11;

const fn word(sign: &'static str, word: &'static str, mood: Mood) -> Word {
    Word { sign, word, mood }
}

impl Word {
    /// Sign and word, padded to one width and painted.
    #[must_use]
    pub(super) fn padded(self, paint: Paint) -> String {
        self.paint(paint, &format!("{} {:WORD_WIDTH$}", self.sign, self.word))
    }

    /// `text` in its colour.
    #[must_use]
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        match self.mood {
            Mood::Good => paint.green(text),
            Mood::Odd => paint.yellow(text),
            Mood::Bad => paint.red(text),
            Mood::None => paint.dim(text),
        }
    }
}

/// Of a step, by the names of its status and verdict.
#[must_use]
pub(super) fn of_step(status: &str, verdict: &str) -> Word {
    match (status, verdict) {
        ("succeeded", "warning") => word("!", "warning", Mood::Odd),
        ("succeeded", "critical") => word("✗", "critical", Mood::Bad),
        ("succeeded", "unknown") => word("✗", "unknown", Mood::Bad),
        ("succeeded", _) => word("✓", "ok", Mood::Good),
        ("failed", "unknown") => word("✗", "unknown", Mood::Bad),
        ("failed", _) => word("✗", "failed", Mood::Bad),
        ("timed_out", _) => word("✗", "timed out", Mood::Bad),
        ("unreachable", _) => word("✗", "unreachable", Mood::Bad),
        ("cancelled", _) => word("✗", "cancelled", Mood::Bad),
        ("interrupted", _) => word("✗", "interrupted", Mood::Bad),
        ("denied", _) => word("✗", "denied", Mood::Bad),
        ("skipped", _) => word("–", "skipped", Mood::None),
        ("running", _) => word("·", "running", Mood::None),
        _ => word("·", "waiting", Mood::None),
    }
}

/// Of a run, by the names of its outcome, or of its state while it has none.
#[must_use]
pub(super) fn of_run(name: &str) -> Word {
    match name {
        "succeeded" => word("✓", "succeeded", Mood::Good),
        "degraded" => word("!", "degraded", Mood::Odd),
        "failed" => word("✗", "failed", Mood::Bad),
        "denied" => word("✗", "denied", Mood::Bad),
        "cancelled" => word("✗", "cancelled", Mood::Bad),
        "interrupted" => word("✗", "interrupted", Mood::Bad),
        "suspended" => word("!", "suspended", Mood::Odd),
        "waiting_approval" => word("!", "waiting", Mood::Odd),
        "running" => word("·", "running", Mood::None),
        _ => word("·", "queued", Mood::None),
    }
}

/// Why a step was skipped.
#[must_use]
pub(super) fn skip_reason(reason: &str) -> &str {
    match reason {
        "when" => "its `when` does not hold",
        "needs" => "a step that it needs was skipped or failed",
        "ended" => "the run had ended",
        "stopped" => "the run had stopped",
        "not_taken" => "another branch was taken",
        "done_by_person" => "a person decided so",
        other => other,
    }
}

/// Why a run is suspended.
#[must_use]
pub(super) fn suspend_reason(reason: &str) -> &str {
    match reason {
        "failed" => "it failed, and its `on_failure` is `suspend`",
        "interrupted" => "it was under way when it was interrupted: it may have happened",
        "rollback_failed" => "a rollback failed",
        other => other,
    }
}

/// The name of a value of a closed set, as the log and JSON have it.
#[must_use]
pub(super) fn name(value: impl serde::Serialize) -> String {
    serde_json::json!(value).as_str().unwrap_or_default().to_owned()
}
