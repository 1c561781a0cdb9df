//! From text to a checked tree: minijinja's parser reads, this module refuses what is not ours.

use minijinja::machinery::ast::{self as jinja, CallArg};
use minijinja::machinery::{Token, parse_expr, tokenize};
use serde_json::Value;

use super::ast::{Arithmetic, BoundFilter, BoundTest, Kind, Node, Relation};
use super::filters::{self, FILTERS, STRUCTURAL};
use super::predicates::{self, TESTS};
use super::{Mention, Parsed, inside, nearest};
use crate::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NESTING_MAX};
use crate::runbook::problem::{Problem, Span};

mod foreign;
mod statics;

const CODE: &str = "E_EXPRESSION";

/// Parses `source`, which stands at `span`.
pub(super) fn parse(source: &str, span: Span) -> Result<Parsed, Vec<Problem>> {
    let mut reader = Reader { source, span, problems: Vec::new() };
    let Some(root) = reader.read() else {
        return Err(reader.problems);
    };
    let (mentions, comparisons) = statics::collect(&root, &mut reader);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let names = unique_names(&mentions);
    let whole = statics::operand(&root);
    Ok(Parsed { source: source.to_owned(), span, root, names, mentions, comparisons, whole })
}

fn unique_names(mentions: &[Mention]) -> Vec<Vec<String>> {
    let mut names: Vec<Vec<String>> = Vec::new();
    for mention in mentions {
        if !names.contains(&mention.path) {
            names.push(mention.path.clone());
        }
    }
    names
}

/// Collects problems while it turns minijinja's tree into ours.
struct Reader<'s> {
    source: &'s str,
    span: Span,
    problems: Vec<Problem>,
}

impl<'s> Reader<'s> {
    fn read(&mut self) -> Option<Node> {
        if self.source.trim().is_empty() {
            self.problems.push(
                Problem::error(CODE, self.span, "the expression is empty")
                    .help("write a condition such as `steps.check.value > 3`"),
            );
            return None;
        }
        if self.source.len() > EXPRESSION_BYTES_MAX {
            let length = self.source.len();
            self.problems.push(
                Problem::error(
                    CODE,
                    self.span,
                    format!(
                        "the expression is {length} bytes long, \
                         at most {EXPRESSION_BYTES_MAX} are allowed"
                    ),
                )
                .help("name its parts with `set` steps"),
            );
            return None;
        }
        foreign::check(self);
        if !self.problems.is_empty() || !self.is_flat_enough() {
            return None;
        }
        match parse_expr(self.source) {
            Ok(tree) => self.node(&tree, 0),
            Err(err) => {
                self.syntax(&err);
                None
            }
        }
    }

    /// Refuses what would take the parser's stack: it recurses for each of these.
    fn is_flat_enough(&mut self) -> bool {
        let (mut brackets, mut run, mut elses) = (0_usize, 0_usize, 0_usize);
        for token in tokenize(self.source, true, Default::default()) {
            // What cannot be read is reported by the parser.
            let Ok((token, span)) = token else { break };
            match token {
                Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => brackets += 1,
                Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                    brackets = brackets.saturating_sub(1);
                }
                Token::Ident("else") => elses += 1,
                _ => {}
            }
            run = match token {
                Token::Minus | Token::Ident("not") => run + 1,
                _ => 0,
            };
            if brackets.max(run).max(elses) > EXPRESSION_NESTING_MAX {
                self.problem(
                    span.start_offset as usize,
                    span.end_offset as usize,
                    format!("the expression nests deeper than {EXPRESSION_NESTING_MAX} levels"),
                    "name its parts with `set` steps",
                );
                return false;
            }
        }
        true
    }

    fn place(&self, start: usize, end: usize) -> Span {
        inside(self.span, self.source.len(), start, end)
    }

    fn problem(&mut self, start: usize, end: usize, message: impl Into<String>, help: &str) {
        let mut problem = Problem::error(CODE, self.place(start, end), message);
        if !help.is_empty() {
            problem = problem.help(help);
        }
        self.problems.push(problem);
    }

    /// The parser does not say where it stopped: it is at the last token of the shortest part of
    /// the text that fails for another reason than that it ends.
    fn syntax(&mut self, err: &minijinja::Error) {
        let (source, mut places) = (self.source, Vec::new());
        let mut read = 0;
        for token in tokenize(source, true, Default::default()) {
            let Ok((_, span)) = token else {
                // What is no token at all: the rest.
                places.push((
                    read + (source[read..].len() - source[read..].trim_start().len()),
                    source.len(),
                ));
                break;
            };
            read = span.end_offset as usize;
            places.push((span.start_offset as usize, read));
        }
        // Once a part fails for a reason of its own, every longer one does.
        let place = places.partition_point(|(_, end)| match parse_expr(&source[..*end]) {
            Ok(_) => true,
            Err(err) => err.detail().is_some_and(|why| why.contains("end of input")),
        });
        let place = places.get(place).or(places.last()).copied().unwrap_or((0, source.len()));
        let why = err.detail().unwrap_or("it cannot be read");
        let help = if self.source.get(place.0..place.1) == Some("=") {
            "compare with `==`"
        } else if why.contains("unexpected input after") {
            "two values stand side by side: an operator such as `and`, `==` or `~` is missing"
        } else {
            ""
        };
        self.problem(place.0, place.1, format!("not an expression: {why}"), help);
    }

    fn boxed(&mut self, tree: &jinja::Expr<'s>, depth: usize) -> Option<Box<Node>> {
        self.node(tree, depth).map(Box::new)
    }

    /// `None` once a problem was found; what stands beside it is still looked at.
    fn node(&mut self, tree: &jinja::Expr<'s>, depth: usize) -> Option<Node> {
        let span = tree.span();
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        if depth > EXPRESSION_DEPTH_MAX {
            self.problem(
                start,
                end,
                format!("the expression chains more than {EXPRESSION_DEPTH_MAX} operations"),
                "name its parts with `set` steps",
            );
            return None;
        }
        let kind = self.kind(tree, (start, end), depth + 1)?;
        // minijinja's own spans of operations begin at their sign, or at the token before.
        let start = start_of(&kind).unwrap_or(start);
        Some(Node { kind, start: start.min(end), end })
    }

    fn kind(
        &mut self,
        tree: &jinja::Expr<'s>,
        place: (usize, usize),
        depth: usize,
    ) -> Option<Kind> {
        Some(match tree {
            jinja::Expr::Var(var) => Kind::Name(var.id.to_owned()),
            jinja::Expr::Const(value) => self.constant(&value.value, place)?,
            jinja::Expr::GetAttr(get) => {
                Kind::Field(self.boxed(&get.expr, depth)?, get.name.to_owned())
            }
            jinja::Expr::GetItem(get) => {
                let base = self.boxed(&get.expr, depth);
                let subscript = self.boxed(&get.subscript_expr, depth);
                Kind::Item(base?, subscript?)
            }
            jinja::Expr::Slice(slice) => self.slice(slice, depth)?,
            jinja::Expr::UnaryOp(unary) => {
                let inner = self.boxed(&unary.expr, depth)?;
                match unary.op {
                    jinja::UnaryOpKind::Not => Kind::Not(inner),
                    jinja::UnaryOpKind::Neg => Kind::Negate(inner),
                }
            }
            jinja::Expr::BinOp(binary) => {
                let left = self.boxed(&binary.left, depth);
                let right = self.boxed(&binary.right, depth);
                operation(binary.op, left?, right?)
            }
            jinja::Expr::Compare(compare) => {
                let first = self.boxed(&compare.expr, depth)?;
                let rest = compare.ops.iter();
                let rest = rest.map(|op| Some((relation(op.op), self.node(&op.expr, depth)?)));
                Kind::Compare(first, rest.collect::<Option<_>>()?)
            }
            jinja::Expr::IfExpr(choice) => self.choice(choice, depth)?,
            jinja::Expr::List(list) => Kind::List(self.nodes(&list.items, depth)?),
            jinja::Expr::Tuple(tuple) => Kind::List(self.nodes(&tuple.items, depth)?),
            jinja::Expr::Map(map) => {
                let keys = self.nodes(&map.keys, depth);
                let values = self.nodes(&map.values, depth);
                Kind::Map(keys?.into_iter().zip(values?).collect())
            }
            jinja::Expr::Test(test) => {
                let input = self.boxed(&test.expr, depth);
                let bound = self.test(test.name, &test.args, place, depth);
                Kind::Test(input?, bound?)
            }
            jinja::Expr::Filter(filter) => {
                // Only a block of a template filters nothing.
                let input = self.boxed(filter.expr.as_ref()?, depth);
                self.filter(filter.name, input, &filter.args, place, depth)?
            }
            jinja::Expr::Call(call) => {
                foreign::call(self, call, place);
                return None;
            }
        })
    }

    fn slice(&mut self, slice: &jinja::Slice<'s>, depth: usize) -> Option<Kind> {
        let base = self.boxed(&slice.expr, depth)?;
        let mut bounds = [None, None, None];
        for (slot, bound) in bounds.iter_mut().zip([&slice.start, &slice.stop, &slice.step]) {
            if let Some(bound) = bound {
                *slot = Some(self.boxed(bound, depth)?);
            }
        }
        Some(Kind::Slice(base, bounds))
    }

    fn choice(&mut self, choice: &jinja::IfExpr<'s>, depth: usize) -> Option<Kind> {
        let condition = self.boxed(&choice.test_expr, depth);
        let then = self.boxed(&choice.true_expr, depth);
        let otherwise = match &choice.false_expr {
            Some(tree) => Some(self.boxed(tree, depth)?),
            None => None,
        };
        Some(Kind::If { condition: condition?, then: then?, otherwise })
    }

    fn nodes(&mut self, trees: &[jinja::Expr<'s>], depth: usize) -> Option<Vec<Node>> {
        let nodes: Vec<_> = trees.iter().map(|tree| self.node(tree, depth)).collect();
        nodes.into_iter().collect()
    }

    fn constant(&mut self, value: &minijinja::Value, place: (usize, usize)) -> Option<Kind> {
        let json = serde_json::to_value(value).ok();
        // A number that JSON cannot hold comes out as `null`.
        let json = json.filter(|json| json.is_null() == value.is_none());
        if json.is_none() {
            self.problem(place.0, place.1, "the number is larger than a number can be", "");
        }
        json.map(Kind::Const)
    }

    /// The text of an argument that must be written out.
    fn literal(&mut self, arg: &CallArg<'s>, what: &str) -> Option<String> {
        if let CallArg::Pos(jinja::Expr::Const(value)) = arg
            && let Some(text) = value.value.as_str()
        {
            return Some(text.to_owned());
        }
        let (start, end) = place_of(arg).unwrap_or((0, self.source.len()));
        self.problem(start, end, format!("{what} must be written out as a string"), "");
        None
    }

    fn test(
        &mut self,
        name: &str,
        args: &[CallArg<'s>],
        place: (usize, usize),
        depth: usize,
    ) -> Option<BoundTest> {
        let argument = match args {
            [] => None,
            [CallArg::Pos(arg)] => Some(arg),
            _ => {
                let message = format!("the test `{name}` takes at most one plain argument");
                self.problem(place.0, place.1, message, "");
                return None;
            }
        };
        let Some(def) = predicates::find(name) else {
            let known = TESTS.iter().map(|test| test.name);
            let help = foreign::unknown("tests", name, known, foreign::test_hint(name));
            self.problem(place.0, place.1, format!("unknown test `{name}`"), &help);
            return None;
        };
        if def.takes_argument != argument.is_some() {
            let (message, help) = if def.takes_argument {
                (format!("the test `{name}` needs an argument"), format!("write `is {name}(…)`"))
            } else {
                (format!("the test `{name}` takes no argument"), String::new())
            };
            self.problem(place.0, place.1, message, &help);
            return None;
        }
        let argument = match argument {
            Some(tree) => Some(self.boxed(tree, depth)?),
            None => None,
        };
        let mut pattern = None;
        if name == "matches"
            && let Some(Node { kind: Kind::Const(value), start, end }) = argument.as_deref()
        {
            let compiled = match value {
                Value::String(text) => crate::runbook::pattern::compile(text),
                _ => Err("it is no string".to_owned()),
            };
            match compiled {
                Ok(compiled) => pattern = Some(compiled),
                Err(why) => {
                    self.problem(*start, *end, format!("the pattern is refused: {why}"), "");
                    return None;
                }
            }
        }
        Some(BoundTest { def, argument, pattern })
    }

    fn filter(
        &mut self,
        name: &str,
        input: Option<Box<Node>>,
        args: &[CallArg<'s>],
        place: (usize, usize),
        depth: usize,
    ) -> Option<Kind> {
        match name {
            "select" | "reject" => {
                let test = self.named_test(args, place, depth)?;
                Some(Kind::Select { input: input?, attribute: None, test, keep: name == "select" })
            }
            "selectattr" | "rejectattr" => {
                let Some((attribute, rest)) = args.split_first() else {
                    let message = format!("`{name}` needs the name of an attribute");
                    self.problem(place.0, place.1, message, "write `selectattr('value', 'gt', 3)`");
                    return None;
                };
                let attribute = self.literal(attribute, "the attribute")?;
                let attribute = Some(attribute.split('.').map(str::to_owned).collect());
                let test = self.named_test(rest, place, depth)?;
                Some(Kind::Select { input: input?, attribute, test, keep: name == "selectattr" })
            }
            "map" => self.map(input, args, place, depth),
            _ => {
                let bound = self.bound_filter(name, args, place, depth);
                Some(Kind::Filter(input?, bound?))
            }
        }
    }

    /// `'gt', 3` as in `select('gt', 3)`; no test at all stands for truth.
    #[expect(clippy::option_option, reason = "the outer says whether it could be read")]
    fn named_test(
        &mut self,
        args: &[CallArg<'s>],
        place: (usize, usize),
        depth: usize,
    ) -> Option<Option<BoundTest>> {
        let Some((name, rest)) = args.split_first() else { return Some(None) };
        let at = place_of(name).unwrap_or(place);
        let name = self.literal(name, "the test")?;
        self.test(&name, rest, at, depth).map(Some)
    }

    fn map(
        &mut self,
        input: Option<Box<Node>>,
        args: &[CallArg<'s>],
        place: (usize, usize),
        depth: usize,
    ) -> Option<Kind> {
        const HELP: &str = "write `map(attribute='value')` or `map('int')`";
        match args {
            [CallArg::Kwarg("attribute", attribute), rest @ ..] => {
                let attribute = match attribute {
                    jinja::Expr::Const(value) => value
                        .value
                        .as_str()
                        .map(str::to_owned)
                        .or_else(|| value.value.as_usize().map(|index| index.to_string())),
                    _ => None,
                };
                let Some(attribute) = attribute else {
                    self.problem(place.0, place.1, "the attribute must be written out", HELP);
                    return None;
                };
                let default = match rest {
                    [] => None,
                    [CallArg::Kwarg("default", default)] => Some(self.boxed(default, depth)?),
                    _ => {
                        let message = "`map(attribute=…)` takes only `default` besides";
                        self.problem(place.0, place.1, message, HELP);
                        return None;
                    }
                };
                let attribute = attribute.split('.').map(str::to_owned).collect();
                Some(Kind::MapAttribute { input: input?, attribute, default })
            }
            [name @ CallArg::Pos(_), rest @ ..] => {
                let at = place_of(name).unwrap_or(place);
                let name = self.literal(name, "the filter")?;
                if STRUCTURAL.contains(&name.as_str()) {
                    let message = format!("`map` cannot apply `{name}` to each item");
                    self.problem(at.0, at.1, message, HELP);
                    return None;
                }
                let bound = self.bound_filter(&name, rest, at, depth);
                Some(Kind::MapFilter(input?, bound?))
            }
            _ => {
                let message = "`map` needs an attribute or the name of a filter";
                self.problem(place.0, place.1, message, HELP);
                None
            }
        }
    }

    fn bound_filter(
        &mut self,
        name: &str,
        args: &[CallArg<'s>],
        place: (usize, usize),
        depth: usize,
    ) -> Option<BoundFilter> {
        let Some(def) = filters::find(name) else {
            let known = FILTERS.iter().map(|filter| filter.name).chain(STRUCTURAL);
            let help = foreign::unknown("filters", name, known, foreign::filter_hint(name));
            self.problem(place.0, place.1, format!("unknown filter `{name}`"), &help);
            return None;
        };
        let mut slots: Vec<Option<Node>> = def.params.iter().map(|_| None).collect();
        for (index, arg) in args.iter().enumerate() {
            let (slot, tree) = match arg {
                CallArg::Pos(tree) => (Some(index).filter(|i| *i < slots.len()), tree),
                CallArg::Kwarg(key, tree) => {
                    (def.params.iter().position(|param| param == key), tree)
                }
                CallArg::PosSplat(tree) | CallArg::KwargSplat(tree) => (None, tree),
            };
            let Some(slot) = slot.filter(|slot| slots[*slot].is_none()) else {
                let help = usage(def);
                let message = format!("the filter `{name}` does not take this argument");
                let (start, end) = place_of(arg).unwrap_or(place);
                self.problem(start, end, message, &help);
                return None;
            };
            slots[slot] = Some(self.node(tree, depth)?);
        }
        if let Some(missing) = slots.iter().take(def.required).position(Option::is_none) {
            let message = format!("the filter `{name}` needs `{}`", def.params[missing]);
            self.problem(place.0, place.1, message, &usage(def));
            return None;
        }
        Some(BoundFilter { def, args: slots })
    }
}

/// Where an operation's first operand begins.
fn start_of(kind: &Kind) -> Option<usize> {
    match kind {
        Kind::Field(first, _)
        | Kind::Item(first, _)
        | Kind::Slice(first, _)
        | Kind::And(first, _)
        | Kind::Or(first, _)
        | Kind::Arithmetic(_, first, _)
        | Kind::Compare(first, _)
        | Kind::If { then: first, .. }
        | Kind::Filter(first, _)
        | Kind::Test(first, _)
        | Kind::Select { input: first, .. }
        | Kind::MapAttribute { input: first, .. }
        | Kind::MapFilter(first, _) => Some(first.start),
        Kind::Const(_)
        | Kind::Name(_)
        | Kind::Not(_)
        | Kind::Negate(_)
        | Kind::List(_)
        | Kind::Map(_) => None,
    }
}

fn usage(def: &filters::FilterDef) -> String {
    if def.params.is_empty() {
        return format!("`{}` takes no arguments", def.name);
    }
    let params: Vec<String> = def
        .params
        .iter()
        .enumerate()
        .map(
            |(index, param)| {
                if index < def.required { (*param).to_owned() } else { format!("[{param}]") }
            },
        )
        .collect();
    format!("write `{}({})`", def.name, params.join(", "))
}

fn place_of(arg: &CallArg<'_>) -> Option<(usize, usize)> {
    let (CallArg::Pos(tree)
    | CallArg::Kwarg(_, tree)
    | CallArg::PosSplat(tree)
    | CallArg::KwargSplat(tree)) = arg;
    let span = tree.span();
    let (start, end) = (span.start_offset as usize, span.end_offset as usize);
    (start < end).then_some((start, end))
}

fn operation(op: jinja::BinOpKind, left: Box<Node>, right: Box<Node>) -> Kind {
    use jinja::BinOpKind as B;
    let relation = match op {
        B::ScAnd => return Kind::And(left, right),
        B::ScOr => return Kind::Or(left, right),
        B::Add => return Kind::Arithmetic(Arithmetic::Add, left, right),
        B::Sub => return Kind::Arithmetic(Arithmetic::Subtract, left, right),
        B::Mul => return Kind::Arithmetic(Arithmetic::Multiply, left, right),
        B::Div => return Kind::Arithmetic(Arithmetic::Divide, left, right),
        B::FloorDiv => return Kind::Arithmetic(Arithmetic::FloorDivide, left, right),
        B::Rem => return Kind::Arithmetic(Arithmetic::Remainder, left, right),
        B::Pow => return Kind::Arithmetic(Arithmetic::Power, left, right),
        B::Concat => return Kind::Arithmetic(Arithmetic::Concat, left, right),
        B::Eq => Relation::Equal,
        B::Ne => Relation::NotEqual,
        B::Lt => Relation::Less,
        B::Lte => Relation::LessOrEqual,
        B::Gt => Relation::Greater,
        B::Gte => Relation::GreaterOrEqual,
        B::In => Relation::In,
    };
    Kind::Compare(left, vec![(relation, *right)])
}

fn relation(op: jinja::CompareOpKind) -> Relation {
    use jinja::CompareOpKind as C;
    match op {
        C::Eq => Relation::Equal,
        C::Ne => Relation::NotEqual,
        C::Lt => Relation::Less,
        C::Lte => Relation::LessOrEqual,
        C::Gt => Relation::Greater,
        C::Gte => Relation::GreaterOrEqual,
        C::In => Relation::In,
        C::NotIn => Relation::NotIn,
    }
}
