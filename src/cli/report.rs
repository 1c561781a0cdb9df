//! What people and programs see: one value, as text or as JSON. Everything that came from outside
//! passes [`visible`] on its way to a terminal, so that nothing can paint it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::args::{Format, Global, When};
use super::exit::{Exit, Failure};

/// Where output goes and how it looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// Text or JSON on standard output.
    pub(super) format: Format,
    /// Nothing but errors.
    pub(super) is_quiet: bool,
    /// Not even errors: standard error stays empty.
    pub(super) is_mute: bool,
    /// More than usual.
    pub(super) is_verbose: bool,
    /// How standard output is painted.
    pub(super) stdout: Paint,
    /// How standard error is painted.
    pub(super) stderr: Paint,
    /// Whether standard output is a terminal.
    pub(super) stdout_is_terminal: bool,
    /// Whether lines on standard error can be redrawn.
    pub(super) is_live: bool,
    /// Whether a person can be asked: standard input and standard error are a terminal.
    pub(super) can_ask: bool,
}

impl Out {
    /// As the options, the environment and the three streams have it.
    #[must_use]
    pub(super) fn new(global: &Global) -> Out {
        let env = Colours::of_environment();
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let stderr_has_colours = env.decide(global.color, stderr);
        Out {
            format: global.output,
            is_quiet: global.quiet,
            is_mute: false,
            is_verbose: global.verbose,
            stdout: Paint { is_on: env.decide(global.color, stdout) },
            stderr: Paint { is_on: stderr_has_colours },
            stdout_is_terminal: stdout,
            is_live: stderr && stderr_has_colours && !global.quiet,
            can_ask: stderr && io::stdin().is_terminal(),
        }
    }

    /// Before the options are known.
    #[must_use]
    pub(super) fn plain() -> Out {
        Out {
            format: Format::Text,
            is_quiet: false,
            is_mute: false,
            is_verbose: false,
            stdout: Paint::OFF,
            stderr: Paint::OFF,
            stdout_is_terminal: false,
            is_live: false,
            can_ask: false,
        }
    }

    /// For a monitoring system, which may take standard error for a part of the one line.
    #[must_use]
    pub(super) fn for_plugin(self) -> Out {
        Out { is_quiet: true, is_mute: true, is_live: false, can_ask: false, ..self }
    }

    /// Whether standard output is JSON.
    #[must_use]
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes a result. A reader that went away has what it wanted.
    ///
    /// # Errors
    ///
    /// If it cannot be written for another reason: a full disk.
    pub(super) fn result(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.or_else(unwritten)
    }

    /// Writes a result as JSON.
    ///
    /// # Errors
    ///
    /// As [`Out::result`].
    pub(super) fn json(&self, value: &Value) -> Result<(), Failure> {
        self.result(&json_text(value))
    }

    /// A line for people on standard error, unless they want to hear of errors only.
    pub(super) fn say(&self, line: &str) {
        if !self.is_quiet {
            self.say_always(line);
        }
    }

    /// A line on standard error. If nobody reads it, that changes nothing.
    pub(super) fn say_always(&self, line: &str) {
        if !self.is_mute {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// A warning on standard error.
    pub(super) fn warn(&self, line: &str) {
        self.say(&format!("{}: {line}", self.stderr.yellow("warning")));
    }

    /// Says why a command failed.
    pub(super) fn fail(&self, failure: &Failure) {
        if !failure.message.is_empty() {
            let word = self.stderr.red("error");
            let message = visible_text(&failure.message).replace('\n', "\n       ");
            self.say_always(&format!("{word}: {message}"));
        }
        for hint in &failure.hints {
            let word = self.stderr.dim("hint");
            self.say_always(&format!("{word}: {}", visible_text(hint)));
        }
    }
}

/// Turns "nobody reads any more" into success.
///
/// # Errors
///
/// Any other cause.
pub(super) fn unwritten(err: io::Error) -> Result<(), Failure> {
    match err.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(Exit::Request, format!("failed to write to standard output: {err}"))),
    }
}

/// What the environment says of escape codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colours {
    is_forbidden: bool,
    is_forced: bool,
    is_unfit: bool,
}

impl Colours {
    /// `NO_COLOR`, `CLICOLOR_FORCE`, `CI`, `TERM`.
    #[must_use]
    pub(super) fn of_environment() -> Colours {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Colours {
            is_forbidden: set("NO_COLOR").is_some(),
            is_forced: set("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            is_unfit: set("CI").is_some() || set("TERM").is_none_or(|term| term == "dumb"),
        }
    }

    /// Whether a stream gets escape codes.
    #[must_use]
    pub(super) fn decide(self, when: When, is_terminal: bool) -> bool {
        match when {
            When::Always => true,
            When::Never => false,
            When::Auto if self.is_forbidden => false,
            When::Auto => self.is_forced || (is_terminal && !self.is_unfit),
        }
    }
}

/// Paints words, or does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Leaves all as it is.
    pub(super) const OFF: Paint = Paint { is_on: false };

    /// Whether it paints at all.
    #[must_use]
    pub(super) fn is_on(self) -> bool {
        self.is_on
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Good.
    #[must_use]
    pub(super) fn green(self, text: &str) -> String {
        self.code("32", text)
    }

    /// To be looked at.
    #[must_use]
    pub(super) fn yellow(self, text: &str) -> String {
        self.code("33", text)
    }

    /// Bad.
    #[must_use]
    pub(super) fn red(self, text: &str) -> String {
        self.code("31", text)
    }

    /// Beside the point.
    #[must_use]
    pub(super) fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    /// Headings.
    #[must_use]
    pub(super) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }
}

/// Whether a character moves the cursor, hides text or turns its order around: C0 and C1 controls,
/// bidirectional controls, zero-width and tag characters, line separators.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn push_visible(to: &mut String, c: char) {
    match c {
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        '\0'..='\u{ff}' => write!(to, "\\x{:02x}", u32::from(c)).expect("a string takes all"),
        _ => write!(to, "\\u{{{:x}}}", u32::from(c)).expect("a string takes all"),
    }
}

/// Text on one line: everything that could paint, hide or reorder is spelled out.
#[must_use]
pub(super) fn visible(text: &str) -> String {
    spell(text, false)
}

/// Text on several lines: as [`visible`], with newlines and tabs left as they are.
#[must_use]
pub(super) fn visible_text(text: &str) -> String {
    spell(text, true)
}

fn spell(text: &str, keeps_lines: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' if keeps_lines => shown.push(c),
            _ if is_hidden(c) => push_visible(&mut shown, c),
            _ => shown.push(c),
        }
    }
    shown
}

/// Bytes of a process, one line: as [`visible`], and bytes that are no UTF-8 spelled `\xff`.
#[must_use]
pub(super) fn visible_bytes(bytes: &[u8]) -> String {
    spell_bytes(bytes, false)
}

/// Bytes of a process: as [`visible_text`], and bytes that are no UTF-8 spelled `\xff`.
#[must_use]
pub(super) fn visible_bytes_text(bytes: &[u8]) -> String {
    spell_bytes(bytes, true)
}

fn spell_bytes(bytes: &[u8], keeps_lines: bool) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&spell(chunk.valid(), keeps_lines));
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("a string takes all");
        }
    }
    shown
}

/// JSON for people and programs alike, with a final newline. Characters that could paint a
/// terminal are written as `\u…`, which is the same JSON.
#[must_use]
pub(super) fn json_text(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("a value is JSON");
    let mut shown = escape_json(&text);
    shown.push('\n');
    shown
}

/// JSON text whose strings hold nothing that could paint a terminal. Outside strings, JSON has no
/// such character but the newline.
#[must_use]
pub(super) fn escape_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").expect("a string takes all");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A value as people write it: strings bare, all else as JSON, on one line.
#[must_use]
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => visible(text),
        other => escape_json(&other.to_string()),
    }
}

/// Columns that `text` takes on a terminal.
#[must_use]
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// `text` cut to `columns`, with `…` where something is missing.
#[must_use]
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if taken + wide + 1 > columns {
            break;
        }
        taken += wide;
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// `text` followed by spaces up to `columns`.
#[must_use]
pub(super) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Rows with their columns below one another, two spaces apart; the last column is not padded.
#[must_use]
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let wide = width(cell);
            match widths.get_mut(at) {
                Some(widest) => *widest = wide.max(*widest),
                None => widths.push(wide),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            line.push_str(&pad(cell, widths[at]));
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` with `by` before each line.
#[must_use]
pub(super) fn indent(text: &str, by: &str) -> String {
    text.lines().map(|line| format!("{by}{line}\n")).collect()
}

/// `1 run`, `2 runs`.
#[must_use]
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Goal: no byte of a step reaches the terminal as a command to it.
    #[test]
    fn what_could_paint_is_spelled_out() {
        for (raw, line, text) in [
            ("plain ünï 漢字 🚀", "plain ünï 漢字 🚀", "plain ünï 漢字 🚀"),
            ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m", "\\x1b[31mred\\x1b[0m"),
            ("a\tb\nc\r\n", "a\\tb\\nc\\r\\n", "a\tb\nc\\r\n"),
            ("\u{9b}2J\u{85}", "\\x9b2J\\x85", "\\x9b2J\\x85"),
            ("a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}", "a\\u{202e}b\\u{2066}"),
            (
                "\u{200b}\u{feff}\u{2028}",
                "\\u{200b}\\u{feff}\\u{2028}",
                "\\u{200b}\\u{feff}\\u{2028}",
            ),
            ("\u{e0041}\x7f\x08", "\\u{e0041}\\x7f\\x08", "\\u{e0041}\\x7f\\x08"),
        ] {
            assert_eq!(visible(raw), line);
            assert_eq!(visible_text(raw), text);
        }
        assert_eq!(visible_bytes(b"ok\xff\x1b\xc3"), "ok\\xff\\x1b\\xc3");
    }

    /// Goal: JSON stays the same value when it is made safe to print.
    #[test]
    fn json_is_safe_and_unchanged() {
        let value = json!({ "a\u{202e}": ["\u{9b}x", "\u{e0041}", "\x1b", "é\n"] });
        let text = json_text(&value);
        assert!(!text.chars().any(|c| c != '\n' && is_hidden(c)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    /// Goal: a line never takes more columns than there are, whatever its characters.
    #[test]
    fn lines_are_cut_to_the_terminal() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("漢字漢字", 6), "漢字…");
        assert_eq!(cut("abc", 0), "");
        for columns in 0..12 {
            assert!(width(&cut("a漢b🚀c漢字", columns)) <= columns);
        }
    }

    #[test]
    fn columns_stand_below_one_another() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let shown = table(&[row(&["a", "bb", "c"]), row(&["漢字", "b", ""])]);
        assert_eq!(shown, "a     bb  c\n漢字  b\n");
    }

    /// Goal: escape codes go only where somebody sees them and nobody has forbidden them.
    #[test]
    fn colours_follow_the_environment() {
        let plain = Colours { is_forbidden: false, is_forced: false, is_unfit: false };
        assert!(plain.decide(When::Auto, true));
        assert!(!plain.decide(When::Auto, false));
        assert!(Colours { is_forced: true, ..plain }.decide(When::Auto, false));
        assert!(!Colours { is_forced: true, is_forbidden: true, ..plain }.decide(When::Auto, true));
        assert!(!Colours { is_unfit: true, ..plain }.decide(When::Auto, true));
        assert!(!plain.decide(When::Never, true));
        assert!(plain.decide(When::Always, false));
    }
}
