//! `disk`: how full the file system is that holds a path.

use std::path::{Path, PathBuf};

use procfs::process::{MountInfo, Process};
use rustix::fs::{StatVfs, StatVfsMountFlags};

use super::Cx;
use super::bounded::{Fields, found, percent, reading, unknown};
use crate::outcome::{Outcome, Verdict};
use crate::runbook::params::Disk;

/// Asks the file system that holds `path`.
///
/// Fields: `used_percent` as `df` counts it (what root alone may use is neither used nor free),
/// `free_bytes` for ordinary users, `inodes_used_percent` (0 where the file system has no inode
/// limit), `total_bytes`, `read_only`, and, where the mount table shows them, `mount_point`,
/// `device` and `type`.
pub async fn perform(params: &Disk, cx: &Cx) -> Outcome {
    let path = params.path.clone();
    match reading(cx, move |_| look(&path)).await {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn look(path: &str) -> Outcome {
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(why) => {
            return unknown("E_FILE", format!("ask the file system of `{path}`: {why}"));
        }
    };
    let usage = Usage::of(&stat);
    let mount = mount_of(Path::new(path));
    let mut fields = Fields::default()
        .set("used_percent", usage.used_percent)
        .set("free_bytes", usage.free_bytes)
        .set("inodes_used_percent", usage.inodes_used_percent)
        .set("total_bytes", usage.total_bytes)
        .set("read_only", stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    if let Some(mount) = mount {
        fields = fields
            .set("mount_point", mount.mount_point.to_string_lossy())
            .set_if("device", mount.mount_source)
            .set("type", mount.fs_type);
    }
    found(Verdict::Ok, fields.0)
}

/// What a file system says of its room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// Percent of what ordinary users can ever use.
    pub(super) used_percent: f64,
    /// Bytes that ordinary users can still write.
    pub(super) free_bytes: u64,
    /// Bytes in all.
    pub(super) total_bytes: u64,
    /// Percent; 0 if inodes are not limited.
    pub(super) inodes_used_percent: f64,
}

impl Usage {
    /// Counts as `df` does.
    pub(super) fn of(stat: &StatVfs) -> Usage {
        let used = stat.f_blocks.saturating_sub(stat.f_bfree) as f64;
        let inodes_used = stat.f_files.saturating_sub(stat.f_ffree) as f64;
        Usage {
            used_percent: percent(used, used + stat.f_bavail as f64),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            inodes_used_percent: percent(inodes_used, stat.f_files as f64),
        }
    }
}

/// The mount that holds `path`: of those whose mount point is a prefix the longest, of equal ones
/// the last, which hides the others.
fn mount_of(path: &Path) -> Option<MountInfo> {
    let real: PathBuf = path.canonicalize().ok()?;
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    mounts
        .into_iter()
        .filter(|mount| real.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.as_os_str().len())
}
