//! Files that are handed to a process: a script to read, a place for its outputs.
//!
//! They stand in the run's scratch folder, which is ours alone. Another user cannot reach into
//! that: for him there is a folder of its own among the temporary files, with a name that nobody
//! can guess, which he may enter but not list or change.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::id::hex;
use crate::limits::RESULT_BYTES_MAX;
use crate::outcome::ErrorInfo;

use super::Cx;
use super::capture::unique_name;
use super::environment::{Identity, Own, error};
use super::leftover;
use super::procfs::User;

/// A file that is removed with this value.
#[derive(Debug)]
struct Handed {
    path: PathBuf,
    /// The folder that was made for it.
    folder: Option<PathBuf>,
}

/// Rights of a handed file, for its owner and, where we cannot make the user its owner, for others.
#[derive(Clone, Copy, Debug)]
enum Rights {
    Run,
    Write,
}

impl Handed {
    fn create(
        name: &str,
        content: &[u8],
        rights: Rights,
        identity: &Identity,
        cx: &Cx,
    ) -> io::Result<Handed> {
        let Identity::Sudo(Some(user)) = identity else {
            let handed = Handed { path: cx.scratch.join(name), folder: None };
            write_new(&handed.path, content, rights)?;
            return Ok(handed);
        };
        let folder = std::env::temp_dir().join(format!("runwarden-{}", hex(&random()?)));
        leftover::record_folder(&cx.scratch, &folder);
        DirBuilder::new().mode(0o711).create(&folder)?;
        let handed = Handed { path: folder.join(name), folder: Some(folder.clone()) };
        // Our own umask may have taken the right to enter away.
        fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
        write_new(&handed.path, content, rights)?;
        let uid = User::by_name(user).map(|user| user.uid);
        if Own::get().uid == 0 && uid.is_some() {
            std::os::unix::fs::chown(&handed.path, uid, None)?;
        } else {
            let mode = match rights {
                Rights::Run => 0o755,
                Rights::Write => 0o622,
            };
            fs::set_permissions(&handed.path, Permissions::from_mode(mode))?;
        }
        Ok(handed)
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn write_new(path: &Path, content: &[u8], rights: Rights) -> io::Result<()> {
    let mode = match rights {
        Rights::Run => 0o700,
        Rights::Write => 0o600,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// The text of a `script`, as a file that its interpreter reads.
#[derive(Debug)]
pub(super) struct ScriptFile(Handed);

impl ScriptFile {
    /// Writes it; `name` is the file that the text came from and becomes the end of its name, so
    /// that messages of the interpreter can be understood.
    ///
    /// # Errors
    ///
    /// `E_SCRATCH`: it could not be written.
    pub(super) fn create(
        text: &str,
        name: Option<&str>,
        identity: &Identity,
        cx: &Cx,
    ) -> Result<ScriptFile, ErrorInfo> {
        let base = name.and_then(|name| Path::new(name).file_name()?.to_str());
        let is_plain = |char: &char| char.is_ascii_alphanumeric() || "._-".contains(*char);
        let end: String = base.unwrap_or("script").chars().filter(is_plain).take(64).collect();
        let name = format!("{}-{end}", unique_name("script"));
        Handed::create(&name, text.as_bytes(), Rights::Run, identity, cx)
            .map(ScriptFile)
            .map_err(|cause| error("E_SCRATCH", format!("cannot write the script: {cause}")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }
}

/// `$RUNWARDEN_OUTPUT` of one attempt.
#[derive(Debug)]
pub(super) struct OutputFile(Handed);

impl OutputFile {
    /// Makes it, empty.
    ///
    /// # Errors
    ///
    /// `E_SCRATCH`: it could not be made.
    pub(super) fn create(identity: &Identity, cx: &Cx) -> Result<OutputFile, ErrorInfo> {
        Handed::create(&unique_name("outputs"), b"", Rights::Write, identity, cx)
            .map(OutputFile)
            .map_err(|cause| error("E_SCRATCH", format!("cannot make a file for outputs: {cause}")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// What the process wrote; nothing if it removed the file.
    ///
    /// # Errors
    ///
    /// `E_RESULT_TOO_LARGE`, `E_OUTPUTS` if it put something else than a file there.
    pub(super) fn read(self) -> Result<Vec<u8>, ErrorInfo> {
        let broken = |cause: io::Error| {
            error(
                "E_OUTPUTS",
                format!("cannot read what was written to `$RUNWARDEN_OUTPUT`: {cause}"),
            )
        };
        // No link leads us to a file that the process itself could not read, no pipe holds us.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(self.path()) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(broken(cause)),
        };
        if !file.metadata().map_err(broken)?.is_file() {
            return Err(broken(io::Error::other("not a file")));
        }
        let mut bytes = Vec::new();
        file.take(RESULT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() > RESULT_BYTES_MAX {
            return Err(error(
                "E_RESULT_TOO_LARGE",
                format!("`$RUNWARDEN_OUTPUT` holds more than {RESULT_BYTES_MAX} bytes"),
            ));
        }
        Ok(bytes)
    }
}
