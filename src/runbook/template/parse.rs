//! From text to pieces: tags are looked at first, so that what is not ours is refused in our own
//! words and the handlebars parser never sees what could make it recurse.

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};

use super::{Block, Body, From, Parsed, Path, Piece, Place, url};
use crate::limits::{EXPRESSION_BYTES_MAX, TEMPLATE_NESTING_MAX};
use crate::runbook::expr::{Mention, inside};
use crate::runbook::problem::{Problem, Span};

const CODE: &str = "E_TEMPLATE";

/// Parses `source`, which stands at `span`.
pub(super) fn parse(source: &str, span: Span, place: Place) -> Result<Parsed, Vec<Problem>> {
    let mut parsed = Parsed {
        source: source.to_owned(),
        span,
        place,
        names: Vec::new(),
        mentions: Vec::new(),
        body: Body::Literal(None),
    };
    // Most strings of a runbook are no templates.
    if source.contains("{{") {
        let mut scan = Scan { source, span, problems: Vec::new(), tags: Vec::new() };
        scan.run();
        if !scan.problems.is_empty() {
            return Err(scan.problems);
        }
        let mut names = Names { scan: &scan, mentions: Vec::new() };
        parsed.body = compile(source, span, &mut names).map_err(|problem| vec![*problem])?;
        parsed.mentions = names.mentions;
    }
    for mention in &parsed.mentions {
        if !parsed.names.contains(&mention.path) {
            parsed.names.push(mention.path.clone());
        }
    }
    if place == Place::Url {
        url::check(&parsed).map_err(|problem| vec![*problem])?;
    }
    Ok(parsed)
}

/// Looks at every tag of the text.
struct Scan<'s> {
    source: &'s str,
    span: Span,
    problems: Vec<Problem>,
    /// The bytes of each tag that names something.
    tags: Vec<(usize, usize)>,
}

impl<'s> Scan<'s> {
    fn problem(&mut self, at: (usize, usize), message: impl Into<String>, help: &str) {
        let place = inside(self.span, self.source.len(), at.0, at.1);
        let mut problem = Problem::error(CODE, place, message);
        if !help.is_empty() {
            problem = problem.help(help);
        }
        self.problems.push(problem);
    }

    fn run(&mut self) {
        let source = self.source;
        if source.len() > EXPRESSION_BYTES_MAX {
            let message = format!(
                "the template is {} bytes long, at most {EXPRESSION_BYTES_MAX} are allowed",
                source.len()
            );
            self.problem((0, source.len()), message, "pass the text by `stdin`, or shorten it");
            return;
        }
        // Open blocks: name and place.
        let mut open: Vec<(&str, (usize, usize))> = Vec::new();
        let mut at = 0;
        while let Some(found) = source[at..].find("{{") {
            let start = at + found;
            let before = &source[at..start];
            // As the grammar has it: one backslash makes braces literal, two are one backslash.
            if before.len() - before.trim_end_matches('\\').len() == 1 {
                at = start + if source[start..].starts_with("{{{{") { 4 } else { 2 };
                continue;
            }
            let Some(end) = self.end_of_tag(start) else { return };
            if self.problems.len() >= 20 {
                return;
            }
            self.tag((start, end), &mut open);
            at = end;
        }
        for (name, place) in open {
            let help = format!("end it with `{{{{/{name}}}}}`");
            self.problem(place, format!("the block `{name}` is not ended"), &help);
        }
    }

    /// One past the tag that begins at `start`.
    fn end_of_tag(&mut self, start: usize) -> Option<usize> {
        let inner = &self.source[start + 2..];
        let close = if inner.starts_with("!--") { "--}}" } else { "}}" };
        if let Some(found) = inner.find(close) {
            return Some(start + 2 + found + close.len());
        }
        let end = self.source.len();
        let help = "write `{{name}}`; for literal braces write `\\{{`";
        self.problem((start, end), format!("`{{{{` without `{close}`"), help);
        None
    }

    fn tag(&mut self, at: (usize, usize), open: &mut Vec<(&'s str, (usize, usize))>) {
        let source = self.source;
        let inner = source[at.0 + 2..at.1 - 2].trim();
        let inner = inner.trim_start_matches('~').trim_end_matches('~').trim();
        let words = words(inner);
        let (first, rest) = match words.split_first() {
            Some((first, rest)) => (*first, rest.to_vec()),
            None => ("", Vec::new()),
        };
        match inner.as_bytes().first() {
            None => self.problem(at, "the template names nothing", "write `{{name}}`"),
            Some(b'!') => {}
            Some(b'{' | b'&') => self.problem(
                at,
                format!("`{}` is refused", if inner.starts_with('{') { "{{{" } else { "{{&" }),
                "values are escaped by the place where they stand: write `{{name}}`",
            ),
            Some(b'>') => self.problem(at, "partials are refused", "write the text out"),
            Some(b'*') => self.problem(at, "decorators are refused", ""),
            Some(b'#') => {
                let (name, rest) = match first.strip_prefix('#') {
                    Some("") => (
                        rest.first().copied().unwrap_or_default(),
                        rest.get(1..).unwrap_or_default(),
                    ),
                    Some(name) => (name, rest.as_slice()),
                    None => (first, rest.as_slice()),
                };
                self.block(at, name, rest);
                open.push((name, at));
                if open.len() > TEMPLATE_NESTING_MAX {
                    let message = format!("blocks nest deeper than {TEMPLATE_NESTING_MAX} levels");
                    self.problem(at, message, "");
                }
            }
            Some(b'/') => {
                let name = inner[1..].trim();
                match open.pop() {
                    Some((begun, _)) if begun == name => {}
                    Some((begun, _)) => {
                        let message = format!("`{name}` is ended where `{begun}` is open");
                        self.problem(at, message, &format!("write `{{{{/{begun}}}}}`"));
                    }
                    None => self.problem(at, format!("no block `{name}` is open"), ""),
                }
            }
            Some(_) if first == "else" || first == "^" => {
                if open.is_empty() {
                    self.problem(at, "`else` stands outside a block", "");
                } else if let Some((name, rest)) = rest.split_first() {
                    self.block(at, name, rest);
                }
            }
            Some(_) => self.value(at, inner, first, &rest),
        }
    }

    fn block(&mut self, at: (usize, usize), name: &str, rest: &[&str]) {
        if name.starts_with('>') || name.starts_with('*') {
            self.problem(at, "partials and decorators are refused", "");
        } else if block(name).is_none() {
            let help = "the blocks are `if`, `unless`, `each` and `with`";
            self.problem(at, format!("unknown block `{name}`"), help);
        } else if let [path] = rest {
            self.path(at, path);
        } else {
            let message = format!("`{name}` needs exactly one name");
            let help = "a block looks at a name; compute its value with a `set` step before it";
            self.problem(at, message, help);
        }
    }

    fn value(&mut self, at: (usize, usize), inner: &str, first: &str, rest: &[&str]) {
        // Inside `[…]` any character may stand.
        let plain = inner.split('[').next().unwrap_or(inner);
        if !rest.is_empty() || plain.contains(['(', '|', '"', '\'', '=', '+', '*']) {
            let message = if inner.contains('(') && !inner.contains('|') {
                "subexpressions and calls are refused in a template".to_owned()
            } else if first.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !inner.contains(['|', '=', '+', '*', '<', '>'])
            {
                format!("there is no helper `{first}`")
            } else {
                format!("`{inner}` is no name")
            };
            let help = "a template holds names only: compute the value with a `set` step before it";
            self.problem(at, message, help);
            return;
        }
        self.path(at, first);
    }

    fn path(&mut self, at: (usize, usize), raw: &str) {
        match path(raw) {
            Ok(_) => self.tags.push(at),
            Err((why, help)) => self.problem(at, format!("`{raw}` is no name: {why}"), help),
        }
    }
}

/// The words of a tag; white space inside `[…]` belongs to a name.
fn words(inner: &str) -> Vec<&str> {
    let mut in_brackets = false;
    let split = inner.split(|c: char| {
        in_brackets = (in_brackets || c == '[') && c != ']';
        c.is_whitespace() && !in_brackets
    });
    split.filter(|word| !word.is_empty()).collect()
}

fn block(name: &str) -> Option<Block> {
    Some(match name {
        "if" => Block::If,
        "unless" => Block::Unless,
        "each" => Block::Each,
        "with" => Block::With,
        _ => return None,
    })
}

/// Reads a name: why it is none, and the cure.
fn path(raw: &str) -> Result<Path, (&'static str, &'static str)> {
    let made = |from, parts| Ok(Path { raw: raw.to_owned(), from, parts });
    if raw.contains("..") {
        return Err(("`../` is refused", "reach outside a block with `@root.`"));
    }
    let (from, rest) = match raw {
        "this" | "." => return made(From::Here, Vec::new()),
        "@index" => return made(From::Index, Vec::new()),
        "@key" => return made(From::Key, Vec::new()),
        "@first" => return made(From::First, Vec::new()),
        "@last" => return made(From::Last, Vec::new()),
        _ => match raw.strip_prefix("@root.") {
            Some(rest) => (From::Root, rest),
            None if raw.starts_with('@') => {
                return Err(("unknown", "there are `@root.`, `@index`, `@key`, `@first`, `@last`"));
            }
            None => {
                (From::Here, raw.strip_prefix("this.").or(raw.strip_prefix("./")).unwrap_or(raw))
            }
        },
    };
    let mut parts = Vec::new();
    let mut rest = rest;
    loop {
        let (part, after) = if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = inner.find(']') else { return Err(("a `]` is missing", "")) };
            (&inner[..end], &inner[end + 1..])
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let part = &rest[..end];
            if part.contains('[') {
                return Err(("a subscript is written otherwise in a template", "write `a.[0].b`"));
            }
            if let Some(odd) = part.chars().find(|c| !(c.is_alphanumeric() || "_-".contains(*c))) {
                let help = match odd {
                    '/' => "separate the parts with `.`",
                    _ => "write a part with other characters as `[part]`: `labels.[a b]`",
                };
                return Err(("it holds a character that names do not have", help));
            }
            (part, &rest[end..])
        };
        if part.is_empty() {
            return Err(("a part is empty", ""));
        }
        parts.push(part.to_owned());
        match after.strip_prefix('.') {
            Some(after) => rest = after,
            None if after.is_empty() => return made(from, parts),
            None => return Err(("a `.` is missing after `]`", "write `a.[0].b`")),
        }
    }
}

/// Collects what is mentioned, with the place of the tag.
struct Names<'s> {
    scan: &'s Scan<'s>,
    mentions: Vec<Mention>,
}

impl Names<'_> {
    /// `base` is the path that an enclosing `with` looks at, `None` inside an `each`.
    fn mention(&mut self, path: &Path, base: Option<&[String]>, is_optional: bool) {
        let full = match (path.from, base) {
            (From::Root, _) => path.parts.clone(),
            (From::Here, Some(base)) => [base, &path.parts].concat(),
            _ => return,
        };
        if full.is_empty() {
            return;
        }
        let source = self.scan.source;
        let tag =
            self.scan.tags.iter().find(|(start, end)| source[*start..*end].contains(&path.raw));
        let (start, end) = tag.copied().unwrap_or((0, source.len()));
        let span = inside(self.scan.span, source.len(), start, end);
        self.mentions.push(Mention { path: full, span, is_optional });
    }
}

fn compile(source: &str, span: Span, names: &mut Names<'_>) -> Result<Body, Box<Problem>> {
    let template = handlebars::Template::compile(source).map_err(|err| {
        let problem = Problem::error(CODE, span, "not a template that can be read");
        Box::new(problem.help(err.reason().to_string()))
    })?;
    let mut pieces = pieces(template, span, Some(&[]), names)?;
    Ok(match pieces.as_slice() {
        [] => Body::Literal(Some(String::new())),
        [Piece::Text(_)] => match pieces.pop() {
            Some(Piece::Text(text)) => Body::Literal(Some(text)),
            _ => Body::Literal(None),
        },
        [Piece::Value(path)] => Body::Whole(path.clone()),
        _ => Body::Pieces(pieces),
    })
}

fn pieces(
    template: handlebars::Template,
    span: Span,
    base: Option<&[String]>,
    names: &mut Names<'_>,
) -> Result<Vec<Piece>, Box<Problem>> {
    let refused = || Box::new(Problem::error(CODE, span, "the template holds what is refused"));
    let mut found: Vec<Piece> = Vec::new();
    for element in template.elements {
        match element {
            TemplateElement::RawString(text) => match found.last_mut() {
                _ if text.is_empty() => {}
                Some(Piece::Text(before)) => before.push_str(&text),
                _ => found.push(Piece::Text(text)),
            },
            TemplateElement::Comment(_) => {}
            TemplateElement::Expression(tag)
                if tag.params.is_empty() && tag.hash.is_empty() && !tag.block =>
            {
                let path = tag.name.as_name().and_then(|raw| path(raw).ok()).ok_or_else(refused)?;
                names.mention(&path, base, false);
                found.push(Piece::Value(path));
            }
            TemplateElement::HelperBlock(tag) => {
                found.push(block_piece(*tag, span, base, names)?);
            }
            _ => return Err(refused()),
        }
    }
    Ok(found)
}

fn block_piece(
    tag: HelperTemplate,
    span: Span,
    base: Option<&[String]>,
    names: &mut Names<'_>,
) -> Result<Piece, Box<Problem>> {
    let refused =
        || Box::new(Problem::error(CODE, span, "the template holds a block that is refused"));
    let kind = tag.name.as_name().and_then(block).ok_or_else(refused)?;
    let [subject @ (Parameter::Path(_) | Parameter::Name(_))] = tag.params.as_slice() else {
        return Err(refused());
    };
    if !tag.hash.is_empty() || tag.block_param.is_some() {
        return Err(refused());
    }
    let subject = subject.as_name().and_then(|raw| path(raw).ok()).ok_or_else(refused)?;
    names.mention(&subject, base, false);
    let inner: Option<Vec<String>> = match (kind, subject.from, base) {
        (Block::If | Block::Unless, _, base) => base.map(<[String]>::to_vec),
        (Block::With, From::Root, _) => Some(subject.parts.clone()),
        (Block::With, From::Here, Some(base)) => Some([base, &subject.parts].concat()),
        (Block::With | Block::Each, ..) => None,
    };
    let body = match tag.template {
        Some(body) => pieces(body, span, inner.as_deref(), names)?,
        None => Vec::new(),
    };
    let otherwise = match tag.inverse {
        Some(otherwise) => pieces(otherwise, span, base, names)?,
        None => Vec::new(),
    };
    Ok(Piece::Block { kind, subject, body, otherwise })
}
