//! What can be written on the command line. Every help text is written for somebody who reads it
//! at 3 a.m.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::run::event::ResumeAction;

/// The package's version and the commit.
pub(super) const VERSION: &str = env!("RUNWARDEN_VERSION");

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Exit codes:
  0  succeeded or degraded (`run --strict` makes degraded 1)
  1  failed; `validate`: errors found
  2  the request is wrong: usage, validation, an unknown name
  3  denied or expired
  4  interrupted or suspended, waits for a person
  5  cancelled
  6  the audit log does not verify
  7  the store cannot be used

Standard output carries the result, standard error progress and messages.";

/// Executes versioned YAML runbooks, with a signed log of every step.
#[derive(Debug, Parser)]
#[command(
    name = "runwarden",
    version = VERSION,
    styles = STYLES,
    after_help = AFTER_HELP,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    infer_long_args = false
)]
pub(super) struct Cli {
    /// Before or after any command.
    #[command(flatten)]
    pub(super) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// Configuration file; this version runs without one and refuses to ignore one
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,
    /// Folder of the signed log [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/runwarden, else
    /// ~/.local/state/runwarden]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) state: Option<PathBuf>,
    /// What standard output gets: text for people, or JSON that stays the same across versions
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "text",
        hide_possible_values = true,
        value_name = "text|json"
    )]
    pub(super) output: Format,
    /// Colours and live lines; `auto` leaves them out in pipes, in CI and where NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        hide_possible_values = true,
        value_name = "auto|always|never"
    )]
    pub(super) color: When,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Say more: the state folder, each step as it starts
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(super) verbose: bool,
}

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// Where it helps.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a runbook, and record every step before and after it happens
    Run(Run),
    /// Show what a run would do, with everything filled in that is known; do nothing
    Plan(Plan),
    /// Check runbooks: every error and warning of every file, with its place and its cure
    Validate(Validate),
    /// Look at runs, and decide about those that wait
    Runs {
        /// What to do.
        #[command(subcommand)]
        command: Runs,
    },
    /// See and confirm the manual steps that runs wait for
    Approvals {
        /// What to do.
        #[command(subcommand)]
        command: Approvals,
    },
    /// Read and verify the signed log
    Audit {
        /// What to do.
        #[command(subcommand)]
        command: Audit,
    },
    /// Print the JSON Schema of the runbook language, for editors
    Schema {
        /// Which schema
        #[arg(value_enum, default_value = "runbook")]
        which: Schema,
    },
    /// Print a completion script for a shell
    ///
    /// For bash: `runwarden completions bash > /etc/bash_completion.d/runwarden`
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual pages
    ///
    /// All of them one after the other, for `runwarden man | man -l -`; or, with --out, each in
    /// its file.
    Man {
        /// Write one file a page into this folder
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// `schema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Schema {
    /// The runbook language, v1
    Runbook,
}

/// Inputs of a runbook.
#[derive(Args, Debug)]
pub(super) struct Inputs {
    /// An input of the runbook; `name=@FILE` takes the text of a file, without its last newline
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(super) input: Vec<String>,
    /// A YAML or JSON object of inputs; what `-i` says goes before it, `@` means nothing in it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) inputs: Option<PathBuf>,
}

/// `run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  runwarden run runbooks/health-checks/host.yaml
  runwarden run restart.yaml -i service=checkout --ticket INC0012345
  runwarden run restart.yaml --inputs inputs.json -o json

Ctrl-C once cancels in order: the running step is ended, rollbacks and `finally` run.
Ctrl-C twice stops at once. The record says which.")]
pub(super) struct Run {
    /// Path of the runbook
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) runbook: PathBuf,
    /// What the runbook asks for
    #[command(flatten)]
    pub(super) inputs: Inputs,
    /// Why, for those who read the record later
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
    /// Ticket that this run belongs to
    #[arg(long, value_name = "ID")]
    pub(super) ticket: Option<String>,
    /// Where to run; this version knows only `local`, this machine
    #[arg(long, value_name = "SELECTOR")]
    pub(super) target: Option<String>,
    /// Do not stay when the run waits for a person: leave it as it stands, exit 4
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Do not ask before the first change
    #[arg(long)]
    pub(super) yes: bool,
    /// Exit 1 if the run is degraded
    #[arg(long)]
    pub(super) strict: bool,
    /// Refuse a runbook whose text has changed under the same name and version
    #[arg(long)]
    pub(super) pinned: bool,
    /// Be a monitoring plugin: one line `OK|WARNING|CRITICAL|UNKNOWN - text | measures`, exit 0, 1,
    /// 2, 3
    #[arg(long, conflicts_with = "strict")]
    pub(super) nagios: bool,
}

/// `plan`.
#[derive(Args, Debug)]
pub(super) struct Plan {
    /// Path of the runbook
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) runbook: PathBuf,
    /// What the runbook asks for
    #[command(flatten)]
    pub(super) inputs: Inputs,
}

/// `validate`.
#[derive(Args, Debug)]
pub(super) struct Validate {
    /// Runbooks, and folders whose `*.yaml` and `*.yml` are taken (without `*.test.yaml`)
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(super) paths: Vec<PathBuf>,
    /// Warnings count as errors: for CI
    #[arg(long)]
    pub(super) deny_warnings: bool,
}

/// `runs …`.
#[derive(Debug, Subcommand)]
pub(super) enum Runs {
    /// List runs, newest first
    List(RunsList),
    /// Show one run: its steps, what failed and why, its place in the log
    Show(OneRun),
    /// Follow a run of another process until it ends; exits as `run` does
    Watch(OneRun),
    /// Print what a step wrote
    ///
    /// Control characters are made visible on a terminal; in a pipe the bytes are as they were.
    Output(RunsOutput),
    /// End a run in order: its running steps, then rollbacks and `finally`
    Cancel(Decision),
    /// Decide about a run that is suspended or whose process died, and run it to its end
    Resume(Resume),
}

/// `runs list`.
#[derive(Args, Debug, Default)]
pub(super) struct RunsList {
    /// Only runs of this runbook
    #[arg(long, value_name = "NAME")]
    pub(super) runbook: Option<String>,
    /// Only runs that ended so
    #[arg(long, value_parser = ["succeeded", "degraded", "failed", "denied", "cancelled", "interrupted"], hide_possible_values = false)]
    pub(super) outcome: Option<String>,
    /// Only runbooks of this kind
    #[arg(long, value_parser = ["health-check", "backup", "failover-test", "remediation", "task"])]
    pub(super) kind: Option<String>,
    /// Only runs in this state
    #[arg(long, value_parser = ["queued", "waiting_approval", "running", "suspended", "finished"])]
    pub(super) state_is: Option<String>,
    /// Only runs asked for since then: `30d`, `4h`, `2026-01-02`, `2026-01-02T03:04:05Z`
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Only runs asked for until then, written as for --since
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// Only runs of this ticket
    #[arg(long, value_name = "ID")]
    pub(super) ticket: Option<String>,
    /// Only runs that have this target
    #[arg(long, value_name = "NAME")]
    pub(super) target: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: usize,
}

/// A run.
#[derive(Args, Debug)]
pub(super) struct OneRun {
    /// Id of the run, or its beginning where that is enough to tell it
    #[arg(value_name = "RUN")]
    pub(super) id: String,
}

/// `runs output`.
#[derive(Args, Debug)]
pub(super) struct RunsOutput {
    /// Id of the run, or its beginning
    #[arg(value_name = "RUN")]
    pub(super) id: String,
    /// Id of the step
    pub(super) step: String,
    /// Its standard error instead of its standard output
    #[arg(long)]
    pub(super) stderr: bool,
    /// Which attempt, counted from 1 [default: the last that ended]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) attempt: Option<u32>,
    /// The bytes as they were, even on a terminal
    #[arg(long)]
    pub(super) raw: bool,
}

/// `runs cancel`.
#[derive(Args, Debug)]
pub(super) struct Decision {
    /// Id of the run, or its beginning
    #[arg(value_name = "RUN")]
    pub(super) id: String,
    /// Why, for those who read the record later
    #[arg(long, value_name = "TEXT")]
    pub(super) comment: Option<String>,
}

/// `runs resume`.
#[derive(Args, Debug)]
#[command(override_usage = "runwarden runs resume [OPTIONS] <RUN>")]
#[command(group = clap::ArgGroup::new("decision").args(["retry", "skip", "stop"]))]
#[command(after_help = "\
Without --retry, --skip or --stop the run goes on where nothing has to be decided.")]
pub(super) struct Resume {
    /// Id of the run, or its beginning
    // A lone word after `--retry` or `--skip` is the run: see `Resume::run`.
    #[arg(value_name = "RUN", required_unless_present_any = ["retry", "skip"])]
    pub(super) id: Option<String>,
    /// Run the step that is held again (STEP where several are)
    #[arg(long, value_name = "STEP", num_args = 0..=1)]
    pub(super) retry: Option<Option<String>>,
    /// Go on as if the step that is held had been skipped
    #[arg(long, value_name = "STEP", num_args = 0..=1)]
    pub(super) skip: Option<Option<String>>,
    /// Go no further: rollbacks, `finally`, end
    #[arg(long)]
    pub(super) stop: bool,
    /// Why, for those who read the record later
    #[arg(long, value_name = "TEXT")]
    pub(super) comment: Option<String>,
    /// Do not stay when the run waits for a person again: exit 4
    #[arg(long)]
    pub(super) no_wait: bool,
}

impl Resume {
    /// The run, and what to do about which of its steps. Without a run, what stands after the flag
    /// is it: `resume --retry RUN` is as clear as `resume RUN --retry`. `None`: there is no run.
    pub(super) fn asked(&self) -> Option<(&str, ResumeAction, Option<&str>)> {
        let (action, word) = match (&self.retry, &self.skip) {
            (Some(step), _) => (ResumeAction::Retry, step.as_deref()),
            (_, Some(step)) => (ResumeAction::Skip, step.as_deref()),
            _ if self.stop => (ResumeAction::Stop, None),
            _ => (ResumeAction::Continue, None),
        };
        match (self.id.as_deref(), word) {
            (Some(id), step) => Some((id, action, step)),
            (None, Some(id)) => Some((id, action, None)),
            (None, None) => None,
        }
    }
}

/// `approvals …`.
#[derive(Debug, Subcommand)]
pub(super) enum Approvals {
    /// List what runs wait for
    List,
    /// Say that a manual step was done
    Confirm(Confirm),
}

/// `approvals confirm`.
#[derive(Args, Debug)]
pub(super) struct Confirm {
    /// `RUN/STEP`, as `approvals list` prints it
    #[arg(value_name = "RUN/STEP")]
    pub(super) id: String,
    /// What was done, for those who read the record later
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    /// An answer that the step asks for
    #[arg(long = "answer", value_name = "NAME=VALUE")]
    pub(super) answers: Vec<String>,
    /// Do not stay when the run waits for a person again: exit 4
    #[arg(long)]
    pub(super) no_wait: bool,
}

/// `audit …`.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check that the log is what was signed; reads only, never repairs
    ///
    /// Exit 0: it is. 6: it is not, with a stable code and the first bad entry. 2: it cannot be
    /// verified.
    Verify(Verify),
    /// Print the entries
    Log(Log),
    /// Print one entry
    Show {
        /// Number of the entry, from 0
        seq: u64,
    },
    /// Print the signed head of the log: keep it elsewhere, for `verify --since`
    Checkpoint,
    /// Print the log's public keys, one a line, newest last: hand them to the auditor
    Keys,
}

/// `audit verify`.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// State folder, or folder in the tlog-tiles layout [default: the state folder]
    #[arg(value_name = "STATE|DIR", value_hint = ValueHint::DirPath)]
    pub(super) path: Option<PathBuf>,
    /// A public key that came by another way: the log must be signed by it
    #[arg(long, value_name = "VKEY")]
    pub(super) key: Vec<String>,
    /// A signed head that was kept elsewhere: the log must contain it
    #[arg(long, value_name = "CHECKPOINT", value_hint = ValueHint::FilePath)]
    pub(super) since: Vec<PathBuf>,
    /// The least trust that is enough, else exit 2: L0 the files agree with each other, L1 a given
    /// key has signed, L2 a given head is contained, L3 witnesses, L4 keys of epochs
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "L0..L4",
        hide_possible_values = true
    )]
    pub(super) require: Option<Level>,
}

/// A trust level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Level {
    #[value(name = "L0")]
    L0,
    #[value(name = "L1")]
    L1,
    #[value(name = "L2")]
    L2,
    #[value(name = "L3")]
    L3,
    #[value(name = "L4")]
    L4,
}

/// `audit log`.
#[derive(Args, Debug)]
pub(super) struct Log {
    /// Only entries of this run
    #[arg(long, value_name = "RUN")]
    pub(super) run: Option<String>,
    /// The stored bytes, one entry a line, so that anyone can hash them
    #[arg(long)]
    pub(super) raw: bool,
    /// From this entry on
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(super) from: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Goal: `resume` knows the run from the step, whichever stands first.
    #[test]
    fn the_run_is_told_from_the_step() {
        for (line, want) in [
            ("0192", Some(("0192", ResumeAction::Continue, None))),
            ("0192 --retry", Some(("0192", ResumeAction::Retry, None))),
            ("0192 --retry go", Some(("0192", ResumeAction::Retry, Some("go")))),
            ("--retry 0192", Some(("0192", ResumeAction::Retry, None))),
            ("--skip go 0192", Some(("0192", ResumeAction::Skip, Some("go")))),
            ("--stop 0192", Some(("0192", ResumeAction::Stop, None))),
            ("--retry", None),
        ] {
            let words = ["runwarden", "runs", "resume"].into_iter().chain(line.split(' '));
            let cli = Cli::try_parse_from(words).unwrap();
            let Command::Runs { command: Runs::Resume(args) } = cli.command else {
                panic!("{line} is a resume")
            };
            assert_eq!(args.asked(), want, "{line}");
        }
        assert!(Cli::try_parse_from(["runwarden", "runs", "resume", "--stop"]).is_err());
    }

    /// Goal: no flag or command is there without a sentence about it.
    #[test]
    fn everything_has_help() {
        fn look(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(look);
        }
        Cli::command().debug_assert();
        look(&Cli::command());
    }
}
