//! Types as JSON Schema (2020-12): for editors, forms and tools that start runs.

use serde_json::{Map, Value, json};

use super::InputType;
use crate::runbook::model::Input;
use crate::unit::{show_duration, show_size};

/// The schema of a runbook's inputs as one object.
#[must_use]
pub fn inputs_schema(declared: &[Input]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for input in declared {
        let mut schema = of(&input.ty);
        if let Some(map) = schema.as_object_mut() {
            if let Some(description) = &input.description {
                map.insert("description".to_owned(), json!(description));
            }
            if let Some(default) = &input.default {
                map.insert("default".to_owned(), written(&input.ty, default));
            }
        }
        properties.insert(input.name.clone(), schema);
        if input.default.is_none() {
            required.push(input.name.clone());
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// A default as a caller would write it: durations and sizes have a unit again.
fn written(ty: &InputType, kept: &Value) -> Value {
    match (ty, kept.as_f64()) {
        (InputType::Duration { .. }, Some(seconds)) if seconds.fract() == 0.0 => {
            json!(format!("{seconds:.0}s"))
        }
        (InputType::Duration { .. }, Some(seconds)) => json!(format!("{:.0}ms", seconds * 1e3)),
        (InputType::Size { .. }, Some(bytes)) => json!(format!("{bytes:.0}B")),
        _ => kept.clone(),
    }
}

/// The schema of one type.
pub(super) fn of(ty: &InputType) -> Value {
    let mut schema = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema.insert(key.to_owned(), value);
        }
    };
    match ty {
        InputType::String { pattern, min_length, max_length, values } => {
            set("type", Some(json!("string")));
            set("pattern", pattern.as_ref().map(|pattern| json!(pattern.as_str())));
            set("minLength", min_length.map(Value::from));
            set("maxLength", max_length.map(Value::from));
            set("enum", (!values.is_empty()).then(|| json!(values)));
        }
        InputType::Integer { minimum, maximum } => {
            set("type", Some(json!("integer")));
            set("minimum", minimum.map(Value::from));
            set("maximum", maximum.map(Value::from));
        }
        InputType::Number { minimum, maximum } => {
            set("type", Some(json!("number")));
            set("minimum", minimum.map(Value::from));
            set("maximum", maximum.map(Value::from));
        }
        InputType::Boolean => set("type", Some(json!("boolean"))),
        InputType::Duration { minimum, maximum } => {
            set("type", Some(json!("string")));
            set("pattern", Some(json!(r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)$")));
            let bounds = bounds(minimum.map(show_duration), maximum.map(show_duration));
            set("$comment", bounds.map(Value::from));
        }
        InputType::Size { minimum, maximum } => {
            set("type", Some(json!("string")));
            set("pattern", Some(json!(r"^[0-9]+(\.[0-9]+)? ?(B|[kK]B|[MGT]B|[KMGT]iB)$")));
            let bounds = bounds(minimum.map(show_size), maximum.map(show_size));
            set("$comment", bounds.map(Value::from));
        }
        InputType::Timestamp => {
            set("type", Some(json!("string")));
            set("format", Some(json!("date-time")));
        }
        InputType::Target { one } => {
            set("type", Some(json!("string")));
            let pattern = if *one { "^[A-Za-z0-9._][A-Za-z0-9._-]*$" } else { "^[^-]" };
            set("pattern", Some(json!(pattern)));
        }
        InputType::List { items, min_items, max_items } => {
            set("type", Some(json!("array")));
            set("items", items.as_deref().map(of));
            set("minItems", min_items.map(Value::from));
            set("maxItems", max_items.map(Value::from));
        }
        InputType::Object { properties } => {
            set("type", Some(json!("object")));
            if !properties.is_empty() {
                set("properties", Some(fields(properties)));
                let required = properties.iter().filter(|(.., is_required)| *is_required);
                let required: Vec<&String> = required.map(|(name, ..)| name).collect();
                set("required", Some(json!(required)));
                set("additionalProperties", Some(json!(false)));
            }
        }
    }
    Value::Object(schema)
}

fn fields(properties: &[(String, InputType, bool)]) -> Value {
    properties.iter().map(|(name, ty, _)| (name.clone(), of(ty))).collect()
}

fn bounds(minimum: Option<String>, maximum: Option<String>) -> Option<String> {
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) => Some(format!("from {minimum} to {maximum}")),
        (Some(minimum), None) => Some(format!("at least {minimum}")),
        (None, Some(maximum)) => Some(format!("at most {maximum}")),
        (None, None) => None,
    }
}
