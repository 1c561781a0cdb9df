//! A runbook that is valid by construction: what [`super`] makes of a file without errors.
//!
//! Steps are numbered in document order ([`StepIx`]), nested ones, rollbacks, rescues and
//! `finally` included; `defaults` are already merged into each step, and every default of spec 1
//! that depends on kind or action (effect, `on_failure`, `on_interrupt`) is already decided.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expr::Expr;
use super::problem::Span;
use super::template::Template;
use super::value::InputType;
use crate::id::Digest;

/// A whole runbook.
#[derive(Clone, Debug)]
pub struct Runbook {
    /// `[a-z0-9-]`, 1 to 64 characters.
    pub name: String,
    /// Semantic version: with the name it stands for one content for ever.
    pub version: semver::Version,
    /// SHA-256 of the file's bytes.
    pub digest: Digest,
    /// What it is for; decides what validation demands.
    pub kind: Kind,
    /// For people.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// Team or person that answers for it.
    pub owner: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Declared inputs, in the author's order.
    pub inputs: Vec<Input>,
    /// Names of secrets that the configuration must supply.
    pub secrets: Vec<String>,
    /// Inventory selector; `None` is the agent's own host.
    pub targets: Option<Template>,
    /// Deadline of the whole run; waiting for people does not count.
    pub timeout: Option<Duration>,
    /// Which runs may not be under way together.
    pub concurrency: Option<Concurrency>,
    /// Calendar of the configuration that changing steps ask.
    pub calendar: Option<Calendar>,
    /// Change ticket rule.
    pub change: Option<ChangeTicket>,
    /// Checks run before and after a failover test.
    pub steady_state: Vec<Check>,
    /// A check polled during the run that aborts it.
    pub guard: Option<Guard>,
    /// The steps, never empty.
    pub steps: Vec<Arc<Step>>,
    /// Run at the end whatever became of the run.
    pub finally: Vec<Arc<Step>>,
    /// What the run publishes.
    pub outputs: Vec<(String, Expr)>,
    /// Files that steps name (`script: { file }`), by path as written, relative to the runbook's
    /// folder: their digests are part of the plan.
    pub files: Vec<String>,
}

/// What a runbook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Reads only; goes on after a failed check.
    HealthCheck,
    /// Makes a backup and proves it.
    Backup,
    /// Breaks something on purpose and measures.
    FailoverTest,
    /// Repairs, proves the repair, can undo it.
    Remediation,
    /// Anything else.
    Task,
}

/// One declared input.
#[derive(Clone, Debug)]
pub struct Input {
    /// As templates name it after `inputs.`.
    pub name: String,
    /// Type and bounds.
    pub ty: InputType,
    /// For people.
    pub description: Option<String>,
    /// Used when the caller gives none; already of the input's type.
    pub default: Option<Value>,
    /// Whether the caller must give it. One that is not required and has no default may be absent:
    /// `inputs.<name>` is then undefined.
    pub is_required: bool,
    /// Where the declaration stands.
    pub span: Span,
}

/// `concurrency: { key, limit, conflict }`.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// Runs with an equal rendered key share the limit.
    pub key: Template,
    /// How many at once.
    pub limit: u32,
    /// What the one too many does.
    pub conflict: Conflict,
}

/// What a run does that finds its concurrency key taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// Waits.
    Queue,
    /// Is refused.
    Reject,
}

/// `calendar: name` or `{ name, closed }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// Name in the configuration.
    pub name: String,
    /// `wait`, `fail` or `ask`.
    pub closed: Closed,
}

/// What a changing step does while its calendar is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// Waits for the opening.
    Wait,
    /// Fails.
    Fail,
    /// Opens a gate.
    Ask,
}

/// `change: { ticket: required, connector, state }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeTicket {
    /// Whether a ticket must be named.
    pub required: bool,
    /// Which system is asked.
    pub connector: Option<String>,
    /// States in which the ticket lets changes happen.
    pub state: Vec<String>,
}

/// `guard: { every, check }`.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Pause between two looks.
    pub every: Duration,
    /// What must hold.
    pub check: Check,
}

/// A step's number: its place in document order among all steps and checks of the runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIx(pub u32);

/// One action with its own judgement, run inside another construct: always reads.
#[derive(Clone, Debug)]
pub struct Check(pub Box<Step>);

/// One step: one action and its modifiers, defaults merged.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number.
    pub ix: StepIx,
    /// The author's id, else its place: `3`, `roll.2`, `restart.rollback.1`, `finally.1`.
    pub id: String,
    /// Whether the id is the author's.
    pub is_named: bool,
    /// For people; the id if none is written.
    pub title: String,
    /// Where it stands.
    pub span: Span,
    /// What it does.
    pub action: Action,
    /// False skips the step.
    pub when: Option<Expr>,
    /// Must be true, else the step failed.
    pub expect: Option<Expr>,
    /// True marks a warning.
    pub warn: Option<Expr>,
    /// Overrides what the action says it changed.
    pub changed: Option<Expr>,
    /// Replaces "the step before".
    pub needs: Option<Vec<Need>>,
    /// Where; `None` is the run's targets.
    pub target: Option<Template>,
    /// One instance an item.
    pub for_each: Option<ForEach>,
    /// Whether it has one instance an item or target and is read by `results`: decided from the
    /// text of `for_each` and `target`, never from the number of matches (spec 1, Targets).
    pub fans_out: bool,
    /// Waves and bounds; there exactly where the step fans out.
    pub limits: Option<FanLimits>,
    /// Of one attempt. `None`: no deadline.
    pub timeout: Option<Duration>,
    /// For reaching a target or an endpoint.
    pub connect_timeout: Duration,
    /// More attempts.
    pub retry: Option<Retry>,
    /// What it does to the world.
    pub effect: Effect,
    /// What its failure does to the run.
    pub on_failure: OnFailure,
    /// How it is undone.
    pub rollback: Option<Rollback>,
    /// Once it has succeeded, rollbacks of earlier steps are void.
    pub point_of_no_return: bool,
    /// The id of the change that it verifies.
    pub proves: Option<String>,
    /// Holds already: nothing to do. After an interruption: it happened.
    pub done: Option<Check>,
    /// May be run twice.
    pub idempotent: bool,
    /// What follows a crash or a cut connection while it was under way; already decided.
    pub on_interrupt: OnInterrupt,
    /// Environment and identity of its process.
    pub process: ProcessModifiers,
    /// Exit codes to verdicts; `None` where the author wrote none.
    pub exit: Option<ExitCodes>,
    /// How standard output becomes `value`; `None` where the author wrote none (then `text`).
    pub parse: Option<Parse>,
    /// Names and types that the step writes to `$RUNWARDEN_OUTPUT`.
    pub outputs: Vec<(String, InputType)>,
    /// Output is kept as digest and size only.
    pub sensitive: bool,
    /// Numbers kept for trends.
    pub measure: Vec<(String, Expr)>,
}

/// `needs: [a]` or `needs: { a: any }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The step that must have ended.
    pub id: String,
    /// Whatever became of it.
    pub any: bool,
}

/// `for_each`.
#[derive(Clone, Debug)]
pub enum ForEach {
    /// Items as written; strings may be templates.
    Items(Vec<Tree>),
    /// An expression that gives a list.
    Expr(Expr),
}

/// `limits: { parallel, batch, max_failures }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanLimits {
    /// At once.
    pub parallel: usize,
    /// Waves; empty: one wave of all.
    pub batch: Vec<Share>,
    /// Stops once failures exceed it; `None`: unlimited.
    pub max_failures: Option<u64>,
}

/// `1` or `"10%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u64),
    /// Hundredths of all, rounded up to at least 1.
    Percent(u8),
}

/// `retry: { attempts, backoff, factor, max, when }`.
#[derive(Clone, Debug)]
pub struct Retry {
    /// In all, the first included.
    pub attempts: u32,
    /// Before the second attempt.
    pub backoff: Duration,
    /// Each next delay is so many times the one before.
    pub factor: f64,
    /// No delay is longer.
    pub max: Duration,
    /// Only if this holds; sees `result`.
    pub when: Option<Expr>,
}

/// What a step does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing.
    Read,
    /// Tells people.
    Tell,
    /// Changes a system.
    Change,
}

/// What a failure of a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Rollbacks in reverse, then `finally`.
    Stop,
    /// The next step; the failure is remembered.
    Continue,
    /// A person decides: retry, skip or stop.
    Suspend,
}

/// How a step is undone.
#[derive(Clone, Debug)]
pub enum Rollback {
    /// Not at all, and why; approver and auditor see it.
    None {
        /// The author's reason.
        reason: String,
    },
    /// By these steps, in this order.
    Steps(Vec<Arc<Step>>),
}

/// What follows an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// `done` settles whether it happened.
    Check,
    /// Run again.
    Rerun,
    /// A person decides.
    Suspend,
    /// The run fails, as `interrupted`.
    Fail,
}

/// Modifiers of a process.
#[derive(Clone, Debug, Default)]
pub struct ProcessModifiers {
    /// Added to the clean environment.
    pub env: Vec<(String, Template)>,
    /// Variable → name of a secret that is handed over as a 0400 file.
    pub secret_files: Vec<(String, String)>,
    /// Working folder.
    pub cwd: Option<Template>,
    /// `sudo -n -u USER`.
    pub user: Option<Template>,
    /// `sudo -n`, as root.
    pub sudo: bool,
    /// Standard input; empty if absent.
    pub stdin: Option<Template>,
}

/// `exit: { ok, warning, critical }`: a code in no list is `failed`, `critical`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitCodes {
    /// Verdict `ok`.
    pub ok: Vec<i32>,
    /// Verdict `warning`.
    pub warning: Vec<i32>,
    /// Verdict `critical`.
    pub critical: Vec<i32>,
}

/// How standard output becomes `value`.
#[derive(Clone, Debug)]
pub enum Parse {
    /// One final newline is dropped.
    Text,
    /// A list of lines.
    Lines,
    /// The whole trimmed text.
    Number,
    /// A JSON value.
    Json,
    /// Named groups, else group 1.
    Regex(regex::Regex),
    /// No value.
    None,
}

/// A parameter tree: what the author wrote, with templates where strings mention names.
/// Durations and sizes that were written as such are already numbers of seconds and bytes.
#[derive(Clone, Debug)]
pub enum Tree {
    /// As it is.
    Literal(Value),
    /// Rendered when the step starts.
    Template(Template),
    /// In order.
    List(Vec<Tree>),
    /// In the author's order.
    Map(Vec<(String, Tree)>),
}

/// An element of `command`.
#[derive(Clone, Debug)]
pub enum Arg {
    /// One argument.
    One(Template),
    /// `{ each: expression }`: one argument an item.
    Each(Expr),
}

/// The actions, closed.
#[derive(Clone, Debug)]
pub enum Action {
    /// `command: [argv]`.
    Command(Vec<Arg>),
    /// `shell: text`.
    Shell {
        /// Never templated.
        text: String,
        /// Argv of the interpreter that reads the text; `None`: `bash -euo pipefail`.
        interpreter: Option<Vec<String>>,
    },
    /// `script: { interpreter, text | file }`.
    Script {
        /// Argv of the interpreter; the script's path is appended.
        interpreter: Vec<String>,
        /// The script.
        source: ScriptSource,
    },
    /// An action whose parameters are one tree; [`super::params`] types it once it is rendered.
    Plain {
        /// Which.
        name: PlainAction,
        /// Its parameters.
        params: Tree,
    },
    /// `wait: 5s` or `wait: { until, every, stable, timeout }`.
    Wait(Wait),
    /// `probe: { check, every, until, keep }`.
    Probe(Probe),
    /// `approve: …`.
    Approve(Approve),
    /// `manual: { instructions, from, ask }`.
    Manual(Manual),
    /// `call: { runbook, inputs, target }`.
    Call(Call),
    /// `assert: [{ that, message }]`.
    Assert(Vec<Assertion>),
    /// `set: { name: expression }`.
    Set(Vec<(String, Expr)>),
    /// `end: { when, outcome, message }`.
    End(End),
    /// `block: [steps]` with `rescue`, `rollback`, `finally` (its `rollback` is the step's).
    Block(Block),
    /// `switch: [{ when, steps }, { else: steps }]`.
    Switch(Vec<Arm>),
}

/// Actions whose parameters are one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub enum PlainAction {
    Http,
    Tcp,
    Dns,
    Tls,
    Disk,
    Memory,
    Load,
    Process,
    File,
    Clock,
    Service,
    Find,
    Delete,
    Sql,
    Prometheus,
    Nagios,
    Backup,
    Restore,
    Prune,
    Transfer,
    Notify,
    Ticket,
}

/// Where a script's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptSource {
    /// In the runbook; never templated.
    Text(String),
    /// A file, relative to the runbook's folder.
    File(String),
}

/// `wait`.
#[derive(Clone, Debug)]
pub enum Wait {
    /// A fixed time: a duration as written, or a template that gives one.
    For(Tree),
    /// Until a check holds.
    Until {
        /// What must hold.
        check: Check,
        /// Pause between two looks.
        every: Tree,
        /// For so long without a break.
        stable: Tree,
        /// At most so long.
        timeout: Tree,
    },
}

/// `probe`.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What is sampled.
    pub check: Check,
    /// Pause between two samples.
    pub every: Duration,
    /// Ends when this step has ended; absent: with the run.
    pub until: Option<String>,
    /// Kept of each sample.
    pub keep: Option<Expr>,
}

/// `approve` (spec 2).
#[derive(Clone, Debug)]
pub struct Approve {
    /// Shown to the approver.
    pub message: Template,
    /// Who may answer: `group:…`, `user:…`; empty: every approver.
    pub from: Vec<String>,
    /// Distinct people.
    pub count: u32,
    /// The requester's own yes is refused.
    pub not_requester: bool,
    /// Steps whose values are shown and signed.
    pub show: Vec<String>,
    /// Reads done again after the yes.
    pub recheck: Vec<String>,
    /// Who is told.
    pub notify: Option<String>,
    /// Expiry is a denial.
    pub expires: Duration,
    /// Whether only SSH-signed answers count.
    pub signed_required: bool,
    /// Told again after.
    pub remind: Option<Duration>,
    /// Opens by itself inside these bounds.
    pub preapproved: Option<Preapproved>,
}

/// `preapproved: { when, at_most }`.
#[derive(Clone, Debug)]
pub struct Preapproved {
    /// Must hold.
    pub when: Expr,
    /// So many openings…
    pub at_most: u32,
    /// …in so long.
    pub per: Duration,
}

/// `manual`.
#[derive(Clone, Debug)]
pub struct Manual {
    /// What the person is to do.
    pub instructions: Template,
    /// Who may confirm; empty: every approver or operator.
    pub from: Vec<String>,
    /// Answers that the person gives.
    pub ask: Vec<(String, InputType)>,
}

/// `call`.
#[derive(Clone, Debug)]
pub struct Call {
    /// Name in the catalogue.
    pub runbook: String,
    /// Range of versions; `None`: any.
    pub version: Option<semver::VersionReq>,
    /// Its inputs.
    pub inputs: Vec<(String, Tree)>,
    /// Its targets.
    pub target: Option<Template>,
}

/// One line of `assert`.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// Must be true.
    pub that: Expr,
    /// Shown when it is not.
    pub message: Option<Template>,
}

/// `end`.
#[derive(Clone, Debug)]
pub struct End {
    /// Only then.
    pub when: Option<Expr>,
    /// The run's outcome at best.
    pub outcome: EndOutcome,
    /// For people.
    pub message: Option<Template>,
}

/// What `end` may make of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndOutcome {
    /// Nothing is wrong.
    Succeeded,
    /// A warning.
    Degraded,
    /// A failure: rollbacks run.
    Failed,
}

/// `block`.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its steps, never empty.
    pub steps: Vec<Arc<Step>>,
    /// Run instead of stopping when a step failed.
    pub rescue: Vec<Arc<Step>>,
    /// Run at its end in any case.
    pub finally: Vec<Arc<Step>>,
}

/// One arm of `switch`.
#[derive(Clone, Debug)]
pub struct Arm {
    /// `None` is `else`.
    pub when: Option<Expr>,
    /// Its steps.
    pub steps: Vec<Arc<Step>>,
}

impl Action {
    /// The key under which it is written, and its name in the log and in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Action::Command(_) => "command",
            Action::Shell { .. } => "shell",
            Action::Script { .. } => "script",
            Action::Plain { name, .. } => name.key(),
            Action::Wait(_) => "wait",
            Action::Probe(_) => "probe",
            Action::Approve(_) => "approve",
            Action::Manual(_) => "manual",
            Action::Call(_) => "call",
            Action::Assert(_) => "assert",
            Action::Set(_) => "set",
            Action::End(_) => "end",
            Action::Block(_) => "block",
            Action::Switch(_) => "switch",
        }
    }
}

impl PlainAction {
    /// All of them.
    pub const ALL: [PlainAction; 22] = [
        PlainAction::Http,
        PlainAction::Tcp,
        PlainAction::Dns,
        PlainAction::Tls,
        PlainAction::Disk,
        PlainAction::Memory,
        PlainAction::Load,
        PlainAction::Process,
        PlainAction::File,
        PlainAction::Clock,
        PlainAction::Service,
        PlainAction::Find,
        PlainAction::Delete,
        PlainAction::Sql,
        PlainAction::Prometheus,
        PlainAction::Nagios,
        PlainAction::Backup,
        PlainAction::Restore,
        PlainAction::Prune,
        PlainAction::Transfer,
        PlainAction::Notify,
        PlainAction::Ticket,
    ];

    /// The action that is written under `key`.
    #[must_use]
    pub fn of(key: &str) -> Option<PlainAction> {
        PlainAction::ALL.into_iter().find(|action| action.key() == key)
    }

    /// The key under which it is written.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            PlainAction::Http => "http",
            PlainAction::Tcp => "tcp",
            PlainAction::Dns => "dns",
            PlainAction::Tls => "tls",
            PlainAction::Disk => "disk",
            PlainAction::Memory => "memory",
            PlainAction::Load => "load",
            PlainAction::Process => "process",
            PlainAction::File => "file",
            PlainAction::Clock => "clock",
            PlainAction::Service => "service",
            PlainAction::Find => "find",
            PlainAction::Delete => "delete",
            PlainAction::Sql => "sql",
            PlainAction::Prometheus => "prometheus",
            PlainAction::Nagios => "nagios",
            PlainAction::Backup => "backup",
            PlainAction::Restore => "restore",
            PlainAction::Prune => "prune",
            PlainAction::Transfer => "transfer",
            PlainAction::Notify => "notify",
            PlainAction::Ticket => "ticket",
        }
    }
}

impl Step {
    /// The lists of steps that it holds, in document order, without its rollback.
    #[must_use]
    pub fn inner(&self) -> Vec<&[Arc<Step>]> {
        match &self.action {
            Action::Block(block) => vec![&block.steps, &block.rescue, &block.finally],
            Action::Switch(arms) => arms.iter().map(|arm| arm.steps.as_slice()).collect(),
            _ => Vec::new(),
        }
    }

    /// The steps that undo it; empty where there is nothing to run.
    #[must_use]
    pub fn rollback_steps(&self) -> &[Arc<Step>] {
        match &self.rollback {
            Some(Rollback::Steps(steps)) => steps,
            Some(Rollback::None { .. }) | None => &[],
        }
    }
}

impl Runbook {
    /// Calls `visit` for every step, nested, rollback and `finally` steps included, in document
    /// order; checks inside steps are not visited.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Step)) {
        fn list<'a>(steps: &'a [Arc<Step>], visit: &mut dyn FnMut(&'a Step)) {
            for step in steps {
                visit(step);
                for inner in step.inner() {
                    list(inner, visit);
                }
                list(step.rollback_steps(), visit);
            }
        }
        list(&self.steps, visit);
        list(&self.finally, visit);
    }
}
