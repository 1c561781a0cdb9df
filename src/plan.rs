//! runbook + inputs + targets → the frozen plan and its digest: what approvers sign, printed before
//! a run exists. No results, no times, no run id in it, so that it is the same on every machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::id::Digest;
use crate::runbook::expr::Expr;
use crate::runbook::model::{
    Action, Arg, Check, ForEach, Parse, Rollback, Runbook, ScriptSource, Share, Step, Tree, Wait,
};
use crate::runbook::scope::Scope;
use crate::runbook::template::Template;

/// A frozen plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// SHA-256 of its canonical JSON (RFC 8785).
    pub digest: Digest,
    /// Names of the targets.
    pub targets: Vec<String>,
    /// All of it.
    pub json: Value,
}

/// The agent's own host, as a selector.
const THIS_HOST: &str = "local";

/// Freezes a run of `runbook` with these inputs; `files` holds the texts of the files that its
/// scripts name, which enter by their digests.
#[must_use]
pub fn plan(
    runbook: &Runbook,
    inputs: &Map<String, Value>,
    files: &BTreeMap<String, String>,
) -> Plan {
    let scope = Scope::default().with("inputs", Value::Object(inputs.clone())).with(
        "runbook",
        json!({
            "name": runbook.name,
            "version": runbook.version.to_string(),
            "digest": runbook.digest,
            "kind": runbook.kind,
            "title": runbook.title,
            "labels": runbook.labels,
        }),
    );
    let writer = Writer { scope };
    let selector = runbook.targets.as_ref().map(|targets| writer.template(targets));
    let selector = selector.unwrap_or_else(|| json!(THIS_HOST));
    // Without an inventory a selector stands for what it would choose.
    let targets = vec![selector.as_str().map_or_else(|| selector.to_string(), str::to_owned)];
    let writer = match targets[0] == THIS_HOST {
        true => Writer {
            scope: writer
                .scope
                .with("target", json!({ "name": THIS_HOST, "address": "localhost", "labels": {} })),
        },
        false => writer,
    };
    let digests: Map<String, Value> = files
        .iter()
        .map(|(path, text)| (path.clone(), json!(Digest::of(text.as_bytes()))))
        .collect();
    let mut plan = json!({
        "runbook": {
            "name": runbook.name,
            "version": runbook.version.to_string(),
            "digest": runbook.digest,
            "kind": runbook.kind,
        },
        "inputs": inputs,
        "targets": targets,
        "steps": writer.steps(&runbook.steps),
    });
    let map = plan.as_object_mut().expect("built as an object");
    let mut put = |key: &str, value: Value| {
        if !is_empty(&value) {
            map.insert(key.to_owned(), value);
        }
    };
    put("finally", writer.steps(&runbook.finally));
    put("files", Value::Object(digests));
    put("secrets", json!(runbook.secrets));
    put("timeout_seconds", json!(runbook.timeout.map(|span| span.as_secs_f64())));
    put("calendar", json!(runbook.calendar));
    put("change", json!(runbook.change));
    if let Some(concurrency) = &runbook.concurrency {
        let key = writer.template(&concurrency.key);
        let (limit, conflict) = (concurrency.limit, concurrency.conflict);
        put("concurrency", json!({ "key": key, "limit": limit, "conflict": conflict }));
    }
    put("steady_state", runbook.steady_state.iter().map(|check| writer.check(check)).collect());
    if let Some(guard) = &runbook.guard {
        let every = guard.every.as_secs_f64();
        put("guard", json!({ "every_seconds": every, "check": writer.check(&guard.check) }));
    }
    put("outputs", writer.expressions(&runbook.outputs));
    let bytes = crate::audit::jcs::to_vec(&plan).expect("a plan holds only JSON's own numbers");
    Plan { digest: Digest::of(&bytes), targets, json: plan }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Writes what stands in a runbook, with every template filled that can be filled now.
struct Writer {
    scope: Scope,
}

impl Writer {
    fn steps(&self, steps: &[Step]) -> Value {
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn step(&self, step: &Step) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            if !is_empty(&value) {
                map.insert(key.to_owned(), value);
            }
        };
        put("id", json!(step.id));
        put("action", json!(step.action.name()));
        put("effect", json!(step.effect));
        put(step.action.name(), self.action(&step.action));
        let expr = |expr: &Option<Expr>| json!(expr.as_ref().map(Expr::source));
        put("when", expr(&step.when));
        put("expect", expr(&step.expect));
        put("warn", expr(&step.warn));
        put("changed", expr(&step.changed));
        if let Some(needs) = &step.needs {
            let needs = needs.iter().map(|need| json!({ "id": need.id, "any": need.any }));
            map.insert("needs".to_owned(), needs.collect());
        }
        let mut put = |key: &str, value: Value| {
            if !is_empty(&value) {
                map.insert(key.to_owned(), value);
            }
        };
        put("target", json!(step.target.as_ref().map(|target| self.template(target))));
        put("for_each", self.for_each(step));
        put("timeout_seconds", json!(step.timeout.map(|span| span.as_secs_f64())));
        put("retry", self.retry(step));
        put("on_failure", json!(step.on_failure));
        put("on_interrupt", json!(step.on_interrupt));
        put("rollback", self.rollback(step));
        put("proves", json!(step.proves));
        put("done", json!(step.done.as_ref().map(|check| self.check(check))));
        put("process", self.process(step));
        if let Some(exit) = &step.exit {
            put(
                "exit",
                json!({ "ok": exit.ok, "warning": exit.warning, "critical": exit.critical }),
            );
        }
        put("parse", json!(step.parse.as_ref().map(parse_name)));
        put("measure", self.expressions(&step.measure));
        for (key, is_set) in [
            ("point_of_no_return", step.point_of_no_return),
            ("idempotent", step.idempotent),
            ("sensitive", step.sensitive),
        ] {
            if is_set {
                put(key, json!(true));
            }
        }
        Value::Object(map)
    }

    fn action(&self, action: &Action) -> Value {
        match action {
            Action::Command(args) => args.iter().map(|arg| self.arg(arg)).collect(),
            Action::Shell { text, interpreter } => {
                json!({ "text": text, "interpreter": interpreter })
            }
            Action::Script { interpreter, source: ScriptSource::Text(text) } => {
                json!({ "interpreter": interpreter, "text": text })
            }
            Action::Script { interpreter, source: ScriptSource::File(file) } => {
                json!({ "interpreter": interpreter, "file": file })
            }
            Action::Plain { params, .. } => self.tree(params),
            Action::Wait(Wait::For(span)) => self.tree(span),
            Action::Wait(Wait::Until { check, every, stable, timeout }) => json!({
                "until": self.check(check),
                "every": self.tree(every),
                "stable": self.tree(stable),
                "timeout": self.tree(timeout),
            }),
            Action::Probe(probe) => json!({
                "check": self.check(&probe.check),
                "every_seconds": probe.every.as_secs_f64(),
                "until": probe.until,
                "keep": probe.keep.as_ref().map(Expr::source),
            }),
            Action::Approve(approve) => json!({
                "message": self.template(&approve.message),
                "from": approve.from,
                "count": approve.count,
                "not_requester": approve.not_requester,
                "show": approve.show,
                "recheck": approve.recheck,
                "expires_seconds": approve.expires.as_secs_f64(),
                "signed_required": approve.signed_required,
                "preapproved": approve.preapproved.as_ref().map(|bounds| json!({
                    "when": bounds.when.source(),
                    "at_most": bounds.at_most,
                    "per_seconds": bounds.per.as_secs_f64(),
                })),
            }),
            Action::Manual(manual) => json!({
                "instructions": self.template(&manual.instructions),
                "from": manual.from,
                "ask": manual.ask.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            }),
            Action::Call(call) => json!({
                "runbook": call.runbook,
                "version": call.version.as_ref().map(ToString::to_string),
                "inputs": self.map(&call.inputs),
                "target": call.target.as_ref().map(|target| self.template(target)),
            }),
            Action::Assert(assertions) => assertions
                .iter()
                .map(|one| {
                    let message = one.message.as_ref().map(|message| self.template(message));
                    json!({ "that": one.that.source(), "message": message })
                })
                .collect(),
            Action::Set(values) => self.expressions(values),
            Action::End(end) => json!({
                "when": end.when.as_ref().map(Expr::source),
                "outcome": end.outcome,
                "message": end.message.as_ref().map(|message| self.template(message)),
            }),
            Action::Block(block) => json!({
                "steps": self.steps(&block.steps),
                "rescue": self.steps(&block.rescue),
                "finally": self.steps(&block.finally),
            }),
            Action::Switch(arms) => arms
                .iter()
                .map(|arm| {
                    let when = arm.when.as_ref().map(Expr::source);
                    json!({ "when": when, "steps": self.steps(&arm.steps) })
                })
                .collect(),
        }
    }

    fn arg(&self, arg: &Arg) -> Value {
        match arg {
            Arg::One(template) => self.template(template),
            Arg::Each(expr) => json!({ "each": expr.source() }),
        }
    }

    fn check(&self, check: &Check) -> Value {
        self.step(&check.0)
    }

    fn for_each(&self, step: &Step) -> Value {
        let limits = step.limits.as_ref().map(|limits| {
            let batch: Vec<Value> = limits
                .batch
                .iter()
                .map(|share| match share {
                    Share::Count(count) => json!(count),
                    Share::Percent(percent) => json!(format!("{percent}%")),
                })
                .collect();
            json!({
                "parallel": limits.parallel,
                "batch": batch,
                "max_failures": limits.max_failures,
            })
        });
        match &step.for_each {
            None => Value::Null,
            Some(ForEach::Expr(expr)) => json!({ "items": expr.source(), "limits": limits }),
            Some(ForEach::Items(items)) => {
                let items: Vec<Value> = items.iter().map(|item| self.tree(item)).collect();
                json!({ "items": items, "limits": limits })
            }
        }
    }

    fn retry(&self, step: &Step) -> Value {
        json!(step.retry.as_ref().map(|retry| json!({
            "attempts": retry.attempts,
            "backoff_seconds": retry.backoff.as_secs_f64(),
            "factor": retry.factor,
            "max_seconds": retry.max.as_secs_f64(),
            "when": retry.when.as_ref().map(Expr::source),
        })))
    }

    fn rollback(&self, step: &Step) -> Value {
        match &step.rollback {
            None => Value::Null,
            Some(Rollback::None { reason }) => json!({ "none": reason }),
            Some(Rollback::Steps(steps)) => self.steps(steps),
        }
    }

    fn process(&self, step: &Step) -> Value {
        let process = &step.process;
        let mut map = Map::new();
        let env: Map<String, Value> =
            process.env.iter().map(|(name, value)| (name.clone(), self.template(value))).collect();
        let files: Map<String, Value> = process
            .secret_files
            .iter()
            .map(|(name, secret)| (name.clone(), json!(secret)))
            .collect();
        let told = |template: &Option<Template>| {
            template.as_ref().map_or(Value::Null, |template| self.template(template))
        };
        for (key, value) in [
            ("env", Value::Object(env)),
            ("secret_files", Value::Object(files)),
            ("cwd", told(&process.cwd)),
            ("user", told(&process.user)),
            ("stdin", told(&process.stdin)),
        ] {
            if !is_empty(&value) {
                map.insert(key.to_owned(), value);
            }
        }
        if process.sudo {
            map.insert("sudo".to_owned(), json!(true));
        }
        Value::Object(map)
    }

    fn expressions(&self, named: &[(String, Expr)]) -> Value {
        named.iter().map(|(name, expr)| (name.clone(), json!(expr.source()))).collect()
    }

    fn tree(&self, tree: &Tree) -> Value {
        match tree {
            Tree::Literal(value) => value.clone(),
            Tree::Template(template) => self.template(template),
            Tree::List(items) => items.iter().map(|item| self.tree(item)).collect(),
            Tree::Map(entries) => self.map(entries),
        }
    }

    fn map(&self, entries: &[(String, Tree)]) -> Value {
        entries.iter().map(|(name, tree)| (name.clone(), self.tree(tree))).collect()
    }

    /// Filled where every name is known before the run, else as the author wrote it.
    fn template(&self, template: &Template) -> Value {
        let is_known = |name: &Vec<String>| self.scope.roots.contains_key(&name[0]);
        if !template.names().iter().all(is_known) {
            return json!(template.source());
        }
        template.render(&self.scope).unwrap_or_else(|_| json!(template.source()))
    }
}

fn parse_name(parse: &Parse) -> Value {
    match parse {
        Parse::Text => json!("text"),
        Parse::Lines => json!("lines"),
        Parse::Number => json!("number"),
        Parse::Json => json!("json"),
        Parse::Regex(regex) => json!({ "regex": regex.as_str() }),
        Parse::None => json!("none"),
    }
}
