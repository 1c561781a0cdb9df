//! Goal: state is the fold of the log and nothing else; no log, however odd, breaks the fold.
//! Method: random inputs drive a run; its events, folded anew, give the same state. Then events are
//! left out, doubled and shuffled: the fold takes them all.

use proptest::prelude::*;
use proptest::sample::Index;
use runwarden::id::{Digest, Epoch, Owner};
use runwarden::outcome::End;
use runwarden::run::event::ResumeAction;
use runwarden::run::{Input, Run};
use runwarden::time::Timestamp;
use std::time::Duration;

use crate::table::{begin, ended, run_of};
use crate::world::START;

const RUNBOOK: &str = include_str!("../cases/death/runbook.yaml");

#[derive(Clone, Debug)]
enum Said {
    /// An attempt under way ends so.
    End(Index, End, i64),
    Cancel,
    Abandon,
    Pass(u64),
    Resume(ResumeAction),
    TakeOver(bool),
}

fn said() -> impl Strategy<Value = Said> {
    let end = prop_oneof![
        6 => Just(End::Completed),
        1 => Just(End::TimedOut),
        1 => Just(End::Interrupted),
        1 => Just(End::NotStarted),
        1 => Just(End::Unreachable),
    ];
    prop_oneof![
        12 => (any::<Index>(), end, prop_oneof![4 => Just(0_i64), 1 => Just(1), 1 => Just(7)])
            .prop_map(|(which, end, exit)| Said::End(which, end, exit)),
        1 => Just(Said::Cancel),
        1 => Just(Said::Abandon),
        3 => (0_u64..90).prop_map(Said::Pass),
        1 => Just(Said::Resume(ResumeAction::Retry)),
        1 => Just(Said::Resume(ResumeAction::Skip)),
        1 => Just(Said::Resume(ResumeAction::Stop)),
        1 => Just(Said::Resume(ResumeAction::Continue)),
        1 => any::<bool>().prop_map(Said::TakeOver),
    ]
}

fn input(run: &Run, said: &Said) -> Option<Input> {
    Some(match said {
        Said::End(which, end, exit) => {
            let under_way = run.under_way();
            if under_way.is_empty() {
                return None;
            }
            let (node, attempt) = *which.get(&under_way);
            ended(run, &run.graph.step(node).id, attempt, *end, *exit)
        }
        Said::Cancel => {
            Input::Cancel { by: "dana".to_owned(), via: "cli".to_owned(), comment: None }
        }
        Said::Abandon => Input::Abandon { by: "dana".to_owned() },
        Said::Pass(_) => Input::Tick,
        Said::Resume(action) => {
            Input::Resume { action: *action, step: None, by: "dana".to_owned(), comment: None }
        }
        Said::TakeOver(holds) => Input::TakeOver {
            epoch: Epoch(run.epoch.0 + 1),
            owner: Owner { pid: 2, start: 2, boot: "b".to_owned(), host: "h".to_owned() },
            ended: Vec::new(),
            holds: *holds,
        },
    })
}

/// What two folds of one log must agree on.
fn picture(run: &Run) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        run.phase, run.stopping, run.steps, run.to_undo, run.waited, run.finished
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_the_fold_of_the_log(
        script in prop::collection::vec(said(), 1..60),
        spoilt in prop::collection::vec((any::<Index>(), any::<Index>()), 0..12),
    ) {
        let mut live = run_of(RUNBOOK);
        let mut now = START;
        let mut log: Vec<(Timestamp, runwarden::run::event::Event)> = Vec::new();
        let mut blobs: Vec<(Digest, Vec<u8>)> = Vec::new();
        let mut inputs = vec![begin()];
        for said in &script {
            if let Said::Pass(seconds) = said {
                now = now.after(Duration::from_secs(*seconds));
            }
            inputs.extend(input(&live, said));
            for input in inputs.drain(..) {
                now = now.after(Duration::from_millis(3));
                let before = picture(&live);
                match live.advance(input, now) {
                    Ok(advance) => {
                        log.extend(advance.events.into_iter().map(|event| (now, event)));
                        blobs.extend(advance.blobs);
                    }
                    Err(_) => prop_assert_eq!(before, picture(&live), "a refusal changed the run"),
                }
            }
        }
        let find = |digest: &Digest| {
            blobs.iter().find(|(known, _)| known == digest).map(|(_, bytes)| bytes.clone())
        };
        let mut again = run_of(RUNBOOK);
        for (at, event) in &log {
            let text = serde_json::to_string(event).expect("an event is JSON");
            let event = serde_json::from_str(&text).expect("an event reads back");
            again.apply(&event, *at, &find);
        }
        prop_assert_eq!(picture(&live), picture(&again));
        // A finished run stays finished, and has nothing under way.
        if live.finished.is_some() {
            prop_assert!(live.under_way().is_empty());
            prop_assert!(live.advance(Input::Tick, now).is_err());
        }
        let mut odd = log;
        for (from, to) in spoilt {
            if odd.is_empty() { break; }
            let (from, to) = (from.index(odd.len()), to.index(odd.len()));
            match from % 3 {
                0 => { odd.remove(from); }
                1 => { let copy = odd[from].clone(); odd.insert(to, copy); }
                _ => odd.swap(from, to),
            }
        }
        let mut broken = run_of(RUNBOOK);
        for (at, event) in &odd {
            broken.apply(event, *at, &find);
        }
        let _ = broken.state();
    }
}
