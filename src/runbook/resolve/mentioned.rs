//! Which names a step's texts mention: scopes are built from what is asked for.

use std::collections::BTreeSet;

use crate::runbook::expr::Expr;
use crate::runbook::model::{Action, Arg, Check, ForEach, Step, Tree, Wait};
use crate::runbook::template::Template;

/// Every name that an expression or template of `step` mentions, as its parts: of its action, its
/// checks and its modifiers, not of the steps that it holds or of its rollback.
#[must_use]
pub fn mentioned(step: &Step) -> BTreeSet<Vec<String>> {
    let mut names = Names::default();
    names.step(step);
    names.found
}

/// A mention of a secret in what [`super::resolve`] renders.
pub(super) fn secret(step: &Step) -> Option<String> {
    if let Some((variable, _)) = step.process.secret_files.first() {
        return Some(format!("secret_files.{variable}"));
    }
    let mut names = Names::default();
    names.action(&step.action);
    names.process(step);
    names.found.iter().find(|path| path[0] == "secrets").map(|path| path.join("."))
}

#[derive(Default)]
struct Names {
    found: BTreeSet<Vec<String>>,
}

impl Names {
    fn expr(&mut self, expr: &Expr) {
        self.found.extend(expr.names().iter().cloned());
    }

    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        exprs.into_iter().for_each(|expr| self.expr(expr));
    }

    fn template(&mut self, template: &Template) {
        self.found.extend(template.names().iter().cloned());
    }

    fn templates<'t>(&mut self, templates: impl IntoIterator<Item = &'t Template>) {
        templates.into_iter().for_each(|template| self.template(template));
    }

    fn tree(&mut self, tree: &Tree) {
        match tree {
            Tree::Literal(_) => {}
            Tree::Template(template) => self.template(template),
            Tree::List(items) => items.iter().for_each(|item| self.tree(item)),
            Tree::Map(entries) => entries.iter().for_each(|(_, item)| self.tree(item)),
        }
    }

    fn check(&mut self, check: &Check) {
        self.step(&check.0);
    }

    fn step(&mut self, step: &Step) {
        self.exprs([&step.when, &step.expect, &step.warn, &step.changed].into_iter().flatten());
        self.exprs(step.retry.iter().filter_map(|retry| retry.when.as_ref()));
        self.exprs(step.measure.iter().map(|(_, expr)| expr));
        self.templates(&step.target);
        match &step.for_each {
            Some(ForEach::Items(items)) => items.iter().for_each(|item| self.tree(item)),
            Some(ForEach::Expr(expr)) => self.expr(expr),
            None => {}
        }
        if let Some(check) = &step.done {
            self.check(check);
        }
        self.process(step);
        self.action(&step.action);
    }

    fn process(&mut self, step: &Step) {
        let process = &step.process;
        self.templates(process.env.iter().map(|(_, template)| template));
        self.templates([&process.cwd, &process.user, &process.stdin].into_iter().flatten());
    }

    fn action(&mut self, action: &Action) {
        match action {
            Action::Command(args) => {
                for arg in args {
                    match arg {
                        Arg::One(template) => self.template(template),
                        Arg::Each(expr) => self.expr(expr),
                    }
                }
            }
            Action::Shell { .. } | Action::Script { .. } | Action::Block(_) => {}
            Action::Plain { params, .. } => self.tree(params),
            Action::Wait(Wait::For(span)) => self.tree(span),
            Action::Wait(Wait::Until { check, every, stable, timeout }) => {
                self.check(check);
                [every, stable, timeout].into_iter().for_each(|tree| self.tree(tree));
            }
            Action::Probe(probe) => {
                self.check(&probe.check);
                self.exprs(&probe.keep);
            }
            Action::Approve(approve) => {
                self.template(&approve.message);
                self.exprs(approve.preapproved.iter().map(|preapproved| &preapproved.when));
            }
            Action::Manual(manual) => self.template(&manual.instructions),
            Action::Call(call) => {
                call.inputs.iter().for_each(|(_, tree)| self.tree(tree));
                self.templates(&call.target);
            }
            Action::Assert(lines) => {
                for line in lines {
                    self.expr(&line.that);
                    self.templates(&line.message);
                }
            }
            Action::Set(names) => self.exprs(names.iter().map(|(_, expr)| expr)),
            Action::End(end) => {
                self.exprs(&end.when);
                self.templates(&end.message);
            }
            Action::Switch(arms) => self.exprs(arms.iter().filter_map(|arm| arm.when.as_ref())),
        }
    }
}
