//! `runs`: look at runs, and decide about those that wait.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::{Decision, Global, OneRun, Resume, Runs, RunsList};
use super::drive::{Motor, exit_of, exit_of_cancel};
use super::exit::{Exit, Failure};
use super::progress::{Progress, REDRAW};
use super::report::{Out, count, cut, table, visible};
use super::run::{Wishes, tell_end, titles, to_end};
use super::{history, output, state, summary, words};
use crate::engine::{EngineError, load};
use crate::limits::FOREIGN_POLL;
use crate::run::event::{ResumeAction, RunState};
use crate::runbook::model::Kind;
use crate::store::{Reader, RunFilter, RunRow};
use crate::time::{Clock as _, SystemClock, Timestamp};
use crate::unit::{parse_duration, show_duration};

/// Columns of a runbook's name in the list.
const NAME_WIDTH: usize = 40;

/// `runs …`.
///
/// # Errors
///
/// Whatever kept the command from doing what was asked.
pub(super) fn runs(command: &Runs, global: &Global, out: Out) -> Result<Exit, Failure> {
    match command {
        Runs::List(args) => list(args, global, out),
        Runs::Show(args) => {
            let reader = history::need(global)?;
            history::print_whole(&reader, history::find(&reader, &args.id)?, out)?;
            Ok(Exit::Ok)
        }
        Runs::Watch(args) => watch(args, global, out),
        Runs::Output(args) => {
            let reader = history::need(global)?;
            let loaded = load(&reader, history::find(&reader, &args.id)?)?;
            output::show(&reader, &loaded, args, out)?;
            Ok(Exit::Ok)
        }
        Runs::Cancel(args) => cancel(args, global, out),
        Runs::Resume(args) => resume(args, global, out),
    }
}

fn list(args: &RunsList, global: &Global, out: Out) -> Result<Exit, Failure> {
    let filter = filter(args, SystemClock.now())?;
    let wanted = args.state_is.as_deref().map(parse_name::<RunState>).transpose()?;
    let mut rows = Vec::new();
    if let Some(reader) = history::open(global)? {
        let found = reader.runs(&filter)?;
        if found.unreadable > 0 {
            out.warn(&format!(
                "{} cannot be read; `runwarden audit verify` says more",
                count(usize::try_from(found.unreadable).unwrap_or(usize::MAX), "run")
            ));
        }
        rows = found.rows;
    }
    // The state is judged here, since the store does not know who is alive.
    rows.retain(|row| wanted.is_none_or(|wanted| history::told_state(row) == wanted));
    if rows.len() > args.limit {
        rows.truncate(args.limit);
        out.say(&format!("the newest {}; --limit N shows more", args.limit));
    }
    if out.is_json() {
        out.json(&rows.iter().map(row_json).collect())?;
    } else if rows.is_empty() {
        out.say("no runs");
    } else {
        let heading = ["RUN", "ASKED FOR", "RUNBOOK", "STATE", "TOOK", "REQUESTER", "TICKET"]
            .map(str::to_owned);
        let mut cells = vec![heading.to_vec()];
        cells.extend(rows.iter().map(row_cells));
        out.result(&table(&cells))?;
    }
    Ok(Exit::Ok)
}

fn filter(args: &RunsList, now: Timestamp) -> Result<RunFilter, Failure> {
    let at = |text: &Option<String>| text.as_deref().map(|text| instant(text, now)).transpose();
    Ok(RunFilter {
        runbook: args.runbook.clone(),
        kind: args.kind.as_deref().map(parse_name::<Kind>).transpose()?,
        outcomes: args.outcome.as_deref().map(parse_name).transpose()?.into_iter().collect(),
        ticket: args.ticket.clone(),
        since: at(&args.since)?,
        until: at(&args.until)?,
        target: args.target.clone(),
        // One more, to know whether there are more.
        limit: match args.state_is {
            Some(_) => None,
            None => Some(u32::try_from(args.limit).unwrap_or(u32::MAX).saturating_add(1)),
        },
        ..RunFilter::default()
    })
}

/// A name of the language; clap has let only those pass.
fn parse_name<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, Failure> {
    serde_json::from_value(json!(name))
        .map_err(|_| Failure::request(format!("`{name}` is none of the names")))
}

/// `30d` ago, a day, or an instant.
fn instant(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    if let Ok(at) = format!("{text}T00:00:00Z").parse() {
        return Ok(at);
    }
    let span = parse_duration(text).map_err(|_| {
        Failure::request(format!(
            "`{text}` is no time: write `30d`, `2026-01-02` or `2026-01-02T03:04:05Z`"
        ))
    })?;
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_millis(now.as_millis().saturating_sub(millis)))
}

fn row_cells(row: &RunRow) -> Vec<String> {
    let standing = row.outcome.map_or_else(|| words::name(history::told_state(row)), words::name);
    let word = words::of_run(&standing);
    let mut state = format!("{} {}", word.sign, word.word);
    if history::is_orphan(row) {
        state.push_str(", its process died");
    }
    let took = match (row.started_at, row.finished_at) {
        (Some(from), Some(to)) => show_duration(to.since(from)),
        _ => String::new(),
    };
    vec![
        row.id.to_string(),
        summary::moment(&row.created_at.to_string()),
        cut(&format!("{} {}", visible(&row.runbook), visible(&row.version)), NAME_WIDTH),
        state,
        took,
        visible(&row.requester),
        row.ticket.as_deref().map_or(String::new(), visible),
    ]
}

fn row_json(row: &RunRow) -> Value {
    let took = match (row.started_at, row.finished_at) {
        (Some(from), Some(to)) => Some(to.since(from).as_secs_f64()),
        _ => None,
    };
    json!({
        "id": row.id,
        "runbook": {
            "name": row.runbook, "version": row.version, "digest": row.digest,
            "kind": row.kind, "title": row.title,
        },
        "state": history::told_state(row),
        "outcome": row.outcome,
        "verdict": row.verdict,
        "requester": { "principal": row.requester, "method": row.requester_method },
        "trigger": { "kind": row.trigger },
        "reason": row.reason,
        "ticket": row.ticket,
        "plan_digest": row.plan_digest,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "duration_seconds": took,
        "targets": row.targets,
        "owner": {
            "pid": row.owner.pid, "host": row.owner.host,
            "is_alive": crate::engine::owner::is_alive(&row.owner),
        },
    })
}

fn watch(args: &OneRun, global: &Global, out: Out) -> Result<Exit, Failure> {
    let reader = history::need(global)?;
    let id = history::find(&reader, &args.id)?;
    let run = load(&reader, id)?.run;
    let mut progress = Progress::new(out, titles(&run.graph.runbook), false);
    let (mut seen, mut version) = (None, None);
    let mut looked = SystemClock.now();
    loop {
        let now = SystemClock.now();
        // Without news, whether the owner still lives is looked at from time to time.
        let found = Some(reader.data_version()?);
        if found != version || now.since(looked) >= Duration::from_secs(1) {
            (version, looked) = (found, now);
            // The row first: entries that come between the two are seen in any case.
            let row = history::row(&reader, id)?;
            seen = tell_news(&reader, &row, seen, &mut progress)?;
            if !history::is_driven(&row) {
                progress.clear();
                return end_of_watch(&reader, &row, out);
            }
        }
        progress.tick();
        std::thread::sleep(FOREIGN_POLL.min(REDRAW));
    }
}

fn tell_news(
    reader: &Reader,
    row: &RunRow,
    mut seen: Option<u64>,
    progress: &mut Progress,
) -> Result<Option<u64>, Failure> {
    for entry in reader.entries_of(row.id, seen)? {
        seen = Some(entry.seq);
        // What a newer version wrote, and what verification is for, is not told.
        let (Ok(event), Ok(parsed)) = (entry.event(), entry.parse()) else { continue };
        progress.fact(&event, SystemClock.now().since(parsed.time));
    }
    Ok(seen)
}

fn end_of_watch(reader: &Reader, row: &RunRow, out: Out) -> Result<Exit, Failure> {
    if history::is_orphan(row) {
        out.warn("its process died while it was under way");
    }
    history::print_brief(reader, row.id, out)?;
    Ok(row.outcome.map_or(Exit::Waiting, |outcome| Exit::of_outcome(outcome, false)))
}

fn cancel(args: &Decision, global: &Global, out: Out) -> Result<Exit, Failure> {
    let id = history::find(&history::need(global)?, &args.id)?;
    let mut motor = Motor::open(&state::folder(global)?, out)?;
    let (by, comment) = (state::principal(), args.comment.clone());
    let asked = motor.begin(async |engine| engine.cancel(id, by, comment).await);
    let Some(begun) = asked? else {
        out.say(&format!("asked run {id} to end in order; runwarden runs watch {id}"));
        return Ok(Exit::Ok);
    };
    let wishes = Wishes { waits: true, can_ask: out.can_ask, is_nagios: false };
    let (ended, _) = to_end(&mut motor, begun, &wishes, out)?;
    tell_end(&ended, id, out);
    Ok(exit_of_cancel(&ended))
}

fn resume(args: &Resume, global: &Global, out: Out) -> Result<Exit, Failure> {
    let Some((run, action, step)) = args.asked() else {
        return Err(Failure::request("no run was named")
            .hint("name it first: runwarden runs resume RUN --retry"));
    };
    let id = history::find(&history::need(global)?, run)?;
    let step = step.map(str::to_owned);
    let mut motor = Motor::open(&state::folder(global)?, out)?;
    let (by, comment) = (state::principal(), args.comment.clone());
    let resumed = motor.begin(async |engine| engine.resume(id, action, step, by, comment).await);
    let begun = resumed.map_err(|err| {
        let needs_decision = matches!(err, EngineError::Rejected { .. });
        let failure = Failure::from(err);
        match needs_decision && action == ResumeAction::Continue {
            true => failure.hint("decide about the step that is held: --retry, --skip or --stop"),
            false => failure,
        }
    })?;
    let wishes = Wishes { waits: !args.no_wait, can_ask: out.can_ask, is_nagios: false };
    let (ended, _) = to_end(&mut motor, begun, &wishes, out)?;
    tell_end(&ended, id, out);
    Ok(exit_of(&ended, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a time is read as it is meant, or refused with what can be written.
    #[test]
    fn times_are_read() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, want) in [
            ("30d", "2026-01-01T12:00:00.000Z"),
            ("90m", "2026-01-31T10:30:00.000Z"),
            ("2026-01-02", "2026-01-02T00:00:00.000Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
            ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05.000Z"),
        ] {
            assert_eq!(instant(text, now).unwrap().to_string(), want, "{text}");
        }
        for text in ["", "30", "yesterday", "2026-13-01", "-5d"] {
            assert_eq!(instant(text, now).unwrap_err().exit, Exit::Request, "{text}");
        }
    }
}
