//! Regular expressions that an author, or data, supplies: linear time, bounded memory.

use regex::{Regex, RegexBuilder};

use crate::limits::{PATTERN_BYTES_MAX, PATTERN_PROGRAM_BYTES_MAX};

/// Depth of groups: an author's pattern has a handful, and each level takes stack to parse.
const NESTING_MAX: u32 = 32;

/// One repetition, `{n}`: what is longer is a length to be checked, not a shape.
const REPETITION_MAX: u64 = 1_000;

/// Compiles `text`. The engine has neither back-references nor look-around, so a match takes time
/// linear in the text; repetitions that would multiply into a large program are refused.
///
/// # Errors
///
/// One line for people, to stand after "the pattern is refused: ".
pub fn compile(text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "it is {} bytes long, at most {PATTERN_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    if let Some(count) = repetition_above(text, REPETITION_MAX) {
        return Err(format!("it repeats {count} times, at most {REPETITION_MAX} are allowed"));
    }
    RegexBuilder::new(text)
        .size_limit(PATTERN_PROGRAM_BYTES_MAX)
        .dfa_size_limit(PATTERN_PROGRAM_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|err| explain(&err))
}

/// The first `{n` of `text` with a larger `n`, as written. The engine drops a repetition of nothing
/// before it looks at its size, so that its own limit does not see every one.
fn repetition_above(text: &str, most: u64) -> Option<&str> {
    text.split('{').skip(1).find_map(|rest| {
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        (!digits.is_empty() && digits.parse().map_or(true, |count: u64| count > most))
            .then_some(digits)
    })
}

/// The library draws the pattern over several lines; the cause is its last one.
fn explain(err: &regex::Error) -> String {
    match err {
        regex::Error::CompiledTooBig(_) => "its repetitions multiply to too large a program".into(),
        other => {
            let shown = other.to_string();
            let last = shown.lines().last().unwrap_or(&shown);
            last.trim_start_matches("error: ").trim().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_would_cost_memory_or_time_is_refused_quickly() {
        let begun = std::time::Instant::now();
        for text in ["(?:){4294967295}", "((a{0,99}){0,99}){0,99}", "\\w{1000}{1000}"] {
            assert!(compile(text).is_err(), "{text}");
        }
        assert!(compile(&"(".repeat(500)).is_err());
        assert!(compile(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
        assert!(begun.elapsed().as_secs() < 5, "refusing took {:?}", begun.elapsed());
    }

    #[test]
    fn the_cause_is_one_line() {
        assert_eq!(compile("a(b").unwrap_err(), "unclosed group");
        assert_eq!(
            compile("(?=a)").unwrap_err(),
            "look-around, including look-ahead and look-behind, is not supported"
        );
    }

    #[test]
    fn what_authors_write_compiles() {
        for text in ["^[a-z0-9@._-]+$", "(?i)error|fatal", r"\d{1,3}(\.\d{1,3}){3}", "", "ü+"] {
            assert!(compile(text).is_ok(), "{text}");
        }
    }
}
