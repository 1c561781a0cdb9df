//! What the kernel says of processes, read from `/proc`. Every answer may be out of date when it
//! arrives: callers compare start times, since a number alone may have been given away again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};

/// One line of `/proc/PID/stat`, as far as we need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) command: String,
    /// `R`, `S`, `Z`, …
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// Clock ticks since boot: with the number and the boot, the name of a process for ever.
    pub(super) start: u64,
}

impl Stat {
    /// Whether it has ended and only its number is left.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// The process `pid`, or `None` if there is none.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    let mut bytes = [0; 1024];
    let file = rustix::fs::open(
        format!("/proc/{pid}/stat"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let length = rustix::io::read(&file, &mut bytes).ok()?;
    parse_stat(pid, &bytes[..length])
}

/// The command may hold anything, `)` included; what follows its last `)` is fixed.
fn parse_stat(pid: i32, line: &[u8]) -> Option<Stat> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let command = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // Field 3 of proc(5) is the first one here.
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    Some(Stat {
        pid,
        command,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// Numbers of all processes that we may see.
pub(super) fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Children of every thread of `pid`.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read(thread.path().join("children")).ok());
    lists.flat_map(|list| parse_numbers(&list)).collect()
}

/// Children of `pid`, dead ones included, by looking at every process there is.
pub(super) fn children_by_parent(pid: i32) -> Vec<i32> {
    let stats = all().into_iter().filter_map(stat);
    stats.filter(|stat| stat.parent == pid).map(|stat| stat.pid).collect()
}

/// Numbers with white space between them.
pub(super) fn parse_numbers(list: &[u8]) -> Vec<i32> {
    let words = list.split(u8::is_ascii_whitespace);
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok()).collect()
}

/// `pid` and all that descends from it, ancestors first.
pub(super) fn tree(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        for child in children(parent) {
            if !found.contains(&child) {
                found.push(child);
            }
        }
    }
    found
}

/// The environment that `pid` was started with, where we may read it; empty for the dead.
pub(super) fn environment(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

/// The value of `name` in such an environment.
pub(super) fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// For people: `1234 (sleep) of user bob`.
pub(super) fn describe(stat: &Stat) -> String {
    let owner = fs::metadata(format!("/proc/{}", stat.pid)).ok().map(|folder| folder.uid());
    match owner {
        Some(uid) => {
            let user = User::by_id(uid).map_or_else(|| uid.to_string(), |user| user.name);
            format!("{} ({}) of user {user}", stat.pid, stat.command)
        }
        None => format!("{} ({})", stat.pid, stat.command),
    }
}

/// Whether `pid` neither catches nor ignores nor holds back `signal`, so that it dies of it.
pub(super) fn dies_of(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    masks_lack(&status, signal.as_raw())
}

fn masks_lack(status: &str, signal: i32) -> bool {
    let masks: Option<Vec<u64>> = ["SigBlk:\t", "SigIgn:\t", "SigCgt:\t"]
        .into_iter()
        .map(|name| {
            let mask = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(mask, 16).ok()
        })
        .collect();
    masks.is_some_and(|masks| masks.iter().all(|mask| mask >> (signal - 1) & 1 == 0))
}

/// Sends `signal` to exactly the process that `stat` is about, never to one that has its number
/// by now.
pub(super) fn signal(stat: &Stat, signal: Signal) -> rustix::io::Result<()> {
    let pid = Pid::from_raw(stat.pid).ok_or(rustix::io::Errno::SRCH)?;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    match self::stat(stat.pid) {
        Some(now) if now.start == stat.start => rustix::process::pidfd_send_signal(pidfd, signal),
        _ => Err(rustix::io::Errno::SRCH),
    }
}

/// Which boot of the machine this is: process numbers and start times are told apart by it.
pub(super) fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().to_owned()
    })
}

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) home: String,
}

impl User {
    /// The user with this number.
    pub(super) fn by_id(uid: u32) -> Option<User> {
        User::find(|user| user.uid == uid)
    }

    /// The user with this name.
    pub(super) fn by_name(name: &str) -> Option<User> {
        User::find(|user| user.name == name)
    }

    fn find(is_it: impl Fn(&User) -> bool) -> Option<User> {
        let text = fs::read("/etc/passwd").ok()?;
        text.split(|byte| *byte == b'\n').filter_map(User::parse).find(|user| is_it(user))
    }

    fn parse(line: &[u8]) -> Option<User> {
        let text = OsStr::from_bytes(line).to_str()?;
        let fields: Vec<&str> = text.split(':').collect();
        Some(User {
            name: (*fields.first()?).to_owned(),
            uid: fields.get(2)?.parse().ok()?,
            home: (*fields.get(5)?).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no name that a process gives itself can forge the fields that follow it.
    #[test]
    fn a_command_may_hold_anything() {
        let rest = "S 1 7 8 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1000 2";
        for command in ["sleep", "a b", ") Z 1 1 1", "((", "x) S 9 9 9 (y", ""] {
            let line = format!("12 ({command}) {rest}\n");
            let stat = parse_stat(12, line.as_bytes()).expect(command);
            let is = (stat.command.as_str(), stat.state, stat.group, stat.session, stat.start);
            assert_eq!(is, (command, b'S', 7, 8, 4711));
        }
        for line in ["", "12", "12 (x", "12 (x) S 1", ")(", "12 (x) S 1 a b"] {
            assert_eq!(parse_stat(12, line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn we_are_in_the_process_table() {
        let pid = i32::try_from(std::process::id()).expect("fits");
        let stat = stat(pid).expect("we run");
        assert_eq!(stat.group, rustix::process::getpgrp().as_raw_nonzero().get());
        assert!(!stat.is_dead());
        assert!(all().contains(&pid));
    }

    #[test]
    fn who_dies_of_a_signal() {
        let status = |blocked: u64, ignored: u64, caught: u64| {
            format!("SigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n")
        };
        let term = 1 << 14;
        assert!(masks_lack(&status(0, 0, 0), 15));
        assert!(masks_lack(&status(!term, !term, !term), 15));
        for (blocked, ignored, caught) in [(term, 0, 0), (0, term, 0), (0, 0, term)] {
            assert!(!masks_lack(&status(blocked, ignored, caught), 15));
        }
        assert!(!masks_lack("", 15), "what cannot be known is not so");
    }

    #[test]
    fn variables_are_found_by_their_whole_name() {
        let environment = b"XA=1\0A=2=3\0B=\0";
        assert_eq!(variable(environment, "A"), Some(&b"2=3"[..]));
        assert_eq!(variable(environment, "B"), Some(&b""[..]));
        assert_eq!(variable(environment, "C"), None);
    }

    #[test]
    fn passwd_lines_are_read_or_passed_over() {
        let root = User { name: "root".to_owned(), uid: 0, home: "/root".to_owned() };
        assert_eq!(User::parse(b"root:x:0:0:root:/root:/bin/bash"), Some(root));
        for line in ["", "+", "root:x:zero:0::/:", "a:b"] {
            assert_eq!(User::parse(line.as_bytes()), None, "{line}");
        }
    }
}
