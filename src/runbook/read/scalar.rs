//! Scalars by the type that is expected: never by a guess.

use std::time::Duration;

use serde_json::Value;

use super::{Cx, Mention, Reader, or_list};
use crate::runbook::expr::{self, Expr};
use crate::runbook::grammar;
use crate::runbook::pattern;
use crate::runbook::problem::{Problem, Span};
use crate::runbook::template::{Place, Template};
use crate::runbook::yaml::{self, Kind, Node, Scalar, Style};
use crate::unit::{self, UnitError};

impl<'s> Reader<'s> {
    /// A string: any scalar as it is written, but not nothing.
    pub(super) fn string<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Scalar> {
        match &node.kind {
            Kind::Scalar(scalar) if !node.is_null() => Some(scalar),
            Kind::Broken => None,
            _ => {
                let problem = self.expected(node, what, "a string");
                self.push(problem);
                None
            }
        }
    }

    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        self.string(node, what).map(|scalar| scalar.text.clone())
    }

    /// As [`Reader::text`], and not blank.
    pub(super) fn words(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if text.trim().is_empty() {
            self.push(Problem::error("E_VALUE", node.span, format!("{what} must not be empty")));
            return None;
        }
        Some(text)
    }

    pub(super) fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match self.core(node) {
            Some(Value::Bool(value)) => Some(value),
            _ if matches!(node.kind, Kind::Broken) => None,
            _ => {
                let problem = self.expected(node, what, "`true` or `false`");
                let help = match node.scalar().map(|scalar| scalar.text.to_lowercase()) {
                    Some(text) if matches!(text.as_str(), "yes" | "on" | "true") => "write `true`",
                    Some(text) if matches!(text.as_str(), "no" | "off" | "false") => {
                        "write `false`"
                    }
                    _ => "write `true` or `false`, without quotes",
                };
                self.push(problem.help(help));
                None
            }
        }
    }

    pub(super) fn int(&mut self, node: &Node, least: i64, most: i64, what: &str) -> Option<i64> {
        if matches!(node.kind, Kind::Broken) {
            return None;
        }
        let Some(value) = self.core(node).as_ref().and_then(Value::as_i64) else {
            let problem = self.expected(node, what, "a whole number");
            self.push(problem);
            return None;
        };
        if !(least..=most).contains(&value) {
            let bounds = match most {
                i64::MAX => format!("at least {least}"),
                _ => format!("from {least} to {most}"),
            };
            let message = format!("{what} must be {bounds}, found `{value}`");
            self.push(Problem::error("E_VALUE", node.span, message));
            return None;
        }
        Some(value)
    }

    pub(super) fn number(&mut self, node: &Node, what: &str) -> Option<f64> {
        if matches!(node.kind, Kind::Broken) {
            return None;
        }
        let value = self.core(node).as_ref().and_then(Value::as_f64);
        if value.is_none() {
            let problem = self.expected(node, what, "a number");
            self.push(problem);
        }
        value
    }

    /// The scalar by YAML's core schema; `None` if it is none, or cannot be kept (reported by
    /// whoever expects a type).
    fn core(&self, node: &Node) -> Option<Value> {
        node.scalar().and_then(|scalar| yaml::core_value(scalar).ok())
    }

    pub(super) fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let scalar = self.string(node, what)?;
        unit::parse_duration(&scalar.text)
            .map_err(|err| self.push(quantity(node.span, what, "a duration", &err)))
            .ok()
    }

    /// As [`Reader::duration`], and longer than nothing: a pause of nothing is a busy loop, a
    /// deadline of nothing is always over.
    pub(super) fn span(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let span = self.duration(node, what)?;
        if span.is_zero() {
            let message = format!("{what} must be longer than nothing");
            self.push(Problem::error("E_VALUE", node.span, message));
            return None;
        }
        Some(span)
    }

    pub(super) fn size(&mut self, node: &Node, what: &str) -> Option<u64> {
        let scalar = self.string(node, what)?;
        unit::parse_size(&scalar.text)
            .map_err(|err| self.push(quantity(node.span, what, "a size", &err)))
            .ok()
    }

    /// One of `words`, by its place in them.
    pub(super) fn word(&mut self, node: &Node, words: &[&str], what: &str) -> Option<usize> {
        let scalar = self.string(node, what)?;
        let found = words.iter().position(|word| *word == scalar.text);
        if found.is_none() {
            let found = yaml::shorten(&scalar.text);
            let message = format!("{what} must be {}, found `{found}`", or_list(words));
            let problem = Problem::error("E_VALUE", node.span, message).label("not one of these");
            self.push(match grammar::nearest(&scalar.text, words.iter().copied()) {
                Some(word) => problem.help(format!("did you mean `{word}`?")),
                None => problem,
            });
        }
        found
    }

    pub(super) fn regex(&mut self, node: &Node, what: &str) -> Option<regex::Regex> {
        let scalar = self.string(node, what)?;
        match pattern::compile(&scalar.text) {
            Ok(regex) => Some(regex),
            Err(why) => {
                let written = yaml::shorten(&scalar.text);
                let message = format!("{what} is not a regular expression: `{written}`: {why}");
                self.push(Problem::error("E_REGEX", node.span, message).label("does not compile"));
                None
            }
        }
    }

    /// The items of a list, or the one value that stands for a list of it.
    pub(super) fn one_or_list<'n>(&self, node: &'n Node) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => items,
            _ => std::slice::from_ref(node),
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            Kind::Broken => None,
            _ => {
                let problem = self.expected(node, what, "a list");
                self.push(problem);
                None
            }
        }
    }

    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        let items = self.one_or_list(node);
        items.iter().filter_map(|item| self.words(item, what)).collect()
    }

    /// A map with the author's own keys.
    pub(super) fn map<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
    ) -> Option<&'n [(yaml::Key, Node)]> {
        match &node.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Broken => None,
            _ => {
                let problem = self.expected(node, what, "a map");
                self.push(problem);
                None
            }
        }
    }

    /// An expression that must be true or false.
    pub(super) fn condition(&mut self, node: &Node, cx: Cx, what: &str) -> Option<Expr> {
        let expr = self.expr(node, cx, what)?;
        // What stands there is what was read last.
        if let Some(mention) = self.outline.mentions.last_mut() {
            mention.condition = Some((expr.whole().clone(), node.span));
        }
        Some(expr)
    }

    pub(super) fn expr(&mut self, node: &Node, cx: Cx, what: &str) -> Option<Expr> {
        let scalar = match &node.kind {
            Kind::Map(_) | Kind::List(_) => {
                let problem = self
                    .expected(node, what, "an expression")
                    .help("quote an expression that begins with `{` or `[`, or holds `: ` or ` #`");
                self.push(problem);
                return None;
            }
            _ => self.string(node, what)?,
        };
        let cx = Cx { secrets: false, ..cx };
        match Expr::parse(&scalar.text, self.counted(scalar)) {
            Ok(expr) => {
                self.mention(expr.mentions(), expr.comparisons().to_vec(), scalar, cx);
                Some(expr)
            }
            Err(problems) => {
                self.inner_problems(problems, scalar);
                None
            }
        }
    }

    pub(super) fn template(
        &mut self,
        node: &Node,
        place: Place,
        cx: Cx,
        what: &str,
    ) -> Option<Template> {
        let scalar = self.string(node, what)?;
        self.template_of(scalar, place, cx)
    }

    pub(super) fn template_of(
        &mut self,
        scalar: &Scalar,
        place: Place,
        cx: Cx,
    ) -> Option<Template> {
        match Template::parse(&scalar.text, self.counted(scalar), place) {
            Ok(template) => {
                self.mention(template.mentions(), Vec::new(), scalar, cx);
                Some(template)
            }
            Err(problems) => {
                self.inner_problems(problems, scalar);
                None
            }
        }
    }

    /// Keeps what a text mentions and compares for the checks.
    fn mention(
        &mut self,
        mentions: &[expr::Mention],
        mut comparisons: Vec<expr::Comparison>,
        scalar: &Scalar,
        cx: Cx,
    ) {
        let names = mentions
            .iter()
            .map(|mention| (mention.path.clone(), self.moved(mention.span, scalar)))
            .collect();
        for comparison in &mut comparisons {
            comparison.span = self.moved(comparison.span, scalar);
        }
        self.outline.mentions.push(Mention { cx, names, comparisons, condition: None });
    }

    /// The span under which a scalar's text is parsed: of a block scalar one as long as the text,
    /// so that places inside come back as offsets, which [`Reader::moved`] finds in the file.
    fn counted(&self, scalar: &Scalar) -> Span {
        match scalar.style {
            Style::Literal => Span::new(scalar.inner.start, scalar.inner.start + scalar.text.len()),
            _ => scalar.inner,
        }
    }

    /// Where a place inside a parsed scalar stands in the file.
    fn moved(&self, span: Span, scalar: &Scalar) -> Span {
        let relative = |at: usize| at.saturating_sub(scalar.inner.start).min(scalar.text.len());
        let start = scalar.locate(self.source, relative(span.start));
        let end = scalar.locate(self.source, relative(span.end));
        match (start, end) {
            (Some(start), Some(end)) if start <= end => Span::new(start, end),
            _ => super::first_line(self.source, scalar.inner),
        }
    }

    /// Problems inside a scalar count from its first byte: puts them where that byte stands.
    fn inner_problems(&mut self, problems: Vec<Problem>, scalar: &Scalar) {
        let moved: Vec<_> = problems
            .into_iter()
            .map(|mut problem| {
                problem.span = self.moved(problem.span, scalar);
                for (span, _) in &mut problem.related {
                    *span = self.moved(*span, scalar);
                }
                problem
            })
            .collect();
        self.problems.extend(moved);
    }
}

/// Whether a scalar holds a template, or may.
pub(super) fn is_template(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| scalar.style != Style::Plain || scalar.text.contains("{{"))
        && node.scalar().is_some_and(|scalar| scalar.text.contains("{{"))
}

fn quantity(span: Span, what: &str, kind: &str, err: &UnitError) -> Problem {
    let (message, help) = match err {
        UnitError::Bare { number, first, second } => (
            format!("{what} must be {kind}: `{number}` has no unit"),
            Some(format!("write `{first}` or `{second}`")),
        ),
        UnitError::Shape { text, example, .. } => (
            format!("{what} must be {kind}, found `{}`", yaml::shorten(text)),
            Some(format!("write {example}")),
        ),
        UnitError::TooLarge(text) => (format!("{what} is too large: `{text}`"), None),
    };
    let problem = Problem::error("E_UNIT", span, message).label(format!("expected {kind}"));
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}
