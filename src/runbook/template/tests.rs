//! Tables: one row a template, what it gives or which words its error holds.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::limits::RESULT_BYTES_MAX;

const PLAIN: Place = Place::Plain;
const ARG: Place = Place::Argument { after_dashes: false };
const ARG_AFTER: Place = Place::Argument { after_dashes: true };
const URL: Place = Place::Url;
const JSON: Place = Place::Json;

fn scope() -> Scope {
    let mut scope = Scope::default();
    for (name, value) in [
        (
            "inputs",
            json!({
                "service": "api", "port": 8080, "ratio": 0.5, "on": true, "nothing": null,
                "empty": "", "hosts": ["db1", "db2"], "none": [], "mixed": ["a", 1, true],
                "nested": [["a"]], "labels": {"a b": "x", "tier": "1"},
                "shell": "'; touch D/pwn; #", "sub": "$(touch D/pwn)", "line": "a\nb",
                "braces": "{{7*7}}{{secrets.db}}", "dash": "-rf", "minus": -5, "nul": "a\0b",
                "html": "<b>\"&'</b>", "backslash": "\\{{x}}", "uni": "zürich ☃",
                "url": "https://example.org/a?b=c", "ftp": "ftp://example.org/",
                "script": "javascript:alert(1)", "base": "https://example.org/api/",
                "host": "db1.example.org", "v6": "2001:db8::1", "v4": "10.0.0.7",
                "evil": "good.org@evil.org", "slash": "a/b?c#d&e=f", "up": "..", "dot": ".",
                "hostport": "db1:80", "space": "a b",
            }),
        ),
        (
            "steps",
            json!({
                "rss": {"value": 12, "results": [
                    {"target": "a", "value": 1}, {"target": "b", "value": 2}]},
                "skipped": {},
            }),
        ),
        ("item", json!("db1")),
    ] {
        scope.roots.insert(name.to_owned(), value);
    }
    scope
}

fn parse(source: &str, place: Place) -> Result<Template, String> {
    Template::parse(source, Span::new(0, source.len()), place).map_err(|problems| {
        let lines = problems.iter().map(|p| {
            format!("{} {} ({})", p.code, p.message, p.help.as_deref().unwrap_or_default())
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

fn render(source: &str, place: Place) -> Result<Value, String> {
    parse(source, place)?.render(&scope()).map_err(|err| format!("{} {}", err.code, err.message))
}

/// Goal: what a template gives, to the byte. Method: one row each.
#[test]
fn what_a_template_gives() {
    let rows: &[(Place, &str, Value)] = &[
        // Literals.
        (PLAIN, "", json!("")),
        (PLAIN, "plain text", json!("plain text")),
        (PLAIN, "}} not { a } template {", json!("}} not { a } template {")),
        (PLAIN, r"\{{inputs.service}}", json!("{{inputs.service}}")),
        (PLAIN, r"docker \{{.Names}} {{item}}", json!("docker {{.Names}} db1")),
        (PLAIN, r"a\\{{item}}", json!(r"a\db1")),
        (PLAIN, r"C:\x {{item}}", json!(r"C:\x db1")),
        (PLAIN, "{{! a comment }}", json!("")),
        (PLAIN, "a{{!-- {{x}} --}}b", json!("ab")),
        // Exactly one name keeps its type.
        (PLAIN, "{{inputs.port}}", json!(8080)),
        (PLAIN, "{{ inputs.on }}", json!(true)),
        (PLAIN, "{{~inputs.ratio~}}", json!(0.5)),
        (PLAIN, "{{inputs.hosts}}", json!(["db1", "db2"])),
        (PLAIN, "{{inputs.labels}}", json!({"a b": "x", "tier": "1"})),
        (PLAIN, "{{inputs.nothing}}", json!(null)),
        (PLAIN, "{{inputs.empty}}", json!("")),
        (PLAIN, "{{!-- c --}}{{inputs.port}}", json!(8080)),
        // A longer string.
        (PLAIN, " {{inputs.port}}", json!(" 8080")),
        (PLAIN, "{{inputs.port}} ", json!("8080 ")),
        (PLAIN, "{{inputs.port}}\n", json!("8080\n")),
        (PLAIN, "\n {{item}} \n {{item}}", json!("\n db1 \n db1")),
        (PLAIN, "{{item}} {{item}}", json!("db1 db1")),
        (PLAIN, "{{item}}{{item}}", json!("db1db1")),
        (PLAIN, "p={{inputs.port}} r={{inputs.ratio}} {{inputs.on}}", json!("p=8080 r=0.5 true")),
        (PLAIN, "on {{inputs.hosts}}", json!("on db1, db2")),
        (PLAIN, "on {{inputs.mixed}}", json!("on a, 1, true")),
        (PLAIN, "on {{inputs.none}}.", json!("on .")),
        (PLAIN, "  a  {{~ item ~}}  b", json!("  adb1b")),
        // Paths.
        (PLAIN, "{{steps.rss.results.[0].target}}", json!("a")),
        (PLAIN, "{{steps.rss.results.1.value}}", json!(2)),
        (PLAIN, "{{inputs.labels.[a b]}}", json!("x")),
        (PLAIN, "{{@root.item}}", json!("db1")),
        (PLAIN, "{{this.item}}", json!("db1")),
        // Blocks.
        (PLAIN, "{{#if inputs.on}}yes{{else}}no{{/if}}", json!("yes")),
        (PLAIN, "{{#if inputs.empty}}yes{{else}}no{{/if}}", json!("no")),
        (PLAIN, "{{#if inputs.none}}a{{else if inputs.on}}b{{else}}c{{/if}}", json!("b")),
        (PLAIN, "{{#unless inputs.on}}no{{/unless}}", json!("")),
        (PLAIN, "{{#each inputs.hosts}}{{@index}}={{this}};{{/each}}", json!("0=db1;1=db2;")),
        (
            PLAIN,
            "{{#each inputs.hosts}}{{this}}{{#unless @last}},{{/unless}}{{/each}}",
            json!("db1,db2"),
        ),
        (PLAIN, "{{#each inputs.labels}}{{@key}}:{{this}} {{/each}}", json!("a b:x tier:1 ")),
        (PLAIN, "{{#each inputs.none}}x{{else}}none{{/each}}", json!("none")),
        (PLAIN, "{{#each steps.rss.results}}{{target}}={{value}} {{/each}}", json!("a=1 b=2 ")),
        (
            PLAIN,
            "{{#each inputs.hosts}}{{@root.item}}/{{this}} {{/each}}",
            json!("db1/db1 db1/db2 "),
        ),
        (PLAIN, "{{#with steps.rss}}{{value}}{{/with}}", json!("12")),
        (PLAIN, "a\n{{#if inputs.on}}\nb\n{{/if}}\nc\n", json!("a\nb\nc\n")),
        // Data stays data, to the byte.
        (PLAIN, "{{inputs.braces}}", json!("{{7*7}}{{secrets.db}}")),
        (PLAIN, "x{{inputs.braces}}", json!("x{{7*7}}{{secrets.db}}")),
        (PLAIN, "x{{inputs.shell}}{{inputs.sub}}", json!("x'; touch D/pwn; #$(touch D/pwn)")),
        (PLAIN, "x{{inputs.html}}", json!("x<b>\"&'</b>")),
        (PLAIN, "x{{inputs.backslash}}", json!("x\\{{x}}")),
        (PLAIN, "x{{inputs.line}}{{inputs.nul}}", json!("xa\nba\0b")),
        (
            PLAIN,
            "{{#each inputs.hosts}}{{@root.inputs.braces}}{{/each}}",
            json!("{{7*7}}{{secrets.db}}{{7*7}}{{secrets.db}}"),
        ),
        // Arguments.
        (ARG, "{{inputs.service}}", json!("api")),
        (ARG, "-x", json!("-x")),
        (ARG, "--unit={{inputs.dash}}", json!("--unit=-rf")),
        (ARG, "{{inputs.minus}}", json!(-5)),
        (ARG, "{{#if inputs.on}}--force{{/if}}", json!("--force")),
        (ARG_AFTER, "{{inputs.dash}}", json!("-rf")),
        (PLAIN, "{{inputs.dash}}", json!("-rf")),
        // URLs.
        (URL, "http://localhost:8080/healthz", json!("http://localhost:8080/healthz")),
        (URL, "{{inputs.url}}", json!("https://example.org/a?b=c")),
        (URL, "{{inputs.base}}/x", json!("https://example.org/api/x")),
        (URL, "https://{{inputs.host}}:{{inputs.port}}/x", json!("https://db1.example.org:8080/x")),
        (URL, "https://{{inputs.v6}}/x", json!("https://[2001:db8::1]/x")),
        (URL, "https://[{{inputs.v6}}]:{{inputs.port}}/", json!("https://[2001:db8::1]:8080/")),
        (URL, "https://{{inputs.v4}}/", json!("https://10.0.0.7/")),
        (URL, "https://{{inputs.service}}.example.org/", json!("https://api.example.org/")),
        (
            URL,
            "https://h/{{inputs.slash}}?q={{inputs.slash}}",
            json!("https://h/a%2Fb%3Fc%23d%26e%3Df?q=a%2Fb%3Fc%23d%26e%3Df"),
        ),
        (URL, "https://h/{{inputs.uni}}", json!("https://h/z%C3%BCrich%20%E2%98%83")),
        (URL, "https://h/?a={{inputs.line}}#{{inputs.space}}", json!("https://h/?a=a%0Ab#a%20b")),
        (
            URL,
            "https://h/?x={{inputs.braces}}",
            json!("https://h/?x=%7B%7B7%2A7%7D%7D%7B%7Bsecrets.db%7D%7D"),
        ),
        // JSON.
        (JSON, "{{inputs.mixed}}", json!(["a", 1, true])),
        (JSON, "n: {{inputs.html}}", json!("n: <b>\"&'</b>")),
    ];
    for (place, source, expected) in rows {
        assert_eq!(render(source, *place).as_ref(), Ok(expected), "{source:?}");
    }
}

/// Goal: what is refused, when it is read or when it is rendered, says what and how to mend it.
#[test]
fn what_a_template_refuses() {
    let rows: &[(Place, &str, &str)] = &[
        // When it is read.
        (PLAIN, "{{{inputs.html}}}", "`{{{` is refused"),
        (PLAIN, "{{&inputs.html}}", "`{{&` is refused"),
        (PLAIN, "{{{{raw}}}} x {{{{/raw}}}}", "refused"),
        (PLAIN, "{{> head}}", "partials are refused"),
        (PLAIN, "{{#> head}}x{{/head}}", "partials"),
        (PLAIN, "{{* deco}}", "decorators are refused"),
        (PLAIN, "{{#*inline \"x\"}}y{{/inline}}", "decorators"),
        (PLAIN, "{{lookup inputs 'x'}}", "there is no helper `lookup`"),
        (PLAIN, "{{log inputs}}", "there is no helper `log`"),
        (PLAIN, "{{upper (lower x)}}", "subexpressions"),
        (PLAIN, "{{inputs.x | default('y')}}", "`set` step"),
        (PLAIN, "{{inputs.a + 1}}", "is no name"),
        (PLAIN, "{{#each x}}{{../y}}{{/each}}", "`../` is refused"),
        (PLAIN, "{{inputs.service}", "`{{` without `}}`"),
        (PLAIN, "{{", "`{{` without `}}`"),
        (PLAIN, "{{!-- x }}", "without `--}}`"),
        (PLAIN, "{{}}", "names nothing"),
        (PLAIN, "{{ }}", "names nothing"),
        (PLAIN, "{{#if x}}y", "the block `if` is not ended"),
        (PLAIN, "{{#if x}}y{{/each}}", "`each` is ended where `if` is open"),
        (PLAIN, "{{/if}}", "no block `if` is open"),
        (PLAIN, "{{else}}", "outside a block"),
        (PLAIN, "{{#if}}x{{/if}}", "needs exactly one name"),
        (PLAIN, "{{#if a b}}x{{/if}}", "needs exactly one name"),
        (PLAIN, "{{#each a as |b|}}x{{/each}}", "needs exactly one name"),
        (PLAIN, "{{#eech a}}x{{/eech}}", "unknown block `eech`"),
        (PLAIN, "{{#if a}}{{else foo b}}x{{/if}}", "unknown block `foo`"),
        (PLAIN, "{{steps['rss'].value}}", "is no name"),
        (PLAIN, "{{steps.rss.results[0]}}", "`a.[0].b`"),
        (PLAIN, "{{a/b}}", "separate the parts with `.`"),
        (PLAIN, "{{a..b}}", "refused"),
        (PLAIN, "{{a.}}", "a part is empty"),
        (PLAIN, "{{@foo}}", "`@index`"),
        (PLAIN, "{{a.[b}}", "a `]` is missing"),
        // When it is rendered.
        (PLAIN, "{{inputs.servce}}", "E_TEMPLATE `inputs.servce` is undefined"),
        (PLAIN, "x {{steps.skipped.value}}", "`steps.skipped.value` is undefined"),
        (PLAIN, "{{nothing}}", "`nothing` is undefined"),
        (PLAIN, "{{@index}}", "`@index` is undefined"),
        (PLAIN, "{{#if steps.skipped.value}}x{{/if}}", "is undefined"),
        (
            PLAIN,
            "{{#each inputs.hosts}}{{inputs.port}}{{/each}}",
            "outside the block it is `@root.inputs.port`",
        ),
        (PLAIN, "{{#each inputs.port}}x{{/each}}", "`each` needs a list"),
        (PLAIN, "x {{inputs.labels}}", "`inputs.labels` is an object"),
        (PLAIN, "x {{inputs.nothing}}", "`inputs.nothing` is none"),
        (PLAIN, "x {{inputs.nested}}", "a list that holds a list"),
        (ARG, "{{inputs.dash}}", "E_OPTION"),
        (ARG, "{{inputs.dash}}x", "E_OPTION"),
        (ARG, "{{inputs.empty}}{{inputs.dash}}", "E_OPTION"),
        (ARG, "{{#if inputs.on}}{{inputs.dash}}{{/if}}", "E_OPTION"),
        (URL, "https://example.org/a b", "white space"),
        (URL, "example.org/x", "E_URL"),
        (URL, "ftp://example.org/", "E_URL"),
        (URL, "ftp://{{inputs.host}}/", "`http://` or `https://`"),
        (URL, "{{inputs.host}}:80/", "begins with its scheme"),
        (URL, "{{inputs.ftp}}", "no http or https URL"),
        (URL, "{{inputs.script}}", "no http or https URL"),
        (URL, "{{inputs.port}}", "is no string"),
        (URL, "{{inputs.line}}", "white space"),
        (URL, "{{inputs.url}}/x", "has a query"),
        (URL, "{{inputs.ftp}}/x", "no http or https URL"),
        (URL, "https://{{inputs.evil}}/", "stands for a host"),
        (URL, "https://{{inputs.slash}}/", "stands for a host"),
        (URL, "https://{{inputs.hostport}}/", "stands for a host"),
        (URL, "https://{{inputs.empty}}/", "stands for a host"),
        (URL, "https://{{inputs.space}}/", "stands for a host"),
        (URL, "https://x.{{inputs.slash}}/", "stands for a host"),
        (URL, "https://h:{{inputs.service}}/", "stands for a port"),
        (URL, "https://h/{{inputs.up}}/x", "makes `.` or `..`"),
        (URL, "https://h/.{{inputs.dot}}/x", "makes `.` or `..`"),
    ];
    for (place, source, words) in rows {
        let found = render(source, *place);
        let Err(why) = found else { panic!("{source:?} gave {found:?}") };
        assert!(why.contains(words), "{source:?}: {why}");
    }
}

#[test]
fn in_finally_what_is_absent_says_that_it_did_not_run() {
    let scope = Scope { absent_ok: true, ..scope() };
    for (source, expected) in [
        ("{{steps.skipped.value}}", "(not run)"),
        ("took {{steps.skipped.value}} s", "took (not run) s"),
        ("{{nowhere.at.all}}", "(not run)"),
        ("{{#if steps.skipped.value}}a{{else}}b{{/if}}", "b"),
        ("{{#each steps.skipped.results}}a{{else}}b{{/each}}", "b"),
        ("x {{inputs.nothing}}", "x none"),
        ("{{inputs.nothing}}", "none"),
    ] {
        let template = parse(source, PLAIN).expect("the row parses");
        assert_eq!(template.render_text(&scope).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn text_of_a_whole_value_is_as_in_a_longer_string() {
    for (source, expected) in [
        ("{{inputs.port}}", Ok("8080")),
        ("{{inputs.hosts}}", Ok("db1, db2")),
        ("{{inputs.labels}}", Err("an object")),
        ("{{inputs.nothing}}", Err("none")),
    ] {
        let found = parse(source, PLAIN).expect("the row parses").render_text(&scope());
        match expected {
            Ok(text) => assert_eq!(found.as_deref(), Ok(text)),
            Err(words) => assert!(found.expect_err("no text").message.contains(words)),
        }
    }
}

#[test]
fn names_are_what_the_context_must_hold() {
    for (source, expected) in [
        ("plain", vec![]),
        (r"\{{a.b}}", vec![]),
        ("{{a.b}} {{c}} {{a.b}}", vec!["a.b", "c"]),
        ("{{#each a.b}}{{c}}{{@root.d.e}}{{this}}{{/each}}", vec!["a.b", "d.e"]),
        (
            "{{#with a.b}}{{c}}{{#if d}}{{e}}{{/if}}{{/with}}",
            vec!["a.b", "a.b.c", "a.b.d", "a.b.e"],
        ),
        ("{{#each a}}{{else}}{{b}}{{/each}}", vec!["a", "b"]),
        ("{{steps.x.results.[0].y}}", vec!["steps.x.results.0.y"]),
    ] {
        let template = parse(source, PLAIN).expect("the row parses");
        let names: Vec<String> = template.names().iter().map(|name| name.join(".")).collect();
        assert_eq!(names, expected, "{source}");
        assert_eq!(template.is_literal(), names.is_empty());
    }
}

#[test]
fn problems_and_mentions_stand_at_their_bytes() {
    let source = "ok {{a}} {{> b}} {{c.d}}";
    let problems = Template::parse(source, Span::new(100, 100 + source.len()), PLAIN)
        .expect_err("a partial is refused");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].span, Span::new(109, 116));
    // A text that YAML wrote otherwise than it stands in the file has no offsets inside.
    let problems = Template::parse(source, Span::new(100, 200), PLAIN).expect_err("still refused");
    assert_eq!(problems[0].span, Span::new(100, 200));
    let template = Template::parse("x {{a}} {{c.d}}", Span::new(10, 25), PLAIN).expect("parses");
    let spans: Vec<Span> = template.mentions().iter().map(|mention| mention.span).collect();
    assert_eq!(spans, [Span::new(12, 17), Span::new(18, 25)]);
    // All problems at once.
    let both = parse("{{> a}} {{{b}}} {{c d}}", PLAIN).expect_err("three problems");
    assert_eq!(both.lines().count(), 3, "{both}");
}

/// Goal: hostile text costs neither the process nor a second. Method: shapes that nest, repeat or
/// multiply, on the stack of a test thread (2 MiB).
#[test]
fn hostile_templates_are_refused_or_bounded() {
    for unit in [
        "{{#if a}}",
        "{{",
        "{{(",
        "{{[",
        "{{a.",
        "{{!--",
        "{{#each a}}{{/each}}",
        "\\{{",
        "{{a [",
        "{{f (",
        "{{#if [",
        "{{{{",
        "{{~",
        "{{a ={",
        "{{else}}",
        "{{^}}",
        "{{#if a}}{{else}}",
    ] {
        for count in [1, 2, 17, 100, 2048 / unit.len()] {
            let _ = parse(&unit.repeat(count), PLAIN);
        }
    }
    let long = format!("{}{{{{a}}}}", "x".repeat(2048));
    assert!(parse(&long, PLAIN).expect_err("too long").contains("at most 2048"));

    let begun = std::time::Instant::now();
    let hundred_k = "x".repeat(100_000);
    let scope = Scope::default()
        .with("text", json!(hundred_k))
        .with("list", Value::Array(vec![json!(1); 3_000]))
        .with("huge", json!("x".repeat(RESULT_BYTES_MAX)));
    let text = |source: &str| parse(source, PLAIN).expect("parses").render(&scope);
    assert_eq!(text("{{text}}").expect("fits"), json!(hundred_k));
    assert!(text(&"{{text}}".repeat(20)).is_err(), "2 MB");
    assert!(text("{{huge}}x").is_err());
    assert!(text("{{huge}}").is_err(), "with its quotes it is above the bound");
    let nested =
        "{{#each list}}{{#each @root.list}}{{#each @root.list}}{{/each}}{{/each}}{{/each}}";
    assert!(text(nested).expect_err("27 billion rounds").message.contains("pieces"));
    assert!(begun.elapsed().as_secs() < 20, "took {:?}", begun.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\n\u{fc}]{0,200}") {
        let _ = parse(&text, PLAIN);
        let _ = parse(&text, URL);
    }

    #[test]
    fn no_mixture_of_its_own_signs_does_either(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{{#if a}}", "{{/if}}", "{{else}}", "{{else if b}}", "{{#each a}}",
            "{{/each}}", "{{~", "~}}", "\\", "\\\\", " ", "\n", "a", "a.b", "this", "[0]", "@index",
            "{{!", "{{!--", "--}}", "{", "}", "#", "/", "^", ".", "{{^}}", "{{a}}", "{{~a~}}",
            "{{~#if a~}}", "{{~else~}}", "{{~/if~}}", "'", "\"",
        ]), 0..40)
    ) {
        let text = parts.concat();
        if let Ok(template) = parse(&text, PLAIN) {
            let _ = template.render(&scope());
        }
    }

    #[test]
    fn what_an_author_writes_around_a_name_stays_to_the_byte(
        before in "[ -z\n\t\u{fc}]{0,20}", after in "[ -z\n\t\u{fc}]{0,20}"
    ) {
        prop_assume!(!before.contains('\\') && !after.contains('\\'));
        let source = format!("{before}{{{{item}}}}{after}");
        let found = parse(&source, PLAIN).expect("parses").render_text(&scope());
        prop_assert_eq!(found, Ok(format!("{before}db1{after}")));
    }

    #[test]
    fn data_is_never_evaluated(data in "[ -~\n]{0,80}") {
        let scope = Scope::default().with("x", json!(data)).with("l", json!([data]));
        for (source, expected) in [
            ("{{x}}", data.clone()),
            ("a {{x}} b", format!("a {data} b")),
            ("{{#each l}}{{this}}{{/each}}", data.clone()),
        ] {
            let found = parse(source, PLAIN).expect("parses").render_text(&scope);
            prop_assert_eq!(found, Ok(expected));
        }
    }

    #[test]
    fn a_value_opens_no_other_part_of_a_url(data in "\\PC{0,40}") {
        let scope = Scope::default().with("x", json!(data));
        let template = parse("https://h.org/a/{{x}}/b?q={{x}}", URL).expect("parses");
        if let Ok(Value::String(text)) = template.render(&scope) {
            let url = ::url::Url::parse(&text).expect("a URL");
            prop_assert_eq!(url.host_str(), Some("h.org"));
            prop_assert_eq!(url.path_segments().expect("a path").count(), 3);
            prop_assert_eq!(url.fragment(), None);
            let pairs: Vec<_> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, vec![("q".to_owned(), data.clone())]);
        }
        let template = parse("https://{{x}}/b", URL).expect("parses");
        if let Ok(Value::String(text)) = template.render(&scope) {
            let url = ::url::Url::parse(&text).expect("a URL");
            prop_assert_eq!(url.path(), "/b");
            prop_assert_eq!(url.username(), "");
        }
    }
}
