//! `audit`: the signed log, read and verified. Reads only, never repairs.

use std::io::{self, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::args::{Audit, Global, Level, Log, Verify};
use super::exit::{Exit, Failure, chain};
use super::report::{Out, escape_json, inline, json_text, table, unwritten, visible};
use super::{history, state};
use crate::audit::key::Vkey;
use crate::audit::note::{NOTE_BYTES_MAX, Note};
use crate::audit::tree::leaf_hash;
use crate::audit::verify::{self, Held, Report, Trust};
use crate::audit::{checkpoint, tiles};
use crate::id::{Digest, hex};
use crate::store::{Reader, StoreError, VerifyError};

/// `audit …`.
///
/// # Errors
///
/// Exit 2: there is no log. Exit 6: it is not what was signed.
pub(super) fn audit(command: &Audit, global: &Global, out: Out) -> Result<Exit, Failure> {
    match command {
        Audit::Verify(args) => verify(args, global, out),
        Audit::Log(args) => log(args, &history::need(global)?, out),
        Audit::Show { seq } => show(*seq, &history::need(global)?, out),
        Audit::Checkpoint => {
            let head = history::need(global)?.head()?;
            let head = head.ok_or_else(|| Failure::request("the log is empty"))?;
            if out.is_json() {
                let root = STANDARD.encode(head.root);
                out.json(&json!({ "size": head.size, "root": root, "note": head.note }))?;
            } else {
                out.result(&head.note)?;
            }
            Ok(Exit::Ok)
        }
        Audit::Keys => keys(&history::need(global)?, out),
    }
}

fn keys(reader: &Reader, out: Out) -> Result<Exit, Failure> {
    let keys = reader.keys()?;
    let fingerprint = |key: &Vkey| Digest::of(key.as_bytes()).to_string();
    if out.is_json() {
        let keys = keys.iter().map(|key| {
            json!({
                "vkey": key.to_string(),
                "name": key.name(),
                "key_id": hex(&key.key_id()),
                "fingerprint": fingerprint(key),
            })
        });
        out.json(&keys.collect())?;
        return Ok(Exit::Ok);
    }
    let mut shown = String::new();
    for key in &keys {
        shown.push_str(&format!("{key}\n"));
        if out.is_verbose {
            shown.push_str(&format!("  fingerprint {}\n", fingerprint(key)));
        }
    }
    out.result(&shown)?;
    Ok(Exit::Ok)
}

fn show(seq: u64, reader: &Reader, out: Out) -> Result<Exit, Failure> {
    let entry = reader.entry(seq)?.ok_or_else(|| {
        let size = reader.head().ok().flatten().map_or(0, |head| head.size);
        Failure::request(format!("the log has no entry {seq}: it has {size}, counted from 0"))
    })?;
    let text = String::from_utf8_lossy(&entry.bytes);
    // Bytes that are no JSON are a finding of `verify`; here they are shown as they are.
    let shown = match serde_json::from_str::<Value>(&text) {
        Ok(value) => json_text(&value),
        Err(_) => format!("{}\n", visible(&text)),
    };
    out.result(&shown)?;
    if !out.is_json() {
        out.say(&format!("leaf hash {}", hex(&leaf_hash(&entry.bytes))));
    }
    Ok(Exit::Ok)
}

fn log(args: &Log, reader: &Reader, out: Out) -> Result<Exit, Failure> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let mut print = Printer { is_first: true, is_raw: args.raw, is_json: out.is_json() };
    let mut written = print.begin(&mut stdout);
    if let Some(run) = &args.run {
        for entry in reader.entries_of(history::find(reader, run)?, args.from.checked_sub(1))? {
            if written.is_ok() {
                written = print.entry(&mut stdout, &entry.bytes);
            }
        }
    } else {
        reader.entries(args.from, |_, bytes| {
            if written.is_ok() {
                written = print.entry(&mut stdout, bytes);
            }
            written.is_ok()
        })?;
    }
    written
        .and_then(|()| print.end(&mut stdout))
        .and_then(|()| stdout.flush())
        .or_else(unwritten)?;
    Ok(Exit::Ok)
}

/// Writes entries one after the other, so that the length of the log costs no memory.
struct Printer {
    is_first: bool,
    is_raw: bool,
    is_json: bool,
}

impl Printer {
    fn begin(&self, to: &mut impl io::Write) -> io::Result<()> {
        if self.is_json && !self.is_raw { to.write_all(b"[") } else { Ok(()) }
    }

    fn entry(&mut self, to: &mut impl io::Write, bytes: &[u8]) -> io::Result<()> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        if self.is_raw {
            to.write_all(bytes)?;
            return to.write_all(b"\n");
        }
        let text = String::from_utf8_lossy(bytes);
        if self.is_json {
            let before = if is_first { "\n" } else { ",\n" };
            return write!(to, "{before}{}", escape_json(&text));
        }
        let line = match serde_json::from_str::<Value>(&text) {
            Ok(entry) => entry_line(&entry),
            Err(_) => visible(&text),
        };
        writeln!(to, "{line}")
    }

    fn end(&self, to: &mut impl io::Write) -> io::Result<()> {
        match (self.is_json && !self.is_raw, self.is_first) {
            (false, _) => Ok(()),
            (true, true) => to.write_all(b"]\n"),
            (true, false) => to.write_all(b"\n]\n"),
        }
    }
}

/// Number, time, type, run, and what is small of the rest.
fn entry_line(entry: &Value) -> String {
    let get = |key: &str| entry.get(key).map(inline).unwrap_or_default();
    let mut line = format!("{:>6}  {}  {:<18}", get("seq"), get("time"), get("type"));
    let run = get("run");
    if !run.is_empty() {
        line.push_str(&format!("  {run}"));
    }
    for (key, value) in entry.as_object().into_iter().flatten() {
        let is_said = matches!(key.as_str(), "v" | "seq" | "prev" | "time" | "type" | "run");
        if !is_said && !value.is_object() && !value.is_array() {
            line.push_str(&format!("  {}={}", visible(key), inline(value)));
        }
    }
    line
}

fn verify(args: &Verify, global: &Global, out: Out) -> Result<Exit, Failure> {
    let trust = trust(args)?;
    let folder = match &args.path {
        Some(path) => path.clone(),
        None => state::folder(global)?,
    };
    let verified = match folder.join("checkpoint").is_file() && folder.join("tile").is_dir() {
        true => verify_tiles(&folder, trust),
        false => Reader::open(&folder).map_err(VerifyError::from).and_then(|log| log.verify(trust)),
    };
    let report = match verified {
        Ok(report) => report,
        Err(VerifyError::Tampered(failure)) => return tampered(&failure, &folder, out),
        Err(VerifyError::Unreadable(StoreError::Missing(_))) => {
            return Err(Failure::request(format!("there is no log in `{}`", folder.display()))
                .hint("name a state folder, or a folder in the tlog-tiles layout"));
        }
        Err(err) => return Err(Failure::request(format!("failed to {}", chain(&err)))),
    };
    let reached = level(report.level);
    print_report(&report, out)?;
    match args.require {
        Some(required) if reached < required => {
            let failure = Failure::request(format!(
                "the log is what was signed, as far as {reached:?} can say; {required:?} was \
                 required"
            ));
            Err(failure.hint(match required {
                Level::L1 => "give the log's public key, as you got it by another way: --key VKEY",
                Level::L2 => "give a head that was kept elsewhere: --since CHECKPOINT",
                _ => "this log has no witnesses and no keys of epochs",
            }))
        }
        _ => Ok(Exit::Ok),
    }
}

fn trust(args: &Verify) -> Result<Trust, Failure> {
    let mut wrong = Vec::new();
    let mut trust = Trust::default();
    for text in &args.key {
        match text.parse() {
            Ok(key) => trust.keys.push(key),
            Err(err) => wrong.push(format!("`{}`: failed to {err}", visible(text))),
        }
    }
    for path in &args.since {
        match read_note(path) {
            Ok(note) => trust.held.push(Held::Note(note)),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(trust) } else { Err(Failure::request(wrong.join("\n"))) }
}

/// A checkpoint that was kept. One that is none is a wrong request, not a bad log.
fn read_note(path: &Path) -> Result<String, String> {
    let bytes = super::source::read(path)
        .map_err(|err| format!("failed to read `{}`: {err}", path.display()))?;
    let bad = |why: &dyn std::fmt::Display| format!("`{}`: failed to {why}", path.display());
    if bytes.len() > NOTE_BYTES_MAX {
        return Err(bad(&"read a signed note: it is too long"));
    }
    let note = Note::parse(&bytes).map_err(|err| bad(&err))?;
    checkpoint::Checkpoint::parse(note.text()).map_err(|err| bad(&err))?;
    String::from_utf8(bytes).map_err(|err| bad(&err))
}

fn level(level: verify::Level) -> Level {
    match level {
        verify::Level::L0 => Level::L0,
        verify::Level::L1 => Level::L1,
        verify::Level::L2 => Level::L2,
        verify::Level::L3 => Level::L3,
        verify::Level::L4 => Level::L4,
    }
}

fn tampered(failure: &verify::Failure, folder: &Path, out: Out) -> Result<Exit, Failure> {
    if out.is_json() {
        out.json(&json!({
            "verified": false,
            "code": failure.code.as_str(),
            "seq": failure.seq,
            "message": failure.message,
        }))?;
    } else {
        let line = format!("the log does not verify: {failure}");
        out.result(&format!("{}\n", out.stdout.red(&visible(&line))))?;
        out.say(&format!("keep {} as it is: it is evidence", folder.display()));
    }
    Ok(Exit::Tampered)
}

fn print_report(report: &Report, out: Out) -> Result<(), Failure> {
    let root = STANDARD.encode(report.root);
    let keys: Vec<String> = report.keys.iter().map(|epoch| epoch.vkey.to_string()).collect();
    if out.is_json() {
        return out.json(&json!({
            "verified": true,
            "level": report.level.to_string(),
            "origin": report.origin,
            "size": report.size,
            "root": root,
            "keys": keys,
            "runs_finished": report.runs_finished,
            "open_attempts": report.open_attempts,
        }));
    }
    if out.is_quiet {
        return Ok(());
    }
    let meaning = match level(report.level) {
        Level::L0 => "the files agree with each other; --key says that they are the ones signed",
        Level::L1 => "signed by the given key",
        Level::L2 => "contains the given head",
        Level::L3 => "signed by witnesses",
        Level::L4 => "signed by keys of epochs",
    };
    let mut rows = vec![
        vec!["trust".to_owned(), format!("{}: {meaning}", report.level)],
        vec!["origin".to_owned(), visible(&report.origin)],
        vec!["size".to_owned(), format!("{} entries", report.size)],
        vec!["root".to_owned(), root],
    ];
    rows.extend(keys.into_iter().map(|key| vec!["key".to_owned(), visible(&key)]));
    rows.push(vec!["runs".to_owned(), format!("{} finished", report.runs_finished)]);
    if report.open_attempts > 0 {
        let what = format!("{} under way, or left by a process that died", report.open_attempts);
        rows.push(vec!["attempts".to_owned(), what]);
    }
    out.result(&format!("{}\n{}", out.stdout.green("the log verifies"), table(&rows)))
}

/// Verifies a folder in the tlog-tiles layout: its entry bundles against its checkpoint.
fn verify_tiles(folder: &Path, trust: Trust) -> Result<Report, VerifyError> {
    let unreadable = |err: io::Error| {
        let doing = format!("read the published log in `{}`", folder.display());
        VerifyError::Unreadable(StoreError::Io { doing, source: std::sync::Arc::new(err) })
    };
    let bad = |code, seq, what: String| {
        VerifyError::Tampered(verify::Failure { code, seq: Some(seq), message: what })
    };
    let note = std::fs::read(folder.join("checkpoint")).map_err(unreadable)?;
    let mut verifier = verify::Verifier::new(trust, [note.as_slice()])?;
    let size = Note::parse(&note)
        .ok()
        .and_then(|note| checkpoint::Checkpoint::parse(note.text()).ok())
        .map_or(0, |checkpoint| checkpoint.size);
    let mut seq = 0;
    while seq < size {
        let width = (size - seq).min(tiles::TILE_WIDTH);
        let path = tiles::entries_path(seq / tiles::TILE_WIDTH, width);
        let bundle = match std::fs::read(folder.join(&path)) {
            Ok(bundle) => bundle,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Err(bad(verify::Code::Trunc, seq, format!("`{path}` is missing")));
            }
            Err(err) => return Err(unreadable(err)),
        };
        let entries = tiles::entries(&bundle, width)
            .map_err(|err| bad(verify::Code::Format, seq, format!("`{path}`: {err}")))?;
        for bytes in entries {
            verifier.entry(seq, bytes, None)?;
            seq += 1;
        }
    }
    Ok(verifier.finish()?)
}
