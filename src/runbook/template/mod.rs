//! Templates: Handlebars, strict, single pass, escaped by the place where they stand.

use serde_json::Value;

use super::expr::EvalError;
use super::problem::{Problem, Span};
use super::scope::Scope;

/// Where a template stands: decides how a value in it is escaped (spec 1, "Escaping").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One element of a `command`, an `env` value, a path, a message: the value as it is.
    Plain,
    /// A `command` element: as `Plain`, and a whole-template value that begins with `-` is refused
    /// (`E_OPTION`) unless the element stands after a literal `--`.
    Argument {
        /// Whether a literal `--` stands before it.
        after_dashes: bool,
    },
    /// A URL: percent-encoded; wholly one template: parsed, must be http(s); in the host part a
    /// value must be a host.
    Url,
    /// Inside a parsed JSON tree: the value itself.
    Json,
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    span: Span,
    place: Place,
    names: Vec<Vec<String>>,
}

impl Template {
    /// Parses `source`, which stands at `span` of the file.
    pub fn parse(_source: &str, _span: Span, _place: Place) -> Result<Template, Vec<Problem>> {
        unimplemented!()
    }

    /// As the author wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where it stands in the file.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// What it fills.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Every dotted name that it mentions, as its parts.
    #[must_use]
    pub fn names(&self) -> &[Vec<String>] {
        &self.names
    }

    /// Whether it mentions no name: it can be rendered before anything has run.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.names.is_empty()
    }

    /// Its value: keeps the type where the template is exactly one `{{name}}`, else a string.
    pub fn render(&self, _scope: &Scope) -> Result<Value, EvalError> {
        unimplemented!()
    }

    /// Its text; a value that is no string is written as in a longer string.
    pub fn render_text(&self, _scope: &Scope) -> Result<String, EvalError> {
        unimplemented!()
    }
}
