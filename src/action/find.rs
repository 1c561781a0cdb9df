//! `find`: regular files below a folder, so named that `delete` can be held to exactly them.
//!
//! Walks by folder handles and never through a symbolic link, so that nothing outside of `dir` can
//! slip in, also while somebody rearranges the tree.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde_json::json;

use super::Cx;
use super::bounded::{Fields, Halt, found, reading, refused, unknown};
use super::file::modified;
use crate::limits::{FIND_DEPTH_MAX, FIND_ENTRIES_MAX, FIND_FILES_MAX};
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::{Find, FoundFile};

/// Finds files.
///
/// `glob` is matched against the path relative to `dir`; `*` stays within one folder, `**` does
/// not; without it every file counts. `keep_newest` protects so many of the newest that match the
/// glob, whatever their age or size, so that "older than 7 days, but keep 3" always leaves 3.
/// `dir` itself may be reached through symbolic links; the paths in the result are real ones.
///
/// Fields: `files`, oldest first and then by path, `count`, `total_bytes`, and `unreadable`: how
/// many names are not UTF-8 or folders could not be opened, if any. The rule: carried out is ok.
/// More than `max` files is an error that names none, because a cut list looks complete.
pub async fn perform(params: &Find, cx: &Cx) -> Outcome {
    let pattern = match params.glob.as_deref().map(glob).transpose() {
        Ok(pattern) => pattern,
        Err(why) => return refused("E_GLOB", why),
    };
    let params = params.clone();
    match reading(cx, move |halt| look(&params, pattern.as_ref(), halt)).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(format!("`{text}` can match nothing: it is compared with paths below `dir`"));
    }
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|why| format!("read the glob: {why}"))
}

fn look(params: &Find, pattern: Option<&GlobMatcher>, halt: &Halt) -> Outcome {
    let failed = |why: &dyn std::fmt::Display| {
        unknown("E_FILE", format!("look into `{}`: {why}", params.dir))
    };
    let dir = match Path::new(&params.dir).canonicalize() {
        Ok(dir) => dir,
        Err(why) => return failed(&why),
    };
    let Some(base) = dir.to_str() else { return failed(&"its name is not UTF-8") };
    let root = match open_folder(rustix::fs::CWD, base) {
        Ok(root) => root,
        Err(why) => return failed(&why),
    };
    let device = match rustix::fs::fstat(&root) {
        Ok(stat) => stat.st_dev,
        Err(why) => return failed(&why),
    };
    let mut walk = Walk {
        base: base.trim_end_matches('/').to_owned(),
        device: params.same_device.then_some(device),
        pattern,
        seen: 0,
        unreadable: 0,
        matches: Vec::new(),
        halt,
    };
    if let Err(why) = walk.folder(root, "", 0) {
        return match why {
            Ended::Failed(why) => failed(&why),
            Ended::TooMuch(why) => {
                unknown("E_TOO_MANY", format!("look into `{}`: {why}", params.dir))
            }
        };
    }
    let Walk { matches, unreadable, .. } = walk;
    report(params, select(params, matches), unreadable)
}

fn report(params: &Find, files: Vec<Candidate>, unreadable: u64) -> Outcome {
    let most = params.max.unwrap_or(FIND_FILES_MAX);
    if files.len() as u64 > most {
        let why = format!(
            "look into `{}`: {} files, more than `max: {most}`; none is listed, because a part \
             would look like all",
            params.dir,
            files.len()
        );
        return unknown("E_TOO_MANY", why);
    }
    let total: u64 = files.iter().map(|one| one.file.size_bytes).sum();
    let fields = Fields::default()
        .set("files", files.iter().map(|one| json!(one.file)).collect::<Vec<_>>())
        .set("count", files.len())
        .set("total_bytes", total)
        .set_if("unreadable", (unreadable > 0).then_some(unreadable));
    found(Verdict::Ok, fields.0)
}

/// A file that matches the glob.
struct Candidate {
    modified: jiff::Timestamp,
    file: FoundFile,
}

/// Oldest first, without those that are protected, too young or too small.
fn select(params: &Find, mut matches: Vec<Candidate>) -> Vec<Candidate> {
    matches.sort_by(|a, b| (a.modified, &a.file.path).cmp(&(b.modified, &b.file.path)));
    let keep = usize::try_from(params.keep_newest.unwrap_or(0)).unwrap_or(usize::MAX);
    matches.truncate(matches.len().saturating_sub(keep));
    let now = jiff::Timestamp::now();
    matches.retain(|one| {
        let age = now.duration_since(one.modified);
        let old = params.older_than.is_none_or(|limit| {
            jiff::SignedDuration::try_from(limit.0).is_ok_and(|limit| age > limit)
        });
        old && params.larger_than.is_none_or(|limit| one.file.size_bytes > limit.0)
    });
    matches
}

enum Ended {
    Failed(String),
    TooMuch(String),
}

struct Walk<'a> {
    base: String,
    /// Where `same_device` holds us.
    device: Option<u64>,
    pattern: Option<&'a GlobMatcher>,
    seen: u64,
    unreadable: u64,
    matches: Vec<Candidate>,
    halt: &'a Halt,
}

impl Walk<'_> {
    /// Looks at one folder, then into those in it. `below` is its path relative to the base, with
    /// a final slash.
    fn folder(&mut self, folder: OwnedFd, below: &str, depth: usize) -> Result<(), Ended> {
        if depth > FIND_DEPTH_MAX {
            let why = format!("folders are nested more than {FIND_DEPTH_MAX} deep");
            return Err(Ended::TooMuch(why));
        }
        let entries = match Dir::read_from(&folder) {
            Ok(entries) => entries,
            Err(why) => return Err(Ended::Failed(why.to_string())),
        };
        let mut names = HashSet::new();
        for entry in entries {
            let entry = entry.map_err(|why| Ended::Failed(why.to_string()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.seen += 1;
            if self.seen > FIND_ENTRIES_MAX {
                let why = format!("there are more than {FIND_ENTRIES_MAX} entries");
                return Err(Ended::TooMuch(why));
            }
            if self.halt.asked() {
                return Err(Ended::Failed("stopped".to_owned()));
            }
            let Ok(name) = name.to_str() else {
                self.unreadable += 1;
                continue;
            };
            // A folder that changes while it is read may name an entry twice.
            if names.insert(name.to_owned()) {
                self.entry(&folder, name, below, depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &str,
        below: &str,
        depth: usize,
    ) -> Result<(), Ended> {
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It vanished meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            Err(_) => {
                self.unreadable += 1;
                return Ok(());
            }
        };
        if self.device.is_some_and(|device| device != stat.st_dev) {
            return Ok(());
        }
        let relative = format!("{below}{name}");
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                if self.pattern.is_none_or(|pattern| pattern.is_match(&relative)) {
                    self.matches.extend(candidate(&self.base, &relative, &stat));
                }
                Ok(())
            }
            FileType::Directory => match open_folder(folder, name) {
                Ok(inner) if self.is_here(&inner) => {
                    self.folder(inner, &format!("{relative}/"), depth + 1)
                }
                Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(()),
                Err(_) => {
                    self.unreadable += 1;
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    /// Asked again of the folder that was opened: something may have been mounted there meanwhile.
    fn is_here(&self, folder: &OwnedFd) -> bool {
        self.device
            .is_none_or(|device| rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_dev == device))
    }
}

fn candidate(base: &str, relative: &str, stat: &Stat) -> Option<Candidate> {
    let modified = modified_of(stat)?;
    let file = FoundFile {
        path: format!("{base}/{relative}"),
        dev: stat.st_dev,
        ino: stat.st_ino,
        size_bytes: u64::try_from(stat.st_size).ok()?,
        mtime: modified.to_string(),
    };
    Some(Candidate { modified, file })
}

/// When it was last written, to the nanosecond.
#[allow(clippy::useless_conversion, clippy::allow_attributes, reason = "types differ by platform")]
pub(super) fn modified_of(stat: &Stat) -> Option<jiff::Timestamp> {
    modified(i64::from(stat.st_mtime), i64::try_from(stat.st_mtime_nsec).ok()?)
}

/// A folder's handle, never through a symbolic link.
fn open_folder(at: impl std::os::fd::AsFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::params::Seconds;

    #[test]
    fn globs_stay_below_and_within_a_folder() {
        let matches = |pattern: &str, path: &str| glob(pattern).unwrap().is_match(path);
        assert!(matches("*.log", "a.log") && !matches("*.log", "b/a.log"));
        assert!(matches("**/*.log", "a.log") && matches("**/*.log", "b/c/a.log"));
        for bad in ["/etc/*", "../*", "a/../../b", "[", "{a"] {
            assert!(glob(bad).is_err(), "{bad}");
        }
    }

    /// Goal: the newest are protected whatever else the step asks for.
    #[test]
    fn the_newest_stay() {
        let now = jiff::Timestamp::now();
        let aged = |days: i64| {
            let modified = now - jiff::SignedDuration::from_hours(24 * days);
            let path = format!("/d/{days}");
            let file = FoundFile { path, dev: 1, ino: 1, size_bytes: 1, mtime: String::new() };
            Candidate { modified, file }
        };
        let ask = |keep_newest: u64, older_than: Option<u64>| {
            let older_than =
                older_than.map(|days| Seconds(std::time::Duration::from_secs(86_400 * days)));
            let mut params: Find =
                serde_json::from_value(json!({"dir": "/d", "keep_newest": keep_newest})).unwrap();
            params.older_than = older_than;
            let found = select(&params, [1, 9, 3, 8, 2].map(aged).into());
            found.into_iter().map(|one| one.file.path).collect::<Vec<_>>()
        };
        assert_eq!(ask(0, None), ["/d/9", "/d/8", "/d/3", "/d/2", "/d/1"]);
        assert_eq!(ask(2, None), ["/d/9", "/d/8", "/d/3"]);
        assert_eq!(ask(2, Some(7)), ["/d/9", "/d/8"]);
        assert_eq!(ask(4, Some(7)), ["/d/9"]);
        assert_eq!(ask(9, Some(7)), [""; 0]);
    }
}
