//! Names in expressions and templates: whether they are there, then, and of a type that fits.

use super::super::expr::{Comparison, Operand, Relation};
use super::super::grammar::{self, FieldType};
use super::super::problem::{Problem, Span};
use super::super::read::{Cx, Entry, Zone, list_of};
use super::super::yaml;
use super::Checker;

pub(super) fn check(checker: &mut Checker<'_>) {
    for mention in &checker.outline.mentions {
        for (path, span) in &mention.names {
            checker.name(path, *span, mention.cx);
        }
        for comparison in &mention.comparisons {
            checker.comparison(comparison, mention.cx);
        }
        if let Some((whole, span)) = &mention.condition {
            checker.condition(whole, *span, mention.cx);
        }
    }
}

impl<'c> Checker<'c> {
    fn name(&mut self, path: &[String], span: Span, cx: Cx) {
        let Some(root) = path.first() else { return };
        let second = path.get(1).map(String::as_str);
        if cx.zone == Zone::Request && root != "inputs" && grammar::ROOTS.contains(&root.as_str()) {
            let message = format!("`{root}` is not known before the run exists");
            self.push(Problem::error("E_NAME_PLACE", span, message).help("only `inputs` are"));
            return;
        }
        match root.as_str() {
            "inputs" => self.input(second, span),
            "steps" => self.step(path, span, cx),
            "run" => self.field("run", second, grammar::RUN_FIELDS, span),
            "runbook" => self.field("runbook", second, grammar::RUNBOOK_FIELDS, span),
            "target" => self.field("target", second, grammar::TARGET_FIELDS, span),
            "item" if cx.item => {}
            "item" => self.push(
                Problem::error(
                    "E_NAME_PLACE",
                    span,
                    "`item` is known only where a `for_each` surrounds",
                )
                .help("add `for_each` to this step or to a block around it"),
            ),
            "result" if cx.result => self.result(second, span, cx),
            "result" => self.push(
                Problem::error("E_NAME_PLACE", span, "`result` is not known here")
                    .help("it stands in `expect`, `warn`, `changed`, `retry.when` and `measure`"),
            ),
            "secrets" => self.secret(second, span, cx),
            _ => self.set_name(path, span, cx),
        }
    }

    fn field(&mut self, root: &str, field: Option<&str>, known: &[&str], span: Span) {
        let Some(field) = field else { return };
        if !known.contains(&field) {
            let message = format!("`{root}` has no field `{}`", yaml::shorten(field));
            self.push(unknown(message, field, known.iter().copied(), span));
        }
    }

    fn input(&mut self, name: Option<&str>, span: Span) {
        let Some(name) = name else { return };
        let mut known = self.outline.inputs.iter().map(|(name, _)| name.as_str());
        if known.any(|known| known == name) {
            return;
        }
        let message = format!("input `{}` is not declared", yaml::shorten(name));
        let known = self.outline.inputs.iter().map(|(name, _)| name.as_str());
        let problem = Problem::error("E_NAME", span, message).label("not under `inputs`");
        self.push(match grammar::nearest(name, known) {
            Some(near) => problem.help(format!("did you mean `inputs.{near}`?")),
            None => problem.help(format!("declare it: `inputs: {{ {name}: {{ type: string }} }}`")),
        });
    }

    fn secret(&mut self, name: Option<&str>, span: Span, cx: Cx) {
        if !cx.secrets {
            self.push(
                Problem::error("E_SECRET_PLACE", span, "a secret may not stand here")
                    .label("would be recorded")
                    .help("secrets stand in `env`, `secret_files`, `stdin`, and headers, auth and body of `http`"),
            );
        }
        let Some(name) = name else { return };
        if !self.outline.secrets.iter().any(|known| known == name) {
            let message = format!("secret `{}` is not declared", yaml::shorten(name));
            let problem = Problem::error("E_SECRET_UNKNOWN", span, message);
            let known = self.outline.secrets.iter().map(String::as_str);
            self.push(match grammar::nearest(name, known) {
                Some(near) => problem.help(format!("did you mean `secrets.{near}`?")),
                None => problem.help(format!("add `{name}` to the runbook's `secrets`")),
            });
        }
    }

    fn result(&mut self, field: Option<&str>, span: Span, cx: Cx) {
        let Some(entry) = cx.step.map(|at| &self.entries()[at]) else { return };
        if let (Some(field), Some(_)) = (field, entry.action)
            && field_type(entry, field).is_none()
        {
            let action = entry.action.map_or("this action", |action| action.name);
            let message =
                format!("the result of `{action}` has no field `{}`", yaml::shorten(field));
            self.push(unknown(message, field, field_names(entry).into_iter(), span));
        }
    }

    /// `steps.<id>.<field>`.
    fn step(&mut self, path: &[String], span: Span, cx: Cx) {
        let Some(id) = path.get(1) else {
            self.push(
                Problem::error("E_NAME", span, "`steps` alone names no step").help(
                    "write `steps.<id>.<field>`: only then is it known that the step has ended",
                ),
            );
            return;
        };
        let Some(named) = self.find(id) else {
            self.unknown_step(id, span, "E_NAME");
            return;
        };
        if !self.is_known_by(named, span, cx, &format!("steps.{id}")) {
            return;
        }
        let Some(field) = path.get(2) else { return };
        let entry = &self.entries()[named];
        if entry.action.is_none() {
            return;
        }
        let own = grammar::FAN_FIELDS.iter().chain(grammar::COMMON_FIELDS);
        let is_common = own.clone().any(|(name, _)| name == field);
        if self.fans_out(named, cx) {
            if !is_common {
                let message = format!("`{id}` fans out: it has one `{field}` an item");
                let problem = Problem::error("E_FIELD", span, message);
                let names = own.map(|(name, _)| *name).collect::<Vec<_>>();
                let help = match field_type(entry, field) {
                    Some(_) => format!("write `steps.{id}.results|map(attribute='{field}')|list`"),
                    None => format!("its fields are {}", list_of(&names)),
                };
                self.push(problem.help(help));
            }
            return;
        }
        if field_type(entry, field).is_some() {
            if let Some(output) =
                path.get(3).filter(|_| field == "outputs" && !entry.outputs.is_empty())
                && !entry.outputs.contains(output)
            {
                let message = format!("`{id}` declares no output `{}`", yaml::shorten(output));
                self.push(unknown(message, output, entry.outputs.iter().map(String::as_str), span));
            }
            return;
        }
        let action = entry.action.map_or("step", |action| action.name);
        let message = format!("`{id}` is a `{action}` and has no field `{}`", yaml::shorten(field));
        let problem = unknown(message, field, field_names(entry).into_iter(), span);
        let is_fan = grammar::FAN_FIELDS.iter().any(|(name, _)| name == field);
        self.push(if is_fan {
            problem.help("only a step that fans out has it: one with `for_each`, or whose target may be many")
        } else {
            problem
        });
    }

    /// Whether a step that is named has ended when the text is evaluated; reports it if not.
    fn is_known_by(&mut self, named: usize, span: Span, cx: Cx, written: &str) -> bool {
        let Some(at) = cx.step else { return true };
        if self.order.may_name(at, named) {
            return true;
        }
        let entry = &self.entries()[named];
        let here = &self.entries()[at];
        let problem = if named == at {
            Problem::error("E_ORDER", span, format!("`{written}` names the step itself"))
                .help("its own result is `result`, in `expect`, `warn`, `changed`, `retry.when` and `measure`")
        } else {
            let message = format!("`{written}` is not sure to have ended when this is read");
            let help = if entry.list == here.list && here.needs.is_some() {
                format!("add `{}` to `needs`", entry.id)
            } else {
                "only steps that stand before, or that `needs` leads to, may be named".to_owned()
            };
            Problem::error("E_ORDER", span, message).related(entry.span, "this step").help(help)
        };
        self.push(problem);
        false
    }

    /// Whether the named step is many, seen from where it is named: it, or something around it
    /// that is not around the reader too, fans out.
    fn fans_out(&self, named: usize, cx: Cx) -> bool {
        let entries = self.entries();
        let above = |at: usize| std::iter::successors(Some(at), |at| entries[*at].parent);
        above(named)
            .filter(|at| entries[*at].fans_out)
            .any(|fan| !cx.step.is_some_and(|step| above(step).any(|at| at == fan)))
    }

    /// A name that is none of the context's: the id of a `set`, or a mistake.
    fn set_name(&mut self, path: &[String], span: Span, cx: Cx) {
        let root = path[0].as_str();
        if root.starts_with('@') || root == "this" {
            return;
        }
        if let Some(named) = self.find(root) {
            let entry = &self.entries()[named];
            if entry.action.is_some_and(|action| action.name != "set") {
                let message = format!("`{root}` is a step, not a value");
                self.push(Problem::error("E_NAME", span, message).help(format!(
                    "write `steps.{}`: only a `set` is read by its id alone",
                    path.join(".")
                )));
                return;
            }
            let is_known = self.is_known_by(named, span, cx, root);
            if is_known && self.fans_out(named, cx) {
                let message = format!("`{root}` fans out: it has values for each item");
                self.push(
                    Problem::error("E_FIELD", span, message)
                        .help(format!("write `steps.{root}.results`: a list, one for each item")),
                );
            } else if is_known
                && let Some(field) = path.get(1)
                && entry.action.is_some()
                && !entry.names.contains(field)
                && field_type(entry, field).is_none()
            {
                let message = format!("`{root}` sets no `{}`", yaml::shorten(field));
                self.push(unknown(message, field, entry.names.iter().map(String::as_str), span));
            }
            return;
        }
        let message = format!("`{}` is not known", yaml::shorten(root));
        let problem = Problem::error("E_NAME", span, message).label("not a name of this runbook");
        let is_input = self.outline.inputs.iter().any(|(name, _)| name == root);
        let sets = self.entries().iter().filter(|e| e.is_named && !e.names.is_empty());
        let known = grammar::ROOTS.iter().copied().chain(sets.map(|entry| entry.id.as_str()));
        self.push(if is_input {
            problem.help(format!("did you mean `inputs.{root}`?"))
        } else if let Some(near) = grammar::nearest(root, known) {
            problem.help(format!("did you mean `{near}`?"))
        } else {
            problem.help(format!(
                "names begin with {}; quote a text inside an expression",
                list_of(&["inputs", "steps", "run", "runbook", "target", "item"])
            ))
        });
    }

    /// A number against a string, where both types are known.
    fn comparison(&mut self, comparison: &Comparison, cx: Cx) {
        if matches!(comparison.relation, Relation::In | Relation::NotIn) {
            return;
        }
        let (left, right) =
            (self.type_of(&comparison.left, cx), self.type_of(&comparison.right, cx));
        let both_written = !matches!(
            (&comparison.left, &comparison.right),
            (Operand::Name(_), _) | (_, Operand::Name(_))
        );
        let (Some(left), Some(right)) = (left, right) else { return };
        if left == right || both_written {
            return;
        }
        let side = |operand: &Operand, ty: &str| match operand {
            Operand::Name(path) => format!("`{}` is {ty}", path.join(".")),
            _ => format!("the other is {ty}"),
        };
        let message = format!("{left} compared with {right}");
        let help = match (&comparison.left, &comparison.right) {
            (Operand::Name(_), Operand::String) => Some("write the number without quotes"),
            (Operand::Name(_), Operand::Number) => Some("write the text in quotes"),
            _ => None,
        };
        let problem = Problem::error("E_TYPES", comparison.span, message).label(format!(
            "{}, {}",
            side(&comparison.left, left),
            side(&comparison.right, right)
        ));
        self.push(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }

    /// A condition whose type is known must be a boolean.
    fn condition(&mut self, whole: &Operand, span: Span, cx: Cx) {
        let Some(ty) = self.type_of(whole, cx).filter(|ty| *ty != "a boolean") else { return };
        let help = match ty {
            "a number" => "compare it, such as `… > 0` or `… == 0`",
            _ => "compare it, such as `… == 'text'`; a boolean is `true` or `false` without quotes",
        };
        let message = format!("a condition must be true or false, and this is {ty}");
        self.push(Problem::error("E_TYPES", span, message).label(ty).help(help));
    }

    fn type_of(&self, operand: &Operand, cx: Cx) -> Option<&'static str> {
        let field = match operand {
            Operand::Number => FieldType::Number,
            Operand::String => FieldType::String,
            Operand::Bool => FieldType::Bool,
            Operand::Other => return None,
            Operand::Name(path) => match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["inputs", name] => self
                    .outline
                    .inputs
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, ty)| *ty)?,
                ["steps", id, field] => {
                    let named = self.find(id)?;
                    if self.fans_out(named, cx) {
                        return None;
                    }
                    field_type(&self.entries()[named], field)?
                }
                ["result", field] => field_type(&self.entries()[cx.step?], field)?,
                _ => return None,
            },
        };
        match field {
            FieldType::Number => Some("a number"),
            FieldType::String => Some("a string"),
            FieldType::Bool => Some("a boolean"),
            FieldType::List | FieldType::Any => None,
        }
    }
}

/// The type of a result field of `entry`, if it has that field.
fn field_type(entry: &Entry, field: &str) -> Option<FieldType> {
    let action = entry.action?;
    if entry.names.iter().chain(&entry.outputs).any(|name| name == field)
        || (field == "outputs" && !entry.outputs.is_empty())
    {
        return Some(FieldType::Any);
    }
    action
        .fields
        .iter()
        .chain(grammar::COMMON_FIELDS)
        .find(|(name, _)| *name == field)
        .map(|(_, ty)| *ty)
}

fn field_names(entry: &Entry) -> Vec<&str> {
    let fields = entry.action.map(|action| action.fields).unwrap_or_default();
    let own = fields.iter().chain(grammar::COMMON_FIELDS).map(|(name, _)| *name);
    let declared = entry.names.iter().chain(&entry.outputs).map(String::as_str);
    declared.chain(own).collect()
}

fn unknown<'k>(
    message: String,
    word: &str,
    known: impl Iterator<Item = &'k str>,
    span: Span,
) -> Problem {
    let known: Vec<&str> = known.collect();
    let fields = format!("its fields are {}", list_of(&known));
    let help = match grammar::nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {fields}"),
        None => fields,
    };
    Problem::error("E_FIELD", span, message).help(help)
}
