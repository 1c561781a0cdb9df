//! `file`: what a path is, and what it holds.

use std::fs::{File as Opened, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Cx;
use super::bounded::{Fields, Halt, error, found, reading, unknown};
use crate::id::Digest;
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::File;

/// Looks at `path`, through symbolic links.
///
/// Fields: `exists`, and if it does `kind` (`file dir symlink socket fifo block char`; `symlink`
/// is one that leads nowhere), `symlink` (whether the path itself is one), `size_bytes`, `mtime`
/// (RFC 3339), `age_seconds`, `mode` (octal text such as `"0644"`), `owner` and `group` (names, or
/// numbers where there is no name), and with `sha256: true` `sha256`: 64 hexadecimal digits, as
/// `sha256sum` prints them. The rule: ok if it exists, else critical.
pub async fn perform(params: &File, cx: &Cx) -> Outcome {
    let params = params.clone();
    match reading(cx, move |halt| look(&params, halt)).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn look(params: &File, halt: &Halt) -> Outcome {
    let path = Path::new(&params.path);
    let failed =
        |what: &str, why: io::Error| unknown("E_FILE", format!("{what} `{}`: {why}", params.path));
    let itself = match path.symlink_metadata() {
        Ok(itself) => itself,
        // A missing folder above it, or a file in its place, is the same finding.
        Err(why)
            if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            let missing = error("E_MISSING", format!("`{}` does not exist", params.path));
            let fields = Fields::default().set("exists", false);
            return Outcome { error: Some(missing), ..found(Verdict::Critical, fields.0) };
        }
        Err(why) => return failed("look at", why),
    };
    let is_link = itself.file_type().is_symlink();
    let target = match path.metadata() {
        Ok(target) => target,
        Err(why) if is_link && why.kind() == io::ErrorKind::NotFound => itself,
        Err(why) => return failed("look at", why),
    };
    let fields = describe(&target).set("symlink", is_link);
    if !params.sha256 || !target.is_file() {
        return found(Verdict::Ok, fields.0);
    }
    match hash(path, halt) {
        Ok(digest) => found(Verdict::Ok, fields.set("sha256", digest.hex()).0),
        Err(why) => Outcome { fields: fields.0, ..failed("read", why) },
    }
}

fn describe(target: &Metadata) -> Fields {
    let mtime = modified(target.mtime(), target.mtime_nsec());
    let age = mtime.map(|at| jiff::Timestamp::now().duration_since(at).as_secs_f64());
    Fields::default()
        .set("exists", true)
        .set("kind", kind_of(target))
        .set("size_bytes", target.len())
        .set_if("mtime", mtime.map(|at| at.to_string()))
        .set_if("age_seconds", age.map(|age| (age * 1000.0).round() / 1000.0))
        .set("mode", format!("{:04o}", target.permissions().mode() & 0o7777))
        .set("owner", name_of("/etc/passwd", target.uid()))
        .set("group", name_of("/etc/group", target.gid()))
}

/// A file's time stamp; `None` beyond what a calendar has.
pub(super) fn modified(seconds: i64, nanoseconds: i64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

fn kind_of(target: &Metadata) -> &'static str {
    let kind = target.file_type();
    if kind.is_file() {
        "file"
    } else if kind.is_dir() {
        "dir"
    } else if kind.is_symlink() {
        "symlink"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_block_device() {
        "block"
    } else {
        "char"
    }
}

/// The name of a user or group. Only the local files are asked: a directory service may hang.
fn name_of(table: &str, id: u32) -> String {
    let wanted = id.to_string();
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == wanted).then(|| name.to_owned())
    });
    name.unwrap_or(wanted)
}

/// SHA-256 of a regular file, in pieces.
fn hash(path: &Path, halt: &Halt) -> io::Result<Digest> {
    // Not to hang on what became a pipe since it was looked at.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut file = Opened::options().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no longer a regular file"));
    }
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 128 << 10];
    loop {
        if halt.asked() {
            return Err(io::Error::other("stopped"));
        }
        match file.read(&mut piece) {
            Ok(0) => return Ok(Digest::from_bytes(hasher.finalize().into())),
            Ok(count) => hasher.update(&piece[..count]),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
}
