//! The JSON Schema (2020-12) of a runbook, made from the grammar: what editors complete from.
//!
//! It accepts every valid runbook. What it cannot say (names, order, the rules of kinds) is left to
//! `runwarden validate`.

use serde_json::{Map, Value, json};

use super::grammar::{self, Key, Object, Shape};

/// `schemas/runbook.v1.json`.
#[must_use]
pub fn runbook_schema() -> Value {
    let mut root = object(&grammar::RUNBOOK, false);
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(
            "runwarden".into(),
            describe(json!({ "const": 1 }), grammar::RUNBOOK.key("runwarden")),
        );
        properties.insert("defaults".into(), json!({ "$ref": "#/$defs/defaults" }));
    }
    let mut schema = Map::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("$id".into(), json!("https://runwarden.dev/schemas/runbook.v1.json"));
    schema.insert("title".into(), json!("Runwarden runbook, version 1"));
    if let Value::Object(root) = root {
        schema.extend(root);
    }
    schema.insert(
        "$defs".into(),
        json!({
            "step": step(false),
            "check": step(true),
            "steps": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/step" } },
            "defaults": defaults(),
            "input": object(&grammar::INPUT, false),
            "type": {
                "anyOf": [
                    { "enum": grammar::INPUT_TYPES.iter().map(|ty| ty.name).collect::<Vec<_>>() },
                    { "$ref": "#/$defs/input" },
                ]
            },
            "duration": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?(ms|s|m|h|d)$" },
            "size": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?([kKMGT]i?)?B$" },
            "template": { "type": "string", "pattern": "\\{\\{" },
            "text": { "type": ["string", "number", "boolean"] },
            "expression": { "type": ["string", "number", "boolean"] },
            "id": { "type": "string", "pattern": "^[a-z][a-z0-9_]*$" },
            "argument": { "anyOf": [{ "$ref": "#/$defs/text" }, object(&grammar::EACH, false)] },
        }),
    );
    Value::Object(schema)
}

fn defaults() -> Value {
    let keys = grammar::MODIFIERS.iter().map(|modifier| &modifier.key);
    let keys = keys.filter(|key| !matches!(key.name, "id" | "proves" | "rescue" | "finally"));
    let properties: Map<String, Value> =
        keys.map(|key| (key.name.to_owned(), of_key(key, false))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn step(is_check: bool) -> Value {
    let mut properties = Map::new();
    for modifier in grammar::MODIFIERS.iter().filter(|modifier| !is_check || modifier.in_check) {
        properties.insert(modifier.key.name.to_owned(), of_key(&modifier.key, false));
    }
    let mut one_of = Vec::new();
    for action in grammar::ACTIONS {
        let mut schema = shape(action.shape, true);
        // An action without required parameters may be written with nothing behind it.
        if let Shape::Object(object) = action.shape
            && object.keys.iter().all(|key| !key.required)
        {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        if let Value::Object(map) = &mut schema {
            map.insert("description".into(), json!(action.doc));
        }
        properties.insert(action.name.to_owned(), schema);
        one_of.push(json!({ "required": [action.name] }));
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "oneOf": one_of,
    })
}

fn object(object: &Object, is_rendered: bool) -> Value {
    let properties: Map<String, Value> =
        object.keys.iter().map(|key| (key.name.to_owned(), of_key(key, is_rendered))).collect();
    let mut schema = json!({
        "type": "object",
        "additionalProperties": object.is_open,
        "properties": properties,
    });
    let required: Vec<_> =
        object.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    if let Value::Object(map) = &mut schema {
        if !required.is_empty() {
            map.insert("required".into(), json!(required));
        }
        if !object.one_of.is_empty() {
            let choices: Vec<_> =
                object.one_of.iter().map(|name| json!({ "required": [name] })).collect();
            map.insert("oneOf".into(), json!(choices));
        }
    }
    schema
}

fn of_key(key: &Key, is_rendered: bool) -> Value {
    describe(shape(key.shape, is_rendered), Some(key))
}

fn describe(mut schema: Value, key: Option<&Key>) -> Value {
    if let (Value::Object(map), Some(key)) = (&mut schema, key) {
        let text = match key.default {
            Some(default) => format!("{} Default: {default}.", key.doc),
            None => key.doc.to_owned(),
        };
        map.insert("description".into(), json!(text));
    }
    schema
}

/// The schema of a shape; with `is_rendered` a template may stand for a scalar.
fn shape(shape_of: Shape, is_rendered: bool) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    let or_template = |schema: Value| {
        if is_rendered {
            json!({ "anyOf": [schema, { "$ref": "#/$defs/template" }] })
        } else {
            schema
        }
    };
    match shape_of {
        Shape::Text | Shape::Scalar | Shape::Template => reference("text"),
        Shape::Url | Shape::Code | Shape::Regex => json!({ "type": "string" }),
        Shape::Bool => or_template(json!({ "type": "boolean" })),
        Shape::Int(least, most) => {
            let mut schema = json!({ "type": "integer", "minimum": least });
            if most != i64::MAX {
                schema["maximum"] = json!(most);
            }
            or_template(schema)
        }
        Shape::Number => or_template(json!({ "type": "number" })),
        Shape::Duration => or_template(reference("duration")),
        Shape::Size => or_template(reference("size")),
        Shape::Enum(words) => or_template(json!({ "enum": words })),
        Shape::Expr => reference("expression"),
        Shape::Any | Shape::Json => json!({}),
        Shape::Args => {
            json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/argument" } })
        }
        Shape::List(item) => {
            or_template(json!({ "type": "array", "items": shape(*item, is_rendered) }))
        }
        Shape::OneOrList(item) => {
            let one = shape(*item, is_rendered);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::Map(value) => {
            json!({ "type": "object", "additionalProperties": shape(*value, is_rendered) })
        }
        Shape::Object(known) => object(known, is_rendered),
        Shape::Either(shapes) => {
            let choices: Vec<_> = shapes.iter().map(|one| shape(*one, is_rendered)).collect();
            json!({ "anyOf": choices })
        }
        Shape::Input => reference("input"),
        Shape::Type => reference("type"),
        Shape::Steps => reference("steps"),
        Shape::Step => reference("step"),
        Shape::Check => reference("check"),
        Shape::Version => json!({ "type": "string" }),
        Shape::Name => json!({ "type": "string", "pattern": "^[a-z0-9-]{1,64}$" }),
        Shape::Id => reference("id"),
    }
}
