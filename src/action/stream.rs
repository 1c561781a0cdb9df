//! The three pipes of a process: read and written as it goes, never keeping it waiting for us.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::pipe::PipeFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::limits::LAST_LINE_PAUSE;
use crate::outcome::Captured;

use super::capture::Capture;
use super::{Live, spawn};

/// What one read takes at most. Bytes: the size of a pipe that nobody changed.
const READ_BYTES: usize = 64 << 10;
/// Reads of one turn, so that a flood on one stream starves nothing else.
const READS_A_TURN: usize = 16;
/// A process that fills its pipe gets one of this size: fewer changes between it and us. Bytes.
const WIDE_PIPE_BYTES: usize = 1 << 20;

/// Our ends of a process's three pipes.
#[derive(Debug)]
pub(super) struct Pipes<'a> {
    stdin: Feed<'a>,
    stdout: Stream,
    stderr: Stream,
    /// Empty between two reads.
    buffer: Vec<u8>,
    shown: Shown,
}

/// The ends for the process, closed here once it has them.
#[derive(Debug)]
pub(super) struct TheirEnds {
    /// Absent: there is nothing to read.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Which last line people see, and since when.
#[derive(Debug, Default)]
struct Shown {
    at: Option<Instant>,
    is_stale: bool,
    is_stderr: bool,
}

impl<'a> Pipes<'a> {
    /// Makes them; `stdin` is what the process may read.
    pub(super) fn open(stdin: &'a str, scratch: &Path) -> io::Result<(Pipes<'a>, TheirEnds)> {
        let (stdout, stdout_theirs) = Stream::open(scratch)?;
        let (stderr, stderr_theirs) = Stream::open(scratch)?;
        let (stdin, stdin_theirs) = match stdin {
            "" => (Feed { pipe: None, rest: &[] }, None),
            text => Feed::open(text).map(|(ours, theirs)| (ours, Some(theirs)))?,
        };
        let theirs =
            TheirEnds { stdin: stdin_theirs, stdout: stdout_theirs, stderr: stderr_theirs };
        Ok((Pipes { stdin, stdout, stderr, buffer: Vec::new(), shown: Shown::default() }, theirs))
    }

    /// Waits until one of them can be read or written; for ever once all are closed.
    pub(super) async fn ready(&self) {
        tokio::select! {
            () = self.stdout.ready() => {}
            () = self.stderr.ready() => {}
            () = self.stdin.ready() => {}
        }
    }

    /// Reads and writes what can be, up to a turn's worth, and lets people see the last line.
    pub(super) fn pump(&mut self, live: &Live) {
        self.stdin.pump();
        for (stream, is_stderr) in [(&mut self.stdout, false), (&mut self.stderr, true)] {
            if stream.pump(&mut self.buffer) {
                self.shown.is_stale = true;
                self.shown.is_stderr = is_stderr;
            }
        }
        if self.shown.at.is_none_or(|at| at.elapsed() >= LAST_LINE_PAUSE) {
            self.show(live);
        }
    }

    /// Lets people see the last line if it is another one by now.
    pub(super) fn show(&mut self, live: &Live) {
        if !std::mem::take(&mut self.shown.is_stale) {
            return;
        }
        self.shown.at = Some(Instant::now());
        let stream = if self.shown.is_stderr { &self.stderr } else { &self.stdout };
        let mut line = live.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        line.clear();
        line.extend_from_slice(stream.capture.last_line());
    }

    /// Whether nobody can write to us any more.
    pub(super) fn are_closed(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    /// Standard output and standard error, whether or not somebody still holds them.
    pub(super) fn finish(self) -> (Captured, Captured) {
        (self.stdout.capture.finish(), self.stderr.capture.finish())
    }
}

/// Our end of an output stream.
#[derive(Debug)]
struct Stream {
    /// `None` once everybody has closed the other end.
    pipe: Option<AsyncFd<OwnedFd>>,
    is_wide: bool,
    capture: Capture,
}

impl Stream {
    /// A pipe: our end, and the end for the process.
    fn open(scratch: &Path) -> io::Result<(Stream, OwnedFd)> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // Ours alone: the other end stays as programs expect it.
        rustix::io::ioctl_fionbio(&ours, true)?;
        let pipe = Some(spawn::watch(ours, Interest::READABLE)?);
        Ok((Stream { pipe, is_wide: false, capture: Capture::new(scratch) }, theirs))
    }

    /// Waits until there is something to read, or the end; for ever after the end.
    async fn ready(&self) {
        match &self.pipe {
            Some(pipe) => drop(pipe.readable().await),
            None => pending().await,
        }
    }

    /// Takes what there is, up to a turn's worth; says whether there was anything. `buffer` is
    /// empty before and after.
    fn pump(&mut self, buffer: &mut Vec<u8>) -> bool {
        let mut has_read = false;
        buffer.reserve(READ_BYTES);
        for _ in 0..READS_A_TURN {
            let Some(pipe) = &self.pipe else { break };
            let read = pipe.try_io(Interest::READABLE, |pipe| {
                Ok(rustix::io::read(pipe, spare_capacity(buffer))?)
            });
            match read {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    has_read = true;
                    self.capture.take(buffer);
                    buffer.clear();
                    if count >= READ_BYTES && !self.is_wide {
                        self.is_wide = true;
                        // Refused beyond the user's share of pipe memory: then it stays narrow.
                        let _ = rustix::pipe::fcntl_setpipe_size(pipe, WIDE_PIPE_BYTES);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
        has_read
    }
}

/// Our end of standard input.
#[derive(Debug)]
struct Feed<'a> {
    pipe: Option<AsyncFd<OwnedFd>>,
    rest: &'a [u8],
}

impl<'a> Feed<'a> {
    /// A pipe that `text` will be written to: our end, and the end for the process.
    fn open(text: &'a str) -> io::Result<(Feed<'a>, OwnedFd)> {
        let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let pipe = Some(spawn::watch(ours, Interest::WRITABLE)?);
        Ok((Feed { pipe, rest: text.as_bytes() }, theirs))
    }

    /// Waits until something can be written; for ever once all is.
    async fn ready(&self) {
        match &self.pipe {
            Some(pipe) => drop(pipe.writable().await),
            None => pending().await,
        }
    }

    /// Writes what fits. That nobody reads it is the process's business.
    fn pump(&mut self) {
        while let Some(pipe) = &self.pipe {
            let part = &self.rest[..self.rest.len().min(WIDE_PIPE_BYTES)];
            match pipe.try_io(Interest::WRITABLE, |pipe| Ok(rustix::io::write(pipe, part)?)) {
                Ok(count) => self.rest = &self.rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.rest = &[],
            }
            if self.rest.is_empty() {
                self.pipe = None;
            }
        }
    }
}
