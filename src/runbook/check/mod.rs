//! What can only be judged once the whole runbook is known: names, order, the rules of kinds.
//!
//! Works on the reader's [`Outline`], which exists for broken steps too, so that one mistake does
//! not hide another.

mod kinds;
mod names;
mod order;

use std::collections::HashMap;

use super::grammar;
use super::problem::{Problem, Span};
use super::read::{Code, Entry, Outline, RefKind, Role};
use super::{Options, yaml};
use order::Order;

/// Appends everything that is wrong with the runbook as a whole.
pub(super) fn check(
    source: &str,
    outline: &Outline,
    options: &Options,
    problems: &mut Vec<Problem>,
) {
    let mut by_id = HashMap::new();
    for (at, entry) in outline.entries.iter().enumerate().filter(|(_, entry)| entry.is_named) {
        by_id.entry(entry.id.as_str()).or_insert(at);
    }
    let mut checker = Checker { source, outline, by_id, order: Order::default(), problems };
    checker.ids();
    checker.order = order::of(&outline.entries, checker.problems);
    checker.references();
    names::check(&mut checker);
    for code in &outline.codes {
        checker.code(code);
    }
    kinds::check(&mut checker);
    checker.warnings(options);
}

struct Checker<'c> {
    source: &'c str,
    outline: &'c Outline,
    /// Steps by id, the first of each.
    by_id: HashMap<&'c str, usize>,
    order: Order,
    problems: &'c mut Vec<Problem>,
}

impl<'c> Checker<'c> {
    fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn entries(&self) -> &'c [Entry] {
        &self.outline.entries
    }

    /// The step with this id.
    fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    fn named_ids(&self) -> impl Iterator<Item = &'c str> {
        self.outline.entries.iter().filter(|entry| entry.is_named).map(|entry| entry.id.as_str())
    }

    fn ids(&mut self) {
        let mut seen = HashMap::new();
        for entry in self.entries().iter().filter(|entry| entry.is_named) {
            if let Some(first) = seen.insert(entry.id.as_str(), entry.span) {
                self.push(
                    Problem::error(
                        "E_ID_DUPLICATE",
                        entry.span,
                        format!("id `{}` is taken", entry.id),
                    )
                    .label("used again")
                    .related(first, "first used here")
                    .help("ids are unique in the whole runbook"),
                );
            }
        }
    }

    fn unknown_step(&mut self, id: &str, span: Span, code: &'static str) {
        let message = format!("no step has the id `{}`", yaml::shorten(id));
        let problem = Problem::error(code, span, message).label("not an id of this runbook");
        self.push(match grammar::nearest(id, self.named_ids()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("give the step an `id`"),
        });
    }

    /// `proves`, `show`, `recheck`, `until`.
    fn references(&mut self) {
        for (at, entry) in self.entries().iter().enumerate() {
            if let Some((id, span)) = &entry.proves {
                self.proves(at, id, *span);
            }
            for (kind, id, span) in &entry.refs {
                let Some(named) = self.find(id) else {
                    self.unknown_step(id, *span, "E_REFERENCE");
                    continue;
                };
                self.reference(at, *kind, named, *span);
            }
        }
    }

    fn proves(&mut self, at: usize, id: &str, span: Span) {
        let Some(proved) = self.find(id) else {
            self.unknown_step(id, span, "E_PROVES");
            return;
        };
        let problem = if proved == at {
            Some(("a step cannot prove itself".to_owned(), "name the change that it verifies"))
        } else if self.entries()[proved].effect != super::model::Effect::Change {
            Some((
                format!("`{id}` changes nothing that could be proved"),
                "name a step that changes something",
            ))
        } else if !self.order.may_name(at, proved) {
            Some((
                format!("`{id}` is not sure to have ended before"),
                "put this step behind the change, or add it to `needs`",
            ))
        } else {
            None
        };
        if let Some((message, help)) = problem {
            let other = self.entries()[proved].span;
            let problem = Problem::error("E_PROVES", span, message).help(help);
            self.push(if proved == at { problem } else { problem.related(other, "this step") });
        }
    }

    fn reference(&mut self, at: usize, kind: RefKind, named: usize, span: Span) {
        let entry = &self.entries()[named];
        let (message, help) = match kind {
            RefKind::Until if named == at => {
                ("a probe cannot end itself".to_owned(), "name a later step")
            }
            RefKind::Until if self.order.may_name(at, named) => (
                format!("`{}` has ended before the probe begins", entry.id),
                "name a later step, or leave `until` out",
            ),
            RefKind::Until => return,
            RefKind::Recheck if entry.effect != super::model::Effect::Read || is_gate(entry) => (
                format!("`{}` is no read: it cannot be done again", entry.id),
                "only steps of effect `read` are read again after the yes",
            ),
            RefKind::Show | RefKind::Recheck if self.order.may_name(at, named) => return,
            RefKind::Show | RefKind::Recheck => (
                format!("`{}` is not sure to have ended before this gate", entry.id),
                "name a step that stands before the gate",
            ),
        };
        let other = entry.span;
        self.push(
            Problem::error("E_REFERENCE", span, message).related(other, "this step").help(help),
        );
    }

    /// `{{name}}` in a text that is never templated.
    fn code(&mut self, code: &Code) {
        let sets: Vec<&str> = self
            .entries()
            .iter()
            .filter(|entry| entry.is_named && entry.action.is_some_and(|a| a.name == "set"))
            .map(|entry| entry.id.as_str())
            .collect();
        let Some((start, end)) = our_name(&code.scalar.text, &sets) else { return };
        let whole = code.scalar.inner;
        let locate = |at| code.scalar.locate(self.source, at);
        let span = match (locate(start), locate(end)) {
            (Some(start), Some(end)) if start < end => Span::new(start, end),
            _ => Span::new(whole.start, whole.start),
        };
        let written = code.scalar.text[start..end].to_owned();
        let action = self.entries()[code.step].action.map_or("this text", |action| action.name);
        let message = format!("nothing in `{action}` is templated: data never becomes code");
        let help = match code.instead {
            "env" => format!("write `env: {{ NAME: \"{written}\" }}` and `\"$NAME\"` in the text"),
            _ => format!("write a placeholder, and `params: [\"{written}\"]`"),
        };
        self.push(Problem::error("E_CODE", span, message).label("would be code").help(help));
    }

    fn warnings(&mut self, options: &Options) {
        for entry in self.entries() {
            if let (Some(span), true) = (entry.localhost, self.outline.has_targets) {
                let action = entry.action.map_or("it", |action| action.name);
                let message =
                    format!("`{action}` runs from the agent: this is the agent's own host");
                self.push(
                    Problem::warning("W_LOCALHOST", span, message).label("not the target").help(
                        "name the target's address, `{{target.address}}`, or run `command` on it",
                    ),
                );
            }
        }
        use super::model::Kind;
        let wants_tests = matches!(self.outline.kind, Some(Kind::Remediation | Kind::FailoverTest));
        if wants_tests && options.has_tests == Some(false) {
            let message = "this runbook has no tests";
            self.push(
                Problem::warning("W_NO_TESTS", self.outline.kind_span, message)
                    .label("changes systems")
                    .help("write `<name>.test.yaml` beside it"),
            );
        }
    }
}

fn is_gate(entry: &Entry) -> bool {
    entry
        .action
        .is_some_and(|action| matches!(action.name, "approve" | "manual" | "wait" | "probe"))
}

/// Whether the step stands in `steps`, not in what runs when something went wrong.
fn is_judged(entries: &[Entry], at: usize) -> bool {
    let mut next = Some(at);
    while let Some(at) = next {
        if !matches!(entries[at].role, Role::Steps | Role::Arm) {
            return false;
        }
        next = entries[at].parent;
    }
    true
}

/// The first `{{…}}` of `text` that begins with one of our names.
fn our_name(text: &str, sets: &[&str]) -> Option<(usize, usize)> {
    const HELPERS: [&str; 4] = ["if", "unless", "each", "with"];
    let word = |rest: &str| {
        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
    };
    for (at, _) in text.match_indices("{{") {
        let mut rest = text[at + 2..].trim_start_matches(['{', '~', '#', '/', '&']).trim_start();
        if HELPERS.contains(&&rest[..word(rest)]) {
            rest = rest[word(rest)..].trim_start();
        }
        let name = &rest[..word(rest)];
        if grammar::ROOTS.contains(&name) || sets.contains(&name) {
            let end = text[at..].find("}}").map_or(text.len(), |end| at + end + 2);
            let end = text[at..end].find('\n').map_or(end, |line| at + line);
            return Some((at, end));
        }
    }
    None
}
