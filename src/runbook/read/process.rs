//! Modifiers of processes: environment, identity, exit codes, output.

use super::modifier::Mods;
use super::{Cx, Inherited, Reader};
use crate::runbook::grammar::{self, ActionSpec, Class};
use crate::runbook::model::{ExitCodes, Parse, ProcessModifiers};
use crate::runbook::problem::Problem;
use crate::runbook::template::Place;
use crate::runbook::yaml::{self, Key, Node};

impl Reader<'_> {
    pub(super) fn process(
        &mut self,
        mods: &Mods<'_>,
        cx: Cx,
        inherited: Option<&Inherited>,
        spec: &ActionSpec,
    ) -> ProcessModifiers {
        let secret = Cx { secrets: true, ..cx };
        let takes = matches!(spec.class, Class::Process | Class::Plugin | Class::Host);
        let mut process =
            inherited.filter(|_| takes).map(|from| from.process.clone()).unwrap_or_default();
        process.stdin = None;
        if let Some(node) = mods.get("env") {
            for (key, node) in self.map(node, "`env`").unwrap_or_default() {
                self.variable(key);
                let what = format!("`{}` of `env`", yaml::shorten(&key.text));
                let Some(value) = self.template(node, Place::Plain, secret, &what) else {
                    continue;
                };
                process.env.retain(|(name, _)| *name != key.text);
                process.env.push((key.text.clone(), value));
            }
        }
        if let Some(node) = mods.get("secret_files") {
            for (key, node) in self.map(node, "`secret_files`").unwrap_or_default() {
                self.variable(key);
                let Some(name) = self.words(node, "a secret's name") else { continue };
                self.secret_name(&name, node);
                process.secret_files.retain(|(variable, _)| *variable != key.text);
                process.secret_files.push((key.text.clone(), name));
            }
        }
        let plain = |reader: &mut Self, name: &str, cx: Cx| {
            mods.get(name).and_then(|n| reader.template(n, Place::Plain, cx, &format!("`{name}`")))
        };
        if let Some(cwd) = plain(self, "cwd", cx) {
            process.cwd = Some(cwd);
        }
        if let Some(user) = plain(self, "user", cx) {
            process.user = Some(user);
        }
        process.stdin = plain(self, "stdin", secret);
        if let Some(sudo) = mods.get("sudo").and_then(|n| self.bool(n, "`sudo`")) {
            process.sudo = sudo;
        }
        process
    }

    fn secret_name(&mut self, name: &str, node: &Node) {
        if self.outline.secrets.iter().any(|known| known == name) {
            return;
        }
        let message = format!("secret `{}` is not declared", yaml::shorten(name));
        let problem = Problem::error("E_SECRET_UNKNOWN", node.span, message);
        let near = grammar::nearest(name, self.outline.secrets.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `{}` to the runbook's `secrets`", yaml::shorten(name)),
        };
        self.push(problem.help(help));
    }

    fn variable(&mut self, key: &Key) {
        let is_name = super::input::is_name(&key.text);
        if !is_name {
            let message = format!("`{}` is not a variable's name", yaml::shorten(&key.text));
            self.push(
                Problem::error("E_NAME", key.span, message)
                    .help("a letter or `_`, then letters, digits and `_`"),
            );
        }
    }

    pub(super) fn exit(&mut self, node: &Node) -> Option<ExitCodes> {
        let fields = self.fields(node, &grammar::EXIT, "`exit`")?;
        let mut seen: Vec<i32> = Vec::new();
        let mut codes = |reader: &mut Self, name: &str| {
            let mut codes = Vec::new();
            for node in fields.get(name).map(|n| reader.one_or_list(n)).unwrap_or_default() {
                let Some(code) = reader.int(node, 0, 255, "an exit code") else { continue };
                let code = i32::try_from(code).unwrap_or_default();
                if seen.contains(&code) {
                    let message = format!("exit code `{code}` is listed twice");
                    reader.push(Problem::error("E_DUPLICATE", node.span, message));
                }
                seen.push(code);
                codes.push(code);
            }
            codes
        };
        let mut ok = codes(self, "ok");
        let (warning, critical) = (codes(self, "warning"), codes(self, "critical"));
        if fields.get("ok").is_none() && !warning.contains(&0) && !critical.contains(&0) {
            ok.push(0);
        }
        Some(ExitCodes { ok, warning, critical })
    }

    pub(super) fn parse(&mut self, node: &Node) -> Option<Parse> {
        if node.scalar().is_some() {
            let words = ["text", "lines", "number", "json", "none"];
            return Some(match words[self.word(node, &words, "`parse`")?] {
                "text" => Parse::Text,
                "lines" => Parse::Lines,
                "number" => Parse::Number,
                "json" => Parse::Json,
                _ => Parse::None,
            });
        }
        let fields = self.fields(node, &grammar::PARSE_REGEX, "`parse`")?;
        let node = fields.get("regex")?;
        let regex = self.regex(node, "`regex`")?;
        if regex.captures_len() == 1 {
            let message = "`regex` has no group: it would give no value";
            self.push(
                Problem::error("E_REGEX", node.span, message)
                    .help("put parentheses around what is wanted, or name groups by `(?<name>…)`"),
            );
        }
        Some(Parse::Regex(regex))
    }
}
