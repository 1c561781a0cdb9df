//! `schema`, `completions`, `man`: what follows from the program itself.

use std::path::Path;

use clap::CommandFactory as _;

use super::args::{Cli, Schema};
use super::exit::{Exit, Failure};
use super::report::Out;

/// `schema`.
///
/// # Errors
///
/// If it cannot be written.
pub(super) fn schema(which: Schema, out: Out) -> Result<Exit, Failure> {
    match which {
        Schema::Runbook => out.json(&crate::runbook::schema::runbook_schema())?,
    }
    Ok(Exit::Ok)
}

/// `completions`.
///
/// # Errors
///
/// If it cannot be written.
pub(super) fn completions(shell: clap_complete::Shell, out: Out) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "runwarden", &mut script);
    out.result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// `man`.
///
/// # Errors
///
/// If it cannot be written.
pub(super) fn man(folder: Option<&Path>, out: Out) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "runwarden", &mut pages).map_err(|err| cannot("the manual", &err))?;
    let Some(folder) = folder else {
        let text: String = pages.into_iter().map(|(_, page)| page).collect();
        out.result(&text)?;
        return Ok(Exit::Ok);
    };
    std::fs::create_dir_all(folder).map_err(|err| cannot(&folder.display().to_string(), &err))?;
    for (name, page) in pages {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page).map_err(|err| cannot(&path.display().to_string(), &err))?;
    }
    Ok(Exit::Ok)
}

fn cannot(what: &str, err: &std::io::Error) -> Failure {
    Failure::request(format!("failed to write `{what}`: {err}"))
}

/// The page of a command, and those of the commands in it.
fn collect(
    command: &clap::Command,
    name: &str,
    pages: &mut Vec<(String, String)>,
) -> std::io::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    pages.push((name.to_owned(), String::from_utf8_lossy(&page).into_owned()));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        collect(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}
