//! What an expression is once it is parsed: our own tree, with every filter and test already
//! looked up, so that evaluation meets no unknown name but data's.

use regex::Regex;
use serde_json::Value;

use super::filters::FilterDef;
use super::predicates::TestDef;

/// One node with the bytes of the source that it stands for.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Const(Value),
    /// A first name: looked up in the scope.
    Name(String),
    /// `.name`
    Field(Box<Node>, String),
    /// `[subscript]`
    Item(Box<Node>, Box<Node>),
    /// `[start:stop:step]`
    Slice(Box<Node>, [Option<Box<Node>>; 3]),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    /// `a < b < c`: each neighbouring pair must hold.
    Compare(Box<Node>, Vec<(Relation, Node)>),
    /// `then if condition else otherwise`
    If {
        condition: Box<Node>,
        then: Box<Node>,
        otherwise: Option<Box<Node>>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Filter(Box<Node>, BoundFilter),
    Test(Box<Node>, BoundTest),
    /// `select`, `reject`, `selectattr`, `rejectattr`.
    Select {
        input: Box<Node>,
        attribute: Option<Vec<String>>,
        /// `None`: by truth.
        test: Option<BoundTest>,
        /// Whether items that pass are kept, or dropped.
        keep: bool,
    },
    /// `map(attribute=…)`
    MapAttribute {
        input: Box<Node>,
        attribute: Vec<String>,
        default: Option<Box<Node>>,
    },
    /// `map('filter', …)`
    MapFilter(Box<Node>, BoundFilter),
}

/// A filter with its arguments in the order of [`FilterDef::params`].
#[derive(Debug)]
pub(super) struct BoundFilter {
    pub(super) def: &'static FilterDef,
    pub(super) args: Vec<Option<Node>>,
}

/// A test with its argument.
#[derive(Debug)]
pub(super) struct BoundTest {
    pub(super) def: &'static TestDef,
    pub(super) argument: Option<Box<Node>>,
    /// The argument of `matches`, where it is written out.
    pub(super) pattern: Option<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
    Concat,
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::FloorDivide => "//",
            Arithmetic::Remainder => "%",
            Arithmetic::Power => "**",
            Arithmetic::Concat => "~",
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operators of the language, in its order")]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

impl Relation {
    /// As it is written.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Relation::Equal => "==",
            Relation::NotEqual => "!=",
            Relation::Less => "<",
            Relation::LessOrEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterOrEqual => ">=",
            Relation::In => "in",
            Relation::NotIn => "not in",
        }
    }

    /// Whether it asks which of two values is the larger.
    #[must_use]
    pub fn is_ordering(self) -> bool {
        matches!(
            self,
            Relation::Less | Relation::LessOrEqual | Relation::Greater | Relation::GreaterOrEqual
        )
    }

    /// Whether it is `in` or `not in`.
    #[must_use]
    pub fn is_containment(self) -> bool {
        matches!(self, Relation::In | Relation::NotIn)
    }
}

impl Node {
    /// `steps['rss'].value` as its parts, where every part is written out.
    pub(super) fn path(&self) -> Option<Vec<String>> {
        match &self.kind {
            Kind::Name(name) => Some(vec![name.clone()]),
            Kind::Field(base, name) => {
                let mut path = base.path()?;
                path.push(name.clone());
                Some(path)
            }
            Kind::Item(base, subscript) => {
                let mut path = base.path()?;
                path.push(subscript.constant_key()?);
                Some(path)
            }
            _ => None,
        }
    }

    /// A subscript that is written out, as text.
    fn constant_key(&self) -> Option<String> {
        match &self.kind {
            Kind::Const(Value::String(key)) => Some(key.clone()),
            Kind::Const(Value::Number(index)) => Some(index.to_string()),
            _ => None,
        }
    }
}
