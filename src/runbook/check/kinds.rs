//! What each kind of runbook demands (spec 1, Kinds): the single actions inside `steps` are
//! judged, and what is missing is named.

use super::super::model::{Effect, Kind};
use super::super::problem::Problem;
use super::super::read::{Entry, Role, RollbackKind};
use super::{Checker, is_judged};

pub(super) fn check(checker: &mut Checker<'_>) {
    match checker.outline.kind {
        Some(Kind::HealthCheck) => health_check(checker),
        Some(Kind::Backup) => backup(checker),
        Some(Kind::FailoverTest) => failover_test(checker),
        Some(Kind::Remediation) => remediation(checker),
        Some(Kind::Task) | None => {}
    }
}

/// The single actions inside `steps`: `block` and `switch` are judged by what they hold.
fn judged<'c>(checker: &Checker<'c>) -> Vec<(usize, &'c Entry)> {
    let entries = checker.entries();
    let is_single = |entry: &Entry| {
        entry.action.is_some_and(|action| !matches!(action.name, "block" | "switch"))
    };
    entries
        .iter()
        .enumerate()
        .filter(|(at, entry)| is_single(entry) && is_judged(entries, *at))
        .collect()
}

fn name(entry: &Entry) -> String {
    let action = entry.action.map_or("step", |action| action.name);
    if entry.is_named {
        format!("`{}`", entry.id)
    } else {
        format!("`{action}` (step {})", entry.id)
    }
}

fn is(entry: &Entry, action: &str) -> bool {
    entry.action.is_some_and(|spec| spec.name == action)
}

fn health_check(checker: &mut Checker<'_>) {
    for (_, entry) in judged(checker) {
        if entry.effect == Effect::Change {
            let message = format!("a health-check changes nothing, but {} does", name(entry));
            checker.push(
                Problem::error("E_KIND", entry.span, message)
                    .label("has effect `change`")
                    .related(checker.outline.kind_span, "the kind is declared here")
                    .help("use `kind: remediation` or `task`, or `effect: read` if it only reads"),
            );
        }
    }
}

fn backup(checker: &mut Checker<'_>) {
    let steps = judged(checker);
    let entries = checker.entries();
    let proofs: Vec<usize> = entries
        .iter()
        .enumerate()
        .filter(|(at, entry)| {
            let proves = entry.proves.is_some() || is(entry, "restore");
            proves && is_judged(entries, *at)
        })
        .map(|(at, _)| at)
        .collect();
    let is_restored = steps.iter().any(|(_, entry)| is(entry, "restore"));
    let backups: Vec<_> = steps.iter().filter(|(_, entry)| is(entry, "backup")).collect();
    let is_proved = |id: &str| {
        entries.iter().any(|entry| entry.proves.as_ref().is_some_and(|(proved, _)| proved == id))
    };
    const HELP: &str = "add a `restore`, or a step that looks at the backup and `proves` it";
    let mut problems = Vec::new();
    for (_, entry) in &backups {
        if !is_restored && !is_proved(&entry.id) {
            let message = format!("nothing proves the backup {}", name(entry));
            problems.push(
                Problem::error("E_KIND", entry.span, message)
                    .label("never restored, never proved")
                    .help(HELP),
            );
        }
    }
    if backups.is_empty() && proofs.is_empty() {
        let message = "a backup needs a `restore`, or a step that `proves` the backup";
        problems.push(Problem::error("E_KIND", checker.outline.kind_span, message).help(HELP));
    }
    for (at, entry) in &steps {
        let is_after = proofs.iter().any(|proof| checker.order.may_name(*at, *proof));
        if is(entry, "prune") && !is_after && !proofs.is_empty() {
            let message = "old backups may be pruned only after the new one is proved";
            problems.push(
                Problem::error("E_KIND", entry.span, message)
                    .label("may run before the proof")
                    .related(entries[proofs[0]].span, "the proof")
                    .help("put `prune` behind the proof"),
            );
        }
    }
    checker.problems.extend(problems);
}

fn failover_test(checker: &mut Checker<'_>) {
    let kind = checker.outline.kind_span;
    let entries = checker.entries();
    let mut missing = Vec::new();
    if !checker.outline.has_steady_state {
        missing.push((
            "a failover-test needs `steady_state`",
            "add `steady_state: [checks]`: they run before and after",
        ));
    }
    let is_step = |at: usize| entries[at].role != Role::Check && is_judged(entries, at);
    if !entries.iter().enumerate().any(|(at, entry)| is(entry, "probe") && is_step(at)) {
        missing.push((
            "a failover-test needs a `probe`",
            "add a `probe` before the change: it measures the outage",
        ));
    }
    if !entries.iter().any(|entry| entry.measures.iter().any(|name| name == "rto_seconds")) {
        missing.push((
            "a failover-test needs a `measure` of `rto_seconds`",
            "add `measure: { rto_seconds: steps.<probe>.longest_outage_seconds }` to a step",
        ));
    }
    for (message, help) in missing {
        checker.push(Problem::error("E_KIND", kind, message).help(help));
    }
    for (_, entry) in judged(checker) {
        if entry.effect == Effect::Change && reach(entries, entry) != RollbackKind::Steps {
            let message = format!("the change {} has no `rollback`", name(entry));
            checker.push(
                Problem::error("E_KIND", entry.span, message)
                    .label("cannot be undone")
                    .help("add `rollback` with the steps that undo it: a failover-test must be able to return"),
            );
        }
    }
}

fn remediation(checker: &mut Checker<'_>) {
    let entries = checker.entries();
    for (at, entry) in judged(checker) {
        if entry.effect != Effect::Change {
            continue;
        }
        let is_proved = entry.has_done
            || above(entries, at).any(|at| {
                let id = &entries[at].id;
                entries.iter().any(|other| other.proves.as_ref().is_some_and(|(it, _)| it == id))
            });
        if !is_proved {
            let message = format!("no step proves the change {}", name(entry));
            checker.push(
                Problem::error("E_KIND", entry.span, message)
                    .label("its success is not verified")
                    .help(format!(
                        "add a step with `proves: {}`, or a `done` check to this one",
                        if entry.is_named { entry.id.as_str() } else { "<its id>" }
                    )),
            );
        }
        if reach(entries, entry) == RollbackKind::Absent {
            let message = format!("the change {} has no `rollback`", name(entry));
            checker.push(
                Problem::error("E_KIND", entry.span, message).label("cannot be undone").help(
                    "add `rollback` with the steps that undo it, or `rollback: { none: <reason> }`",
                ),
            );
        }
    }
}

/// The step and the blocks around it: a block is several steps as one, so that what undoes or
/// proves it does so for what it holds.
fn above(entries: &[Entry], at: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(at), |at| entries[*at].parent)
}

/// The best rollback that covers the step: its own, else one of a block around it.
fn reach(entries: &[Entry], entry: &Entry) -> RollbackKind {
    let mut best = entry.rollback;
    let mut up = entry.parent;
    while let Some(at) = up {
        match (best, entries[at].rollback) {
            (_, RollbackKind::Steps) => best = RollbackKind::Steps,
            (RollbackKind::Absent, RollbackKind::Reason) => best = RollbackKind::Reason,
            _ => {}
        }
        up = entries[at].parent;
    }
    best
}
