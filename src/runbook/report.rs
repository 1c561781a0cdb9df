//! Problems as people read them, in rustc's manner, and as programs do (spec 3, `validate -o json`).

use std::fmt::Write as _;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::problem::{Problem, Severity, Span};

/// Characters of one line that are shown: a line may be as long as the file.
const LINE_CHARS_MAX: usize = 240;

/// Lines between two marks that are shown rather than folded, on each side.
const FOLD_LINES: usize = 3;

/// Width into which long lines are cut around their marks, the same wherever it runs. Columns.
const WIDTH: usize = 140;

/// The problems with place, line, marks and cure, one after the other, and how many there are.
///
/// Control characters of the source and of messages are made visible, so that no file can paint
/// the reader's terminal. Empty if there are no problems.
#[must_use]
pub fn render(problems: &[Problem], file_name: &str, source: &[u8], color: bool) -> String {
    let text = String::from_utf8_lossy(source);
    let lines = Lines::of(&text);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH);
    let file_name = visible(file_name);
    let mut out = String::new();
    for problem in problems {
        out.push_str(&one(problem, &file_name, &lines, &renderer));
        out.push_str("\n\n");
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let plural = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let summary = match (errors, warnings) {
        (0, 0) => return out,
        (0, warnings) => plural(warnings, "warning"),
        (errors, 0) => plural(errors, "error"),
        (errors, warnings) => {
            format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))
        }
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{file_name}: {summary}");
    out
}

fn one(problem: &Problem, file_name: &str, lines: &Lines<'_>, renderer: &Renderer) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(visible(&problem.message)).id(problem.code);
    // Only the lines that are marked, and the first of them decides what is shown as the place.
    let marked: Vec<(Span, String, AnnotationKind)> =
        std::iter::once((problem.span, visible(&problem.label), AnnotationKind::Primary))
            .chain(
                problem
                    .related
                    .iter()
                    .map(|(at, label)| (*at, visible(label), AnnotationKind::Context)),
            )
            .collect();
    let first = marked.iter().map(|(span, ..)| lines.number(span.start)).min().unwrap_or(0);
    let last = marked.iter().map(|(span, ..)| lines.number(span.start)).max().unwrap_or(0);
    // Further away lines are folded: their text does not matter.
    let wanted = |line: usize| {
        marked.iter().any(|(span, ..)| lines.number(span.start).abs_diff(line) <= FOLD_LINES)
    };
    let mut shown = String::new();
    let mut starts = Vec::new();
    for line in first..=last {
        starts.push(shown.len());
        if wanted(line) {
            let around: Vec<_> = marked
                .iter()
                .map(|(span, ..)| *span)
                .filter(|span| lines.number(span.start) == line)
                .collect();
            shown.push_str(&lines.shown(line, &around).0);
        }
        shown.push('\n');
    }
    let mut snippet =
        Snippet::source(shown.clone()).line_start(first + 1).path(file_name).fold(true);
    for (span, label, kind) in marked {
        let line = lines.number(span.start);
        let (text, offset) = lines.shown_span(line, span);
        let base = starts[line - first];
        let end = (base + offset.end).min(base + text);
        let range = (base + offset.start).min(end)..end;
        let annotation = kind.span(range);
        snippet =
            snippet.annotation(if label.is_empty() { annotation } else { annotation.label(label) });
    }
    let mut group = Group::with_title(title).element(snippet);
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(visible(help)));
    }
    let place = lines.number(problem.span.start) + 1;
    let column = lines.column(problem.span.start) + 1;
    placed(&renderer.render(&[group]), &format!("{file_name}:{place}:"), column)
}

/// The rendered problem with the column of the file, not of the line as it is shown: that may be
/// cut, and wider where characters are made visible.
fn placed(rendered: &str, place: &str, column: usize) -> String {
    let Some(at) = rendered.find(place).map(|at| at + place.len()) else {
        return rendered.to_owned();
    };
    let rest = rendered[at..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{column}{rest}", &rendered[..at])
}

/// `[{file, line, column, severity, code, message, help}]`: line and column count from 1, columns
/// in characters; `help` is null where there is none.
#[must_use]
pub fn to_json(problems: &[Problem], file_name: &str, source: &[u8]) -> Value {
    let text = String::from_utf8_lossy(source);
    let lines = Lines::of(&text);
    let entries = problems.iter().map(|problem| {
        let line = lines.number(problem.span.start);
        json!({
            "file": file_name,
            "line": line + 1,
            "column": lines.column(problem.span.start) + 1,
            "severity": problem.severity,
            "code": problem.code,
            "message": problem.message,
            "help": problem.help,
        })
    });
    Value::Array(entries.collect())
}

/// A text and where its lines begin.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Lines<'t> {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// The line of a byte, from 0.
    fn number(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    fn line(&self, number: usize) -> &'t str {
        let start = self.starts[number];
        let end = self.starts.get(number + 1).map_or(self.text.len(), |next| next - 1);
        self.text[start..end].trim_end_matches('\r')
    }

    /// The column of a byte, from 0, in characters; a byte order mark counts for none.
    fn column(&self, at: usize) -> usize {
        let number = self.number(at);
        let line = self.line(number);
        let within = (at - self.starts[number]).min(line.len());
        let within = (0..=within).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line[..within].trim_start_matches('\u{feff}').chars().count()
    }

    /// A line as it is shown: visible, and where it is very long only what is near the marks.
    fn shown(&self, number: usize, around: &[Span]) -> (String, std::ops::Range<usize>) {
        let line = self.line(number);
        let kept = self.kept(number, around);
        (visible(&line[kept.clone()]), kept)
    }

    /// Which bytes of a line are kept.
    fn kept(&self, number: usize, around: &[Span]) -> std::ops::Range<usize> {
        let line = self.line(number);
        if line.chars().count() <= LINE_CHARS_MAX {
            return 0..line.len();
        }
        let first = around.iter().map(|span| span.start).min().unwrap_or(self.starts[number]);
        let from = (first - self.starts[number]).saturating_sub(LINE_CHARS_MAX / 4).min(line.len());
        let from = (0..=from).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        let end =
            line[from..].char_indices().nth(LINE_CHARS_MAX).map_or(line.len(), |(at, _)| from + at);
        from..end
    }

    /// The length of the shown line, and which part of it `span` marks.
    fn shown_span(&self, number: usize, span: Span) -> (usize, std::ops::Range<usize>) {
        let line = self.line(number);
        let kept = self.kept(number, &[span]);
        let start = self.starts[number];
        let place = |at: usize| {
            let at = at.saturating_sub(start).clamp(kept.start, kept.end);
            let at = (kept.start..=at).rev().find(|at| line.is_char_boundary(*at));
            visible(&line[kept.start..at.unwrap_or(kept.start)]).len()
        };
        let whole = visible(&line[kept.clone()]).len();
        (whole, place(span.start)..place(span.end))
    }
}

/// `text` with control characters, and those that turn or hide text, made visible.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{feff}' => {}
            '\t' => shown.push_str("    "),
            '\0'..='\u{1f}' => {
                shown.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'));
            }
            '\u{7f}' => shown.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{e0000}'..='\u{e007f}' => {
                let _ = write!(shown, "<U+{:04X}>", c as u32);
            }
            c => shown.push(c),
        }
    }
    shown
}
