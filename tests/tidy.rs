//! The code base under test: what ARCHITECTURE.md and CONTRIBUTING.md promise about the sources,
//! kept by text search. No build, no network, no `git`.
//!
//! Each failure names file and line, and says what to do. A rule that stands in the way is changed
//! here, in the commit that argues for it; no file is exempt in silence.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Lines of one source file. The aim is 600; beyond 800 nobody holds a file in the head, and a
/// review of it stops being one.
const FILE_LINES_MAX: usize = 800;

/// The one file that may hold `unsafe`: between `fork` and `exec` there is no safe way.
const UNSAFE_FILE: &str = "src/action/spawn.rs";

/// Which rooms each room may name. A leaf names nothing of ours but other leaves.
const IMPORTS: &[(&str, &[&str])] = &[
    ("id", &[]),
    ("time", &[]),
    ("unit", &[]),
    ("limits", &[]),
    ("outcome", &["id"]),
    ("runbook", &["id", "time", "unit", "limits", "outcome"]),
    ("run", &["runbook", "id", "time", "unit", "limits", "outcome"]),
    // The plan's digest is over canonical JSON, which `audit` writes.
    ("plan", &["runbook", "audit::jcs", "id", "time", "unit", "limits", "outcome"]),
    // An entry is a fact with its place: `audit` knows the type of facts, and nothing else of runs.
    ("audit", &["run::event", "id", "time", "unit", "limits", "outcome"]),
    ("store", &["run", "runbook::model", "audit", "id", "time", "unit", "limits", "outcome"]),
    ("action", &["runbook", "id", "time", "unit", "limits", "outcome"]),
    (
        "engine",
        &[
            "run", "plan", "runbook", "store", "action", "audit", "id", "time", "unit", "limits",
            "outcome",
        ],
    ),
];

/// Words that a room's code must not hold: what would make it act, wait, or answer differently
/// the next time.
const BANNED: &[(&[&str], &[&str], &str)] = &[
    (
        &["run", "plan", "runbook", "audit", "id", "unit", "limits", "outcome"],
        &[
            "tokio",
            "axum",
            "reqwest",
            "rusqlite",
            "ssh2",
            "hickory_resolver",
            "std::fs",
            "TcpStream",
            "UdpSocket",
            "ToSocketAddrs",
            "std::process",
            "std::env",
            "fs::read",
            "fs::write",
            "File::open",
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "Zoned::now",
            "::now(",
            "getrandom",
            "rand",
            "thread::sleep",
        ],
        "it is a function of its arguments, so that every case replays: take the value as an \
         argument, from `engine` or `cli`",
    ),
    (
        &["action"],
        &["rusqlite", "axum"],
        "an action cannot write history: it returns an `Outcome`, the engine records it",
    ),
    (
        &["store"],
        &["reqwest", "Command::new"],
        "the store records; what acts on the world is an action",
    ),
    (
        &["engine"],
        &["rusqlite", "reqwest", "Command::new"],
        "ask `store` to record, `action` to act",
    ),
    (&["cli"], &["rusqlite", "reqwest"], "ask `store`, or let a runbook's action do it"),
];

/// Rooms that may read the clock or randomness through a type of theirs.
const CLOCKS: &[&str] = &["src/id.rs", "src/time.rs"];

/// One source file: as it is, and as its code alone.
struct Source {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
    /// `text` with comments and the insides of strings blanked: positions and lines are the same.
    code: String,
    /// `code` with `#[cfg(test)]` items blanked too; empty for files that are tests.
    shipped: String,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = read(path);
        let code = code_of(&text);
        let path = relative(path);
        let is_test = !path.starts_with("src/")
            || path.ends_with("/tests.rs")
            || path.contains("/tests/")
            || path.ends_with("_tests.rs");
        let shipped = if is_test { String::new() } else { without_tests(&code) };
        Source { path, text, code, shipped }
    }

    /// `src/run/decide.rs` is in `run`, `src/plan.rs` in `plan`.
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or_default();
        inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

/// Goal: the way imports run is the one that ARCHITECTURE.md draws.
/// Method: every `crate::…` of code that ships is looked up in [`IMPORTS`].
#[test]
fn imports_run_one_way() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        let room = source.room();
        if matches!(room, "lib" | "main" | "cli") {
            continue; // They may name all; nothing may name them.
        }
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == room) else {
            untidy.push(format!(
                "{}: room `{room}` is not in IMPORTS of tests/tidy.rs: say there what it may name, \
                 and draw it in ARCHITECTURE.md",
                source.path
            ));
            continue;
        };
        for (line, named) in crate_paths(&source.shipped) {
            let is_own = named.split("::").next() == Some(room);
            let fits =
                |prefix: &&&str| named == **prefix || named.starts_with(&format!("{prefix}::"));
            if !is_own && !allowed.iter().any(|prefix| fits(&prefix)) {
                untidy.push(format!(
                    "{}:{line}: `{room}` must not name `crate::{named}`: turn the dependency round \
                     (pass a value in, return one), or move the code to the room that may",
                    source.path
                ));
            }
        }
    }
    report(&untidy);
}

/// Goal: the core stays pure, actions do not write history, the store does not act.
/// Method: words of [`BANNED`] are searched in code that ships.
#[test]
fn rooms_keep_to_their_means() {
    let mut untidy = Vec::new();
    for source in sources("src") {
        for (rooms, words, instead) in BANNED {
            if !rooms.contains(&source.room()) || CLOCKS.contains(&source.path.as_str()) {
                continue;
            }
            for word in *words {
                for line in lines_with(&source.shipped, word) {
                    untidy.push(format!(
                        "{}:{line}: `{word}` is banned in `{}`: {instead}",
                        source.path,
                        source.room()
                    ));
                }
            }
        }
    }
    report(&untidy);
}

/// Goal: nothing half-done is shipped, and nothing talks past the command line.
#[test]
fn nothing_is_left_over() {
    let mut untidy = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            for line in lines_with(&source.code, word) {
                untidy.push(format!("{}:{line}: `{word}`: finish it", source.path));
            }
        }
        let is_talker = source.room() == "cli";
        for word in ["println!", "eprintln!", "print!", "eprint!"] {
            for line in lines_with(&source.shipped, word).into_iter().filter(|_| !is_talker) {
                untidy.push(format!(
                    "{}:{line}: `{word}` outside `src/cli`: return what there is to say",
                    source.path
                ));
            }
        }
        if source.path != UNSAFE_FILE {
            for line in lines_with(&source.code, "unsafe") {
                untidy.push(format!(
                    "{}:{line}: `unsafe` outside {UNSAFE_FILE}: use rustix, or argue for it there",
                    source.path
                ));
            }
        }
        for line in lines_with(&source.code, "#[ignore]") {
            untidy.push(format!(
                "{}:{line}: an ignored test says why: `#[ignore = \"…\"]`",
                source.path
            ));
        }
        for line in lines_with(&source.code, "should_panic") {
            untidy.push(format!(
                "{}:{line}: `should_panic` passes for any panic: compare a value",
                source.path
            ));
        }
        for name in ["util", "utils", "helper", "helpers", "common", "misc", "manager", "core"] {
            for line in lines_with(&source.shipped, &format!("mod {name}")) {
                untidy.push(format!(
                    "{}:{line}: a module is named by what it does, not `{name}`",
                    source.path
                ));
            }
        }
    }
    report(&untidy);
}

/// Goal: a file can be held in the head.
#[test]
fn files_are_short() {
    let mut untidy = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            untidy.push(format!(
                "{}: {lines} lines, over {FILE_LINES_MAX}: split it where the subject changes, its \
                 tests into `tests.rs` beside it",
                source.path
            ));
        }
    }
    report(&untidy);
}

/// Goal: each bound says its unit or reason where it is defined, and bounds something.
#[test]
fn every_limit_is_explained_and_used() {
    let limits = read(&root().join("src/limits.rs"));
    let code: String = sources("src")
        .iter()
        .filter(|source| source.path != "src/limits.rs")
        .map(|source| source.shipped.as_str())
        .collect();
    let mut untidy = Vec::new();
    let mut before = "";
    let mut found = 0;
    for (at, line) in limits.lines().enumerate() {
        if let Some(rest) = line.strip_prefix("pub const ") {
            let name = rest.split(':').next().unwrap_or_default();
            found += 1;
            if !before.trim_start().starts_with("///") {
                untidy.push(format!("src/limits.rs:{}: `{name}`: say what and why", at + 1));
            }
            if lines_with(&code, name).is_empty() {
                untidy.push(format!(
                    "src/limits.rs:{}: `{name}` bounds nothing: use it, or take it out",
                    at + 1
                ));
            }
        }
        before = line;
    }
    assert!(found > 20, "src/limits.rs is not read as it is written: {found} constants found");
    report(&untidy);
}

/// Goal: every case under `tests/cases` can fail.
/// Method: a folder with a runbook has what is expected of it beside it.
#[test]
fn every_case_is_whole() {
    let cases = root().join("tests/cases");
    let mut untidy = Vec::new();
    let mut todo = if cases.is_dir() { vec![cases] } else { Vec::new() };
    while let Some(folder) = todo.pop() {
        let has = |name: &str| folder.join(name).is_file();
        let folders = folders_in(&folder);
        if has("runbook.yaml") {
            let path = relative(&folder);
            let kind = path.split('/').nth(2).unwrap_or_default();
            let is_whole = match kind {
                // That it is accepted is all that is expected.
                // Of `death`, that it ends as without a death.
                "valid" | "death" => !has("stderr"),
                "invalid" => has("stderr"),
                _ => has("case.json") && has("events"),
            };
            if !is_whole {
                untidy.push(format!(
                    "{path}: beside `runbook.yaml`, a case of `invalid/` has `stderr`, one of `valid/` \
                     none, any other `case.json` and `events` (`UPDATE=1 cargo test` writes what \
                     is expected; read it before you commit)"
                ));
            }
        } else if folders.is_empty() {
            untidy.push(format!("{}: a case without `runbook.yaml`", relative(&folder)));
        }
        todo.extend(folders);
    }
    report(&untidy);
}

/// Goal: what one runs by hand can be run, and ends in what it says.
#[test]
fn scripts_can_be_executed() {
    let mut untidy = Vec::new();
    for path in files() {
        let name = relative(&path);
        let text = fs::read(&path).unwrap_or_default();
        let is_executable =
            fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
        if text.starts_with(b"#!") != is_executable {
            untidy.push(format!(
                "{name}: a file with `#!` is executable, and no other: `chmod {} {name}`",
                if is_executable { "-x" } else { "+x" }
            ));
        }
        if let Ok(text) = str::from_utf8(&text)
            && text.starts_with("#!")
            && text.lines().next().is_some_and(|line| line.ends_with("bash"))
            && !text.lines().take(40).any(|line| line.starts_with("set -") && line.contains('u'))
        {
            untidy.push(format!("{name}: `set -u` (with `-o pipefail`) belongs at the top"));
        }
    }
    report(&untidy);
}

/// Goal: texts hold no promise to come back, and nothing of the machine they were written on.
#[test]
fn texts_are_finished_and_of_no_machine() {
    // Put together here, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let places = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
        concat!(".car", "go/registry"),
    ];
    let mut untidy = Vec::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = relative(&path);
        if name == "LICENSE" || name == "Cargo.lock" {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            for mark in marks {
                if line.contains(mark) {
                    untidy.push(format!("{name}:{}: `{mark}`: do it, or open an issue", at + 1));
                }
            }
            for place in places {
                if line.contains(place) {
                    untidy.push(format!(
                        "{name}:{}: `{place}` is a place on somebody's machine: use a relative \
                         path, or one that the test makes",
                        at + 1
                    ));
                }
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            untidy.push(format!("{name}: its last line has no end"));
        }
        let is_source = name.ends_with(".rs") || name.ends_with(".md") || name.ends_with(".toml");
        if is_source && text.lines().any(|line| line.ends_with([' ', '\t'])) {
            untidy.push(format!("{name}: white space at the end of a line"));
        }
    }
    report(&untidy);
}

/// Goal: one word for one thing. What others call job, playbook or pipeline is a run or a runbook
/// here, in the language's keys and in what the command line says.
#[test]
fn one_word_for_one_thing() {
    const OTHERS: &[(&str, &str)] = &[
        ("job", "run"),
        ("playbook", "runbook"),
        ("workflow", "runbook"),
        ("pipeline", "runbook, or steps"),
        ("stage", "step, or block"),
        ("task", "step"),
    ];
    let mut untidy = Vec::new();
    let schema = root().join("schemas/runbook.v1.json");
    if schema.is_file() {
        for (at, line) in read(&schema).lines().enumerate() {
            let Some((key, _)) = line.trim_start().split_once("\": ") else { continue };
            let key = key.trim_start_matches('"');
            if let Some((word, ours)) = OTHERS.iter().find(|(word, _)| key == *word) {
                untidy.push(format!(
                    "schemas/runbook.v1.json:{}: key `{word}`: we say {ours}",
                    at + 1
                ));
            }
        }
    }
    let args = root().join("src/cli/args.rs");
    if args.is_file() {
        for (at, line) in read(&args).lines().enumerate() {
            let Some(help) = line.trim_start().strip_prefix("///") else { continue };
            for (word, ours) in OTHERS {
                let is_said = |said: &str| said == *word || said == format!("{word}s");
                let mut words = help.split(|c: char| !c.is_alphanumeric());
                if words.any(|said| is_said(&said.to_lowercase())) {
                    untidy.push(format!("src/cli/args.rs:{}: `{word}`: we say {ours}", at + 1));
                }
            }
        }
    }
    report(&untidy);
}

/// Goal: every code that a user can meet is explained.
#[test]
fn every_error_code_is_documented() {
    let documented = read(&root().join("docs/errors.md"));
    let mut untidy = Vec::new();
    for source in sources("src") {
        // Codes stand in strings, which `code` has not: look where both agree that it is shipped.
        for (at, line) in source.text.lines().enumerate() {
            let is_shipped =
                source.shipped.lines().nth(at).is_some_and(|code| !code.trim().is_empty());
            for part in line.split('"').skip(1).step_by(2).filter(|_| is_shipped) {
                let is_code = part.len() > 2
                    && part.starts_with("E_")
                    && part.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                if is_code && !documented.contains(&format!("`{part}`")) {
                    untidy.push(format!(
                        "{}:{}: `{part}` is not in docs/errors.md: say what became of it",
                        source.path,
                        at + 1
                    ));
                }
            }
        }
    }
    report(&untidy);
}

/// Goal: what README.md and ARCHITECTURE.md name is there.
/// Method: each relative link and each `src/…`, `tests/…` path in backquotes is looked up.
#[test]
fn documents_name_what_exists() {
    let mut untidy = Vec::new();
    let documents = files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "md"));
    for document in documents {
        let name = relative(&document);
        let text = read(&document);
        let folder = document.parent().expect("a file has a folder");
        for (at, line) in text.lines().enumerate() {
            for (_, rest) in line.match_indices("](").map(|(i, _)| line.split_at(i + 2)) {
                let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
                let is_elsewhere = target.is_empty() || target.contains("://");
                if !is_elsewhere && !folder.join(target).exists() {
                    untidy.push(format!("{name}:{}: link to `{target}`: not there", at + 1));
                }
            }
            for said in line.split('`').skip(1).step_by(2) {
                let is_path = ["src/", "tests/", "benches/", "runbooks/", "schemas/", "docs/"]
                    .iter()
                    .any(|start| said.starts_with(start));
                let is_plain =
                    said.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                if is_path && is_plain && !root().join(said).exists() {
                    untidy.push(format!("{name}:{}: `{said}` is not there", at + 1));
                }
            }
        }
    }
    report(&untidy);
}

/// Goal: the reader of this file reads Rust as it is meant, so that the rules above can fail.
#[test]
fn code_is_told_from_comments_strings_and_tests() {
    let text = r##"use crate::run::{event::Event, state}; // crate::store
/* unsafe /* nested */ crate::cli */
const A: &str = "crate::engine \" unsafe"; const B: &str = r#"dbg!"#; const C: char = '"';
fn f<'a>(x: &'a str) { x.strand("rand") }
#[cfg(test)]
mod tests { use crate::cli; fn g() { if true {} } }
fn after() { crate::id::hex(&[]); }
"##;
    let code = code_of(text);
    assert_eq!(code.lines().count(), text.lines().count());
    for gone in ["store", "unsafe", "engine", "dbg!"] {
        assert!(!code.contains(gone), "{gone} in:\n{code}");
    }
    assert!(lines_with(&code, "rand").is_empty(), "`strand` is another word");
    assert_eq!(lines_with(&code, "cli"), [6]);
    let shipped = without_tests(&code);
    assert_eq!(
        crate_paths(&shipped),
        [
            (1, "run::event::Event".to_owned()),
            (1, "run::state".to_owned()),
            (7, "id::hex".to_owned())
        ]
    );
}

/// Fails with all that was found at once.
fn report(untidy: &[String]) {
    assert!(untidy.is_empty(), "{} to mend:\n{}\n", untidy.len(), untidy.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|err| panic!("read {}: {err}", path.display()))
}

/// The Rust files under `folder`, in order.
fn sources(folder: &str) -> Vec<Source> {
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|end| end == "rs");
    let under = format!("{folder}/");
    let ours = files().into_iter().filter(|path| relative(path).starts_with(&under));
    let found: Vec<Source> = ours.filter(is_rust).map(|path| Source::read(&path)).collect();
    assert!(!found.is_empty(), "no Rust file under {folder}");
    found
}

/// Every file of the repository, in order: what is built, and what begins with a dot other than
/// `.ci`, is not looked at.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|err| panic!("{folder:?}: {err}"));
        for entry in entries {
            let path = entry.expect("a folder that is listed can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_hidden = name.starts_with('.') && name != ".ci";
            let is_made = matches!(name.as_str(), "target" | "__pycache__");
            if is_hidden || is_made || path.is_symlink() {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|err| panic!("{folder:?}: {err}"));
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
}

/// Line numbers, from 1, of `word` where it stands alone.
fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let begins_a_word = word.starts_with(|c: char| c.is_alphanumeric());
    let ends_a_word = word.ends_with(|c: char| c.is_alphanumeric());
    code.lines()
        .enumerate()
        .filter(|(_, line)| {
            line.match_indices(word).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + word.len()..].chars().next();
                !(begins_a_word && is_part(before) || ends_a_word && is_part(after))
            })
        })
        .map(|(at, _)| at + 1)
        .collect()
}

/// What code names by `crate::…`, with the line, groups taken apart to their first level.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..at].lines().count().max(1);
        expand(&code[at + "crate::".len()..], "", &mut |path| found.push((line, path)));
    }
    found
}

/// Calls `tell` with each path that begins at `rest`, under `prefix`.
fn expand(rest: &str, prefix: &str, tell: &mut dyn FnMut(String)) {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (path, after) = rest.split_at(end.unwrap_or(rest.len()));
    let path = format!("{prefix}{}", path.trim_end_matches(':').trim_matches(':'));
    let Some(group) = after.strip_prefix('{') else { return tell(path) };
    let mut depth = 0;
    let mut start = 0;
    let separator = if path.is_empty() || path.ends_with("::") { "" } else { "::" };
    let prefix = format!("{path}{separator}");
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' => {
                let part = group[start..at].trim();
                if !part.is_empty() {
                    expand(part, &prefix, tell);
                }
                start = at + 1;
                if c == '}' && depth == 0 {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// Blanks what follows each `#[cfg(test)]`: an item up to its `;` or its closing brace.
fn without_tests(code: &str) -> String {
    let mut kept: Vec<char> = code.chars().collect();
    let marker: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut at = 0;
    while at + marker.len() <= kept.len() {
        if kept[at..at + marker.len()] != marker[..] {
            at += 1;
            continue;
        }
        let mut depth = 0;
        while at < kept.len() {
            let c = kept[at];
            if c != '\n' {
                kept[at] = ' ';
            }
            at += 1;
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                ';' if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept.into_iter().collect()
}

/// `text` with comments, and the insides of string and character literals, blanked.
fn code_of(text: &str) -> String {
    let source: Vec<char> = text.chars().collect();
    let mut code = source.clone();
    let blank = |code: &mut Vec<char>, from: usize, to: usize| {
        for c in &mut code[from..to] {
            if *c != '\n' {
                *c = ' ';
            }
        }
    };
    let mut at = 0;
    while at < source.len() {
        let end = match source[at] {
            '/' if source.get(at + 1) == Some(&'/') => {
                let end = source[at..].iter().position(|c| *c == '\n');
                end.map_or(source.len(), |end| at + end)
            }
            '/' if source.get(at + 1) == Some(&'*') => end_of_block(&source, at),
            '"' => end_of_string(&source, at + 1),
            'r' if !is_word_before(&source, at) => match raw_string(&source, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            '\'' => match end_of_char(&source, at) {
                Some(end) => end,
                None => {
                    at += 1; // A lifetime.
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        blank(&mut code, at, end);
        at = end;
    }
    code.into_iter().collect()
}

fn is_word_before(source: &[char], at: usize) -> bool {
    // `br"…"` is a raw string as well; the `b` stays, which is no harm.
    at > 0 && (source[at - 1].is_alphanumeric() && source[at - 1] != 'b' || source[at - 1] == '_')
}

fn end_of_block(source: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at + 1 < source.len() {
        match (source[at], source[at + 1]) {
            ('/', '*') => (at, depth) = (at + 2, depth + 1),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    source.len()
}

fn end_of_string(source: &[char], mut at: usize) -> usize {
    while at < source.len() && source[at] != '"' {
        at += if source[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(source.len())
}

fn raw_string(source: &[char], start: usize) -> Option<usize> {
    let hashes = source[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if source.get(open) != Some(&'"') {
        return None;
    }
    let mut at = open + 1;
    while at < source.len() {
        let closes = source[at] == '"'
            && source[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(source.len())
}

/// The end of a character literal; `None` for a lifetime.
fn end_of_char(source: &[char], start: usize) -> Option<usize> {
    match source.get(start + 1)? {
        '\\' => {
            let rest = source.get(start + 3..)?;
            Some(start + 4 + rest.iter().position(|c| *c == '\'')?)
        }
        _ if source.get(start + 2) == Some(&'\'') => Some(start + 3),
        _ => None,
    }
}

/// Goal: the rooms that [`IMPORTS`] speaks of exist, so that no rule is about nothing.
#[test]
fn rules_are_about_rooms_that_exist() {
    let rooms: BTreeMap<String, ()> =
        sources("src").iter().map(|source| (source.room().to_owned(), ())).collect();
    let mut untidy = Vec::new();
    for (room, _) in IMPORTS {
        if !rooms.contains_key(*room) {
            untidy.push(format!("IMPORTS speaks of `{room}`, which is not in src/"));
        }
    }
    assert!(root().join(UNSAFE_FILE).is_file(), "{UNSAFE_FILE} is not there");
    report(&untidy);
}
