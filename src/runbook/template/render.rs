//! Fills pieces with values, once: what a value holds is text from here on.

use std::borrow::Cow;

use serde_json::Value;

use super::url::UrlText;
use super::{Block, Body, From, Parsed, Path, Piece, Place};
use crate::limits::{RESULT_BYTES_MAX, TEMPLATE_PIECES_MAX};
use crate::runbook::expr::EvalError;
use crate::runbook::expr::value::{kind, size, truthy};
use crate::runbook::scope::Scope;

/// What stands in `finally` for a name that is absent (spec 1).
const NOT_RUN: &str = "(not run)";

/// Renders a template as a whole.
pub(super) fn render(parsed: &Parsed, scope: &Scope) -> Result<Value, EvalError> {
    let value = match &parsed.body {
        Body::Literal(None) => return Ok(Value::String(parsed.source.clone())),
        Body::Literal(Some(text)) => return Ok(Value::String(text.clone())),
        Body::Whole(path) => {
            let value = match find(path, scope, None)? {
                Some(value) => value.into_owned(),
                None => Value::String(NOT_RUN.to_owned()),
            };
            if size(&value, RESULT_BYTES_MAX) > RESULT_BYTES_MAX {
                return Err(too_large());
            }
            if parsed.place == Place::Url {
                super::url::whole(&value, &path.raw)?;
            }
            if value.as_str().is_some_and(|text| text.starts_with('-')) {
                option(parsed)?;
            }
            return Ok(value);
        }
        Body::Pieces(pieces) => {
            let mut out = Out::new(parsed.place);
            let mut renderer = Renderer { scope, left: TEMPLATE_PIECES_MAX };
            renderer.pieces(pieces, None, &mut out)?;
            if out.begins_with_data && out.text.starts_with('-') {
                option(parsed)?;
            }
            match out.url {
                Some(url) => url.finish(&out.text)?,
                None => out.text,
            }
        }
    };
    Ok(Value::String(value))
}

/// A value that would be read as an option (spec 1, `E_OPTION`).
fn option(parsed: &Parsed) -> Result<(), EvalError> {
    if parsed.place != (Place::Argument { after_dashes: false }) {
        return Ok(());
    }
    Err(EvalError {
        code: "E_OPTION",
        message: format!(
            "the value of `{}` begins with `-` and would be read as an option: put a literal `--` \
             before it, or write the option out",
            parsed.source
        ),
    })
}

fn too_large() -> EvalError {
    EvalError::template(format!("the rendered text grows above {RESULT_BYTES_MAX} bytes"))
}

/// A value as it stands in a longer string: `Err` says what it is instead, after "is".
///
/// # Errors
///
/// What has no text: `none`, an object, a list of anything but scalars.
pub fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Array(items) => {
            let mut joined = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    joined.push_str(", ");
                }
                match item {
                    Value::Array(_) | Value::Object(_) | Value::Null => {
                        return Err(format!("a list that holds {}, which has no text", kind(item)));
                    }
                    scalar => joined.push_str(&text_of(scalar)?),
                }
            }
            Ok(joined)
        }
        Value::Null => Err("none, which has no text".to_owned()),
        Value::Object(_) => Err("an object, which has no text: name one of its fields".to_owned()),
    }
}

/// Where `each` or `with` stands.
#[derive(Clone, Copy)]
struct Frame<'s> {
    this: &'s Value,
    index: Option<usize>,
    key: Option<&'s str>,
    is_last: bool,
}

/// What stands under a path: `None` is absent where that is allowed.
fn find<'s>(
    path: &Path,
    scope: &'s Scope,
    frame: Option<&Frame<'s>>,
) -> Result<Option<Cow<'s, Value>>, EvalError> {
    let own = |value: Option<Value>| value.map(Cow::Owned);
    let found = match (path.from, frame) {
        (From::Here, Some(frame)) => descend(frame.this, &path.parts).map(Cow::Borrowed),
        (From::Here, None) | (From::Root, _) => match path.parts.split_first() {
            Some((first, rest)) => {
                let root = scope.roots.get(first);
                root.and_then(|value| descend(value, rest)).map(Cow::Borrowed)
            }
            None => None,
        },
        (From::Index, frame) => own(frame.and_then(|f| f.index).map(Value::from)),
        (From::Key, frame) => own(frame.and_then(|f| f.key).map(Value::from)),
        (From::First, frame) => own(frame.and_then(|f| f.index).map(|index| (index == 0).into())),
        (From::Last, frame) => {
            own(frame.filter(|f| f.index.is_some()).map(|frame| frame.is_last.into()))
        }
    };
    if found.is_none() && !scope.absent_ok {
        let outside = match (path.from, frame, path.parts.first()) {
            (From::Here, Some(_), Some(first)) if scope.roots.contains_key(first) => {
                format!("; outside the block it is `@root.{}`", path.raw)
            }
            _ => String::new(),
        };
        return Err(EvalError::template(format!("`{}` is undefined{outside}", path.raw)));
    }
    Ok(found)
}

fn descend<'s>(mut value: &'s Value, parts: &[String]) -> Option<&'s Value> {
    for part in parts {
        value = match value {
            Value::Object(map) => map.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// What has been written so far.
struct Out {
    text: String,
    /// Whether the first byte came from a value and not from the author.
    begins_with_data: bool,
    url: Option<UrlText>,
}

impl Out {
    fn new(place: Place) -> Out {
        let url = (place == Place::Url).then(UrlText::default);
        Out { text: String::new(), begins_with_data: false, url }
    }

    fn literal(&mut self, text: &str) -> Result<(), EvalError> {
        self.text.push_str(text);
        self.bounded()
    }

    fn value(&mut self, text: &str, name: &str) -> Result<(), EvalError> {
        if self.text.is_empty() && !text.is_empty() {
            self.begins_with_data = true;
        }
        match &mut self.url {
            Some(url) => url.value(&mut self.text, text, name)?,
            None => self.text.push_str(text),
        }
        self.bounded()
    }

    fn bounded(&self) -> Result<(), EvalError> {
        if self.text.len() > RESULT_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }
}

struct Renderer<'s> {
    scope: &'s Scope,
    left: usize,
}

impl<'s> Renderer<'s> {
    fn pieces(
        &mut self,
        pieces: &[Piece],
        frame: Option<&Frame<'s>>,
        out: &mut Out,
    ) -> Result<(), EvalError> {
        for piece in pieces {
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                EvalError::template(format!(
                    "the template renders over {TEMPLATE_PIECES_MAX} pieces"
                ))
            })?;
            match piece {
                Piece::Text(text) => out.literal(text)?,
                Piece::Value(path) => self.value(path, frame, out)?,
                Piece::Block { kind, subject, body, otherwise } => {
                    self.block(*kind, subject, (body, otherwise), frame, out)?;
                }
            }
        }
        Ok(())
    }

    fn value(
        &mut self,
        path: &Path,
        frame: Option<&Frame<'s>>,
        out: &mut Out,
    ) -> Result<(), EvalError> {
        let Some(value) = find(path, self.scope, frame)? else {
            return out.value(NOT_RUN, &path.raw);
        };
        match (value.as_ref(), self.scope.absent_ok) {
            (Value::String(text), _) => out.value(text, &path.raw),
            // `finally` tells people what there is; it must not fail over a field that is empty.
            (Value::Null, true) => out.value("none", &path.raw),
            (other, _) => {
                let text = text_of(other)
                    .map_err(|why| EvalError::template(format!("`{}` is {why}", path.raw)))?;
                out.value(&text, &path.raw)
            }
        }
    }

    fn block(
        &mut self,
        kind: Block,
        subject: &Path,
        (body, otherwise): (&[Piece], &[Piece]),
        frame: Option<&Frame<'s>>,
        out: &mut Out,
    ) -> Result<(), EvalError> {
        let found = find(subject, self.scope, frame)?;
        let holds = found.as_deref().is_some_and(truthy);
        match kind {
            Block::If => self.pieces(if holds { body } else { otherwise }, frame, out),
            Block::Unless => self.pieces(if holds { otherwise } else { body }, frame, out),
            Block::With | Block::Each if !holds => self.pieces(otherwise, frame, out),
            Block::With => {
                // Only `@index` and its kin are not borrowed, and nobody looks inside those.
                let Some(Cow::Borrowed(this)) = found else {
                    return Err(EvalError::template(format!("`{}` has no fields", subject.raw)));
                };
                let frame = Frame { this, index: None, key: None, is_last: false };
                self.pieces(body, Some(&frame), out)
            }
            Block::Each => self.each(found, subject, body, out),
        }
    }

    fn each(
        &mut self,
        found: Option<Cow<'s, Value>>,
        subject: &Path,
        body: &[Piece],
        out: &mut Out,
    ) -> Result<(), EvalError> {
        match found {
            Some(Cow::Borrowed(Value::Array(items))) => {
                for (index, this) in items.iter().enumerate() {
                    let is_last = index + 1 == items.len();
                    let frame = Frame { this, index: Some(index), key: None, is_last };
                    self.round(body, &frame, out)?;
                }
                Ok(())
            }
            Some(Cow::Borrowed(Value::Object(map))) => {
                for (index, (key, this)) in map.iter().enumerate() {
                    let is_last = index + 1 == map.len();
                    let frame = Frame { this, index: Some(index), key: Some(key), is_last };
                    self.round(body, &frame, out)?;
                }
                Ok(())
            }
            other => {
                let what = other.as_deref().map_or("nothing", kind);
                Err(EvalError::template(format!(
                    "`each` needs a list or an object, `{}` is {what}",
                    subject.raw
                )))
            }
        }
    }

    /// A round costs also where the body is empty.
    fn round(&mut self, body: &[Piece], frame: &Frame<'s>, out: &mut Out) -> Result<(), EvalError> {
        self.left = self.left.saturating_sub(1);
        self.pieces(body, Some(frame), out)
    }
}
