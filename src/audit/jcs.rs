//! RFC 8785 (JCS): the one way to write a JSON value, so that equal values have equal bytes and
//! equal digests.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

/// The largest integer that every JSON reader holds exactly: 2^53 − 1 (RFC 8785, section 3.2.2.3).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// What to do with an integer beyond ±(2^53 − 1), which many readers would round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BigIntegers {
    /// Refuse the value if readers that know only doubles would write it otherwise.
    Refuse,
    /// Write its digits as a string, as the log does. A double stays a number whatever its size,
    /// spelled as RFC 8785 has it; so digits beyond 2^53 − 1 outside a string are always a double,
    /// and [`read`] takes them for one.
    AsText,
}

/// The value has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the integer `{0}` in canonical JSON: it is beyond 2^53 - 1 and would be rounded")]
pub struct IntegerTooLarge(String);

/// The canonical bytes of `value`.
///
/// # Errors
///
/// [`IntegerTooLarge`]: the value holds an integer that readers would round.
pub fn to_vec(value: &Value) -> Result<Vec<u8>, IntegerTooLarge> {
    let mut out = Vec::with_capacity(256);
    write(value, BigIntegers::Refuse, &mut out)?;
    Ok(out)
}

/// Appends the canonical bytes of `value` to `out`.
///
/// # Errors
///
/// [`IntegerTooLarge`], only with [`BigIntegers::Refuse`]; `out` then holds a part of the value.
pub fn write(value: &Value, big: BigIntegers, out: &mut Vec<u8>) -> Result<(), IntegerTooLarge> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, big, out)?,
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, big, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => write_object(map, big, out)?,
    }
    Ok(())
}

/// Appends the canonical bytes of an object to `out`.
///
/// # Errors
///
/// As [`write`].
pub fn write_object(
    map: &Map<String, Value>,
    big: BigIntegers,
    out: &mut Vec<u8>,
) -> Result<(), IntegerTooLarge> {
    let mut members: Vec<(&String, &Value)> = map.iter().collect();
    members.sort_unstable_by(|a, b| key_order(a.0, b.0));
    out.push(b'{');
    for (i, (key, value)) in members.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        write(value, big, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Keys stand in the order of their UTF-16 code units, which differs from that of UTF-8 where a
/// character beyond U+FFFF meets one above the surrogates.
#[must_use]
pub fn key_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// Reads what was written with [`BigIntegers::AsText`]: numbers come back as what they were, so
/// that writing them again gives the same bytes. Readers of JSON at large take
/// `83125145144644930` for an integer, though nobody but a double is written so.
///
/// # Errors
///
/// The bytes are not JSON. Whether they are canonical is not asked.
pub fn read(bytes: &[u8]) -> serde_json::Result<Value> {
    let mut value = serde_json::from_slice(bytes)?;
    doubles_again(&mut value);
    Ok(value)
}

/// As deep as the value, which a reader of JSON has bounded.
fn doubles_again(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if magnitude(number).is_some_and(|magnitude| magnitude > INTEGER_MAX)
                && let Some(double) = number.as_f64().and_then(Number::from_f64)
            {
                *number = double;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(doubles_again),
        Value::Object(map) => map.values_mut().for_each(doubles_again),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Of an integer, without its sign; `None`: a double.
fn magnitude(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs))
}

fn write_number(
    number: &Number,
    big: BigIntegers,
    out: &mut Vec<u8>,
) -> Result<(), IntegerTooLarge> {
    let Some(magnitude) = magnitude(number) else {
        let double = number.as_f64().expect("a JSON number is an integer or a double");
        out.extend_from_slice(ryu_js::Buffer::new().format(double).as_bytes());
        return Ok(());
    };
    let digits = number.to_string();
    match big {
        _ if magnitude <= INTEGER_MAX => out.extend_from_slice(digits.as_bytes()),
        BigIntegers::AsText => write_string(&digits, out),
        // What a double was written as is read back as an integer: the same number for all.
        BigIntegers::Refuse if is_spelling_of_a_double(number, &digits) => {
            out.extend_from_slice(digits.as_bytes());
        }
        BigIntegers::Refuse => return Err(IntegerTooLarge(digits)),
    }
    Ok(())
}

fn is_spelling_of_a_double(number: &Number, digits: &str) -> bool {
    number.as_f64().is_some_and(|float| ryu_js::Buffer::new().format(float) == digits)
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[done..i]);
        done = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control => {
                out.extend_from_slice(b"\\u");
                out.extend_from_slice(format!("{control:04x}").as_bytes());
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Digest, hex};

    fn canonical(text: &str) -> String {
        let value: Value = serde_json::from_str(text).unwrap();
        String::from_utf8(to_vec(&value).unwrap()).unwrap()
    }

    /// Goal: the published test data of RFC 8785 come out byte for byte.
    #[test]
    fn published_inputs_have_their_published_outputs() {
        assert_eq!(
            canonical(r#"[ 56, { "d": true, "10": null, "1": [ ] } ]"#),
            r#"[56,{"1":[],"10":null,"d":true}]"#
        );
        assert_eq!(
            canonical(
                r#"{ "1": {"f": {"f": "hi","F": 5} ,"\n": 56.0}, "10": { }, "": "empty", "a": { },
                     "111": [ {"e": "yes","E": "no" } ], "A": { } }"#
            ),
            r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#
        );
        let values = canonical(
            r#"{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                 "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                 "literals": [null, true, false] }"#,
        );
        assert_eq!(
            hex(values.as_bytes()),
            concat!(
                "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a5b",
                "3333333333333333332e333333333333332c31652b33302c342e352c302e3030322c31652d32375d2c",
                "22737472696e67223a22e282ac245c75303030665c6e4127425c225c5c5c5c5c222f227d"
            )
        );
    }

    /// Goal: keys are ordered by UTF-16 and no text is normalised.
    #[test]
    fn published_digests_of_text_cases() {
        let french = canonical(
            r#"{ "peach": "This sorting order", "péché": "is wrong according to French",
                 "pêche": "but canonicalization MUST", "sin":   "ignore locale" }"#,
        );
        assert_eq!(
            Digest::of(french.as_bytes()).hex(),
            "d99d0ebdcb0033cb858cfa830ae46bc0fb3309413b271f1da828c89901a27ed5"
        );
        let unicode = canonical(r#"{ "Unnormalized Unicode":"A\u030a" }"#);
        assert_eq!(
            Digest::of(unicode.as_bytes()).hex(),
            "0d99aad92a125196ff887876643fd3206786a84ddce2cee52ba4ad256d2381d3"
        );
        let weird = canonical(
            r#"{ "\u20ac": "Euro Sign", "\r": "Carriage Return", "\u000a": "Newline", "1": "One",
                 "\u0080": "Control\u007f", "\ud83d\ude02": "Smiley", "\u00f6": "Latin Small Letter O With Diaeresis",
                 "\ufb33": "Hebrew Letter Dalet With Dagesh", "</script>": "Browser Challenge" }"#,
        );
        assert_eq!(
            Digest::of(weird.as_bytes()).hex(),
            "6af595a9aa80110b964b4de3f82a05fa6ae7423005019bacfa2620dddc4e94d1"
        );
    }

    /// Goal: numbers are ECMAScript's, and an integer that readers would round is never written
    /// as a number.
    #[test]
    fn numbers_are_those_of_ecmascript() {
        for (written, want) in [
            ("-0.0", "0"),
            ("0", "0"),
            ("-5", "-5"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("1e-7", "1e-7"),
            ("0.000001", "0.000001"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740991", "9007199254740991"),
            ("1997829117021166000.0", "1997829117021166000"),
            ("1997829117021166000", "1997829117021166000"),
            ("-9007199254740991", "-9007199254740991"),
            ("0.1", "0.1"),
            ("333333333.33333329", "333333333.3333333"),
        ] {
            assert_eq!(canonical(written), want, "{written}");
        }
        for big in ["9007199254740993", "-9007199254740993", "18446744073709551615"] {
            let value: Value = serde_json::from_str(big).unwrap();
            assert_eq!(to_vec(&value), Err(IntegerTooLarge(big.to_owned())));
            let mut out = Vec::new();
            write(&value, BigIntegers::AsText, &mut out).unwrap();
            assert_eq!(out, format!("\"{big}\"").into_bytes());
        }
    }

    proptest::proptest! {
        /// Goal: another implementation writes the same bytes, and reading them back changes
        /// nothing.
        #[test]
        fn agrees_with_another_implementation(
            texts in proptest::collection::vec(".{0,12}", 0..6),
            number in proptest::num::f64::NORMAL,
            integer in -9_007_199_254_740_991_i64..9_007_199_254_740_991,
        ) {
            let mut map = Map::new();
            for text in &texts {
                map.insert(text.clone(), serde_json::json!([text, number, integer, null, true]));
            }
            let value = Value::Object(map);
            let ours = to_vec(&value).unwrap();
            let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
            proptest::prop_assert_eq!(&ours, &theirs);
            let again: Value = serde_json::from_slice(&ours).unwrap();
            proptest::prop_assert_eq!(to_vec(&again).unwrap(), ours);
        }
    }
}
