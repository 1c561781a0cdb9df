//! Actions: those that the core itself understands, each by its own shape; the others as one tree.

use super::modifier::Mods;
use super::step::List;
use super::{Cx, Reader, RefKind, Role, or_list};
use crate::runbook::expr::Expr;
use crate::runbook::grammar::{self, ActionSpec, Shape};
use crate::runbook::model::{
    Action, Arm, Assertion, Block, End, EndOutcome, PlainAction, Probe, ScriptSource, Tree, Wait,
};
use crate::runbook::problem::Problem;
use crate::runbook::template::Place;
use crate::runbook::yaml::{self, Kind, Node};

impl<'s> Reader<'s> {
    pub(super) fn action(
        &mut self,
        spec: &'static ActionSpec,
        node: &'s Node,
        mods: &Mods<'s>,
        cx: Cx,
        inner: List<'_>,
        id: &str,
    ) -> Option<Action> {
        match spec.name {
            "command" => self.args(node, cx, "`command`").map(Action::Command),
            "shell" => self.shell(node, mods, cx),
            "script" => self.script(node, cx),
            "wait" => self.wait(node, cx, id).map(Action::Wait),
            "probe" => self.probe(node, cx, id).map(Action::Probe),
            "approve" => self.approve(node, cx).map(Action::Approve),
            "manual" => self.manual(node, cx).map(Action::Manual),
            "call" => self.call(node, cx).map(Action::Call),
            "assert" => self.assert(node, cx),
            "set" => self.set(node, cx),
            "end" => self.end(node, cx).map(Action::End),
            "block" => Some(Action::Block(self.block(node, mods, inner, id))),
            "switch" => self.switch(node, cx, inner, id),
            _ => self.plain(spec, node, cx),
        }
    }

    fn plain(&mut self, spec: &'static ActionSpec, node: &Node, cx: Cx) -> Option<Action> {
        let Shape::Object(object) = spec.shape else { return None };
        let what = format!("`{}`", spec.name);
        self.localhost(node, cx, spec);
        if node.is_null() && object.keys.iter().all(|key| !key.required) {
            let params = Tree::Map(Vec::new());
            return PlainAction::of(spec.name).map(|name| Action::Plain { name, params });
        }
        let params = self.tree(node, Shape::Object(object), cx, &what)?;
        self.exclusive(spec, node);
        PlainAction::of(spec.name).map(|name| Action::Plain { name, params })
    }

    /// Rules between parameters that the grammar's shapes do not say.
    fn exclusive(&mut self, spec: &ActionSpec, node: &Node) {
        let Kind::Map(entries) = &node.kind else { return };
        let pair = |names: &[&str]| {
            let mut found = entries.iter().filter(|(key, _)| names.contains(&key.text.as_str()));
            found.next().zip(found.next()).map(|((one, _), (two, _))| (one.span, two.span))
        };
        const BODIES: &[&str] = &["json", "form", "body"];
        if spec.name == "http"
            && let Some((one, two)) = pair(BODIES)
        {
            let message = format!("`http` takes only one of {}", or_list(BODIES));
            self.push(
                Problem::error("E_EXCLUSIVE", two, message)
                    .label("a second one")
                    .related(one, "the first one"),
            );
        }
        if spec.name == "service"
            && let (Some(pidfile), None) | (None, Some(pidfile)) =
                (node.get("pidfile"), node.get("start"))
        {
            let message = "`pidfile` and `start` go together: a service that no manager knows";
            self.push(Problem::error("E_MISSING_KEY", pidfile.span, message));
        }
    }

    /// Remembers where an endpoint names this machine.
    fn localhost(&mut self, node: &Node, cx: Cx, spec: &ActionSpec) {
        if spec.class != grammar::Class::Endpoint {
            return;
        }
        let is_local = |node: &&Node| {
            node.scalar().is_some_and(|scalar| {
                let rest = scalar.text.split_once("://").map_or(scalar.text.as_str(), |(_, r)| r);
                let host = rest.split(['/', '?']).next().unwrap_or_default();
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                ["localhost", "127.0.0.1", "[::1]", "::1"].iter().any(|name| {
                    host.strip_prefix(name)
                        .is_some_and(|port| port.is_empty() || port.starts_with(':'))
                })
            })
        };
        let found = ["host", "url", "server"].iter().filter_map(|key| node.get(key)).find(is_local);
        if let (Some(node), Some(step)) = (found, cx.step) {
            self.outline.entries[step].localhost = Some(node.span);
        }
    }

    fn interpreter(&mut self, node: &Node) -> Option<Vec<String>> {
        let argv = match &node.kind {
            Kind::List(_) => self.texts(node, "`interpreter`"),
            _ => {
                let text = self.words(node, "`interpreter`")?;
                text.split_whitespace().map(str::to_owned).collect()
            }
        };
        if argv.is_empty() {
            self.push(Problem::error("E_EMPTY_LIST", node.span, "`interpreter` is empty"));
            return None;
        }
        Some(argv)
    }

    fn shell(&mut self, node: &Node, mods: &Mods<'_>, cx: Cx) -> Option<Action> {
        let beside = mods.get("interpreter");
        let (text, inside) = if let Kind::Map(_) = node.kind {
            let fields = self.fields(node, &grammar::SHELL, "`shell`")?;
            (fields.get("text")?, fields.get("interpreter"))
        } else {
            (node, None)
        };
        if let (Some(inside), Some(beside)) = (inside, mods.own("interpreter")) {
            self.push(
                Problem::error("E_EXCLUSIVE", beside.span, "`interpreter` is written twice")
                    .related(inside.span, "also here"),
            );
        }
        let which = inside.or(beside);
        let interpreter = which.map(|node| self.interpreter(node));
        let scalar = self.string(text, "`shell`")?;
        if scalar.text.trim().is_empty() {
            self.push(Problem::error("E_VALUE", text.span, "`shell` must not be empty"));
            return None;
        }
        self.code(scalar, cx, "env");
        let interpreter = match interpreter {
            Some(interpreter) => Some(interpreter?),
            None => None,
        };
        let program = interpreter.as_ref().and_then(|argv| argv.first());
        let is_plain_shell = program.is_some_and(|program| {
            matches!(program.rsplit('/').next(), Some("sh" | "dash" | "ash" | "busybox"))
        });
        if is_plain_shell && has_pipe(&scalar.text) {
            let at = which.map_or(text.span, |node| node.span);
            self.push(
                Problem::warning(
                    "W_PIPE",
                    at,
                    "`sh` hides the failure of all but the last of a pipe",
                )
                .label("has no `pipefail`")
                .help("leave `interpreter` out: the default is `bash -euo pipefail`"),
            );
        }
        Some(Action::Shell { text: scalar.text.clone(), interpreter })
    }

    fn script(&mut self, node: &Node, cx: Cx) -> Option<Action> {
        let fields = self.fields(node, &grammar::SCRIPT, "`script`")?;
        let interpreter = fields.get("interpreter").and_then(|node| self.interpreter(node));
        let source = if let Some(node) = fields.get("text") {
            let scalar = self.string(node, "`text`")?;
            self.code(scalar, cx, "env");
            ScriptSource::Text(scalar.text.clone())
        } else {
            let node = fields.get("file")?;
            let file = self.words(node, "`file`")?;
            let path = std::path::Path::new(&file);
            let leaves = path.is_absolute()
                || path.components().any(|part| part == std::path::Component::ParentDir);
            if leaves {
                let message = "`file` must stand in the runbook's folder or below it";
                self.push(
                    Problem::error("E_VALUE", node.span, message)
                        .help("write a path relative to the runbook, without `..`"),
                );
                return None;
            }
            if file.contains("{{") {
                let message = "`file` is not templated: its digest is part of the plan";
                self.push(Problem::error("E_VALUE", node.span, message));
                return None;
            }
            if !self.files.contains(&file) {
                self.files.push(file.clone());
            }
            ScriptSource::File(file)
        };
        Some(Action::Script { interpreter: interpreter?, source })
    }

    fn wait(&mut self, node: &'s Node, cx: Cx, id: &str) -> Option<Wait> {
        if node.scalar().is_some() {
            return self.tree(node, Shape::Duration, cx, "`wait`").map(Wait::For);
        }
        let fields = self.fields(node, &grammar::WAIT, "`wait`")?;
        let check = fields
            .get("until")
            .and_then(|_| node.get("until"))
            .and_then(|node| self.check(node, cx.step, format!("{id}.until"), cx, None));
        let mut span = |name: &str, default: f64| match fields.get(name) {
            Some(node) => {
                let what = format!("`{name}`");
                if name != "stable" && !super::scalar::is_template(node) {
                    self.span(node, &what)?;
                }
                self.tree(node, Shape::Duration, cx, &what)
            }
            None => Some(Tree::Literal(serde_json::Value::from(default))),
        };
        let (every, stable, timeout) =
            (span("every", 0.5), span("stable", 0.0), span("timeout", 300.0));
        Some(Wait::Until { check: check?, every: every?, stable: stable?, timeout: timeout? })
    }

    fn probe(&mut self, node: &'s Node, cx: Cx, id: &str) -> Option<Probe> {
        let fields = self.fields(node, &grammar::PROBE, "`probe`")?;
        let check = node
            .get("check")
            .and_then(|node| self.check(node, cx.step, format!("{id}.check"), cx, None));
        let every = fields.get("every").and_then(|n| self.span(n, "`every`"));
        let until = fields.get("until").and_then(|node| {
            let until = self.words(node, "`until`")?;
            self.refer(RefKind::Until, &until, node, cx);
            Some(until)
        });
        // `result` is that of the sample, not of the probe.
        let sample = check.as_ref().and_then(|check| usize::try_from(check.0.ix.0).ok());
        let sampled = Cx { result: true, step: sample.or(cx.step), ..cx };
        let keep = fields.get("keep").and_then(|n| self.expr(n, sampled, "`keep`"));
        Some(Probe {
            check: check?,
            every: every.unwrap_or(crate::limits::PROBE_EVERY),
            until,
            keep,
        })
    }

    fn assert(&mut self, node: &Node, cx: Cx) -> Option<Action> {
        let nodes = self.one_or_list(node);
        if nodes.is_empty() {
            self.push(
                Problem::error(
                    "E_EMPTY_LIST",
                    node.span,
                    "`assert` is empty: it would prove nothing",
                )
                .help("write `- that: <expression>`"),
            );
            return None;
        }
        let mut assertions = Vec::new();
        for node in nodes {
            let Some(fields) = self.fields(node, &grammar::ASSERTION, "an assertion") else {
                continue;
            };
            let that = fields.get("that").and_then(|n| self.condition(n, cx, "`that`"));
            let message =
                fields.get("message").and_then(|n| self.template(n, Place::Plain, cx, "`message`"));
            assertions.extend(that.map(|that| Assertion { that, message }));
        }
        (assertions.len() == nodes.len()).then_some(Action::Assert(assertions))
    }

    fn set(&mut self, node: &Node, cx: Cx) -> Option<Action> {
        let names = self.named_exprs(node, cx, "`set`");
        if let Some(step) = cx.step {
            self.outline.entries[step].names = match &node.kind {
                Kind::Map(entries) => entries.iter().map(|(key, _)| key.text.clone()).collect(),
                _ => Vec::new(),
            };
        }
        if matches!(&node.kind, Kind::Map(entries) if entries.is_empty()) {
            self.push(Problem::error("E_EMPTY_LIST", node.span, "`set` is empty"));
        }
        Some(Action::Set(names))
    }

    /// `{ name: expression }`.
    pub(super) fn named_exprs(&mut self, node: &Node, cx: Cx, what: &str) -> Vec<(String, Expr)> {
        let mut named = Vec::new();
        for (key, node) in self.map(node, what).unwrap_or_default() {
            self.check_name(key, what);
            let inner = format!("`{}` of {what}", yaml::shorten(&key.text));
            if let Some(expr) = self.expr(node, cx, &inner) {
                named.push((key.text.clone(), expr));
            }
        }
        named
    }

    fn end(&mut self, node: &Node, cx: Cx) -> Option<End> {
        let fields = self.fields(node, &grammar::END, "`end`")?;
        let words = ["succeeded", "degraded", "failed"];
        let outcome = fields.get("outcome").and_then(|n| self.word(n, &words, "`outcome`"));
        let outcomes = [EndOutcome::Succeeded, EndOutcome::Degraded, EndOutcome::Failed];
        Some(End {
            when: fields.get("when").and_then(|n| self.condition(n, cx, "`when`")),
            outcome: outcomes[outcome.unwrap_or(0)],
            message: fields
                .get("message")
                .and_then(|n| self.template(n, Place::Plain, cx, "`message`")),
        })
    }

    fn block(&mut self, node: &'s Node, mods: &Mods<'s>, inner: List<'_>, id: &str) -> Block {
        let mut list = |node: Option<&'s Node>, role: Role, word: &str| {
            let prefix = format!("{id}.{word}");
            node.map(|node| self.steps(node, List { role, prefix: &prefix, ..inner }))
                .unwrap_or_default()
        };
        Block {
            steps: list(Some(node), Role::Steps, ""),
            rescue: list(mods.get("rescue"), Role::Rescue, "rescue."),
            finally: list(mods.get("finally"), Role::Finally, "finally."),
        }
    }

    fn switch(&mut self, node: &'s Node, cx: Cx, inner: List<'_>, id: &str) -> Option<Action> {
        let nodes = self.list(node, "`switch`")?;
        if nodes.is_empty() {
            self.push(Problem::error("E_EMPTY_LIST", node.span, "`switch` has no arms"));
        }
        let mut arms = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let Some(fields) = self.fields(node, &grammar::ARM, "an arm of `switch`") else {
                continue;
            };
            let when = fields.get("when");
            let at = fields.entries.first().map_or(node.span, |(key, _)| key.span);
            let problem = match (when, fields.get("else")) {
                (Some(when), Some(_)) => Some((when.span, "`else` takes no `when`")),
                (None, None) => Some((at, "an arm needs `when`, or is the `else`")),
                (None, Some(_)) if number + 1 < nodes.len() => {
                    Some((at, "`else` must be the last arm: those after it are never taken"))
                }
                _ => None,
            };
            if let Some((span, message)) = problem {
                self.push(Problem::error("E_SWITCH", span, message));
            }
            let when = when.and_then(|n| self.condition(n, cx, "`when`"));
            let prefix = format!("{id}.{}.", number + 1);
            let list = List { role: Role::Arm, prefix: &prefix, ..inner };
            let steps = node.get("steps").or(node.get("else")).map(|n| self.steps(n, list));
            arms.push(Arm { when, steps: steps.unwrap_or_default() });
        }
        Some(Action::Switch(arms))
    }
}

/// Whether a shell text pipes: a `|` that is no `||`, outside of single quotes.
fn has_pipe(text: &str) -> bool {
    let mut is_quoted = false;
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| {
        is_quoted ^= *byte == b'\'';
        let around = [at.checked_sub(1), Some(at + 1)];
        let is_double =
            around.into_iter().flatten().any(|near| bytes.get(near).is_some_and(|b| *b == b'|'));
        *byte == b'|' && !is_quoted && !is_double
    })
}
