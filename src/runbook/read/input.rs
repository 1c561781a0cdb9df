//! Declarations of inputs, answers and outputs, and their defaults.

use serde_json::{Map, Value};

use super::{Fields, Reader, list_of};
use crate::runbook::grammar::{self, FieldType};
use crate::runbook::model::Input;
use crate::runbook::problem::Problem;
use crate::runbook::value::InputType;
use crate::runbook::yaml::{self, Kind, Node};

impl Reader<'_> {
    pub(super) fn inputs(&mut self, node: &Node) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (key, declaration) in self.map(node, "`inputs`").unwrap_or_default() {
            if !is_name(&key.text) {
                let message = format!("`{}` is not an input's name", yaml::shorten(&key.text));
                self.push(
                    Problem::error("E_NAME", key.span, message)
                        .help("a letter or `_`, then letters, digits and `_`"),
                );
            }
            let what = format!("input `{}`", yaml::shorten(&key.text));
            let (ty, field) = self.declared(declaration, &what);
            self.outline.inputs.push((key.text.clone(), field));
            let Some(ty) = ty else { continue };
            if matches!(ty, InputType::Target { one: true }) {
                self.one_targets.push(key.text.clone());
            }
            let description =
                declaration.get("description").and_then(|n| self.text(n, "`description`"));
            let default = declaration.get("default").and_then(|n| self.default_of(n, &ty, &what));
            let required = declaration.get("required").and_then(|n| self.bool(n, "`required`"));
            if let (Some(true), Some(node)) = (required, declaration.get("default")) {
                let message = format!("{what} is required and has a default");
                self.push(
                    Problem::error("E_INPUT", node.span, message)
                        .label("never used")
                        .help("remove `required` or `default`"),
                );
            }
            let is_required = required.unwrap_or(default.is_none());
            inputs.push(Input {
                name: key.text.clone(),
                ty,
                description,
                default,
                is_required,
                span: key.span,
            });
        }
        inputs
    }

    /// The type that a declaration `{ type, … }` writes.
    fn declared(&mut self, node: &Node, what: &str) -> (Option<InputType>, FieldType) {
        let Some(fields) = self.fields(node, &grammar::INPUT, what) else {
            return (None, FieldType::Any);
        };
        let Some(node) = fields.get("type") else { return (None, FieldType::Any) };
        let names: Vec<_> = grammar::INPUT_TYPES.iter().map(|ty| ty.name).collect();
        let Some(at) = self.word(node, &names, "`type`") else { return (None, FieldType::Any) };
        let known = &grammar::INPUT_TYPES[at];
        for (key, _) in fields.entries {
            let is_common =
                ["type", "description", "default", "required"].contains(&key.text.as_str());
            let is_input_key = grammar::INPUT.key(&key.text).is_some();
            if is_input_key && !is_common && !known.keys.contains(&key.text.as_str()) {
                let message = format!("type `{}` takes no `{}`", known.name, key.text);
                let problem = Problem::error("E_INPUT", key.span, message);
                self.push(match known.keys {
                    [] => problem.help("remove it"),
                    keys => problem.help(format!("it takes {}", list_of(keys))),
                });
            }
        }
        let field = match known.name {
            "integer" | "number" | "duration" | "size" => FieldType::Number,
            "boolean" => FieldType::Bool,
            "list" => FieldType::List,
            "object" => FieldType::Any,
            _ => FieldType::String,
        };
        (self.type_of(known.name, &fields, what), field)
    }

    fn type_of(&mut self, name: &str, fields: &Fields<'_>, what: &str) -> Option<InputType> {
        Some(match name {
            "string" => {
                let (min_length, max_length) = self.counts(fields, "min_length", "max_length");
                InputType::String {
                    pattern: fields.get("pattern").and_then(|n| self.regex(n, "`pattern`")),
                    min_length,
                    max_length,
                    values: fields
                        .get("values")
                        .and_then(|n| self.list(n, "`values`"))
                        .map(|nodes| {
                            nodes.iter().filter_map(|n| self.text(n, "one of `values`")).collect()
                        })
                        .unwrap_or_default(),
                }
            }
            "integer" => {
                let int = |reader: &mut Self, n: &Node, what: &str| {
                    reader.int(n, i64::MIN, i64::MAX, what)
                };
                let (minimum, maximum) = self.bounds(fields, "minimum", "maximum", int);
                InputType::Integer { minimum, maximum }
            }
            "number" => {
                let (minimum, maximum) =
                    self.bounds(fields, "minimum", "maximum", |r, n, what| r.number(n, what));
                InputType::Number { minimum, maximum }
            }
            "boolean" => InputType::Boolean,
            "duration" => {
                let (minimum, maximum) =
                    self.bounds(fields, "minimum", "maximum", |r, n, what| r.duration(n, what));
                InputType::Duration { minimum, maximum }
            }
            "size" => {
                let (minimum, maximum) =
                    self.bounds(fields, "minimum", "maximum", |r, n, what| r.size(n, what));
                InputType::Size { minimum, maximum }
            }
            "timestamp" => InputType::Timestamp,
            "target" => {
                let one = fields.get("one").and_then(|n| self.bool(n, "`one`"));
                InputType::Target { one: one.unwrap_or(false) }
            }
            "list" => {
                let (min_items, max_items) = self.counts(fields, "min_items", "max_items");
                let items = fields.get("items").and_then(|n| self.type_at(n, "`items`"));
                InputType::List { items: items.map(Box::new), min_items, max_items }
            }
            _ => InputType::Object { properties: self.properties(fields, what) },
        })
    }

    fn properties(&mut self, fields: &Fields<'_>, what: &str) -> Vec<(String, InputType, bool)> {
        let mut properties = Vec::new();
        let Some(node) = fields.get("properties") else { return properties };
        for (key, declaration) in self.map(node, "`properties`").unwrap_or_default() {
            let inner = format!("property `{}` of {what}", yaml::shorten(&key.text));
            let Some(ty) = self.type_at(declaration, &inner) else { continue };
            let required = declaration.get("required").and_then(|n| self.bool(n, "`required`"));
            properties.push((key.text.clone(), ty, required.unwrap_or(true)));
        }
        properties
    }

    /// A type by its name alone, or a declaration.
    pub(super) fn type_at(&mut self, node: &Node, what: &str) -> Option<InputType> {
        if node.scalar().is_none() || node.is_null() {
            return self.declared(node, what).0;
        }
        let names: Vec<_> = grammar::INPUT_TYPES.iter().map(|ty| ty.name).collect();
        let at = self.word(node, &names, what)?;
        self.type_of(names[at], &Fields { entries: &[] }, what)
    }

    /// `{ name: type }` of `ask` and `outputs`.
    pub(super) fn types(&mut self, node: &Node, what: &str) -> Vec<(String, InputType)> {
        let mut types = Vec::new();
        for (key, declaration) in self.map(node, what).unwrap_or_default() {
            self.check_name(key, what);
            let what = format!("`{}` of {what}", yaml::shorten(&key.text));
            if let Some(ty) = self.type_at(declaration, &what) {
                types.push((key.text.clone(), ty));
            }
        }
        types
    }

    /// Reports a key that expressions could not name.
    pub(super) fn check_name(&mut self, key: &yaml::Key, what: &str) {
        if !is_name(&key.text) {
            let message = format!("`{}` is not a name in {what}", yaml::shorten(&key.text));
            self.push(
                Problem::error("E_NAME", key.span, message)
                    .help("a letter or `_`, then letters, digits and `_`"),
            );
        }
    }

    fn counts(
        &mut self,
        fields: &Fields<'_>,
        least: &'static str,
        most: &'static str,
    ) -> (Option<u64>, Option<u64>) {
        self.bounds(fields, least, most, |reader, node, what| {
            reader.int(node, 0, i64::MAX, what).and_then(|n| u64::try_from(n).ok())
        })
    }

    fn bounds<T: PartialOrd>(
        &mut self,
        fields: &Fields<'_>,
        least: &'static str,
        most: &'static str,
        read: impl Fn(&mut Self, &Node, &str) -> Option<T>,
    ) -> (Option<T>, Option<T>) {
        let low = fields.get(least).and_then(|n| read(self, n, &format!("`{least}`")));
        let high = fields.get(most).and_then(|n| read(self, n, &format!("`{most}`")));
        if let (Some(low), Some(high)) = (&low, &high)
            && low > high
            && let (Some(at), Some(other)) = (fields.get(least), fields.get(most))
        {
            let message = format!("`{least}` is greater than `{most}`: no value fits");
            self.push(
                Problem::error("E_INPUT", at.span, message)
                    .label("greater")
                    .related(other.span, "than this"),
            );
        }
        (low, high)
    }

    fn default_of(&mut self, node: &Node, ty: &InputType, what: &str) -> Option<Value> {
        let refused = |why: &str| {
            let message = format!("the default of {what} does not fit its own type: {why}");
            Problem::error("E_INPUT", super::first_line(self.source, node.span), message)
        };
        match typed(node, ty).map(|value| ty.accept(&value)) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(why)) | Err(why) => {
                let problem = refused(&why);
                self.push(problem);
                None
            }
        }
    }
}

/// `[A-Za-z_][A-Za-z0-9_]*`: what expressions can name.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The value that YAML writes where `ty` is expected: `1.10` is a string where a string stands.
fn typed(node: &Node, ty: &InputType) -> Result<Value, String> {
    match (&node.kind, ty) {
        (Kind::Scalar(_), _) if node.is_null() => Err("nothing is written".to_owned()),
        (
            Kind::Scalar(scalar),
            InputType::Integer { .. } | InputType::Number { .. } | InputType::Boolean,
        ) => match yaml::core_value(scalar)? {
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value),
            _ => Err(format!("found {}", node.describe())),
        },
        (Kind::Scalar(scalar), InputType::List { .. } | InputType::Object { .. }) => {
            yaml::core_value(scalar)
        }
        (Kind::Scalar(scalar), _) => Ok(Value::String(scalar.text.clone())),
        (Kind::List(nodes), InputType::List { items: Some(items), .. }) => {
            nodes.iter().map(|node| typed(node, items)).collect::<Result<_, _>>().map(Value::Array)
        }
        (Kind::Map(entries), InputType::Object { properties }) => {
            let mut map = Map::new();
            for (key, node) in entries {
                let known = properties.iter().find(|(name, ..)| *name == key.text);
                let value = match known {
                    Some((_, ty, _)) => typed(node, ty)?,
                    None => untyped(node)?,
                };
                map.insert(key.text.clone(), value);
            }
            Ok(Value::Object(map))
        }
        _ => untyped(node),
    }
}

/// The value of a node where no type is expected.
pub(super) fn untyped(node: &Node) -> Result<Value, String> {
    match &node.kind {
        Kind::Scalar(scalar) => yaml::core_value(scalar),
        Kind::List(nodes) => nodes.iter().map(untyped).collect::<Result<_, _>>().map(Value::Array),
        Kind::Map(entries) => entries
            .iter()
            .map(|(key, node)| Ok((key.text.clone(), untyped(node)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        Kind::Broken => Ok(Value::Null),
    }
}
