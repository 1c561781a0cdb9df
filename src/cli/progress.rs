//! What people see of a run while it is under way: a line for each step that ended and, on a
//! terminal, live lines for those that run. Everything goes to standard error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::{Out, cut, pad, visible, visible_bytes, width};
use super::words::{self, Word};
use crate::action::Live;
use crate::run::event::{Event, Status, StepFinished};
use crate::unit::show_duration;

/// Between two redraws of the live lines.
pub(super) const REDRAW: Duration = Duration::from_millis(100);
/// Off a terminal: how often a step that still runs is mentioned.
const STILL_RUNNING: Duration = Duration::from_secs(30);
/// Live lines at once: more would push what has ended off the screen.
const LIVE_LINES_MAX: usize = 8;
/// Columns that titles are padded to; longer ones push the rest to the right.
const TITLE_WIDTH: usize = 40;
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Width of a terminal that does not say.
const COLUMNS: usize = 80;

/// What of a run's steps is known before they start.
#[derive(Clone, Debug, Default)]
pub(super) struct Titles {
    /// By the step's id.
    pub(super) titles: BTreeMap<String, String>,
    /// Steps that only hold others: they are not mentioned.
    pub(super) constructs: Vec<String>,
}

/// A step under way.
#[derive(Debug)]
struct Running {
    step: String,
    since: Instant,
    told: Instant,
    live: Option<Arc<Live>>,
}

/// The progress of one run.
#[derive(Debug)]
pub(super) struct Progress {
    out: Out,
    titles: Titles,
    title_width: usize,
    /// Whether a report follows that holds every step: then a terminal sees live lines only.
    is_reported: bool,
    running: Vec<Running>,
    /// Widths of the live lines on the screen.
    drawn: Vec<usize>,
    frame: usize,
    /// While a question is open, nothing is redrawn under the person's typing.
    prompt: Option<String>,
}

impl Progress {
    /// Of a run whose steps are `titles`. `is_reported`: a report of every step follows.
    #[must_use]
    pub(super) fn new(out: Out, titles: Titles, is_reported: bool) -> Progress {
        let widest = titles.titles.values().map(|title| width(&visible(title))).max();
        Progress {
            out,
            titles,
            title_width: widest.unwrap_or(0).min(TITLE_WIDTH),
            is_reported,
            running: Vec::new(),
            drawn: Vec::new(),
            frame: 0,
            prompt: None,
        }
    }

    /// Something became a fact, so long ago.
    pub(super) fn fact(&mut self, event: &Event, age: Duration) {
        match event {
            Event::StepStarted { step, attempt, .. } => self.started(step, *attempt, age),
            Event::StepFinished(end) => self.finished(end),
            Event::StepSkipped { step, reason } => {
                let is_told = matches!(reason.as_str(), "when" | "needs" | "done_by_person");
                if is_told || self.out.is_verbose {
                    let word = words::of_step("skipped", "ok");
                    let why = words::skip_reason(reason).to_owned();
                    self.step_line(step, word, None, &why);
                }
            }
            Event::CancelRequested { by, via, comment } => {
                let comment = comment.as_ref().map_or(String::new(), |text| format!(": {text}"));
                if via != "signal" {
                    self.line(&format!("cancel requested by {by}{comment}"));
                }
            }
            Event::RunTimedOut {} => self.line("the run's own timeout struck: it stops"),
            Event::PhaseEntered { phase } if phase == "rollback" => {
                self.line("rolling back, last change first");
            }
            Event::RunSuspended { step, reason, .. } => {
                let why = words::suspend_reason(reason);
                self.line(&format!("suspended at `{step}`: {why}"));
            }
            Event::RunResumed { action, step, by, .. } => {
                let step = step.as_ref().map_or(String::new(), |step| format!(" `{step}`"));
                let action = format!("{action:?}").to_lowercase();
                self.line(&format!("resumed by {by}: {action}{step}"));
            }
            Event::ManualConfirmed { step, by, .. } => {
                self.line(&format!("`{step}` confirmed by {by}"));
            }
            Event::RollbackVoided { by, steps } => {
                let steps = steps.join(", ");
                self.line(&format!("after `{by}` there is no way back: not undone: {steps}"));
            }
            _ => {}
        }
    }

    /// An attempt can be watched.
    pub(super) fn attempt(&mut self, step: &str, live: Arc<Live>) {
        if let Some(running) = self.running.iter_mut().find(|running| running.step == step) {
            running.live = Some(live);
        }
    }

    /// A step waits for a person, so its time does not count.
    pub(super) fn waits(&mut self, step: &str) {
        self.running.retain(|running| running.step != step);
        self.redraw();
    }

    fn is_construct(&self, step: &str) -> bool {
        self.titles.constructs.iter().any(|construct| construct == step)
    }

    fn started(&mut self, step: &str, attempt: u32, age: Duration) {
        self.running.retain(|running| running.step != step);
        if self.is_construct(step) {
            return;
        }
        let now = Instant::now();
        let since = now.checked_sub(age).unwrap_or(now);
        self.running.push(Running { step: step.to_owned(), since, told: now, live: None });
        if self.out.is_verbose {
            let again = if attempt > 1 { format!("attempt {attempt}") } else { String::new() };
            self.step_line(step, words::of_step("running", ""), None, &again);
        }
    }

    fn finished(&mut self, end: &StepFinished) {
        self.running.retain(|running| running.step != end.step);
        if self.is_construct(&end.step) {
            return;
        }
        let name = words::name(end.status);
        let word = words::of_step(&name, &end.verdict.to_string());
        let said = end.error.as_ref().map(|err| &err.message).or(end.note.as_ref());
        let mut message = said.cloned().unwrap_or_default();
        if end.was_done {
            message = "nothing to do, its `done` holds".to_owned();
        }
        if !end.left.is_empty() {
            message.push_str(&format!("; could not be ended: {}", end.left.join(", ")));
        }
        if end.next_attempt_at.is_some() {
            message = format!("attempt {}: {message}; it is tried again", end.attempt);
        }
        let is_problem = end.status != Status::Succeeded;
        if self.is_reported && self.out.is_live && !self.out.is_verbose && !is_problem {
            self.redraw();
            return;
        }
        let took = Duration::try_from_secs_f64(end.duration_seconds).unwrap_or_default();
        self.step_line(&end.step, word, Some(took), &message);
    }

    fn step_line(&mut self, step: &str, word: Word, took: Option<Duration>, message: &str) {
        let title = visible(self.titles.titles.get(step).map_or(step, String::as_str));
        let took = took.map_or(String::new(), show_duration);
        let mut line = format!(
            "{} {}  {:>7}",
            word.padded(self.out.stderr),
            pad(&title, self.title_width),
            took
        );
        if !message.is_empty() {
            line.push_str("  ");
            line.push_str(&visible(message));
        }
        self.raw_line(line.trim_end());
    }

    /// A line that stays; `text` may hold what came from outside.
    pub(super) fn line(&mut self, text: &str) {
        self.raw_line(&visible(text));
    }

    fn raw_line(&mut self, line: &str) {
        if self.out.is_quiet {
            return;
        }
        let mut text = self.erasure();
        if self.prompt.is_some() {
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
        if let Some(prompt) = &self.prompt {
            text.push_str(prompt);
        }
        text.push_str(&self.drawing());
        write(&text);
    }

    /// Asks: what the person types stands behind `text` until [`Progress::answered`].
    pub(super) fn ask(&mut self, before: &str, prompt: &str) {
        let text = format!("{}{before}{prompt}", self.erasure());
        self.prompt = Some(prompt.to_owned());
        write(&text);
    }

    /// The question is over.
    pub(super) fn answered(&mut self) {
        self.prompt = None;
        self.redraw();
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        self.frame += 1;
        if self.out.is_live {
            self.redraw();
            return;
        }
        let now = Instant::now();
        let mut lines = Vec::new();
        for running in &mut self.running {
            if now.duration_since(running.told) >= STILL_RUNNING {
                running.told = now;
                let took = now.duration_since(running.since);
                lines.push((running.step.clone(), took, last_line(running)));
            }
        }
        for (step, took, last) in lines {
            self.step_line(&step, words::of_step("running", ""), Some(took), &last);
        }
    }

    fn redraw(&mut self) {
        if self.out.is_live && (!self.drawn.is_empty() || !self.running.is_empty()) {
            let text = self.erasure() + &self.drawing();
            write(&text);
        }
    }

    /// Takes the live lines off the screen.
    pub(super) fn clear(&mut self) {
        let text = self.erasure();
        if !text.is_empty() {
            write(&text);
        }
    }

    /// What erases the live lines. The terminal may have become narrower since: a line then takes
    /// several rows.
    fn erasure(&mut self) -> String {
        if self.drawn.is_empty() {
            return String::new();
        }
        let columns = columns().max(1);
        let rows: usize = self.drawn.iter().map(|wide| wide.div_ceil(columns).max(1)).sum();
        self.drawn.clear();
        let up = if rows > 1 { format!("\x1b[{}A", rows - 1) } else { String::new() };
        format!("\r{up}\x1b[J")
    }

    /// What draws the live lines; the cursor stays at the end of the last.
    fn drawing(&mut self) -> String {
        if !self.out.is_live || self.prompt.is_some() || self.running.is_empty() {
            return String::new();
        }
        let columns = columns().saturating_sub(1);
        let spinner = SPINNER[self.frame % SPINNER.len()];
        let mut lines = Vec::new();
        for running in self.running.iter().take(LIVE_LINES_MAX) {
            let title = self.titles.titles.get(&running.step).unwrap_or(&running.step);
            // Half the line is left for what the step prints.
            let wide = self.title_width.min(columns / 2);
            let title = pad(&cut(&visible(title), wide), wide);
            let took = show_duration(running.since.elapsed());
            let line = format!("{spinner} {title}  {took:>7}  {}", last_line(running));
            lines.push(cut(line.trim_end(), columns));
        }
        if self.running.len() > LIVE_LINES_MAX {
            lines.push(cut(
                &format!("  … and {} more", self.running.len() - LIVE_LINES_MAX),
                columns,
            ));
        }
        self.drawn = lines.iter().map(|line| width(line)).collect();
        lines.join("\n")
    }
}

/// What a step printed last, on one line.
fn last_line(running: &Running) -> String {
    let Some(live) = &running.live else { return String::new() };
    // A poisoned lock: whoever held it is gone, the bytes are as good as before.
    let line = live.last_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    visible_bytes(line.trim_ascii_end())
}

/// Columns of the terminal behind standard error.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    match size {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => COLUMNS,
    }
}

/// If the terminal is gone, the run goes on all the same.
fn write(text: &str) {
    use std::io::Write as _;
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
