//! The runbook language: YAML with spans → checked, all problems at once → a model that is valid
//! by construction. Pure: no clock, no files, no processes.

mod check;
pub mod expr;
mod grammar;
pub mod model;
pub mod params;
pub mod pattern;
pub mod problem;
mod read;
pub mod report;
pub mod resolve;
pub mod schema;
pub mod scope;
pub mod template;
pub mod value;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use crate::limits;
use model::Runbook;
pub use problem::{Problem, Severity, Span};

/// What stands around a file that its text cannot say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether `<name>.test.yaml` stands beside the file; `None`: not known, nothing is said.
    pub has_tests: Option<bool>,
}

/// What became of a file.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The runbook: there exactly if no problem is an error.
    pub runbook: Option<Arc<Runbook>>,
    /// Errors and warnings, in the order of their places.
    pub problems: Vec<Problem>,
}

/// Reads and checks a runbook; never fails, finds all problems at once.
///
/// Takes time linear in the text but for steps, of which there are at most `RUNBOOK_STEPS_MAX`;
/// depth is bounded, so that any thread's stack will do.
#[must_use]
pub fn check(source: &[u8], options: &Options) -> Checked {
    let mut problems = Vec::new();
    let runbook = match yaml::text_of(source) {
        Err(problem) => {
            problems.push(*problem);
            None
        }
        Ok(text) => match yaml::load(text, &mut problems) {
            Err(problem) => {
                problems.push(*problem);
                None
            }
            Ok(root) => {
                let read = read::read(text, &root, problems);
                problems = read.problems;
                check::check(text, &read.outline, options, &mut problems);
                read.runbook
            }
        },
    };
    // Defaults are read with every step that takes them: the same problem once is enough.
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert((problem.span, problem.code, problem.message.clone())));
    problems.sort_by_key(|problem| (problem.span.start, problem.severity));
    let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
    bound(&mut problems);
    Checked { runbook: runbook.filter(|_| !has_errors).map(Arc::new), problems }
}

/// What YAML or JSON text holds that is no runbook (inputs), read as strictly as one.
///
/// # Errors
///
/// The first problem, with its line: lower case, no full stop.
pub fn data(source: &[u8]) -> Result<serde_json::Value, String> {
    yaml::data(source)
}

/// Keeps the first problems of a file that has more than anybody reads; errors before warnings.
fn bound(problems: &mut Vec<Problem>) {
    let most = limits::PROBLEMS_MAX;
    if problems.len() <= most {
        return;
    }
    let more = problems.len() - most;
    let at = problems[most].span;
    problems.sort_by_key(|problem| problem.severity);
    problems.truncate(most);
    problems.sort_by_key(|problem| (problem.span.start, problem.severity));
    problems.push(Problem::error("E_TOO_MANY_PROBLEMS", at, format!("and {more} more problems")));
}
