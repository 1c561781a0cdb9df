//! Which steps are sure to have ended when another starts.

use std::collections::HashMap;

use super::super::problem::Problem;
use super::super::read::{Entry, Role};
use super::super::{grammar, yaml};

/// For each step, the steps that it may name.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// One bit a step.
    ended: Vec<Vec<u64>>,
    /// In `finally` and rollbacks everything may be named: what did not run is undefined there.
    anything: Vec<bool>,
}

impl Order {
    /// Whether `step` may name `other`: it is sure to have ended, or to be skipped, before.
    pub(super) fn may_name(&self, step: usize, other: usize) -> bool {
        let has = |bits: &Vec<u64>| bits[other / 64] & (1 << (other % 64)) != 0;
        self.anything.get(step).copied().unwrap_or(true) || self.ended.get(step).is_some_and(has)
    }
}

/// Reads `needs` and the order of lists; reports needs that lead nowhere or in a circle.
pub(super) fn of(entries: &[Entry], problems: &mut Vec<Problem>) -> Order {
    let mut lists: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        lists.entry(entry.list).or_default().push(at);
    }
    let mut direct = vec![Vec::new(); entries.len()];
    for (at, entry) in entries.iter().enumerate() {
        let siblings = &lists[&entry.list];
        direct[at] = match &entry.needs {
            Some(needs) => needs_of(entries, siblings, at, needs, problems),
            None => {
                let place = siblings.iter().position(|sibling| *sibling == at).unwrap_or(0);
                place.checked_sub(1).map(|before| siblings[before]).into_iter().collect()
            }
        };
    }
    let mut walk = Walk {
        entries,
        direct: &direct,
        words: entries.len().div_ceil(64),
        before: vec![None; entries.len()],
        is_open: vec![false; entries.len()],
        problems,
    };
    for at in 0..entries.len() {
        walk.before(at, 0);
    }
    let before: Vec<Vec<u64>> = walk.before.into_iter().map(Option::unwrap_or_default).collect();
    closed(entries, &before)
}

/// Adds what stands inside of steps that have ended, and what had ended before the parents began.
fn closed(entries: &[Entry], before: &[Vec<u64>]) -> Order {
    let words = entries.len().div_ceil(64);
    let mut order = Order::default();
    for (at, entry) in entries.iter().enumerate() {
        // Parents stand before their children in document order.
        let mut ended = entry.parent.map_or_else(|| vec![0; words], |up| order.ended[up].clone());
        union(&mut ended, &before[at]);
        let from_steps = |other: &Entry| {
            entry.role == Role::Rescue && other.parent == entry.parent && other.role == Role::Steps
        };
        for (inner, other) in entries.iter().enumerate() {
            let is_inside = other.role != Role::Rollback
                && other.role != Role::Check
                && other
                    .parent
                    .is_some_and(|up| up != at && has(&ended, up) && !is_above(entries, at, up));
            if is_inside || from_steps(other) {
                ended[inner / 64] |= 1 << (inner % 64);
            }
        }
        let above = entry.parent.is_some_and(|up| order.anything[up]);
        order.anything.push(above || matches!(entry.role, Role::Finally | Role::Rollback));
        order.ended.push(ended);
    }
    order
}

fn is_above(entries: &[Entry], at: usize, other: usize) -> bool {
    std::iter::successors(entries[at].parent, |up| entries[*up].parent).any(|up| up == other)
}

fn has(bits: &[u64], at: usize) -> bool {
    bits[at / 64] & (1 << (at % 64)) != 0
}

fn union(into: &mut [u64], from: &[u64]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into |= from;
    }
}

/// The steps of the same list that `needs` names.
fn needs_of(
    entries: &[Entry],
    siblings: &[usize],
    at: usize,
    needs: &[(String, super::Span)],
    problems: &mut Vec<Problem>,
) -> Vec<usize> {
    let mut found = Vec::new();
    for (id, span) in needs {
        let is_it = |other: &usize| entries[*other].is_named && entries[*other].id == *id;
        if let Some(other) = siblings.iter().copied().find(is_it) {
            if other != at {
                found.push(other);
                continue;
            }
            problems.push(Problem::error("E_NEEDS", *span, "a step cannot need itself"));
            continue;
        }
        let elsewhere = entries.iter().find(|other| other.is_named && other.id == *id);
        if let Some(other) = elsewhere {
            let message = format!("`{id}` stands in another list of steps");
            problems.push(
                Problem::error("E_NEEDS", *span, message)
                    .related(other.span, "there")
                    .help("`needs` names steps of the same list; name the step around it"),
            );
            continue;
        }
        let message = format!("no step has the id `{}`", yaml::shorten(id));
        let known = siblings.iter().map(|at| &entries[*at]).filter(|entry| entry.is_named);
        let problem = Problem::error("E_NEEDS", *span, message).label("not an id of this list");
        problems.push(match grammar::nearest(id, known.map(|entry| entry.id.as_str())) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("give the step an `id`"),
        });
    }
    found
}

struct Walk<'w> {
    entries: &'w [Entry],
    direct: &'w [Vec<usize>],
    words: usize,
    before: Vec<Option<Vec<u64>>>,
    is_open: Vec<bool>,
    problems: &'w mut Vec<Problem>,
}

impl Walk<'_> {
    /// Siblings that have ended before `at` starts. Each is computed after those it follows, so
    /// that the depth is that of `needs` that point forward; a list has at most
    /// `RUNBOOK_STEPS_MAX` steps, beyond which the runbook is refused anyway.
    fn before(&mut self, at: usize, depth: usize) {
        if self.before[at].is_some() || depth > crate::limits::RUNBOOK_STEPS_MAX {
            return;
        }
        self.is_open[at] = true;
        let mut bits = vec![0; self.words];
        for &other in self.direct[at].iter() {
            if self.is_open[other] {
                self.circle(at, other);
                continue;
            }
            self.before(other, depth + 1);
            bits[other / 64] |= 1 << (other % 64);
            if let Some(before) = &self.before[other] {
                union(&mut bits, before);
            }
        }
        self.is_open[at] = false;
        self.before[at] = Some(bits);
    }

    fn circle(&mut self, at: usize, other: usize) {
        let span = |at: usize, id: &str| {
            let needs = self.entries[at].needs.as_deref().unwrap_or_default();
            needs
                .iter()
                .find(|(need, _)| need == id)
                .map_or(self.entries[at].span, |(_, span)| *span)
        };
        let (one, two) = (&self.entries[at], &self.entries[other]);
        let message = format!("`{}` and `{}` wait for each other", one.id, two.id);
        self.problems.push(
            Problem::error("E_NEEDS_CYCLE", span(at, &two.id), message)
                .label("closes the circle")
                .related(two.span, "needs it in turn")
                .help("remove one of the needs"),
        );
    }
}
