//! The runbook's own keys.

use std::collections::BTreeMap;

use super::step::List;
use super::{Cx, Reader, Role, Zone};
use crate::id::Digest;
use crate::limits;
use crate::runbook::grammar;
use crate::runbook::model::{
    Calendar, ChangeTicket, Check, Closed, Concurrency, Conflict, Guard, Kind, Runbook,
};
use crate::runbook::problem::Problem;
use crate::runbook::template::{Place, Template};
use crate::runbook::yaml::{self, Node};

const KINDS: [Kind; 5] =
    [Kind::HealthCheck, Kind::Backup, Kind::FailoverTest, Kind::Remediation, Kind::Task];

impl<'s> Reader<'s> {
    pub(super) fn runbook(&mut self, root: &'s Node) -> Option<Runbook> {
        let fields = self.fields(root, &grammar::RUNBOOK, "the runbook")?;
        let get = |name| root.get(name);
        if let Some(node) = get("runwarden") {
            self.language(node);
        }
        let name = get("runbook").and_then(|node| self.runbook_name(node));
        let version = get("version").and_then(|node| self.version(node));
        let kind = get("kind").and_then(|node| {
            self.outline.kind_span = node.span;
            let words = ["health-check", "backup", "failover-test", "remediation", "task"];
            self.word(node, &words, "`kind`").map(|at| KINDS[at])
        });
        self.outline.kind = kind;
        let title = get("title").and_then(|node| self.words(node, "`title`"));
        let inputs = get("inputs").map(|node| self.inputs(node)).unwrap_or_default();
        let secrets = get("secrets").map(|node| self.secrets(node)).unwrap_or_default();
        let targets = get("targets").and_then(|node| self.targets(node));
        if let Some(node) = get("defaults") {
            self.defaults(node);
        }
        let timeout = get("timeout").and_then(|node| self.span(node, "`timeout`"));
        let steady_state =
            get("steady_state").map(|node| self.steady_state(node)).unwrap_or_default();
        let guard = get("guard").and_then(|node| self.guard(node));
        let steps = get("steps").map(|node| self.steps(node, List::top(Role::Steps, "")));
        let finally =
            get("finally").map(|node| self.steps(node, List::top(Role::Finally, "finally.")));
        let outputs = get("outputs").map(|node| self.named_exprs(node, cx(Zone::End), "`outputs`"));
        let runbook = Runbook {
            name: name.unwrap_or_default(),
            version: version.unwrap_or(semver::Version::new(0, 0, 0)),
            digest: Digest::of(self.source.as_bytes()),
            kind: kind.unwrap_or(Kind::Task),
            title: title.unwrap_or_default(),
            description: get("description").and_then(|node| self.text(node, "`description`")),
            owner: get("owner").and_then(|node| self.text(node, "`owner`")),
            labels: get("labels").map(|node| self.labels(node)).unwrap_or_default(),
            inputs,
            secrets,
            targets,
            timeout,
            concurrency: get("concurrency").and_then(|node| self.concurrency(node)),
            calendar: get("calendar").and_then(|node| self.calendar(node)),
            change: get("change").and_then(|node| self.change(node)),
            steady_state,
            guard,
            steps: steps.unwrap_or_default(),
            finally: finally.unwrap_or_default(),
            outputs: outputs.unwrap_or_default(),
            files: std::mem::take(&mut self.files),
        };
        (!fields.entries.is_empty()).then_some(runbook)
    }

    fn language(&mut self, node: &Node) {
        if node.scalar().is_some_and(|scalar| scalar.text == "1") {
            return;
        }
        let message = format!("unknown language version {}", node.describe());
        self.push(
            Problem::error("E_LANGUAGE", super::first_line(self.source, node.span), message)
                .label("this program reads version 1")
                .help("write `runwarden: 1`, or run a newer runwarden"),
        );
    }

    fn runbook_name(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "`runbook`")?;
        let is_name = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_name {
            let message = format!("`{}` is not a runbook's name", yaml::shorten(&text));
            self.push(
                Problem::error("E_NAME", node.span, message)
                    .help("lower-case letters, digits and `-`, 1 to 64 characters"),
            );
            return None;
        }
        Some(text)
    }

    fn version(&mut self, node: &Node) -> Option<semver::Version> {
        let text = self.text(node, "`version`")?;
        match text.parse() {
            Ok(version) => Some(version),
            Err(err) => {
                let message =
                    format!("`{}` is not a semantic version: {err}", yaml::shorten(&text));
                self.push(
                    Problem::error("E_VERSION", node.span, message)
                        .help("write major.minor.patch, such as `1.0.0`"),
                );
                None
            }
        }
    }

    fn labels(&mut self, node: &Node) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (key, node) in self.map(node, "`labels`").unwrap_or_default() {
            let what = format!("label `{}`", yaml::shorten(&key.text));
            if let Some(text) = self.text(node, &what) {
                labels.insert(key.text.clone(), text);
            }
        }
        labels
    }

    fn secrets(&mut self, node: &Node) -> Vec<String> {
        let mut names = Vec::new();
        for node in self.list(node, "`secrets`").unwrap_or_default() {
            if let Some(name) = self.words(node, "a secret's name") {
                if names.contains(&name) {
                    let message = format!("secret `{}` is listed twice", yaml::shorten(&name));
                    self.push(Problem::error("E_DUPLICATE", node.span, message));
                }
                names.push(name);
            }
        }
        self.outline.secrets.clone_from(&names);
        names
    }

    fn targets(&mut self, node: &Node) -> Option<Template> {
        let targets = self.template(node, Place::Plain, cx(Zone::Request), "`targets`");
        self.outline.has_targets = targets.as_ref().is_some_and(|text| text.source() != "local");
        self.run_fans_out = targets.as_ref().is_some_and(|text| !self.is_one_target(text));
        targets
    }

    fn concurrency(&mut self, node: &Node) -> Option<Concurrency> {
        let fields = self.fields(node, &grammar::CONCURRENCY, "`concurrency`")?;
        let limit = fields.get("limit").and_then(|n| self.int(n, 1, 10_000, "`limit`"));
        let conflict =
            fields.get("conflict").and_then(|n| self.word(n, &["queue", "reject"], "`conflict`"));
        let key = fields
            .get("key")
            .and_then(|n| self.template(n, Place::Plain, cx(Zone::Request), "`key`"))?;
        Some(Concurrency {
            key,
            limit: limit.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            conflict: if conflict == Some(1) { Conflict::Reject } else { Conflict::Queue },
        })
    }

    fn calendar(&mut self, node: &Node) -> Option<Calendar> {
        if node.scalar().is_some() {
            let name = self.words(node, "`calendar`")?;
            return Some(Calendar { name, closed: Closed::Wait });
        }
        let fields = self.fields(node, &grammar::CALENDAR, "`calendar`")?;
        let closed =
            fields.get("closed").and_then(|n| self.word(n, &["wait", "fail", "ask"], "`closed`"));
        let name = fields.get("name").and_then(|n| self.words(n, "`name`"))?;
        let closed = [Closed::Wait, Closed::Fail, Closed::Ask][closed.unwrap_or(0)];
        Some(Calendar { name, closed })
    }

    fn change(&mut self, node: &Node) -> Option<ChangeTicket> {
        let fields = self.fields(node, &grammar::CHANGE, "`change`")?;
        let ticket =
            fields.get("ticket").and_then(|n| self.word(n, &["required", "optional"], "`ticket`"));
        Some(ChangeTicket {
            required: ticket.unwrap_or(0) == 0,
            connector: fields.get("connector").and_then(|n| self.words(n, "`connector`")),
            state: fields.get("state").map(|n| self.texts(n, "`state`")).unwrap_or_default(),
        })
    }

    fn steady_state(&mut self, node: &'s Node) -> Vec<Check> {
        let nodes = self.list(node, "`steady_state`").unwrap_or_default();
        self.outline.has_steady_state = !nodes.is_empty();
        let mut checks = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let place = format!("steady_state.{}", number + 1);
            checks.extend(self.check(node, None, place, cx(Zone::Request), None));
        }
        checks
    }

    fn guard(&mut self, node: &'s Node) -> Option<Guard> {
        let fields = self.fields(node, &grammar::GUARD, "`guard`")?;
        let every = fields.get("every").and_then(|n| self.span(n, "`every`"));
        let check = fields
            .get("check")
            .and_then(|node| self.check(node, None, "guard".to_owned(), cx(Zone::Request), None))?;
        Some(Guard { every: every.unwrap_or(limits::GUARD_EVERY), check })
    }

    /// Looks at the keys of `defaults`; values are read with each step that takes them.
    fn defaults(&mut self, node: &'s Node) {
        let Some(entries) = self.map(node, "`defaults`") else { return };
        for (key, _) in entries {
            match grammar::modifier(&key.text) {
                None => {
                    let known = grammar::MODIFIERS.iter().map(|modifier| modifier.key.name);
                    self.unknown_key(key, "`defaults`", known);
                }
                Some(modifier) if NO_DEFAULT.contains(&modifier.key.name) => {
                    let message = format!("`{}` cannot be a default", key.text);
                    self.push(
                        Problem::error("E_DEFAULTS", key.span, message)
                            .label("belongs to one step")
                            .help("write it in that step"),
                    );
                }
                Some(_) => {}
            }
        }
        self.defaults = Some(node);
    }
}

/// Modifiers that name one step or stand in one place.
const NO_DEFAULT: &[&str] = &["id", "proves", "rescue", "finally"];

/// Outside of steps.
fn cx(zone: Zone) -> Cx {
    Cx { step: None, zone, item: false, result: false, secrets: false }
}
