//! Filters of numbers and texts, and those that make one number of a list.

use serde_json::Value;

use super::{Args, attribute_at, bounded, count_at, error, items_of, number_of, str_of, text_at};
use crate::limits::RESULT_BYTES_MAX;
use crate::runbook::expr::EvalError;
use crate::runbook::expr::eval::{Meter, lookup_path};
use crate::runbook::expr::value::{Num, Val, order};

pub(super) fn sum<'a>(
    meter: &mut Meter,
    input: Val<'a>,
    args: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let attribute = attribute_at(&args, 0, "sum")?;
    let mut total = match args.get(1).and_then(Option::as_ref) {
        Some(start) => number_of(start, "sum")?,
        None => Num::Int(0),
    };
    for item in items_of(meter, input, "sum")? {
        let item = match &attribute {
            Some(path) => lookup_path(item, path),
            None => item,
        };
        total = match (total, number_of(&item.defined()?, "sum")?) {
            // 64-bit numbers, at most as many as fit into a result: no overflow of 128 bits.
            (Num::Int(a), Num::Int(b)) => Num::Int(a.saturating_add(b)),
            (a, b) => Num::Float(a.to_f64() + b.to_f64()),
        };
    }
    total.into_val()
}

pub(super) fn extreme<'a>(
    meter: &mut Meter,
    input: Val<'a>,
    args: Args<'a>,
    name: &'static str,
) -> Result<Val<'a>, EvalError> {
    let attribute = attribute_at(&args, 0, name)?;
    let mut best: Option<(Val<'a>, Val<'a>)> = None;
    for item in items_of(meter, input, name)? {
        let key = match &attribute {
            Some(path) => lookup_path(item.clone(), path).defined()?,
            None => item.clone().defined()?,
        };
        let is_better = match &best {
            None => {
                order(&key, &key)?;
                true
            }
            Some((held, _)) => {
                let found = order(&key, held)?;
                if name == "min" { found.is_lt() } else { found.is_gt() }
            }
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(match best {
        Some((_, item)) => item,
        None => Val::Undefined(format!("`{name}` of an empty list is undefined")),
    })
}

pub(super) fn abs<'a>(_: &mut Meter, input: Val<'a>, _: Args<'a>) -> Result<Val<'a>, EvalError> {
    match number_of(&input, "abs")? {
        Num::Int(number) => Num::Int(number.abs()).into_val(),
        Num::Float(number) => Num::Float(number.abs()).into_val(),
    }
}

/// `ceil` and `floor` as Jinja has them; an integer stays one.
pub(super) fn round<'a>(
    _: &mut Meter,
    input: Val<'a>,
    args: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let precision = count_at(&args, 0, "round")?.unwrap_or(0);
    let method = text_at(&args, 1, "round")?.unwrap_or_else(|| "common".to_owned());
    let round: fn(f64) -> f64 = match method.as_str() {
        "common" => f64::round,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        _ => return error("`round` knows the methods `common`, `ceil` and `floor`"),
    };
    // 10^15 is the last power of ten that keeps a fraction exact.
    let Some(precision) = i32::try_from(precision).ok().filter(|p| p.abs() <= 15) else {
        return error("`round` takes a precision between -15 and 15");
    };
    match number_of(&input, "round")? {
        Num::Int(_) if precision >= 0 => Ok(input),
        number => {
            let shift = 10_f64.powi(precision);
            Num::Float(round(number.to_f64() * shift) / shift).into_val()
        }
    }
}

/// To an integer: a fraction loses what is behind the point; a text that is no number is an error
/// unless a default is given (Jinja's silent 0 would be a number that nobody wrote).
pub(super) fn int<'a>(
    _: &mut Meter,
    input: Val<'a>,
    mut args: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let read = match input.json() {
        Some(Value::Number(number)) => Some(Num::of(number)),
        Some(Value::Bool(value)) => Some(Num::Int((*value).into())),
        Some(Value::String(text)) => {
            let text = text.trim();
            let whole = text.parse::<i64>().map(|number| Num::Int(number.into())).ok();
            whole.or_else(|| decimal(text).map(Num::Float))
        }
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "that is what `int` is for; it saturates")]
    let whole = read.map(|number| match number {
        Num::Float(number) => Num::Int(number.trunc() as i128),
        whole @ Num::Int(_) => whole,
    });
    converted(whole, &input, args.first_mut().and_then(Option::take), "int", "an integer")
}

pub(super) fn float<'a>(
    _: &mut Meter,
    input: Val<'a>,
    mut args: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let read = match input.json() {
        Some(Value::Number(number)) => Some(Num::of(number).to_f64()),
        Some(Value::String(text)) => decimal(text.trim()),
        _ => None,
    };
    let read = read.map(Num::Float);
    converted(read, &input, args.first_mut().and_then(Option::take), "float", "a number")
}

/// Rust also reads `inf` and `nan`, which are no numbers here.
fn decimal(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse::<f64>().ok().filter(|number| is_plain && number.is_finite())
}

fn converted<'a>(
    read: Option<Num>,
    input: &Val<'a>,
    default: Option<Val<'a>>,
    filter: &str,
    what: &str,
) -> Result<Val<'a>, EvalError> {
    match (read, default) {
        (Some(number), _) => number.into_val(),
        (None, Some(default)) => Ok(default),
        (None, None) => error(format!("`{filter}`: {} that is not {what}", input.kind())),
    }
}

/// What Ansible takes for a boolean; any other text is an error.
pub(super) fn boolean<'a>(
    _: &mut Meter,
    input: Val<'a>,
    _: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let value = match input.json() {
        Some(Value::Bool(value)) => Some(*value),
        Some(Value::Number(number)) => match Num::of(number) {
            Num::Int(0) => Some(false),
            Num::Int(1) => Some(true),
            _ => None,
        },
        Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    match value {
        Some(value) => Ok(Val::from_bool(value)),
        None => error(format!("`bool`: {} that is not a boolean", input.kind())),
    }
}

pub(super) fn to_json<'a>(
    meter: &mut Meter,
    input: Val<'a>,
    _: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    bounded(input.size(RESULT_BYTES_MAX))?;
    let text = input.into_json()?.to_string();
    meter.touch(text.len())?;
    Ok(Val::from_text(text))
}

pub(super) fn trim<'a>(
    _: &mut Meter,
    input: Val<'a>,
    args: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let text = str_of(&input, "trim")?;
    Ok(Val::from_text(match text_at(&args, 0, "trim")? {
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
        None => text.trim(),
    }))
}

pub(super) fn replace<'a>(
    _: &mut Meter,
    input: Val<'a>,
    args: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let text = str_of(&input, "replace")?;
    let old = text_at(&args, 0, "replace")?.unwrap_or_default();
    let new = text_at(&args, 1, "replace")?.unwrap_or_default();
    let limit = count_at(&args, 2, "replace")?;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let hits = text.matches(old.as_str()).count().min(limit);
    bounded(text.len().saturating_add(hits.saturating_mul(new.len())))?;
    Ok(Val::from_text(text.replacen(old.as_str(), &new, limit)))
}

pub(super) fn split<'a>(
    meter: &mut Meter,
    input: Val<'a>,
    args: Args<'a>,
) -> Result<Val<'a>, EvalError> {
    let text = str_of(&input, "split")?;
    meter.touch(text.len().saturating_mul(16))?;
    let most = count_at(&args, 1, "split")?.filter(|most| *most >= 0);
    let most = most
        .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1));
    let parts: Vec<Val<'a>> = match text_at(&args, 0, "split")? {
        Some(separator) if separator.is_empty() => return error("`split` needs a separator"),
        Some(separator) => text.splitn(most, separator.as_str()).map(Val::from_text).collect(),
        None => split_whitespace(text, most).into_iter().map(Val::from_text).collect(),
    };
    Ok(Val::List(parts))
}

/// Python's `split()`: runs of white space separate, ends do not count.
fn split_whitespace(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if parts.len() + 1 >= most {
            parts.push(rest);
            break;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    parts
}
