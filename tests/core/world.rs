//! A world in which every action is scripted and time passes only when nothing else can happen.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runwarden::action::{Cancel, Cx};
use runwarden::engine::{
    self, Commit, Control, Ended, Engine, EngineError, Perform, Prepared, Request, Source,
};
use runwarden::id::{Digest, RunId};
use runwarden::outcome::{Captured, End, Kept, Outcome, Verdict};
use runwarden::run::event::{Event, Requester, ResumeAction};
use runwarden::runbook::params::Resolved;
use runwarden::store::{OpenMode, Store};
use runwarden::time::{Clock, Timestamp};
use serde_json::{Map, Value, json};

/// 2026-01-02T03:04:05Z.
pub const START: Timestamp = Timestamp::from_millis(1_767_323_045_000);

/// Simulated time: what tokio's paused clock says.
pub struct SimClock {
    base: tokio::time::Instant,
    /// Calls until death, counted down; see [`Deaths`].
    deaths: Arc<Deaths>,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.deaths.point(Moment::BeforeAppend);
        START.after(self.base.elapsed())
    }
}

/// Where the process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A decision is made, nothing of it is recorded.
    BeforeAppend,
    /// Recorded, the effect has not begun.
    BeforeEffect,
    /// The effect has happened, its end is not recorded.
    AfterEffect,
}

/// Counts the moments of a life and ends it at one of them.
#[derive(Default)]
pub struct Deaths {
    at: Mutex<Option<(Moment, usize)>>,
    seen: [AtomicUsize; 3],
    dead: AtomicBool,
    wake: tokio::sync::Notify,
}

impl Deaths {
    pub fn kill_at(moment: Moment, nth: usize) -> Arc<Deaths> {
        let deaths = Deaths::default();
        *deaths.at.lock().unwrap() = Some((moment, nth));
        Arc::new(deaths)
    }

    pub fn count(&self, moment: Moment) -> usize {
        self.seen[moment as usize].load(Ordering::SeqCst)
    }

    /// Whether this is the moment of death.
    fn strikes(&self, moment: Moment) -> bool {
        let nth = self.seen[moment as usize].fetch_add(1, Ordering::SeqCst);
        let strikes = *self.at.lock().unwrap() == Some((moment, nth));
        if strikes {
            self.dead.store(true, Ordering::SeqCst);
            self.wake.notify_one();
        }
        strikes || self.dead.load(Ordering::SeqCst)
    }

    /// Dies by unwinding: nothing after this line happens.
    fn point(&self, moment: Moment) {
        if self.strikes(moment) {
            std::panic::resume_unwind(Box::new("death"));
        }
    }

    async fn struck(&self) {
        while !self.dead.load(Ordering::SeqCst) {
            self.wake.notified().await;
        }
    }
}

/// Scripted actions: by step id, one result an attempt, the last for all that follow.
#[derive(Default)]
pub struct Script {
    results: HashMap<String, Vec<Value>>,
    /// Attempts that began, as (step, what was done).
    pub effects: Mutex<Vec<(String, String)>>,
    seen: Mutex<HashMap<String, usize>>,
}

impl Script {
    pub fn new(results: &Value) -> Script {
        let results = results.as_object().cloned().unwrap_or_default();
        let list = |value: Value| match value {
            Value::Array(items) => items,
            one => vec![one],
        };
        Script {
            results: results.into_iter().map(|(step, value)| (step, list(value))).collect(),
            ..Script::default()
        }
    }

    fn next(&self, step: &str) -> Value {
        let mut seen = self.seen.lock().unwrap();
        let nth = seen.entry(step.to_owned()).or_default();
        let results = self.results.get(step);
        let result = results.and_then(|all| all.get(*nth).or(all.last())).cloned();
        *nth += 1;
        result.unwrap_or_else(|| json!({}))
    }
}

/// Performs by the script.
pub struct ScriptedHost {
    pub script: Arc<Script>,
    pub deaths: Arc<Deaths>,
}

impl Perform for ScriptedHost {
    fn perform<'a>(
        &'a self,
        action: &'a Resolved,
        cx: &'a Cx,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(async move {
            if self.deaths.strikes(Moment::BeforeEffect) {
                std::future::pending::<()>().await;
            }
            let result = self.script.next(&cx.step);
            self.script.effects.lock().unwrap().push((cx.step.clone(), words(action)));
            if self.deaths.strikes(Moment::AfterEffect) {
                std::future::pending::<()>().await;
            }
            let after = result["after_s"].as_f64().unwrap_or(0.0);
            let mut cancel = cx.cancel.clone();
            let deadline = cx.deadline.map(tokio::time::Instant::from_std);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs_f64(after)) => outcome(&result),
                Ok(_) = cancel.wait_for(|cancel| *cancel != Cancel::No) => {
                    Outcome { end: End::Cancelled, ..outcome(&result) }
                }
                () = until(deadline) => Outcome { end: End::TimedOut, ..outcome(&result) },
            }
        })
    }

    fn end_leftovers(&self, _scratch: &Path, _run: RunId) -> Vec<String> {
        Vec::new()
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn words(action: &Resolved) -> String {
    match action {
        Resolved::Command(command) => command.argv.join(" "),
        Resolved::Shell(shell) => shell.text.clone(),
        other => serde_json::to_string(other).unwrap(),
    }
}

fn outcome(result: &Value) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(end) = result.get("end") {
        outcome.end = serde_json::from_value(end.clone()).expect("`end` names an end");
    }
    if let Some(rule) = result.get("rule") {
        outcome.rule = Some(serde_json::from_value::<Verdict>(rule.clone()).expect("a verdict"));
    }
    match result.get("fields") {
        Some(Value::Object(fields)) => outcome.fields = fields.clone(),
        _ => {
            outcome.fields.insert("exit_code".to_owned(), result["exit"].clone());
            if result["exit"].is_null() {
                outcome.fields.insert("exit_code".to_owned(), json!(0));
            }
        }
    }
    outcome.stdout = result["stdout"].as_str().map(captured);
    outcome.stderr = result["stderr"].as_str().map(captured);
    outcome
}

fn captured(text: &str) -> Captured {
    Captured {
        bytes: text.len() as u64,
        sha256: Digest::of(text.as_bytes()),
        kept: Kept::Memory(text.as_bytes().to_vec()),
        truncated: false,
    }
}

/// One life of the program on a state folder.
pub struct World {
    pub folder: tempfile::TempDir,
    pub script: Arc<Script>,
}

/// How a life ended.
#[derive(Debug)]
pub enum Life {
    Ended(RunId, Ended),
    Died(Option<RunId>),
}

impl World {
    pub fn new(results: &Value) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        World { folder, script: Arc::new(Script::new(results)) }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn open(&self) -> Store {
        Store::open(&self.state(), OpenMode::ReadWrite).expect("the store opens")
    }

    fn engine(&self, base: tokio::time::Instant, deaths: &Arc<Deaths>) -> Engine {
        Engine {
            store: Arc::new(self.open()),
            // Simulated time must not pass while a commit is under way.
            commit: Commit::InPlace,
            clock: Arc::new(SimClock { base, deaths: Arc::clone(deaths) }),
            perform: Arc::new(ScriptedHost {
                script: Arc::clone(&self.script),
                deaths: Arc::clone(deaths),
            }),
        }
    }

    /// Runs `runbook` in a first life, in which people say what `say` has.
    pub fn live(&self, runbook: &Path, inputs: &Value, say: &Value, deaths: &Arc<Deaths>) -> Life {
        let prepared = prepared(runbook, inputs);
        block_on(async {
            let base = tokio::time::Instant::now();
            let engine = self.engine(base, deaths);
            let run = Arc::new(Mutex::new(None));
            let known = Arc::clone(&run);
            let say = say.clone();
            let whole = async move {
                let begun = engine.submit(&prepared, request()).await.expect("it begins");
                *known.lock().unwrap() = Some(begun.id);
                drive(&engine, begun, &say, base).await
            };
            let ended = mortal(whole, deaths).await;
            let run = *run.lock().unwrap();
            match ended {
                Some(ended) => Life::Ended(run.expect("it began"), ended.expect("it is driven")),
                None => Life::Died(run),
            }
        })
    }

    /// Resumes a run in a later life.
    pub fn resume(
        &self,
        id: RunId,
        action: ResumeAction,
        step: Option<&str>,
    ) -> Result<Ended, EngineError> {
        let deaths = Arc::new(Deaths::default());
        block_on(async {
            let base = tokio::time::Instant::now();
            let engine = self.engine(base, &deaths);
            let step = step.map(str::to_owned);
            let begun = engine.resume(id, action, step, "dana".to_owned(), None).await?;
            drive(&engine, begun, &Value::Null, base).await
        })
    }

    /// The runs in the log, as JSON.
    pub fn show(&self, id: RunId) -> Value {
        engine::show(&self.open().reader().expect("a reader"), id).expect("it can be shown")
    }

    /// All facts of a run.
    pub fn facts(&self, id: RunId) -> Vec<runwarden::run::view::Fact> {
        engine::load(&self.open().reader().expect("a reader"), id).expect("it can be read").facts
    }

    /// Runs in the log.
    pub fn runs(&self) -> Vec<RunId> {
        let reader = self.open().reader().expect("a reader");
        reader.unfinished().expect("rows").rows.into_iter().map(|row| row.id).collect()
    }
}

/// Runs `whole` to its end or to its death.
async fn mortal<T>(whole: impl Future<Output = T>, deaths: &Deaths) -> Option<T> {
    use futures_catch::catch_unwind;
    tokio::select! {
        biased;
        () = deaths.struck() => None,
        ended = catch_unwind(whole) => ended.ok(),
    }
}

/// A future whose panic is an error: what `futures::FutureExt::catch_unwind` does.
mod futures_catch {
    use std::future::{Future, poll_fn};
    use std::panic::{AssertUnwindSafe, catch_unwind as catch};
    use std::pin::pin;
    use std::task::Poll;

    pub async fn catch_unwind<F: Future>(future: F) -> Result<F::Output, ()> {
        let mut future = pin!(future);
        poll_fn(move |cx| match catch(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(_) => Poll::Ready(Err(())),
        })
        .await
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let value = runtime.block_on(future);
    // Attempts of a dead life must not go on.
    runtime.shutdown_timeout(Duration::from_millis(200));
    value
}

pub fn prepared(runbook: &Path, inputs: &Value) -> Prepared {
    let bytes = std::fs::read(runbook).expect("the runbook is there");
    let source = Source { bytes, path: Some(runbook.to_path_buf()) };
    let inputs = inputs.as_object().cloned().unwrap_or_default();
    match engine::prepare(source, &inputs) {
        Ok(prepared) => prepared,
        Err(refused) => panic!("{}: {refused:?}", runbook.display()),
    }
}

fn request() -> Request {
    Request {
        requester: Requester { principal: "maya".to_owned(), method: "unix".to_owned() },
        trigger: Map::from_iter([("kind".to_owned(), json!("cli"))]),
        reason: None,
        ticket: None,
    }
}

async fn drive(
    engine: &Engine,
    begun: engine::Begun,
    say: &Value,
    base: tokio::time::Instant,
) -> Result<Ended, EngineError> {
    // Somebody stays with the run if anybody has something to say.
    let (wires, control, mut notices) = engine::wires(say.is_array());
    let says = say.as_array().cloned().unwrap_or_default();
    let speaker = async move {
        for said in says {
            let at = said["at_s"].as_f64().expect("`at_s`");
            tokio::time::sleep_until(base + Duration::from_secs_f64(at)).await;
            let _ = control.send(parse_said(&said));
        }
        std::future::pending::<()>().await;
    };
    let listener = async move { while notices.recv().await.is_some() {} };
    tokio::select! {
        ended = engine.drive(begun, wires) => ended,
        () = speaker => unreachable!("the speaker never ends"),
        () = async { listener.await; std::future::pending::<()>().await } => unreachable!(),
    }
}

fn parse_said(said: &Value) -> Control {
    let by = said["by"].as_str().unwrap_or("dana").to_owned();
    let text = |key: &str| said[key].as_str().map(str::to_owned);
    match said["do"].as_str().expect("`do`") {
        "cancel" => Control::Cancel { by, via: "signal".to_owned() },
        "abandon" => Control::Abandon { by },
        "confirm" => Control::Confirm {
            step: text("step").expect("`step`"),
            by,
            note: text("note"),
            answers: said["answers"].as_object().cloned().unwrap_or_default(),
        },
        other => Control::Resume {
            action: serde_json::from_value(json!(other)).expect("an action"),
            step: text("step"),
            by,
            comment: None,
        },
    }
}

/// One fact as a line: seconds since the start, type, what matters.
pub fn line(time: Timestamp, event: &Event) -> String {
    let value = serde_json::to_value(event).expect("an event is JSON");
    let mut words = vec![
        format!("{:<8}", time.since(START).as_secs_f64()),
        value["type"].as_str().unwrap_or_default().to_owned(),
    ];
    for key in [
        "step",
        "attempt",
        "action",
        "status",
        "verdict",
        "changed",
        "reason",
        "phase",
        "outcome",
        "by",
        "steps",
        "left_to_undo",
        "was_done",
        "did_not_happen",
        "outputs",
        "measures",
        "message",
    ] {
        match &value[key] {
            Value::Null => {}
            Value::String(text) => words.push(format!("{key}={text}")),
            other => words.push(format!("{key}={other}")),
        }
    }
    if let Some(at) = value["next_attempt_at"].as_str() {
        let at: Timestamp = at.parse().expect("a time");
        words.push(format!("next_attempt_at={}", at.since(START).as_secs_f64()));
    }
    if let Some(message) = value["error"]["message"].as_str() {
        words.push(format!("error={message:?}"));
    }
    if let Some(note) = value["note"].as_str() {
        words.push(format!("note={note:?}"));
    }
    if let Some(result) = value["result"].as_object() {
        let shown: Map<String, Value> = result
            .iter()
            .filter(|(key, _)| *key != "exit_code")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        if !shown.is_empty() {
            words.push(format!("result={}", Value::Object(shown)));
        }
    }
    words.join(" ")
}
