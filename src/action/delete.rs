//! `delete`: exactly the files that were named, each checked again, and nothing else.
//!
//! A file is reached through handles of its folders, none of which may be a symbolic link, and must
//! still have the device, inode, size and time that it had when it was found. Between that look and
//! the removal the kernel leaves a moment in which the name could be given to another file; nothing
//! but the name can be removed, so that moment cannot be closed, only kept this short.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::Cx;
use super::bounded::{Fields, Halt, changing, error, found, refused};
use super::disk::Usage;
use super::find::modified_of;
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::{Delete, DeleteUntil, FoundFile};

/// Deletes `files` in their order, until there is as much room as `until` asks for.
///
/// Fields: `deleted` (paths), `skipped` (`{path, reason}`), `remaining` (how many were not tried
/// because the goal was reached or the attempt ended), `freed_bytes` (what the files occupied,
/// without those that are still open or have another name), `held_open` (`{path, pid}`: the room
/// comes back once that process lets go), `held_open_complete: false` where other users' processes
/// could not be asked, and `goal_reached` with `until`.
///
/// The rule: ok if nothing needs attention; warning if a file was skipped because it is no longer
/// what was found, is still held open, or the goal was not reached; critical if the system refused
/// to remove one. A file that is already gone needs no attention.
pub async fn perform(params: &Delete, cx: &Cx) -> Outcome {
    if let Some(until) = &params.until
        && (until.used_percent.is_some() == until.free_bytes.is_some())
    {
        return refused("E_PARAMETER", "`until` takes one of `used_percent` and `free_bytes`");
    }
    let params = params.clone();
    match changing(cx, move |halt| Work::default().run(&params, halt)).await {
        Ok((outcome, None)) => outcome,
        Ok((outcome, Some(stop))) => Outcome { end: stop.end(), ..outcome },
        Err(outcome) => outcome,
    }
}

#[derive(Default)]
struct Work {
    deleted: Vec<Gone>,
    skipped: Vec<Value>,
    /// Something that was found is not what it was.
    differs: bool,
    /// What the system refused first.
    refusal: Option<String>,
    goal_reached: Option<bool>,
}

/// A file that is no more.
struct Gone {
    path: String,
    dev: u64,
    ino: u64,
    /// What its room comes to: 0 if it has another name.
    occupied_bytes: u64,
}

/// Why a file was left alone.
enum Left {
    /// It is not there any more: what was wanted.
    Missing,
    /// It is not what was found.
    Differs(String),
    /// The system said no.
    Refused(String),
}

impl Work {
    fn run(mut self, params: &Delete, halt: &Halt) -> Outcome {
        let mut tried = 0;
        for file in &params.files {
            if halt.asked() {
                break;
            }
            match self.one(file, params.until.as_ref()) {
                Ok(true) => break,
                Ok(false) => {}
                Err(left) => self.skip(file, left),
            }
            tried += 1;
        }
        // After the last one the goal is looked at once more.
        if let (Some(until), Some(last)) = (&params.until, params.files.last())
            && self.goal_reached != Some(true)
        {
            let reached = parent_of(&last.path).is_ok_and(|(folder, _)| reached(&folder, until));
            self.goal_reached = Some(reached);
        }
        self.report(params.files.len() - tried)
    }

    /// Deletes one file; true if there is room enough already.
    fn one(&mut self, file: &FoundFile, until: Option<&DeleteUntil>) -> Result<bool, Left> {
        let (folder, name) = parent_of(&file.path)?;
        if until.is_some_and(|until| reached(&folder, until)) {
            self.goal_reached = Some(true);
            return Ok(true);
        }
        let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|why| Left::of(why, "look at it"))?;
        if let Some(difference) = difference(file, &stat) {
            return Err(Left::Differs(difference));
        }
        rustix::fs::unlinkat(&folder, &name, AtFlags::empty())
            .map_err(|why| Left::of(why, "remove it"))?;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        let occupied_bytes = if stat.st_nlink > 1 { 0 } else { blocks.saturating_mul(512) };
        let (dev, ino) = (stat.st_dev, stat.st_ino);
        self.deleted.push(Gone { path: file.path.clone(), dev, ino, occupied_bytes });
        Ok(false)
    }

    fn skip(&mut self, file: &FoundFile, left: Left) {
        let reason = match left {
            Left::Missing => "it is already gone".to_owned(),
            Left::Differs(why) => {
                self.differs = true;
                why
            }
            Left::Refused(why) => {
                self.refusal.get_or_insert_with(|| format!("delete `{}`: {why}", file.path));
                why
            }
        };
        self.skipped.push(json!({ "path": file.path, "reason": reason }));
    }

    fn report(self, remaining: usize) -> Outcome {
        let (holders, complete) = holders(&self.deleted);
        let freed_bytes: u64 = self
            .deleted
            .iter()
            .filter(|gone| !holders.contains_key(&(gone.dev, gone.ino)))
            .map(|gone| gone.occupied_bytes)
            .sum();
        let held: Vec<Value> = self
            .deleted
            .iter()
            .flat_map(|gone| {
                let pids = holders.get(&(gone.dev, gone.ino)).cloned().unwrap_or_default();
                pids.into_iter().map(|pid| json!({ "path": gone.path, "pid": pid }))
            })
            .collect();
        let short = self.goal_reached == Some(false);
        let rule = match () {
            () if self.refusal.is_some() => Verdict::Critical,
            () if self.differs || short || !held.is_empty() => Verdict::Warning,
            () => Verdict::Ok,
        };
        let paths: Vec<&str> = self.deleted.iter().map(|gone| gone.path.as_str()).collect();
        let fields = Fields::default()
            .set("deleted", paths)
            .set("skipped", self.skipped)
            .set("remaining", remaining)
            .set("freed_bytes", freed_bytes)
            .set("held_open", held)
            .set_if("held_open_complete", (!complete).then_some(false))
            .set_if("goal_reached", self.goal_reached);
        Outcome {
            changed: Some(!self.deleted.is_empty()),
            error: self.refusal.map(|why| error("E_DELETE", why)),
            ..found(rule, fields.0)
        }
    }
}

impl Left {
    fn of(why: Errno, doing: &str) -> Left {
        match why {
            Errno::NOENT => Left::Missing,
            Errno::LOOP | Errno::NOTDIR => {
                Left::Differs("a folder on its path is a symbolic link or a file now".to_owned())
            }
            Errno::ISDIR => Left::Differs("it is a folder now".to_owned()),
            other => Left::Refused(format!("{doing}: {other}")),
        }
    }
}

/// The handle of the folder that holds `path`, and the name in it.
fn parent_of(path: &str) -> Result<(OwnedFd, String), Left> {
    let odd = || Left::Differs("it is not a plain absolute path of a file".to_owned());
    // Compared as written: `Path` would silently drop a `.` or a doubled slash.
    let plain = path.strip_prefix('/').ok_or_else(odd)?;
    if plain.contains('\0') || plain.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(odd());
    }
    let (folders, name) = match plain.rsplit_once('/') {
        Some((folders, name)) => (folders, name),
        None => ("", plain),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open("/", flags, Mode::empty())
        .map_err(|why| Left::of(why, "open the root folder"))?;
    for component in Path::new(folders).components() {
        let Component::Normal(part) = component else { return Err(odd()) };
        folder = rustix::fs::openat(&folder, part, flags, Mode::empty())
            .map_err(|why| Left::of(why, "open its folder"))?;
    }
    Ok((folder, name.to_owned()))
}

/// How the file differs from what was found, if it does.
fn difference(file: &FoundFile, stat: &Stat) -> Option<String> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Some("it is a folder now".to_owned()),
        FileType::Symlink => return Some("it is a symbolic link now".to_owned()),
        _ => return Some("it is not a regular file now".to_owned()),
    }
    if (stat.st_dev, stat.st_ino) != (file.dev, file.ino) {
        return Some("another file has its name now".to_owned());
    }
    if u64::try_from(stat.st_size) != Ok(file.size_bytes) {
        return Some("its size has changed".to_owned());
    }
    let found: Option<jiff::Timestamp> = file.mtime.parse().ok();
    if found.is_none() || found != modified_of(stat) {
        return Some("it was written to since it was found".to_owned());
    }
    None
}

fn reached(folder: &OwnedFd, until: &DeleteUntil) -> bool {
    let Ok(stat) = rustix::fs::fstatvfs(folder) else { return false };
    let usage = Usage::of(&stat);
    match (until.used_percent, until.free_bytes) {
        (Some(percent), _) => usage.used_percent <= percent,
        (None, Some(free)) => usage.free_bytes >= free.0,
        (None, None) => false,
    }
}

type Holders = BTreeMap<(u64, u64), Vec<i32>>;

/// Which processes still have a removed file open, and whether all processes could be asked.
fn holders(deleted: &[Gone]) -> (Holders, bool) {
    let mut holders = Holders::new();
    if deleted.is_empty() {
        return (holders, true);
    }
    let mut complete = true;
    let wanted: std::collections::HashSet<(u64, u64)> =
        deleted.iter().map(|gone| (gone.dev, gone.ino)).collect();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        let open = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(open) => open,
            Err(why) => {
                complete &= why.kind() != std::io::ErrorKind::PermissionDenied;
                continue;
            }
        };
        for link in open.flatten() {
            // Only links to removed files are followed: others may lead to a dead server.
            let leads_to = std::fs::read_link(link.path()).unwrap_or_default();
            if !leads_to.to_string_lossy().ends_with(" (deleted)") {
                continue;
            }
            let Ok(about) = std::fs::metadata(link.path()) else { continue };
            let key = (about.dev(), about.ino());
            if wanted.contains(&key) {
                let pids = holders.entry(key).or_default();
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    (holders, complete)
}
