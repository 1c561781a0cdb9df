//! The inputs of a runbook as they are written on the command line: `-i name=value`, `--inputs
//! FILE`. What they mean is the runbook's; everything that is wrong here is said at once.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::args::Inputs;
use super::exit::Failure;
use crate::limits::INPUT_BYTES_MAX;

/// All inputs that were given.
///
/// # Errors
///
/// Exit 2, a line for each that cannot be read.
pub(super) fn given(inputs: &Inputs) -> Result<Map<String, Value>, Failure> {
    let mut wrong = Vec::new();
    let mut all = Map::new();
    if let Some(path) = &inputs.inputs {
        match object(path) {
            Ok(object) => all = object,
            Err(why) => wrong.push(why),
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for written in &inputs.input {
        let Some((name, value)) = written.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            wrong.push(format!("`-i {written}`: expected `-i name=value`"));
            continue;
        };
        if seen.contains(&name) {
            wrong.push(format!("input `{name}` is given twice"));
            continue;
        }
        seen.push(name);
        match value.strip_prefix('@') {
            None => {
                all.insert(name.to_owned(), Value::String(value.to_owned()));
            }
            Some(path) => match text_of(Path::new(path)) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    all.insert(name.to_owned(), Value::String(text.to_owned()));
                }
                Err(why) => wrong.push(format!("input `{name}`: {why}")),
            },
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(Failure::request(wrong.join("\n"))) }
}

/// Answers to a manual step: `name=value`, with no files.
///
/// # Errors
///
/// Exit 2, a line for each that cannot be read.
pub(super) fn answers(written: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut wrong = Vec::new();
    let mut all = Map::new();
    for answer in written {
        match answer.split_once('=').filter(|(name, _)| !name.is_empty()) {
            None => wrong.push(format!("`--answer {answer}`: expected `--answer name=value`")),
            Some((name, _)) if all.contains_key(name) => {
                wrong.push(format!("answer `{name}` is given twice"));
            }
            Some((name, value)) => {
                all.insert(name.to_owned(), Value::String(value.to_owned()));
            }
        }
    }
    if wrong.is_empty() { Ok(all) } else { Err(Failure::request(wrong.join("\n"))) }
}

/// A small text file, whole. Reads no more than the bound, whatever the file says of its size.
fn text_of(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let cannot = |err: std::io::Error| format!("failed to read `{shown}`: {err}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(format!("`{shown}` is larger than {INPUT_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|err| {
        format!("`{shown}` is not UTF-8 from byte {} on", err.utf8_error().valid_up_to())
    })
}

/// The object that a YAML or JSON file holds.
fn object(path: &Path) -> Result<Map<String, Value>, String> {
    let text = text_of(path)?;
    let shown = path.display();
    if text.trim().is_empty() {
        return Err(format!("`{shown}` is empty: expected an object of inputs"));
    }
    let value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(_) => {
            crate::runbook::data(text.as_bytes()).map_err(|why| format!("`{shown}`: {why}"))?
        }
    };
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Err(format!("`{shown}` is empty: expected an object of inputs")),
        other => Err(format!("`{shown}` holds {}: expected an object of inputs", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &[&str], file: Option<&Path>) -> Result<Map<String, Value>, String> {
        let input = written.iter().map(|text| (*text).to_owned()).collect();
        let inputs = Inputs { input, inputs: file.map(Path::to_owned) };
        given(&inputs).map_err(|failure| failure.message)
    }

    /// Goal: what stands after the first `=` is the value, whatever it holds.
    #[test]
    fn values_are_taken_as_they_are() {
        let all = read(&["a=1", "b=x=y", "c=", "d= @z"], None).unwrap();
        let all = Value::Object(all);
        assert_eq!(all, serde_json::json!({ "a": "1", "b": "x=y", "c": "", "d": " @z" }));
    }

    /// Goal: everything that is wrong is said at once.
    #[test]
    fn all_mistakes_are_said_at_once() {
        let said = read(&["a", "=b", "c=1", "c=2", "d=@/no/such"], None).unwrap_err();
        assert_eq!(
            said,
            "`-i a`: expected `-i name=value`\n`-i =b`: expected `-i name=value`\n\
             input `c` is given twice\n\
             input `d`: failed to read `/no/such`: No such file or directory (os error 2)"
        );
    }

    /// Goal: a file is data: `@` in it is text, its types are its own, `-i` goes before it.
    #[test]
    fn files_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.json");
        std::fs::write(&path, r#"{ "a": "@x", "n": 3, "l": [1] }"#).unwrap();
        let all = Value::Object(read(&["n=4"], Some(&path)).unwrap());
        assert_eq!(all, serde_json::json!({ "a": "@x", "n": "4", "l": [1] }));
        std::fs::write(&path, "line\n\n").unwrap();
        let all = read(&[&format!("t=@{}", path.display())], None).unwrap();
        assert_eq!(all["t"], "line\n");
        std::fs::write(&path, "[1, 2]").unwrap();
        let said = read(&[], Some(&path)).unwrap_err();
        assert!(said.ends_with("holds a list: expected an object of inputs"), "{said}");
        std::fs::write(&path, b"\xff").unwrap();
        assert!(read(&[], Some(&path)).unwrap_err().contains("is not UTF-8 from byte 0 on"));
    }
}
