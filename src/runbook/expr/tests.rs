//! Tables: one row an expression, what it gives or which words its error holds.

use serde_json::{Value, json};

use super::*;

mod bounds;

fn scope() -> Scope {
    let mut scope = Scope::default();
    for (name, value) in [
        (
            "inputs",
            json!({
                "limit_mb": 2048, "service": "api", "ratio": 0.8, "nothing": null, "on": true,
                "off": false, "hosts": ["db1", "db2"], "n": "12", "big": u64::MAX, "empty": "",
                "text": " a,b,,c ", "words": "one  two three", "path": "/var/log/syslog",
                "evil": "{{7*7}} $(id)", "uni": "Zürich", "pattern": "^a.i$", "nul": "a\0b",
                "labels": {"tier": "1", "role": "app"}, "mixed": [1, "a"], "nested": [[1, [2]], [3]],
            }),
        ),
        (
            "steps",
            json!({
                "rss": {"value": 3000, "status": "succeeded", "results": [
                    {"target": "a", "value": 1000, "status": "succeeded"},
                    {"target": "b", "value": 3000, "status": "succeeded"},
                    {"target": "c", "value": 5000, "status": "failed"}]},
                "mixed": {"results": [
                    {"target": "a", "value": 1000},
                    {"target": "b"},
                    {"target": "c", "value": "n/a"}]},
                "gaps": {"results": [{"target": "a", "value": 1}, {"target": "b"}]},
                "out": {"stdout": "line one\nERROR two\n", "stdout_bytes": 20},
                "skipped": {},
            }),
        ),
        ("over", json!({"hosts": ["b", "c"], "empty": []})),
        ("item", json!("db1")),
    ] {
        scope.roots.insert(name.to_owned(), value);
    }
    scope
}

fn parse(source: &str) -> Result<Expr, String> {
    Expr::parse(source, Span::new(0, source.len())).map_err(|problems| {
        let lines = problems.iter().map(|p| {
            format!("{} {} ({})", p.code, p.message, p.help.as_deref().unwrap_or_default())
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

fn eval(source: &str) -> Result<Value, String> {
    parse(source)?.eval(&scope()).map_err(|err| err.message)
}

/// Goal: what Ansible's users write gives what they expect. Method: one row each.
#[test]
fn what_an_expression_gives() {
    let rows: &[(&str, Value)] = &[
        // Spec 1's own.
        (
            "steps.rss.results|selectattr('value', 'gt', inputs.limit_mb)|map(attribute='target')|list",
            json!(["b", "c"]),
        ),
        ("over.hosts|length == 0", json!(false)),
        ("inputs.limit_mb * 0.8", json!(1638.4)),
        ("steps.rss.value + 1", json!(3001)),
        // Names.
        ("item", json!("db1")),
        ("steps['rss'].value", json!(3000)),
        ("steps['rss']['value']", json!(3000)),
        ("steps.rss.results[0].target", json!("a")),
        ("steps.rss.results[-1].target", json!("c")),
        ("steps.rss.results.1.target", json!("b")),
        ("inputs[item|replace('db1', 'service')]", json!("api")),
        ("inputs.nothing", json!(null)),
        ("inputs", scope().roots["inputs"].clone()),
        // Constants, lists, objects.
        ("3", json!(3)),
        ("-3", json!(-3)),
        ("1.5", json!(1.5)),
        ("'a' 'b'", json!("ab")),
        ("\"it's\"", json!("it's")),
        ("[1, 'a', true, none]", json!([1, "a", true, null])),
        ("(1, 2)", json!([1, 2])),
        ("{'a': 1, 'b': [item]}", json!({"a": 1, "b": ["db1"]})),
        ("{'a': {'b': 1}}.a.b", json!(1)),
        // Arithmetic.
        ("7 // 2", json!(3)),
        ("-7 // 2", json!(-4)),
        ("-7 % 3", json!(2)),
        ("7.5 // 2", json!(3.0)),
        ("6 / 2", json!(3.0)),
        ("2 ** 10", json!(1024)),
        ("2 ** -1", json!(0.5)),
        ("1 + 2 * 3 - 4", json!(3)),
        ("-(-3)", json!(3)),
        ("9007199254740993 + 0", json!(9_007_199_254_740_993_i64)),
        ("inputs.big - 1", json!(u64::MAX - 1)),
        ("0.1 + 0.2 > 0.3", json!(true)),
        ("'a' + 'b'", json!("ab")),
        ("'n=' ~ 3 ~ ' ' ~ true", json!("n=3 true")),
        ("over.hosts + ['d']", json!(["b", "c", "d"])),
        // Logic and comparison.
        ("true and not false", json!(true)),
        ("inputs.on or nowhere", json!(true)),
        ("inputs.off and nowhere", json!(false)),
        ("not over.empty", json!(true)),
        ("inputs.empty or 'x'", json!("x")),
        ("1 < 2 < 3", json!(true)),
        ("1 < 3 < 2", json!(false)),
        ("1 == 1.0", json!(true)),
        ("9007199254740993 == 9007199254740992.0", json!(false)),
        ("'a' < 'b'", json!(true)),
        ("'a' == none", json!(false)),
        ("[1, 2] == [1, 2.0]", json!(true)),
        ("over.hosts == 'b'", json!(false)),
        ("item in inputs.hosts", json!(true)),
        ("'x' not in inputs.hosts", json!(true)),
        ("'tier' in inputs.labels", json!(true)),
        ("'ERROR' in steps.out.stdout", json!(true)),
        ("1 in inputs.mixed", json!(true)),
        ("'1' in inputs.mixed", json!(false)),
        ("'yes' if inputs.on else 'no'", json!("yes")),
        ("1 if inputs.off else 2 if inputs.off else 3", json!(3)),
        // What is undefined can be asked about.
        ("steps.skipped.value is defined", json!(false)),
        ("steps.skipped.error.code is undefined", json!(true)),
        ("nowhere is defined", json!(false)),
        ("steps.skipped.value|default(7)", json!(7)),
        ("steps.skipped.error.code|d('none')", json!("none")),
        ("inputs.empty|default('x', true)", json!("x")),
        ("inputs.empty|default('x')", json!("")),
        ("steps.skipped.value is defined and steps.skipped.value > 3", json!(false)),
        (
            "steps.gaps.results|selectattr('value', 'defined')|map(attribute='target')|list",
            json!(["a"]),
        ),
        ("steps.gaps.results|rejectattr('value', 'defined')|list|length", json!(1)),
        ("steps.gaps.results|map(attribute='value')|select('defined')|list", json!([1])),
        ("steps.gaps.results|map(attribute='value', default=0)|list", json!([1, 0])),
        ("over.empty|max|default(0)", json!(0)),
        ("over.empty|first is undefined", json!(true)),
        ("[1, 2][5]|d(9)", json!(9)),
        // Tests.
        ("inputs.nothing is none", json!(true)),
        ("item is string and 3 is number and inputs is mapping", json!(true)),
        ("3 is integer and not 3.5 is integer and 3.5 is float", json!(true)),
        ("inputs.hosts is sequence and inputs.hosts is iterable", json!(true)),
        ("inputs.on is boolean and inputs.on is true and inputs.off is false", json!(true)),
        ("4 is even and 3 is odd and 9 is divisibleby 3", json!(true)),
        ("3 is gt 2 and 3 is greaterthan(2) and 2 is le(2) and 2 is lessthan 3", json!(true)),
        ("3 is not eq 4", json!(true)),
        ("item is in inputs.hosts and inputs.hosts is contains('db2')", json!(true)),
        ("item is startingwith('db') and item is endingwith('1')", json!(true)),
        ("'abc' is lower and 'ABC' is upper and '1' is not lower", json!(true)),
        ("inputs.service is matches('^a.i$')", json!(true)),
        ("inputs.service is matches('p')", json!(true)),
        ("inputs.service is not matches('^p')", json!(true)),
        ("inputs.service is matches(inputs.pattern)", json!(true)),
        ("steps.out.stdout is matches('(?m)^ERROR')", json!(true)),
        ("inputs.hosts|select('matches', '2$')|list", json!(["db2"])),
        // Lists.
        ("over.hosts|first", json!("b")),
        ("over.hosts|last", json!("c")),
        ("inputs.hosts[1:]", json!(["db2"])),
        ("inputs.hosts[-1:]", json!(["db2"])),
        ("item[:2]", json!("db")),
        ("[5, 6, 7][::2]", json!([5, 7])),
        ("inputs.labels|list", json!(["tier", "role"])),
        ("inputs.labels|items|list", json!([["tier", "1"], ["role", "app"]])),
        ("inputs.labels|keys|join(',')", json!("tier,role")),
        ("inputs.labels|values|list", json!(["1", "app"])),
        ("'abc'|list", json!(["a", "b", "c"])),
        ("inputs.hosts|join(', ')", json!("db1, db2")),
        ("steps.rss.results|join(' ', attribute='target')", json!("a b c")),
        ("[3, 1, 2]|sort", json!([1, 2, 3])),
        ("[3, 1, 2]|sort(reverse=true)", json!([3, 2, 1])),
        ("['b', 'A', 'c']|sort", json!(["A", "b", "c"])),
        ("['b', 'A', 'B']|sort(case_sensitive=true)", json!(["A", "B", "b"])),
        (
            "steps.rss.results|sort(attribute='value', reverse=true)|map(attribute='target')|first",
            json!("c"),
        ),
        ("[1, 1.0, 2, 1]|unique", json!([1, 2])),
        ("['A', 'a']|unique", json!(["A", "a"])),
        ("['A', 'a']|unique(case_sensitive=false)", json!(["A"])),
        ("steps.rss.results|unique(attribute='status')|length", json!(2)),
        ("[1, 2, 3]|reverse|list", json!([3, 2, 1])),
        ("[1, 2, 3]|batch(2)", json!([[1, 2], [3]])),
        ("[1, 2, 3]|batch(2, 0)|list", json!([[1, 2], [3, 0]])),
        ("inputs.nested|flatten", json!([1, 2, 3])),
        ("inputs.nested|flatten(1)", json!([1, [2], 3])),
        ("[1, 2]|union([2, 3])", json!([1, 2, 3])),
        ("[1, 2]|intersect([2, 3])", json!([2])),
        ("over.hosts|difference(['c'])", json!(["b"])),
        ("[1, 2, 3]|sum", json!(6)),
        ("steps.rss.results|sum(attribute='value')", json!(9000)),
        ("steps.rss.results|map(attribute='value')|sum / 3", json!(3000.0)),
        ("[]|sum", json!(0)),
        ("[2, 3, 1]|max", json!(3)),
        (
            "steps.rss.results|min(attribute='value')",
            json!({"target": "a", "value": 1000, "status": "succeeded"}),
        ),
        ("['1', '2']|map('int')|sum", json!(3)),
        ("[1.4, 1.6]|map('round')|map('int')|list", json!([1, 2])),
        ("inputs.hosts|map('upper')|list", json!(["DB1", "DB2"])),
        ("[0, 1, '', 'a']|select|list", json!([1, "a"])),
        ("[1, 2, 3, 4]|reject('odd')|list", json!([2, 4])),
        ("steps.rss.results|selectattr('status', 'eq', 'failed')|list|length > 0", json!(true)),
        ("[{'a': {'b': 1}}]|selectattr('a.b', '==', 1)|map(attribute='a.b')|list", json!([1])),
        ("over.hosts|count", json!(2)),
        // Numbers and texts.
        ("-3|abs", json!(3)),
        ("2.5|round", json!(3.0)),
        ("2.345|round(2)", json!(2.35)),
        ("2.1|round(method='ceil')|int", json!(3)),
        ("3|round", json!(3)),
        ("1234|round(-2)", json!(1200.0)),
        ("' 42 '|int", json!(42)),
        ("'3.9'|int", json!(3)),
        ("'x'|int(0)", json!(0)),
        ("'x'|int(default=-1)", json!(-1)),
        ("'1.5'|float", json!(1.5)),
        ("inputs.n|int == 12", json!(true)),
        ("'yes'|bool and not 'off'|bool", json!(true)),
        ("3|string ~ true|string", json!("3true")),
        ("'aB'|upper ~ 'aB'|lower", json!("ABab")),
        ("inputs.text|trim", json!("a,b,,c")),
        ("'xxaxx'|trim('x')", json!("a")),
        ("inputs.text|trim|split(',')", json!(["a", "b", "", "c"])),
        ("inputs.words|split", json!(["one", "two", "three"])),
        ("inputs.words|split(none)", json!(["one", "two", "three"])),
        ("'a:b:c'|split(':', 1)", json!(["a", "b:c"])),
        ("'a b c'|split(maxsplit=1)", json!(["a", "b c"])),
        ("'aXbX'|replace('X', '-')", json!("a-b-")),
        ("'aXbX'|replace('X', '-', 1)", json!("a-bX")),
        ("steps.out.stdout|lines|length", json!(2)),
        ("inputs.path|basename", json!("syslog")),
        ("inputs.path|dirname", json!("/var/log")),
        ("inputs.uni|length", json!(6)),
        ("inputs.labels|tojson", json!("{\"tier\":\"1\",\"role\":\"app\"}")),
        // Data is data.
        ("inputs.evil", json!("{{7*7}} $(id)")),
        ("inputs.evil ~ '!'", json!("{{7*7}} $(id)!")),
        ("inputs.nul", json!("a\0b")),
    ];
    for (source, expected) in rows {
        assert_eq!(eval(source).as_ref(), Ok(expected), "{source}");
    }
}

/// Goal: what cannot be evaluated is an error that says why, never true or false.
#[test]
fn what_cannot_be_evaluated() {
    let rows: &[(&str, &str)] = &[
        ("steps.rss.valu > 3", "`steps.rss.valu` is undefined; there is `value`"),
        ("stepz.rss.value > 3", "`stepz` is undefined; there is `steps`"),
        ("steps.skipped.value > 3", "`steps.skipped.value` is undefined"),
        ("steps.skipped.value == 3", "`steps.skipped.value` is undefined"),
        ("steps.skipped.value != 3", "is undefined"),
        ("3 < steps.skipped.value", "is undefined"),
        ("not steps.skipped.value", "is undefined"),
        ("steps.skipped.value and true", "is undefined"),
        ("steps.skipped.value in [1]", "is undefined"),
        ("1 in steps.skipped.value", "is undefined"),
        ("steps.skipped.value is none", "is undefined"),
        ("steps.skipped.value is gt 3", "is undefined"),
        ("steps.skipped.value|length", "is undefined"),
        ("[steps.skipped.value]", "is undefined"),
        ("{'a': steps.skipped.value}", "is undefined"),
        ("steps.skipped.value", "is undefined"),
        ("[1, 2][5]", "`[1, 2][5]` is undefined"),
        ("inputs.nothing.x", "`inputs.nothing.x` is undefined"),
        ("item.x", "a string has no fields"),
        ("1 if inputs.off", "no `else`"),
        ("inputs.n > 3", "a string cannot be ordered against a number"),
        ("inputs.n == 12", "a string cannot be compared with a number"),
        ("inputs.n != 12", "a string cannot be compared with a number"),
        ("inputs.on == 'true'", "a boolean cannot be compared with a string"),
        ("inputs.on > 0", "a boolean"),
        ("inputs.nothing > 0", "none cannot be ordered"),
        ("over.hosts > 1", "a list cannot be ordered"),
        ("inputs.n is gt 3", "a string cannot be ordered"),
        ("inputs.n is lessthan(3)", "cannot be ordered"),
        (
            "steps.mixed.results|selectattr('value', 'gt', 3)",
            "item 2 of `steps.mixed.results`: the attribute `value` is undefined",
        ),
        (
            "steps.mixed.results|selectattr('value', 'defined')|selectattr('value', 'gt', 3)",
            "item 2 of",
        ),
        ("steps.mixed.results|selectattr('value')", "is undefined"),
        ("steps.gaps.results|map(attribute='value')|list", "is undefined"),
        ("steps.gaps.results|sum(attribute='value')", "is undefined"),
        ("inputs.mixed|select('gt', 0)", "item 2 of `inputs.mixed`"),
        ("inputs.mixed|sort", "cannot be ordered"),
        ("inputs.mixed|max", "cannot be ordered"),
        ("inputs.mixed|sum", "`sum` needs a number"),
        ("1 + 'a'", "`+` cannot be applied to a number and a string"),
        ("'a' * 3", "`*` cannot be applied"),
        ("'a' * 1000000000", "`*` cannot be applied"),
        ("[1] * 1000000000", "`*` cannot be applied"),
        ("over.hosts + 'd'", "`+` cannot be applied"),
        ("over.hosts ~ 'd'", "`~` needs a string"),
        ("-item", "`-` needs a number"),
        ("1 / 0", "division by zero"),
        ("1 // 0", "division by zero"),
        ("1 % 0.0", "division by zero"),
        ("0 ** -1", "no number"),
        ("2 ** 100", "larger than a number can be"),
        ("10 ** 1000000000", "larger than a number can be"),
        ("1e308 * 10", "larger than a number can be"),
        ("inputs.big * inputs.big", "larger than a number can be"),
        ("(0 - 8) ** 0.5", "no number"),
        ("'x'|int", "a string that is not an integer"),
        ("'inf'|float", "not a number"),
        ("'nan'|float", "not a number"),
        ("'maybe'|bool", "not a boolean"),
        ("3|length", "`length` needs"),
        ("3|upper", "`upper` needs a string"),
        ("3|join", "`join` needs a list"),
        ("[[1]]|join", "`join` needs a string"),
        ("[1]|batch(0)", "at least 1"),
        ("'a'|split('')", "needs a separator"),
        ("2|round(1, 'down')", "`common`, `ceil` and `floor`"),
        ("inputs.hosts['x']", "undefined"),
        ("inputs[1.5]", "a subscript is"),
        ("3 in 4", "cannot be looked for"),
        ("3 in 'a3'", "cannot be looked for"),
        ("{1: 2}", "a key of an object is a string"),
        ("inputs.service is matches(inputs.text ~ '(')", "the pattern of `matches` is refused"),
        ("3 is matches('x')", "`matches` needs a string"),
        ("inputs.hosts[::-1]", "|reverse"),
        ("3.5 is even", "needs an integer"),
    ];
    for (source, words) in rows {
        let found = eval(source);
        let Err(why) = found else { panic!("{source} gave {found:?}") };
        assert!(why.contains(words), "{source}: {why}");
    }
}

/// Goal: what can be known from the text is said when the file is read, with the cure.
#[test]
fn what_is_refused_when_it_is_read() {
    let rows: &[(&str, &str)] = &[
        ("", "the expression is empty"),
        ("  ", "the expression is empty"),
        ("a && b", "`&&` is no operator (write `and`)"),
        ("a || b", "`||` is no operator (write `or`)"),
        ("!a", "`!` is no operator (write `not`)"),
        ("a & b", "`&` is no operator"),
        ("a === b", "write `==`"),
        ("a !== b", "write `!=`"),
        ("a = 3", "compare with `==`"),
        ("{{ inputs.service }}", "write `inputs.service`"),
        ("{{ a }} and {{ b }}", "without braces"),
        ("{% if a %}", "without braces"),
        ("a b", "side by side"),
        ("a ==", "end of input"),
        ("(a", "end of input"),
        ("a)", "not an expression"),
        ("'a", "not an expression"),
        ("a $ b", "not an expression"),
        ("a }} b", "not an expression"),
        ("x|foo", "unknown filter `foo`"),
        ("x|lenght", "did you mean `length`"),
        ("x|regex_search('a')", "is matches"),
        ("x|ternary(1, 2)", "a if condition else b"),
        ("x|map('foo')", "unknown filter `foo`"),
        ("x|map('select')", "cannot apply `select`"),
        ("x|map(y)", "must be written out"),
        ("x|map", "needs an attribute"),
        ("x|select(y)", "must be written out"),
        ("x|selectattr('a', 'foo')", "unknown test `foo`"),
        ("x|selectattr", "needs the name of an attribute"),
        ("x|selectattr('a', 'gt')", "needs an argument"),
        ("x is foo", "unknown test `foo`"),
        ("x is succeeded", "steps.x.status == 'failed'"),
        ("x is match('a')", "is matches('…')"),
        ("x is defned", "did you mean `defined`"),
        ("x is defined(3)", "takes no argument"),
        ("x is gt", "needs an argument"),
        ("x is matches('(')", "the pattern is refused: unclosed group"),
        ("x is matches('((a{0,99}){0,99}){0,99}')", "the pattern is refused"),
        ("x is matches('(?:){4294967295}')", "the pattern is refused"),
        ("x is matches(3)", "the pattern is refused"),
        ("x|upper(3)", "does not take this argument (`upper` takes no arguments)"),
        ("x|replace('a')", "needs `new`"),
        ("x|round(foo=3)", "does not take this argument"),
        ("x|default", "needs `default_value`"),
        ("range(3)", "there is no function `range`"),
        ("lookup('env', 'HOME')", "sees only its context"),
        ("dict(a=1)", "there is no function"),
        ("namespace()", "there is no function"),
        ("debug()", "there is no function"),
        ("lipsum()", "there is no function"),
        ("x.upper()", "as a filter"),
        ("x.startswith('a')", "is startingwith"),
        ("''.__class__.__mro__()", "no methods"),
        ("x[0]()", "cannot be called"),
        ("x|join(*y)", "does not take this argument"),
        ("1 == '1'", "a number compared with a string"),
        ("'1' > 1", "a string compared with a number"),
        ("x|length == '0'", "a number compared with a string"),
        ("x|lower > 3", "a string compared with a number"),
        ("x + 1 == '2'", "a number compared with a string"),
        ("3 is eq '3'", "a number compared with a string"),
        ("true < false", "cannot be ordered"),
        ("1e400", "larger than a number can be"),
        ("99999999999999999999999", "larger than a number can be"),
    ];
    for (source, words) in rows {
        let found = parse(source);
        let Err(why) = found else { panic!("{source} parsed") };
        assert!(why.starts_with("E_EXPRESSION") && why.contains(words), "{source}: {why}");
    }
    let many = parse("a && b || !c").expect_err("three problems at once");
    assert_eq!(many.lines().count(), 3, "{many}");
    let many = parse("x|foo == y|bar").expect_err("two problems at once");
    assert_eq!(many.lines().count(), 2, "{many}");
    // What is inside strings is nobody's business.
    assert!(parse("x == 'a && b || !c {{d}}'").is_ok());
    assert!(parse("x == 'it\\'s && so'").is_ok());
    assert!(parse(&format!("x == '{}'", "a".repeat(2048))).expect_err("long").contains("2048"));
}

#[test]
fn a_condition_must_be_boolean() {
    for (source, expected) in [
        ("inputs.limit_mb > 3", Ok(true)),
        ("inputs.off", Ok(false)),
        ("inputs.limit_mb", Err("`inputs.limit_mb` is a number")),
        ("over.hosts", Err("`over.hosts` is a list")),
        ("inputs.nothing", Err("is none")),
        ("'true'", Err("is a string")),
        ("steps.skipped.value", Err("is undefined")),
    ] {
        match (parse(source).expect("the row parses").test(&scope()), expected) {
            (found, Ok(value)) => assert_eq!(found, Ok(value), "{source}"),
            (Err(why), Err(words)) => assert!(why.message.contains(words), "{source}: {why}"),
            (Ok(found), Err(_)) => panic!("{source} gave {found}"),
        }
    }
}

#[test]
fn problems_stand_at_their_bytes() {
    for (source, marked) in [
        ("a && b", "&&"),
        ("steps.x|foo > 3", "foo"),
        ("x is foo", "foo"),
        ("x is matches('(')", "'('"),
        ("ok and 1 == 'a'", "1 == 'a'"),
        ("a b", "b"),
        ("a == = b", "="),
        ("x and range(3)", "range(3)"),
        ("x|replace(1, 2, 3, 4)", "4"),
        ("x|select('nope')", "'nope'"),
    ] {
        let at = 1000;
        let problems = Expr::parse(source, Span::new(at, at + source.len())).expect_err("refused");
        let span = problems[0].span;
        assert_eq!(&source[span.start - at..span.end - at], marked, "{source}");
        // A scalar that YAML folded or unescaped has no offsets of its own.
        let problems = Expr::parse(source, Span::new(at, at + 500)).expect_err("refused");
        assert_eq!(problems[0].span, Span::new(at, at + 500), "{source}");
    }
}

#[test]
fn names_and_what_may_be_missing() {
    for (source, expected) in [
        ("1 + 2", vec![]),
        ("steps['rss'].value > inputs.limit", vec!["steps.rss.value", "inputs.limit"]),
        ("a.b|map(attribute='c')|list + d[0].e", vec!["a.b", "d.0.e"]),
        ("a[b].c", vec!["a", "b"]),
        ("a is defined and a.b > 3", vec!["a?", "a.b?"]),
        ("a.b|default(c)", vec!["a.b?", "c"]),
        ("x if y else z", vec!["x", "y", "z"]),
        ("l|selectattr('v', 'gt', m)", vec!["l", "m"]),
        ("s is matches(p)", vec!["s", "p"]),
        ("{'k': v, w: [u]}", vec!["v", "w", "u"]),
    ] {
        let expr = parse(source).expect("the row parses");
        let mut found: Vec<String> = expr
            .mentions()
            .iter()
            .map(|m| m.path.join(".") + if m.is_optional { "?" } else { "" })
            .collect();
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{source}");
        assert_eq!(expr.names().len(), expected.len(), "{source}");
    }
}

#[test]
fn comparisons_say_what_stands_on_either_side() {
    let expr = parse("steps.a.value > 3 and inputs.x == 'y' and b in c").expect("parses");
    let found: Vec<_> =
        expr.comparisons().iter().map(|c| (c.relation, &c.left, &c.right)).collect();
    let name = |path: &[&str]| Operand::Name(path.iter().map(ToString::to_string).collect());
    assert_eq!(
        found,
        [
            (Relation::Greater, &name(&["steps", "a", "value"]), &Operand::Number),
            (Relation::Equal, &name(&["inputs", "x"]), &Operand::String),
            (Relation::In, &name(&["b"]), &name(&["c"])),
        ]
    );
    assert_eq!(expr.comparisons()[0].span, Span::new(0, 17));
}
