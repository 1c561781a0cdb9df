//! Values while an expression is evaluated: borrowed from the scope where possible, and able to
//! be undefined, which JSON's are not.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::EvalError;

/// A value, or the reason why there is none.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    /// Nothing is there; the text says what is missing.
    Undefined(String),
    Json(Cow<'a, Value>),
    /// A list whose items may still be borrowed, or undefined.
    List(Vec<Val<'a>>),
}

impl<'a> Val<'a> {
    pub(super) fn from_bool(value: bool) -> Val<'a> {
        Val::Json(Cow::Owned(Value::Bool(value)))
    }

    pub(super) fn from_text(text: impl Into<String>) -> Val<'a> {
        Val::Json(Cow::Owned(Value::String(text.into())))
    }

    pub(super) fn from_length(length: usize) -> Val<'a> {
        Val::Json(Cow::Owned(Value::from(length)))
    }

    /// The JSON behind it, if it is not a list that is being built.
    pub(super) fn json(&self) -> Option<&Value> {
        match self {
            Val::Json(value) => Some(value),
            Val::Undefined(_) | Val::List(_) => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        self.json().and_then(Value::as_str)
    }

    pub(super) fn as_number(&self) -> Option<&Number> {
        self.json().and_then(Value::as_number)
    }

    /// An error that says what is missing, if nothing is there.
    pub(super) fn defined(self) -> Result<Val<'a>, EvalError> {
        match self {
            Val::Undefined(what) => Err(EvalError::expression(what)),
            other => Ok(other),
        }
    }

    /// What it is, for error texts: types, never data, since an output may be sensitive.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Val::Undefined(_) => "undefined",
            Val::List(_) => "a list",
            Val::Json(value) => kind(value),
        }
    }

    /// Jinja's truth: `false`, `none`, zero and what is empty are false.
    pub(super) fn is_truthy(&self) -> Result<bool, EvalError> {
        match self {
            Val::Undefined(what) => Err(EvalError::expression(what.clone())),
            Val::List(items) => Ok(!items.is_empty()),
            Val::Json(value) => Ok(truthy(value)),
        }
    }

    /// Its items: of a list, or the keys of an object.
    pub(super) fn into_items(self, filter: &str) -> Result<Vec<Val<'a>>, EvalError> {
        match self.defined()? {
            Val::List(items) => Ok(items),
            Val::Json(Cow::Borrowed(Value::Array(items))) => {
                Ok(items.iter().map(|item| Val::Json(Cow::Borrowed(item))).collect())
            }
            Val::Json(Cow::Owned(Value::Array(items))) => {
                Ok(items.into_iter().map(|item| Val::Json(Cow::Owned(item))).collect())
            }
            Val::Json(object) if object.is_object() => {
                let keys = object.as_object().into_iter().flat_map(Map::keys);
                Ok(keys.map(|key| Val::from_text(key.as_str())).collect())
            }
            other => Err(EvalError::expression(format!(
                "`{filter}` needs a list, this is {}",
                other.kind()
            ))),
        }
    }

    /// What stands under `key`; undefined, saying `what`, if nothing does.
    pub(super) fn field(self, key: &str, what: impl FnOnce() -> String) -> Val<'a> {
        match self {
            Val::Undefined(missing) => Val::Undefined(missing),
            Val::Json(Cow::Borrowed(Value::Object(map))) => match map.get(key) {
                Some(value) => Val::Json(Cow::Borrowed(value)),
                None => Val::Undefined(missing_key(map, key, &what())),
            },
            Val::Json(Cow::Owned(Value::Object(mut map))) => match map.swap_remove(key) {
                Some(value) => Val::Json(Cow::Owned(value)),
                None => Val::Undefined(missing_key(&map, key, &what())),
            },
            Val::List(_) | Val::Json(_) => match key.parse::<i64>() {
                Ok(index) if self.is_list() => self.at(index, what),
                _ => Val::Undefined(format!(
                    "{} is undefined: {} has no fields",
                    what(),
                    self.kind()
                )),
            },
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Val::List(_)) || self.json().is_some_and(Value::is_array)
    }

    /// The item at `index`, from the end if negative; undefined, saying `what`, if there is none.
    pub(super) fn at(self, index: i64, what: impl FnOnce() -> String) -> Val<'a> {
        let found = match self {
            Val::Undefined(missing) => return Val::Undefined(missing),
            Val::List(mut items) => {
                position(items.len(), index).map(|position| items.swap_remove(position))
            }
            Val::Json(Cow::Borrowed(Value::Array(items))) => position(items.len(), index)
                .map(|position| Val::Json(Cow::Borrowed(&items[position]))),
            Val::Json(Cow::Owned(Value::Array(mut items))) => position(items.len(), index)
                .map(|position| Val::Json(Cow::Owned(items.swap_remove(position)))),
            Val::Json(value) => match value.as_str() {
                Some(text) => position(text.chars().count(), index)
                    .and_then(|position| text.chars().nth(position))
                    .map(Val::from_text),
                None => None,
            },
        };
        found.unwrap_or_else(|| Val::Undefined(format!("{} is undefined", what())))
    }

    /// The value as JSON, to leave the evaluator with.
    pub(super) fn into_json(self) -> Result<Value, EvalError> {
        match self {
            Val::Undefined(what) => Err(EvalError::expression(what)),
            Val::Json(value) => Ok(value.into_owned()),
            Val::List(items) => {
                items.into_iter().map(Val::into_json).collect::<Result<_, _>>().map(Value::Array)
            }
        }
    }

    /// About how many bytes of JSON it is; stops counting above `bound`.
    pub(super) fn size(&self, bound: usize) -> usize {
        match self {
            Val::Undefined(_) => 0,
            Val::Json(value) => size(value, bound),
            Val::List(items) => {
                let mut total = 2;
                for item in items {
                    if total > bound {
                        break;
                    }
                    total += 1 + item.size(bound - total.min(bound));
                }
                total
            }
        }
    }
}

fn missing_key(map: &Map<String, Value>, key: &str, what: &str) -> String {
    match super::nearest(key, map.keys().map(String::as_str)) {
        Some(near) => format!("{what} is undefined; there is `{near}`"),
        None => format!("{what} is undefined"),
    }
}

fn position(length: usize, index: i64) -> Option<usize> {
    let position = if index < 0 { index.checked_add(i64::try_from(length).ok()?)? } else { index };
    usize::try_from(position).ok().filter(|position| *position < length)
}

/// What `value` is, for error texts.
pub(in crate::runbook) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "none",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Jinja's truth.
pub(in crate::runbook) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// About how many bytes of JSON `value` is; stops counting above `bound`.
pub(in crate::runbook) fn size(value: &Value, bound: usize) -> usize {
    let mut total: usize = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        total = total.saturating_add(match value {
            Value::Null | Value::Bool(_) => 4,
            Value::Number(_) => 8,
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                open.extend(items);
                2 + items.len()
            }
            Value::Object(map) => {
                open.extend(map.values());
                2 + map.keys().map(|key| key.len() + 4).sum::<usize>()
            }
        });
        if total > bound {
            break;
        }
    }
    total
}

/// A number for arithmetic: exact where it is an integer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Num {
    Int(i128),
    Float(f64),
}

impl Num {
    pub(super) fn of(number: &Number) -> Num {
        if let Some(value) = number.as_i64() {
            Num::Int(value.into())
        } else if let Some(value) = number.as_u64() {
            Num::Int(value.into())
        } else {
            Num::Float(number.as_f64().unwrap_or(f64::NAN))
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "what a float is")]
    pub(super) fn to_f64(self) -> f64 {
        match self {
            Num::Int(value) => value as f64,
            Num::Float(value) => value,
        }
    }

    /// As JSON; an error if JSON has no such number.
    pub(super) fn into_val<'a>(self) -> Result<Val<'a>, EvalError> {
        let number = match self {
            Num::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => Some(Number::from(value)),
                (_, Ok(value)) => Some(Number::from(value)),
                _ => None,
            },
            Num::Float(value) => Number::from_f64(value),
        };
        let number = number.ok_or_else(|| {
            EvalError::expression("the result is larger than a number can be, or is no number")
        })?;
        Ok(Val::Json(Cow::Owned(Value::Number(number))))
    }

    /// Exact also between an integer and a float.
    pub(super) fn compare(self, other: Num) -> Option<Ordering> {
        match (self, other) {
            (Num::Int(a), Num::Int(b)) => Some(a.cmp(&b)),
            (Num::Float(a), Num::Float(b)) => a.partial_cmp(&b),
            (Num::Int(a), Num::Float(b)) => compare_mixed(a, b),
            (Num::Float(a), Num::Int(b)) => compare_mixed(b, a).map(Ordering::reverse),
        }
    }
}

/// A 64-bit integer against a float, without the loss that a cast of the integer would bring.
#[expect(clippy::cast_possible_truncation, reason = "the float's magnitude is checked before")]
fn compare_mixed(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    // Twice the largest 64-bit integer: beyond it the sign of the float decides.
    if b.abs() > 4.0e19 {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = b.trunc() as i128;
    Some(a.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(b.fract() + 0.0))))
}

/// Whether two values are the same; `1` and `1.0` are. Never an error: for `in`, `unique` and the
/// insides of lists and objects.
pub(super) fn same(a: &Val<'_>, b: &Val<'_>) -> bool {
    match (a, b) {
        (Val::Undefined(_), _) | (_, Val::Undefined(_)) => false,
        (Val::Json(a), Val::Json(b)) => same_json(a, b),
        (Val::List(a), Val::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Val::List(list), Val::Json(value)) | (Val::Json(value), Val::List(list)) => {
            value.as_array().is_some_and(|array| {
                array.len() == list.len()
                    && list
                        .iter()
                        .zip(array)
                        .all(|(item, other)| same(item, &Val::Json(Cow::Borrowed(other))))
            })
        }
    }
}

fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            Num::of(a).compare(Num::of(b)) == Some(Ordering::Equal)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|o| same_json(value, o)))
        }
        _ => a == b,
    }
}

/// `==`: an error if one side is undefined, or if the two can never be equal because one is a
/// number, a string or a boolean and the other is another of the three.
pub(super) fn equal(a: &Val<'_>, b: &Val<'_>) -> Result<bool, EvalError> {
    for side in [a, b] {
        if let Val::Undefined(what) = side {
            return Err(EvalError::expression(what.clone()));
        }
    }
    if let (Some(left), Some(right)) = (a.json(), b.json())
        && is_scalar(left)
        && is_scalar(right)
        && std::mem::discriminant(left) != std::mem::discriminant(right)
    {
        return Err(EvalError::expression(format!(
            "{} cannot be compared with {}",
            kind(left),
            kind(right)
        )));
    }
    Ok(same(a, b))
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// Which is larger: of two numbers or two strings, anything else is an error.
pub(super) fn order(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, EvalError> {
    for side in [a, b] {
        if let Val::Undefined(what) = side {
            return Err(EvalError::expression(what.clone()));
        }
    }
    let ordering = match (a.json(), b.json()) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => Num::of(a).compare(Num::of(b)),
        (Some(Value::String(a)), Some(Value::String(b))) => Some(a.cmp(b)),
        _ => None,
    };
    ordering.ok_or_else(|| {
        EvalError::expression(format!(
            "{} cannot be ordered against {}: both must be numbers, or both strings",
            a.kind(),
            b.kind()
        ))
    })
}
