//! From what the author wrote to what will be done: every template rendered, every value typed.
//!
//! Pure, and before any effect: an error here means that nothing happened.

mod mentioned;
mod plain;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use super::expr::{EvalError, Expr};
use super::model::{Action, Arg, Check, ProcessModifiers, ScriptSource, Step, Tree, Wait};
use super::params::{self, ProcessSettings, Resolved, Seconds};
use super::scope::Scope;
use super::template::{Template, text_of};
use crate::limits::{ARGUMENT_BYTES_MAX, RESULT_BYTES_MAX};

pub use mentioned::mentioned;

/// What reads a `shell` text that names no interpreter: a failed command, an unset variable or a
/// failed part of a pipe ends it (spec 1).
const SHELL: [&str; 3] = ["bash", "-euo", "pipefail"];

/// Why a step cannot be carried out as written, before anything of it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// Stable: `E_OPTION`, `E_ARG_TOO_LONG`, `E_TEMPLATE`, `E_EXPRESSION`, `E_PARAMETER`, `E_URL`,
    /// `E_SECRET`, `E_UNSUPPORTED`.
    pub code: &'static str,
    /// Names the parameter and the cause.
    pub message: String,
}

impl ResolveError {
    fn parameter(message: impl Into<String>) -> ResolveError {
        ResolveError { code: "E_PARAMETER", message: message.into() }
    }

    /// Says which parameter could not be filled.
    fn of(parameter: &str, err: EvalError) -> ResolveError {
        ResolveError { code: err.code, message: format!("`{parameter}`: {}", err.message) }
    }
}

/// Renders the action of `step` in `scope`. `files` holds the texts of the files that the
/// runbook's scripts name, by path as written ([`super::model::Runbook::files`]).
///
/// # Errors
///
/// [`ResolveError`] if a name is missing, a value does not fit its parameter, or an argument is
/// too long; `E_UNSUPPORTED` for an action that this build does not carry out.
pub fn resolve(
    step: &Step,
    scope: &Scope,
    files: &BTreeMap<String, String>,
) -> Result<Resolved, ResolveError> {
    if let Some(name) = mentioned::secret(step) {
        return Err(ResolveError {
            code: "E_SECRET",
            message: format!("`{name}`: secrets need a configuration"),
        });
    }
    match &step.action {
        Action::Command(args) => {
            let argv = command(args, scope)?;
            Ok(Resolved::Command(params::Command { argv, process: process(step, scope)? }))
        }
        Action::Shell { text, interpreter } => {
            no_nul("shell", text)?;
            too_long("shell", text.len())?;
            let interpreter = interpreter
                .clone()
                .unwrap_or_else(|| SHELL.iter().map(ToString::to_string).collect());
            let process = process(step, scope)?;
            Ok(Resolved::Shell(params::Shell { text: text.clone(), interpreter, process }))
        }
        Action::Script { interpreter, source } => {
            let (text, file) = match source {
                ScriptSource::Text(text) => (text.clone(), None),
                ScriptSource::File(path) => match files.get(path) {
                    Some(text) => (text.clone(), Some(path.clone())),
                    None => {
                        let why = format!("`script`: the file `{path}` was not read");
                        return Err(ResolveError::parameter(why));
                    }
                },
            };
            let interpreter = interpreter.clone();
            let process = process(step, scope)?;
            Ok(Resolved::Script(params::Script { interpreter, text, file, process }))
        }
        Action::Plain { name, params } => plain::resolve(*name, params, step, scope),
        Action::Wait(wait) => wait_for(wait, scope, files).map(Resolved::Wait),
        Action::Manual(manual) => Ok(Resolved::Manual(params::Manual {
            instructions: text("instructions", &manual.instructions, scope)?,
            from: manual.from.clone(),
            ask: manual.ask.iter().map(|(name, _)| name.clone()).collect(),
        })),
        Action::Set(_) | Action::Assert(_) | Action::End(_) | Action::Block(_) => {
            Ok(Resolved::Core {})
        }
        Action::Switch(_) => Ok(Resolved::Core {}),
        Action::Probe(_) | Action::Approve(_) | Action::Call(_) => Err(unsupported(&step.action)),
    }
}

/// Renders the action of a check, as [`resolve`] does of a step.
///
/// # Errors
///
/// As [`resolve`].
pub fn resolve_check(
    check: &Check,
    scope: &Scope,
    files: &BTreeMap<String, String>,
) -> Result<Resolved, ResolveError> {
    resolve(&check.0, scope, files)
}

fn unsupported(action: &Action) -> ResolveError {
    ResolveError {
        code: "E_UNSUPPORTED",
        message: format!("`{}` is not carried out by this build", action.name()),
    }
}

fn wait_for(
    wait: &Wait,
    scope: &Scope,
    files: &BTreeMap<String, String>,
) -> Result<params::Wait, ResolveError> {
    Ok(match wait {
        Wait::For(span) => params::Wait::For(duration("wait", span, scope)?),
        Wait::Until { check, every, stable, timeout } => params::Wait::Until {
            check: Box::new(resolve_check(check, scope, files)?),
            every: duration("every", every, scope)?,
            stable: duration("stable", stable, scope)?,
            timeout: duration("timeout", timeout, scope)?,
        },
    })
}

fn duration(name: &str, tree: &Tree, scope: &Scope) -> Result<Seconds, ResolveError> {
    serde_json::from_value(tree_value(name, tree, scope)?)
        .map_err(|err| ResolveError::parameter(format!("`{name}`: {err}")))
}

/// A tree with every template rendered; entries keep the author's order.
fn tree_value(name: &str, tree: &Tree, scope: &Scope) -> Result<Value, ResolveError> {
    let value = match tree {
        Tree::Literal(value) => value.clone(),
        Tree::Template(template) => {
            template.render(scope).map_err(|err| ResolveError::of(name, err))?
        }
        Tree::List(items) => {
            let items: Result<Vec<_>, _> =
                items.iter().map(|item| tree_value(name, item, scope)).collect();
            Value::Array(items?)
        }
        Tree::Map(entries) => {
            let mut map = serde_json::Map::new();
            for (key, tree) in entries {
                map.insert(key.clone(), tree_value(key, tree, scope)?);
            }
            Value::Object(map)
        }
    };
    Ok(value)
}

/// The text of a template that fills `name`.
fn text(name: &str, template: &Template, scope: &Scope) -> Result<String, ResolveError> {
    template.render_text(scope).map_err(|err| ResolveError::of(name, err))
}

/// As [`text`], where the kernel takes the text: no NUL, and within one argument's length.
fn kernel_text(name: &str, template: &Template, scope: &Scope) -> Result<String, ResolveError> {
    let text = text(name, template, scope)?;
    no_nul(name, &text)?;
    too_long(name, text.len())?;
    Ok(text)
}

fn no_nul(name: &str, text: &str) -> Result<(), ResolveError> {
    if text.contains('\0') {
        return Err(ResolveError::parameter(format!("`{name}`: the value holds a NUL byte")));
    }
    Ok(())
}

/// `bytes` without the final NUL, which the kernel counts too.
fn too_long(name: &str, bytes: usize) -> Result<(), ResolveError> {
    if bytes < ARGUMENT_BYTES_MAX {
        return Ok(());
    }
    Err(ResolveError {
        code: "E_ARG_TOO_LONG",
        message: format!(
            "`{name}`: the value has {bytes} bytes, one argument or variable holds fewer than \
             {ARGUMENT_BYTES_MAX}: hand it over by `stdin`"
        ),
    })
}

fn command(args: &[Arg], scope: &Scope) -> Result<Vec<String>, ResolveError> {
    const NAME: &str = "command";
    let mut argv = Vec::new();
    let mut after_dashes = false;
    for arg in args {
        match arg {
            Arg::One(template) => {
                after_dashes |= template.is_literal() && template.source() == "--";
                let value = template.render(scope).map_err(|err| ResolveError::of(NAME, err))?;
                argv.push(argument(template.source(), value)?);
            }
            Arg::Each(expr) => each(expr, scope, after_dashes, &mut argv)?,
        }
    }
    if argv.first().is_none_or(String::is_empty) {
        return Err(ResolveError::parameter("`command`: the program's name is empty"));
    }
    Ok(argv)
}

/// `{ each: expression }`: one argument an item.
fn each(
    expr: &Expr,
    scope: &Scope,
    after_dashes: bool,
    argv: &mut Vec<String>,
) -> Result<(), ResolveError> {
    let source = expr.source();
    let Value::Array(items) = expr.eval(scope).map_err(|err| ResolveError::of("each", err))? else {
        return Err(ResolveError::parameter(format!("`each`: `{source}` is not a list")));
    };
    for item in items {
        if !after_dashes && item.as_str().is_some_and(|text| text.starts_with('-')) {
            return Err(ResolveError {
                code: "E_OPTION",
                message: format!(
                    "an item of `{source}` begins with `-` and would be read as an option: put a \
                     literal `--` before it"
                ),
            });
        }
        argv.push(argument(source, item)?);
    }
    Ok(())
}

/// One value as one argument: never joined, never split.
fn argument(source: &str, value: Value) -> Result<String, ResolveError> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(_) | Value::Bool(_) => text_of(&value)
            .map_err(|why| ResolveError::parameter(format!("`{source}` is {why}")))?,
        Value::Array(_) => {
            return Err(ResolveError::parameter(format!(
                "`{source}` is a list: one argument an item is `{{ each: … }}`"
            )));
        }
        Value::Object(_) | Value::Null => {
            let what = super::expr::value::kind(&value);
            return Err(ResolveError::parameter(format!("`{source}` is {what}, no argument")));
        }
    };
    no_nul(source, &text)?;
    too_long(source, text.len())?;
    Ok(text)
}

/// Environment and identity of the step's process.
fn process(step: &Step, scope: &Scope) -> Result<ProcessSettings, ResolveError> {
    let ProcessModifiers { env, secret_files: _, cwd, user, sudo, stdin } = &step.process;
    let mut settings = ProcessSettings {
        sudo: *sudo,
        wants_outputs: !step.outputs.is_empty(),
        ..ProcessSettings::default()
    };
    for (name, template) in env {
        let value = kernel_text(name, template, scope)?;
        // The kernel counts `NAME=value` as one.
        too_long(name, name.len() + 1 + value.len())?;
        settings.env.push((name.clone(), value));
    }
    if let Some(template) = cwd {
        let cwd = kernel_text("cwd", template, scope)?;
        if cwd.is_empty() {
            return Err(ResolveError::parameter("`cwd`: the folder's name is empty"));
        }
        settings.cwd = Some(cwd);
    }
    if let Some(template) = user {
        let user = kernel_text("user", template, scope)?;
        if user.starts_with('-') {
            return Err(ResolveError {
                code: "E_OPTION",
                message: "`user`: the value begins with `-` and would be read as an option".into(),
            });
        }
        if user.is_empty() || user.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(ResolveError::parameter("`user`: the value is no user's name"));
        }
        settings.user = Some(user);
    }
    if let Some(template) = stdin {
        let stdin = text("stdin", template, scope)?;
        if stdin.len() > RESULT_BYTES_MAX {
            return Err(ResolveError::parameter(format!(
                "`stdin`: the value is larger than {RESULT_BYTES_MAX} bytes"
            )));
        }
        settings.stdin = Some(stdin);
    }
    Ok(settings)
}
