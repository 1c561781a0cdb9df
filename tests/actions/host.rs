//! disk, memory, load, process and file, of this very host.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use runwarden::outcome::{End, Verdict};
use serde_json::{Value, json};

use crate::{assert_ok, code, fields, perform};

fn number(got: &Value, name: &str) -> f64 {
    got[name].as_f64().unwrap_or_else(|| panic!("`{name}` of {got}"))
}

#[tokio::test]
async fn the_host_in_numbers() {
    let disk = perform(json!({"disk": {"path": "/"}})).await;
    assert_ok(&disk);
    let got = fields(&disk);
    for name in ["used_percent", "inodes_used_percent"] {
        assert!((0.0..=100.0).contains(&number(&got, name)), "{got}");
    }
    assert!(number(&got, "free_bytes") <= number(&got, "total_bytes"));
    assert_eq!(got["mount_point"], "/");
    let memory = perform(json!({"memory": {}})).await;
    assert_ok(&memory);
    let got = fields(&memory);
    assert!(number(&got, "available_bytes") > 0.0);
    assert!((0.0..=100.0).contains(&number(&got, "used_percent")));
    assert!((0.0..=100.0).contains(&number(&got, "swap_used_percent")));
    let load = perform(json!({"load": {}})).await;
    assert_ok(&load);
    let got = fields(&load);
    let per_core = number(&got, "one") / number(&got, "cores");
    assert!((number(&got, "per_core") - per_core).abs() < 0.01, "{got}");
}

#[tokio::test]
async fn a_disk_that_cannot_be_asked_is_unknown() {
    let outcome = perform(json!({"disk": {"path": "/no/such/place"}})).await;
    assert_eq!((outcome.rule, code(&outcome)), (Some(Verdict::Unknown), "E_FILE"));
    assert_eq!(outcome.end, End::Completed);
}

/// A process of ours that is ended with the test.
pub(crate) struct Sleeper(pub(crate) Child);

impl Sleeper {
    /// Named by its first argument.
    pub(crate) fn called(name: &str) -> Sleeper {
        use std::os::unix::process::CommandExt;
        let mut sleep = Command::new("sleep");
        Sleeper(sleep.arg0(name).arg("300").stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn processes_by_name_and_by_command_line() {
    let one = Sleeper::called("rwtest-alpha");
    let two = Sleeper::called("/usr/lib/x/rwtest-alpha");
    let mut pids = vec![one.pid(), two.pid()];
    pids.sort_unstable();
    let by_name = perform(json!({"process": {"name": "rwtest-alpha"}})).await;
    assert_ok(&by_name);
    let got = fields(&by_name);
    assert_eq!((&got["count"], &got["pids"]), (&json!(2), &json!(pids)));
    assert!(number(&got, "rss_bytes") > 0.0 && number(&got, "oldest_seconds") < 60.0);
    let by_line = perform(json!({"process": {"match": "^/usr/lib/x/rwtest-al[p]ha 300$"}})).await;
    assert_eq!(fields(&by_line)["pids"], json!([two.pid()]));
    // The kernel's name for it counts as well, but only whole.
    let by_part = perform(json!({"process": {"name": "rwtest-alph"}})).await;
    assert_eq!(by_part.rule, Some(Verdict::Critical));
    assert_eq!(fields(&by_part)["count"], 0);
    assert_eq!(fields(&by_part).get("oldest_seconds"), None);
    drop(one);
    let after = perform(json!({"process": {"name": "rwtest-alpha"}})).await;
    assert_eq!(fields(&after)["count"], 1);
}

/// Goal: we do not find ourselves. Method: a pattern that only this test's own command line has.
#[tokio::test]
async fn the_searcher_is_not_found() {
    let own = std::env::args().next().unwrap();
    let name = own.rsplit('/').next().unwrap().to_owned();
    let outcome = perform(json!({"process": {"match": format!("{name}$|{name} ")}})).await;
    let pids = fields(&outcome)["pids"].clone();
    assert!(!pids.as_array().unwrap().contains(&json!(std::process::id())), "{outcome:?}");
}

#[tokio::test]
async fn processes_by_pidfile() {
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("x.pid");
    let ask = || json!({"process": {"pidfile": pidfile}});
    assert_eq!(code(&perform(ask()).await), "E_NO_PROCESS");
    let mut sleeper = Sleeper::called("rwtest-beta");
    std::fs::write(&pidfile, format!("{}\n", sleeper.pid())).unwrap();
    let alive = perform(ask()).await;
    assert_ok(&alive);
    assert_eq!(fields(&alive)["pids"], json!([sleeper.pid()]));
    // The same pid, but the file is of a time when this process was not there yet.
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&pidfile).unwrap().set_modified(long_ago).unwrap();
    let reused = perform(ask()).await;
    assert_eq!(reused.rule, Some(Verdict::Critical));
    assert_eq!((&fields(&reused)["count"], &fields(&reused)["stale"]), (&json!(0), &json!(true)));
    // A zombie does not run.
    std::fs::write(&pidfile, format!("{}", sleeper.pid())).unwrap();
    sleeper.0.kill().unwrap();
    while std::fs::read_to_string(format!("/proc/{}/stat", sleeper.pid()))
        .is_ok_and(|stat| !stat.contains(") Z "))
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(fields(&perform(ask()).await)["count"], 0);
    for junk in ["", "abc", "-1", "0", "99999999999"] {
        std::fs::write(&pidfile, junk).unwrap();
        let outcome = perform(ask()).await;
        assert_ne!(outcome.rule, Some(Verdict::Ok), "{junk}");
        assert_eq!(outcome.rule == Some(Verdict::Critical), junk.is_empty(), "{junk}");
    }
    for bad in [json!({}), json!({"name": "a", "match": "b"}), json!({"match": "("})] {
        let outcome = perform(json!({"process": bad})).await;
        assert_eq!(outcome.end, End::NotStarted, "{bad}");
    }
}

#[tokio::test]
async fn files_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a file\n");
    std::fs::write(&path, "abc").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = perform(json!({"file": {"path": path, "sha256": true}})).await;
    assert_ok(&outcome);
    let got = fields(&outcome);
    assert_eq!(got["kind"], "file");
    assert_eq!((&got["mode"], &got["size_bytes"]), (&json!("0640"), &json!(3)));
    assert_eq!(got["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert!(number(&got, "age_seconds") < 60.0);
    assert!(got["mtime"].as_str().unwrap().ends_with('Z'));
    assert!(!got["owner"].as_str().unwrap().is_empty());
    let unhashed = perform(json!({"file": {"path": path}})).await;
    assert_eq!(fields(&unhashed).get("sha256"), None);
}

#[tokio::test]
async fn files_of_other_kinds_and_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1700)).unwrap();
    symlink(at("file"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let fifo = Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(fifo.success());
    for (name, kind, symlink) in [
        ("link", "file", true),
        ("dangling", "symlink", true),
        ("socket", "socket", false),
        ("fifo", "fifo", false),
        ("", "dir", false),
    ] {
        // A hash is asked for, too: a pipe must not hang it.
        let outcome = perform(json!({"file": {"path": at(name), "sha256": true}})).await;
        assert_ok(&outcome);
        let got = fields(&outcome);
        assert_eq!((&got["kind"], &got["symlink"]), (&json!(kind), &json!(symlink)), "{name}");
    }
    assert_eq!(fields(&perform(json!({"file": {"path": folder.path()}})).await)["mode"], "1700");
    for missing in ["nothing", "file/below"] {
        let outcome = perform(json!({"file": {"path": at(missing)}})).await;
        assert_eq!(outcome.rule, Some(Verdict::Critical), "{missing}");
        assert_eq!(fields(&outcome), json!({"exists": false}), "{missing}");
    }
    let null = perform(json!({"file": {"path": "/dev/null"}})).await;
    assert_eq!(fields(&null)["kind"], "char");
}
