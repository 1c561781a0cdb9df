//! What templates and expressions see: one context, the same names in both.

use serde_json::{Map, Value};

/// The values by their first name: `inputs steps run runbook target item result`, declared
/// `secrets` (as placeholders), and the names of `set` steps that have run.
///
/// Only names that the text mentions need be here: who builds a scope asks the text first.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Values by first name. A step that did not run is an object without the missing fields, so
    /// that `is defined` and `|default(…)` work on them.
    pub roots: Map<String, Value>,
    /// In `finally` a name that is absent renders as `(not run)`; elsewhere it is an error.
    pub absent_ok: bool,
}

impl Scope {
    /// With `name` holding `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Scope {
        self.roots.insert(name.to_owned(), value);
        self
    }
}
