//! A runbook file, read and made ready, with everything that is wrong with it said at once.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde_json::{Map, Value};

use super::exit::{Exit, Failure};
use super::report::Out;
use super::state::is_yaml;
use crate::engine::{Prepared, Refused, Source, foresee, prepare};
use crate::limits::RUNBOOK_BYTES_MAX;
use crate::runbook::report::render;

/// Reads a file, no further than a runbook may be long: the language refuses what is longer.
///
/// # Errors
///
/// What the system says; a folder is an error too.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take(RUNBOOK_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a runbook is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// To be run: what this version does not carry out is refused.
    Run,
    /// To be shown.
    Plan,
}

/// Reads the runbook at `path` and makes it ready with `given`; warnings are said.
///
/// # Errors
///
/// Exit 2: no such file, errors in it, inputs that do not fit.
pub(super) fn prepared(
    path: &Path,
    given: &Map<String, Value>,
    purpose: For,
    out: Out,
) -> Result<Prepared, Failure> {
    let bytes = read(path).map_err(|err| unreadable(path, &err))?;
    let shown = path.display().to_string();
    let source = Source { bytes: bytes.clone(), path: Some(path.to_owned()) };
    let say = |problems: &[_]| {
        let text = render(problems, &shown, &bytes, out.stderr.is_on());
        if !text.is_empty() {
            out.say_always(text.trim_end());
        }
    };
    let made = match purpose {
        For::Run => prepare(source, given),
        For::Plan => foresee(source, given),
    };
    match made {
        Ok(prepared) => {
            if !out.is_quiet {
                say(&prepared.warnings);
            }
            Ok(prepared)
        }
        Err(Refused::Problems(problems)) => {
            say(&problems);
            Err(Failure::request(format!("`{shown}` has errors: nothing was run")))
        }
        Err(Refused::Inputs(lines)) => Err(Failure::request(lines.join("\n"))),
        Err(refused @ Refused::File { .. }) => {
            Err(Failure::new(Exit::Request, super::exit::chain(&refused)))
        }
        Err(refused) => Err(Failure::request(refused.to_string())),
    }
}

fn unreadable(path: &Path, err: &io::Error) -> Failure {
    let shown = path.display();
    let failure = Failure::request(format!("failed to read the runbook `{shown}`: {err}"));
    match err.kind() {
        io::ErrorKind::IsADirectory => {
            failure.hint(format!("name one file of it; `runwarden validate {shown}` checks all"))
        }
        io::ErrorKind::NotFound => {
            let guess = path.with_extension("yaml");
            if !is_yaml(path) && guess.is_file() {
                failure.hint(format!("did you mean `{}`?", guess.display()))
            } else if is_name(path) {
                failure.hint(
                    "a runbook is named by its path: names of a catalogue need an agent, which \
                     this version does not have",
                )
            } else {
                failure
            }
        }
        _ => failure,
    }
}

/// `name` or `name@range`, as a catalogue has it.
fn is_name(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    let name = text.split('@').next().unwrap_or_default();
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for (text, is) in
            [("restart-leaky", true), ("daily@^1.2", true), ("a/b", false), ("x.yaml", false)]
        {
            assert_eq!(is_name(Path::new(text)), is, "{text}");
        }
    }
}
