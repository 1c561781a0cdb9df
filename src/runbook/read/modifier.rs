//! Modifiers: the step's own, else those of `defaults` that its action takes.

use super::step::{Keys, List};
use super::{Cx, Inherited, Reader, Role, RollbackKind};
use crate::limits;
use crate::runbook::expr::Expr;
use crate::runbook::grammar::{self, ActionSpec, Class, EffectRule};
use crate::runbook::model::{
    Action, Check, Effect, FanLimits, ForEach, Kind, Need, OnFailure, OnInterrupt, Retry, Rollback,
    Share, Step, StepIx,
};
use crate::runbook::problem::Problem;
use crate::runbook::template::{Place, Template};
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
            Class::Approve
                | Class::Manual
                | Class::Wait
                | Class::Call
                | Class::Probe
                | Class::Block
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
        let needs = mods.get("needs").map(|node| self.needs(node, at));
        let proves = mods.get("proves").and_then(|node| self.proves(node, at));
        let when = self.condition_of(mods, "when", cx);
        let expect = self.condition_of(mods, "expect", judged);
        let warn = self.condition_of(mods, "warn", judged);
        let changed = self.condition_of(mods, "changed", judged);
        let outer = Cx { item: list.item, ..cx };
        let for_each = mods.get("for_each").and_then(|node| self.for_each(node, outer));
        let target = self.target(mods, cx, list, spec);
        let process = self.process(mods, cx, list.inherited, spec);
        let given = Inherited { process: process.clone(), target: target.clone() };
        // A block's own target is where its steps run.
        let is_placed = list.is_placed || target.is_some();
        let inner = List { parent: Some(at), item: cx.item, is_placed, inherited: None, ..list };
        let action = self.action(spec, node, mods, cx, inner, id);
        let (effect, is_refused) = self.effect(mods, spec, node, at, list.role);
        self.outline.entries[at].effect = effect;
        let fans_out = for_each.is_some()
            || self.has_many_targets(action.as_ref(), spec, target.as_ref(), list.is_placed);
        self.outline.entries[at].fans_out = fans_out;
        let (done, rollback) = self.undoing(mods, cx, id, &given);
        let (idempotent, retry) = self.repeating(mods, judged, effect);
        let outputs = mods.get("outputs").map(|n| self.types(n, "`outputs`")).unwrap_or_default();
        let measure = mods.get("measure").map(|n| self.named_exprs(n, judged, "`measure`"));
        let measure = measure.unwrap_or_default();
        self.outline.entries[at].outputs = outputs.iter().map(|(name, _)| name.clone()).collect();
        self.outline.entries[at].measures = measure.iter().map(|(name, _)| name.clone()).collect();
        let title = mods.get("title").and_then(|node| self.words(node, "`title`"));
        let connect_timeout = mods.get("connect_timeout");
        let connect_timeout = connect_timeout.and_then(|n| self.span(n, "`connect_timeout`"));
        let step = Step {
            // The number of the entry, which `step` gives it.
            ix: StepIx(0),
            id: id.to_owned(),
            is_named,
            title: title.unwrap_or_else(|| id.to_owned()),
            span: keys.first,
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
            connect_timeout: connect_timeout.unwrap_or(limits::CONNECT_TIMEOUT),
            retry,
            effect,
            on_failure: self.on_failure(mods),
            rollback,
            point_of_no_return: self.flag(mods, "point_of_no_return"),
            proves,
            done,
            idempotent,
            on_interrupt: self.on_interrupt(mods, idempotent),
            process,
            exit: mods.get("exit").and_then(|node| self.exit(node)),
            parse: mods.get("parse").and_then(|node| self.parse(node)),
            outputs,
            sensitive: self.flag(mods, "sensitive"),
            measure,
            action: action?,
        };
        (!is_refused).then_some(step)
    }

    /// Whether the step's target, own or the run's, may be more than one.
    fn has_many_targets(
        &self,
        action: Option<&Action>,
        spec: &ActionSpec,
        target: Option<&Template>,
        is_placed: bool,
    ) -> bool {
        let on_targets = action.is_some_and(|action| Self::runs_on_targets(action, spec));
        match target {
            Some(target) => {
                (on_targets || spec.class == Class::Block) && !self.is_one_target(target)
            }
            None => on_targets && !is_placed && self.run_fans_out,
        }
    }

    fn condition_of(&mut self, mods: &Mods<'_>, name: &str, cx: Cx) -> Option<Expr> {
        mods.get(name).and_then(|node| self.condition(node, cx, &format!("`{name}`")))
    }

    fn flag(&mut self, mods: &Mods<'_>, name: &str) -> bool {
        mods.get(name).and_then(|node| self.bool(node, &format!("`{name}`"))).unwrap_or(false)
    }

    fn proves(&mut self, node: &Node, at: usize) -> Option<String> {
        let proved = self.words(node, "`proves`")?;
        self.outline.entries[at].proves = Some((proved.clone(), node.span));
        Some(proved)
    }

    /// The step's own target, else that of the step which it undoes.
    fn target(
        &mut self,
        mods: &Mods<'_>,
        cx: Cx,
        list: List<'_>,
        spec: &ActionSpec,
    ) -> Option<Template> {
        let own = mods.get("target").and_then(|n| self.template(n, Place::Plain, cx, "`target`"));
        own.or_else(|| {
            let takes = grammar::modifier("target").is_some_and(|m| m.is_taken_by(spec));
            list.inherited.filter(|_| takes).and_then(|from| from.target.clone())
        })
    }

    /// `done` and `rollback`: they run where, and as whom, the step itself runs.
    fn undoing(
        &mut self,
        mods: &Mods<'s>,
        cx: Cx,
        id: &str,
        given: &Inherited,
    ) -> (Option<Check>, Option<Rollback>) {
        let at = cx.step.expect("a step has an entry");
        self.outline.entries[at].has_done = mods.get("done").is_some();
        let done = mods
            .get("done")
            .and_then(|node| self.check(node, Some(at), format!("{id}.done"), cx, Some(given)));
        let rollback = mods.get("rollback").and_then(|node| self.rollback(node, cx, id, given));
        (done, rollback)
    }

    fn repeating(&mut self, mods: &Mods<'_>, cx: Cx, effect: Effect) -> (bool, Option<Retry>) {
        let written = mods.get("idempotent").and_then(|node| self.bool(node, "`idempotent`"));
        let idempotent = written.unwrap_or(effect == Effect::Read);
        let retry = mods.get("retry").and_then(|node| self.retry(node, cx));
        let may_repeat = effect != Effect::Change || idempotent || mods.get("done").is_some();
        match &retry {
            Some(retry) if retry.attempts > 1 && !may_repeat => {}
            _ => return (idempotent, retry),
        }
        // A default holds only where it may hold.
        if let Some(node) = mods.own("retry") {
            self.retry_refused(node);
        }
        (idempotent, None)
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
            if let Some(n) =
                fields.get("parallel").and_then(|n| self.int(n, 1, 10_000, "`parallel`"))
            {
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

    fn timeout(&mut self, mods: &Mods<'_>, spec: &ActionSpec) -> Option<std::time::Duration> {
        if let Some(node) = mods.get("timeout") {
            return self.span(node, "`timeout`");
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
            when: fields.get("when").and_then(|n| self.condition(n, cx, "`when`")),
        })
    }

    fn retry_refused(&mut self, node: &Node) {
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
        let written = node
            .and_then(|n| self.word(n, &["check", "rerun", "suspend", "fail"], "`on_interrupt`"));
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
}
