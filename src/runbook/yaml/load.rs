//! From the parser's events to the tree; what YAML allows and we do not is reported here.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use super::super::problem::{Problem, Span};
use super::{Key, Kind, Node, Scalar, Style, shorten};
use crate::limits;

/// The tree of the one document in `source`; problems that leave a tree are added to `problems`.
///
/// # Errors
///
/// The problem that leaves none.
pub(in crate::runbook) fn load(
    source: &str,
    problems: &mut Vec<Problem>,
) -> Result<Node, Box<Problem>> {
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
        let (event, at) = next.map_err(|err| Box::new(syntax(source, bom, &err)))?;
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
                .help("begin with `runwarden: 1`, `runbook: <name>` and `version: 1.0.0`")
                .into())
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
    Map { entries: Vec<(Key, Node)>, key: Option<Pending>, keys: HashMap<String, Span> },
}

/// What a tag makes of its node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Nothing.
    Own,
    /// A string, whatever it looks like.
    Text,
    /// It is reported.
    Refused,
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
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Problem>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let meaning = self.tag(tag.as_deref(), span);
                self.scalars.push(span);
                let scalar = self.scalar(&text, style, meaning == Meaning::Text, span);
                let kind = match meaning {
                    Meaning::Refused => Kind::Broken,
                    Meaning::Text | Meaning::Own => Kind::Scalar(scalar),
                };
                let node = Node { span, kind };
                self.count(1, text.len(), span)?;
                self.done(node, 0, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(span, anchor, Open::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(
                    span,
                    anchor,
                    Open::Map { entries: Vec::new(), key: None, keys: HashMap::new() },
                )?;
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

    /// What a tag says; any but the core tags that cannot hurt is reported.
    fn tag(&mut self, tag: Option<&Tag>, span: Span) -> Meaning {
        let Some(tag) = tag else { return Meaning::Own };
        match tag.core_suffix() {
            Some("str") => return Meaning::Text,
            Some("map" | "seq") => return Meaning::Own,
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
            problem
                .help("for \"not\" in an expression write `not`; quote a text that begins with `!`")
        } else {
            problem.help("remove it: what a value means follows from its key")
        };
        self.problems.push(problem);
        Meaning::Refused
    }

    fn open(&mut self, span: Span, anchor: usize, open: Open) -> Result<(), Box<Problem>> {
        self.count(1, 0, span)?;
        if self.frames.len() >= limits::YAML_DEPTH_MAX {
            return Err(too_deep(span).into());
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
        if self.source[..end].ends_with(['}', ']']) && self.source[start..].starts_with(['{', '['])
        {
            return end;
        }
        let last = match kind {
            Kind::Map(entries) => entries.last().map(|(key, node)| key.span.end.max(node.span.end)),
            Kind::List(items) => items.last().map(|node| node.span.end),
            Kind::Scalar(_) | Kind::Broken => None,
        };
        last.unwrap_or(end).max(start)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Box<Problem>> {
        let Some(anchored) = self.anchors.get(&id).cloned() else {
            let message = "an alias may not stand inside itself";
            return Err(Problem::error("E_YAML_ALIAS", span, message).into());
        };
        self.count(anchored.nodes, anchored.bytes, span)?;
        if self.frames.len() + anchored.height > limits::YAML_DEPTH_MAX {
            return Err(too_deep(span).into());
        }
        self.done(anchored.node, anchored.height, 0);
        Ok(())
    }

    fn count(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Box<Problem>> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > limits::YAML_NODES_MAX || self.bytes > limits::YAML_TEXT_BYTES_MAX {
            return Err(Problem::error("E_YAML_SIZE", span, "the file expands to too much")
                .label(format!("here it passes {} values", limits::YAML_NODES_MAX))
                .help("write less, or repeat less through aliases")
                .into());
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
            Open::Map { entries, key, keys } => match key.take() {
                Some(Pending::Good(key)) => entries.push((key, node)),
                Some(Pending::Bad) => {}
                None => {
                    let (pending, problem) = as_key(node, keys, self.source, frame.start);
                    *key = Some(pending);
                    if let Some(problem) = problem {
                        frame.is_broken |= matches!(problem.code, "E_QUOTE" | "E_YAML_MERGE");
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
    keys: &mut HashMap<String, Span>,
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
    if let Some(first) = keys.insert(scalar.text.clone(), node.span) {
        let message = format!("duplicate key `{}`", shorten(&scalar.text));
        let problem = Problem::error("E_YAML_DUPLICATE", node.span, message)
            .label("written again")
            .related(first, "first written here")
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
