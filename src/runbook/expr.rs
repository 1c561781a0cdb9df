//! Expressions: Jinja's, by minijinja. They give values, never text that is evaluated again.

use serde_json::Value;

use super::problem::{Problem, Span};
use super::scope::Scope;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expr {
    source: String,
    span: Span,
    names: Vec<Vec<String>>,
}

/// Why an expression has no value: it is never taken for true or false then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What went wrong, naming the name that is undefined or the types that do not fit.
    pub message: String,
}

impl Expr {
    /// Parses `source`, which stands at `span` of the file.
    pub fn parse(_source: &str, _span: Span) -> Result<Expr, Vec<Problem>> {
        unimplemented!()
    }

    /// As the author wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where it stands.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Every dotted name that it mentions, as its parts: `[["steps", "rss", "value"], …]`.
    #[must_use]
    pub fn names(&self) -> &[Vec<String>] {
        &self.names
    }

    /// Its value.
    pub fn eval(&self, _scope: &Scope) -> Result<Value, EvalError> {
        unimplemented!()
    }

    /// Its value where a condition stands: anything but a boolean is an error.
    pub fn test(&self, _scope: &Scope) -> Result<bool, EvalError> {
        unimplemented!()
    }
}
