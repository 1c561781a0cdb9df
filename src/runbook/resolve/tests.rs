//! From a step as the model has it to what will be done, or to why not.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::runbook::model::{
    Assertion, Effect, End, EndOutcome, ForEach, Manual, OnFailure, OnInterrupt, PlainAction,
    StepIx,
};
use crate::runbook::problem::Span;
use crate::runbook::template::Place;
use crate::runbook::value::InputType;

fn step(action: Action) -> Step {
    Step {
        ix: StepIx(0),
        id: "1".into(),
        is_named: false,
        title: String::new(),
        span: Span::default(),
        action,
        when: None,
        expect: None,
        warn: None,
        changed: None,
        needs: None,
        target: None,
        for_each: None,
        limits: None,
        timeout: None,
        connect_timeout: Duration::from_secs(10),
        retry: None,
        effect: Effect::Read,
        on_failure: OnFailure::Stop,
        rollback: None,
        fans_out: false,
        point_of_no_return: false,
        proves: None,
        done: None,
        idempotent: false,
        on_interrupt: OnInterrupt::Suspend,
        process: ProcessModifiers::default(),
        exit: None,
        parse: None,
        outputs: Vec::new(),
        sensitive: false,
        measure: Vec::new(),
    }
}

fn scope() -> Scope {
    Scope::default()
        .with(
            "inputs",
            json!({
                "service": "api", "port": 8080, "on": true, "dash": "-rf", "list": ["a", "b c", "*"],
                "options": ["-x"], "nul": "a\0b", "line": "a\r\nX-Evil: 1", "none": null, "pause": 2.5,
                "text": "30s", "long": "x".repeat(200_000), "evil": "'; touch PWN; $(id) {{7*7}}",
                "files": [{"path": "/a", "dev": 1, "ino": 2, "size_bytes": 3, "mtime": "2026-01-01T00:00:00Z"}],
                "empty": [], "words": "a b", "deep": [["a"]], "blank": "",
            }),
        )
        .with("item", json!("db1"))
}

fn template(source: &str, place: Place) -> Template {
    Template::parse(source, Span::default(), place).expect("the row parses")
}

fn plain(source: &str) -> Template {
    template(source, Place::Plain)
}

fn expr(source: &str) -> Expr {
    Expr::parse(source, Span::default()).expect("the row parses")
}

fn args(words: &[&str]) -> Action {
    let mut after_dashes = false;
    let args = words.iter().map(|word| match word.strip_prefix("each:") {
        Some(source) => Arg::Each(expr(source)),
        None => {
            let arg = Arg::One(template(word, Place::Argument { after_dashes }));
            after_dashes |= *word == "--";
            arg
        }
    });
    Action::Command(args.collect())
}

/// A tree as a reader of YAML would make it: strings with braces are templates.
fn tree(value: &Value, place: Place) -> Tree {
    match value {
        Value::String(text) if text.contains("{{") => Tree::Template(template(text, place)),
        Value::Array(items) => Tree::List(items.iter().map(|item| tree(item, place)).collect()),
        Value::Object(map) => {
            Tree::Map(map.iter().map(|(key, item)| (key.clone(), tree(item, place))).collect())
        }
        other => Tree::Literal(other.clone()),
    }
}

fn run(action: Action) -> Result<Value, String> {
    run_step(&step(action))
}

fn run_step(step: &Step) -> Result<Value, String> {
    let files = BTreeMap::from([("fix.py".to_owned(), "print(1)".to_owned())]);
    resolve(step, &scope(), &files)
        .map(|resolved| serde_json::to_value(resolved).expect("serialises"))
        .map_err(|err| format!("{} {}", err.code, err.message))
}

/// Goal: one value is one argument, whatever it holds.
#[test]
fn command_arguments() {
    let argv = |words: &[&str]| run(args(words)).map(|found| found["command"]["argv"].clone());
    for (words, expected) in [
        (
            vec!["systemctl", "restart", "{{inputs.service}}"],
            json!(["systemctl", "restart", "api"]),
        ),
        (vec!["x", "{{inputs.port}}", "{{inputs.on}}"], json!(["x", "8080", "true"])),
        (vec!["x", "{{inputs.evil}}"], json!(["x", "'; touch PWN; $(id) {{7*7}}"])),
        (vec!["x", "--", "{{inputs.dash}}"], json!(["x", "--", "-rf"])),
        (vec!["x", "each:inputs.list", "y"], json!(["x", "a", "b c", "*", "y"])),
        (vec!["x", "--", "each:inputs.options"], json!(["x", "--", "-x"])),
        (vec!["x", "each:inputs.empty"], json!(["x"])),
        (vec!["x", "on {{inputs.list}}", "{{inputs.blank}}"], json!(["x", "on a, b c, *", ""])),
    ] {
        assert_eq!(argv(&words), Ok(expected), "{words:?}");
    }
    for (words, why) in [
        (vec!["rm", "{{inputs.dash}}"], "E_OPTION"),
        (vec!["rm", "each:inputs.options"], "E_OPTION"),
        (vec!["rm", "each:inputs.options", "--"], "E_OPTION"),
        (
            vec!["x", "{{inputs.list}}"],
            "E_PARAMETER `{{inputs.list}}` is a list: one argument an item",
        ),
        (vec!["x", "{{inputs.none}}"], "E_PARAMETER"),
        (vec!["x", "{{inputs}}"], "E_PARAMETER"),
        (vec!["x", "{{inputs.nul}}"], "NUL"),
        (vec!["x", "{{inputs.long}}"], "E_ARG_TOO_LONG"),
        (vec!["x", "each:inputs.service"], "is not a list"),
        (vec!["x", "each:inputs.deep"], "is a list"),
        (vec!["x", "each:inputs.nowhere"], "E_EXPRESSION"),
        (vec!["x", "{{inputs.nowhere}}"], "E_TEMPLATE `command`: `inputs.nowhere` is undefined"),
        (vec!["{{inputs.blank}}"], "the program's name is empty"),
        (vec!["each:inputs.empty"], "the program's name is empty"),
        (vec!["x", "{{secrets.db}}"], "E_SECRET"),
    ] {
        let found = argv(&words).expect_err("refused");
        assert!(found.contains(why), "{words:?}: {found}");
    }
}

#[test]
fn the_environment_and_identity_of_a_process() {
    let process = |env: &[(&str, &str)], rest: ProcessModifiers| {
        let env = env.iter().map(|(name, source)| ((*name).to_owned(), plain(source))).collect();
        let action = Action::Shell { text: "echo \"$A\" {{ .Names }}".into(), interpreter: None };
        run_step(&Step { process: ProcessModifiers { env, ..rest }, ..step(action) })
    };
    let none = ProcessModifiers::default;
    let found = process(
        &[
            ("A", "{{inputs.evil}}"),
            ("B", "{{inputs.port}}"),
            ("C", "{{inputs.list}}"),
            ("D", "{{inputs.dash}}"),
        ],
        ProcessModifiers {
            cwd: Some(plain("/srv/{{inputs.service}}")),
            user: Some(plain("{{inputs.service}}")),
            sudo: true,
            stdin: Some(plain("{{inputs.long}}")),
            ..none()
        },
    )
    .expect("resolves");
    let shell = &found["shell"];
    // The text of a shell is never templated.
    assert_eq!(shell["text"], "echo \"$A\" {{ .Names }}");
    assert_eq!(shell["interpreter"], json!(["bash", "-euo", "pipefail"]));
    assert_eq!(
        shell["env"],
        json!([
            ["A", "'; touch PWN; $(id) {{7*7}}"],
            ["B", "8080"],
            ["C", "a, b c, *"],
            ["D", "-rf"]
        ])
    );
    assert_eq!((&shell["cwd"], &shell["user"]), (&json!("/srv/api"), &json!("api")));
    assert_eq!(shell["sudo"], true);
    assert_eq!(shell["stdin"].as_str().map(str::len), Some(200_000));

    for (env, rest, why) in [
        (vec![("A", "{{inputs.nul}}")], none(), "`A`: the value holds a NUL byte"),
        (vec![("A", "{{inputs.long}}")], none(), "E_ARG_TOO_LONG"),
        (vec![("A", "{{inputs.files}}")], none(), "a list that holds an object"),
        (vec![("A", "{{inputs.none}}")], none(), "none"),
        (vec![("A", "{{secrets.db}}")], none(), "E_SECRET `secrets.db`"),
        (vec![], ProcessModifiers { user: Some(plain("{{inputs.dash}}")), ..none() }, "E_OPTION"),
        (
            vec![],
            ProcessModifiers { user: Some(plain("{{inputs.words}}")), ..none() },
            "no user's name",
        ),
        (vec![], ProcessModifiers { cwd: Some(plain("{{inputs.blank}}")), ..none() }, "`cwd`"),
        (
            vec![],
            ProcessModifiers { secret_files: vec![("P".into(), "db".into())], ..none() },
            "E_SECRET",
        ),
    ] {
        let found = process(&env, rest).expect_err("refused");
        assert!(found.contains(why), "{found}");
    }
    // 128 KiB holds the name, the sign, the value and the kernel's NUL.
    let fits = "x".repeat(ARGUMENT_BYTES_MAX - 3);
    let scope = Scope::default().with("x", json!(fits)).with("y", json!(format!("{fits}x")));
    for (source, is_ok) in [("{{x}}", true), ("{{y}}", false)] {
        let mut step = step(args(&["true"]));
        step.process.env = vec![("A".into(), plain(source))];
        assert_eq!(resolve(&step, &scope, &BTreeMap::new()).is_ok(), is_ok, "{source}");
    }
}

#[test]
fn scripts_and_interpreters() {
    let script = |source| Action::Script { interpreter: vec!["python3".into()], source };
    let found = run(script(ScriptSource::File("fix.py".into()))).expect("resolves");
    assert_eq!(
        found,
        json!({"script": {"interpreter": ["python3"], "text": "print(1)", "file": "fix.py"}})
    );
    let found = run(script(ScriptSource::Text("print({{1}})".into()))).expect("resolves");
    assert_eq!(found["script"]["text"], "print({{1}})");
    let found = run(script(ScriptSource::File("gone.py".into()))).expect_err("refused");
    assert!(found.contains("`gone.py` was not read"), "{found}");
    let mut shell = step(Action::Shell { text: "x".into(), interpreter: Some(vec!["sh".into()]) });
    let integer = InputType::Integer { minimum: None, maximum: None };
    shell.outputs = vec![("n".into(), integer)];
    let found = run_step(&shell).expect("resolves");
    assert_eq!(
        found,
        json!({"shell": {"text": "x", "interpreter": ["sh"], "wants_outputs": true}})
    );
}

/// Goal: parameters are typed, and an error names the one that does not fit.
#[test]
fn actions_with_parameters() {
    use PlainAction as A;
    let params = |name: A, value: Value| {
        let place = if name == A::Http { Place::Url } else { Place::Plain };
        let tree = match (&value, place) {
            (Value::Object(map), Place::Url) => Tree::Map(
                map.iter()
                    .map(|(key, item)| {
                        let place = if key == "url" { Place::Url } else { Place::Json };
                        (key.clone(), tree(item, place))
                    })
                    .collect(),
            ),
            _ => tree(&value, place),
        };
        run(Action::Plain { name, params: tree })
    };
    let ok: Vec<(A, Value, Value)> = vec![
        (
            A::Tcp,
            json!({"host": "{{item}}", "port": "{{inputs.port}}"}),
            json!({"tcp": {"host": "db1", "port": 8080}}),
        ),
        (
            A::Http,
            json!({"url": "http://{{item}}:{{inputs.port}}/x", "headers": {"X-Port": "{{inputs.port}}"},
                   "json": {"n": "{{inputs.port}}", "l": "{{inputs.list}}", "t": "n={{inputs.port}}"},
                   "query": {"a": "{{inputs.on}}"}, "auth": {"bearer": "{{inputs.port}}"}}),
            json!({"http": {"url": "http://db1:8080/x", "headers": {"X-Port": "8080"},
                   "json": {"n": 8080, "l": ["a", "b c", "*"], "t": "n=8080"}, "query": {"a": true},
                   "auth": {"bearer": "8080"}, "redirects": 0}}),
        ),
        (
            A::Disk,
            json!({"path": "/srv/{{inputs.service}}"}),
            json!({"disk": {"path": "/srv/api"}}),
        ),
        (A::Memory, json!({}), json!({"memory": {}})),
        (A::Load, json!(null), json!({"load": {}})),
        (A::Process, json!({"name": "{{inputs.port}}"}), json!({"process": {"name": "8080"}})),
        (A::Clock, json!({}), json!({"clock": {}})),
        (
            A::Service,
            json!({"name": "{{inputs.service}}", "state": "restarted"}),
            json!({"service": {"name": "api", "state": "restarted"}}),
        ),
        (
            A::Find,
            json!({"dir": "/tmp", "older_than": "{{inputs.text}}", "larger_than": "1KiB"}),
            json!({"find": {"dir": "/tmp", "older_than": 30.0, "larger_than": 1024, "same_device": true}}),
        ),
        (
            A::Delete,
            json!({"files": "{{inputs.files}}"}),
            json!({"delete": {"files": scope().roots["inputs"]["files"]}}),
        ),
        (
            A::Nagios,
            json!({"command": ["check_x", "-w", "{{inputs.port}}"]}),
            json!({"nagios": {"command": ["check_x", "-w", "8080"], "process": {}}}),
        ),
    ];
    for (name, given, expected) in ok {
        assert_eq!(params(name, given.clone()), Ok(expected), "{given}");
    }
    let refused: Vec<(A, Value, &str)> = vec![
        (
            A::Tcp,
            json!({"host": "h", "port": "{{inputs.service}}"}),
            "E_PARAMETER `tcp`: `port`: invalid type",
        ),
        (A::Tcp, json!({"host": "h", "port": 70000}), "`port`"),
        (A::Tcp, json!({"host": "h"}), "missing field `port`"),
        (A::Tcp, json!({"host": "h", "port": 1, "prot": 2}), "unknown field `prot`"),
        (A::Tcp, json!({"host": "{{inputs.list}}", "port": 1}), "`host`"),
        (A::Tcp, json!({"host": "{{inputs.nul}}", "port": 1}), "`host` holds a NUL byte"),
        (A::Disk, json!({"path": "{{inputs.nul}}"}), "`path` holds a NUL byte"),
        (A::Disk, json!("x"), "expected parameters"),
        (
            A::Disk,
            json!({"path": "{{inputs.nowhere}}"}),
            "E_TEMPLATE `path`: `inputs.nowhere` is undefined",
        ),
        (A::Memory, json!({"path": "/"}), "takes no parameters"),
        (A::Process, json!({}), "exactly one"),
        (A::Process, json!({"name": "a", "match": "b"}), "exactly one"),
        (A::Http, json!({"url": "{{inputs.service}}"}), "E_URL `url`"),
        (
            A::Http,
            json!({"url": "http://h/", "headers": {"A": "{{inputs.line}}"}}),
            "the header `A` holds a line break",
        ),
        (A::Service, json!({"name": "{{inputs.dash}}"}), "E_OPTION `name`"),
        (A::Service, json!({"name": "a", "state": "dead"}), "`state`"),
        (A::Nagios, json!({"command": ["x", "{{inputs.dash}}"]}), "E_OPTION `command`"),
        (A::Nagios, json!({"command": []}), "the program's name is empty"),
        (A::Delete, json!({"files": "{{inputs.list}}"}), "`delete`"),
        (A::Find, json!({"dir": "/tmp", "older_than": "30"}), "has no unit"),
        (A::Sql, json!({"database": "x", "query": "select 1"}), "E_UNSUPPORTED `sql`"),
        (A::Notify, json!({"to": "ops"}), "E_UNSUPPORTED `notify`"),
        (A::Transfer, json!({"from": "a", "to": "b"}), "E_UNSUPPORTED `transfer`"),
        (A::Disk, json!({"path": "{{secrets.db}}"}), "E_SECRET"),
    ];
    for (name, given, why) in refused {
        let found = params(name, given.clone()).expect_err("refused");
        assert!(found.contains(why), "{given}: {found}");
    }
    let after = params(A::Nagios, json!({"command": ["x", "--", "{{inputs.dash}}"]}));
    assert!(after.is_ok(), "{after:?}");
}

#[test]
fn waits_people_and_the_core() {
    let literal = |value: Value| Tree::Literal(value);
    let until = Action::Wait(Wait::Until {
        check: Check(Box::new(step(args(&["true", "{{item}}"])))),
        every: literal(json!("500ms")),
        stable: literal(json!(0)),
        timeout: Tree::Template(plain("{{inputs.pause}}")),
    });
    assert_eq!(
        run(until),
        Ok(json!({"wait": {"until": {
            "check": {"command": {"argv": ["true", "db1"]}}, "every": 0.5, "stable": 0.0, "timeout": 2.5}}}))
    );
    let wait = |source: &str| run(Action::Wait(Wait::For(Tree::Template(plain(source)))));
    assert_eq!(wait("{{inputs.text}}"), Ok(json!({"wait": {"for": 30.0}})));
    assert!(wait("{{inputs.service}}").expect_err("refused").contains("E_PARAMETER `wait`"));
    assert!(wait("{{inputs.none}}").expect_err("refused").contains("is not a duration"));
    let manual = Action::Manual(Manual {
        instructions: plain("look at {{item}}"),
        from: vec!["group:dba".into()],
        ask: vec![("seen".into(), InputType::Boolean)],
    });
    assert_eq!(
        run(manual),
        Ok(
            json!({"manual": {"instructions": "look at db1", "from": ["group:dba"], "ask": ["seen"]}})
        )
    );
    let set = Action::Set(vec![("x".into(), expr("nowhere"))]);
    assert_eq!(run(set), Ok(json!({"core": {}})), "the core evaluates by itself");
}

#[test]
fn what_a_step_mentions_is_all_that_its_scope_needs() {
    let mut all = step(args(&["x", "{{inputs.a}}", "each:inputs.b"]));
    all.when = Some(expr("steps.w.value > 1"));
    all.expect = Some(expr("result.exit_code == 0"));
    all.target = Some(plain("{{item}}"));
    all.for_each = Some(ForEach::Items(vec![Tree::Template(plain("{{inputs.c}}"))]));
    all.process.env = vec![("E".into(), plain("{{inputs.d}}"))];
    all.process.stdin = Some(plain("{{inputs.e}}"));
    all.measure = vec![("m".into(), expr("result.x"))];
    let mut done = step(args(&["true"]));
    done.expect = Some(expr("result.exit_code == inputs.f"));
    all.done = Some(Check(Box::new(done)));
    let found: Vec<String> = mentioned(&all).iter().map(|name| name.join(".")).collect();
    assert_eq!(
        found,
        [
            "inputs.a",
            "inputs.b",
            "inputs.c",
            "inputs.d",
            "inputs.e",
            "inputs.f",
            "item",
            "result.exit_code",
            "result.x",
            "steps.w.value",
        ]
    );
    let assert = Action::Assert(vec![Assertion { that: expr("a"), message: Some(plain("{{b}}")) }]);
    let end = Action::End(End {
        when: Some(expr("c")),
        outcome: EndOutcome::Succeeded,
        message: Some(plain("{{d}}")),
    });
    for (action, expected) in [(assert, ["a", "b"]), (end, ["c", "d"])] {
        let found: Vec<String> = mentioned(&step(action)).iter().map(|n| n.join(".")).collect();
        assert_eq!(found, expected);
    }
}
