//! Parameters of actions that are one tree: read along the shape that the grammar gives them.

use serde_json::Value;

use super::{Code, Cx, Reader, input, scalar};
use crate::runbook::grammar::{self, Object, Shape};
use crate::runbook::model::{Arg, Tree};
use crate::runbook::problem::Problem;
use crate::runbook::template::Place;
use crate::runbook::yaml::{self, Kind, Node, Scalar};

impl<'s> Reader<'s> {
    /// The tree at `node`, which must have `shape`; a template may stand for any scalar.
    pub(super) fn tree(&mut self, node: &Node, shape: Shape, cx: Cx, what: &str) -> Option<Tree> {
        if matches!(node.kind, Kind::Broken) {
            return None;
        }
        let place = match shape {
            Shape::Url => Place::Url,
            Shape::Json => Place::Json,
            _ => Place::Plain,
        };
        let is_literal =
            matches!(shape, Shape::Code | Shape::Text | Shape::Object(_) | Shape::Map(_));
        if scalar::is_template(node) && !is_literal {
            return self.template(node, place, cx, what).map(Tree::Template);
        }
        let literal = |value: Option<Value>| value.map(Tree::Literal);
        match shape {
            Shape::Text | Shape::Scalar | Shape::Template => {
                literal(self.text(node, what).map(Value::from))
            }
            Shape::Url => self.url(node, what),
            Shape::Code => {
                let scalar = self.string(node, what)?;
                self.code(scalar, cx, "params");
                Some(Tree::Literal(Value::from(scalar.text.clone())))
            }
            Shape::Regex => literal(self.regex(node, what).map(|regex| regex.as_str().into())),
            Shape::Bool => literal(self.bool(node, what).map(Value::from)),
            Shape::Int(least, most) => literal(self.int(node, least, most, what).map(Value::from)),
            Shape::Number => literal(self.number(node, what).map(Value::from)),
            Shape::Duration => {
                literal(self.duration(node, what).map(|d| Value::from(d.as_secs_f64())))
            }
            Shape::Size => literal(self.size(node, what).map(Value::from)),
            Shape::Enum(words) => literal(self.word(node, words, what).map(|at| words[at].into())),
            Shape::Any | Shape::Json => self.any(node, place, cx, what),
            Shape::Args => self.args_tree(node, cx, what),
            Shape::List(item) => {
                let nodes = self.list(node, what)?;
                let inner = format!("an item of {what}");
                let items: Vec<_> =
                    nodes.iter().map(|node| self.tree(node, *item, cx, &inner)).collect();
                items.into_iter().collect::<Option<_>>().map(Tree::List)
            }
            Shape::Map(value) => self.map_tree(node, *value, cx, what),
            Shape::Object(object) => self.object_tree(node, object, cx, what),
            // The remaining shapes are read by hand, never as parameters.
            _ => None,
        }
    }

    fn map_tree(&mut self, node: &Node, value: Shape, cx: Cx, what: &str) -> Option<Tree> {
        let entries = self.map(node, what)?;
        let mut map = Vec::new();
        for (key, node) in entries {
            let inner = format!("`{}` of {what}", yaml::shorten(&key.text));
            map.push((key.text.clone(), self.tree(node, value, cx, &inner)));
        }
        all(map).map(Tree::Map)
    }

    fn object_tree(&mut self, node: &Node, object: &Object, cx: Cx, what: &str) -> Option<Tree> {
        let fields = self.fields(node, object, what)?;
        let mut map = Vec::new();
        for (key, node) in fields.entries {
            let known = object.key(&key.text);
            let shape = match known {
                Some(known) => known.shape,
                None if object.is_open => Shape::Any,
                None => continue,
            };
            let cx = Cx { secrets: cx.secrets || known.is_some_and(|key| key.secrets), ..cx };
            let inner = format!("`{}`", yaml::shorten(&key.text));
            map.push((key.text.clone(), self.tree(node, shape, cx, &inner)));
        }
        all(map).map(Tree::Map)
    }

    /// Anything: scalars by YAML's core schema, strings with templates in them.
    pub(super) fn any(&mut self, node: &Node, place: Place, cx: Cx, what: &str) -> Option<Tree> {
        match &node.kind {
            Kind::Broken => None,
            Kind::Scalar(scalar) if scalar.text.contains("{{") => {
                self.template_of(scalar, place, cx).map(Tree::Template)
            }
            Kind::Scalar(_) => match input::untyped(node) {
                Ok(value) => Some(Tree::Literal(value)),
                Err(why) => {
                    self.push(Problem::error("E_VALUE", node.span, format!("{what}: {why}")));
                    None
                }
            },
            Kind::List(nodes) => {
                let items: Vec<_> =
                    nodes.iter().map(|node| self.any(node, place, cx, what)).collect();
                items.into_iter().collect::<Option<_>>().map(Tree::List)
            }
            Kind::Map(entries) => {
                let map = entries
                    .iter()
                    .map(|(key, node)| (key.text.clone(), self.any(node, place, cx, what)))
                    .collect();
                all(map).map(Tree::Map)
            }
        }
    }

    fn url(&mut self, node: &Node, what: &str) -> Option<Tree> {
        let text = self.text(node, what)?;
        let refused = match url::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => None,
            Ok(url) => Some(format!("its scheme is `{}`", url.scheme())),
            Err(err) => Some(err.to_string()),
        };
        if let Some(why) = refused {
            let message = format!("{what} must be an http or https URL: {why}");
            self.push(Problem::error("E_URL", node.span, message).label("not such a URL"));
            return None;
        }
        Some(Tree::Literal(Value::from(text)))
    }

    /// The elements of a `command`.
    pub(super) fn args(&mut self, node: &Node, cx: Cx, what: &str) -> Option<Vec<Arg>> {
        if let Some(scalar) = node.scalar().filter(|_| !node.is_null()) {
            let words: Vec<_> = scalar.text.split_whitespace().collect();
            let problem = self.expected(node, what, "a list of arguments");
            self.push(problem.help(format!("write `[{}]`, or use `shell`", words.join(", "))));
            return None;
        }
        let nodes = self.list(node, what)?;
        if nodes.is_empty() {
            self.push(Problem::error("E_EMPTY_LIST", node.span, format!("{what} is empty")));
            return None;
        }
        let mut after_dashes = false;
        let mut args = Vec::new();
        for node in nodes {
            if let Kind::Map(_) = node.kind {
                let fields = self.fields(node, &grammar::EACH, "an argument");
                let each = fields.and_then(|fields| fields.get("each").cloned());
                args.push(each.and_then(|node| self.expr(&node, cx, "`each`")).map(Arg::Each));
                continue;
            }
            let place = Place::Argument { after_dashes };
            let template = self.template(node, place, cx, "an argument");
            after_dashes |= template.as_ref().is_some_and(|arg| arg.source() == "--");
            args.push(template.map(Arg::One));
        }
        args.into_iter().collect()
    }

    /// The same where the action is one tree: no `each`.
    fn args_tree(&mut self, node: &Node, cx: Cx, what: &str) -> Option<Tree> {
        let args = self.args(node, cx, what)?;
        let mut items = Vec::new();
        for arg in args {
            match arg {
                Arg::One(template)
                    if template.is_literal() && !template.source().contains("{{") =>
                {
                    items.push(Tree::Literal(Value::from(template.source())));
                }
                Arg::One(template) => items.push(Tree::Template(template)),
                Arg::Each(expr) => {
                    let message = format!("{what} takes no `each`: only `command` does");
                    self.push(Problem::error("E_TYPE", expr.span(), message));
                    return None;
                }
            }
        }
        Some(Tree::List(items))
    }

    /// Remembers a text that is never templated; it is judged once all names are known.
    pub(super) fn code(&mut self, scalar: &Scalar, cx: Cx, instead: &'static str) {
        if let Some(step) = cx.step
            && scalar.text.contains("{{")
        {
            self.outline.codes.push(Code { scalar: scalar.clone(), step, instead });
        }
    }
}

fn all(map: Vec<(String, Option<Tree>)>) -> Option<Vec<(String, Tree)>> {
    map.into_iter().map(|(key, tree)| tree.map(|tree| (key, tree))).collect()
}
