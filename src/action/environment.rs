//! From a step's words to what the kernel wants: whose process, which program, which environment.
//!
//! The environment is made new: nothing of ours is inherited. It holds `PATH`, `HOME`, `USER`,
//! `LC_ALL=C.UTF-8`, `DEBIAN_FRONTEND=noninteractive`, the markers `RUNWARDEN_RUN`,
//! `RUNWARDEN_STEP` and `RUNWARDEN_ATTEMPT`, `RUNWARDEN_OUTPUT` where the step publishes outputs,
//! and the step's own `env`, which wins over the first five.
//!
//! With `user` or `sudo`, sudo decides what its command sees: HOME, USER and PATH are the other
//! user's, by sudo's own rules. The rest is handed through by name with `--preserve-env`, never
//! as arguments, which anybody on the machine could read. If we are root that is all of it; else
//! only what the step asks for, since `--preserve-env` needs `SETENV`, which an exact sudoers line
//! does not grant. If we are that user already, there is no sudo.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::limits::ARGUMENT_BYTES_MAX;
use crate::outcome::ErrorInfo;
use crate::runbook::params::ProcessSettings;

use super::Cx;
use super::procfs::User;

/// Where programs are looked for, and what processes see as `PATH`.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What `spawn` needs, owned.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) program: CString,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: Option<CString>,
}

/// As whom a process is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// As we do.
    Own,
    /// By sudo: as this user, or as root.
    Sudo(Option<String>),
}

/// Who we are.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) uid: u32,
    name: String,
    home: String,
}

impl Own {
    /// Read once: this process never changes its user.
    pub(super) fn get() -> &'static Own {
        static OWN: OnceLock<Own> = OnceLock::new();
        OWN.get_or_init(|| {
            let uid = rustix::process::geteuid().as_raw();
            match User::by_id(uid) {
                Some(user) => Own { uid, name: user.name, home: user.home },
                // Users of a directory service stand in no file; who started us knew them.
                None => Own {
                    uid,
                    name: std::env::var("USER").unwrap_or_else(|_| uid.to_string()),
                    home: std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
                },
            }
        })
    }
}

/// As whom `settings` want the process to run.
///
/// # Errors
///
/// `E_USER`: what is named cannot be a user.
pub(super) fn identity(settings: &ProcessSettings) -> Result<Identity, ErrorInfo> {
    let own = Own::get();
    let Some(name) = &settings.user else {
        let needs_sudo = settings.sudo && own.uid != 0;
        return Ok(if needs_sudo { Identity::Sudo(None) } else { Identity::Own });
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@\\$+".contains(&byte);
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(is_name) {
        return Err(error("E_USER", format!("`{name}` is not the name of a user")));
    }
    if *name == own.name || User::by_name(name).is_some_and(|user| user.uid == own.uid) {
        return Ok(Identity::Own);
    }
    let is_root = name == "root";
    Ok(Identity::Sudo((!is_root).then(|| name.clone())))
}

/// Makes `argv` ready to be executed.
///
/// # Errors
///
/// `E_NOT_FOUND`, `E_PERMISSION`, `E_ARG_TOO_LONG`, `E_ARGUMENT`: nothing can be started so.
pub(super) fn prepare(
    argv: &[String],
    settings: &ProcessSettings,
    identity: &Identity,
    output_file: Option<&Path>,
    cx: &Cx,
) -> Result<Prepared, ErrorInfo> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(error("E_ARGUMENT", "there is no program to start".to_owned()));
    }
    if let Some((name, _)) =
        settings.env.iter().find(|(name, _)| name.is_empty() || name.contains('='))
    {
        return Err(error("E_ARGUMENT", format!("`{name}` cannot be the name of a variable")));
    }
    let env = environment(settings, output_file, cx);
    let (program, argv) = match identity {
        Identity::Own => {
            let path = env.iter().rev().find(|(name, _)| name == "PATH");
            let path = path.map_or(PATH, |(_, value)| value.as_str());
            (find_program(&argv[0], path, settings.cwd.as_deref())?, argv.to_vec())
        }
        Identity::Sudo(user) => {
            let sudo = find_program("sudo", PATH, None)?;
            (sudo, sudo_argv(argv, user.as_deref(), settings, &env))
        }
    };
    let argv = argv.iter().map(|text| argument(text)).collect::<Result<_, _>>()?;
    let env: Result<_, _> =
        env.iter().map(|(name, value)| argument(&format!("{name}={value}"))).collect();
    Ok(Prepared {
        program: c_string(program.as_os_str().as_bytes(), "the program's path")?,
        argv,
        env: env?,
        cwd: settings.cwd.as_ref().map(|cwd| c_string(cwd.as_bytes(), "`cwd`")).transpose()?,
    })
}

/// The whole environment, in order, each name once.
fn environment(
    settings: &ProcessSettings,
    output_file: Option<&Path>,
    cx: &Cx,
) -> Vec<(String, String)> {
    let own = Own::get();
    let fixed = [
        ("PATH", PATH.to_owned()),
        ("HOME", own.home.clone()),
        ("USER", own.name.clone()),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("DEBIAN_FRONTEND", "noninteractive".to_owned()),
    ];
    let mut env: Vec<(String, String)> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut set = |name: &str, value: String| {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some(pair) => pair.1 = value,
            None => env.push((name.to_owned(), value)),
        };
    };
    for (name, value) in &settings.env {
        set(name, value.clone());
    }
    // Last: what is left behind is found by these, so nobody else sets them.
    for (name, value) in markers(cx) {
        set(name, value);
    }
    if let Some(path) = output_file {
        set("RUNWARDEN_OUTPUT", path.to_string_lossy().into_owned());
    }
    env
}

/// What marks every process of an attempt, as long as it keeps its environment.
pub(super) fn markers(cx: &Cx) -> Vec<(&'static str, String)> {
    vec![
        ("RUNWARDEN_RUN", cx.run.to_string()),
        ("RUNWARDEN_STEP", cx.step.clone()),
        ("RUNWARDEN_ATTEMPT", cx.attempt.to_string()),
    ]
}

fn sudo_argv(
    argv: &[String],
    user: Option<&str>,
    settings: &ProcessSettings,
    env: &[(String, String)],
) -> Vec<String> {
    let mut sudo = vec!["sudo".to_owned(), "-n".to_owned()];
    if let Some(user) = user {
        sudo.extend(["-u".to_owned(), user.to_owned()]);
    }
    let is_asked_for = |name: &str| {
        settings.env.iter().any(|(asked, _)| asked == name) || name == "RUNWARDEN_OUTPUT"
    };
    let theirs = ["PATH", "HOME", "USER"];
    let we_are_root = Own::get().uid == 0;
    let handed: Vec<&str> = env
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| is_asked_for(name) || we_are_root && !theirs.contains(name))
        .collect();
    if !handed.is_empty() {
        sudo.push(format!("--preserve-env={}", handed.join(",")));
    }
    sudo.push("--".to_owned());
    sudo.extend(argv.iter().cloned());
    sudo
}

/// The file that `name` stands for, found as `execvp` would, so that an error can say more.
fn find_program(name: &str, path: &str, cwd: Option<&str>) -> Result<PathBuf, ErrorInfo> {
    let base = Path::new(cwd.unwrap_or(""));
    if name.contains('/') {
        // `execve` itself says what is wrong with it, and in the working folder of the process.
        return Ok(PathBuf::from(name));
    }
    let mut forbidden = None;
    for folder in path.split(':') {
        // An empty element is the working folder: so says POSIX.
        let candidate = Path::new(if folder.is_empty() { "." } else { folder }).join(name);
        match fs::metadata(base.join(&candidate)) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {
                return Ok(candidate);
            }
            Ok(meta) if meta.is_file() => forbidden = Some(candidate),
            _ => {}
        }
    }
    Err(match forbidden {
        Some(file) => error(
            "E_PERMISSION",
            format!("cannot start `{}`: it is not executable", file.display()),
        ),
        None => error("E_NOT_FOUND", format!("cannot find the program `{name}` in PATH `{path}`")),
    })
}

fn argument(text: &str) -> Result<CString, ErrorInfo> {
    // The kernel counts the final NUL.
    if text.len() >= ARGUMENT_BYTES_MAX {
        let start: String = text.chars().take(40).collect();
        return Err(error(
            "E_ARG_TOO_LONG",
            format!(
                "cannot hand over `{start}…`: {} bytes, and one argument or variable holds at \
                 most {} (use `stdin`)",
                text.len(),
                ARGUMENT_BYTES_MAX - 1
            ),
        ));
    }
    c_string(text.as_bytes(), "an argument or variable")
}

fn c_string(bytes: &[u8], what: &str) -> Result<CString, ErrorInfo> {
    CString::new(bytes).map_err(|_| {
        let text = OsStr::from_bytes(bytes).to_string_lossy().into_owned();
        let start: String = text.chars().take(40).collect();
        error("E_ARGUMENT", format!("cannot hand over {what} with a NUL byte: `{start}`"))
    })
}

/// Why the program could not be executed, for people.
pub(super) fn exec_error(argv: &[String], prepared: &Prepared, cause: &io::Error) -> ErrorInfo {
    let program = prepared.program.to_string_lossy();
    let shown = if program == argv[0].as_str() {
        format!("`{program}`")
    } else {
        format!("`{}` (`{program}`)", argv[0])
    };
    let cwd = prepared.cwd.as_ref().map(|cwd| cwd.to_string_lossy().into_owned());
    let file = Path::new(cwd.as_deref().unwrap_or("")).join(program.as_ref());
    match cause.raw_os_error() {
        Some(libc::ENOENT) if file.exists() => {
            let first = first_line(&file);
            error("E_NOT_FOUND", format!("cannot start {shown}: its interpreter is missing{first}"))
        }
        Some(libc::ENOENT | libc::ENOTDIR) => {
            error("E_NOT_FOUND", format!("cannot find the program {shown}"))
        }
        Some(libc::EACCES | libc::EPERM) => {
            error("E_PERMISSION", format!("cannot start {shown}: {cause}"))
        }
        Some(libc::ENOEXEC) => error(
            "E_EXEC_FORMAT",
            format!(
                "cannot start {shown}: neither a program of this machine nor a script with `#!`"
            ),
        ),
        Some(libc::E2BIG) => error(
            "E_ARG_TOO_LONG",
            format!("cannot start {shown}: its arguments and variables are too long together"),
        ),
        _ => error("E_SPAWN", format!("cannot start {shown}: {cause}")),
    }
}

/// ` (#!/bin/none)`, of a script.
fn first_line(file: &Path) -> String {
    let mut start = [0; 80];
    let length = fs::File::open(file).and_then(|mut file| io::Read::read(&mut file, &mut start));
    let text = String::from_utf8_lossy(&start[..length.unwrap_or(0)]).into_owned();
    match text.lines().next() {
        Some(line) if line.starts_with("#!") => format!(" (`{line}`)"),
        _ => String::new(),
    }
}

/// An error of ours.
pub(super) fn error(code: &str, message: String) -> ErrorInfo {
    ErrorInfo { code: code.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> ProcessSettings {
        serde_json::from_str(json).expect(json)
    }

    /// Goal: no name turns into an option of sudo, and nobody asks sudo for what he is.
    #[test]
    fn whom_a_process_runs_as() {
        for name in ["-u", "", "a b", "bob;id", "bob\n", "#0", "ü"] {
            let settings = ProcessSettings { user: Some(name.to_owned()), ..Default::default() };
            assert_eq!(identity(&settings).expect_err(name).code, "E_USER", "{name}");
        }
        let own = &Own::get().name;
        let same = ProcessSettings { user: Some(own.clone()), sudo: true, ..Default::default() };
        assert_eq!(identity(&same).expect("a user"), Identity::Own);
        let other = settings(r#"{"user": "nobody"}"#);
        assert_eq!(identity(&other).expect("a user"), Identity::Sudo(Some("nobody".to_owned())));
    }

    /// Goal: values never stand in the arguments of sudo, and the command comes after `--`.
    #[test]
    fn sudo_gets_names_not_values() {
        let settings = settings(r#"{"env": [["A", "secret"], ["PATH", "/x"]]}"#);
        let env: Vec<(String, String)> =
            [("PATH", "/x"), ("HOME", "/h"), ("A", "secret"), ("RUNWARDEN_OUTPUT", "/o")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let argv = ["-rf".to_owned(), "x".to_owned()];
        let shown = sudo_argv(&argv, Some("bob"), &settings, &env).join(" ");
        let handed = "--preserve-env=PATH,A,RUNWARDEN_OUTPUT";
        assert_eq!(shown, format!("sudo -n -u bob {handed} -- -rf x"));
    }

    #[test]
    fn programs_are_found_or_the_error_says_where_it_looked() {
        assert!(find_program("sh", PATH, None).is_ok());
        let missing = find_program("no-such-program", "/bin:/usr/bin", None).expect_err("missing");
        assert_eq!(missing.code, "E_NOT_FOUND");
        assert!(missing.message.contains("`no-such-program` in PATH `/bin:/usr/bin`"));
        let plain = find_program("passwd", "/etc", None).expect_err("no program");
        assert_eq!(plain.code, "E_PERMISSION");
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let long = "a".repeat(ARGUMENT_BYTES_MAX);
        assert_eq!(argument(&long).expect_err("too long").code, "E_ARG_TOO_LONG");
        assert!(argument(&long[1..]).is_ok());
        let error = argument("a\0b").expect_err("a NUL");
        assert_eq!(error.code, "E_ARGUMENT");
    }
}
