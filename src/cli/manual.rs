//! `manual` steps on a terminal: instructions, answers, a note, and a yes. Off a terminal: how to
//! confirm them from elsewhere.

use std::collections::VecDeque;
use std::io::BufRead as _;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::progress::Progress;
use super::report::{Out, indent, visible, visible_text};
use crate::engine::Control;
use crate::id::RunId;
use crate::run::event::Event;

/// What is asked next of a manual step.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The answer with this number.
    Answer(usize),
    /// A note.
    Note,
    /// Whether it is done.
    Done,
    /// Whether the engine takes it.
    Verdict,
}

#[derive(Debug)]
struct Question {
    step: String,
    instructions: String,
    ask: Vec<(String, String)>,
    answers: Map<String, Value>,
    note: Option<String>,
    next: Next,
}

/// The manual steps that wait, and the person at the terminal.
#[derive(Debug)]
pub(super) struct Questions {
    run: RunId,
    by: String,
    out: Out,
    can_ask: bool,
    waits: bool,
    open: VecDeque<Question>,
    lines: Option<mpsc::UnboundedReceiver<String>>,
}

impl Questions {
    /// Of `run`. `can_ask`: somebody is at the terminal. `waits`: this process stays.
    #[must_use]
    pub(super) fn new(run: RunId, by: String, out: Out, can_ask: bool, waits: bool) -> Questions {
        Questions { run, by, out, can_ask, waits, open: VecDeque::new(), lines: None }
    }

    /// The run that they are about.
    #[must_use]
    pub(super) fn run(&self) -> RunId {
        self.run
    }

    /// A manual step waits.
    pub(super) fn open(
        &mut self,
        step: String,
        instructions: String,
        ask: Vec<(String, String)>,
        progress: &mut Progress,
    ) {
        if self.open.iter().any(|question| question.step == step) {
            return;
        }
        if !self.can_ask || !self.waits {
            self.tell(&step, &instructions, &ask);
            return;
        }
        let question =
            Question { step, instructions, ask, answers: Map::new(), note: None, next: Next::Note };
        self.open.push_back(question);
        if self.open.len() == 1 {
            self.begin(progress);
        }
    }

    /// How to confirm from elsewhere.
    fn tell(&self, step: &str, instructions: &str, ask: &[(String, String)]) {
        let (out, run) = (self.out, self.run);
        out.say_always(&format!("step `{}` waits for a person:", visible(step)));
        out.say_always(indent(&visible_text(instructions), "  | ").trim_end());
        let mut command = format!("runwarden approvals confirm {run}/{}", visible(step));
        for (name, kind) in ask {
            command.push_str(&format!(" --answer {name}=<{}>", visible(kind)));
        }
        out.say_always(&format!("to confirm it: {command}"));
    }

    /// Begins, or begins again, with the first question that is open.
    fn begin(&mut self, progress: &mut Progress) {
        let Some(question) = self.open.front_mut() else { return };
        question.answers.clear();
        question.note = None;
        question.next = if question.ask.is_empty() { Next::Note } else { Next::Answer(0) };
        let before = format!(
            "step `{}` waits for you:\n{}",
            visible(&question.step),
            indent(&visible_text(&question.instructions), "  | ")
        );
        if self.lines.is_none() {
            self.lines = Some(read_lines());
        }
        let prompt = self.prompt();
        progress.ask(&before, &prompt);
    }

    fn prompt(&self) -> String {
        let Some(question) = self.open.front() else { return String::new() };
        match question.next {
            Next::Answer(at) => {
                let (name, kind) = &question.ask[at];
                format!("  {} ({}): ", visible(name), visible(kind))
            }
            Next::Note => "  note (may be empty): ".to_owned(),
            Next::Done => "  is it done? [y/N] ".to_owned(),
            Next::Verdict => String::new(),
        }
    }

    /// The next line that the person types; never, while nothing is asked. `None`: they are gone.
    pub(super) async fn next_line(&mut self) -> Option<String> {
        let is_asked = self.open.front().is_some_and(|question| question.next != Next::Verdict);
        match &mut self.lines {
            Some(lines) if is_asked => lines.recv().await,
            _ => std::future::pending().await,
        }
    }

    /// What they typed.
    pub(super) fn answer(
        &mut self,
        line: Option<String>,
        progress: &mut Progress,
        control: &mpsc::UnboundedSender<Control>,
    ) {
        let Some(line) = line else {
            self.give_up(progress);
            return;
        };
        let Some(question) = self.open.front_mut() else { return };
        let text = line.trim();
        match question.next {
            Next::Answer(at) => {
                let name = question.ask[at].0.clone();
                if !text.is_empty() {
                    question.answers.insert(name, Value::String(text.to_owned()));
                }
                let next = at + 1;
                question.next =
                    if next < question.ask.len() { Next::Answer(next) } else { Next::Note };
            }
            Next::Note => {
                question.note = (!text.is_empty()).then(|| text.to_owned());
                question.next = Next::Done;
            }
            Next::Done if matches!(text, "y" | "Y" | "yes") => {
                question.next = Next::Verdict;
                // Nobody listens any more: the run is over, and with it the question.
                let _ = control.send(Control::Confirm {
                    step: question.step.clone(),
                    by: self.by.clone(),
                    note: question.note.clone(),
                    answers: question.answers.clone(),
                });
                progress.answered();
                return;
            }
            Next::Done => {
                progress.answered();
                progress.line("not confirmed; Ctrl-C cancels the run");
                self.begin(progress);
                return;
            }
            Next::Verdict => return,
        }
        let prompt = self.prompt();
        progress.ask("", &prompt);
    }

    /// The terminal is gone: somebody may still confirm from elsewhere.
    fn give_up(&mut self, progress: &mut Progress) {
        progress.answered();
        self.can_ask = false;
        self.lines = None;
        for question in std::mem::take(&mut self.open) {
            self.tell(&question.step, &question.instructions, &question.ask);
        }
    }

    /// The engine did not take the answers: they are asked for again.
    pub(super) fn refused(&mut self, progress: &mut Progress) {
        if self.open.front().is_some_and(|question| question.next == Next::Verdict) {
            self.begin(progress);
        }
    }

    /// A step that somebody else confirmed, or that was ended, is not asked about any more.
    pub(super) fn fact(&mut self, event: &Event, progress: &mut Progress) {
        let step = match event {
            Event::ManualConfirmed { step, .. } => step,
            Event::StepFinished(end) => &end.step,
            _ => return,
        };
        let Some(at) = self.open.iter().position(|question| question.step == *step) else {
            return;
        };
        self.open.remove(at);
        if at == 0 {
            progress.answered();
            self.begin(progress);
        }
    }

    /// Nothing is asked any more.
    pub(super) fn close(&mut self, progress: &mut Progress) {
        if !self.open.is_empty() {
            self.open.clear();
            progress.answered();
        }
    }
}

/// Lines of standard input, read by a thread that ends with the process: a read of a terminal
/// cannot be called off.
fn read_lines() -> mpsc::UnboundedReceiver<String> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}
