//! What steps wrote, read back from the store.

use std::io::{self, Read, Write as _};

use super::args::RunsOutput;
use super::exit::{Exit, Failure};
use super::report::{Out, unwritten, visible_bytes, visible_bytes_text};
use super::summary::{TAIL_LINES, Tail};
use crate::engine::Loaded;
use crate::run::event::{Event, Output, RunState, StepFinished};
use crate::store::Reader;

/// How much of the end of an output is looked at for its last lines. Bytes.
const TAIL_BYTES: usize = 64 << 10;

/// Ends of attempts of a step, oldest first.
fn ends<'a>(loaded: &'a Loaded, step: &'a str) -> impl Iterator<Item = &'a StepFinished> {
    loaded.facts.iter().filter_map(move |fact| match &fact.event {
        Event::StepFinished(end) if end.step == step => Some(&**end),
        _ => None,
    })
}

/// The last lines that the last attempt of a step wrote: of standard error, else of standard
/// output. `None`: it wrote nothing, or nothing is kept.
#[must_use]
pub(super) fn tail(reader: &Reader, loaded: &Loaded, step: &str) -> Option<Tail> {
    let end = ends(loaded, step).last()?;
    let streams = [("stderr", &end.stderr), ("stdout", &end.stdout)];
    streams.into_iter().find_map(|(stream, output)| {
        let mut from = reader.blob(&output.as_ref()?.blob?).ok()??;
        let (end, before) = end_of(&mut from).ok()?;
        let text = end.trim_ascii_end();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        let lines: Vec<String> = lines[skipped..].iter().map(|line| visible_bytes(line)).collect();
        let is_cut = skipped > 0 || before > 0;
        (!text.is_empty()).then_some(Tail { stream, lines, is_cut })
    })
}

/// Whether nothing of the step is to come.
fn is_over(loaded: &Loaded, step: &str) -> bool {
    let run = &loaded.run;
    let has_ended = |ix| run.state_of(ix).end().is_some();
    run.state() == RunState::Finished || run.graph.find(step).is_some_and(has_ended)
}

/// The last bytes of a stream, and how many come before them.
fn end_of(from: &mut impl Read) -> io::Result<(Vec<u8>, u64)> {
    let mut kept = Vec::new();
    let mut before = 0;
    loop {
        let read = from.by_ref().take(TAIL_BYTES as u64).read_to_end(&mut kept)?;
        if read == 0 {
            return Ok((kept, before));
        }
        let spare = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..spare);
        before += spare as u64;
    }
}

/// `runs output`.
///
/// # Errors
///
/// Exit 2: no such step or attempt, nothing kept. Exit 6: what is kept is not what was signed.
pub(super) fn show(
    reader: &Reader,
    loaded: &Loaded,
    args: &RunsOutput,
    out: Out,
) -> Result<(), Failure> {
    let step = &args.step;
    if loaded.run.graph.find(step).is_none() {
        let mut ids: Vec<&str> =
            loaded.run.graph.nodes.iter().map(|node| node.step.id.as_str()).collect();
        ids.sort_by_key(|id| strsim::damerau_levenshtein(id, step));
        let near = ids.first().filter(|id| strsim::damerau_levenshtein(id, step) <= 3);
        let failure = Failure::request(format!("the run has no step `{step}`"));
        return Err(match near {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("`runwarden runs show {}` lists them", loaded.run.id)),
        });
    }
    let end =
        ends(loaded, step).filter(|end| args.attempt.is_none_or(|at| at == end.attempt)).last();
    let Some(end) = end else {
        let what = match args.attempt {
            Some(attempt) => format!("step `{step}` has no attempt {attempt} that ended"),
            None if is_over(loaded, step) => format!("step `{step}` did not run: it wrote nothing"),
            None => format!("step `{step}` has not ended: its output is recorded when it ends"),
        };
        return Err(Failure::request(what));
    };
    let stream = if args.stderr { &end.stderr } else { &end.stdout };
    // Absent: it wrote nothing.
    let Some(output) = stream else { return Ok(()) };
    let Some(blob) = output.blob else {
        return Err(Failure::request(format!(
            "step `{step}` is sensitive: of its {} bytes only the digest is kept, {}",
            output.bytes, output.sha256
        )));
    };
    let mut from = reader.blob(&blob)?.ok_or_else(|| {
        Failure::new(Exit::Tampered, format!("output `{blob}` is named in the log and not there"))
    })?;
    if output.truncated {
        note_gap(output, out);
    }
    let is_raw = args.raw || !out.stdout_is_terminal;
    let copied = if is_raw { copy_raw(&mut from) } else { copy_visible(&mut from) };
    copied.or_else(|err| match err {
        Copy::Write(err) => unwritten(err),
        Copy::Read(err) => {
            Err(Failure::new(Exit::Store, format!("failed to read the output: {err}")))
        }
    })
}

fn note_gap(output: &Output, out: Out) {
    let missing = output.bytes.saturating_sub(output.kept_bytes);
    let place = output.tail_at.map_or("its end".to_owned(), |at| format!("after byte {at}"));
    out.warn(&format!("{missing} of {} bytes are not kept, missing {place}", output.bytes));
}

/// Which side of a copy failed.
#[derive(Debug)]
enum Copy {
    Read(io::Error),
    Write(io::Error),
}

fn copy_raw(from: &mut impl Read) -> Result<(), Copy> {
    copy(from, |chunk, _| (chunk.to_vec(), chunk.len()))
}

/// In pieces that end between characters, so that one that straddles two reads stays whole.
fn copy_visible(from: &mut impl Read) -> Result<(), Copy> {
    copy(from, |chunk, is_last| {
        let end = if is_last { chunk.len() } else { chunk.len() - unfinished(chunk) };
        (visible_bytes_text(&chunk[..end]).into_bytes(), end)
    })
}

/// Bytes at the end that begin a character and do not end it.
fn unfinished(bytes: &[u8]) -> usize {
    let Some(last) = bytes.utf8_chunks().last() else { return 0 };
    match std::str::from_utf8(last.invalid()) {
        Err(err) if err.error_len().is_none() => last.invalid().len(),
        _ => 0,
    }
}

/// `show` says what to write for a piece, and how much of it that was.
fn copy(
    from: &mut impl Read,
    mut show: impl FnMut(&[u8], bool) -> (Vec<u8>, usize),
) -> Result<(), Copy> {
    let mut stdout = io::stdout().lock();
    let mut held = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(Copy::Read(err)),
        };
        held.extend_from_slice(&buffer[..read]);
        let (shown, taken) = show(&held, read == 0);
        stdout.write_all(&shown).map_err(Copy::Write)?;
        held.drain(..taken);
        if read == 0 {
            return stdout.flush().map_err(Copy::Write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: of a long output the end is found, whatever the size of the reads.
    #[test]
    fn the_end_of_a_long_output() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let (end, before) = end_of(&mut bytes.as_slice()).unwrap();
        assert_eq!(end, bytes[bytes.len() - TAIL_BYTES..]);
        assert_eq!(before, (bytes.len() - TAIL_BYTES) as u64);
        assert_eq!(end_of(&mut &b"short"[..]).unwrap(), (b"short".to_vec(), 0));
    }

    /// Goal: a character that two reads share is not taken for broken bytes.
    #[test]
    fn characters_are_not_cut() {
        assert_eq!(unfinished("漢".as_bytes()), 0);
        assert_eq!(unfinished(&"a漢".as_bytes()[..3]), 2);
        assert_eq!(unfinished(b"\xffa\xe6"), 1);
        assert_eq!(unfinished(b"\xff"), 0);
        assert_eq!(unfinished(b""), 0);
    }
}
