//! The grammar of the language as one table: every key, its shape, its default and a sentence of
//! documentation. From it come the errors about unknown keys, the reader's checks and the JSON
//! Schema, so that the three cannot disagree.

mod actions;
mod modifiers;
mod parameters;
mod top;

pub(super) use actions::ACTIONS;
pub(super) use modifiers::{DELIVERY, EXIT, LIMITS, MODIFIERS, NO_ROLLBACK, PARSE_REGEX, RETRY};
pub(super) use top::{CALENDAR, CHANGE, CONCURRENCY, GUARD, INPUT, INPUT_TYPES, RUNBOOK};

pub(super) use parameters::{
    APPROVE, ARM, ASSERTION, CALL, EACH, END, MANUAL, PREAPPROVED, PROBE, SCRIPT, SHELL, WAIT,
};

/// A key of a map that people write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// As written.
    pub(super) name: &'static str,
    /// What may stand there.
    pub(super) shape: Shape,
    /// Whether it may not be left out.
    pub(super) required: bool,
    /// One sentence for editors.
    pub(super) doc: &'static str,
    /// What holds where it is left out, for people.
    pub(super) default: Option<&'static str>,
    /// Whether `secrets.<name>` may be mentioned in it.
    pub(super) secrets: bool,
}

impl Key {
    const fn new(name: &'static str, shape: Shape, doc: &'static str) -> Key {
        Key { name, shape, required: false, doc, default: None, secrets: false }
    }

    const fn required(mut self) -> Key {
        self.required = true;
        self
    }

    const fn default(mut self, default: &'static str) -> Key {
        self.default = Some(default);
        self
    }

    const fn secrets(mut self) -> Key {
        self.secrets = true;
        self
    }
}

/// A map with known keys.
#[derive(Debug)]
pub(super) struct Object {
    /// Its keys, in the order of the documentation.
    pub(super) keys: &'static [Key],
    /// Whether other keys are handed on as they are.
    pub(super) is_open: bool,
    /// Of these keys exactly one must be there; empty: no such rule.
    pub(super) one_of: &'static [&'static str],
}

impl Object {
    const fn of(keys: &'static [Key]) -> Object {
        Object { keys, is_open: false, one_of: &[] }
    }

    const fn one_of(keys: &'static [Key], one_of: &'static [&'static str]) -> Object {
        Object { keys, is_open: false, one_of }
    }

    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// What may stand as a value. In the parameters of actions a template may stand for any scalar.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A string that is taken as it is.
    Text,
    /// A string, or a number or boolean as it is written.
    Scalar,
    /// A string that takes templates.
    Template,
    /// A URL that takes templates.
    Url,
    /// Text in which nothing is templated: SQL, scripts.
    Code,
    /// A regular expression.
    Regex,
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds, both included.
    Int(i64, i64),
    /// Any number.
    Number,
    /// `250ms`, `30s`, `5m`, `4h`, `7d`.
    Duration,
    /// `10MiB`, `2GB`.
    Size,
    /// One of these words.
    Enum(&'static [&'static str]),
    /// An expression.
    Expr,
    /// Anything; strings take templates.
    Any,
    /// Anything that JSON can say; strings take templates and fill a parsed tree.
    Json,
    /// One argument after the other: strings, or `{ each: expression }`.
    Args,
    /// A list.
    List(&'static Shape),
    /// One, or a list of them.
    OneOrList(&'static Shape),
    /// A map with the author's own keys.
    Map(&'static Shape),
    /// A map with known keys.
    Object(&'static Object),
    /// One of several shapes.
    Either(&'static [Shape]),
    /// The declaration of an input.
    Input,
    /// A type: its name, or a declaration like an input's.
    Type,
    /// A list of steps.
    Steps,
    /// One step.
    Step,
    /// A check: one action with its own judgement.
    Check,
    /// A semantic version.
    Version,
    /// `[a-z0-9-]`, 1 to 64 characters.
    Name,
    /// An id of a step.
    Id,
}

/// What kind of thing an action is: decides which modifiers it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A process: `command shell script`.
    Process,
    /// A process whose exit code and output a convention reads: `nagios`.
    Plugin,
    /// Speaks to an endpoint, from the agent, once.
    Endpoint,
    /// Looks at or changes the target's host.
    Host,
    /// `notify ticket`.
    Tell,
    /// `wait`.
    Wait,
    /// `probe`.
    Probe,
    /// `approve`.
    Approve,
    /// `manual`.
    Manual,
    /// `call`.
    Call,
    /// `assert`.
    Assert,
    /// `set`.
    Set,
    /// `end`.
    End,
    /// `block`.
    Block,
    /// `switch`.
    Switch,
}

/// The type of a result field, where comparisons care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldType {
    /// A number.
    Number,
    /// A string.
    String,
    /// `true` or `false`.
    Bool,
    /// A list.
    List,
    /// A map, or anything whose inside is not known.
    Any,
}

/// How an action's effect is found where the author writes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EffectRule {
    /// Reads, whatever is written.
    Read,
    /// Changes, whatever is written.
    Change,
    /// Tells people.
    Tell,
    /// Changes, unless the author says that it reads; reads in health checks and in checks.
    Process,
    /// `http`: by method.
    Http,
    /// `service`: by `state`.
    Service,
    /// Reads, unless the author says otherwise.
    Sql,
    /// Changes, unless the author knows better: `call`.
    Call,
    /// The strongest of what it holds.
    Inside,
}

/// One action.
#[derive(Debug)]
pub(super) struct ActionSpec {
    /// Its key.
    pub(super) name: &'static str,
    /// What kind of thing it is.
    pub(super) class: Class,
    /// Its parameters.
    pub(super) shape: Shape,
    /// One sentence for editors.
    pub(super) doc: &'static str,
    /// Its effect by default.
    pub(super) effect: EffectRule,
    /// Its result fields beyond the common ones.
    pub(super) fields: &'static [(&'static str, FieldType)],
}

/// A modifier and the actions that take it.
#[derive(Debug)]
pub(super) struct Modifier {
    /// The key.
    pub(super) key: Key,
    /// Who takes it.
    pub(super) takers: Takers,
    /// Whether it may stand in a check.
    pub(super) in_check: bool,
}

/// Which actions take a modifier.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takers {
    /// All.
    All,
    /// These.
    Only(&'static [Class]),
    /// All but these.
    Not(&'static [Class]),
    /// `shell` alone.
    Shell,
}

impl Modifier {
    /// Whether `action` takes it.
    pub(super) fn is_taken_by(&self, action: &ActionSpec) -> bool {
        match self.takers {
            Takers::All => true,
            Takers::Only(classes) => classes.contains(&action.class),
            Takers::Not(classes) => !classes.contains(&action.class),
            Takers::Shell => action.name == "shell",
        }
    }
}

/// The action of this name.
pub(super) fn action(name: &str) -> Option<&'static ActionSpec> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// The modifier of this name.
pub(super) fn modifier(name: &str) -> Option<&'static Modifier> {
    MODIFIERS.iter().find(|modifier| modifier.key.name == name)
}

/// Result fields that every action has.
pub(super) const COMMON_FIELDS: &[(&str, FieldType)] = &[
    ("status", FieldType::String),
    ("verdict", FieldType::String),
    ("changed", FieldType::Bool),
    ("attempts", FieldType::Number),
    ("started_at", FieldType::String),
    ("finished_at", FieldType::String),
    ("duration_seconds", FieldType::Number),
    ("error", FieldType::Any),
];

/// What a step that fans out is read by.
pub(super) const FAN_FIELDS: &[(&str, FieldType)] =
    &[("results", FieldType::List), ("succeeded", FieldType::List), ("failed", FieldType::List)];

/// First names of the context: no ids.
pub(super) const ROOTS: &[&str] =
    &["inputs", "steps", "run", "runbook", "target", "item", "secrets", "result"];

/// Words of the expression language: no ids either.
pub(super) const RESERVED: &[&str] =
    &["true", "false", "none", "null", "not", "and", "or", "in", "is", "if", "else", "this"];

/// Fields of `run`.
pub(super) const RUN_FIELDS: &[&str] = &[
    "id",
    "requester",
    "reason",
    "trigger",
    "started_at",
    "outcome",
    "verdict",
    "error",
    "url",
    "targets",
];

/// Fields of `runbook`.
pub(super) const RUNBOOK_FIELDS: &[&str] =
    &["name", "version", "kind", "title", "owner", "description", "labels", "digest"];

/// Fields of `target`.
pub(super) const TARGET_FIELDS: &[&str] = &["name", "address", "labels"];

/// The name in `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody misspells a name by more than a third, and no name is as long as this.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    // A third of the word may be wrong: beyond it a suggestion misleads.
    let (distance, name) = best?;
    (distance <= (word.chars().count().max(name.len()) / 3).max(1)).then_some(name)
}
