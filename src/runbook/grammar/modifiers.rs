//! Modifiers of steps, and which actions take them.

use super::{Class, Key, Modifier, Object, Shape, Takers};
use crate::runbook::grammar::Class::{
    Approve, Assert, Block, Call, End, Endpoint, Host, Manual, Plugin, Probe, Process, Set, Switch,
    Tell, Wait,
};

/// Actions whose effect may be a change, and that can therefore be undone, proved, skipped.
const CHANGING: &[Class] = &[Process, Plugin, Endpoint, Host, Tell, Call, Manual, Block];
/// Actions that are judged by an expression.
const NOT_JUDGED: &[Class] = &[Approve, End, Block, Switch];
const RUNS_ON_TARGET: &[Class] = &[Process, Plugin, Host];
const STRUCTURE: &[Class] = &[Set, End, Switch, Approve];

const fn any(key: Key, takers: Takers) -> Modifier {
    Modifier { key, takers, in_check: false }
}

const fn check_too(key: Key, takers: Takers) -> Modifier {
    Modifier { key, takers, in_check: true }
}

/// Every modifier.
pub(in crate::runbook) static MODIFIERS: &[Modifier] = &[
    any(
        Key::new("id", Shape::Id, "Unique name of the step; required where anything refers to it.")
            .default("its place"),
        Takers::All,
    ),
    check_too(
        Key::new("title", Shape::Text, "One line for people.").default("the id"),
        Takers::All,
    ),
    any(Key::new("when", Shape::Expr, "False skips the step."), Takers::Not(&[Approve])),
    check_too(
        Key::new("expect", Shape::Expr, "Must be true, else the step failed; sees `result`."),
        Takers::Not(NOT_JUDGED),
    ),
    check_too(
        Key::new("warn", Shape::Expr, "True marks a warning; sees `result`."),
        Takers::Not(NOT_JUDGED),
    ),
    any(
        Key::new("changed", Shape::Expr, "Whether the step changed anything; sees `result`."),
        Takers::Only(CHANGING),
    ),
    any(
        Key::new(
            "needs",
            Shape::Either(&[Shape::List(&Shape::Id), Shape::Map(&NEED_ANY)]),
            "The steps that must have ended, instead of the step before.",
        )
        .default("the step before"),
        Takers::All,
    ),
    check_too(
        Key::new("target", Shape::Template, "Where: a name, a selector, `local`, `all`.")
            .default("the run's targets"),
        Takers::Only(&[Process, Plugin, Host, Wait, Probe, Block]),
    ),
    any(
        Key::new(
            "for_each",
            Shape::Either(&[Shape::Expr, Shape::List(&Shape::Any)]),
            "A list, or an expression that gives one; each is `item`.",
        ),
        Takers::Not(&[Set, End, Switch, Approve, Probe]),
    ),
    any(
        Key::new("limits", Shape::Object(&LIMITS), "Waves and bounds of a step that fans out."),
        Takers::Not(&[Set, End, Switch, Approve, Probe]),
    ),
    check_too(
        Key::new("timeout", Shape::Duration, "Of one attempt.")
            .default("10m; none for approve, manual, wait, call, probe, block"),
        Takers::Not(&[Set, End, Switch, Assert]),
    ),
    check_too(
        Key::new("connect_timeout", Shape::Duration, "For reaching a target or an endpoint.")
            .default("10s"),
        Takers::Not(&[Set, End, Switch, Assert, Approve, Manual, Call]),
    ),
    any(
        Key::new(
            "retry",
            Shape::Object(&RETRY),
            "More attempts; on a change only if it is idempotent or has a `done`.",
        ),
        Takers::Not(&[Set, End, Switch, Assert, Approve, Manual, Probe, Block]),
    ),
    check_too(
        Key::new("effect", Shape::Enum(&["read", "change", "tell"]), "What it does to the world.")
            .default("by action"),
        Takers::Not(&[Set, End, Switch, Assert, Approve, Block, Wait, Probe]),
    ),
    any(
        Key::new(
            "on_failure",
            Shape::Enum(&["stop", "continue", "suspend"]),
            "What its failure does to the run.",
        )
        .default("stop; continue in a health-check"),
        Takers::Not(&[Approve, End]),
    ),
    any(
        Key::new(
            "rollback",
            Shape::Either(&[Shape::Object(&NO_ROLLBACK), Shape::Step, Shape::Steps]),
            "A step or list of steps that undoes this one, or `{ none: reason }`.",
        ),
        Takers::Only(CHANGING),
    ),
    any(
        Key::new(
            "point_of_no_return",
            Shape::Bool,
            "Once it has succeeded, rollbacks of earlier steps are void.",
        )
        .default("false"),
        Takers::Only(CHANGING),
    ),
    any(
        Key::new("proves", Shape::Id, "The id of the change that this step verifies."),
        Takers::Not(STRUCTURE),
    ),
    any(
        Key::new(
            "done",
            Shape::Check,
            "If it holds, there is nothing to do; after an interruption it settles whether it happened.",
        ),
        Takers::Only(&[Process, Plugin, Endpoint, Host, Tell, Call, Manual]),
    ),
    any(
        Key::new("idempotent", Shape::Bool, "May be run twice.").default("true for reads"),
        Takers::Not(&[Set, End, Switch, Assert, Approve, Block]),
    ),
    any(
        Key::new(
            "on_interrupt",
            Shape::Enum(&["check", "rerun", "suspend", "fail"]),
            "What follows a crash or a cut connection while it was under way.",
        )
        .default("check with `done`, rerun if idempotent, else suspend"),
        Takers::Not(&[Set, End, Switch, Assert, Approve, Block]),
    ),
    check_too(
        Key::new(
            "env",
            Shape::Map(&Shape::Template),
            "Environment of the process, added to a clean one.",
        )
        .secrets(),
        Takers::Only(RUNS_ON_TARGET),
    ),
    check_too(
        Key::new(
            "secret_files",
            Shape::Map(&Shape::Text),
            "Variable to secret: the variable names a 0400 file.",
        ),
        Takers::Only(RUNS_ON_TARGET),
    ),
    check_too(
        Key::new("cwd", Shape::Template, "Working folder of the process."),
        Takers::Only(RUNS_ON_TARGET),
    ),
    check_too(
        Key::new("user", Shape::Template, "Runs as this user, by `sudo -n -u`."),
        Takers::Only(RUNS_ON_TARGET),
    ),
    check_too(
        Key::new("sudo", Shape::Bool, "Runs as root, by `sudo -n`.").default("false"),
        Takers::Only(RUNS_ON_TARGET),
    ),
    check_too(
        Key::new("stdin", Shape::Template, "Standard input of the process.")
            .default("empty")
            .secrets(),
        Takers::Only(&[Process, Plugin]),
    ),
    check_too(
        Key::new(
            "exit",
            Shape::Object(&EXIT),
            "Exit codes to verdicts; a code in no list is critical.",
        )
        .default("ok: [0]"),
        Takers::Only(&[Process]),
    ),
    check_too(
        Key::new(
            "parse",
            Shape::Either(&[
                Shape::Enum(&["text", "lines", "number", "json", "none"]),
                Shape::Object(&PARSE_REGEX),
            ]),
            "How standard output becomes `value`.",
        )
        .default("text"),
        Takers::Only(&[Process]),
    ),
    any(
        Key::new(
            "outputs",
            Shape::Map(&Shape::Type),
            "Names and types that the step writes to $RUNWARDEN_OUTPUT.",
        ),
        Takers::Only(&[Process]),
    ),
    check_too(
        Key::new("sensitive", Shape::Bool, "Output is kept as digest and size only.")
            .default("false"),
        Takers::Only(&[Process, Plugin, Endpoint, Host, Tell, Wait, Probe]),
    ),
    any(
        Key::new(
            "measure",
            Shape::Map(&Shape::Expr),
            "Numbers that are kept for trends; sees `result`.",
        ),
        Takers::Not(&[Approve, End, Switch]),
    ),
    check_too(
        Key::new(
            "interpreter",
            Shape::OneOrList(&Shape::Text),
            "Argv of the interpreter that reads a `shell` text.",
        )
        .default("bash -euo pipefail"),
        Takers::Shell,
    ),
    any(
        Key::new(
            "rescue",
            Shape::Steps,
            "Run instead of stopping when a step of the block failed.",
        ),
        Takers::Only(&[Block]),
    ),
    any(
        Key::new("finally", Shape::Steps, "Run at the end of the block in any case."),
        Takers::Only(&[Block]),
    ),
];

/// The only value in `needs: { a: any }`.
pub(in crate::runbook) static NEED_ANY: Shape = Shape::Enum(&["any", "succeeded"]);

/// `rollback: { none: reason }`.
pub(in crate::runbook) static NO_ROLLBACK: Object =
    Object::of(&[Key::new("none", Shape::Text, "Why it cannot be undone.").required()]);

/// `limits`.
pub(in crate::runbook) static LIMITS: Object = Object::of(&[
    Key::new("parallel", Shape::Int(1, 10_000), "At once.").default("32"),
    Key::new(
        "batch",
        Shape::OneOrList(&BATCH),
        "Waves: counts, or shares of all; the last repeats.",
    ),
    Key::new("max_failures", Shape::Int(0, i64::MAX), "Stops once failures exceed it.")
        .default("0; unlimited in a health-check"),
]);

/// One wave.
pub(in crate::runbook) static BATCH: Shape = Shape::Scalar;

/// `retry`.
pub(in crate::runbook) static RETRY: Object = Object::of(&[
    Key::new(
        "attempts",
        Shape::Int(1, crate::limits::RETRY_ATTEMPTS_MAX as i64),
        "In all, the first included.",
    )
    .default("3"),
    Key::new("backoff", Shape::Duration, "Before the second attempt.").default("2s"),
    Key::new("factor", Shape::Number, "Each next delay is so many times the one before.")
        .default("2"),
    Key::new("max", Shape::Duration, "No delay is longer.").default("1m"),
    Key::new("when", Shape::Expr, "Only if this holds; sees `result`."),
]);

/// `exit`.
pub(in crate::runbook) static EXIT: Object = Object::of(&[
    Key::new("ok", Shape::OneOrList(&Shape::Int(0, 255)), "Codes of verdict ok.").default("[0]"),
    Key::new("warning", Shape::OneOrList(&Shape::Int(0, 255)), "Codes of verdict warning."),
    Key::new("critical", Shape::OneOrList(&Shape::Int(0, 255)), "Codes of verdict critical."),
]);

/// `parse: { regex }`.
pub(in crate::runbook) static PARSE_REGEX: Object =
    Object::of(&[Key::new("regex", Shape::Regex, "Its named groups, else group 1.").required()]);

/// `to, message, summary` of `notify`.
pub(in crate::runbook) static DELIVERY: Object = Object::one_of(
    &[
        Key::new("to", Shape::Template, "The channel's name in the configuration.").required(),
        Key::new("message", Shape::Template, "What is said."),
        Key::new("summary", Shape::Bool, "Says what became of the run.").default("false"),
    ],
    &["message", "summary"],
);
