//! What an action does once every template is rendered: the form that the log records and that
//! `action` performs. Field names are the language's own (spec 1, Actions).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A rendered action, as `{"tcp": {"host": …}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub enum Resolved {
    Command(Command),
    Shell(Shell),
    Script(Script),
    Http(Http),
    Tcp(Tcp),
    Dns(Dns),
    Tls(Tls),
    Disk(Disk),
    Memory {},
    Load {},
    Process(Process),
    File(File),
    Clock(Clock),
    Service(Service),
    Find(Find),
    Delete(Delete),
    Prometheus(Prometheus),
    Nagios(Nagios),
    Wait(Wait),
    Manual(Manual),
    /// Evaluated by the core itself: `set`, `assert`, `end`, `block`, `switch`.
    Core {},
}

/// Environment and identity of a process, rendered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessSettings {
    /// Added to the clean environment, in the author's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, String)>,
    /// Working folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// `sudo -n -u USER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `sudo -n`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sudo: bool,
    /// Standard input; empty if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Whether the step declares `outputs`, so that it gets `$RUNWARDEN_OUTPUT`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wants_outputs: bool,
}

impl ProcessSettings {
    /// Whether the author set nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == ProcessSettings::default()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Command {
    pub argv: Vec<String>,
    #[serde(flatten)]
    pub process: ProcessSettings,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Shell {
    pub text: String,
    /// Argv in front of `-c text`, e.g. `["bash", "-euo", "pipefail"]`.
    pub interpreter: Vec<String>,
    #[serde(flatten)]
    pub process: ProcessSettings,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Script {
    pub interpreter: Vec<String>,
    /// The script itself, whether it stood in the runbook or in a file.
    pub text: String,
    /// Its name where it came from a file: kept as the temporary file's suffix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(flatten)]
    pub process: ProcessSettings,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Nagios {
    pub command: Vec<String>,
    #[serde(default)]
    pub process: ProcessSettings,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Http {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub form: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// `{ basic: { user, password } }` or `{ bearer: token }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HttpAuth>,
    #[serde(default)]
    pub redirects: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<HttpTls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub enum HttpAuth {
    Basic { user: String, password: String },
    Bearer(String),
}

/// `tls: { ca }` of `http`: a PEM file of roots to trust instead of the system's. The name that is
/// asked for and verified is the URL's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct HttpTls {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Tcp {
    pub host: String,
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// A regular expression that what comes back must match.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Dns {
    pub name: String,
    /// `A` if absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// `host`, `host:port`; the system's resolver if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Tls {
    pub host: String,
    pub port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// PEM file of roots to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Disk {
    pub path: String,
}

/// Exactly one of the three.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Process {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfile: Option<String>,
    /// A regular expression over the whole command line.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct File {
    pub path: String,
    #[serde(default)]
    pub sha256: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Clock {
    /// NTP server; absent: what the kernel says of its own synchronisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Service {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ServiceState>,
    /// With `start`: a service that neither systemd nor sysv knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfile: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<String>,
    /// Identity and environment of what is run to look and to change.
    #[serde(default, skip_serializing_if = "ProcessSettings::is_default")]
    pub process: ProcessSettings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub enum ServiceState {
    Started,
    Stopped,
    Restarted,
    Reloaded,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Find {
    pub dir: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glob: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_newest: Option<u64>,
    #[serde(default = "yes")]
    pub same_device: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Delete {
    /// As `find` gave them.
    pub files: Vec<FoundFile>,
    /// Stop once the file system of the first file is this little used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DeleteUntil>,
}

/// `until: { used_percent: 60 }`: percent of the file system that holds the files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct DeleteUntil {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<Bytes>,
}

/// One file that `find` named: `delete` checks device, inode, size and time again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct FoundFile {
    pub path: String,
    #[serde(with = "wide")]
    pub dev: u64,
    #[serde(with = "wide")]
    pub ino: u64,
    pub size_bytes: u64,
    /// RFC 3339, UTC.
    pub mtime: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Prometheus {
    pub query: String,
    /// `http://localhost:9090` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// `wait`, rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// So long.
    For(Seconds),
    /// Until the check holds.
    Until {
        /// The check's own action.
        check: Box<Resolved>,
        /// Pause between two looks.
        every: Seconds,
        /// For so long without a break.
        stable: Seconds,
        /// At most so long.
        timeout: Seconds,
    },
}

/// `manual`, rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the language's own; spec 1, Actions")]
pub struct Manual {
    pub instructions: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Names of the answers that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<String>,
}

/// Device and inode numbers use all 64 bits on some file systems, JSON numbers in the log only 53:
/// a larger one is written as text.
mod wide {
    use super::{Deserialize, Deserializer, Serializer, Value};

    const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        if *number <= JSON_INTEGER_MAX { to.serialize_u64(*number) } else { to.collect_str(number) }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let value = Value::deserialize(from)?;
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| serde::de::Error::custom(format!("`{value}` is not a file's number")))
    }
}

fn yes() -> bool {
    true
}

/// A duration: JSON has it as a number of seconds; a rendered template may give `30s` as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Seconds, D::Error> {
        use serde::de::Error;
        match Value::deserialize(from)? {
            Value::Number(seconds) => {
                let seconds = seconds.as_f64().unwrap_or(-1.0);
                Duration::try_from_secs_f64(seconds)
                    .map(Seconds)
                    .map_err(|_| D::Error::custom(format!("`{seconds}` is not a duration")))
            }
            Value::String(text) => {
                crate::unit::parse_duration(&text).map(Seconds).map_err(D::Error::custom)
            }
            other => Err(D::Error::custom(format!("`{other}` is not a duration"))),
        }
    }
}

/// A size: JSON has it as a number of bytes; a rendered template may give `10MiB` as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        use serde::de::Error;
        match Value::deserialize(from)? {
            Value::Number(bytes) => bytes
                .as_u64()
                .map(Bytes)
                .ok_or_else(|| D::Error::custom(format!("`{bytes}` is not a size in bytes"))),
            Value::String(text) => {
                crate::unit::parse_size(&text).map(Bytes).map_err(D::Error::custom)
            }
            other => Err(D::Error::custom(format!("`{other}` is not a size"))),
        }
    }
}
