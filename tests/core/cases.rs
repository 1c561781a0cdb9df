//! Each folder under `tests/cases/run` is one named case: a runbook, what its actions come back
//! with, what people say, and the facts that follow. `UPDATE=1` rewrites `events`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::world::{Deaths, Life, World, line};

#[test]
fn every_case_makes_its_facts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/run");
    let mut folders: Vec<_> =
        fs::read_dir(&root).expect("cases").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "cases are missing: {}", folders.len());
    let wrong: Vec<String> = folders.iter().filter_map(|folder| case(folder).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn case(folder: &Path) -> Result<(), String> {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(folder.join("case.json")).map_err(|e| format!("{name}: {e}"))?;
    let case: Value = serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"))?;
    assert!(case["why"].is_string(), "{name}: say why the case is there");
    let world = World::new(&case["results"]);
    let deaths = Arc::new(Deaths::default());
    let life = world.live(&folder.join("runbook.yaml"), &case["inputs"], &case["say"], &deaths);
    let Life::Ended(id, ended) = life else { return Err(format!("{name}: it died")) };
    let mut got: String =
        world.facts(id).iter().map(|fact| format!("{}\n", line(fact.time, &fact.event))).collect();
    every_end_has_its_start(&name, &got);
    got.push_str(&format!("ended {ended:?}\n"));
    for (step, what) in world.script.effects.lock().unwrap().iter() {
        got.push_str(&format!("effect {step}: {}\n", what.escape_debug()));
    }
    let expected = folder.join("events");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&expected, &got).expect("events are written");
    }
    let want = fs::read_to_string(&expected).unwrap_or_default();
    if got == want {
        return Ok(());
    }
    Err(format!("--- {name}: expected\n{want}--- {name}: got\n{got}"))
}

/// Goal: no run writes what an auditor's verifier must take for a forged log: an attempt that ends
/// has begun, and ends once.
fn every_end_has_its_start(name: &str, facts: &str) {
    let mut open = Vec::new();
    for words in facts.lines().map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>()) {
        match words[..] {
            ["step.started", step, attempt, ..] => open.push((step, attempt)),
            ["step.finished", step, attempt, ..] => {
                let at = open.iter().position(|begun| *begun == (step, attempt));
                assert!(at.is_some(), "{name}: {step} {attempt} ends without a start\n{facts}");
                open.remove(at.unwrap_or_default());
            }
            _ => {}
        }
    }
}
