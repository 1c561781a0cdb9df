//! The filters: what may stand after `|`. A closed list; every one is pure and bounded.
//!
//! `select reject selectattr rejectattr map` take other filters and tests by name and are nodes
//! of the tree ([`super::ast::Kind`]); all others are here.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::EvalError;
use super::eval::{Meter, lookup_path};
use super::value::{Num, Val, order};
use crate::limits::RESULT_BYTES_MAX;

mod scalar;

type Args<'a> = Vec<Option<Val<'a>>>;
type Run = for<'a> fn(&mut Meter, Val<'a>, Args<'a>) -> Result<Val<'a>, EvalError>;

/// One filter.
pub(super) struct FilterDef {
    pub(super) name: &'static str,
    /// Names of its arguments, in order.
    pub(super) params: &'static [&'static str],
    /// How many of them must be given.
    pub(super) required: usize,
    /// Whether it takes what is undefined; all others make an error of it.
    pub(super) takes_undefined: bool,
    pub(super) run: Run,
}

impl std::fmt::Debug for FilterDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn filter(
    name: &'static str,
    required: usize,
    params: &'static [&'static str],
    run: Run,
) -> FilterDef {
    FilterDef { name, params, required, takes_undefined: false, run }
}

const DEFAULT: FilterDef = FilterDef {
    name: "default",
    params: &["default_value", "boolean"],
    required: 1,
    takes_undefined: true,
    run: default,
};

/// All filters; the names of one meaning stand together.
pub(super) static FILTERS: &[FilterDef] = &[
    DEFAULT,
    FilterDef { name: "d", ..DEFAULT },
    filter("length", 0, &[], length),
    filter("count", 0, &[], length),
    filter("list", 0, &[], list),
    filter("first", 0, &[], |_, input, _| end_of(input, "first")),
    filter("last", 0, &[], |_, input, _| end_of(input, "last")),
    filter("join", 0, &["d", "attribute"], join),
    filter("sort", 0, &["reverse", "case_sensitive", "attribute"], sort),
    filter("unique", 0, &["case_sensitive", "attribute"], unique),
    filter("reverse", 0, &[], reverse),
    filter("batch", 1, &["linecount", "fill_with"], batch),
    filter("flatten", 0, &["levels"], flatten),
    filter("union", 1, &["other"], |meter, a, args| combine(meter, a, args, Combine::Union)),
    filter("intersect", 1, &["other"], |meter, a, args| {
        combine(meter, a, args, Combine::Intersect)
    }),
    filter("difference", 1, &["other"], |meter, a, args| {
        combine(meter, a, args, Combine::Difference)
    }),
    filter("items", 0, &[], items),
    filter("keys", 0, &[], |_, input, _| keys(input)),
    filter("values", 0, &[], values),
    filter("sum", 0, &["attribute", "start"], scalar::sum),
    filter("min", 0, &["attribute"], |meter, input, args| {
        scalar::extreme(meter, input, args, "min")
    }),
    filter("max", 0, &["attribute"], |meter, input, args| {
        scalar::extreme(meter, input, args, "max")
    }),
    filter("abs", 0, &[], scalar::abs),
    filter("round", 0, &["precision", "method"], scalar::round),
    filter("int", 0, &["default"], scalar::int),
    filter("float", 0, &["default"], scalar::float),
    filter("bool", 0, &[], scalar::boolean),
    filter("string", 0, &[], |_, input, _| Ok(Val::from_text(text_of(&input, "string")?))),
    filter("tojson", 0, &[], scalar::to_json),
    filter("to_json", 0, &[], scalar::to_json),
    filter("lower", 0, &[], |_, input, _| {
        Ok(Val::from_text(str_of(&input, "lower")?.to_lowercase()))
    }),
    filter("upper", 0, &[], |_, input, _| {
        Ok(Val::from_text(str_of(&input, "upper")?.to_uppercase()))
    }),
    filter("trim", 0, &["chars"], scalar::trim),
    filter("replace", 2, &["old", "new", "count"], scalar::replace),
    filter("split", 0, &["sep", "maxsplit"], scalar::split),
    filter("lines", 0, &[], |_, input, _| {
        Ok(Val::List(str_of(&input, "lines")?.lines().map(Val::from_text).collect()))
    }),
    filter("basename", 0, &[], |_, input, _| {
        let path = str_of(&input, "basename")?;
        Ok(Val::from_text(path.rsplit('/').next().unwrap_or(path)))
    }),
    filter("dirname", 0, &[], |_, input, _| {
        let path = str_of(&input, "dirname")?;
        Ok(Val::from_text(match path.rfind('/') {
            Some(0) => "/",
            Some(end) => &path[..end],
            None => "",
        }))
    }),
];

/// The filter of this name.
pub(super) fn find(name: &str) -> Option<&'static FilterDef> {
    FILTERS.iter().find(|filter| filter.name == name)
}

/// Filters that are nodes of the tree.
pub(super) const STRUCTURAL: [&str; 5] = ["select", "reject", "selectattr", "rejectattr", "map"];

fn error<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::expression(message))
}

fn str_of<'v>(value: &'v Val<'_>, filter: &str) -> Result<&'v str, EvalError> {
    match value.as_str() {
        Some(text) => Ok(text),
        None => error(format!("`{filter}` needs a string, this is {}", value.kind())),
    }
}

fn number_of(value: &Val<'_>, filter: &str) -> Result<Num, EvalError> {
    match value.as_number() {
        Some(number) => Ok(Num::of(number)),
        None => error(format!("`{filter}` needs a number, this is {}", value.kind())),
    }
}

/// A string, number or boolean as text; anything else has none.
pub(super) fn text_of(value: &Val<'_>, filter: &str) -> Result<String, EvalError> {
    match value.json() {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(value)) => Ok(value.to_string()),
        _ => error(format!(
            "`{filter}` needs a string, a number or a boolean, this is {}",
            value.kind()
        )),
    }
}

/// The argument at `index` as an integer.
fn count_at(args: &Args<'_>, index: usize, filter: &str) -> Result<Option<i64>, EvalError> {
    match args.get(index).and_then(Option::as_ref) {
        None => Ok(None),
        Some(value) => match number_of(value, filter)? {
            Num::Int(number) => Ok(Some(i64::try_from(number).unwrap_or(i64::MAX))),
            Num::Float(_) => error(format!("`{filter}` needs an integer, this is a fraction")),
        },
    }
}

fn flag_at(args: &Args<'_>, index: usize, filter: &str) -> Result<Option<bool>, EvalError> {
    match args.get(index).and_then(Option::as_ref) {
        None => Ok(None),
        Some(value) => match value.json() {
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            _ => error(format!("`{filter}` needs `true` or `false`, this is {}", value.kind())),
        },
    }
}

fn text_at(args: &Args<'_>, index: usize, filter: &str) -> Result<Option<String>, EvalError> {
    // `none` stands for "not given", as in Python.
    let given = args.get(index).and_then(Option::as_ref);
    let given = given.filter(|value| !value.json().is_some_and(Value::is_null));
    given.map(|value| str_of(value, filter).map(str::to_owned)).transpose()
}

/// `attribute` as a dotted path.
fn attribute_at(
    args: &Args<'_>,
    index: usize,
    filter: &str,
) -> Result<Option<Vec<String>>, EvalError> {
    Ok(text_at(args, index, filter)?.map(|path| path.split('.').map(str::to_owned).collect()))
}

fn items_of<'a>(meter: &mut Meter, input: Val<'a>, name: &str) -> Result<Vec<Val<'a>>, EvalError> {
    let items = input.into_items(name)?;
    meter.touch_items(items.len())?;
    Ok(items)
}

fn default<'a>(_: &mut Meter, input: Val<'a>, mut args: Args<'a>) -> Result<Val<'a>, EvalError> {
    let also_falsy = flag_at(&args, 1, "default")?.unwrap_or(false);
    let replaced = match &input {
        Val::Undefined(_) => true,
        other => also_falsy && !other.is_truthy()?,
    };
    if !replaced {
        return Ok(input);
    }
    Ok(args.first_mut().and_then(Option::take).unwrap_or(input))
}

fn length<'a>(_: &mut Meter, input: Val<'a>, _: Args<'a>) -> Result<Val<'a>, EvalError> {
    let length = match &input {
        Val::List(items) => items.len(),
        other => match other.json() {
            Some(Value::String(text)) => text.chars().count(),
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(map)) => map.len(),
            _ => {
                return error(format!(
                    "`length` needs a list, an object or a string, this is {}",
                    input.kind()
                ));
            }
        },
    };
    Ok(Val::from_length(length))
}

fn list<'a>(meter: &mut Meter, input: Val<'a>, _: Args<'a>) -> Result<Val<'a>, EvalError> {
    if let Some(text) = input.as_str() {
        meter.touch_items(text.len())?;
        return Ok(Val::List(text.chars().map(Val::from_text).collect()));
    }
    Ok(Val::List(items_of(meter, input, "list")?))
}

fn end_of<'a>(input: Val<'a>, name: &'static str) -> Result<Val<'a>, EvalError> {
    let index = if name == "first" { 0 } else { -1 };
    let missing = || format!("`{name}` of an empty value");
    if input.is_list() || input.as_str().is_some() {
        return Ok(input.at(index, missing));
    }
    let mut items = input.into_items(name)?;
    let found =
        if index == 0 { (!items.is_empty()).then(|| items.swap_remove(0)) } else { items.pop() };
    Ok(found.unwrap_or_else(|| Val::Undefined(format!("{} is undefined", missing()))))
}

fn join<'a>(meter: &mut Meter, input: Val<'a>, args: Args<'a>) -> Result<Val<'a>, EvalError> {
    let separator = text_at(&args, 0, "join")?.unwrap_or_default();
    let attribute = attribute_at(&args, 1, "join")?;
    let mut joined = String::new();
    for (index, item) in items_of(meter, input, "join")?.into_iter().enumerate() {
        if index > 0 {
            joined.push_str(&separator);
        }
        let item = match &attribute {
            Some(path) => lookup_path(item, path),
            None => item,
        };
        joined.push_str(&text_of(&item.defined()?, "join")?);
        bounded(joined.len())?;
    }
    Ok(Val::from_text(joined))
}

/// An error above what a result may hold.
pub(super) fn bounded(bytes: usize) -> Result<(), EvalError> {
    if bytes > RESULT_BYTES_MAX {
        return error(format!("the value grows above {RESULT_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn sort<'a>(meter: &mut Meter, input: Val<'a>, args: Args<'a>) -> Result<Val<'a>, EvalError> {
    let reverse = flag_at(&args, 0, "sort")?.unwrap_or(false);
    let case_sensitive = flag_at(&args, 1, "sort")?.unwrap_or(false);
    let attribute = attribute_at(&args, 2, "sort")?;
    let items = items_of(meter, input, "sort")?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        let key = match &attribute {
            Some(path) => lookup_path(item.clone(), path).defined()?,
            None => item.clone().defined()?,
        };
        let key = match key.as_str() {
            Some(text) if !case_sensitive => {
                meter.touch(text.len())?;
                Val::from_text(text.to_lowercase())
            }
            _ => key,
        };
        keyed.push((key, item));
    }
    // Checked before sorting: a comparison inside cannot fail half-way.
    for pair in keyed.windows(2) {
        order(&pair[0].0, &pair[1].0)?;
    }
    keyed.sort_by(|a, b| {
        let found = order(&a.0, &b.0).unwrap_or(std::cmp::Ordering::Equal);
        if reverse { found.reverse() } else { found }
    });
    Ok(Val::List(keyed.into_iter().map(|(_, item)| item).collect()))
}

/// A text that is equal for equal values, so that sets need no pairwise comparison.
fn key_of(meter: &mut Meter, value: &Val<'_>) -> Result<String, EvalError> {
    let key = match value.as_number().map(Num::of) {
        Some(Num::Int(number)) => number.to_string(),
        Some(Num::Float(number)) if number.fract() == 0.0 && number.abs() < 9.0e15 => {
            format!("{number:.0}")
        }
        Some(Num::Float(number)) => number.to_string(),
        None => value.clone().into_json()?.to_string(),
    };
    meter.touch(key.len())?;
    Ok(key)
}

fn unique<'a>(meter: &mut Meter, input: Val<'a>, args: Args<'a>) -> Result<Val<'a>, EvalError> {
    let case_sensitive = flag_at(&args, 0, "unique")?.unwrap_or(true);
    let attribute = attribute_at(&args, 1, "unique")?;
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for item in items_of(meter, input, "unique")? {
        let subject = match &attribute {
            Some(path) => lookup_path(item.clone(), path),
            None => item.clone(),
        };
        let mut key = key_of(meter, &subject.defined()?)?;
        if !case_sensitive {
            key = key.to_lowercase();
        }
        if seen.insert(key) {
            kept.push(item);
        }
    }
    Ok(Val::List(kept))
}

fn reverse<'a>(meter: &mut Meter, input: Val<'a>, _: Args<'a>) -> Result<Val<'a>, EvalError> {
    if let Some(text) = input.as_str() {
        return Ok(Val::from_text(text.chars().rev().collect::<String>()));
    }
    let mut items = items_of(meter, input, "reverse")?;
    items.reverse();
    Ok(Val::List(items))
}

fn batch<'a>(meter: &mut Meter, input: Val<'a>, mut args: Args<'a>) -> Result<Val<'a>, EvalError> {
    let size = count_at(&args, 0, "batch")?.and_then(|size| usize::try_from(size).ok());
    let Some(size) = size.filter(|size| *size > 0) else {
        return error("`batch` needs a size of at least 1");
    };
    let fill = args.get_mut(1).and_then(Option::take);
    let mut batches: Vec<Vec<Val<'a>>> = Vec::new();
    for item in items_of(meter, input, "batch")? {
        match batches.last_mut() {
            Some(batch) if batch.len() < size => batch.push(item),
            _ => batches.push(vec![item]),
        }
    }
    if let (Some(fill), Some(batch)) = (fill, batches.last_mut()) {
        meter.touch_items(size)?;
        batch.resize(size.max(batch.len()), fill);
    }
    Ok(Val::List(batches.into_iter().map(Val::List).collect()))
}

fn flatten<'a>(meter: &mut Meter, input: Val<'a>, args: Args<'a>) -> Result<Val<'a>, EvalError> {
    fn into<'a>(
        meter: &mut Meter,
        items: Vec<Val<'a>>,
        levels: i64,
        flat: &mut Vec<Val<'a>>,
    ) -> Result<(), EvalError> {
        meter.touch_items(items.len())?;
        for item in items {
            if item.is_list() && levels > 0 {
                into(meter, item.into_items("flatten")?, levels - 1, flat)?;
            } else {
                flat.push(item);
            }
        }
        Ok(())
    }
    let levels = count_at(&args, 0, "flatten")?.unwrap_or(i64::MAX);
    let mut flat = Vec::new();
    into(meter, input.into_items("flatten")?, levels, &mut flat)?;
    Ok(Val::List(flat))
}

#[derive(Clone, Copy)]
enum Combine {
    Union,
    Intersect,
    Difference,
}

fn combine<'a>(
    meter: &mut Meter,
    input: Val<'a>,
    mut args: Args<'a>,
    how: Combine,
) -> Result<Val<'a>, EvalError> {
    let name = match how {
        Combine::Union => "union",
        Combine::Intersect => "intersect",
        Combine::Difference => "difference",
    };
    let other = args.first_mut().and_then(Option::take);
    let other = other.map_or_else(|| Ok(Vec::new()), |other| items_of(meter, other, name))?;
    let mut others = HashSet::new();
    for item in &other {
        others.insert(key_of(meter, item)?);
    }
    let mut items = items_of(meter, input, name)?;
    if matches!(how, Combine::Union) {
        items.extend(other);
    }
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for item in items {
        let key = key_of(meter, &item)?;
        let wanted = match how {
            Combine::Union => true,
            Combine::Intersect => others.contains(&key),
            Combine::Difference => !others.contains(&key),
        };
        if wanted && seen.insert(key) {
            kept.push(item);
        }
    }
    Ok(Val::List(kept))
}

fn object_of<'v>(value: &'v Val<'_>, filter: &str) -> Result<&'v Map<String, Value>, EvalError> {
    match value.json().and_then(Value::as_object) {
        Some(map) => Ok(map),
        None => error(format!("`{filter}` needs an object, this is {}", value.kind())),
    }
}

fn items<'a>(meter: &mut Meter, input: Val<'a>, _: Args<'a>) -> Result<Val<'a>, EvalError> {
    let map = object_of(&input, "items")?;
    meter.touch_items(map.len() * 2)?;
    let pairs = map
        .iter()
        .map(|(key, value)| Val::List(vec![Val::from_text(key.as_str()), owned(value.clone())]));
    Ok(Val::List(pairs.collect()))
}

fn owned<'a>(value: Value) -> Val<'a> {
    Val::Json(std::borrow::Cow::Owned(value))
}

fn keys<'a>(input: Val<'a>) -> Result<Val<'a>, EvalError> {
    Ok(Val::List(
        object_of(&input, "keys")?.keys().map(|key| Val::from_text(key.as_str())).collect(),
    ))
}

fn values<'a>(meter: &mut Meter, input: Val<'a>, _: Args<'a>) -> Result<Val<'a>, EvalError> {
    let map = object_of(&input, "values")?;
    meter.touch_items(map.len())?;
    Ok(Val::List(map.values().map(|value| owned(value.clone())).collect()))
}
