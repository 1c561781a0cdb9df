//! Modifiers: the step's own, else those of `defaults` that its action takes.

use super::step::{Keys, List};
use super::{Cx, Inherited, Reader, Role, RollbackKind};
use crate::limits;
use crate::runbook::grammar::{self, ActionSpec, Class, EffectRule};
use crate::runbook::model::{
    Effect, ExitCodes, FanLimits, ForEach, Kind, Need, OnFailure, OnInterrupt, Parse,
    ProcessModifiers, Retry, Rollback, Share, Step, StepIx,
};
use crate::runbook::problem::Problem;
use crate::runbook::template::Place;
use crate::runbook::yaml::{self, Key, Node};

/// Where modifiers of one step are looked up.
pub(super) struct Mods<'n> {
    own: &'n [(Key, Node)],
    defaults: Option<&'n Node>,
    action: Option<&'static ActionSpec>,
    is_check: bool,
}

impl<'n> Mods<'n> {
    pub(super) fn new(defaults: Option<&'n Node>, keys: &Keys<'n>, is_check: bool) -> Mods<'n> {
        let action = keys.action.map(|(action, _)| action);
        Mods { own: keys.entries, defaults, action, is_check }
    }

    /// The modifier's own value, else its default if the action takes it.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        let modifier = grammar::modifier(name)?;
        let action = self.action?;
        if !modifier.is_taken_by(action) || (self.is_check && !modifier.in_check) {
            return None;
        }
        if let Some(node) = self.own(name) {
            return Some(node);
        }
        // A check is judged by what it says itself; a deadline on what waits for others would end
        // the waiting.
        let is_own_matter = self.is_check
            && matches!(name, "title" | "expect" | "warn" | "effect" | "exit" | "parse");
        let waits = matches!(
            action.class,
            Class::Approve | Class::Manual | Class::Wait | Class::Call | Class::Probe | Class::Block
        );
        let is_never = is_own_matter
            || (name == "timeout" && waits)
            || matches!(name, "id" | "proves" | "rescue" | "finally");
        if is_never { None } else { self.defaults?.get(name) }
    }

    pub(super) fn own(&self, name: &str) -> Option<&'n Node> {
        self.own.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }
}

impl<'s> Reader<'s> {
    /// The whole step; `None` if its action could not be read.
    pub(super) fn modified(
        &mut self,
        mods: &Mods<'s>,
        keys: &Keys<'s>,
        cx: Cx,
        list: List<'_>,
        id: &str,
        is_named: bool,
    ) -> Option<Step> {
        let (spec, node) = keys.action?;
        let at = cx.step.expect("a step has an entry");
        let judged = Cx { result: true, ..cx };
        let outer = Cx { item: list.item, ..cx };
        let needs = mods.get("needs").map(|node| self.needs(node, at));
        if let Some(node) = mods.get("proves")
            && let Some(proved) = self.words(node, "`proves`")
        {
            self.outline.entries[at].proves = Some((proved, node.span));
        }
        let expr = |reader: &mut Self, name: &str, cx: Cx| {
            mods.get(name).and_then(|node| reader.expr(node, cx, &format!("`{name}`")))
        };
        let when = expr(self, "when", cx);
        let expect = expr(self, "expect", judged);
        let warn = expr(self, "warn", judged);
        let changed = expr(self, "changed", judged);
        let for_each = mods.get("for_each").and_then(|node| self.for_each(node, outer));
        let target =
            mods.get("target").and_then(|n| self.template(n, Place::Plain, cx, "`target`"));
        let target = target.or_else(|| {
            let takes = grammar::modifier("target").is_some_and(|m| m.is_taken_by(spec));
            list.inherited.filter(|_| takes).and_then(|from| from.target.clone())
        });
        let process = self.process(mods, cx, list.inherited, spec);
        let given = Inherited { process: process.clone(), target: target.clone() };
        let is_placed = list.is_placed || target.is_some();
        // A block's own target is where its steps run.
        let inner = List { parent: Some(at), item: cx.item, is_placed, inherited: None, ..list };
        let action = self.action(spec, node, mods, cx, inner, id);
        let (effect, is_forced) = self.effect(mods, spec, node, at, list.role);
        self.outline.entries[at].effect = effect;
        let on_targets =
            action.as_ref().is_some_and(|action| Self::runs_on_targets(action, spec));
        let fans_out = for_each.is_some()
            || match &target {
                Some(target) => (on_targets || spec.class == Class::Block) && !self.is_one_target(target),
                None => on_targets && !list.is_placed && self.run_fans_out,
            };
        self.outline.entries[at].fans_out = fans_out;
        let done = mods.get("done").and_then(|node| {
            self.check(node, Some(at), format!("{id}.done"), cx, Some(&given))
        });
        self.outline.entries[at].has_done = mods.get("done").is_some();
        let rollback = mods.get("rollback").and_then(|node| self.rollback(node, cx, id, &given));
        let is_idempotent = mods.get("idempotent").and_then(|n| self.bool(n, "`idempotent`"));
        let idempotent = is_idempotent.unwrap_or(effect == Effect::Read);
        let retry = mods.get("retry").and_then(|node| self.retry(node, judged));
        if retry.is_some() && effect == Effect::Change && !idempotent && mods.get("done").is_none() {
            self.retry_refused(mods.get("retry"));
        }
        let on_interrupt = self.on_interrupt(mods, idempotent);
        let title = mods.get("title").and_then(|node| self.words(node, "`title`"));
        let outputs = mods.get("outputs").map(|n| self.types(n, "`outputs`")).unwrap_or_default();
        self.outline.entries[at].outputs = outputs.iter().map(|(name, _)| name.clone()).collect();
        let measure = mods.get("measure").map(|n| self.named_exprs(n, judged, "`measure`"));
        let measure = measure.unwrap_or_default();
        self.outline.entries[at].measures = measure.iter().map(|(name, _)| name.clone()).collect();
        let flag = |reader: &mut Self, name: &str| {
            mods.get(name).and_then(|n| reader.bool(n, &format!("`{name}`"))).unwrap_or(false)
        };
        let step = Step {
            ix: StepIx(0),
            id: id.to_owned(),
            is_named,
            title: title.unwrap_or_else(|| id.to_owned()),
            span: keys.first,
            action: action?,
            when,
            expect,
            warn,
            changed,
            needs,
            target,
            for_each,
            fans_out,
            limits: self.limits(mods, fans_out),
            timeout: self.timeout(mods, spec),
            connect_timeout: mods
                .get("connect_timeout")
                .and_then(|n| self.duration(n, "`connect_timeout`"))
                .unwrap_or(limits::CONNECT_TIMEOUT),
            retry,
            effect,
            on_failure: self.on_failure(mods),
            rollback,
            point_of_no_return: flag(self, "point_of_no_return"),
            proves: self.outline.entries[at].proves.clone().map(|(id, _)| id),
            done,
            idempotent,
            on_interrupt,
            process,
            exit: mods.get("exit").and_then(|node| self.exit(node)),
            parse: mods.get("parse").and_then(|node| self.parse(node)),
            outputs,
            sensitive: flag(self, "sensitive"),
            measure,
        };
        (!is_forced).then_some(step)
    }

    /// The effect, and whether the author wrote one that the action cannot have.
    fn effect(
        &mut self,
        mods: &Mods<'_>,
        spec: &ActionSpec,
        params: &Node,
        at: usize,
        role: Role,
    ) -> (Effect, bool) {
        let in_health_check = self.outline.kind == Some(Kind::HealthCheck);
        let by_rule = match spec.effect {
            EffectRule::Read | EffectRule::Sql => Effect::Read,
            EffectRule::Tell => Effect::Tell,
            EffectRule::Change | EffectRule::Call => Effect::Change,
            EffectRule::Process if role == Role::Check || in_health_check => Effect::Read,
            EffectRule::Process if spec.class == Class::Plugin => Effect::Read,
            EffectRule::Process => Effect::Change,
            EffectRule::Inside => self.strongest_inside(at),
            EffectRule::Service => match params.get("state") {
                Some(_) => Effect::Change,
                None => Effect::Read,
            },
            EffectRule::Http => {
                let method = params.get("method").and_then(Node::scalar);
                let has_body = ["json", "form", "body"].iter().any(|key| params.get(key).is_some());
                match method.map(|scalar| scalar.text.as_str()) {
                    Some("GET" | "HEAD") => Effect::Read,
                    None if !has_body => Effect::Read,
                    _ => Effect::Change,
                }
            }
        };
        let words = [Effect::Read, Effect::Change, Effect::Tell];
        let Some(node) = mods.get("effect") else { return (by_rule, false) };
        let Some(at) = self.word(node, &["read", "change", "tell"], "`effect`") else {
            return (by_rule, true);
        };
        let is_fixed = matches!(spec.effect, EffectRule::Change)
            || (spec.effect == EffectRule::Service && by_rule == Effect::Change);
        if is_fixed && words[at] != Effect::Change && mods.own("effect").is_some() {
            let message = format!("`{}` changes something, whatever is written", spec.name);
            self.push(
                Problem::error("E_EFFECT", node.span, message)
                    .label("not its effect")
                    .help("remove `effect`"),
            );
            return (by_rule, true);
        }
        (if is_fixed { by_rule } else { words[at] }, false)
    }

    fn needs(&mut self, node: &Node, at: usize) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        let mut places = Vec::new();
        if let yaml::Kind::Map(entries) = &node.kind {
            for (key, node) in entries {
                let word = self.word(node, &["any", "succeeded"], "a need");
                needs.push(Need { id: key.text.clone(), any: word == Some(0) });
                places.push((key.text.clone(), key.span));
            }
        } else {
            for node in self.list(node, "`needs`").unwrap_or_default() {
                let Some(id) = self.words(node, "a need") else { continue };
                if needs.iter().any(|need| need.id == id) {
                    let message = format!("`{}` is needed twice", yaml::shorten(&id));
                    self.push(Problem::error("E_DUPLICATE", node.span, message));
                }
                places.push((id.clone(), node.span));
                needs.push(Need { id, any: false });
            }
        }
        self.outline.entries[at].needs = Some(places);
        needs
    }

    fn for_each(&mut self, node: &Node, cx: Cx) -> Option<ForEach> {
        let yaml::Kind::List(nodes) = &node.kind else {
            return self.expr(node, cx, "`for_each`").map(ForEach::Expr);
        };
        let items: Vec<_> =
            nodes.iter().map(|node| self.any(node, Place::Plain, cx, "an item")).collect();
        items.into_iter().collect::<Option<_>>().map(ForEach::Items)
    }

    fn limits(&mut self, mods: &Mods<'_>, fans_out: bool) -> Option<FanLimits> {
        let unlimited = self.outline.kind == Some(Kind::HealthCheck);
        let mut limits = FanLimits {
            parallel: limits::PARALLEL_DEFAULT,
            batch: Vec::new(),
            max_failures: if unlimited { None } else { Some(0) },
        };
        if let Some(node) = mods.get("limits") {
            let fields = self.fields(node, &grammar::LIMITS, "`limits`")?;
            if let Some(n) = fields.get("parallel").and_then(|n| self.int(n, 1, 10_000, "`parallel`")) {
                limits.parallel = usize::try_from(n).unwrap_or(limits::PARALLEL_DEFAULT);
            }
            if let Some(n) = fields.get("max_failures") {
                let most = self.int(n, 0, i64::MAX, "`max_failures`");
                limits.max_failures = most.and_then(|n| u64::try_from(n).ok());
            }
            if let Some(node) = fields.get("batch") {
                let waves: Vec<_> = self.one_or_list(node).iter().collect();
                limits.batch = waves.into_iter().filter_map(|node| self.share(node)).collect();
            }
            if let Some(node) = mods.own("limits").filter(|_| !fans_out) {
                let at = super::first_line(self.source, node.span);
                self.push(
                    Problem::error("E_LIMITS", at, "`limits` on a step that does not fan out")
                        .help("it takes effect with `for_each`, or with a target that may be many"),
                );
            }
        }
        fans_out.then_some(limits)
    }

    fn share(&mut self, node: &Node) -> Option<Share> {
        let text = self.text(node, "a wave of `batch`")?;
        let share = match text.strip_suffix('%') {
            Some(number) => {
                number.parse().ok().filter(|n| (1..=100).contains(n)).map(Share::Percent)
            }
            None => text.parse().ok().filter(|n| *n > 0).map(Share::Count),
        };
        if share.is_none() {
            let message = format!("`{}` is not a wave", yaml::shorten(&text));
            self.push(
                Problem::error("E_VALUE", node.span, message)
                    .help("write a count such as `1`, or a share such as `\"10%\"`"),
            );
        }
        share
    }

    fn timeout(
        &mut self,
        mods: &Mods<'_>,
        spec: &ActionSpec,
    ) -> Option<std::time::Duration> {
        if let Some(node) = mods.get("timeout") {
            return self.duration(node, "`timeout`");
        }
        match spec.class {
            Class::Process | Class::Plugin | Class::Endpoint | Class::Host | Class::Tell => {
                Some(limits::STEP_TIMEOUT)
            }
            _ => None,
        }
    }

    fn retry(&mut self, node: &Node, cx: Cx) -> Option<Retry> {
        let fields = self.fields(node, &grammar::RETRY, "`retry`")?;
        let most = i64::from(limits::RETRY_ATTEMPTS_MAX);
        let attempts = fields.get("attempts").and_then(|n| self.int(n, 1, most, "`attempts`"));
        let backoff = fields.get("backoff").and_then(|n| self.duration(n, "`backoff`"));
        let max = fields.get("max").and_then(|n| self.duration(n, "`max`"));
        let factor = fields.get("factor").and_then(|n| {
            let factor = self.number(n, "`factor`")?;
            if !(1.0..=100.0).contains(&factor) {
                let message = format!("`factor` must be from 1 to 100, found `{factor}`");
                self.push(Problem::error("E_VALUE", n.span, message));
            }
            Some(factor)
        });
        Some(Retry {
            attempts: attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or(3),
            backoff: backoff.unwrap_or(limits::RETRY_BACKOFF),
            factor: factor.unwrap_or(2.0),
            max: max.unwrap_or(limits::RETRY_DELAY_MAX),
            when: fields.get("when").and_then(|n| self.expr(n, cx, "`when`")),
        })
    }

    fn retry_refused(&mut self, node: Option<&Node>) {
        let Some(node) = node else { return };
        let at = super::first_line(self.source, node.span);
        self.push(
            Problem::error("E_RETRY", at, "a change may be retried only if it may run twice")
                .label("it may have happened already")
                .help("add `idempotent: true`, or a `done` check that says whether it happened"),
        );
    }

    fn on_failure(&mut self, mods: &Mods<'_>) -> OnFailure {
        let words = [OnFailure::Stop, OnFailure::Continue, OnFailure::Suspend];
        let written = mods
            .get("on_failure")
            .and_then(|n| self.word(n, &["stop", "continue", "suspend"], "`on_failure`"));
        match written {
            Some(at) => words[at],
            None if self.outline.kind == Some(Kind::HealthCheck) => OnFailure::Continue,
            None => OnFailure::Stop,
        }
    }

    fn on_interrupt(&mut self, mods: &Mods<'_>, idempotent: bool) -> OnInterrupt {
        let has_done = mods.get("done").is_some();
        let node = mods.get("on_interrupt");
        let written = node.and_then(|n| {
            self.word(n, &["check", "rerun", "suspend", "fail"], "`on_interrupt`")
        });
        let missing = match written {
            Some(0) if !has_done => Some("`check` needs a `done` that can be asked"),
            Some(1) if !idempotent => Some("`rerun` needs `idempotent: true`"),
            _ => None,
        };
        if let (Some(message), Some(node)) = (missing, mods.own("on_interrupt")) {
            self.push(Problem::error("E_ON_INTERRUPT", node.span, message));
        }
        match written {
            Some(0) if has_done => OnInterrupt::Check,
            Some(1) if idempotent => OnInterrupt::Rerun,
            Some(2) => OnInterrupt::Suspend,
            Some(3) => OnInterrupt::Fail,
            _ if has_done => OnInterrupt::Check,
            _ if idempotent => OnInterrupt::Rerun,
            _ => OnInterrupt::Suspend,
        }
    }

    fn rollback(
        &mut self,
        node: &'s Node,
        cx: Cx,
        id: &str,
        given: &Inherited,
    ) -> Option<Rollback> {
        let at = cx.step?;
        if let Some(reason) = node.get("none") {
            self.outline.entries[at].rollback = RollbackKind::Reason;
            self.fields(node, &grammar::NO_ROLLBACK, "`rollback`")?;
            let reason = self.words(reason, "the reason of `none`")?;
            return Some(Rollback::None { reason });
        }
        self.outline.entries[at].rollback = RollbackKind::Steps;
        let prefix = format!("{id}.rollback.");
        let steps = self.steps(
            node,
            List {
                parent: Some(at),
                role: Role::Rollback,
                prefix: &prefix,
                item: cx.item,
                is_placed: true,
                inherited: Some(given),
            },
        );
        Some(Rollback::Steps(steps))
    }

    fn process(
        &mut self,
        mods: &Mods<'_>,
        cx: Cx,
        inherited: Option<&Inherited>,
        spec: &ActionSpec,
    ) -> ProcessModifiers {
        let secret = Cx { secrets: true, ..cx };
        let takes = matches!(spec.class, Class::Process | Class::Plugin | Class::Host);
        let mut process =
            inherited.filter(|_| takes).map(|from| from.process.clone()).unwrap_or_default();
        process.stdin = None;
        if let Some(node) = mods.get("env") {
            for (key, node) in self.map(node, "`env`").unwrap_or_default() {
                self.variable(key);
                let what = format!("`{}` of `env`", yaml::shorten(&key.text));
                let Some(value) = self.template(node, Place::Plain, secret, &what) else { continue };
                process.env.retain(|(name, _)| *name != key.text);
                process.env.push((key.text.clone(), value));
            }
        }
        if let Some(node) = mods.get("secret_files") {
            for (key, node) in self.map(node, "`secret_files`").unwrap_or_default() {
                self.variable(key);
                let Some(name) = self.words(node, "a secret's name") else { continue };
                self.secret_name(&name, node);
                process.secret_files.retain(|(variable, _)| *variable != key.text);
                process.secret_files.push((key.text.clone(), name));
            }
        }
        let mut plain = |reader: &mut Self, name: &str, cx: Cx| {
            mods.get(name)
                .and_then(|n| reader.template(n, Place::Plain, cx, &format!("`{name}`")))
        };
        if let Some(cwd) = plain(self, "cwd", cx) {
            process.cwd = Some(cwd);
        }
        if let Some(user) = plain(self, "user", cx) {
            process.user = Some(user);
        }
        process.stdin = plain(self, "stdin", secret);
        if let Some(sudo) = mods.get("sudo").and_then(|n| self.bool(n, "`sudo`")) {
            process.sudo = sudo;
        }
        process
    }

    fn secret_name(&mut self, name: &str, node: &Node) {
        if self.outline.secrets.iter().any(|known| known == name) {
            return;
        }
        let message = format!("secret `{}` is not declared", yaml::shorten(name));
        let problem = Problem::error("E_SECRET_UNKNOWN", node.span, message);
        let near = grammar::nearest(name, self.outline.secrets.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `{}` to the runbook's `secrets`", yaml::shorten(name)),
        };
        self.push(problem.help(help));
    }

    fn variable(&mut self, key: &Key) {
        let is_name = super::input::is_name(&key.text);
        if !is_name {
            let message = format!("`{}` is not a variable's name", yaml::shorten(&key.text));
            self.push(
                Problem::error("E_NAME", key.span, message)
                    .help("a letter or `_`, then letters, digits and `_`"),
            );
        }
    }

    fn exit(&mut self, node: &Node) -> Option<ExitCodes> {
        let fields = self.fields(node, &grammar::EXIT, "`exit`")?;
        let mut seen: Vec<i32> = Vec::new();
        let mut codes = |reader: &mut Self, name: &str| {
            let mut codes = Vec::new();
            for node in fields.get(name).map(|n| reader.one_or_list(n)).unwrap_or_default() {
                let Some(code) = reader.int(node, 0, 255, "an exit code") else { continue };
                let code = i32::try_from(code).unwrap_or_default();
                if seen.contains(&code) {
                    let message = format!("exit code `{code}` is listed twice");
                    reader.push(Problem::error("E_DUPLICATE", node.span, message));
                }
                seen.push(code);
                codes.push(code);
            }
            codes
        };
        let ok = codes(self, "ok");
        let (warning, critical) = (codes(self, "warning"), codes(self, "critical"));
        let ok = if fields.get("ok").is_none() { vec![0] } else { ok };
        Some(ExitCodes { ok, warning, critical })
    }

    fn parse(&mut self, node: &Node) -> Option<Parse> {
        if node.scalar().is_some() {
            let words = ["text", "lines", "number", "json", "none"];
            return Some(match words[self.word(node, &words, "`parse`")?] {
                "text" => Parse::Text,
                "lines" => Parse::Lines,
                "number" => Parse::Number,
                "json" => Parse::Json,
                _ => Parse::None,
            });
        }
        let fields = self.fields(node, &grammar::PARSE_REGEX, "`parse`")?;
        let node = fields.get("regex")?;
        let regex = self.regex(node, "`regex`")?;
        if regex.captures_len() == 1 {
            let message = "`regex` has no group: it would give no value";
            self.push(
                Problem::error("E_REGEX", node.span, message)
                    .help("put parentheses around what is wanted, or name groups by `(?<name>…)`"),
            );
        }
        Some(Parse::Regex(regex))
    }
}
