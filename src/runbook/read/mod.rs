//! From the tree to the model: every value read by the type that its key expects, every problem
//! collected. What needs the whole runbook (names, order, rules of kinds) is left to
//! [`super::check`], for which the reader keeps an [`Outline`] that exists even where a step is
//! too broken to be built.

mod action;
mod gate;
mod input;
mod modifier;
mod params;
mod process;
mod scalar;
mod step;
mod top;

use super::expr::{Comparison, Operand};
use super::grammar::{self, ActionSpec, FieldType, Object};
use super::model::{Effect, Kind, ProcessModifiers, Runbook};
use super::problem::{Problem, Span};
use super::template::Template;
use super::yaml::{self, Key, Node, Scalar};

/// What the checks need to know of the whole runbook.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// Steps and checks in document order; the index is the [`super::model::StepIx`].
    pub(super) entries: Vec<Entry>,
    /// Every name that an expression or template mentions.
    pub(super) mentions: Vec<Mention>,
    /// Texts in which nothing is templated.
    pub(super) codes: Vec<Code>,
    /// Declared inputs: name, type where comparisons care.
    pub(super) inputs: Vec<(String, FieldType)>,
    /// Declared secrets.
    pub(super) secrets: Vec<String>,
    /// What the runbook is for, where that could be read.
    pub(super) kind: Option<Kind>,
    /// Where `kind` stands.
    pub(super) kind_span: Span,
    /// Whether `steady_state` holds a check.
    pub(super) has_steady_state: bool,
    /// Whether `targets` is written.
    pub(super) has_targets: bool,
}

/// A step or check as the checks see it.
#[derive(Debug)]
pub(super) struct Entry {
    /// The author's id, else its place.
    pub(super) id: String,
    /// Whether the id is the author's.
    pub(super) is_named: bool,
    /// Where the id stands, else the step's first key.
    pub(super) span: Span,
    /// The step or check in which it stands.
    pub(super) parent: Option<usize>,
    /// In which of its parent's lists.
    pub(super) role: Role,
    /// Number of that list, unique in the runbook.
    pub(super) list: usize,
    /// What it does, where that could be told.
    pub(super) action: Option<&'static ActionSpec>,
    /// What it does to the world.
    pub(super) effect: Effect,
    /// Whether it runs once an item or target.
    pub(super) fans_out: bool,
    /// `needs`: id, place.
    pub(super) needs: Option<Vec<(String, Span)>>,
    /// `proves`.
    pub(super) proves: Option<(String, Span)>,
    /// `show`, `recheck`, `probe.until`.
    pub(super) refs: Vec<(RefKind, String, Span)>,
    /// `rollback`.
    pub(super) rollback: RollbackKind,
    /// Whether it has a `done`.
    pub(super) has_done: bool,
    /// Names that a `set` gives.
    pub(super) names: Vec<String>,
    /// Names that the step publishes through `outputs`.
    pub(super) outputs: Vec<String>,
    /// Names under `measure`.
    pub(super) measures: Vec<String>,
    /// Where an endpoint names this machine.
    pub(super) localhost: Option<Span>,
}

/// In which list a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `steps` of the runbook, or of a block.
    Steps,
    /// `steps` of one arm of a switch.
    Arm,
    /// `rescue` of a block.
    Rescue,
    /// `finally` of a block or of the runbook.
    Finally,
    /// `rollback`.
    Rollback,
    /// A check.
    Check,
}

/// A place where a step is named by its id alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefKind {
    /// `approve.show`.
    Show,
    /// `approve.recheck`.
    Recheck,
    /// `probe.until`.
    Until,
}

/// How far a step can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RollbackKind {
    /// Nothing is said.
    Absent,
    /// `{ none: reason }`.
    Reason,
    /// By steps.
    Steps,
}

/// Where an expression or template stands, and so what it may name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cx {
    /// The step, if it stands in one.
    pub(super) step: Option<usize>,
    /// Which part of the runbook, outside of steps.
    pub(super) zone: Zone,
    /// Whether a `for_each` surrounds it.
    pub(super) item: bool,
    /// Whether the attempt's own result is there.
    pub(super) result: bool,
    /// Whether secrets may stand here.
    pub(super) secrets: bool,
}

/// When a text outside of steps is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Before the run exists: inputs only.
    Request,
    /// In the run.
    Run,
    /// At its end: every step has ended.
    End,
}

/// The names of one expression or template.
#[derive(Debug)]
pub(super) struct Mention {
    /// Where it stands.
    pub(super) cx: Cx,
    /// Each name's parts, and the part of the file that writes it, as well as can be told.
    pub(super) names: Vec<(Vec<String>, Span)>,
    /// What it compares.
    pub(super) comparisons: Vec<Comparison>,
    /// Of a condition: what it is, and where.
    pub(super) condition: Option<(Operand, Span)>,
}

/// A text that is never templated.
#[derive(Debug)]
pub(super) struct Code {
    /// The text.
    pub(super) scalar: Scalar,
    /// The step.
    pub(super) step: usize,
    /// What to use instead: `env` or `params`.
    pub(super) instead: &'static str,
}

/// What a step hands to its rollback and its checks: "with its target, user and environment".
#[derive(Clone, Debug, Default)]
struct Inherited {
    process: ProcessModifiers,
    target: Option<Template>,
}

/// The map of an object, its keys checked.
struct Fields<'n> {
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }
}

/// What reading gave.
pub(super) struct Read {
    /// The runbook, if every part of it could be read.
    pub(super) runbook: Option<Runbook>,
    /// For the checks.
    pub(super) outline: Outline,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
}

/// Reads the runbook under `root`.
pub(super) fn read(source: &str, root: &Node, problems: Vec<Problem>) -> Read {
    let mut reader = Reader {
        source,
        problems,
        outline: Outline::default(),
        defaults: None,
        lists: 0,
        steps: 0,
        is_full: false,
        one_targets: Vec::new(),
        run_fans_out: false,
        files: Vec::new(),
    };
    let runbook = reader.runbook(root);
    Read { runbook, outline: reader.outline, problems: reader.problems }
}

struct Reader<'s> {
    source: &'s str,
    problems: Vec<Problem>,
    outline: Outline,
    /// `defaults`, its keys checked.
    defaults: Option<&'s Node>,
    /// Lists of steps seen so far.
    lists: usize,
    /// Steps seen so far.
    steps: usize,
    /// Whether there were too many.
    is_full: bool,
    /// Inputs of type `target` with `one: true`: naming one is naming one target.
    one_targets: Vec<String>,
    /// Whether a step that inherits the run's targets fans out.
    run_fans_out: bool,
    /// Files that scripts name.
    files: Vec<String>,
}

impl Reader<'_> {
    fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The map at `node`, with its keys checked against `object`; `what` names it for people.
    fn fields<'n>(&mut self, node: &'n Node, object: &Object, what: &str) -> Option<Fields<'n>> {
        let entries = match &node.kind {
            yaml::Kind::Map(entries) => entries,
            yaml::Kind::Broken => return None,
            _ if node.is_null() && object.keys.iter().all(|key| !key.required) => {
                return Some(Fields { entries: &[] });
            }
            _ => {
                let keys: Vec<_> = object.keys.iter().map(|key| key.name).collect();
                let problem = self.expected(node, what, "a map");
                self.push(problem.help(format!("its keys are {}", list_of(&keys))));
                return None;
            }
        };
        let names = || object.keys.iter().map(|key| key.name);
        for (key, _) in entries {
            if object.key(&key.text).is_none() && !object.is_open {
                self.unknown_key(key, what, names());
            }
        }
        let fields = Fields { entries };
        for key in object.keys.iter().filter(|key| key.required) {
            if fields.get(key.name).is_none() {
                let at = entries.first().map_or(node.span, |(first, _)| first.span);
                let message = format!("{what} needs `{}`", key.name);
                let problem = Problem::error("E_MISSING_KEY", at, message);
                let help = format!("add `{}`: {}", key.name, first_lower(key.doc));
                self.push(problem.help(help));
            }
        }
        self.one_of(&fields, object, node, what);
        Some(fields)
    }

    fn one_of(&mut self, fields: &Fields<'_>, object: &Object, node: &Node, what: &str) {
        if object.one_of.is_empty() {
            return;
        }
        let found: Vec<_> = fields
            .entries
            .iter()
            .filter(|(key, _)| object.one_of.contains(&key.text.as_str()))
            .collect();
        let choices = or_list(object.one_of);
        match found.as_slice() {
            [_] => {}
            [] => {
                let at = fields.entries.first().map_or(node.span, |(first, _)| first.span);
                self.push(Problem::error("E_MISSING_KEY", at, format!("{what} needs {choices}")));
            }
            [(first, _), (second, _), ..] => {
                let message = format!("{what} takes only one of {choices}");
                self.push(
                    Problem::error("E_EXCLUSIVE", second.span, message)
                        .label("a second one")
                        .related(first.span, "the first one"),
                );
            }
        }
    }

    fn unknown_key<'k>(&mut self, key: &Key, what: &str, known: impl Iterator<Item = &'k str>) {
        let known: Vec<&str> = known.collect();
        let message = format!("unknown key `{}` in {what}", yaml::shorten(&key.text));
        let problem = Problem::error("E_UNKNOWN_KEY", key.span, message);
        let help = match grammar::nearest(&key.text, known.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None if known.is_empty() => "it takes no keys".to_owned(),
            None => format!("its keys are {}", list_of(&known)),
        };
        self.push(problem.label("not known here").help(help));
    }

    /// The problem that `node` is not `expected`.
    fn expected(&self, node: &Node, what: &str, expected: &str) -> Problem {
        let message = format!("{what} must be {expected}, found {}", node.describe());
        Problem::error("E_TYPE", first_line(self.source, node.span), message)
            .label(format!("expected {expected}"))
    }
}

/// The part of `span` on its first line, so that a mark never covers a page.
fn first_line(source: &str, span: Span) -> Span {
    let text = source.get(span.start..span.end).unwrap_or_default();
    let line = text.find(['\n', '\r']).unwrap_or(text.len());
    Span::new(span.start, span.start + line)
}

/// "`a`, `b` and `c`".
pub(super) fn list_of(names: &[&str]) -> String {
    joined(names, "and")
}

fn or_list(names: &[&str]) -> String {
    joined(names, "or")
}

fn joined(names: &[&str], word: &str) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} {word} {last}", most.join(", ")),
    }
}

/// A sentence of the grammar as it reads after a colon.
fn first_lower(doc: &str) -> String {
    let doc = doc.trim_end_matches('.');
    let mut chars = doc.chars();
    let is_word = doc.chars().nth(1).is_some_and(char::is_lowercase);
    match chars.next() {
        Some(first) if is_word => first.to_lowercase().chain(chars).collect(),
        _ => doc.to_owned(),
    }
}
