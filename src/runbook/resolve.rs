//! From what the author wrote to what will be done: every template rendered, every value typed.

use std::collections::BTreeMap;

use super::model::Step;
use super::params::Resolved;
use super::scope::Scope;

/// Why a step cannot be carried out as written, before anything of it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    /// Stable: `E_OPTION`, `E_ARG_TOO_LONG`, `E_TEMPLATE`, `E_EXPRESSION`, `E_PARAMETER`…
    pub code: &'static str,
    /// Names the parameter and the cause.
    pub message: String,
}

/// Renders the action of `step` in `scope`. `files` holds the texts of the files that the
/// runbook's scripts name, by path as written ([`super::model::Runbook::files`]).
///
/// # Errors
///
/// [`ResolveError`] if a name is missing, a value does not fit its parameter, or an argument is
/// too long.
pub fn resolve(
    _step: &Step,
    _scope: &Scope,
    _files: &BTreeMap<String, String>,
) -> Result<Resolved, ResolveError> {
    unimplemented!()
}

/// Every name that an expression or template of the step mentions, its checks included, the steps
/// that it holds not.
#[must_use]
pub fn mentioned(_step: &Step) -> std::collections::BTreeSet<Vec<String>> {
    unimplemented!()
}

/// Renders the action of a check.
pub fn resolve_check(
    _check: &super::model::Check,
    _scope: &Scope,
    _files: &BTreeMap<String, String>,
) -> Result<Resolved, ResolveError> {
    unimplemented!()
}
