//! What waits for people or for another runbook: `approve`, `manual`, `call`.

use std::time::Duration;

use super::{Cx, Reader, RefKind};
use crate::limits;
use crate::runbook::grammar;
use crate::runbook::model::{Approve, Call, Manual, Preapproved};
use crate::runbook::problem::Problem;
use crate::runbook::template::Place;
use crate::runbook::yaml::{self, Node};
use crate::unit;

impl Reader<'_> {
    pub(super) fn approve(&mut self, node: &Node, cx: Cx) -> Option<Approve> {
        let fields = self.fields(node, &grammar::APPROVE, "`approve`")?;
        let message =
            fields.get("message").and_then(|n| self.template(n, Place::Plain, cx, "`message`"));
        let from = fields.get("from").map(|n| self.people(n)).unwrap_or_default();
        let count = fields.get("count").and_then(|n| self.int(n, 1, 100, "`count`"));
        let not_requester =
            fields.get("not_requester").and_then(|n| self.bool(n, "`not_requester`"));
        let show = self.refs(fields.get("show"), RefKind::Show, "`show`", cx);
        let recheck = self.refs(fields.get("recheck"), RefKind::Recheck, "`recheck`", cx);
        let expires = fields.get("expires").and_then(|n| self.span(n, "`expires`"));
        let signed =
            fields.get("signed").and_then(|n| self.word(n, &["optional", "required"], "`signed`"));
        let remind = fields.get("remind").and_then(|n| self.span(n, "`remind`"));
        let notify = fields.get("notify").and_then(|n| self.words(n, "`notify`"));
        let preapproved = fields.get("preapproved").and_then(|n| self.preapproved(n, cx));
        let count = count.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        let users = from.iter().filter(|who| who.starts_with("user:")).count();
        if !from.is_empty() && users == from.len() && users < count as usize {
            let at = fields.get("count").map_or(node.span, |n| n.span);
            let message = format!("nobody could ever pass this gate: {count} people of {users}");
            self.push(Problem::error("E_GATE", at, message).help("name more people, or a group"));
        }
        Some(Approve {
            message: message?,
            from,
            count,
            not_requester: not_requester.unwrap_or(true),
            show,
            recheck,
            notify,
            expires: expires.unwrap_or(limits::GATE_EXPIRES),
            signed_required: signed == Some(1),
            remind,
            preapproved,
        })
    }

    fn people(&mut self, node: &Node) -> Vec<String> {
        let items = self.one_or_list(node);
        let mut people = Vec::new();
        for item in items {
            let Some(who) = self.words(item, "`from`") else { continue };
            let name = who.strip_prefix("group:").or_else(|| who.strip_prefix("user:"));
            if name.is_none_or(|name| name.trim().is_empty()) {
                let message = format!("`{}` is neither a group nor a user", yaml::shorten(&who));
                self.push(
                    Problem::error("E_VALUE", item.span, message)
                        .help(format!("write `group:{who}` or `user:{who}`")),
                );
                continue;
            }
            people.push(who);
        }
        if items.is_empty() {
            let message = "nobody may answer: `from` is empty";
            self.push(
                Problem::error("E_GATE", node.span, message)
                    .help("name a group or a user, or leave `from` out for every approver"),
            );
        }
        people
    }

    fn refs(&mut self, node: Option<&Node>, kind: RefKind, what: &str, cx: Cx) -> Vec<String> {
        let mut ids = Vec::new();
        for item in node.map(|node| self.one_or_list(node)).unwrap_or_default() {
            let Some(id) = self.words(item, what) else { continue };
            self.refer(kind, &id, item, cx);
            ids.push(id);
        }
        ids
    }

    /// Remembers that the step of `cx` names another by its id.
    pub(super) fn refer(&mut self, kind: RefKind, id: &str, node: &Node, cx: Cx) {
        if let Some(entry) = cx.step.and_then(|step| self.outline.entries.get_mut(step)) {
            entry.refs.push((kind, id.to_owned(), node.span));
        }
    }

    fn preapproved(&mut self, node: &Node, cx: Cx) -> Option<Preapproved> {
        let fields = self.fields(node, &grammar::PREAPPROVED, "`preapproved`")?;
        let when = fields.get("when").and_then(|n| self.condition(n, cx, "`when`"));
        let (at_most, per) = fields.get("at_most").and_then(|n| self.rate(n))?;
        Some(Preapproved { when: when?, at_most, per })
    }

    /// `3 per 1h`.
    fn rate(&mut self, node: &Node) -> Option<(u32, Duration)> {
        let text = self.text(node, "`at_most`")?;
        let parsed = text.split_once(" per ").and_then(|(count, span)| {
            let count = count.trim().parse::<u32>().ok().filter(|count| *count > 0)?;
            Some((count, unit::parse_duration(span.trim()).ok()?))
        });
        if parsed.is_none() {
            let message = format!("`at_most` must be a rate, found `{}`", yaml::shorten(&text));
            self.push(Problem::error("E_VALUE", node.span, message).help("write `3 per 1h`"));
        }
        parsed
    }

    pub(super) fn manual(&mut self, node: &Node, cx: Cx) -> Option<Manual> {
        let fields = self.fields(node, &grammar::MANUAL, "`manual`")?;
        let from = fields.get("from").map(|n| self.people(n)).unwrap_or_default();
        let ask = fields.get("ask").map(|n| self.types(n, "`ask`")).unwrap_or_default();
        let instructions = fields
            .get("instructions")
            .and_then(|n| self.template(n, Place::Plain, cx, "`instructions`"))?;
        Some(Manual { instructions, from, ask })
    }

    pub(super) fn call(&mut self, node: &Node, cx: Cx) -> Option<Call> {
        let fields = self.fields(node, &grammar::CALL, "`call`")?;
        let callee = fields.get("runbook").and_then(|n| self.callee(n));
        let mut inputs = Vec::new();
        if let Some(node) = fields.get("inputs") {
            for (key, node) in self.map(node, "`inputs`").unwrap_or_default() {
                let what = format!("input `{}`", yaml::shorten(&key.text));
                if let Some(tree) = self.any(node, Place::Plain, cx, &what) {
                    inputs.push((key.text.clone(), tree));
                }
            }
        }
        let target =
            fields.get("target").and_then(|n| self.template(n, Place::Plain, cx, "`target`"));
        let (runbook, version) = callee?;
        Some(Call { runbook, version, inputs, target })
    }

    fn callee(&mut self, node: &Node) -> Option<(String, Option<semver::VersionReq>)> {
        let text = self.words(node, "`runbook`")?;
        let (name, range) = match text.split_once('@') {
            Some((name, range)) => (name, Some(range)),
            None => (text.as_str(), None),
        };
        let is_name = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_name {
            let message = format!("`{}` is not a runbook's name", yaml::shorten(name));
            let help = "write `name` or `name@^1.2`: a runbook of the catalogue, never a file";
            self.push(Problem::error("E_NAME", node.span, message).help(help));
            return None;
        }
        let version = match range.map(semver::VersionReq::parse).transpose() {
            Ok(version) => version,
            Err(err) => {
                let message =
                    format!("`{}` is not a range of versions: {err}", yaml::shorten(&text));
                let help = "write `name@^1.2`, `name@1.2.3` or `name@>=1.2,<2`";
                self.push(Problem::error("E_VERSION", node.span, message).help(help));
                return None;
            }
        };
        Some((name.to_owned(), version))
    }
}
