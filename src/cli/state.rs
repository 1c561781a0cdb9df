//! Where the state folder is, and what is read from it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::args::Global;
use super::exit::Failure;

/// The state folder: `--state`, else `$STATE_DIRECTORY` (systemd lists several with `:`, the first
/// is meant), else `$XDG_STATE_HOME/runwarden`, else `~/.local/state/runwarden`.
///
/// # Errors
///
/// Exit 2, if neither is set.
pub(super) fn folder(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(folder) = &global.state {
        return match folder.as_os_str().is_empty() {
            true => Err(Failure::request("`--state` is empty: expected a folder")),
            false => Ok(folder.clone()),
        };
    }
    by_environment(|name| env::var_os(name).map(PathBuf::from)).ok_or_else(|| {
        Failure::request("there is no place for the signed log: `HOME` is no absolute path")
            .hint("name a folder with `--state DIR`, or set `STATE_DIRECTORY`")
    })
}

fn by_environment(var: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name| var(name).filter(|value| !value.as_os_str().is_empty());
    if let Some(folders) = set("STATE_DIRECTORY") {
        let first = env::split_paths(folders.as_os_str()).next();
        if let Some(first) = first.filter(|first| !first.as_os_str().is_empty()) {
            return Some(first);
        }
    }
    // The XDG specification: a relative path is to be ignored.
    let home = || set("HOME").filter(|home| home.is_absolute());
    set("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| home().map(|home| home.join(".local/state")))
        .map(|base| base.join("runwarden"))
}

/// Refuses a configuration, since this version would not follow it.
///
/// # Errors
///
/// Exit 2, if one was named.
pub(super) fn no_configuration(global: &Global) -> Result<(), Failure> {
    let Some(path) = &global.config else { return Ok(()) };
    let shown = path.display();
    Err(match std::fs::metadata(path) {
        Err(err) => Failure::request(format!("failed to read the configuration `{shown}`: {err}")),
        Ok(_) => Failure::request(format!(
            "this version reads no configuration yet, and does not ignore `{shown}` silently"
        ))
        .hint("leave `--config` out: runbooks run on this machine without one"),
    })
}

/// The name of the Unix user of this process, else `uid:<number>`.
#[must_use]
pub(super) fn principal() -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = std::fs::read(Path::new("/etc/passwd")).unwrap_or_default();
    user_of(uid, &users).unwrap_or_else(|| format!("uid:{uid}"))
}

fn user_of(uid: u32, users: &[u8]) -> Option<String> {
    let uid = uid.to_string();
    users.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let found = fields.nth(1)?;
        (found == uid.as_bytes()).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

/// Whether a path has the ending of a runbook file.
#[must_use]
pub(super) fn is_yaml(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    matches!(ending, Some("yaml" | "yml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the folder is found as systemd and XDG mean it.
    #[test]
    fn the_state_folder_follows_the_environment() {
        for (vars, want) in [
            (&[("STATE_DIRECTORY", "/a:/b"), ("HOME", "/h")][..], Some("/a")),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], Some("/x/runwarden")),
            (&[("XDG_STATE_HOME", "x"), ("HOME", "/h")], Some("/h/.local/state/runwarden")),
            (&[("STATE_DIRECTORY", ""), ("HOME", "/h")], Some("/h/.local/state/runwarden")),
            (&[("HOME", "")], None),
            (&[("HOME", "relative")], None),
            (&[], None),
        ] {
            let var = |name: &str| {
                let found = vars.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| PathBuf::from(value))
            };
            assert_eq!(by_environment(var), want.map(PathBuf::from), "{vars:?}");
        }
    }

    #[test]
    fn users_are_found_by_number() {
        let users = b"root:x:0:0::/root:/bin/sh\nmaya:x:1000:1000::/home/maya:/bin/sh\nbroken\n";
        assert_eq!(user_of(1000, users).as_deref(), Some("maya"));
        assert_eq!(user_of(0, users).as_deref(), Some("root"));
        assert_eq!(user_of(7, users), None);
    }
}
