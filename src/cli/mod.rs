//! The command line: parses, calls, prints. One file a command; what they share is how the state
//! folder is found ([`state`]), how a run is driven ([`drive`]) and how things look ([`report`]).
//!
//! Owns no state. Nothing else imports it, and nothing of it decides what a run does.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};

mod approvals;
mod args;
mod audit;
mod drive;
mod exit;
mod generate;
mod history;
mod inputs;
mod manual;
mod nagios;
mod output;
mod plan;
mod progress;
mod report;
mod run;
mod runs;
mod source;
mod state;
mod summary;
mod validate;
mod words;

use args::{Cli, Command, When};
use exit::{Exit, Failure};
use report::{Colours, Out};

/// Runs the program with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let is_plugin = is_plugin(&args);
    let parsed = Cli::command()
        .color(colour_of_help(&args))
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(err) if is_plugin && err.use_stderr() => {
            let text = err.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            return plugin_failure(&Out::plain(), first);
        }
        Err(err) => {
            // Whoever closed the stream does not want to read it.
            let _ = err.print();
            return if err.use_stderr() { Exit::Request.into() } else { Exit::Ok.into() };
        }
    };
    let out = Out::new(&cli.global);
    let out = if is_plugin && !out.is_verbose { out.for_plugin() } else { out };
    match call(&cli, out) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.fail(&failure);
            match is_plugin {
                true => plugin_failure(&out, &failure.message),
                false => failure.exit.into(),
            }
        }
    }
}

fn call(cli: &Cli, out: Out) -> Result<Exit, Failure> {
    let global = &cli.global;
    state::no_configuration(global)?;
    match &cli.command {
        Command::Run(args) => run::run(args, global, out),
        Command::Plan(args) => plan::plan(args, out),
        Command::Validate(args) => validate::validate(args, out),
        Command::Runs { command } => runs::runs(command, global, out),
        Command::Approvals { command } => approvals::approvals(command, global, out),
        Command::Audit { command } => audit::audit(command, global, out),
        Command::Schema { which } => generate::schema(*which, out),
        Command::Completions { shell } => generate::completions(*shell, out),
        Command::Man { out: folder } => generate::man(folder.as_deref(), out),
    }
}

/// A monitoring system understands one line and a code, whatever went wrong.
fn plugin_failure(out: &Out, message: &str) -> ExitCode {
    let line = nagios::plugin_line("UNKNOWN", message);
    // The code says it too, if the line cannot be written.
    let _ = out.result(&format!("{line}\n"));
    Exit::plugin(3).into()
}

/// Whether `--nagios` is asked for, also where the rest cannot be parsed.
fn is_plugin(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--nagios")
}

/// How help and usage errors are painted, which are printed before the options are known.
fn colour_of_help(args: &[OsString]) -> ColorChoice {
    let after = |flag: &str| {
        let mut words = args.iter().skip_while(move |arg| *arg != flag).skip(1);
        words.next().map(OsString::as_os_str)
    };
    let is = |value: &str| {
        let joined = format!("--color={value}");
        after("--color") == Some(OsStr::new(value)) || args.iter().any(|arg| *arg == *joined)
    };
    let env = Colours::of_environment();
    if is("always") {
        ColorChoice::Always
    } else if is("never") || !env.decide(When::Auto, true) {
        ColorChoice::Never
    } else {
        ColorChoice::Auto
    }
}
