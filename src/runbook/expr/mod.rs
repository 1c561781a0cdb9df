//! Expressions: Jinja's. They give values, never text that is evaluated again.
//!
//! minijinja's own parser reads them, so that they are what users of Ansible write; a small
//! evaluator of ours carries them out over JSON. minijinja's machine would order a number against
//! a string without a word, names no undefined value, and counts no cost inside filters: spec 1
//! forbids the first two, and hostile input makes use of the third.
//!
//! # What there is
//!
//! Operators: `and or not`, `== != < <= > >=` (also chained), `in`, `not in`, `is`, `is not`,
//! `+ - * / // % **`, `~` (joins texts), `a if c else b`, `x.y`, `x['y']`, `x[0]`, `x[1:3]`, lists
//! `[…]`, objects `{…}`, filters `x|f(…)`, parentheses.
//!
//! Filters: `default d · length count list first last join sort unique reverse batch flatten union
//! intersect difference · select reject selectattr rejectattr map · items keys values · sum min max
//! abs round int float bool string · lower upper trim replace split lines basename dirname tojson
//! to_json`.
//!
//! Tests: `defined undefined none null boolean true false number integer float string mapping
//! sequence list iterable · odd even divisibleby · eq equalto == ne != lt lessthan < le <= gt
//! greaterthan > ge >= in contains · startingwith endingwith lower upper · matches` (a regular
//! expression, searched for anywhere: anchor it with `^` and `$`).
//!
//! There are no functions and no methods. Both lists are closed and known when a file is read.
//!
//! # Rules
//!
//! - What is undefined can be asked for (`is defined`, `|default(…)`, also through a missing
//!   parent); any other use is an error that names it.
//! - `< <= > >=` and the tests of that meaning take two numbers or two strings. `==` and `!=`
//!   refuse a number against a string, and either against a boolean: such a comparison could only
//!   ever give one answer, which nobody meant. `in`, `unique` and what is inside lists and objects
//!   is compared without that rule. `1 == 1.0`.
//! - `and`, `or`, `not` and `if` go by truth as Jinja's do; a condition as a whole must be boolean.
//! - Integers stay integers, but for `/`. Nothing overflows silently; no infinity, no NaN.
//! - `int`, `float` and `bool` of a text that is none are errors, not 0; `unique` tells `A` from
//!   `a` unless `case_sensitive=false`.
//! - Error texts hold names and types, never data: an output may be sensitive.

mod ast;
mod eval;
mod filters;
mod parse;
mod predicates;
pub(super) mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

pub use ast::Relation;

use super::problem::{Problem, Span};
use super::scope::Scope;

/// A parsed expression. Cheap to clone.
#[derive(Clone)]
pub struct Expr {
    parsed: Arc<Parsed>,
}

struct Parsed {
    source: String,
    span: Span,
    root: ast::Node,
    names: Vec<Vec<String>>,
    mentions: Vec<Mention>,
    comparisons: Vec<Comparison>,
    whole: Operand,
}

/// Why an expression or a template has no value: it is never taken for true or false then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// Stable: `E_EXPRESSION`, `E_TEMPLATE`, `E_OPTION`, `E_URL`, `E_SECRET`.
    pub code: &'static str,
    /// What went wrong, naming the name that is undefined or the types that do not fit.
    pub message: String,
}

impl EvalError {
    /// An error of an expression.
    #[must_use]
    pub fn expression(message: impl Into<String>) -> EvalError {
        EvalError { code: "E_EXPRESSION", message: message.into() }
    }

    /// An error of a template.
    #[must_use]
    pub fn template(message: impl Into<String>) -> EvalError {
        EvalError { code: "E_TEMPLATE", message: message.into() }
    }
}

/// A name that a text mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// `steps['rss'].value` as `["steps", "rss", "value"]`; ends where a part is computed.
    pub path: Vec<String>,
    /// Where it stands in the file.
    pub span: Span,
    /// Whether its absence is asked about (`is defined`, `|default(…)`), so that it may be missing.
    pub is_optional: bool,
}

/// Two values that an expression compares: for a checker that knows the types of names.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Where it stands in the file.
    pub span: Span,
    /// How they are compared.
    pub relation: Relation,
    /// What stands left.
    pub left: Operand,
    /// What stands right.
    pub right: Operand,
}

/// One side of a [`Comparison`].
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A name, by its parts.
    Name(Vec<String>),
    /// A number: written out, or what arithmetic or a filter such as `length` gives.
    Number,
    /// A string: written out, or what `~` or a filter such as `lower` gives.
    String,
    /// A boolean.
    Bool,
    /// Anything else, or not known.
    Other,
}

impl Expr {
    /// Parses `source`, which stands at `span` of the file.
    ///
    /// # Errors
    ///
    /// All problems that can be told apart, each at its bytes where the text stands in the file as
    /// it is, else at the whole of `span`.
    pub fn parse(source: &str, span: Span) -> Result<Expr, Vec<Problem>> {
        parse::parse(source, span).map(|parsed| Expr { parsed: Arc::new(parsed) })
    }

    /// As the author wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.parsed.source
    }

    /// Where it stands.
    #[must_use]
    pub fn span(&self) -> Span {
        self.parsed.span
    }

    /// Every dotted name that it mentions, as its parts: `[["steps", "rss", "value"], …]`, each
    /// once.
    #[must_use]
    pub fn names(&self) -> &[Vec<String>] {
        &self.parsed.names
    }

    /// Every mention of a name, in order, with its place.
    #[must_use]
    pub fn mentions(&self) -> &[Mention] {
        &self.parsed.mentions
    }

    /// Every comparison, in order.
    #[must_use]
    pub fn comparisons(&self) -> &[Comparison] {
        &self.parsed.comparisons
    }

    /// What is known of its value without evaluating it.
    #[must_use]
    pub fn whole(&self) -> &Operand {
        &self.parsed.whole
    }

    /// Its value.
    ///
    /// # Errors
    ///
    /// [`EvalError`] if it has none: a name is undefined, types do not fit, or it grows too large.
    pub fn eval(&self, scope: &Scope) -> Result<Value, EvalError> {
        eval::evaluate(self, scope)
    }

    /// Its value where a condition stands: anything but a boolean is an error.
    ///
    /// # Errors
    ///
    /// As [`Expr::eval`], and if the value is no boolean.
    pub fn test(&self, scope: &Scope) -> Result<bool, EvalError> {
        match self.eval(scope)? {
            Value::Bool(value) => Ok(value),
            other => Err(EvalError::expression(format!(
                "a condition must be true or false, `{}` is {}",
                self.source().trim(),
                value::kind(&other)
            ))),
        }
    }

    fn root(&self) -> &ast::Node {
        &self.parsed.root
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source())
    }
}

/// The one of `known` that `name` is most likely a misspelling of.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Names of data may be long; nobody misspells one by more than a third.
    if name.len() > 64 {
        return None;
    }
    let most = (name.chars().count() / 3).max(1);
    known
        .take(128)
        .filter(|other| other.len() <= 64 && *other != name)
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// The span of bytes `start..end` of a text that stands at `span`: exact where the text stands in
/// the file as it is (its length then is the span's), else the whole.
pub(super) fn inside(span: Span, length: usize, start: usize, end: usize) -> Span {
    if span.end.saturating_sub(span.start) == length {
        Span::new(span.start + start.min(length), span.start + end.min(length))
    } else {
        span
    }
}
