//! What a person at a terminal meets: a real pseudo-terminal, and a screen that obeys the escape
//! codes that are sent to it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::harness::{Bench, PATIENCE};

const COLUMNS: u16 = 60;

/// The binary at a terminal: standard input and standard error; standard output is a pipe.
struct Terminal {
    child: Child,
    keyboard: File,
    bytes: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    searched: usize,
}

impl Terminal {
    fn start(bench: &Bench, env: &[(&str, &str)], args: &[&str]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: 24, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || -> OwnedFd {
            open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap()
        };
        let mut command = bench.runwarden(args);
        command.env("TERM", "xterm").envs(env.iter().copied());
        let child = command.stdin(Stdio::from(slave())).stderr(Stdio::from(slave())).spawn();
        let child = child.unwrap();
        drop(command); // And with it our copies of the terminal's other side.
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let (send, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end of a terminal whose other side is closed is an error.
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                if send.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, keyboard, bytes, seen: Vec::new(), searched: 0 }
    }

    /// Waits until `text` is printed, after what was waited for before.
    fn wait_for(&mut self, text: &str) {
        loop {
            let new = &self.seen[self.searched..];
            let found = new.windows(text.len()).position(|part| part == text.as_bytes());
            if let Some(at) = found {
                self.searched += at + text.len();
                return;
            }
            match self.bytes.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(why) => panic!("no `{text}`: {why}: {}", String::from_utf8_lossy(&self.seen)),
            }
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Exit code, standard output, everything that was sent to the terminal.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        self.seen.extend(self.bytes.iter().flatten());
        (code, stdout, String::from_utf8_lossy(&self.seen).into_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What stands on the screen at the end: knows the codes that the program may send, and no others.
fn screen(sent: &str) -> Vec<String> {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut chars = sent.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                if row == rows.len() {
                    rows.push(Vec::new());
                }
            }
            '\x1b' => {
                assert_eq!(chars.next(), Some('['), "{sent:?}");
                let code: String = chars.by_ref().take_while_inclusive_letter();
                match code.chars().last() {
                    Some('m') => {}
                    Some('J') => {
                        rows.truncate(row + 1);
                        rows[row].truncate(column);
                    }
                    Some('A') => row -= code[..code.len() - 1].parse::<usize>().unwrap(),
                    _ => panic!("the code `{code}` is not ours: {sent:?}"),
                }
            }
            c => {
                let here = &mut rows[row];
                here.resize(here.len().max(column + 1), ' ');
                here[column] = c;
                column += 1;
            }
        }
    }
    rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

trait UntilLetter: Iterator<Item = char> {
    /// Up to and with the first letter.
    fn take_while_inclusive_letter(&mut self) -> String {
        let mut taken = String::new();
        for c in self {
            taken.push(c);
            if c.is_ascii_alphabetic() {
                break;
            }
        }
        taken
    }
}

impl<I: Iterator<Item = char>> UntilLetter for I {}

const CHANGES: &str = r#"
runwarden: 1
runbook: changes
version: 1.0.0
kind: task
title: Changes something
steps:
  - id: look
    effect: read
    command: [echo, looked]
  - id: change
    title: Change it for good, with a title that is longer than what fits on the line
    shell: |
      printf 'a line \033[31mthat paints\033[0m and is much longer than the terminal is wide\n'
      sleep 0.5
    rollback: { command: [echo, undone] }
"#;

/// Goal: a run with changes asks once, shows what it will change, and takes Enter for no.
#[test]
fn a_blind_enter_is_no() {
    let bench = Bench::new();
    bench.write("r.yaml", CHANGES);
    for (keys, code) in [("\n", 5), ("n\n", 5), ("yes please\n", 5), ("\x04", 5), ("y\n", 0)] {
        let mut terminal = Terminal::start(&bench, &[], &["run", "r.yaml"]);
        terminal.wait_for("go on?");
        terminal.type_in(keys);
        let (got, _, sent) = terminal.end();
        assert_eq!(got, Some(code), "{keys:?}: {sent}");
        assert!(sent.contains("| printf 'a line \\033[31m"), "{sent}");
        assert!(!sent.contains("rollback"), "a rollback is no change that will be made: {sent}");
    }
    assert_eq!(bench.json(&["runs", "list"]).as_array().unwrap().len(), 1);
    let (code, ..) = Terminal::start(&bench, &[], &["run", "r.yaml", "--yes"]).end();
    assert_eq!(code, Some(0));
}

/// Goal: while a step runs, one line shows what it prints; when all is over nothing of it is left,
/// no line was wider than the terminal, and no code of the step's own was sent.
#[test]
fn live_lines_leave_nothing_behind() {
    let bench = Bench::new();
    bench.write("r.yaml", CHANGES);
    let mut terminal = Terminal::start(&bench, &[], &["run", "r.yaml", "--yes"]);
    terminal.wait_for("a line");
    let (code, stdout, sent) = terminal.end();
    assert_eq!(code, Some(0), "{sent}");
    assert!(!sent.contains("\x1b[31mthat"), "the step painted: {sent}");
    let shown = screen(&sent);
    let steps: Vec<&String> = shown.iter().skip_while(|line| !line.starts_with("run ")).collect();
    assert_eq!(steps.len(), 4, "{shown:#?}");
    assert!(steps[1].starts_with("✓ ok          look"), "{shown:#?}");
    assert!(steps[2].starts_with("✓ ok          Change it for good"), "{shown:#?}");
    assert_eq!(steps[3], "", "{shown:#?}");
    let spinners = sent.split(['\r', '\n']).filter(|part| part.contains("⠋") || part.contains("⠙"));
    for line in spinners {
        let line = line.split('\x1b').next().unwrap_or_default();
        assert!(line.chars().count() < usize::from(COLUMNS), "{line}");
    }
    assert!(!stdout.contains('\x1b'), "standard output is a pipe: {stdout}");
}

/// Goal: who wants no escape codes gets none, on a terminal too.
#[test]
fn no_colour_means_no_codes() {
    let bench = Bench::new();
    bench.write("r.yaml", CHANGES);
    for env in [("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")] {
        let terminal = Terminal::start(&bench, &[env], &["run", "r.yaml", "--yes"]);
        let (code, _, sent) = terminal.end();
        assert_eq!(code, Some(0));
        assert!(!sent.contains('\x1b'), "{env:?}: {sent:?}");
    }
}

const MANUAL: &str = r#"
runwarden: 1
runbook: manual
version: 1.0.0
kind: task
title: Asks a person
steps:
  - id: swap
    manual: { instructions: "Swap\e[2J the disk", ask: { serial: string, slot: integer } }
  - id: after
    effect: read
    command: [echo, "{{steps.swap.answers.slot}} {{steps.swap.note}}"]
"#;

/// Goal: a manual step asks for its answers and a note, takes only a yes for a yes, and asks again
/// for what does not fit.
#[test]
fn a_manual_step_asks_the_person() {
    let bench = Bench::new();
    bench.write("r.yaml", MANUAL);
    let mut terminal = Terminal::start(&bench, &[], &["run", "r.yaml", "--yes"]);
    for round in [["S1", "left", "", "y"], ["S1", "3", "in a hurry", ""], ["S1", "4", "calm", "y"]]
    {
        let prompts = ["serial (a string): ", "slot (an integer): ", "note", "is it done? [y/N] "];
        for (prompt, keys) in prompts.into_iter().zip(round) {
            terminal.wait_for(prompt);
            terminal.type_in(&format!("{keys}\n"));
        }
    }
    let (code, _, sent) = terminal.end();
    assert_eq!(code, Some(0), "{sent}");
    assert!(sent.contains("Swap\\x1b[2J the disk"), "{sent}");
    assert!(sent.contains("refused: answer `slot`"), "{sent}");
    assert!(sent.contains("not confirmed"), "{sent}");
    let id = bench.json(&["runs", "list"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.call(&["runs", "output", &id, "after"]).stdout, b"4 calm\n");
}
