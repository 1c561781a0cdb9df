//! Steps and checks: one action, its modifiers, the defaults that hold for it.

use std::sync::Arc;

use super::modifier::Mods;
use super::{Cx, Entry, Inherited, Reader, Role, RollbackKind, Zone, list_of};
use crate::limits;
use crate::runbook::grammar::{self, ActionSpec, Class};
use crate::runbook::model::{Action, Check, Effect, Step, StepIx};
use crate::runbook::problem::{Problem, Span};
use crate::runbook::template::Template;
use crate::runbook::yaml::{self, Key, Kind, Node};

/// A list of steps and what surrounds it.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    /// The step that holds it.
    pub(super) parent: Option<usize>,
    /// Which of its lists.
    pub(super) role: Role,
    /// What stands in front of a number to name a place.
    pub(super) prefix: &'a str,
    /// Whether a `for_each` surrounds it.
    pub(super) item: bool,
    /// Whether a step without a target runs where the list does, and so fans out no further.
    pub(super) is_placed: bool,
    /// What steps of a rollback take over.
    pub(super) inherited: Option<&'a Inherited>,
}

impl<'a> List<'a> {
    /// A list of the runbook itself.
    pub(super) fn top(role: Role, prefix: &'a str) -> List<'a> {
        List { parent: None, role, prefix, item: false, is_placed: false, inherited: None }
    }
}

/// The keys of one step.
pub(super) struct Keys<'n> {
    pub(super) entries: &'n [(Key, Node)],
    pub(super) action: Option<(&'static ActionSpec, &'n Node)>,
    pub(super) first: Span,
}

impl<'s> Reader<'s> {
    /// The steps of a list; an empty one is an error.
    pub(super) fn steps(&mut self, node: &'s Node, list: List<'_>) -> Vec<Arc<Step>> {
        let nodes = match (&node.kind, list.role) {
            (Kind::Map(_), Role::Rollback) => std::slice::from_ref(node),
            (Kind::Map(entries), _) => {
                let problem = self.expected(node, "this", "a list of steps");
                let is_step = entries.iter().any(|(key, _)| grammar::action(&key.text).is_some());
                let help = if is_step {
                    "put `- ` in front of the step"
                } else {
                    "begin each step with `- `"
                };
                self.push(problem.help(help));
                return Vec::new();
            }
            _ => match self.list(node, "this list of steps") {
                Some(nodes) => nodes,
                None => return Vec::new(),
            },
        };
        if nodes.is_empty() {
            self.push(
                Problem::error("E_EMPTY_LIST", node.span, "a list of steps is empty")
                    .help("write at least one step, or leave the key out"),
            );
        }
        self.lists += 1;
        let number = self.lists;
        let mut steps = Vec::new();
        for (position, node) in nodes.iter().enumerate() {
            let place = format!("{}{}", list.prefix, position + 1);
            steps.extend(self.step(node, list, number, place).map(Arc::new));
        }
        steps
    }

    /// A check: one action with its own judgement, read like a step.
    pub(super) fn check(
        &mut self,
        node: &'s Node,
        parent: Option<usize>,
        place: String,
        cx: Cx,
        inherited: Option<&Inherited>,
    ) -> Option<Check> {
        self.lists += 1;
        let list = List {
            parent,
            role: Role::Check,
            prefix: "",
            item: cx.item,
            is_placed: parent.is_some(),
            inherited,
        };
        let step = self.step(node, list, self.lists, place)?;
        Some(Check(Box::new(step)))
    }

    fn step(
        &mut self,
        node: &'s Node,
        list: List<'_>,
        number: usize,
        place: String,
    ) -> Option<Step> {
        let what = if list.role == Role::Check { "a check" } else { "a step" };
        let entries = match &node.kind {
            Kind::Map(entries) if !entries.is_empty() => entries.as_slice(),
            Kind::Broken => return None,
            _ => {
                let problem = self.expected(node, what, "a map with one action");
                self.push(problem.help("such as `- command: [uptime]`"));
                return None;
            }
        };
        if !self.has_room(list.role, entries[0].0.span) {
            return None;
        }
        let keys = self.keys(entries, list.role, what);
        let ix = self.outline.entries.len();
        self.outline.entries.push(Entry {
            id: place.clone(),
            is_named: false,
            span: keys.first,
            parent: list.parent,
            role: list.role,
            list: number,
            action: keys.action.map(|(action, _)| action),
            effect: Effect::Read,
            fans_out: false,
            needs: None,
            proves: None,
            refs: Vec::new(),
            rollback: RollbackKind::Absent,
            has_done: false,
            names: Vec::new(),
            outputs: Vec::new(),
            measures: Vec::new(),
            localhost: None,
        });
        let own_id = node.get("id").filter(|_| list.role != Role::Check);
        let own_id = own_id.and_then(|node| self.id(node, ix));
        let is_named = own_id.is_some();
        let id = own_id.unwrap_or(place);
        let mods = Mods::new(self.defaults, &keys, list.role == Role::Check);
        let item = list.item || mods.get("for_each").is_some();
        let cx = Cx { step: Some(ix), zone: Zone::Run, item, result: false, secrets: false };
        let step = self.modified(&mods, &keys, cx, list, &id, is_named);
        self.reads_only(ix, list.role);
        step.map(|step| Step { ix: StepIx(u32::try_from(ix).unwrap_or(u32::MAX)), ..step })
    }

    /// Whether one more step may be read; the first one too many is reported, and all after it are
    /// left unread: a file of a hundred thousand steps must not take a hundred thousand squared.
    fn has_room(&mut self, role: Role, span: Span) -> bool {
        self.steps += usize::from(role != Role::Check);
        let has_room = self.steps <= limits::RUNBOOK_STEPS_MAX
            && self.outline.entries.len() < limits::RUNBOOK_ENTRIES_MAX;
        if !has_room && !self.is_full {
            self.is_full = true;
            let most = limits::RUNBOOK_STEPS_MAX;
            self.push(
                Problem::error("E_TOO_MANY_STEPS", span, format!("more than {most} steps"))
                    .label("the first one too many")
                    .help("split the runbook into several that `call` one another"),
            );
        }
        has_room
    }

    /// The one action among the keys, and what is no key of a step at all.
    fn keys<'n>(&mut self, entries: &'n [(Key, Node)], role: Role, what: &str) -> Keys<'n> {
        let first = entries[0].0.span;
        let mut actions: Vec<(&'static ActionSpec, &'n Key, &'n Node)> = Vec::new();
        for (key, node) in entries {
            if let Some(action) = grammar::action(&key.text) {
                actions.push((action, key, node));
            } else if grammar::modifier(&key.text).is_none() {
                let known = grammar::ACTIONS.iter().map(|action| action.name);
                let known = known.chain(grammar::MODIFIERS.iter().map(|m| m.key.name));
                let message = format!("unknown key `{}` in {what}", yaml::shorten(&key.text));
                let problem = Problem::error("E_UNKNOWN_KEY", key.span, message)
                    .label("neither an action nor a modifier");
                self.push(match grammar::nearest(&key.text, known) {
                    Some(name) => problem.help(format!("did you mean `{name}`?")),
                    None => problem.help("`runwarden schema` lists every key"),
                });
            }
        }
        let has_unknown = entries.iter().any(|(key, _)| {
            grammar::action(&key.text).is_none() && grammar::modifier(&key.text).is_none()
        });
        if let [(_, one, _), (_, two, _), ..] = actions.as_slice() {
            let names: Vec<_> = actions.iter().map(|(action, ..)| action.name).collect();
            let message = format!("one action a step: this one has {}", list_of(&names));
            self.push(
                Problem::error("E_TWO_ACTIONS", first, message)
                    .label("this step")
                    .related(one.span, "one action")
                    .related(two.span, "another action")
                    .help("make two steps of it"),
            );
        }
        if actions.is_empty() && !has_unknown {
            let message = format!("{what} has no action");
            self.push(
                Problem::error("E_NO_ACTION", first, message).label("says how, not what").help(
                    "add one action, such as `command`, `shell`, `http`, `service` or `approve`",
                ),
            );
        }
        let action = actions.first().map(|(action, _, node)| (*action, *node));
        for (key, _) in entries {
            if let (Some(modifier), Some((action, _))) = (grammar::modifier(&key.text), action) {
                self.fits(key, modifier, action, role);
            }
        }
        Keys { entries, action, first }
    }

    /// Reports a modifier that the action, or a check, does not take.
    fn fits(&mut self, key: &Key, modifier: &grammar::Modifier, action: &ActionSpec, role: Role) {
        let name = modifier.key.name;
        if role == Role::Check && !modifier.in_check {
            let message = format!("a check takes no `{name}`");
            self.push(
                Problem::error("E_MODIFIER", key.span, message)
                    .label("belongs to a step")
                    .help("a check is one action with its own `expect`, `exit` and `parse`"),
            );
        } else if !modifier.is_taken_by(action) {
            let message = format!("`{}` takes no `{name}`", action.name);
            let problem = Problem::error("E_MODIFIER", key.span, message).label("not taken here");
            let help = match (action.class, name) {
                (Class::Approve, "when") => {
                    "a gate is never skipped by itself: guard it with `block`, `switch` or `end`"
                        .to_owned()
                }
                (Class::Endpoint, "target") => {
                    "it runs from the agent, once; use `for_each` for several endpoints".to_owned()
                }
                (Class::Block | Class::Switch, "effect") => {
                    "its effect is the strongest of what it holds".to_owned()
                }
                _ => "remove it".to_owned(),
            };
            self.push(problem.help(help));
        }
    }

    fn id(&mut self, node: &Node, ix: usize) -> Option<String> {
        let id = self.text(node, "`id`")?;
        let is_id = id.len() <= limits::STEP_ID_BYTES_MAX
            && id.starts_with(|c: char| c.is_ascii_lowercase())
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !is_id {
            let message = format!("`{}` is not an id", yaml::shorten(&id));
            let fixed: String = id
                .to_lowercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            let fixed = fixed.trim_start_matches(|c: char| !c.is_ascii_lowercase());
            let problem = Problem::error("E_ID", node.span, message);
            self.push(match fixed {
                "" => problem.help("a lower-case letter, then letters, digits and `_`"),
                _ => problem.help(format!(
                    "a lower-case letter, then letters, digits and `_`: `{}`",
                    yaml::shorten(fixed)
                )),
            });
        } else if grammar::ROOTS.contains(&id.as_str()) || grammar::RESERVED.contains(&id.as_str())
        {
            let message = format!("`{id}` is no id: expressions read the name otherwise");
            self.push(
                Problem::error("E_ID_RESERVED", node.span, message).help("choose another name"),
            );
        }
        let entry = &mut self.outline.entries[ix];
        entry.id.clone_from(&id);
        entry.is_named = true;
        entry.span = node.span;
        Some(id)
    }

    /// A check never changes anything.
    fn reads_only(&mut self, ix: usize, role: Role) {
        let entry = &self.outline.entries[ix];
        let Some(action) = entry.action.filter(|_| role == Role::Check) else { return };
        let is_check = matches!(
            action.class,
            Class::Process | Class::Plugin | Class::Endpoint | Class::Host | Class::Assert
        );
        let span = entry.span;
        if !is_check {
            let message = format!("`{}` cannot be a check", action.name);
            self.push(
                Problem::error("E_CHECK", span, message)
                    .help("a check looks at something: a process, an endpoint or a host"),
            );
        } else if entry.effect != Effect::Read {
            let message =
                format!("a check only reads, but this `{}` changes something", action.name);
            self.push(Problem::error("E_CHECK_EFFECT", span, message).label("changes something"));
        }
    }

    /// Whether a target is written as one name: decided from the text alone.
    pub(super) fn is_one_target(&self, target: &Template) -> bool {
        let text = target.source().trim();
        let inner = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
        match inner {
            Some("item") => true,
            Some(name) => name
                .strip_prefix("inputs.")
                .is_some_and(|name| self.one_targets.iter().any(|one| one == name)),
            None => {
                let is_name =
                    |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
                text != "all" && !text.is_empty() && text.chars().all(is_name)
            }
        }
    }

    /// The strongest effect among the steps that stand in `parent`, in whatever depth.
    pub(super) fn strongest_inside(&self, parent: usize) -> Effect {
        let inside = self.outline.entries.iter().filter(|entry| {
            entry.parent == Some(parent)
                && entry.role != Role::Rollback
                && entry.role != Role::Check
        });
        inside.map(|entry| entry.effect).max().unwrap_or(Effect::Read)
    }

    /// Whether the action runs on targets, so that the run's are its own by default.
    pub(super) fn runs_on_targets(action: &Action, spec: &ActionSpec) -> bool {
        match action {
            Action::Wait(crate::runbook::model::Wait::Until { check, .. }) => {
                Self::inner_on_targets(check)
            }
            Action::Probe(probe) => Self::inner_on_targets(&probe.check),
            _ => matches!(spec.class, Class::Process | Class::Plugin | Class::Host),
        }
    }

    fn inner_on_targets(check: &Check) -> bool {
        grammar::action(check.0.action.name())
            .is_some_and(|spec| Self::runs_on_targets(&check.0.action, spec))
    }
}
