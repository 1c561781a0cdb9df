//! One output stream: counted and hashed whole, kept whole up to a bound, head and tail beyond it.
//!
//! Memory stays under [`BLOB_INLINE_BYTES_MAX`] a stream whatever is written; the rest goes into a
//! file of the run's scratch folder. A full disk never stops the process: counting and hashing go
//! on, and what fitted is kept.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::id::Digest;
use crate::limits::{BLOB_INLINE_BYTES_MAX, STORED_OUTPUT_BYTES_MAX, STORED_OUTPUT_END_BYTES};
use crate::outcome::{Captured, Kept};

/// How large an output may grow before it leaves memory, is cut, and how much of each end is kept
/// then. Bytes.
#[derive(Clone, Copy, Debug)]
struct Caps {
    memory: usize,
    whole: u64,
    end: u64,
}

const CAPS: Caps = Caps {
    memory: BLOB_INLINE_BYTES_MAX,
    whole: STORED_OUTPUT_BYTES_MAX,
    end: STORED_OUTPUT_END_BYTES,
};

/// A stream while it is read.
#[derive(Debug)]
pub(super) struct Capture {
    folder: PathBuf,
    caps: Caps,
    bytes: u64,
    hash: Sha256,
    memory: Vec<u8>,
    spill: Option<Spill>,
    /// No file could be made: memory holds the head, and nothing more is kept.
    cannot_spill: bool,
    /// The last line so far, for people watching.
    line: Line,
}

/// What is in a file: all so far, or the head and then a ring that ends with the newest byte.
#[derive(Debug)]
struct Spill {
    path: PathBuf,
    file: File,
    /// Bytes in the file that are in order; with a ring, the head alone.
    length: u64,
    /// Where the next byte goes in the ring, counted from the head's end.
    ring_at: Option<u64>,
    /// The disk was full or broken: nothing is written any more.
    has_failed: bool,
}

impl Capture {
    /// Spills into `folder` if it must.
    pub(super) fn new(folder: &Path) -> Capture {
        Capture::with_caps(folder, CAPS)
    }

    fn with_caps(folder: &Path, caps: Caps) -> Capture {
        Capture {
            folder: folder.to_owned(),
            caps,
            bytes: 0,
            hash: Sha256::new(),
            memory: Vec::new(),
            spill: None,
            cannot_spill: false,
            line: Line::default(),
        }
    }

    /// Takes what was read. Everything that is kept, hashed or shown passes here, so this is where
    /// secrets are to be taken out.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.line.take(bytes);
        if self.cannot_spill {
            return;
        }
        if self.spill.is_none() {
            let room = self.caps.memory - self.memory.len();
            if bytes.len() <= room {
                self.memory.extend_from_slice(bytes);
                return;
            }
            let mut spill = match Spill::create(&self.folder) {
                Ok(spill) => spill,
                Err(_) => {
                    self.cannot_spill = true;
                    self.memory.extend_from_slice(&bytes[..room]);
                    return;
                }
            };
            spill.write(&self.memory, &self.caps);
            if spill.length > 0 {
                self.memory = Vec::new();
            }
            self.spill = Some(spill);
        }
        if let Some(spill) = &mut self.spill {
            spill.write(bytes, &self.caps);
        }
    }

    /// The last line so far, raw.
    pub(super) fn last_line(&self) -> &[u8] {
        self.line.shown()
    }

    /// The end of the stream.
    pub(super) fn finish(self) -> Captured {
        let kept = match self.spill {
            None => Kept::Memory(self.memory),
            Some(spill) if spill.length == 0 => {
                let _ = std::fs::remove_file(&spill.path);
                Kept::Memory(self.memory)
            }
            Some(spill) => spill.finish(&self.caps),
        };
        let kept_bytes = match &kept {
            Kept::Memory(bytes) => bytes.len() as u64,
            Kept::File { bytes, .. } => *bytes,
        };
        Captured {
            bytes: self.bytes,
            sha256: Digest::from_bytes(self.hash.finalize().into()),
            truncated: kept_bytes < self.bytes,
            kept,
        }
    }
}

impl Spill {
    fn create(folder: &Path) -> io::Result<Spill> {
        let path = folder.join(unique_name("output"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Spill { path, file, length: 0, ring_at: None, has_failed: false })
    }

    fn write(&mut self, mut bytes: &[u8], caps: &Caps) {
        if self.has_failed {
            return;
        }
        if self.ring_at.is_none() {
            let room = usize::try_from(caps.whole - self.length).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if self.append(now).is_err() {
                self.has_failed = true;
                return;
            }
            bytes = later;
            if bytes.is_empty() {
                return;
            }
            if self.cut(caps).is_err() {
                self.fall_back_to_head(caps);
                return;
            }
        }
        if self.write_ring(bytes, caps).is_err() {
            self.fall_back_to_head(caps);
        }
    }

    /// Puts `bytes` behind what is there; on an error, what fitted counts.
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write_at(bytes, self.length) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.length += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the whole file a head and a full ring behind it, which holds the last bytes so far.
    fn cut(&mut self, caps: &Caps) -> io::Result<()> {
        let mut tail = vec![0; usize::try_from(caps.end).expect("an end fits into memory")];
        self.file.read_exact_at(&mut tail, self.length - caps.end)?;
        self.file.write_all_at(&tail, caps.end)?;
        self.file.set_len(2 * caps.end)?;
        self.length = caps.end;
        self.ring_at = Some(0);
        Ok(())
    }

    fn write_ring(&mut self, bytes: &[u8], caps: &Caps) -> io::Result<()> {
        let size = usize::try_from(caps.end).expect("an end fits into memory");
        // Of more than a whole ring only the last part will be there in the end.
        let mut bytes = &bytes[bytes.len().saturating_sub(size)..];
        let mut at = self.ring_at.expect("there is a ring");
        while !bytes.is_empty() {
            let room = usize::try_from(caps.end - at).expect("an end fits into memory");
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.file.write_all_at(now, caps.end + at)?;
            at = (at + now.len() as u64) % caps.end;
            bytes = later;
        }
        self.ring_at = Some(at);
        Ok(())
    }

    /// The ring is no longer whole: only the head is sure.
    fn fall_back_to_head(&mut self, caps: &Caps) {
        self.has_failed = true;
        self.ring_at = None;
        self.length = self.length.min(caps.end);
    }

    fn finish(mut self, caps: &Caps) -> Kept {
        let mut tail_at = None;
        if let Some(at) = self.ring_at {
            match self.unroll(at, caps) {
                Ok(()) => {
                    tail_at = Some(caps.end);
                    self.length = 2 * caps.end;
                }
                Err(_) => self.fall_back_to_head(caps),
            }
        }
        // Whatever a failed write left behind what counts.
        let _ = self.file.set_len(self.length);
        Kept::File { path: self.path, bytes: self.length, tail_at }
    }

    /// Turns the ring so that its oldest byte comes first.
    fn unroll(&self, at: u64, caps: &Caps) -> io::Result<()> {
        if at == 0 {
            return Ok(());
        }
        let size = usize::try_from(caps.end).expect("an end fits into memory");
        let mut ring = vec![0; size];
        self.file.read_exact_at(&mut ring, caps.end)?;
        ring.rotate_left(usize::try_from(at).expect("an end fits into memory"));
        self.file.write_all_at(&ring, caps.end)
    }
}

/// A file name that no attempt of this process, and none of an earlier owner, has.
pub(super) fn unique_name(what: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{number}", std::process::id())
}

/// As much of a line as people are shown. Bytes.
const LINE_BYTES_MAX: usize = 400;

/// The last line that is not empty.
#[derive(Debug, Default)]
struct Line {
    current: Vec<u8>,
    /// The line ended: the next byte begins another.
    has_ended: bool,
}

impl Line {
    fn take(&mut self, bytes: &[u8]) {
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let Some(end) = bytes.iter().rposition(|byte| !is_break(byte)) else {
            self.has_ended |= !bytes.is_empty();
            return;
        };
        // Only the end matters, however much was read.
        let window = &bytes[..=end];
        let start = window.iter().rposition(is_break).map(|at| at + 1);
        if start.is_some() || self.has_ended {
            self.current.clear();
        }
        let text = &window[start.unwrap_or(0)..];
        let room = LINE_BYTES_MAX - self.current.len();
        self.current.extend_from_slice(&text[..room.min(text.len())]);
        self.has_ended = end + 1 < bytes.len();
    }

    fn shown(&self) -> &[u8] {
        &self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SMALL: Caps = Caps { memory: 8, whole: 64, end: 10 };

    fn kept_bytes(captured: &Captured) -> Vec<u8> {
        match &captured.kept {
            Kept::Memory(bytes) => bytes.clone(),
            Kept::File { path, bytes, .. } => {
                let content = fs::read(path).expect("the file is there");
                assert_eq!(content.len() as u64, *bytes);
                content
            }
        }
    }

    /// Goal: whatever the length and however it arrives, what is kept is the whole, or exactly its
    /// first and last part, and the hash is the whole's.
    #[test]
    fn every_length_in_every_portion() {
        let folder = tempfile::tempdir().expect("a folder");
        for length in [0, 1, 7, 8, 9, 63, 64, 65, 70, 73, 74, 75, 84, 85, 200, 1_000] {
            let all: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            for portion in [1, 3, 9, 10, 11, 64, 65, 1_000] {
                let mut capture = Capture::with_caps(folder.path(), SMALL);
                all.chunks(portion).for_each(|part| capture.take(part));
                let captured = capture.finish();
                let kept = kept_bytes(&captured);
                let what = format!("{length} by {portion}");
                assert_eq!(captured.bytes, length as u64, "{what}");
                assert_eq!(captured.sha256, Digest::of(&all), "{what}");
                assert_eq!(captured.truncated, length > 64, "{what}");
                if length <= 64 {
                    assert_eq!(kept, all, "{what}");
                } else {
                    assert_eq!(kept, [&all[..10], &all[length - 10..]].concat(), "{what}");
                    assert!(matches!(captured.kept, Kept::File { tail_at: Some(10), .. }));
                }
                assert_eq!(matches!(captured.kept, Kept::Memory(_)), length <= 8, "{what}");
            }
        }
    }

    /// Goal: where nothing can be spilled, the head is kept and everything still counted.
    #[test]
    fn a_folder_that_cannot_be_written() {
        let mut capture = Capture::with_caps(Path::new("/proc/none"), SMALL);
        let all = b"0123456789abcdef";
        all.chunks(5).for_each(|part| capture.take(part));
        let captured = capture.finish();
        assert_eq!(kept_bytes(&captured), b"01234567");
        assert_eq!((captured.bytes, captured.truncated), (16, true));
        assert_eq!(captured.sha256, Digest::of(all));
    }

    /// Goal: a disk that fills up (here: a device that always is) costs the rest, not the count.
    #[test]
    fn a_full_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut capture = Capture::with_caps(folder.path(), SMALL);
        capture.take(b"0123456789");
        let spill = capture.spill.as_mut().expect("it spilled");
        spill.file = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        capture.take(b"abcdefghij");
        capture.take(b"klm");
        let captured = capture.finish();
        assert_eq!((captured.bytes, captured.truncated), (23, true));
        assert_eq!(captured.sha256, Digest::of(b"0123456789abcdefghijklm"));
        assert!(matches!(captured.kept, Kept::File { bytes: 10, tail_at: None, .. }));
    }

    #[test]
    fn the_last_line_is_what_a_person_would_see() {
        let long = "x".repeat(1_000);
        let cases: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["one"], "one"),
            (&["one\n"], "one"),
            (&["one\ntwo"], "two"),
            (&["one\ntw", "o"], "two"),
            (&["one\n", "\n\n"], "one"),
            (&["one\n", "two\n"], "two"),
            (&["one", "\n", "two"], "two"),
            (&["10%\r20%\r"], "20%"),
            (&["a\nb", "\nc\n"], "c"),
            (&[&long, &long], &long[..400]),
        ];
        for (parts, expected) in cases {
            let mut line = Line::default();
            parts.iter().for_each(|part| line.take(part.as_bytes()));
            assert_eq!(String::from_utf8_lossy(line.shown()), *expected, "{parts:?}");
        }
    }
}
