//! A private place to run the binary in, and what makes its output comparable.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use regex::{Captures, Regex};

/// How long a line is waited for, on the slowest machine. Only a hanging program takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const BINARY: &str = env!("CARGO_BIN_EXE_runwarden");

/// A folder with an empty home and a state folder, gone when dropped.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let folder = tempfile::Builder::new().prefix("runwarden-cli.").tempdir().unwrap();
        for name in ["home", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Bench { folder }
    }

    /// Where commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Copies a case's files into the working folder.
    pub(crate) fn copy(&self, case: &Path) {
        for entry in fs::read_dir(case).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            let is_expected = ["stdout", "stderr", "status"].iter().any(|stream| name == *stream);
            if path.is_file() && !is_expected {
                fs::copy(&path, self.work().join(name)).unwrap();
            }
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.work().join(name), text).unwrap();
    }

    /// A command in the working folder that sees nothing of our settings.
    pub(crate) fn command(&self, program: &str) -> Command {
        let folder = Path::new(BINARY).parent().unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", folder.display());
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path().join("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("COLUMNS", "100")
            .current_dir(self.work())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The binary.
    pub(crate) fn runwarden(&self, args: &[&str]) -> Command {
        let mut command = self.command(BINARY);
        command.args(args);
        command
    }

    /// The binary, to its end.
    pub(crate) fn call(&self, args: &[&str]) -> Output {
        self.runwarden(args).output().unwrap()
    }

    /// What a command prints as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let ended = self.call(&[&["-o", "json"], args].concat());
        serde_json::from_slice(&ended.stdout).unwrap_or_else(|err| {
            panic!("{args:?}: {err}: {}", String::from_utf8_lossy(&ended.stderr))
        })
    }

    /// The binary under way.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.runwarden(args).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let Ok(line) = line else { break };
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Running { child, lines, seen: Vec::new() }
    }
}

/// A process under way, whose standard error is read line by line.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Running {
    /// Waits for a line that holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let is_it = line.contains(text);
                    self.seen.push(line);
                    if is_it {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no `{text}`: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("over: {:#?}", self.seen),
            }
        }
    }

    /// Waits until the file holds something: a step says so that it is under way.
    pub(crate) fn wait_for_file(&mut self, path: &Path) {
        let start = std::time::Instant::now();
        while fs::metadata(path).map_or(0, |found| found.len()) == 0 {
            assert!(start.elapsed() < PATIENCE, "no {}: {:#?}", path.display(), self.seen);
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {:?}", self.rest());
            std::thread::yield_now();
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Closes both streams at our end.
    pub(crate) fn stop_reading(&mut self) {
        drop(self.child.stdout.take());
        // The thread that reads standard error ends at its next line, and closes it.
        self.lines = channel().1;
    }

    fn rest(&mut self) -> Vec<String> {
        self.seen.extend(self.lines.iter());
        self.seen.clone()
    }

    /// Its exit code, its standard output, and all of its standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        let mut stdout = String::new();
        if let Some(mut from) = self.child.stdout.take() {
            from.read_to_string(&mut stdout).unwrap();
        }
        let status = self.child.wait().unwrap();
        let stderr = self.rest().join("\n");
        (status.code(), stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind; one that did not has waited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

static VOLATILE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let host = regex::escape(&host());
    [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "<time>"),
        (r"sha256:[0-9a-f]{64}", "<sha256>"),
        (r"runwarden\.dev/local/[A-Za-z0-9._-]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+", "<vkey>"),
        (r"runwarden\.dev/local/[A-Za-z0-9._-]+", "<origin>"),
        (r#"(?m)(^|[\s"])[A-Za-z0-9+/]{43}="#, "${1}<root>"),
        (r"\b[0-9a-f]{64}\b", "<hash>"),
        (r"(seconds(&quot;|\W)*[:=] ?)\d+(\.\d+)?(e-?\d+)?", "${1}<s>"),
        (r#"("pid": )\d+"#, "${1}<pid>"),
        (r"\b(\d+d \d\dh|\d+h \d\dm|\d+m \d\ds|\d+\.\ds|\d+ms)\b", "<t>"),
        (r" +<t>", "  <t>"),
        (r"<t> {2,}", "<t>  "),
        (r"runwarden \d+\.\d+\.\d+( \([0-9a-f]+\))?", "runwarden <version>"),
    ]
    .into_iter()
    .map(|(pattern, by)| (Regex::new(pattern).unwrap(), by))
    .chain([(
        Regex::new(&format!(r"(\bon |\bhost=|\x22host\x22: \x22){host}\b")).unwrap(),
        "${1}<host>",
    )])
    .collect()
});

static RUN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap()
});

static USER: LazyLock<Regex> = LazyLock::new(|| {
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = regex::escape(String::from_utf8(user).unwrap().trim());
    let before = r#"by |for |requester  +|"(?:principal|requester|by)": "|by=|principal="#;
    Regex::new(&format!(r"({before}){user}\b")).unwrap()
});

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Output without what differs from run to run: ids by order of appearance, times, digests of
/// what holds them, keys, the host, the user, the folder.
pub(crate) fn normal(output: &[u8], bench: &Bench) -> String {
    let text = String::from_utf8_lossy(output).into_owned();
    let text = text.replace(&*bench.folder.path().to_string_lossy(), "<dir>");
    let mut ids: Vec<String> = Vec::new();
    let mut text = RUN
        .replace_all(&text, |found: &Captures<'_>| {
            let id = found[0].to_owned();
            let at = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                ids.push(id);
                ids.len() - 1
            });
            format!("<run {}>", at + 1)
        })
        .into_owned();
    for (pattern, by) in VOLATILE.iter() {
        text = pattern.replace_all(&text, *by).into_owned();
    }
    USER.replace_all(&text, "${1}<user>").into_owned()
}
