//! Keys of the runbook itself, of its inputs and of what stands beside its steps.

use super::{Key, Object, Shape};

/// A type by its name, and the keys that only it takes.
#[derive(Debug)]
pub(in crate::runbook) struct TypeName {
    /// As written.
    pub(in crate::runbook) name: &'static str,
    /// Keys beyond `type description default required`.
    pub(in crate::runbook) keys: &'static [&'static str],
}

/// The runbook.
pub(in crate::runbook) static RUNBOOK: Object = Object::of(&[
    Key::new("runwarden", Shape::Int(1, 1), "The language's version.").required(),
    Key::new("runbook", Shape::Name, "Its name: [a-z0-9-], 1 to 64 characters.").required(),
    Key::new(
        "version",
        Shape::Version,
        "Semantic version; one name@version is one content for ever.",
    )
    .required(),
    Key::new(
        "kind",
        Shape::Enum(&["health-check", "backup", "failover-test", "remediation", "task"]),
        "What it is for; decides what validation demands.",
    )
    .required(),
    Key::new("title", Shape::Text, "One line for people.").required(),
    Key::new("description", Shape::Text, "For people."),
    Key::new("owner", Shape::Text, "The team or person that answers for it."),
    Key::new("labels", Shape::Map(&Shape::Scalar), "Free labels."),
    Key::new("inputs", Shape::Map(&Shape::Input), "What a run is given, by name."),
    Key::new(
        "secrets",
        Shape::List(&Shape::Text),
        "Names of secrets that the configuration supplies.",
    ),
    Key::new("targets", Shape::Template, "Inventory selector.").default("the agent's own host"),
    Key::new("defaults", Shape::Any, "Any modifiers, for every step whose action takes them."),
    Key::new(
        "timeout",
        Shape::Duration,
        "Deadline of the whole run; waiting for people does not count.",
    ),
    Key::new(
        "concurrency",
        Shape::Object(&CONCURRENCY),
        "Which runs may not be under way together.",
    ),
    Key::new(
        "calendar",
        Shape::Either(&[Shape::Text, Shape::Object(&CALENDAR)]),
        "The calendar that changing steps ask.",
    ),
    Key::new("change", Shape::Object(&CHANGE), "The change ticket that a run needs."),
    Key::new(
        "steady_state",
        Shape::List(&Shape::Check),
        "Checks run before and after a failover test.",
    ),
    Key::new(
        "guard",
        Shape::Object(&GUARD),
        "A check that is polled during the run and aborts it.",
    ),
    Key::new("steps", Shape::Steps, "What is done, in order.").required(),
    Key::new("finally", Shape::Steps, "Run at the end, whatever became of the run."),
    Key::new("outputs", Shape::Map(&Shape::Expr), "What the run publishes."),
]);

/// `concurrency`.
pub(in crate::runbook) static CONCURRENCY: Object = Object::of(&[
    Key::new("key", Shape::Template, "Runs with an equal key share the limit.").required(),
    Key::new("limit", Shape::Int(1, 10_000), "How many at once.").default("1"),
    Key::new("conflict", Shape::Enum(&["queue", "reject"]), "What the one too many does.")
        .default("queue"),
]);

/// `calendar`.
pub(in crate::runbook) static CALENDAR: Object = Object::of(&[
    Key::new("name", Shape::Text, "Its name in the configuration.").required(),
    Key::new(
        "closed",
        Shape::Enum(&["wait", "fail", "ask"]),
        "What a changing step does meanwhile.",
    )
    .default("wait"),
]);

/// `change`.
pub(in crate::runbook) static CHANGE: Object = Object::of(&[
    Key::new("ticket", Shape::Enum(&["required", "optional"]), "Whether a ticket must be named.")
        .default("required"),
    Key::new("connector", Shape::Text, "Which system is asked."),
    Key::new(
        "state",
        Shape::OneOrList(&Shape::Text),
        "States in which the ticket lets changes happen.",
    ),
]);

/// `guard`.
pub(in crate::runbook) static GUARD: Object = Object::of(&[
    Key::new("every", Shape::Duration, "Pause between two looks.").default("5s"),
    Key::new("check", Shape::Check, "What must hold.").required(),
]);

/// An input, or a type written out.
pub(in crate::runbook) static INPUT: Object = Object::of(&[
    Key::new(
        "type",
        Shape::Enum(&[
            "string",
            "integer",
            "number",
            "boolean",
            "duration",
            "size",
            "timestamp",
            "target",
            "list",
            "object",
        ]),
        "What values it takes.",
    )
    .required(),
    Key::new("description", Shape::Text, "For people."),
    Key::new("default", Shape::Any, "Used where the caller gives none."),
    Key::new("required", Shape::Bool, "Whether the caller must give it.")
        .default("true without a default"),
    Key::new(
        "pattern",
        Shape::Regex,
        "A regular expression that a string matches somewhere; anchor it with ^ and $.",
    ),
    Key::new("min_length", Shape::Int(0, i64::MAX), "Characters at least."),
    Key::new("max_length", Shape::Int(0, i64::MAX), "Characters at most."),
    Key::new("values", Shape::List(&Shape::Scalar), "The strings that are allowed."),
    Key::new("minimum", Shape::Scalar, "The least value; a duration or size with its unit."),
    Key::new("maximum", Shape::Scalar, "The greatest value; a duration or size with its unit."),
    Key::new("one", Shape::Bool, "Exactly one target.").default("false"),
    Key::new("items", Shape::Type, "The type of each item."),
    Key::new("min_items", Shape::Int(0, i64::MAX), "Items at least."),
    Key::new("max_items", Shape::Int(0, i64::MAX), "Items at most."),
    Key::new("properties", Shape::Map(&Shape::Type), "The types of an object's fields."),
]);

/// The types.
pub(in crate::runbook) static INPUT_TYPES: &[TypeName] = &[
    TypeName { name: "string", keys: &["pattern", "min_length", "max_length", "values"] },
    TypeName { name: "integer", keys: &["minimum", "maximum"] },
    TypeName { name: "number", keys: &["minimum", "maximum"] },
    TypeName { name: "boolean", keys: &[] },
    TypeName { name: "duration", keys: &["minimum", "maximum"] },
    TypeName { name: "size", keys: &["minimum", "maximum"] },
    TypeName { name: "timestamp", keys: &[] },
    TypeName { name: "target", keys: &["one"] },
    TypeName { name: "list", keys: &["items", "min_items", "max_items"] },
    TypeName { name: "object", keys: &["properties"] },
];
