//! The store on disks that are full or read-only.

use std::fs;
use std::process::Command;

use facts::{NOW, ended, finished, open, requested, run, started, verify};
use runwarden::audit::verify::Trust;
use runwarden::id::RunId;
use runwarden::run::event::RunState;
use runwarden::store::{Append, Blob, OpenMode, Store, StoreError};

mod facts;

/// A file system of `mebibytes` at a folder, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, with a message: this user may not mount.
    fn mount(mebibytes: u32) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: only root can mount a disk that is small enough to be full");
            return None;
        }
        Some(SmallDisk(dir))
    }

    fn fill(&self) {
        let mut filler = fs::File::create(self.0.path().join("filler")).unwrap();
        let block = [0; 4096];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &options]).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Goal: on a full disk nothing begins, what has happened is still recorded, reading goes on, and
/// once there is room the same process goes on.
#[test]
fn a_full_disk_starts_nothing_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let state = disk.0.path().join("state");
    let store = open(&state);
    run(&store, 2);
    let id = RunId::generate();
    store.append_blocking(Append::of(id, vec![requested(), started("a")], NOW)).unwrap();
    disk.fill();
    let begin = |bytes: usize| {
        let fact = serde_json::json!({ "type": "x", "text": "y".repeat(bytes) });
        store.append_blocking(Append::raw(serde_json::from_value(fact).unwrap(), NOW))
    };
    // What fits into pages that the log already has is still let in.
    let refused = (0..200).find_map(|_| begin(50_000).err()).expect("the disk is full");
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    assert!(matches!(begin(50_000).unwrap_err(), StoreError::Full(_)));
    let large: Vec<u8> =
        (0..60_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let end = Append {
        is_end: true,
        blobs: vec![Blob::of(large)],
        ..Append::of(id, vec![finished("a"), ended()], NOW)
    };
    store.append_blocking(end).unwrap();
    let row = store.reader().unwrap().run_row(id).unwrap().unwrap();
    assert_eq!(row.state, RunState::Finished);
    assert!(!state.join("reserve").exists());
    disk.empty();
    begin(50_000).unwrap();
    assert_eq!(fs::metadata(state.join("reserve")).unwrap().len(), 4 << 20);
    drop(store);
    assert!(verify(&state, Trust::default()).is_ok());
    run(&open(&state), 1);
}

/// Goal: a disk that nobody may write can be read and verified, and says that it is read-only.
#[test]
fn a_read_only_disk_is_read() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let state = disk.0.path().join("a state? 100%#");
    run(&open(&state), 2);
    disk.remount("ro");
    let refused = Store::open(&state, OpenMode::ReadWrite).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly(_)), "{refused:?}");
    assert!(Store::open(&state, OpenMode::ReadOnly).is_ok());
    assert_eq!(verify(&state, Trust::default()).unwrap().size, 8);
}
