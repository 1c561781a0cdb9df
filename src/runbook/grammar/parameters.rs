//! Parameters of the actions (spec 1, Actions; of `approve`, spec 2).

use super::Shape as S;
use super::{Key, Object, Shape};

const PORT: Shape = Shape::Int(1, 65_535);

pub(super) static EMPTY: Object = Object::of(&[]);

/// `shell`, written out.
pub(in crate::runbook) static SHELL: Object = Object::of(&[
    Key::new("text", S::Code, "What the interpreter reads; never templated.").required(),
    Key::new("interpreter", S::OneOrList(&S::Text), "Argv of the interpreter.")
        .default("bash -euo pipefail"),
]);

/// `script`.
pub(in crate::runbook) static SCRIPT: Object = Object::one_of(
    &[
        Key::new(
            "interpreter",
            S::OneOrList(&S::Text),
            "Argv of the interpreter; the script's path is appended.",
        )
        .required(),
        Key::new("text", S::Code, "The script; never templated."),
        Key::new("file", S::Text, "A file, relative to the runbook's folder."),
    ],
    &["text", "file"],
);

pub(super) static HTTP: Object = Object::of(&[
    Key::new("url", S::Url, "Where to; values in it are percent-encoded.").required(),
    Key::new(
        "method",
        S::Enum(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        "The method.",
    )
    .default("GET; POST with a body"),
    Key::new("headers", S::Map(&S::Template), "Request headers.").secrets(),
    Key::new("query", S::Map(&S::Any), "Added to the URL, encoded."),
    Key::new("json", S::Json, "A JSON body: strings in it take templates.").secrets(),
    Key::new("form", S::Map(&S::Any), "A form body, encoded.").secrets(),
    Key::new("body", S::Template, "A body as text.").secrets(),
    Key::new("auth", S::Object(&AUTH), "Credentials.").secrets(),
    Key::new("redirects", S::Int(0, 20), "How many redirects are followed.").default("0"),
    Key::new("tls", S::Object(&HTTP_TLS), "How the server's certificate is verified."),
    Key::new("max_bytes", S::Size, "The largest body that is read.").default("1MiB"),
]);

pub(super) static AUTH: Object = Object::one_of(
    &[
        Key::new("basic", S::Object(&BASIC), "User and password.").secrets(),
        Key::new("bearer", S::Template, "A token.").secrets(),
    ],
    &["basic", "bearer"],
);

pub(super) static BASIC: Object = Object::of(&[
    Key::new("user", S::Template, "The user.").required().secrets(),
    Key::new("password", S::Template, "The password.").required().secrets(),
]);

pub(super) static HTTP_TLS: Object = Object::of(&[Key::new(
    "ca",
    S::Template,
    "PEM file of roots to trust instead of the system's.",
)]);

pub(super) static TCP: Object = Object::of(&[
    Key::new("host", S::Template, "Name or address.").required(),
    Key::new("port", PORT, "The port.").required(),
    Key::new("send", S::Template, "Sent once connected."),
    Key::new("match", S::Regex, "A regular expression that what comes back must match."),
]);

pub(super) static DNS: Object = Object::of(&[
    Key::new("name", S::Template, "What is looked up.").required(),
    Key::new(
        "type",
        S::Enum(&["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"]),
        "The record type.",
    )
    .default("A"),
    Key::new("server", S::Template, "`host` or `host:port`.").default("the system's resolver"),
]);

pub(super) static TLS: Object = Object::of(&[
    Key::new("host", S::Template, "Name or address.").required(),
    Key::new("port", PORT, "The port.").required(),
    Key::new("sni", S::Template, "The name to ask for.").default("the host"),
    Key::new("ca", S::Template, "PEM file of roots to trust instead of the system's."),
]);

pub(super) static DISK: Object =
    Object::of(&[Key::new("path", S::Template, "Any path on the file system.").required()]);

pub(super) static PROCESS: Object = Object::one_of(
    &[
        Key::new("name", S::Template, "Its name."),
        Key::new("pidfile", S::Template, "A file that holds its number."),
        Key::new("match", S::Regex, "A regular expression over the whole command line."),
    ],
    &["name", "pidfile", "match"],
);

pub(super) static FILE: Object = Object::of(&[
    Key::new("path", S::Template, "The file.").required(),
    Key::new("sha256", S::Bool, "Also computes its digest.").default("false"),
]);

pub(super) static CLOCK: Object = Object::of(&[
    Key::new("server", S::Template, "An NTP server.").default("the kernel's own word")
]);

pub(super) static SERVICE: Object = Object::of(&[
    Key::new("name", S::Template, "The unit.").required(),
    Key::new(
        "state",
        S::Enum(&["started", "stopped", "restarted", "reloaded"]),
        "What it is brought into; without it the service is only looked at.",
    ),
    Key::new("pidfile", S::Template, "With `start`: a service that no manager knows."),
    Key::new("start", S::Args, "Argv that starts it."),
]);

pub(super) static FIND: Object = Object::of(&[
    Key::new("dir", S::Template, "Where to look.").required(),
    Key::new("glob", S::Template, "Which names.").default("all"),
    Key::new("older_than", S::Duration, "Only files last modified before so long."),
    Key::new("larger_than", S::Size, "Only files larger than this."),
    Key::new("keep_newest", S::Int(0, i64::MAX), "So many of the newest are left out."),
    Key::new("same_device", S::Bool, "Stays on one file system.").default("true"),
    Key::new("max", S::Int(1, 1_000_000), "At most so many.").default("10000"),
]);

pub(super) static DELETE: Object = Object::of(&[
    Key::new("files", S::List(&S::Any), "As `find` gave them: `\"{{steps.<id>.files}}\"`.")
        .required(),
    Key::new("until", S::Object(&UNTIL), "Stops once this holds."),
]);

pub(super) static UNTIL: Object = Object::one_of(
    &[
        Key::new("used_percent", S::Number, "The file system is this little used."),
        Key::new("free_bytes", S::Size, "So much is free."),
    ],
    &["used_percent", "free_bytes"],
);

pub(super) static SQL: Object = Object::of(&[
    Key::new("database", S::Template, "Its name in the configuration.").required().secrets(),
    Key::new("query", S::Code, "One statement; values go into `params`.").required(),
    Key::new("params", S::List(&S::Any), "Values of the query's parameters, in order."),
    Key::new("max_rows", S::Int(1, 1_000_000), "At most so many rows."),
]);

pub(super) static PROMETHEUS: Object = Object::of(&[
    Key::new("query", S::Template, "PromQL.").required(),
    Key::new("url", S::Url, "The server.").default("http://localhost:9090"),
]);

pub(super) static NAGIOS: Object =
    Object::of(&[Key::new("command", S::Args, "The plugin and its arguments.").required()]);

/// `wait`, written out.
pub(in crate::runbook) static WAIT: Object = Object::of(&[
    Key::new("until", S::Check, "What must hold.").required(),
    Key::new("every", S::Duration, "Pause between two looks.").default("500ms"),
    Key::new("stable", S::Duration, "For so long without a break.").default("0s"),
    Key::new("timeout", S::Duration, "At most so long.").default("5m"),
]);

/// `probe`.
pub(in crate::runbook) static PROBE: Object = Object::of(&[
    Key::new("check", S::Check, "What is sampled.").required(),
    Key::new("every", S::Duration, "Pause between two samples.").default("100ms"),
    Key::new("until", S::Id, "Ends when this step has ended.").default("the run's end"),
    Key::new("keep", S::Expr, "Kept of each sample; sees `result`."),
]);

pub(super) static BACKUP: Object = Object::of(&[
    Key::new("source", S::Any, "What is backed up.").required(),
    Key::new("to", S::Any, "Where the backup goes.").required(),
    Key::new("minimum", S::Size, "A smaller backup is a failure."),
    Key::new("fingerprint", S::Any, "What must be in it."),
]);

pub(super) static RESTORE: Object = Object::of(&[
    Key::new("backup", S::Any, "Which backup.").required(),
    Key::new("into", S::Any, "Where it is restored to.").required(),
    Key::new("verify", S::Any, "What must hold of the restored data."),
]);

pub(super) static PRUNE: Object = Object::of(&[
    Key::new("of", S::Any, "Which backups.").required(),
    Key::new("keep", S::Any, "What is kept.").required(),
    Key::new("only_verified", S::Bool, "Only verified backups count as kept.").default("true"),
]);

pub(super) static TRANSFER: Object = Object::of(&[
    Key::new("from", S::Template, "The file.").required(),
    Key::new("to", S::Template, "The path on the target.").required(),
    Key::new("mode", S::Template, "Its mode, such as 0644."),
    Key::new("owner", S::Template, "Its owner, `user` or `user:group`."),
]);

/// `approve` (spec 2).
pub(in crate::runbook) static APPROVE: Object = Object::of(&[
    Key::new("message", S::Template, "Shown to the approver.").required(),
    Key::new("from", S::OneOrList(&S::Text), "Who may answer: `group:…`, `user:…`.")
        .default("every approver"),
    Key::new("count", S::Int(1, 100), "Distinct people.").default("1"),
    Key::new("not_requester", S::Bool, "The requester's own yes is refused.").default("true"),
    Key::new("show", S::OneOrList(&S::Id), "Steps whose values the approver sees and signs."),
    Key::new("recheck", S::OneOrList(&S::Id), "Reads done again after the yes."),
    Key::new("notify", S::Text, "The channel that is told."),
    Key::new("expires", S::Duration, "Expiry is a denial.").default("4h"),
    Key::new(
        "signed",
        S::Enum(&["optional", "required"]),
        "Whether only SSH-signed answers count.",
    )
    .default("optional"),
    Key::new("remind", S::Duration, "Told again after."),
    Key::new("preapproved", S::Object(&PREAPPROVED), "Opens by itself inside these bounds."),
]);

/// `preapproved`.
pub(in crate::runbook) static PREAPPROVED: Object = Object::of(&[
    Key::new("when", S::Expr, "Must hold.").required(),
    Key::new("at_most", S::Text, "How often: `3 per 1h`.").required(),
]);

/// `manual`.
pub(in crate::runbook) static MANUAL: Object = Object::of(&[
    Key::new("instructions", S::Template, "What the person is to do.").required(),
    Key::new("from", S::OneOrList(&S::Text), "Who may confirm: `group:…`, `user:…`.")
        .default("every approver and operator"),
    Key::new("ask", S::Map(&S::Type), "Answers that the person gives."),
]);

pub(super) static TICKET: Object = Object {
    keys: &[
        Key::new("connector", S::Template, "Which system.").required(),
        Key::new("do", S::Template, "The connector's operation.").required(),
    ],
    is_open: true,
    one_of: &[],
};

/// `call`.
pub(in crate::runbook) static CALL: Object = Object::of(&[
    Key::new("runbook", S::Text, "`name` or `name@range`, such as `name@^1.2`.").required(),
    Key::new("inputs", S::Map(&S::Any), "Its inputs."),
    Key::new("target", S::Template, "Its targets."),
]);

/// One assertion.
pub(in crate::runbook) static ASSERTION: Object = Object::of(&[
    Key::new("that", S::Expr, "Must be true.").required(),
    Key::new("message", S::Template, "Said when it is not."),
]);

/// `end`.
pub(in crate::runbook) static END: Object = Object::of(&[
    Key::new("when", S::Expr, "Only then."),
    Key::new("outcome", S::Enum(&["succeeded", "degraded", "failed"]), "What becomes of the run.")
        .default("succeeded"),
    Key::new("message", S::Template, "For people."),
]);

/// One arm of `switch`.
pub(in crate::runbook) static ARM: Object = Object::one_of(
    &[
        Key::new("when", S::Expr, "The first arm for which this is true is taken."),
        Key::new("steps", S::Steps, "Its steps."),
        Key::new("else", S::Steps, "Taken if no arm before it was."),
    ],
    &["steps", "else"],
);

/// `{ each: expression }` in a `command`.
pub(in crate::runbook) static EACH: Object =
    Object::of(&[Key::new("each", S::Expr, "One argument an item.").required()]);
