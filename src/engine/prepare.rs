//! From a file and inputs to a run that may begin; nothing has happened yet.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Files, Source};
use crate::limits::RUNBOOK_BYTES_MAX;
use crate::plan::{Plan, plan};
use crate::runbook::model::{Action, ForEach, PlainAction, Runbook, Step};
use crate::runbook::value::check_inputs;
use crate::runbook::{Options, Problem, check};

/// Everything that a run needs, checked.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The runbook.
    pub runbook: Arc<Runbook>,
    /// The file.
    pub source: Source,
    /// The texts of the files that its scripts name.
    pub files: Files,
    /// All inputs, defaults included.
    pub inputs: Map<String, Value>,
    /// What will be done.
    pub plan: Plan,
    /// Warnings of the file.
    pub warnings: Vec<Problem>,
}

/// Why a run cannot begin: exit 2.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The file has errors; all problems of it, warnings included.
    #[error("the runbook has errors")]
    Problems(Vec<Problem>),
    /// Inputs that are missing, unknown or do not fit: a line each.
    #[error("{}", .0.join("\n"))]
    Inputs(Vec<String>),
    /// A file that a script names.
    #[error("failed to read `{path}`, which the runbook names")]
    File {
        /// As the runbook has it.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Constructs that this version checks and plans, but does not carry out: a line each.
    #[error("{}", .0.join("\n"))]
    Unsupported(Vec<String>),
}

/// Checks a runbook and the inputs for it, reads the files that it names, and makes the plan of a
/// run that may begin.
///
/// # Errors
///
/// [`Refused`], with everything that is wrong at once.
pub fn prepare(source: Source, given: &Map<String, Value>) -> Result<Prepared, Refused> {
    let prepared = foresee(source, given)?;
    let unsupported = unsupported(&prepared.runbook);
    if !unsupported.is_empty() {
        return Err(Refused::Unsupported(unsupported));
    }
    Ok(prepared)
}

/// As [`prepare`], to be shown only: also of what this version cannot carry out.
///
/// # Errors
///
/// [`Refused`], never [`Refused::Unsupported`].
pub fn foresee(source: Source, given: &Map<String, Value>) -> Result<Prepared, Refused> {
    let options = Options::default();
    let checked = check(&source.bytes, &options);
    let Some(runbook) = checked.runbook else {
        return Err(Refused::Problems(checked.problems));
    };
    let inputs = check_inputs(&runbook.inputs, given).map_err(Refused::Inputs)?;
    let folder = source.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let files = read_files(&runbook, folder)?;
    let plan = plan(&runbook, &inputs, &files);
    Ok(Prepared { runbook, source, files, inputs, plan, warnings: checked.problems })
}

/// Reads the files that the runbook's scripts name, relative to `folder`.
///
/// # Errors
///
/// [`Refused::File`] for the first that cannot be read, is no UTF-8 or is too large.
pub fn read_files(runbook: &Runbook, folder: &Path) -> Result<Files, Refused> {
    let mut files = Files::new();
    for path in &runbook.files {
        let refused = |source| Refused::File { path: path.clone(), source };
        let full = folder.join(path);
        let size = std::fs::metadata(&full).map_err(refused)?.len();
        if size > RUNBOOK_BYTES_MAX {
            let why = format!("it is larger than {RUNBOOK_BYTES_MAX} bytes");
            return Err(refused(std::io::Error::other(why)));
        }
        files.insert(path.clone(), std::fs::read_to_string(&full).map_err(refused)?);
    }
    Ok(files)
}

/// What of the language this version cannot carry out, in the author's words.
fn unsupported(runbook: &Runbook) -> Vec<String> {
    let mut lines = Vec::new();
    let mut refuse = |what: String| lines.push(format!("this version does not carry out {what}"));
    for (is_there, what) in [
        (!runbook.secrets.is_empty(), "`secrets`"),
        (runbook.concurrency.is_some(), "`concurrency`"),
        (runbook.calendar.is_some(), "`calendar`"),
        (runbook.change.is_some(), "`change`"),
        (!runbook.steady_state.is_empty(), "`steady_state`"),
        (runbook.guard.is_some(), "`guard`"),
    ] {
        if is_there {
            refuse(what.to_owned());
        }
    }
    if runbook.targets.as_ref().is_some_and(|targets| targets.source() != "local") {
        refuse("`targets` other than `local`".to_owned());
    }
    runbook.walk(&mut |step| {
        if let Some(what) = unsupported_step(step) {
            refuse(format!("{what} (step `{}`)", step.id));
        }
    });
    lines
}

fn unsupported_step(step: &Step) -> Option<String> {
    if step.target.as_ref().is_some_and(|target| target.source() != "local") {
        return Some("`target` other than `local`".to_owned());
    }
    if matches!(step.for_each, Some(ForEach::Items(_) | ForEach::Expr(_))) {
        return Some("`for_each`".to_owned());
    }
    let is_missing = match &step.action {
        Action::Approve(_) | Action::Call(_) | Action::Probe(_) => true,
        Action::Plain { name, .. } => matches!(
            name,
            PlainAction::Sql
                | PlainAction::Backup
                | PlainAction::Restore
                | PlainAction::Prune
                | PlainAction::Transfer
                | PlainAction::Notify
                | PlainAction::Ticket
        ),
        _ => false,
    };
    is_missing.then(|| format!("`{}`", step.action.name()))
}
