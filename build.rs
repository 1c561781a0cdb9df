//! Tells the program its version: the package's, and the commit where one can be known.
//!
//! Reads `.git` itself, so that a build needs no `git`; a source tree without one builds as well.
//! Who packages the program may set `RUNWARDEN_COMMIT`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Hexadecimal digits of the commit that are shown: as many as `git describe` would need in a
/// repository of millions of objects.
const COMMIT_DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUNWARDEN_COMMIT");
    let package = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let given = env::var("RUNWARDEN_COMMIT").ok().filter(|commit| is_commit(commit));
    let commit = given.or_else(|| {
        let folder = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)?;
        commit_of(&folder)
    });
    let version = match commit {
        Some(commit) => format!("{package} ({})", &commit[..commit.len().min(COMMIT_DIGITS)]),
        None => package,
    };
    println!("cargo::rustc-env=RUNWARDEN_VERSION={version}");
}

/// The commit that is checked out in `folder` itself: a repository around it is another's.
fn commit_of(folder: &Path) -> Option<String> {
    let git = folder.join(".git");
    let git = match fs::read_to_string(&git) {
        // A worktree: a file that names the folder.
        Ok(text) => folder.join(text.strip_prefix("gitdir:")?.trim()),
        Err(_) => git,
    };
    let head_path = git.join("HEAD");
    let head = fs::read_to_string(&head_path).ok()?;
    watch(&head_path);
    let Some(name) = head.strip_prefix("ref:").map(str::trim) else {
        return Some(head.trim().to_owned()).filter(|commit| is_commit(commit));
    };
    let common = match fs::read_to_string(git.join("commondir")) {
        Ok(path) => git.join(path.trim()),
        Err(_) => git,
    };
    let loose = common.join(name);
    let packed = common.join("packed-refs");
    watch(&loose);
    watch(&packed);
    let commit = fs::read_to_string(loose).ok().or_else(|| {
        let packed = fs::read_to_string(packed).ok()?;
        packed.lines().find_map(|line| {
            let (commit, of) = line.split_once(' ')?;
            (of == name).then(|| commit.to_owned())
        })
    })?;
    Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
}

/// Cargo takes a file that is not there for one that has changed, and would build each time.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn is_commit(text: &str) -> bool {
    text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
