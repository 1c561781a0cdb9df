//! What hostile text, and hostile data, may cost; and properties that hold of any.

use std::ops::Add as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{eval, parse, scope};
use crate::runbook::scope::Scope;

/// Goal: hostile text costs neither the process nor a second. Method: shapes that nest, chain or
/// multiply, on the stack of a test thread (2 MiB).
#[test]
fn hostile_expressions_are_refused_or_bounded() {
    let begun = std::time::Instant::now();
    for unit in [
        "(",
        "[",
        "{",
        "-",
        "- ",
        "not ",
        "a|",
        "a.",
        "a[",
        "1+",
        "1**",
        "a~",
        "x if y else ",
        "a and ",
        "{'a':",
        "a|list|",
        "f(",
        "a is ",
        "a is not ",
        "a,",
        "'",
        "\\",
        "!",
        "a==",
        "a<",
        "(-",
        "not(",
        "[-",
        "a|first|",
        "a if ",
        "a[-",
        "a|map('a',",
        "1if 1else ",
        "x is x ",
        "x is -",
    ] {
        for count in [1, 2, 20, 25, 150, 151, 2047 / unit.len()] {
            let open = unit.repeat(count);
            let _ = eval(&open);
            let _ = eval(&format!("{open}1"));
        }
    }
    // Within the bounds such things work.
    assert_eq!(eval(&format!("{}1{}", "(".repeat(20), ")".repeat(20))), Ok(json!(1)));
    assert_eq!(eval(&"1+".repeat(100).add("1")), Ok(json!(101)));
    assert!(eval(&"1+".repeat(1000).add("1")).expect_err("deep").contains("chains more"));

    let big = json!("x".repeat(1 << 20));
    let list = Value::Array(vec![json!(0); 400_000]);
    let scope = Scope::default().with("big", big).with("list", list);
    for source in [
        "big ~ big",
        "big|replace('x', big)",
        "big|list|join('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
        "[big, big, big, big, big, big, big, big]",
        "list + list + list + list + list + list",
        "list|select('in', list)|list",
        "list|batch(1)|list|batch(1)|list|batch(1)|list|sort",
        "[1]|batch(100000000, 0)",
        "big|list|unique|list + big|list|map('upper')|list + big|list + big|list + big|list",
    ] {
        let found = parse(source).expect("parses").eval(&scope);
        assert!(found.is_err(), "{source}");
    }
    let chain = format!("list{}", "|list".repeat(120));
    assert!(parse(&chain).expect("parses").eval(&scope).is_err(), "too much work");
    let long = format!("big{} == 'x'", "|upper|lower".repeat(50));
    assert!(parse(&long).expect("parses").eval(&scope).is_err(), "too much work");
    assert!(begun.elapsed().as_secs() < 60, "took {:?}", begun.elapsed());
}

/// Goal: reading and evaluating is cheap enough for every step and every sample of a probe.
#[test]
fn ten_thousand_expressions_are_read_and_evaluated_soon() {
    let begun = std::time::Instant::now();
    let scope = scope();
    let expr =
        parse("steps.rss.results|selectattr('value', 'gt', inputs.limit_mb)|list|length > 1")
            .expect("parses");
    for _ in 0..10_000 {
        assert_eq!(expr.test(&scope), Ok(true));
    }
    for _ in 0..10_000 {
        assert!(parse("steps.check.value > 3 and inputs.on").is_ok());
    }
    // Without optimisation and on a busy machine; 20 times less with it.
    assert!(begun.elapsed().as_secs() < 20, "took {:?}", begun.elapsed());
}

#[test]
fn errors_show_no_data() {
    let scope = Scope::default().with("secret", json!("hunter2-hunter2"));
    for source in [
        "secret > 3",
        "secret|int",
        "secret|bool",
        "-secret",
        "secret.x",
        "secret + 1",
        "secret[0][1][2]",
        "[secret]|sum",
        "secret in 3",
        "secret is matches(secret ~ '(')",
        "{secret: 1}.y",
        "secret|float",
        "{'a': 1}[secret]",
    ] {
        let why = parse(source).expect("parses").eval(&scope).expect_err("no value").message;
        assert!(!why.contains("hunter2"), "{source}: {why}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\n\u{fc}]{0,120}") {
        let _ = eval(&text);
    }

    #[test]
    fn no_mixture_of_its_own_signs_does_either(
        parts in prop::collection::vec(prop::sample::select(vec![
            "(", ")", "[", "]", "{", "}", ",", ":", ".", "|", "~", "+", "-", "*", "/", "//", "**", "%",
            "==", "!=", "<", "<=", " and ", " or ", " not ", " in ", " is ", " if ", " else ", "=",
            "inputs", "steps.rss.results", "item", "'a'", "\"", "1", "2.5", "none", "true", "list",
            "length", "select", "map", "attribute", "selectattr", "'value'", "'gt'", "default", "sort",
            "matches", "join", "over.hosts", "inputs.big", "inputs.nested", "batch", "round", "'\\u",
            "inputs.mixed", "split", "replace", "0", "first", "|sum", "|int", "|unique", "1e99",
        ]), 0..24)
    ) {
        let _ = eval(&parts.concat());
    }

    #[test]
    fn what_comes_out_of_a_name_is_what_went_in(text in "\\PC{0,60}") {
        let scope = Scope::default().with("x", json!({"y": [text]}));
        let found = parse("x.y[0]").expect("parses").eval(&scope);
        prop_assert_eq!(found, Ok(json!(text)));
    }

    #[test]
    fn order_of_numbers_is_exact(a in any::<i64>(), b in any::<i64>(), f in -1e19..1e19_f64) {
        let scope = Scope::default().with("a", json!(a)).with("b", json!(b)).with("f", json!(f));
        let test = |source: &str| parse(source).expect("parses").test(&scope).expect("a boolean");
        prop_assert_eq!(test("a < b"), a < b);
        prop_assert_eq!(test("a == b"), a == b);
        prop_assert_eq!(test("a < f"), !test("a >= f"));
        prop_assert_eq!(test("a < f"), i128::from(a) < f.ceil() as i128);
    }
}
