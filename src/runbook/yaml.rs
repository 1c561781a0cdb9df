//! YAML 1.2 with byte spans, read strictly: no duplicate keys, tabs, merge keys, tags, second
//! documents or alias bombs (spec 1). What a scalar means is decided by who reads it, never here.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use super::problem::{Problem, Span};
use crate::limits;

/// A node and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// From its first to its last byte; of a collection in block style up to the next token.
    pub(super) span: Span,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Text that its reader gives a meaning.
    Scalar(Scalar),
    /// In the author's order, without duplicates.
    Map(Vec<(Key, Node)>),
    /// In the author's order.
    List(Vec<Node>),
    /// Already reported: whoever reads it says nothing more.
    Broken,
}

/// A key: always a scalar.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// As it reads.
    pub(super) text: String,
    /// Where it stands.
    pub(super) span: Span,
}

/// A scalar's text.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// After unescaping and folding.
    pub(super) text: String,
    /// How it is written.
    pub(super) style: Style,
    /// Where the text itself stands: byte for byte if `is_exact`, else the node's whole span.
    pub(super) inner: Span,
    /// Whether `text` stands in the file as it is.
    pub(super) is_exact: bool,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: may stand for a number, a boolean or nothing.
    Plain,
    /// In quotes, or with `!!str`: always a string.
    Quoted,
    /// After `|`: always a string.
    Literal,
    /// After `>`: always a string.
    Folded,
}

impl Node {
    /// The scalar, if it is one.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The value under `key`, if it is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => {
                entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// Whether nothing is written there: `key:`, `null` or `~`.
    pub(super) fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// What it is, for people: "a list", "the number `5`".
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Map(_) => "a map".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Broken => "nothing".to_owned(),
            Kind::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Kind::Scalar(scalar) => {
                let what = match core_value(scalar) {
                    Ok(serde_json::Value::Bool(_)) => "the boolean ",
                    Ok(serde_json::Value::Number(_)) => "the number ",
                    _ if scalar.style == Style::Plain => "",
                    _ => "the string ",
                };
                format!("{what}`{}`", shorten(&scalar.text))
            }
        }
    }
}

impl Scalar {
    fn is_null(&self) -> bool {
        self.style == Style::Plain && matches!(self.text.as_str(), "" | "null" | "~")
    }

    /// Where the byte `offset` of the text stands in `source`, as well as can be told.
    pub(super) fn locate(&self, source: &str, offset: usize) -> Option<usize> {
        if self.is_exact {
            return Some((self.inner.start + offset).min(self.inner.end));
        }
        if self.style != Style::Literal {
            return None;
        }
        let before = self.text.get(..offset)?;
        let line = before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let wanted = self.text.split('\n').nth(line)?;
        let block = source.get(self.inner.start..self.inner.end)?;
        let header = usize::from(block.starts_with('|'));
        let mut at = self.inner.start;
        for (number, written) in block.split('\n').enumerate() {
            if number == line + header {
                let indent = written.trim_end_matches('\r').strip_suffix(wanted)?.len();
                return Some(at + indent + column);
            }
            at += written.len() + 1;
        }
        None
    }
}

/// A text short enough to stand in a message, on one line.
pub(super) fn shorten(text: &str) -> String {
    const CHARS: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(CHARS).collect();
    if short.len() < text.trim_end().len() { format!("{short}…") } else { short }
}

/// The value of an untyped scalar by the core schema of YAML 1.2, stricter in what is a number or
/// a boolean: `True`, `yes`, `0755`, `1_000` stay strings.
///
/// # Errors
///
/// What cannot be kept exactly, as a text for people.
pub(super) fn core_value(scalar: &Scalar) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    let text = scalar.text.as_str();
    if scalar.style != Style::Plain {
        return Ok(Value::String(text.to_owned()));
    }
    match text {
        "" | "null" | "~" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_negative = text.starts_with('-');
    let radix = |prefix, radix| {
        let digits = text.strip_prefix(prefix)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| i128::from_str_radix(digits, radix))
    };
    let leading_zero = unsigned.len() > 1
        && unsigned.starts_with('0')
        && unsigned.as_bytes()[1].is_ascii_digit();
    let integer = if let Some(parsed) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        parsed.ok()
    } else if !leading_zero && !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit())
    {
        Some(unsigned.parse::<i128>().map_or(i128::MAX, |n| if is_negative { -n } else { n }))
    } else {
        None
    };
    if let Some(integer) = integer {
        // 2^53 - 1: beyond it JSON, in which the log is written, rounds.
        let exact = i64::try_from(integer).ok().filter(|n| n.unsigned_abs() < 1 << 53);
        return exact.map(Value::from).ok_or_else(|| {
            format!("the number `{text}` is too large to be kept exactly: quote it")
        });
    }
    if !leading_zero && is_float(unsigned) {
        let parsed = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
        return parsed.map(Value::Number).ok_or_else(|| format!("the number `{text}` is too large"));
    }
    Ok(Value::String(text.to_owned()))
}

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, with an exponent.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|text| {
            let text = text.strip_prefix(['-', '+']).unwrap_or(text);
            !text.is_empty() && digits(text)
        })
}

/// The file as text, or why it cannot be one.
///
/// # Errors
///
/// Too large, not UTF-8, or holding characters that YAML does not know.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() as u64 > limits::RUNBOOK_BYTES_MAX {
        let size = crate::unit::show_size(bytes.len() as u64);
        let most = crate::unit::show_size(limits::RUNBOOK_BYTES_MAX);
        return Err(Problem::error(
            "E_FILE_TOO_LARGE",
            Span::default(),
            format!("a runbook has at most {most}, this file has {size}"),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|err| {
        let at = err.valid_up_to();
        Problem::error("E_ENCODING", Span::new(at, at), "the file is not UTF-8")
            .label("the first byte that is not")
            .help("save the file as UTF-8")
    })?;
    let control = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    if let Some((at, found)) = text.char_indices().find(|&(_, c)| control(c)) {
        let message = format!("the control character U+{:04X} may not stand in YAML", found as u32);
        return Err(Problem::error("E_ENCODING", Span::new(at, at + found.len_utf8()), message)
            .help("remove it, or write it as an escape inside double quotes"));
    }
    Ok(text)
}

/// The tree of the one document in `source`; problems that leave a tree are added to `problems`.
///
/// # Errors
///
/// The problem that leaves none.
pub(super) fn load(source: &str, problems: &mut Vec<Problem>) -> Result<Node, Problem> {
    let bom = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let text = &source[bom..];
    // Comments are not asked for: the parser buffers only so many of them.
    let options = granit_parser::options! { emit_comments: false };
    let mut builder = Builder {
        source,
        problems,
        frames: Vec::new(),
        anchors: HashMap::new(),
        scalars: Vec::new(),
        nodes: 0,
        bytes: 0,
        root: None,
    };
    let mut documents = 0;
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, at) = next.map_err(|err| syntax(source, bom, &err))?;
        let range = at.byte_range().unwrap_or_default();
        let span = Span::new(range.start + bom, range.end + bom);
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    builder.problems.push(
                        Problem::error("E_YAML_DOCUMENTS", span, "a file holds one runbook")
                            .label("a second document begins here")
                            .help("put it into a file of its own"),
                    );
                    break;
                }
            }
            event => builder.event(event, span)?,
        }
    }
    builder.tabs();
    let root = builder.root.take();
    let is_blank = root.as_ref().is_none_or(|(node, _)| node.is_null());
    match root {
        Some((node, _)) if !is_blank => Ok(node),
        _ => {
            let message = if source.trim().is_empty() {
                "the file is empty"
            } else {
                "the file holds no runbook, only comments"
            };
            Err(Problem::error("E_EMPTY", Span::default(), message)
                .help("begin with `runwarden: 1`, `runbook: <name>` and `version: 1.0.0`"))
        }
    }
}

/// A collection that is not closed yet.
struct Frame {
    start: usize,
    anchor: usize,
    height: usize,
    is_broken: bool,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Pending> },
}

/// A key that waits for its value.
enum Pending {
    Good(Key),
    /// Reported: the value is dropped.
    Bad,
}

/// A node that an alias may repeat, with what repeating it costs.
#[derive(Clone)]
struct Anchored {
    node: Node,
    height: usize,
    nodes: usize,
    bytes: usize,
}

struct Builder<'a> {
    source: &'a str,
    problems: &'a mut Vec<Problem>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    /// Spans of all scalars, in order: tabs may stand in them.
    scalars: Vec<Span>,
    nodes: usize,
    bytes: usize,
    root: Option<(Node, usize)>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = self.tag(tag.as_deref(), span);
                self.scalars.push(span);
                let scalar = self.scalar(&text, style, tag == Some("str"), span);
                let node = Node { span, kind: Kind::Scalar(scalar) };
                self.count(1, text.len(), span)?;
                self.done(node, 0, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(span, anchor, Open::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(span, anchor, Open::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => self.alias(id, span)?,
            _ => {}
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, as_text: bool, span: Span) -> Scalar {
        let written = self.source.get(span.start..span.end).unwrap_or_default();
        let (style, inner) = match style {
            ScalarStyle::Plain if as_text => (Style::Quoted, span),
            ScalarStyle::Plain => (Style::Plain, span),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted if written.len() >= 2 => {
                (Style::Quoted, Span::new(span.start + 1, span.end - 1))
            }
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (Style::Quoted, span),
            ScalarStyle::Literal => (Style::Literal, span),
            ScalarStyle::Folded => (Style::Folded, span),
        };
        let is_exact = self.source.get(inner.start..inner.end) == Some(text);
        let inner = if is_exact { inner } else { span };
        Scalar { text: text.to_owned(), style, inner, is_exact }
    }

    /// The name of a core tag that is allowed; anything else is reported.
    fn tag(&mut self, tag: Option<&Tag>, span: Span) -> Option<&'static str> {
        let tag = tag?;
        match tag.core_suffix() {
            Some("str") => return Some("str"),
            Some("map" | "seq") => return None,
            _ => {}
        }
        let written = tag.original();
        // The tag stands before its node: `!x` in `when: !x`.
        let before = &self.source[..span.start];
        let start = before.rfind(&written).unwrap_or(span.start);
        let place = Span::new(start, (start + written.len()).min(self.source.len()));
        let mut problem =
            Problem::error("E_YAML_TAG", place, format!("tags are not allowed: `{written}`"));
        problem = if tag.original_handle() == "!" {
            problem.help("for \"not\" in an expression write `not`; quote a text that begins with `!`")
        } else {
            problem.help("remove it: what a value means follows from its key")
        };
        self.problems.push(problem);
        None
    }

    fn open(&mut self, span: Span, anchor: usize, open: Open) -> Result<(), Problem> {
        self.count(1, 0, span)?;
        if self.frames.len() >= limits::YAML_DEPTH_MAX {
            return Err(too_deep(span));
        }
        self.frames.push(Frame { start: span.start, anchor, height: 1, is_broken: false, open });
        Ok(())
    }

    fn close(&mut self, span: Span) {
        let Some(frame) = self.frames.pop() else { return };
        let kind = match frame.open {
            _ if frame.is_broken => Kind::Broken,
            Open::List(items) => Kind::List(items),
            Open::Map { entries, .. } => Kind::Map(entries),
        };
        let end = self.end_of(&kind, frame.start, span.end);
        let node = Node { span: Span::new(frame.start, end), kind };
        self.done(node, frame.height, frame.anchor);
    }

    /// Block collections have no end of their own: the end of what is last in them.
    fn end_of(&self, kind: &Kind, start: usize, end: usize) -> usize {
        if self.source[..end].ends_with(['}', ']']) && self.source[start..].starts_with(['{', '[']) {
            return end;
        }
        let last = match kind {
            Kind::Map(entries) => entries.last().map(|(key, node)| key.span.end.max(node.span.end)),
            Kind::List(items) => items.last().map(|node| node.span.end),
            Kind::Scalar(_) | Kind::Broken => None,
        };
        last.unwrap_or(end).max(start)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Problem> {
        let Some(anchored) = self.anchors.get(&id).cloned() else {
            return Err(Problem::error("E_YAML_ALIAS", span, "an alias may not stand inside itself"));
        };
        self.count(anchored.nodes, anchored.bytes, span)?;
        if self.frames.len() + anchored.height > limits::YAML_DEPTH_MAX {
            return Err(too_deep(span));
        }
        self.done(anchored.node, anchored.height, 0);
        Ok(())
    }

    fn count(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > limits::YAML_NODES_MAX || self.bytes > limits::YAML_TEXT_BYTES_MAX {
            return Err(Problem::error("E_YAML_SIZE", span, "the file expands to too much")
                .label(format!("here it passes {} values", limits::YAML_NODES_MAX))
                .help("write less, or repeat less through aliases"));
        }
        Ok(())
    }

    fn done(&mut self, node: Node, height: usize, anchor: usize) {
        if anchor != 0 {
            let (nodes, bytes) = cost(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), height, nodes, bytes });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some((node, height));
            return;
        };
        frame.height = frame.height.max(height + 1);
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Map { entries, key } => match key.take() {
                Some(Pending::Good(key)) => entries.push((key, node)),
                Some(Pending::Bad) => {}
                None => {
                    let (pending, problem) = as_key(node, entries, self.source, frame.start);
                    *key = Some(pending);
                    if let Some(problem) = problem {
                        frame.is_broken |= problem.code == "E_QUOTE";
                        self.problems.push(problem);
                    }
                }
            },
        }
    }

    /// Reports the first tab on each line that stands neither in a scalar nor in a comment.
    fn tabs(&mut self) {
        if !self.source.contains('\t') {
            return;
        }
        let bytes = self.source.as_bytes();
        let mut scalars = self.scalars.iter().peekable();
        let (mut at, mut is_reported) = (0, false);
        while at < bytes.len() {
            while scalars.peek().is_some_and(|span| span.end <= at) {
                scalars.next();
            }
            if let Some(span) = scalars.peek().filter(|span| span.start <= at) {
                at = span.end;
                continue;
            }
            match bytes[at] {
                b'\n' => is_reported = false,
                b'#' => {
                    while at + 1 < bytes.len() && bytes[at + 1] != b'\n' {
                        at += 1;
                    }
                }
                b'\t' if !is_reported => {
                    is_reported = true;
                    self.problems.push(tab(Span::new(at, at + 1)));
                }
                _ => {}
            }
            at += 1;
        }
    }
}

fn tab(span: Span) -> Problem {
    Problem::error("E_YAML_TAB", span, "tabs are not allowed between values")
        .label("a tab")
        .help("write spaces")
}

fn too_deep(span: Span) -> Problem {
    let most = limits::YAML_DEPTH_MAX;
    Problem::error("E_YAML_DEPTH", span, format!("nested deeper than {most} levels"))
        .label("one level too many")
        .help("move the inner steps into a runbook of their own and `call` it")
}

/// Nodes and bytes of text in `node`.
fn cost(node: &Node) -> (usize, usize) {
    let sum = |(nodes, bytes): (usize, usize), node: &Node| {
        let (more_nodes, more_bytes) = cost(node);
        (nodes + more_nodes, bytes + more_bytes)
    };
    match &node.kind {
        Kind::Scalar(scalar) => (1, scalar.text.len()),
        Kind::Broken => (1, 0),
        Kind::List(items) => items.iter().fold((1, 0), sum),
        Kind::Map(entries) => entries.iter().fold((1, 0), |so_far, (key, node)| {
            let (nodes, bytes) = sum(so_far, node);
            (nodes + 1, bytes + key.text.len())
        }),
    }
}

fn as_key(
    node: Node,
    entries: &[(Key, Node)],
    source: &str,
    map_start: usize,
) -> (Pending, Option<Problem>) {
    let Kind::Scalar(scalar) = node.kind else {
        let problem = if source[map_start..].starts_with("{{") {
            let end = (node.span.end + 1).min(source.len());
            let end = if source.is_char_boundary(end) { end } else { node.span.end };
            unquoted(source, Span::new(map_start, end))
        } else {
            Problem::error("E_YAML_KEY", node.span, "a key must be a text")
        };
        return (Pending::Bad, Some(problem));
    };
    if scalar.style == Style::Plain && scalar.text == "<<" {
        let problem = Problem::error("E_YAML_MERGE", node.span, "merge keys are not allowed")
            .label("merges another map")
            .help("write the keys out, or use `defaults`");
        return (Pending::Bad, Some(problem));
    }
    if scalar.is_null() {
        return (Pending::Bad, Some(Problem::error("E_YAML_KEY", node.span, "a key is missing")));
    }
    if let Some((first, _)) = entries.iter().find(|(key, _)| key.text == scalar.text) {
        let message = format!("duplicate key `{}`", shorten(&scalar.text));
        let problem = Problem::error("E_YAML_DUPLICATE", node.span, message)
            .label("written again")
            .related(first.span, "first written here")
            .help("remove one of the two");
        return (Pending::Bad, Some(problem));
    }
    (Pending::Good(Key { text: scalar.text, span: node.span }), None)
}

fn unquoted(source: &str, span: Span) -> Problem {
    let written = shorten(source.get(span.start..span.end).unwrap_or("{{…}}"));
    Problem::error("E_QUOTE", span, "an unquoted `{{` begins a map in YAML")
        .label("not a template")
        .help(format!("quote it: `\"{written}\"`"))
}

/// The parser's own error, in words for the author.
fn syntax(source: &str, bom: usize, err: &ScanError) -> Problem {
    let marker = err.marker();
    let at = marker.byte_offset().unwrap_or(0) + bom;
    let at = (0..=at.min(source.len())).rev().find(|&at| source.is_char_boundary(at)).unwrap_or(0);
    let end = source[at..].chars().next().map_or(at, |c| at + c.len_utf8());
    let end = if source[at..end].contains(['\n', '\r']) { at } else { end };
    let span = Span::new(at, end);
    let line = source[..at].rfind('\n').map_or(0, |start| start + 1);
    let written = source[line..].lines().next().unwrap_or_default();
    match err.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => return tab(span),
        ErrorKind::RecursionLimitExceeded => return too_deep(span),
        ErrorKind::UnknownAnchor => {
            return Problem::error("E_YAML_ALIAS", span, "an alias to nothing")
                .label("no anchor of this name stands before")
                .help("quote a text that begins with `*`");
        }
        ErrorKind::BomInsideDocument => {
            return Problem::error("E_ENCODING", span, "a byte order mark inside the file")
                .help("remove it");
        }
        _ => {}
    }
    let message = format!("not valid YAML: {}", err.kind());
    let problem = Problem::error("E_YAML", span, message).label("here");
    let value = written.split_once(": ").map_or(written, |(_, value)| value).trim();
    match err.kind() {
        _ if value.contains("{{") && !value.starts_with(['"', '\'']) => {
            problem.help("a value that holds `{{` must be quoted, wholly: `\"{{…}} more\"`")
        }
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::InvalidTrailingDoubleQuotedScalar
        | ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::UnexpectedCharacter { .. }
        | ErrorKind::DirectiveDisallowed
        | ErrorKind::ExpectedBlockMappingKey => problem.help(
            "quote the whole value: YAML cannot carry `: `, ` #`, quotes, or a leading \
             `@ % & * ! [ {` or backtick otherwise",
        ),
        ErrorKind::UnclosedQuotedScalar => problem.help("close the quote"),
        ErrorKind::InvalidIndentation | ErrorKind::InvalidQuotedScalarIndent => {
            problem.help("indent it like its neighbours, with spaces; or close the quote above")
        }
        _ => problem,
    }
}
