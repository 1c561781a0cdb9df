//! Tables: one row a value, what it is read as or which words its error holds.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::runbook::problem::Span;

fn string() -> InputType {
    InputType::String { pattern: None, min_length: None, max_length: None, values: Vec::new() }
}

fn bounded_string() -> InputType {
    let pattern = Some(crate::runbook::pattern::compile("^[a-z0-9@._-]+$").expect("compiles"));
    InputType::String { pattern, min_length: Some(2), max_length: Some(5), values: Vec::new() }
}

fn one_of() -> InputType {
    let values = ["prod", "staging"].map(str::to_owned).to_vec();
    InputType::String { pattern: None, min_length: None, max_length: None, values }
}

fn integer() -> InputType {
    InputType::Integer { minimum: Some(-5), maximum: Some(64) }
}

fn any_integer() -> InputType {
    InputType::Integer { minimum: None, maximum: None }
}

fn number() -> InputType {
    InputType::Number { minimum: Some(0.0), maximum: Some(1.0) }
}

fn span() -> InputType {
    let seconds = |n| Some(Duration::from_secs(n));
    InputType::Duration { minimum: seconds(1), maximum: seconds(3600) }
}

fn size() -> InputType {
    InputType::Size { minimum: Some(1024), maximum: Some(1 << 30) }
}

fn list_of(items: InputType) -> InputType {
    InputType::List { items: Some(Box::new(items)), min_items: None, max_items: Some(3) }
}

fn object() -> InputType {
    InputType::Object {
        properties: vec![
            ("port".to_owned(), any_integer(), true),
            ("name".to_owned(), string(), false),
        ],
    }
}

#[test]
fn what_fits_is_read_by_its_type() {
    let target = InputType::Target { one: false };
    let one = InputType::Target { one: true };
    let any_list = InputType::List { items: None, min_items: None, max_items: None };
    let rows: Vec<(InputType, Value, Value)> = vec![
        (string(), json!("no"), json!("no")),
        (string(), json!(""), json!("")),
        (string(), json!("@/etc/passwd"), json!("@/etc/passwd")),
        (string(), json!("file:///etc/passwd"), json!("file:///etc/passwd")),
        (string(), json!("${file:/etc/passwd}"), json!("${file:/etc/passwd}")),
        (string(), json!("{{7*7}}"), json!("{{7*7}}")),
        (bounded_string(), json!("a@b"), json!("a@b")),
        (one_of(), json!("prod"), json!("prod")),
        (integer(), json!(64), json!(64)),
        (integer(), json!("64"), json!(64)),
        (integer(), json!("-5"), json!(-5)),
        (integer(), json!(3.0), json!(3)),
        (number(), json!(1), json!(1)),
        (number(), json!("0.5"), json!(0.5)),
        (number(), json!("1e-3"), json!(0.001)),
        (InputType::Boolean, json!(true), json!(true)),
        (InputType::Boolean, json!("false"), json!(false)),
        (span(), json!("30s"), json!(30)),
        (span(), json!("1500ms"), json!(1.5)),
        (span(), json!("1h"), json!(3600)),
        (size(), json!("10MiB"), json!(10 << 20)),
        (InputType::Timestamp, json!("2026-01-31T12:00:00Z"), json!("2026-01-31T12:00:00.000Z")),
        (
            InputType::Timestamp,
            json!("2026-01-31T12:00:00+02:00"),
            json!("2026-01-31T10:00:00.000Z"),
        ),
        (target.clone(), json!("role=app,env!=test"), json!("role=app,env!=test")),
        (target, json!("all"), json!("all")),
        (one.clone(), json!("db-1.example.org"), json!("db-1.example.org")),
        (one, json!("local"), json!("local")),
        (list_of(any_integer()), json!([1, "2"]), json!([1, 2])),
        (list_of(any_integer()), json!("1,2"), json!([1, 2])),
        (list_of(any_integer()), json!("[1, 2]"), json!([1, 2])),
        (list_of(string()), json!(""), json!([])),
        (any_list, json!([1, {"a": null}]), json!([1, {"a": null}])),
        (object(), json!({"name": "x", "port": "80"}), json!({"port": 80, "name": "x"})),
        (object(), json!("{\"port\": 80}"), json!({"port": 80})),
        (InputType::Object { properties: Vec::new() }, json!({"any": [1]}), json!({"any": [1]})),
    ];
    for (ty, given, expected) in rows {
        assert_eq!(ty.accept(&given), Ok(expected), "{given} as {}", ty.kind());
    }
}

#[test]
fn what_does_not_fit_says_the_bound_and_the_value() {
    let one = InputType::Target { one: true };
    let rows: Vec<(InputType, Value, &str)> = vec![
        (string(), json!(3), "expected a string, got `3`"),
        (string(), json!(null), "got null"),
        (string(), json!(["a"]), "got a list"),
        (bounded_string(), json!("a"), "the length: `1` is below the minimum 2 characters"),
        (bounded_string(), json!("abcdef"), "above the maximum 5 characters"),
        (bounded_string(), json!("a b"), "`a b` does not match the pattern `^[a-z0-9@._-]+$`"),
        (bounded_string(), json!("ab\n"), "does not match"),
        (bounded_string(), json!("$(x)"), "does not match"),
        (one_of(), json!("prdo"), "`prdo` is none of `prod`, `staging`; did you mean `prod`?"),
        (integer(), json!(65), "`65` is above the maximum 64"),
        (integer(), json!("-6"), "`-6` is below the minimum -5"),
        (integer(), json!(1.5), "expected an integer, got `1.5`"),
        (integer(), json!("1.5"), "expected an integer, got the text `1.5`"),
        (integer(), json!(" 1"), "expected an integer"),
        (integer(), json!("0x10"), "expected an integer"),
        (integer(), json!(true), "expected an integer, got `true`"),
        (integer(), json!(""), "expected an integer"),
        (any_integer(), json!(i64::MAX), "beyond"),
        (any_integer(), json!("99999999999999999999"), "expected an integer"),
        (number(), json!(1.5), "above the maximum 1"),
        (number(), json!("NaN"), "expected a number"),
        (number(), json!("inf"), "expected a number"),
        (number(), json!("1e999"), "expected a number"),
        (InputType::Boolean, json!("yes"), "write `true` or `false`"),
        (InputType::Boolean, json!(1), "expected a boolean, got `1`"),
        (span(), json!("30"), "write `30s` or `30m`"),
        (span(), json!(30), "write `30s` or `30m`"),
        (span(), json!("2h"), "above the maximum 1h 00m"),
        (span(), json!("500ms"), "below the minimum 1.0s"),
        (span(), json!("-5s"), "is not a duration"),
        (span(), json!(true), "expected a duration"),
        (size(), json!(64), "write `64B` or `64MiB`"),
        (size(), json!("1B"), "below the minimum 1.0 KiB"),
        (InputType::Timestamp, json!("yesterday"), "2026-01-31T12:00:00Z"),
        (InputType::Timestamp, json!("2026-01-31T12:00:00"), "expected a timestamp"),
        (InputType::Timestamp, json!(0), "expected a timestamp"),
        (one.clone(), json!("role=app"), "no selector"),
        (one.clone(), json!("all"), "no selector"),
        (one.clone(), json!("-oProxyCommand=x"), "is not the name of a target"),
        (one, json!(""), "is not"),
        (InputType::Target { one: false }, json!("a\nb"), "is not"),
        (list_of(any_integer()), json!([1, "x"]), "item 2: expected an integer"),
        (list_of(any_integer()), json!([1, 2, 3, 4]), "`4` is above the maximum 3 items"),
        (list_of(any_integer()), json!(3), "expected a list"),
        (list_of(object()), json!("a,b"), "expected a list"),
        (object(), json!({"prot": 80}), "unknown field `prot`; did you mean `port`?"),
        (object(), json!({"port": 80, "x": 1}), "unknown field `x`; known: port, name"),
        (object(), json!({}), "field `port`: an integer is missing"),
        (object(), json!({"port": "a"}), "field `port`: expected an integer"),
        (object(), json!("{port"), "write it as JSON"),
        (object(), json!([]), "expected an object"),
        (string(), json!("x".repeat(2 << 20)), "at most"),
    ];
    for (ty, given, words) in rows {
        let why = ty.accept(&given).expect_err("the row does not fit");
        assert!(why.contains(words), "{why:?} lacks {words:?}");
        assert!(!why.contains('\n') && why.len() < 300, "{why:?}");
    }
}

fn input(name: &str, ty: InputType, default: Option<Value>) -> Input {
    let is_required = default.is_none();
    let name = name.to_owned();
    Input { name, ty, description: None, default, is_required, span: Span::default() }
}

#[test]
fn all_problems_of_a_call_are_told_at_once() {
    let declared = [
        input("service", bounded_string(), None),
        input("limit_mb", integer(), Some(json!(32))),
        input("pause", span(), Some(json!(5))),
        input("hosts", list_of(string()), None),
    ];
    let given = |value: Value| value.as_object().expect("an object").clone();
    let checked = check_inputs(&declared, &given(json!({"hosts": ["a"], "service": "api"})));
    let expected = json!({"service": "api", "limit_mb": 32, "pause": 5, "hosts": ["a"]});
    let checked = checked.expect("fits");
    assert_eq!(Value::Object(checked.clone()), expected);
    // In the author's order, whatever the caller's.
    assert_eq!(checked.keys().collect::<Vec<_>>(), ["service", "limit_mb", "pause", "hosts"]);

    let hostile = json!({
        "servce": "api", "limit_mb": "99", "PATH": "/tmp", "LD_PRELOAD": "x", "__proto__": {},
        "targets": "all", "run_as": "root",
    });
    let problems = check_inputs(&declared, &given(hostile)).expect_err("refused");
    assert_eq!(
        problems,
        [
            "unknown input `servce`; did you mean `service`?",
            "unknown input `PATH`; known: service, limit_mb, pause, hosts",
            "unknown input `LD_PRELOAD`; known: service, limit_mb, pause, hosts",
            "unknown input `__proto__`; known: service, limit_mb, pause, hosts",
            "unknown input `targets`; known: service, limit_mb, pause, hosts",
            "unknown input `run_as`; known: service, limit_mb, pause, hosts",
            "input `service`: a string is required",
            "input `limit_mb`: `99` is above the maximum 64",
            "input `hosts`: a list is required",
        ]
    );
    assert_eq!(
        check_inputs(&[], &given(json!({"x\n": 1}))).expect_err("refused"),
        ["unknown input `x\u{fffd}`; there is none"]
    );
}

#[test]
fn outputs_are_an_object_or_lines() {
    let declared = [
        ("count".to_owned(), any_integer()),
        ("note".to_owned(), string()),
        ("hosts".to_owned(), list_of(string())),
    ];
    let parse = |text: &str| parse_outputs(&declared, text.as_bytes());
    let read = |text: &str| Value::Object(parse(text).expect("reads"));
    assert_eq!(read(""), json!({}));
    assert_eq!(read("count=3\n\nnote=a=b c\r\n"), json!({"count": 3, "note": "a=b c"}));
    assert_eq!(read("note="), json!({"note": ""}));
    assert_eq!(read("hosts=a,b"), json!({"hosts": ["a", "b"]}));
    assert_eq!(read(" {\"count\": 3, \"hosts\": [\"a\"]}\n"), json!({"count": 3, "hosts": ["a"]}));
    for (text, words) in [
        ("cuont=3", "unknown output `cuont`; did you mean `count`?"),
        ("PATH=/tmp", "unknown output `PATH`"),
        ("count=hunter2", "output `count`: expected an integer"),
        ("count=1\ncount=2", "`count` is written twice"),
        ("hello", "line 1 of the outputs is not `name=value`"),
        ("{\"count\": 3", "no JSON object: line 1"),
        ("{\"count\": \"hunter2\"}", "expected an integer"),
        ("{} x", "no JSON object"),
    ] {
        let err = parse(text).expect_err("refused");
        assert_eq!(err.code, "E_OUTPUT");
        assert!(err.message.contains(words), "{text}: {}", err.message);
        assert!(!err.message.contains("hunter2"), "{}", err.message);
    }
    let err = parse_outputs(&declared, &[b'x', 0xff]).expect_err("no text");
    assert!(err.message.contains("UTF-8"));
    let err = parse_outputs(&declared, &vec![b'x'; RESULT_BYTES_MAX + 1]).expect_err("large");
    assert_eq!(err.code, "E_RESULT_TOO_LARGE");
}

#[test]
fn a_schema_says_what_accept_does() {
    let declared = [
        Input { description: Some("unit".into()), ..input("service", bounded_string(), None) },
        input("pause", span(), Some(json!(1.5))),
        input("room", size(), Some(json!(2048))),
        input("hosts", list_of(integer()), None),
        input("door", object(), None),
    ];
    let schema = inputs_schema(&declared);
    assert_eq!(schema["required"], json!(["service", "hosts", "door"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    let properties = &schema["properties"];
    assert_eq!(
        properties["service"],
        json!({"type": "string", "pattern": "^[a-z0-9@._-]+$", "minLength": 2, "maxLength": 5,
               "description": "unit"})
    );
    assert_eq!(properties["pause"]["default"], json!("1500ms"));
    assert_eq!(properties["room"]["default"], json!("2048B"));
    assert_eq!(properties["hosts"]["items"]["maximum"], json!(64));
    assert_eq!(properties["door"]["required"], json!(["port"]));
    // What a schema shows as a default is what a caller may write.
    for input in &declared {
        if let Some(default) = schema["properties"][&input.name].get("default") {
            assert_eq!(input.ty.accept(default).as_ref().ok(), input.default.as_ref());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_breaks_a_type(text in "\\PC{0,60}|[-+0-9.eE]{0,20}|[\\[\\]{},:\"0-9a]{0,30}") {
        for ty in [string(), bounded_string(), one_of(), integer(), number(), InputType::Boolean,
                   span(), size(), InputType::Timestamp, InputType::Target { one: true },
                   list_of(integer()), object()] {
            if let Err(why) = ty.accept_text(&text) {
                prop_assert!(!why.contains('\n'), "{}", why);
            }
        }
        let _ = parse_outputs(&[("a".to_owned(), string())], text.as_bytes());
    }
}
