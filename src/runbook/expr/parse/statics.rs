//! What can be said of an expression without evaluating it: the names that it mentions, what it
//! compares, and comparisons that could never hold.

use serde_json::Value;

use super::super::ast::{Arithmetic, Kind, Node, Relation};
use super::super::{Comparison, Mention, Operand};
use super::Reader;

/// Walks the tree once.
pub(super) fn collect(root: &Node, reader: &mut Reader<'_>) -> (Vec<Mention>, Vec<Comparison>) {
    let mut walk = Walk { reader, mentions: Vec::new(), comparisons: Vec::new() };
    walk.visit(root, false);
    let Walk { mut mentions, comparisons, .. } = walk;
    // `x is defined and x > 3`: who asked once may use it wherever the answer guards it.
    let asked: Vec<Vec<String>> =
        mentions.iter().filter(|m| m.is_optional).map(|m| m.path.clone()).collect();
    for mention in &mut mentions {
        mention.is_optional = asked.iter().any(|path| mention.path.starts_with(path));
    }
    (mentions, comparisons)
}

struct Walk<'w, 's> {
    reader: &'w mut Reader<'s>,
    mentions: Vec<Mention>,
    comparisons: Vec<Comparison>,
}

impl Walk<'_, '_> {
    fn visit(&mut self, node: &Node, is_optional: bool) {
        if let Some(path) = node.path() {
            let span = self.reader.place(node.start, node.end);
            self.mentions.push(Mention { path, span, is_optional });
            return;
        }
        match &node.kind {
            Kind::Const(_) | Kind::Name(_) => {}
            Kind::Field(base, _) => self.visit(base, is_optional),
            Kind::Item(base, subscript) => {
                self.visit(base, is_optional);
                self.visit(subscript, false);
            }
            Kind::Slice(base, bounds) => {
                self.visit(base, false);
                bounds.iter().flatten().for_each(|bound| self.visit(bound, false));
            }
            Kind::Not(inner) | Kind::Negate(inner) => self.visit(inner, false),
            Kind::And(a, b) | Kind::Or(a, b) | Kind::Arithmetic(_, a, b) => {
                self.visit(a, false);
                self.visit(b, false);
            }
            Kind::Compare(first, rest) => {
                self.visit(first, false);
                let mut left: &Node = first;
                for (relation, right) in rest {
                    self.visit(right, false);
                    self.compare(*relation, left, right);
                    left = right;
                }
            }
            Kind::If { condition, then, otherwise } => {
                self.visit(then, is_optional);
                self.visit(condition, false);
                if let Some(otherwise) = otherwise {
                    self.visit(otherwise, is_optional);
                }
            }
            Kind::List(items) => items.iter().for_each(|item| self.visit(item, false)),
            Kind::Map(entries) => {
                for (key, value) in entries {
                    self.visit(key, false);
                    self.visit(value, false);
                }
            }
            Kind::Filter(input, filter) => {
                self.visit(input, filter.def.takes_undefined);
                filter.args.iter().flatten().for_each(|arg| self.visit(arg, false));
            }
            Kind::MapFilter(input, filter) => {
                self.visit(input, false);
                filter.args.iter().flatten().for_each(|arg| self.visit(arg, false));
            }
            Kind::Test(..) | Kind::Select { .. } | Kind::MapAttribute { .. } => {
                self.visit_items(&node.kind);
            }
        }
    }

    /// Tests, and what looks at each item of a list.
    fn visit_items(&mut self, kind: &Kind) {
        match kind {
            Kind::Test(input, test) => {
                self.visit(input, matches!(test.def.name, "defined" | "undefined"));
                if let Some(argument) = &test.argument {
                    self.visit(argument, false);
                    if let Some(relation) = relation_of(test.def.name) {
                        self.compare(relation, input, argument);
                    }
                }
            }
            Kind::Select { input, test, .. } => {
                self.visit(input, false);
                if let Some(argument) = test.as_ref().and_then(|test| test.argument.as_ref()) {
                    self.visit(argument, false);
                }
            }
            Kind::MapAttribute { input, default, .. } => {
                self.visit(input, false);
                if let Some(default) = default {
                    self.visit(default, false);
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, relation: Relation, left: &Node, right: &Node) {
        let (start, end) = (left.start.min(right.start), left.end.max(right.end));
        let span = self.reader.place(start, end);
        let comparison = Comparison { span, relation, left: operand(left), right: operand(right) };
        if !relation.is_containment()
            && let (Some(a), Some(b)) = (scalar(&comparison.left), scalar(&comparison.right))
            && (a != b || (relation.is_ordering() && a == "a boolean"))
        {
            let help = match (a, b) {
                ("a number", "a string") | ("a string", "a number") => {
                    "write the number without quotes, or convert the text with `|int`"
                }
                _ => "",
            };
            let message = if a == b {
                format!("{a} cannot be ordered with `{}`", relation.sign())
            } else {
                format!("{a} compared with {b}")
            };
            self.reader.problem(start, end, message, help);
        }
        self.comparisons.push(comparison);
    }
}

fn scalar(operand: &Operand) -> Option<&'static str> {
    match operand {
        Operand::Number => Some("a number"),
        Operand::String => Some("a string"),
        Operand::Bool => Some("a boolean"),
        Operand::Name(_) | Operand::Other => None,
    }
}

fn relation_of(test: &str) -> Option<Relation> {
    Some(match test {
        "eq" | "equalto" | "==" => Relation::Equal,
        "ne" | "!=" => Relation::NotEqual,
        "lt" | "lessthan" | "<" => Relation::Less,
        "le" | "<=" => Relation::LessOrEqual,
        "gt" | "greaterthan" | ">" => Relation::Greater,
        "ge" | ">=" => Relation::GreaterOrEqual,
        "in" => Relation::In,
        _ => return None,
    })
}

/// What a node is known to give.
/// What is known of the value of a node.
pub(super) fn operand(node: &Node) -> Operand {
    if let Some(path) = node.path() {
        return Operand::Name(path);
    }
    match &node.kind {
        Kind::Const(Value::Number(_)) | Kind::Negate(_) => Operand::Number,
        Kind::Const(Value::String(_)) => Operand::String,
        Kind::Const(Value::Bool(_)) | Kind::Compare(..) | Kind::Test(..) | Kind::Not(_) => {
            Operand::Bool
        }
        Kind::Arithmetic(Arithmetic::Concat, ..) => Operand::String,
        Kind::Arithmetic(Arithmetic::Add, a, b) => match (operand(a), operand(b)) {
            (Operand::Number, _) | (_, Operand::Number) => Operand::Number,
            (Operand::String, _) | (_, Operand::String) => Operand::String,
            _ => Operand::Other,
        },
        Kind::Arithmetic(..) => Operand::Number,
        Kind::Filter(_, filter) => match filter.def.name {
            "length" | "count" | "sum" | "abs" | "round" => Operand::Number,
            "int" | "float" if filter.args.iter().all(Option::is_none) => Operand::Number,
            "lower" | "upper" | "trim" | "replace" | "join" | "string" | "tojson" | "to_json"
            | "basename" | "dirname" => Operand::String,
            "bool" => Operand::Bool,
            _ => Operand::Other,
        },
        _ => Operand::Other,
    }
}
