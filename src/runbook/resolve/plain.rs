//! Actions whose parameters are one tree: rendered to JSON, then typed.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{ResolveError, process, tree_value};
use crate::runbook::model::{PlainAction, Step, Tree};
use crate::runbook::params::{self, Resolved};
use crate::runbook::scope::Scope;
use crate::runbook::template::{Place, text_of};

/// Renders and types the parameters of `action`.
pub(super) fn resolve(
    action: PlainAction,
    tree: &Tree,
    step: &Step,
    scope: &Scope,
) -> Result<Resolved, ResolveError> {
    let key = action.key();
    no_options(action, tree, scope)?;
    let mut map = match tree_value(key, tree, scope)? {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => {
            let why = format!("`{key}`: expected parameters such as `{{ name: value }}`");
            return Err(ResolveError::parameter(why));
        }
    };
    for name in text_parameters(action) {
        if let Some(value) = map.get_mut(*name) {
            to_text(key, name, value)?;
        }
    }
    Ok(match action {
        PlainAction::Http => Resolved::Http(http(map)?),
        PlainAction::Tcp => Resolved::Tcp(typed(key, map)?),
        PlainAction::Dns => Resolved::Dns(typed(key, map)?),
        PlainAction::Tls => Resolved::Tls(typed(key, map)?),
        PlainAction::Disk => Resolved::Disk(typed(key, map)?),
        PlainAction::Memory => none(key, &map).map(|()| Resolved::Memory {})?,
        PlainAction::Load => none(key, &map).map(|()| Resolved::Load {})?,
        PlainAction::Process => {
            if map.len() != 1 {
                let why = "`process`: exactly one of `name`, `pidfile` and `match` says which";
                return Err(ResolveError::parameter(why));
            }
            Resolved::Process(typed(key, map)?)
        }
        PlainAction::File => Resolved::File(typed(key, map)?),
        PlainAction::Clock => Resolved::Clock(typed(key, map)?),
        PlainAction::Service => Resolved::Service(typed(key, map)?),
        PlainAction::Find => Resolved::Find(typed(key, map)?),
        PlainAction::Delete => Resolved::Delete(typed(key, map)?),
        PlainAction::Prometheus => Resolved::Prometheus(typed(key, map)?),
        PlainAction::Nagios => {
            Resolved::Nagios(params::Nagios { process: process(step, scope)?, ..nagios(map)? })
        }
        PlainAction::Sql
        | PlainAction::Backup
        | PlainAction::Restore
        | PlainAction::Prune
        | PlainAction::Transfer
        | PlainAction::Notify
        | PlainAction::Ticket => return Err(super::unsupported(&step.action)),
    })
}

fn http(map: Map<String, Value>) -> Result<params::Http, ResolveError> {
    let http: params::Http = typed("http", map)?;
    let is_split = |text: &str| text.contains(['\r', '\n', '\0']);
    match http.headers.iter().find(|(name, value)| is_split(name) || is_split(value)) {
        None => Ok(http),
        Some((name, _)) => {
            let why = format!("`http`: the header `{name}` holds a line break or NUL");
            Err(ResolveError::parameter(why.replace(char::is_control, " ")))
        }
    }
}

fn nagios(map: Map<String, Value>) -> Result<params::Nagios, ResolveError> {
    let nagios: params::Nagios = typed("nagios", map)?;
    if nagios.command.first().is_none_or(String::is_empty) {
        return Err(ResolveError::parameter("`nagios`: the program's name is empty"));
    }
    for argument in &nagios.command {
        super::too_long("nagios", argument.len())?;
    }
    Ok(nagios)
}

fn none(key: &str, map: &Map<String, Value>) -> Result<(), ResolveError> {
    match map.keys().next() {
        None => Ok(()),
        Some(name) => {
            Err(ResolveError::parameter(format!("`{key}` takes no parameters, `{name}` is one")))
        }
    }
}

/// Parameters that are texts for the kernel, a resolver or a protocol: a whole template may fill
/// them with a number or a boolean, which then is written out.
fn text_parameters(action: PlainAction) -> &'static [&'static str] {
    match action {
        PlainAction::Http => &["url", "method", "headers", "body", "auth"],
        PlainAction::Tcp => &["host", "send", "match"],
        PlainAction::Dns => &["name", "type", "server"],
        PlainAction::Tls => &["host", "sni", "ca"],
        PlainAction::Disk | PlainAction::File => &["path"],
        PlainAction::Process => &["name", "pidfile", "match"],
        PlainAction::Clock => &["server"],
        PlainAction::Service => &["name", "pidfile", "start"],
        PlainAction::Find => &["dir", "glob"],
        PlainAction::Prometheus => &["query", "url"],
        PlainAction::Nagios => &["command"],
        _ => &[],
    }
}

/// What is sent as it is; everything else that is a text may hold no NUL.
fn takes_any_byte(parameter: &str) -> bool {
    matches!(parameter, "body" | "send")
}

fn to_text(key: &str, name: &str, value: &mut Value) -> Result<(), ResolveError> {
    match value {
        Value::Number(_) | Value::Bool(_) => {
            if let Ok(text) = text_of(value) {
                *value = Value::String(text);
            }
        }
        Value::String(text) if text.contains('\0') && !takes_any_byte(name) => {
            let why = format!("`{key}`: `{name}` holds a NUL byte");
            return Err(ResolveError::parameter(why));
        }
        Value::Array(items) => {
            for item in items {
                to_text(key, name, item)?;
            }
        }
        Value::Object(map) => {
            for (_, item) in map.iter_mut() {
                to_text(key, name, item)?;
            }
        }
        Value::String(_) | Value::Null => {}
    }
    Ok(())
}

/// Types the parameters; an error names the one that does not fit.
fn typed<T: DeserializeOwned>(key: &str, map: Map<String, Value>) -> Result<T, ResolveError> {
    let why = match serde_json::from_value::<T>(Value::Object(map.clone())) {
        Ok(typed) => return Ok(typed),
        Err(why) => why.to_string(),
    };
    // The one without which the complaint is another.
    let culprit = map.keys().find(|name| {
        let mut without = map.clone();
        without.shift_remove(*name);
        match serde_json::from_value::<T>(Value::Object(without)) {
            Ok(_) => true,
            Err(other) => other.to_string() != why,
        }
    });
    Err(ResolveError::parameter(match culprit {
        Some(name) if !why.contains(&format!("`{name}`")) => format!("`{key}`: `{name}`: {why}"),
        _ => format!("`{key}`: {why}"),
    }))
}

/// The argv lists inside parameters follow the rule of `command`: what a value, and not the author,
/// makes begin with `-` is refused, unless it stands after a literal `--` (spec 1, `E_OPTION`).
fn no_options(action: PlainAction, tree: &Tree, scope: &Scope) -> Result<(), ResolveError> {
    let Tree::Map(entries) = tree else { return Ok(()) };
    let name = match action {
        PlainAction::Nagios => "command",
        PlainAction::Service => "start",
        _ => "",
    };
    let refuse = |parameter: &str| ResolveError {
        code: "E_OPTION",
        message: format!(
            "`{parameter}`: a value begins with `-` and would be read as an option: put a literal \
             `--` before it, or write the option out"
        ),
    };
    let begins_as_option = |tree: &Tree| match tree {
        Tree::Template(template) if !template.source().starts_with('-') => {
            let value = template.render(scope).ok()?;
            Some(value.as_str()?.starts_with('-'))
        }
        _ => None,
    };
    for (key, tree) in entries {
        let is_service = action == PlainAction::Service && key == "name";
        if is_service && begins_as_option(tree) == Some(true) {
            return Err(refuse(key));
        }
        let Tree::List(items) = tree else { continue };
        if key != name {
            continue;
        }
        for item in items {
            match item {
                Tree::Literal(Value::String(text)) if text == "--" => break,
                Tree::Template(template)
                    if template.place() == (Place::Argument { after_dashes: true }) => {}
                Tree::Template(template) if template.is_literal() && template.source() == "--" => {
                    break;
                }
                item if begins_as_option(item) == Some(true) => return Err(refuse(key)),
                _ => {}
            }
        }
    }
    Ok(())
}
