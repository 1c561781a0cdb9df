//! The actions on hosts and endpoints, performed for real: loopback servers, real files, real
//! processes. Nothing leaves this host, and nothing waits longer than tens of milliseconds.

#[path = "actions/endpoints.rs"]
mod endpoints;
#[path = "actions/files.rs"]
mod files;
#[path = "actions/host.rs"]
mod host;
#[path = "actions/services.rs"]
mod services;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runwarden::action::{self, Cancel, Cx, Live};
use runwarden::id::RunId;
use runwarden::outcome::{Outcome, Verdict};
use serde_json::{Value, json};
use tokio::sync::watch;

/// An attempt with five seconds, and the handle that cancels it.
fn attempt() -> (Cx, watch::Sender<Cancel>) {
    let (asks, cancel) = watch::channel(Cancel::No);
    let cx = Cx {
        run: RunId::generate(),
        step: "test".to_owned(),
        attempt: 1,
        deadline: Some(Instant::now() + Duration::from_secs(5)),
        connect_timeout: Duration::from_secs(2),
        cancel,
        scratch: scratch(),
        live: Arc::new(Live::default()),
    };
    (cx, asks)
}

/// One folder for all attempts of this test program: cargo removes it with its target folder.
fn scratch() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("scratch");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Performs `{"action": {…}}` and gives it time.
async fn perform(action: Value) -> Outcome {
    let (cx, _asks) = attempt();
    perform_in(action, &cx).await
}

async fn perform_in(action: Value, cx: &Cx) -> Outcome {
    let shown = action.to_string();
    let action = serde_json::from_value(action).unwrap_or_else(|why| panic!("{shown}: {why}"));
    action::perform(&action, cx).await
}

/// The code of the error, or nothing.
fn code(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |why| why.code.as_str())
}

fn message(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |why| why.message.as_str())
}

fn fields(outcome: &Outcome) -> Value {
    json!(outcome.fields)
}

/// The action carried out and found nothing wrong.
fn assert_ok(outcome: &Outcome) {
    assert_eq!(outcome.rule, Some(Verdict::Ok), "{outcome:?}");
    assert_eq!(outcome.error, None, "{outcome:?}");
}
