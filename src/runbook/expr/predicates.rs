//! The tests: what may stand after `is`, and in `select` and its kin. A closed list.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

use super::EvalError;
use super::eval::Meter;
use super::value::{Num, Val, equal, order, same};

/// One test. Every test but `defined` and `undefined` is an error on what is undefined.
pub(super) struct TestDef {
    pub(super) name: &'static str,
    pub(super) takes_argument: bool,
    run: Run,
}

type Plain = fn(&mut Meter, &Val<'_>) -> Result<bool, EvalError>;
type With = fn(&mut Meter, &Val<'_>, &Val<'_>) -> Result<bool, EvalError>;

enum Run {
    Defined(bool),
    Plain(Plain),
    With(With),
    Matches,
}

impl std::fmt::Debug for TestDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn plain(name: &'static str, run: Plain) -> TestDef {
    TestDef { name, takes_argument: false, run: Run::Plain(run) }
}

const fn with(name: &'static str, run: With) -> TestDef {
    TestDef { name, takes_argument: true, run: Run::With(run) }
}

/// All tests; the names of one meaning stand together.
pub(super) static TESTS: &[TestDef] = &[
    TestDef { name: "defined", takes_argument: false, run: Run::Defined(true) },
    TestDef { name: "undefined", takes_argument: false, run: Run::Defined(false) },
    plain("none", |_, value| Ok(value.json().is_some_and(Value::is_null))),
    plain("null", |_, value| Ok(value.json().is_some_and(Value::is_null))),
    plain("boolean", |_, value| Ok(value.json().is_some_and(Value::is_boolean))),
    plain("true", |_, value| Ok(value.json() == Some(&Value::Bool(true)))),
    plain("false", |_, value| Ok(value.json() == Some(&Value::Bool(false)))),
    plain("number", |_, value| Ok(value.as_number().is_some())),
    plain("integer", |_, value| Ok(matches!(value.as_number().map(Num::of), Some(Num::Int(_))))),
    plain("float", |_, value| Ok(matches!(value.as_number().map(Num::of), Some(Num::Float(_))))),
    plain("string", |_, value| Ok(value.as_str().is_some())),
    plain("mapping", |_, value| Ok(value.json().is_some_and(Value::is_object))),
    plain("sequence", |_, value| Ok(value.is_list())),
    plain("list", |_, value| Ok(value.is_list())),
    plain("iterable", |_, value| {
        Ok(value.is_list() || value.json().is_some_and(|v| v.is_object() || v.is_string()))
    }),
    plain("odd", |_, value| Ok(integer(value, "odd")?.rem_euclid(2) == 1)),
    plain("even", |_, value| Ok(integer(value, "even")?.rem_euclid(2) == 0)),
    plain("lower", |meter, value| {
        let text = string(meter, value, "lower")?;
        Ok(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
    }),
    plain("upper", |meter, value| {
        let text = string(meter, value, "upper")?;
        Ok(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
    }),
    with("divisibleby", |_, value, by| {
        let by = integer(by, "divisibleby")?;
        let value = integer(value, "divisibleby")?;
        value
            .checked_rem(by)
            .map(|rest| rest == 0)
            .ok_or_else(|| EvalError::expression("`divisibleby` cannot divide by zero"))
    }),
    with("eq", |_, a, b| equal(a, b)),
    with("equalto", |_, a, b| equal(a, b)),
    with("==", |_, a, b| equal(a, b)),
    with("ne", |_, a, b| Ok(!equal(a, b)?)),
    with("!=", |_, a, b| Ok(!equal(a, b)?)),
    with("lt", |_, a, b| Ok(order(a, b)? == Ordering::Less)),
    with("lessthan", |_, a, b| Ok(order(a, b)? == Ordering::Less)),
    with("<", |_, a, b| Ok(order(a, b)? == Ordering::Less)),
    with("le", |_, a, b| Ok(order(a, b)? != Ordering::Greater)),
    with("<=", |_, a, b| Ok(order(a, b)? != Ordering::Greater)),
    with("gt", |_, a, b| Ok(order(a, b)? == Ordering::Greater)),
    with("greaterthan", |_, a, b| Ok(order(a, b)? == Ordering::Greater)),
    with(">", |_, a, b| Ok(order(a, b)? == Ordering::Greater)),
    with("ge", |_, a, b| Ok(order(a, b)? != Ordering::Less)),
    with(">=", |_, a, b| Ok(order(a, b)? != Ordering::Less)),
    with("in", |meter, item, container| contains(meter, container, item)),
    with("contains", contains),
    with("startingwith", |meter, value, start| {
        Ok(string(meter, value, "startingwith")?.starts_with(string(meter, start, "startingwith")?))
    }),
    with("endingwith", |meter, value, end| {
        Ok(string(meter, value, "endingwith")?.ends_with(string(meter, end, "endingwith")?))
    }),
    TestDef { name: "matches", takes_argument: true, run: Run::Matches },
];

/// The test of this name.
pub(super) fn find(name: &str) -> Option<&'static TestDef> {
    TESTS.iter().find(|test| test.name == name)
}

/// A test with its argument evaluated: applied to one value or to the items of a list.
pub(super) struct Ready<'a, 'r> {
    pub(super) def: &'static TestDef,
    pub(super) argument: Option<Val<'a>>,
    pub(super) pattern: Option<&'r Regex>,
    /// A pattern that was not written out but came from a value.
    compiled: Option<Regex>,
}

impl<'a, 'r> Ready<'a, 'r> {
    /// Looks at the argument once, so that items are not made to pay for it.
    pub(super) fn new(
        def: &'static TestDef,
        argument: Option<Val<'a>>,
        pattern: Option<&'r Regex>,
    ) -> Result<Ready<'a, 'r>, EvalError> {
        let argument = argument.map(Val::defined).transpose()?;
        let compiled = match (&def.run, pattern, &argument) {
            (Run::Matches, None, Some(argument)) => {
                let text = argument.as_str().ok_or_else(|| {
                    EvalError::expression(format!(
                        "`matches` needs a pattern as a string, this is {}",
                        argument.kind()
                    ))
                })?;
                let compiled = crate::runbook::pattern::compile(text);
                Some(compiled.map_err(|why| {
                    EvalError::expression(format!("the pattern of `matches` is refused: {why}"))
                })?)
            }
            _ => None,
        };
        Ok(Ready { def, argument, pattern, compiled })
    }

    /// Whether `value` passes.
    pub(super) fn test(&self, meter: &mut Meter, value: &Val<'_>) -> Result<bool, EvalError> {
        if let Run::Defined(wanted) = self.def.run {
            return Ok(matches!(value, Val::Undefined(_)) != wanted);
        }
        if let Val::Undefined(what) = value {
            return Err(EvalError::expression(what.clone()));
        }
        match (&self.def.run, &self.argument) {
            (Run::Plain(run), _) => run(meter, value),
            (Run::With(run), Some(argument)) => run(meter, value, argument),
            _ => {
                let text = string(meter, value, "matches")?;
                let pattern = self.pattern.or(self.compiled.as_ref());
                Ok(pattern.is_some_and(|pattern| pattern.is_match(text)))
            }
        }
    }
}

/// `in`: an item of a list, a key of an object, a part of a string.
pub(super) fn contains(
    meter: &mut Meter,
    container: &Val<'_>,
    item: &Val<'_>,
) -> Result<bool, EvalError> {
    for side in [container, item] {
        if let Val::Undefined(what) = side {
            return Err(EvalError::expression(what.clone()));
        }
    }
    let wrong = || {
        EvalError::expression(format!(
            "{} cannot be looked for in {}",
            item.kind(),
            container.kind()
        ))
    };
    match container {
        Val::List(items) => {
            meter.touch_items(items.len())?;
            Ok(items.iter().any(|other| same(item, other)))
        }
        Val::Json(value) => match value.as_ref() {
            Value::Array(items) => {
                meter.touch_items(items.len())?;
                Ok(items
                    .iter()
                    .any(|other| same(item, &Val::Json(std::borrow::Cow::Borrowed(other)))))
            }
            Value::Object(map) => Ok(map.contains_key(item.as_str().ok_or_else(wrong)?)),
            Value::String(text) => {
                meter.touch(text.len())?;
                Ok(text.contains(item.as_str().ok_or_else(wrong)?))
            }
            _ => Err(wrong()),
        },
        Val::Undefined(_) => Err(wrong()),
    }
}

fn string<'v>(meter: &mut Meter, value: &'v Val<'_>, test: &str) -> Result<&'v str, EvalError> {
    let text = value.as_str().ok_or_else(|| {
        EvalError::expression(format!("`{test}` needs a string, this is {}", value.kind()))
    })?;
    meter.touch(text.len())?;
    Ok(text)
}

fn integer(value: &Val<'_>, test: &str) -> Result<i128, EvalError> {
    match value.as_number().map(Num::of) {
        Some(Num::Int(number)) => Ok(number),
        _ => Err(EvalError::expression(format!(
            "`{test}` needs an integer, this is {}",
            if value.as_number().is_some() { "a fraction" } else { value.kind() }
        ))),
    }
}
