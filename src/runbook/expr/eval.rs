//! Walks the tree. Nothing here parses, and nothing that comes out is ever parsed again.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::ast::{Arithmetic, BoundFilter, BoundTest, Kind, Node, Relation};
use super::filters::{bounded, text_of};
use super::predicates::{Ready, contains};
use super::value::{Num, Val, equal, order};
use super::{EvalError, Expr};
use crate::limits::{EXPRESSION_FUEL, EXPRESSION_WORK_MAX, RESULT_BYTES_MAX};
use crate::runbook::scope::Scope;

/// What is left of what one evaluation may cost.
#[derive(Debug)]
pub(super) struct Meter {
    fuel: u64,
    work: usize,
}

impl Meter {
    /// Pays for one node of the tree.
    fn step(&mut self) -> Result<(), EvalError> {
        match self.fuel.checked_sub(1) {
            Some(fuel) => {
                self.fuel = fuel;
                Ok(())
            }
            None => Err(EvalError::expression("the expression takes too many steps")),
        }
    }

    /// Pays for so many bytes.
    pub(super) fn touch(&mut self, bytes: usize) -> Result<(), EvalError> {
        match self.work.checked_sub(bytes) {
            Some(work) => {
                self.work = work;
                Ok(())
            }
            None => Err(EvalError::expression("the expression works on too much data")),
        }
    }

    /// Pays for so many items.
    pub(super) fn touch_items(&mut self, items: usize) -> Result<(), EvalError> {
        self.touch(items.saturating_mul(16))
    }
}

/// Evaluates `expr` as a whole.
pub(super) fn evaluate(expr: &Expr, scope: &Scope) -> Result<Value, EvalError> {
    let meter = Meter { fuel: EXPRESSION_FUEL, work: EXPRESSION_WORK_MAX };
    let mut run = Run { source: expr.source(), scope, meter };
    let value = run.value(expr.root())?;
    bounded(value.size(RESULT_BYTES_MAX))?;
    value.into_json()
}

/// What stands under a dotted path inside `value`.
pub(super) fn lookup_path<'a>(mut value: Val<'a>, path: &[String]) -> Val<'a> {
    for part in path {
        value = value.field(part, || format!("the attribute `{}`", path.join(".")));
    }
    value
}

struct Run<'a> {
    source: &'a str,
    scope: &'a Scope,
    meter: Meter,
}

impl<'a> Run<'a> {
    /// As the author wrote it, for error texts. Brackets that a node does not count as its own are
    /// taken in again.
    fn text(&self, node: &Node) -> String {
        let mut start = node.start;
        let end = node.end.min(self.source.len());
        loop {
            let text = self.source.get(start..end).unwrap_or(self.source);
            let open = text.matches('(').count();
            match self.source.get(..start).and_then(|before| before.rfind('(')) {
                Some(bracket) if open < text.matches(')').count() => start = bracket,
                _ => return format!("`{}`", text.trim()),
            }
        }
    }

    /// Says where in the expression it went wrong, unless the message names that already.
    fn within<T>(&self, node: &Node, result: Result<T, EvalError>) -> Result<T, EvalError> {
        result.map_err(|err| {
            let text = self.text(node);
            if err.message.contains(" is undefined") || err.message.contains(&text) {
                return err;
            }
            EvalError { message: format!("{text}: {}", err.message), ..err }
        })
    }

    fn value(&mut self, node: &'a Node) -> Result<Val<'a>, EvalError> {
        self.meter.step()?;
        match &node.kind {
            Kind::Const(value) => Ok(Val::Json(Cow::Borrowed(value))),
            Kind::Name(name) => Ok(self.name(name)),
            Kind::Field(base, name) => {
                let base = self.value(base)?;
                Ok(base.field(name, || self.text(node)))
            }
            Kind::Item(base, subscript) => self.item(node, base, subscript),
            Kind::Slice(base, bounds) => self.slice(base, bounds),
            Kind::Not(inner) => Ok(Val::from_bool(!self.value(inner)?.is_truthy()?)),
            Kind::Negate(inner) => self.negate(inner),
            Kind::And(left, right) => {
                let left = self.value(left)?;
                if left.is_truthy()? { self.value(right) } else { Ok(left) }
            }
            Kind::Or(left, right) => {
                let left = self.value(left)?;
                if left.is_truthy()? { Ok(left) } else { self.value(right) }
            }
            Kind::Arithmetic(sign, left, right) => {
                let left = self.value(left)?.defined()?;
                let right = self.value(right)?.defined()?;
                let result = self.arithmetic(*sign, left, right);
                self.within(node, result)
            }
            Kind::Compare(first, rest) => self.compare(node, first, rest),
            Kind::If { condition, then, otherwise } => {
                match (self.value(condition)?.is_truthy()?, otherwise) {
                    (true, _) => self.value(then),
                    (false, Some(otherwise)) => self.value(otherwise),
                    (false, None) => Ok(Val::Undefined(format!(
                        "{} has no `else` and its condition is false",
                        self.text(node)
                    ))),
                }
            }
            Kind::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.value(item)).collect();
                Ok(Val::List(items?))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Filter(input, _) | Kind::Test(input, _) => self.applied(node, input),
            Kind::Select { input, attribute, test, keep } => {
                self.select(input, attribute.as_deref(), test.as_ref(), *keep)
            }
            Kind::MapAttribute { input, attribute, default } => {
                self.map_attribute(input, attribute, default.as_deref())
            }
            Kind::MapFilter(input, filter) => self.map_filter(input, filter),
        }
    }

    fn name(&self, name: &str) -> Val<'a> {
        match self.scope.roots.get(name) {
            Some(value) => Val::Json(Cow::Borrowed(value)),
            None => {
                let names = self.scope.roots.keys().map(String::as_str);
                Val::Undefined(match super::nearest(name, names) {
                    Some(near) => format!("`{name}` is undefined; there is `{near}`"),
                    None => format!("`{name}` is undefined"),
                })
            }
        }
    }

    /// A filter or a test of `input`.
    fn applied(&mut self, node: &'a Node, input: &'a Node) -> Result<Val<'a>, EvalError> {
        let input = self.value(input)?;
        match &node.kind {
            Kind::Filter(_, filter) => {
                let args = self.arguments(filter)?;
                let result = self.filter(filter, input, args);
                self.within(node, result)
            }
            Kind::Test(_, test) => {
                let result = self
                    .ready(test)
                    .and_then(|ready| ready.test(&mut self.meter, &input))
                    .map(Val::from_bool);
                self.within(node, result)
            }
            _ => Ok(input),
        }
    }

    fn map_filter(
        &mut self,
        input: &'a Node,
        filter: &'a BoundFilter,
    ) -> Result<Val<'a>, EvalError> {
        let items = self.items(input, "map")?;
        let args = self.arguments(filter)?;
        let mut mapped = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let value = self.filter(filter, item, args.clone());
            mapped.push(value.map_err(|err| of_item(err, index, &self.text(input)))?);
        }
        Ok(Val::List(mapped))
    }

    fn items(&mut self, input: &'a Node, name: &str) -> Result<Vec<Val<'a>>, EvalError> {
        let items = self.value(input)?.into_items(name)?;
        self.meter.touch_items(items.len())?;
        Ok(items)
    }

    fn item(
        &mut self,
        node: &'a Node,
        base: &'a Node,
        subscript: &'a Node,
    ) -> Result<Val<'a>, EvalError> {
        let base = self.value(base)?;
        let subscript = self.value(subscript)?.defined()?;
        if let Some(key) = subscript.as_str() {
            return Ok(base.field(key, || self.text(node)));
        }
        match subscript.as_number().map(Num::of) {
            Some(Num::Int(index)) => {
                let index = i64::try_from(index).unwrap_or(i64::MAX);
                Ok(base.at(index, || self.text(node)))
            }
            _ => Err(EvalError::expression(format!(
                "{}: a subscript is a string or an integer, this is {}",
                self.text(node),
                subscript.kind()
            ))),
        }
    }

    fn slice(
        &mut self,
        base: &'a Node,
        bounds: &'a [Option<Box<Node>>; 3],
    ) -> Result<Val<'a>, EvalError> {
        let value = self.value(base)?.defined()?;
        let mut at = [None; 3];
        for (slot, bound) in at.iter_mut().zip(bounds) {
            let Some(bound) = bound else { continue };
            let found = self.value(bound)?.defined()?;
            match found.as_number().map(Num::of) {
                Some(Num::Int(index)) => *slot = Some(i64::try_from(index).unwrap_or(i64::MAX)),
                _ => {
                    return Err(EvalError::expression(format!(
                        "a slice is bounded by integers, this is {}",
                        found.kind()
                    )));
                }
            }
        }
        let step = at[2].unwrap_or(1);
        let Some(step) = usize::try_from(step).ok().filter(|step| *step > 0) else {
            return Err(EvalError::expression(
                "a slice goes forward: its step is at least 1; turn it round with `|reverse`",
            ));
        };
        if let Some(text) = value.as_str() {
            let length = text.chars().count();
            self.meter.touch(text.len())?;
            let (start, end) = range(length, at[0], at[1]);
            let cut = text.chars().skip(start).take(end.saturating_sub(start));
            return Ok(Val::from_text(cut.step_by(step).collect::<String>()));
        }
        if !value.is_list() {
            return Err(EvalError::expression(format!("{} cannot be sliced", value.kind())));
        }
        let items = value.into_items("slice")?;
        self.meter.touch_items(items.len())?;
        let (start, end) = range(items.len(), at[0], at[1]);
        let cut = items.into_iter().skip(start).take(end.saturating_sub(start));
        Ok(Val::List(cut.step_by(step).collect()))
    }

    fn negate(&mut self, inner: &'a Node) -> Result<Val<'a>, EvalError> {
        let value = self.value(inner)?.defined()?;
        match value.as_number().map(Num::of) {
            Some(Num::Int(number)) => Num::Int(-number).into_val(),
            Some(Num::Float(number)) => Num::Float(-number).into_val(),
            None => {
                Err(EvalError::expression(format!("`-` needs a number, this is {}", value.kind())))
            }
        }
    }

    fn arithmetic(
        &mut self,
        sign: Arithmetic,
        left: Val<'a>,
        right: Val<'a>,
    ) -> Result<Val<'a>, EvalError> {
        if let (Some(a), Some(b)) = (left.as_number(), right.as_number())
            && sign != Arithmetic::Concat
        {
            return numbers(sign, Num::of(a), Num::of(b));
        }
        match sign {
            Arithmetic::Concat => {
                let joined = text_of(&left, "~")? + &text_of(&right, "~")?;
                bounded(joined.len())?;
                self.meter.touch(joined.len())?;
                Ok(Val::from_text(joined))
            }
            Arithmetic::Add if left.is_list() && right.is_list() => {
                let mut items = left.into_items("+")?;
                items.extend(right.into_items("+")?);
                bounded(items.len())?;
                self.meter.touch_items(items.len())?;
                Ok(Val::List(items))
            }
            Arithmetic::Add => match (left.as_str(), right.as_str()) {
                (Some(a), Some(b)) => {
                    bounded(a.len() + b.len())?;
                    self.meter.touch(a.len() + b.len())?;
                    Ok(Val::from_text([a, b].concat()))
                }
                _ => Err(mismatch(sign, &left, &right)),
            },
            _ => Err(mismatch(sign, &left, &right)),
        }
    }

    fn compare(
        &mut self,
        whole: &'a Node,
        first: &'a Node,
        rest: &'a [(Relation, Node)],
    ) -> Result<Val<'a>, EvalError> {
        let mut left = self.value(first)?;
        for (relation, node) in rest {
            let right = self.value(node)?;
            let holds = compare(&mut self.meter, *relation, &left, &right);
            if !self.within(whole, holds)? {
                return Ok(Val::from_bool(false));
            }
            left = right;
        }
        Ok(Val::from_bool(true))
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Result<Val<'a>, EvalError> {
        let mut map = Map::new();
        let mut bytes = 0;
        for (key, value) in entries {
            let key = self.value(key)?.defined()?;
            let Some(key) = key.as_str() else {
                return Err(EvalError::expression(format!(
                    "a key of an object is a string, this is {}",
                    key.kind()
                )));
            };
            let value = self.value(value)?.defined()?;
            bytes += key.len() + value.size(RESULT_BYTES_MAX);
            bounded(bytes)?;
            self.meter.touch(bytes)?;
            map.insert(key.to_owned(), value.into_json()?);
        }
        Ok(Val::Json(Cow::Owned(Value::Object(map))))
    }

    fn arguments(&mut self, filter: &'a BoundFilter) -> Result<Vec<Option<Val<'a>>>, EvalError> {
        let values = filter
            .args
            .iter()
            .map(|arg| arg.as_ref().map(|arg| self.value(arg).and_then(Val::defined)).transpose());
        values.collect()
    }

    fn filter(
        &mut self,
        filter: &BoundFilter,
        input: Val<'a>,
        args: Vec<Option<Val<'a>>>,
    ) -> Result<Val<'a>, EvalError> {
        let input = if filter.def.takes_undefined { input } else { input.defined()? };
        if let Some(text) = input.as_str() {
            self.meter.touch(text.len())?;
        }
        (filter.def.run)(&mut self.meter, input, args)
    }

    fn ready(&mut self, test: &'a BoundTest) -> Result<Ready<'a, 'a>, EvalError> {
        let argument = match (&test.argument, &test.pattern) {
            (Some(argument), None) => Some(self.value(argument)?),
            _ => None,
        };
        Ready::new(test.def, argument, test.pattern.as_ref())
    }

    fn select(
        &mut self,
        input: &'a Node,
        attribute: Option<&'a [String]>,
        test: Option<&'a BoundTest>,
        keep: bool,
    ) -> Result<Val<'a>, EvalError> {
        let items = self.items(input, "select")?;
        let ready = test.map(|test| self.ready(test)).transpose()?;
        let mut kept = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let looked_up = attribute.map(|path| lookup_path(item.clone(), path));
            let subject = looked_up.as_ref().unwrap_or(&item);
            let passes = match &ready {
                Some(ready) => ready.test(&mut self.meter, subject),
                None => subject.is_truthy(),
            };
            if passes.map_err(|err| of_item(err, index, &self.text(input)))? == keep {
                kept.push(item);
            }
        }
        Ok(Val::List(kept))
    }

    fn map_attribute(
        &mut self,
        input: &'a Node,
        attribute: &'a [String],
        default: Option<&'a Node>,
    ) -> Result<Val<'a>, EvalError> {
        let items = self.items(input, "map")?;
        let default = default.map(|default| self.value(default)).transpose()?;
        let mapped = items.into_iter().map(|item| match lookup_path(item, attribute) {
            missing @ Val::Undefined(_) => default.clone().unwrap_or(missing),
            found => found,
        });
        Ok(Val::List(mapped.collect()))
    }
}

fn compare(
    meter: &mut Meter,
    relation: Relation,
    left: &Val<'_>,
    right: &Val<'_>,
) -> Result<bool, EvalError> {
    Ok(match relation {
        Relation::Equal => equal(left, right)?,
        Relation::NotEqual => !equal(left, right)?,
        Relation::Less => order(left, right)? == Ordering::Less,
        Relation::LessOrEqual => order(left, right)? != Ordering::Greater,
        Relation::Greater => order(left, right)? == Ordering::Greater,
        Relation::GreaterOrEqual => order(left, right)? != Ordering::Less,
        Relation::In => contains(meter, right, left)?,
        Relation::NotIn => !contains(meter, right, left)?,
    })
}

/// Says which item of a list it was.
fn of_item(err: EvalError, index: usize, list: &str) -> EvalError {
    EvalError { message: format!("item {} of {list}: {}", index + 1, err.message), ..err }
}

fn mismatch(sign: Arithmetic, left: &Val<'_>, right: &Val<'_>) -> EvalError {
    EvalError::expression(format!(
        "`{}` cannot be applied to {} and {}",
        sign.sign(),
        left.kind(),
        right.kind()
    ))
}

/// Where a slice of a list of `length` begins and ends, as Python has it.
fn range(length: usize, start: Option<i64>, end: Option<i64>) -> (usize, usize) {
    let place = |index: i64| {
        let index = if index < 0 {
            index.saturating_add(i64::try_from(length).unwrap_or(i64::MAX))
        } else {
            index
        };
        usize::try_from(index.max(0)).unwrap_or(usize::MAX).min(length)
    };
    (start.map_or(0, place), end.map_or(length, place))
}

/// Arithmetic on numbers: integers stay integers but for `/`, nothing wraps, and what is no
/// number is an error.
fn numbers<'a>(sign: Arithmetic, a: Num, b: Num) -> Result<Val<'a>, EvalError> {
    let divides =
        matches!(sign, Arithmetic::Divide | Arithmetic::FloorDivide | Arithmetic::Remainder);
    if divides && b.to_f64() == 0.0 {
        return Err(EvalError::expression("division by zero"));
    }
    let overflow = || EvalError::expression("the result is larger than a number can be");
    let result = match (sign, a, b) {
        (Arithmetic::Add, Num::Int(a), Num::Int(b)) => Num::Int(a + b),
        (Arithmetic::Subtract, Num::Int(a), Num::Int(b)) => Num::Int(a - b),
        (Arithmetic::Multiply, Num::Int(a), Num::Int(b)) => {
            Num::Int(a.checked_mul(b).ok_or_else(overflow)?)
        }
        (Arithmetic::FloorDivide, Num::Int(a), Num::Int(b)) => {
            let quotient = a / b;
            Num::Int(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
        }
        (Arithmetic::Remainder, Num::Int(a), Num::Int(b)) => {
            let rest = a % b;
            Num::Int(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        (Arithmetic::Power, Num::Int(a), Num::Int(b)) if b >= 0 => {
            let exponent = u32::try_from(b).map_err(|_| overflow())?;
            Num::Int(a.checked_pow(exponent).ok_or_else(overflow)?)
        }
        (Arithmetic::Add, a, b) => Num::Float(a.to_f64() + b.to_f64()),
        (Arithmetic::Subtract, a, b) => Num::Float(a.to_f64() - b.to_f64()),
        (Arithmetic::Multiply, a, b) => Num::Float(a.to_f64() * b.to_f64()),
        (Arithmetic::Divide, a, b) => Num::Float(a.to_f64() / b.to_f64()),
        (Arithmetic::FloorDivide, a, b) => Num::Float((a.to_f64() / b.to_f64()).floor()),
        (Arithmetic::Remainder, a, b) => {
            let (a, b) = (a.to_f64(), b.to_f64());
            let rest = a % b;
            Num::Float(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest })
        }
        (Arithmetic::Power, a, b) => Num::Float(a.to_f64().powf(b.to_f64())),
        (Arithmetic::Concat, ..) => {
            unreachable!("`~` joins texts and is handled before numbers are")
        }
    };
    result.into_val()
}
