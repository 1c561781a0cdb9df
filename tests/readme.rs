//! README.md says what is so: its runbook is one, its table of limits is the program's.

use std::time::Duration;
use std::{env, fs};

use runwarden::limits as l;
use runwarden::runbook::{Options, check};

const BEGIN: &str = "<!-- limits: tests/readme.rs writes this table -->\n";
const END: &str = "<!-- end of limits -->";

fn path() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")
}

fn readme() -> String {
    fs::read_to_string(path()).expect("README.md is there")
}

/// Goal: who copies the first runbook that they see gets one that is accepted.
#[test]
fn the_runbook_of_the_first_screen_is_valid() {
    let readme = readme();
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let checked = check(block.as_bytes(), &Options { has_tests: Some(true) });
        let problems: Vec<_> = checked.problems.iter().map(|problem| &problem.message).collect();
        assert!(problems.is_empty(), "{problems:?} in\n{block}");
    }
}

/// Goal: the table of limits is the program's. `UPDATE=1 cargo test --test readme` writes it.
#[test]
fn the_limits_are_those_of_the_program() {
    let size = |bytes: u64| match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    };
    let bytes = |bytes: usize| size(bytes as u64);
    let time = |span: Duration| match span.as_millis() {
        millis if millis % 1000 != 0 => format!("{millis} ms"),
        millis if millis >= 120_000 => format!("{} min", millis / 60_000),
        millis => format!("{} s", millis / 1000),
    };
    let rows = [
        ("a runbook file", size(l::RUNBOOK_BYTES_MAX), "refused"),
        ("steps of a runbook, nested ones counted", l::RUNBOOK_STEPS_MAX.to_string(), "refused"),
        ("nesting of its YAML", l::YAML_DEPTH_MAX.to_string(), "refused"),
        ("one template or expression", bytes(l::EXPRESSION_BYTES_MAX), "refused"),
        ("an input", bytes(l::INPUT_BYTES_MAX), "refused"),
        ("one argument", bytes(l::ARGUMENT_BYTES_MAX), "the step fails: use `stdin`"),
        ("one attempt, without `timeout`", time(l::STEP_TIMEOUT), "ended"),
        ("from TERM to KILL", time(l::KILL_GRACE), "killed"),
        ("attempts of a `retry`", l::RETRY_ATTEMPTS_MAX.to_string(), "refused"),
        ("under way at once, without `limits`", l::PARALLEL_DEFAULT.to_string(), "the rest wait"),
        ("output of a step, a stream", size(l::STORED_OUTPUT_BYTES_MAX), "its ends are kept"),
        ("each of these ends", size(l::STORED_OUTPUT_END_BYTES), "the middle is only hashed"),
        ("`value` and `outputs` of a step", bytes(l::RESULT_BYTES_MAX), "the step fails"),
        ("what expressions see of an output", size(l::EXPRESSION_OUTPUT_BYTES_MAX), "undefined"),
        ("body of an HTTP response", size(l::HTTP_BODY_BYTES_MAX), "cut; see `max_bytes`"),
        ("files that `find` names", l::FIND_FILES_MAX.to_string(), "the step fails; see `max`"),
        ("an entry of the log", bytes(l::ENTRY_BYTES_MAX), "larger fields stand beside it"),
        ("waiting for another process", time(l::STORE_LOCK_WAIT), "exit 7"),
        ("room kept on the disk", size(l::RESERVE_BYTES), "used to record ends"),
    ];
    let mut table = String::from("| what | at most | beyond it |\n|---|---|---|\n");
    for (what, most, beyond) in rows {
        table.push_str(&format!("| {what} | {most} | {beyond} |\n"));
    }
    let readme = readme();
    let (before, rest) = readme.split_once(BEGIN).expect("the table has a place");
    let (said, after) = rest.split_once(END).expect("the table has an end");
    if env::var_os("UPDATE").is_some() {
        fs::write(path(), format!("{before}{BEGIN}{table}{END}{after}"))
            .expect("README.md is ours");
        return;
    }
    assert_eq!(said, table, "UPDATE=1 cargo test --test readme");
}
