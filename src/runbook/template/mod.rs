//! Templates: Handlebars, strict, single pass, escaped by the place where they stand.
//!
//! The handlebars crate's parser reads them; a small renderer of ours fills them in, so that there
//! are no helpers, partials or decorators to reach, nothing is HTML-escaped, and what is missing
//! is an error that names it. What a value holds is never looked at for braces.
//!
//! There are plain paths (`steps.rss.value`, `steps.rss.results.[0].value`), the blocks `if`,
//! `unless`, `each` and `with` with `else`, comments, `~`, and `\{{` for literal braces. Inside
//! `each` and `with` a path starts at the item, as Handlebars has it: `this`, `this.value`,
//! `value`; `@index @key @first @last` say where `each` is, and `@root.inputs.x` reaches out.

mod parse;
mod render;
mod url;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::expr::{EvalError, Mention};
use super::problem::{Problem, Span};
use super::scope::Scope;

pub use render::text_of;

/// Where a template stands: decides how a value in it is escaped (spec 1, "Escaping").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An `env` value, a path, a message: the value as it is.
    Plain,
    /// A `command` element: as `Plain`, and a value that would begin the element with `-` is
    /// refused (`E_OPTION`) unless the element stands after a literal `--`.
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

/// A parsed template. Cheap to clone.
#[derive(Clone)]
pub struct Template {
    parsed: Arc<Parsed>,
}

struct Parsed {
    source: String,
    span: Span,
    place: Place,
    names: Vec<Vec<String>>,
    mentions: Vec<Mention>,
    body: Body,
}

/// What is to be rendered.
enum Body {
    /// No template in it; the text without its escapes, where it has any.
    Literal(Option<String>),
    /// Exactly one `{{name}}`: keeps the type.
    Whole(Path),
    /// Text and values.
    Pieces(Vec<Piece>),
}

enum Piece {
    Text(String),
    Value(Path),
    Block { kind: Block, subject: Path, body: Vec<Piece>, otherwise: Vec<Piece> },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    Unless,
    Each,
    With,
}

/// A name as its parts.
#[derive(Clone)]
struct Path {
    /// As written, for error texts.
    raw: String,
    from: From,
    parts: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The item of the innermost `each` or `with`; the context itself outside of them.
    Here,
    /// `@root`
    Root,
    Index,
    Key,
    First,
    Last,
}

impl Template {
    /// Parses `source`, which stands at `span` of the file.
    ///
    /// # Errors
    ///
    /// All problems that can be told apart, each at its bytes where the text stands in the file as
    /// it is, else at the whole of `span`.
    pub fn parse(source: &str, span: Span, place: Place) -> Result<Template, Vec<Problem>> {
        parse::parse(source, span, place).map(|parsed| Template { parsed: Arc::new(parsed) })
    }

    /// As the author wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.parsed.source
    }

    /// Where it stands in the file.
    #[must_use]
    pub fn span(&self) -> Span {
        self.parsed.span
    }

    /// What it fills.
    #[must_use]
    pub fn place(&self) -> Place {
        self.parsed.place
    }

    /// Every dotted name that it mentions, as its parts, each once. Names inside `each` belong to
    /// the item and are not among them.
    #[must_use]
    pub fn names(&self) -> &[Vec<String>] {
        &self.parsed.names
    }

    /// Every mention of a name, in order, with its place.
    #[must_use]
    pub fn mentions(&self) -> &[Mention] {
        &self.parsed.mentions
    }

    /// Whether it mentions no name: it can be rendered before anything has run.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.parsed.names.is_empty()
    }

    /// Whether it is exactly one `{{name}}`, so that its value keeps its type.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.parsed.body, Body::Whole(_))
    }

    /// Its value: keeps the type where the template is exactly one `{{name}}`, else a string.
    ///
    /// # Errors
    ///
    /// [`EvalError`] if a name is missing, a value has no text, it grows above `RESULT_BYTES_MAX`,
    /// or it does not fit the place.
    pub fn render(&self, scope: &Scope) -> Result<Value, EvalError> {
        render::render(&self.parsed, scope)
    }

    /// Its text; a value that is no string is written as in a longer string.
    ///
    /// # Errors
    ///
    /// As [`Template::render`].
    pub fn render_text(&self, scope: &Scope) -> Result<String, EvalError> {
        match self.render(scope)? {
            Value::String(text) => Ok(text),
            Value::Null if scope.absent_ok => Ok("none".to_owned()),
            other => text_of(&other)
                .map_err(|why| EvalError::template(format!("`{}` is {why}", self.source().trim()))),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source())
    }
}
