//! Goal: a process is started clean, watched, capped and ended, and nothing of it is left behind.
//! Method: real processes of this machine. Tests run side by side in one process, as attempts do;
//! those that count descriptors or children run alone, in a copy of this program.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runwarden::action::process::{Conduct, Leftovers, ProcessEnd, run_with};
use runwarden::action::{Cancel, Cx, Live, leftover, perform};
use runwarden::id::{Digest, RunId};
use runwarden::outcome::{Captured, End, Kept, Verdict};
use runwarden::runbook::params::{ProcessSettings, Resolved};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

/// Everything an attempt needs, and the folder that it may use.
struct World {
    cx: Cx,
    cancel: watch::Sender<Cancel>,
    scratch: TempDir,
}

impl World {
    fn new() -> World {
        let scratch = tempfile::tempdir().unwrap();
        let (cancel, receiver) = watch::channel(Cancel::No);
        let cx = Cx {
            run: RunId::generate(),
            step: "a_step".to_owned(),
            attempt: 2,
            deadline: None,
            connect_timeout: Duration::from_secs(1),
            cancel: receiver,
            scratch: scratch.path().to_owned(),
            live: Arc::new(Live::default()),
        };
        World { cx, cancel, scratch }
    }

    fn within(millis: u64) -> World {
        let mut world = World::new();
        world.cx.deadline = Some(Instant::now() + Duration::from_millis(millis));
        world
    }

    async fn run(&self, argv: &[&str]) -> ProcessEnd {
        self.run_as(argv, &ProcessSettings::default(), HASTY).await
    }

    async fn run_as(
        &self,
        argv: &[&str],
        settings: &ProcessSettings,
        conduct: Conduct,
    ) -> ProcessEnd {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        run_with(&argv, settings, &self.cx, conduct).await
    }

    async fn sh(&self, text: &str) -> ProcessEnd {
        self.run(&["bash", "-c", text]).await
    }
}

/// As in earnest, only less patient.
const HASTY: Conduct = Conduct {
    kill_grace: Duration::from_millis(300),
    pipe_drain: Duration::from_millis(100),
    cgroup: true,
    leftovers: Leftovers::End,
};

/// With and without a cgroup: nothing may depend on whether one can be had.
const BOTH: [Conduct; 2] = [HASTY, Conduct { cgroup: false, ..HASTY }];

fn bytes(captured: &Option<Captured>) -> Vec<u8> {
    match &captured.as_ref().expect("it ran").kept {
        Kept::Memory(bytes) => bytes.clone(),
        Kept::File { path, .. } => fs::read(path).unwrap(),
    }
}

fn text(captured: &Option<Captured>) -> String {
    String::from_utf8(bytes(captured)).unwrap()
}

fn code(end: &ProcessEnd) -> &str {
    end.error.as_ref().map_or("", |error| &error.code)
}

fn with(change: impl FnOnce(&mut ProcessSettings)) -> ProcessSettings {
    let mut settings = ProcessSettings::default();
    change(&mut settings);
    settings
}

/// Whether a process runs that has `word` among its arguments. Tests mark theirs with a number
/// that nobody else sleeps for.
fn runs(word: &str) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { panic!("no /proc") };
    entries.flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    })
}

/// Runs the test of this name in a process of its own; true in that process.
fn is_alone(name: &str) -> bool {
    if std::env::var_os("RUNWARDEN_TEST_ALONE").is_some() {
        return true;
    }
    is_alone_by(Command::new(std::env::current_exe().unwrap()), name)
}

/// The same, started by `command`.
fn is_alone_by(mut command: Command, name: &str) -> bool {
    if std::env::var_os("RUNWARDEN_TEST_ALONE").is_some() {
        return true;
    }
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.env("RUNWARDEN_TEST_ALONE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("1 passed"), "{stdout}");
    false
}

#[tokio::test]
async fn exit_codes_and_signals() {
    let world = World::new();
    for (shell, exit_code, signal, error) in [
        ("exit 0", Some(0), None, ""),
        ("exit 3", Some(3), None, ""),
        ("exit 255", Some(255), None, ""),
        ("kill -KILL $$", None, Some(9), "E_SIGNAL"),
        ("kill -SEGV $$", None, Some(11), "E_SIGNAL"),
        ("kill -PIPE $$", None, Some(13), "E_SIGNAL"),
    ] {
        let end = world.sh(shell).await;
        let got = (end.end, end.exit_code, end.signal, code(&end));
        assert_eq!(got, (End::Completed, exit_code, signal, error), "{shell}");
    }
}

/// Goal: what never began says so, and says what to mend.
/// Goal: a supervisor that ignores the ends of its children, and us with it, hides no exit code.
#[test]
fn ends_of_children_ignored_before_us() {
    let mut command = Command::new("env");
    command.arg("--ignore-signal=CHLD").arg(std::env::current_exe().unwrap());
    if !is_alone_by(command, "ends_of_children_ignored_before_us") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let end = World::new().sh("exit 3").await;
        assert_eq!((end.end, end.exit_code), (End::Completed, Some(3)));
    });
}

/// Becomes the tracer of the process whose number is in the file `pid`, and hears of its end only
/// a while after it.
const TRACER: &str = r#"
import ctypes, os, sys, time
def text(name):
    try: return open(name).read()
    except OSError: return ""
os.chdir(sys.argv[1])
while not text("pid").endswith("\n"): time.sleep(0.002)
pid = int(text("pid"))
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
seized = libc.ptrace(0x4206, pid, 0, 0) == 0
with open("go", "w") as go: go.write("now\n")
if not seized: sys.exit(7)
while ") Z " not in text(f"/proc/{pid}/stat"): time.sleep(0.002)
time.sleep(0.3)
"#;

/// Goal: while somebody else traces the process, its end is told to him first; we wait for our turn.
#[tokio::test]
async fn a_traced_process_still_has_its_exit_code() {
    let world = World::new();
    let folder = world.scratch.path().display().to_string();
    let mut tracer = Command::new("python3").args(["-c", TRACER, &folder]).spawn().unwrap();
    // No signal may reach it while it is traced: it would stop until its tracer lets it go on.
    let text = format!("cd {folder}; mkfifo go; echo $$ > pid; read -r word < go; exit 3");
    let end = world.sh(&text).await;
    if tracer.wait().unwrap().code() == Some(7) {
        return; // This machine lets nobody trace.
    }
    assert_eq!((end.end, end.exit_code), (End::Completed, Some(3)));
    assert!(end.left.is_empty(), "{:?}", end.left);
}

#[tokio::test]
async fn what_cannot_be_started() {
    let world = World::new();
    let file = |name: &str, content: &str, mode: u32| {
        let path = world.scratch.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = file("plain", "echo hi\n", 0o644);
    let bare = file("bare", "echo hi\n", 0o755);
    let lost = file("lost", "#!/no/such/interpreter\n", 0o755);
    let long = "a".repeat(200 << 10);
    let many: Vec<&str> = vec![&long[..120 << 10]; 40];
    let many: Vec<&str> = ["echo"].into_iter().chain(many).collect();
    let cases: &[(&[&str], &str, &str)] = &[
        (&["no-such-program-4711"], "E_NOT_FOUND", "`no-such-program-4711` in PATH `/usr/local"),
        (&["/no/such/program"], "E_NOT_FOUND", "`/no/such/program`"),
        (&[&plain], "E_PERMISSION", "Permission denied"),
        (&["/"], "E_PERMISSION", "`/`"),
        (&[&bare], "E_EXEC_FORMAT", "`#!`"),
        (&[&lost], "E_NOT_FOUND", "interpreter is missing (`#!/no/such/interpreter`)"),
        (&["echo", &long], "E_ARG_TOO_LONG", "`stdin`"),
        (&many, "E_ARG_TOO_LONG", "too long together"),
        (&["echo", "a\0b"], "E_ARGUMENT", "NUL"),
        (&[], "E_ARGUMENT", "no program"),
        (&[""], "E_ARGUMENT", "no program"),
    ];
    for (argv, error, message) in cases {
        let end = world.run(argv).await;
        let shown = end.error.expect(error);
        assert_eq!((end.end, shown.code.as_str()), (End::NotStarted, *error), "{}", shown.message);
        assert!(shown.message.contains(message), "{}", shown.message);
        assert!(end.stdout.is_none());
    }
    for (settings, error) in [
        (with(|settings| settings.cwd = Some("/no/such/folder".to_owned())), "E_CWD"),
        (with(|settings| settings.user = Some("--".to_owned())), "E_USER"),
        (with(|settings| settings.env = vec![("A=B".to_owned(), String::new())]), "E_ARGUMENT"),
    ] {
        let end = world.run_as(&["true"], &settings, HASTY).await;
        assert_eq!((end.end, code(&end)), (End::NotStarted, error));
    }
}

/// Goal: the whole environment is known, whatever we ourselves were started with.
#[tokio::test]
async fn the_environment_is_clean() {
    let world = World::new();
    let settings = with(|settings| {
        settings.env = [("A", "b c\n=$(x)"), ("LC_ALL", "C"), ("RUNWARDEN_STEP", "forged")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    });
    let end = world.run_as(&["env", "-0"], &settings, HASTY).await;
    let got = text(&end.stdout);
    let got: BTreeSet<&str> = got.split_terminator('\0').collect();
    let run = format!("RUNWARDEN_RUN={}", world.cx.run);
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let uid = rustix::process::getuid().as_raw().to_string();
    let own: Vec<&str> = passwd
        .lines()
        .map(|line| line.split(':').collect())
        .find(|user: &Vec<&str>| user[2] == uid)
        .unwrap();
    let (user, home) = (format!("USER={}", own[0]), format!("HOME={}", own[5]));
    let expected = BTreeSet::from([
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL=C",
        "DEBIAN_FRONTEND=noninteractive",
        "A=b c\n=$(x)",
        "RUNWARDEN_STEP=a_step",
        "RUNWARDEN_ATTEMPT=2",
        &run,
        &user,
        &home,
    ]);
    assert_eq!(got, expected);
}

/// Goal: descriptors, signals, terminal, group and umask are as in a fresh session.
#[tokio::test]
async fn nothing_else_is_inherited() {
    // One that somebody forgot to close on exec.
    let leak = fs::File::open("/dev/null").unwrap();
    let leak = rustix::io::fcntl_dupfd_cloexec(&leak, 50).unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let world = World::new();
    let end = world.run(&["find", "/proc/self/fd", "-mindepth", "1", "-printf", "%f %l\n"]).await;
    let open = text(&end.stdout);
    let mut open: Vec<&str> = open.lines().collect();
    open.sort_unstable();
    // From 3 on: what `find` itself has opened.
    assert!(open[0] == "0 /dev/null" && open[1].starts_with("1 pipe:"), "{open:?}");
    assert!(open[2].starts_with("2 pipe:"), "{open:?}");
    assert!(open[3..].iter().all(|fd| !fd.contains("/dev/null")), "{open:?}");
    let end = world.sh("grep -E '^Sig(Blk|Ign)' /proc/self/status; umask").await;
    let none = "0000000000000000";
    let expected = format!("SigBlk:\t{none}\nSigIgn:\t{none}\n0022\n");
    assert_eq!(text(&end.stdout), expected);
    let end = world.run(&["cat", "/proc/self/stat"]).await;
    let stat = text(&end.stdout);
    let fields: Vec<&str> = stat.split(' ').collect();
    assert_eq!((fields[0], fields[0]), (fields[4], fields[5]), "its own group and session");
    assert_eq!(fields[6], "0", "no terminal");
    let settings = with(|settings| settings.cwd = Some("/usr".to_owned()));
    let end = world.run_as(&["pwd"], &settings, HASTY).await;
    assert_eq!(text(&end.stdout), "/usr\n");
}

#[tokio::test]
async fn standard_input() {
    let world = World::new();
    assert_eq!(text(&world.run(&["cat"]).await.stdout), "");
    let large = "0123456789abcdef".repeat(20 << 16);
    let settings = with(|settings| settings.stdin = Some(large.clone()));
    let end = world.run_as(&["cat"], &settings, HASTY).await;
    let stdout = end.stdout.as_ref().unwrap();
    assert_eq!(stdout.bytes, 20 << 20);
    assert_eq!(stdout.sha256, Digest::of(large.as_bytes()));
    // Who does not read, or not to the end, is not held up.
    for argv in [&["true"][..], &["head", "-c", "10"]] {
        let end = world.run_as(argv, &settings, HASTY).await;
        assert_eq!((end.end, end.exit_code), (End::Completed, Some(0)));
    }
}

/// Goal: an argument, a variable and a script's text arrive byte for byte, whatever they hold.
#[tokio::test]
async fn hostile_values_stay_one_value() {
    let world = World::new();
    let long = "x".repeat(100_000);
    let mark = world.scratch.path().join("PWN");
    let touch = format!("$(touch {0}) `touch {0}`; touch {0} #", mark.display());
    for value in
        ["", " ", "a b", "'\"", "*", "-n", "--", "$(id)", "a\nb\n", "\x1b[2J", "ä€", &touch, &long]
    {
        let end = world.run(&["printf", "%s", value]).await;
        assert_eq!(text(&end.stdout), value);
        let settings = with(|settings| settings.env = vec![("V".into(), value.into())]);
        let end = world.run_as(&["sh", "-c", r#"printf %s "$V""#], &settings, HASTY).await;
        assert_eq!(text(&end.stdout), value);
    }
    assert!(!mark.exists());
}

/// Goal: a flood is counted and hashed whole, its two ends are kept, and it is not slow.
#[tokio::test]
async fn large_output_keeps_both_ends() {
    const BYTES: u64 = 200 << 20;
    let world = World::new();
    let end = world.sh(&format!("echo head; yes abcdefg | head -c {BYTES}; echo tail")).await;
    let stdout = end.stdout.as_ref().unwrap();
    assert_eq!((end.exit_code, stdout.bytes), (Some(0), BYTES + 10));
    let shell = format!("(echo head; yes abcdefg | head -c {BYTES}; echo tail) | sha256sum");
    let sum = text(&world.sh(&shell).await.stdout);
    assert_eq!(stdout.sha256.hex(), sum[..64]);
    let Kept::File { path, bytes, tail_at } = &stdout.kept else { panic!("in memory") };
    assert_eq!((*bytes, *tail_at, stdout.truncated), (8 << 20, Some(4 << 20), true));
    let kept = fs::read(path).unwrap();
    assert_eq!(kept.len(), 8 << 20);
    assert!(kept.starts_with(b"head\nabcdefg\n") && kept.ends_with(b"\nabcdefg\ntail\n"));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn any_bytes_on_both_streams() {
    let world = World::new();
    let end = world.sh(r"printf 'a\0b\377\033[2J'; printf 'e\0\n' >&2").await;
    assert_eq!(bytes(&end.stdout), b"a\0b\xff\x1b[2J");
    assert_eq!(bytes(&end.stderr), b"e\0\n");
    let end = world.run(&["head", "-c", "1000000", "/dev/zero"]).await;
    let stdout = end.stdout.as_ref().unwrap();
    assert_eq!((stdout.bytes, stdout.truncated), (1_000_000, false));
    assert_eq!(bytes(&end.stdout), vec![0; 1_000_000]);
}

/// Goal: an attempt ends with its own process, whoever holds its pipes, and nothing stays.
#[tokio::test]
async fn what_is_left_behind_is_ended() {
    let cases = [
        ("background", "sleep 4711.NN & echo hi"),
        ("background, no pipes", "sleep 4711.NN >/dev/null 2>&1 & echo hi"),
        ("own session", "setsid sleep 4711.NN & echo hi"),
        ("double fork", "(setsid bash -c 'sleep 4711.NN & sleep 4711.NN' &) & echo hi"),
        ("clean daemon", "setsid env -i sleep 4711.NN </dev/null >/dev/null 2>&1 & echo hi"),
        ("immune to TERM", "(trap '' TERM HUP; exec setsid sleep 4711.NN) & echo hi"),
        ("stopped", "sleep 4711.NN & kill -STOP $!; echo hi"),
        ("own job group", "set -m; sleep 4711.NN & echo hi"),
        ("tree", "bash -c 'bash -c \"sleep 4711.NN & sleep 4711.NN\" & sleep 4711.NN' & echo hi"),
        ("flood", "yes 4711.NN & echo hi"),
    ];
    for (at, (what, shell)) in cases.into_iter().enumerate() {
        for (mode, conduct) in BOTH.into_iter().enumerate() {
            let number = format!("4711.{mode}{at}1");
            // The parent ends only when its children have begun: else there is a race to win.
            let shell = format!("{}; sleep 0.02", shell.replace("4711.NN", &number));
            let world = World::new();
            let begin = Instant::now();
            let end =
                world.run_as(&["bash", "-c", &shell], &ProcessSettings::default(), conduct).await;
            assert_eq!((end.end, end.exit_code), (End::Completed, Some(0)), "{what}");
            assert!(bytes(&end.stdout).starts_with(b"hi") || what == "flood", "{what}");
            assert_eq!(end.left, [""; 0], "{what}");
            assert!(begin.elapsed() < Duration::from_secs(2), "{what}: {:?}", begin.elapsed());
            assert!(!runs(&number), "{what} {mode}");
        }
    }
}

/// Goal: an attempt that ends leaves alone what another attempt has under way.
#[tokio::test]
async fn attempts_do_not_end_each_others_processes() {
    for (mode, conduct) in BOTH.into_iter().enumerate() {
        let (one, two) = (World::new(), World::new());
        let other = World { cx: Cx { step: "other".to_owned(), ..two.cx.clone() }, ..two };
        let number = format!("0.4{mode}4711");
        // Its daemon shows no mark and is an orphan of ours while the other attempt ends.
        let shell = format!(
            "(setsid env -i sh -c 'sleep {number}; echo done > {}/done' &) ; sleep 0.6; cat {0}/done",
            other.scratch.path().display()
        );
        let argv = ["bash", "-c", &shell];
        let none = ProcessSettings::default();
        let (long, short) = tokio::join!(other.run_as(&argv, &none, conduct), async {
            let mut ends = Vec::new();
            for _ in 0..10 {
                ends.push(one.run_as(&["sleep", "0.03"], &none, conduct).await);
            }
            ends
        });
        assert_eq!(text(&long.stdout), "done\n", "{mode}");
        assert!(short.iter().all(|end| end.exit_code == Some(0)));
    }
}

/// Goal: at the deadline all of it ends, by TERM if it listens, else by KILL.
#[tokio::test]
async fn deadlines() {
    let cases = [
        ("listens", "sleep 4712.NN", Some(15)),
        ("cleans up", "trap 'echo bye; exit 7' TERM; sleep 4712.NN & wait", None),
        ("does not listen", "trap '' TERM; sleep 4712.NN; sleep 4712.NN", Some(9)),
        ("stopped itself", "kill -STOP $$; sleep 4712.NN", Some(15)),
        ("stopped child", "sleep 4712.NN & kill -STOP $!; wait", Some(15)),
        ("daemon", "setsid env -i sleep 4712.NN & wait", Some(15)),
        ("loud", "yes 4712.NN", Some(15)),
    ];
    for (at, (what, shell, signal)) in cases.into_iter().enumerate() {
        for (mode, conduct) in BOTH.into_iter().enumerate() {
            let number = format!("4712.{mode}{at}1");
            let world = World::within(100);
            let shell = shell.replace("4712.NN", &number);
            let begin = Instant::now();
            let end =
                world.run_as(&["bash", "-c", &shell], &ProcessSettings::default(), conduct).await;
            assert_eq!((end.end, end.signal), (End::TimedOut, signal), "{what}");
            assert_eq!(code(&end), "E_TIMEOUT");
            if what == "cleans up" {
                assert_eq!((end.exit_code, text(&end.stdout).as_str()), (Some(7), "bye\n"));
            }
            let took = begin.elapsed();
            assert!(took < Duration::from_millis(900), "{what} {mode}: {took:?}");
            assert!(took > Duration::from_millis(100), "{what} {mode}: {took:?}");
            assert!(!runs(&number), "{what} {mode}");
        }
    }
}

#[tokio::test]
async fn cancels() {
    // Asked in order, then at once: the second does not wait for the grace.
    let patient = Conduct { kill_grace: Duration::from_secs(60), ..HASTY };
    let world = World::new();
    let none = ProcessSettings::default();
    let argv = ["bash", "-c", "trap '' TERM; echo ready; sleep 4713.1; sleep 4713.1"];
    let (end, ()) = tokio::join!(world.run_as(&argv, &none, patient), async {
        until(|| *world.cx.live.last_line.lock().unwrap() == b"ready").await;
        world.cancel.send(Cancel::InOrder).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(runs("4713.1"), "it does not listen");
        world.cancel.send(Cancel::AtOnce).unwrap();
    });
    assert_eq!((end.end, end.signal, code(&end)), (End::Cancelled, Some(9), "E_CANCELLED"));
    assert!(!runs("4713.1"));

    // Asked before it began: nothing happens.
    let end = world.run(&["touch", &world.scratch.path().join("x").display().to_string()]).await;
    assert_eq!((end.end, end.stdout.is_none()), (End::Cancelled, true));
    assert!(!world.scratch.path().join("x").exists());
    let world = World::within(0);
    assert_eq!(world.run(&["true"]).await.end, End::TimedOut);

    // Nobody is left who could ask.
    let World { cx, cancel, scratch: _scratch } = World::new();
    drop(cancel);
    let end = run_with(&["true".to_owned()], &none, &cx, HASTY).await;
    assert_eq!(end.end, End::Completed);
}

async fn until(is_true: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !is_true() {
        assert!(Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Goal: an end is told apart from an end that we brought about, whichever comes first.
/// Method: cancel at many moments around the end of a process that says how it ended.
#[tokio::test]
async fn a_cancel_that_comes_too_late_is_none() {
    for delay in 0..40 {
        let world = World::new();
        let argv = ["true"];
        let (end, ()) = tokio::join!(world.run(&argv), async {
            tokio::time::sleep(Duration::from_micros(delay * 50)).await;
            let _ = world.cancel.send(Cancel::AtOnce);
        });
        match end.end {
            End::Completed => assert_eq!((end.exit_code, end.signal), (Some(0), None)),
            End::Cancelled => assert!(end.stdout.is_none() || end.signal == Some(9), "{end:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn people_see_the_last_line() {
    let world = World::new();
    let (end, ()) =
        tokio::join!(world.sh("echo one; echo two >&2; read x < <(sleep 0.2)"), async {
            until(|| *world.cx.live.last_line.lock().unwrap() == b"two").await;
        });
    assert_eq!(end.end, End::Completed);
    assert!(world.sh("printf 'a\\nlast'").await.end == End::Completed);
    assert_eq!(*world.cx.live.last_line.lock().unwrap(), b"last");
}

#[tokio::test]
async fn a_daemon_may_be_meant_to_stay() {
    let world = World::new();
    let keep = Conduct { cgroup: false, leftovers: Leftovers::Keep, ..HASTY };
    let shell = "setsid env -i sleep 4714.5 >/dev/null 2>&1 & echo $!";
    let end = world.run_as(&["bash", "-c", shell], &ProcessSettings::default(), keep).await;
    let pid = text(&end.stdout);
    assert!(world.run(&["true"]).await.left.is_empty());
    assert!(runs("4714.5"), "other attempts leave it alone");
    let end = world.run(&["kill", pid.trim()]).await;
    assert_eq!(end.exit_code, Some(0));
    until(|| !runs("4714.5")).await;
}

/// Goal: what the step publishes comes back, and nothing can be read through that file.
#[tokio::test]
async fn outputs() {
    let world = World::new();
    let wants = with(|settings| settings.wants_outputs = true);
    for (shell, expected, error) in [
        ("true", Some(""), ""),
        ("echo a=1 >> $RUNWARDEN_OUTPUT", Some("a=1\n"), ""),
        ("rm $RUNWARDEN_OUTPUT", Some(""), ""),
        ("printf '{}' > x.$$ && mv x.$$ $RUNWARDEN_OUTPUT", Some("{}"), ""),
        ("ln -sf /etc/passwd $RUNWARDEN_OUTPUT", None, "E_OUTPUTS"),
        ("rm $RUNWARDEN_OUTPUT; mkfifo $RUNWARDEN_OUTPUT", None, "E_OUTPUTS"),
        ("head -c 1048577 /dev/zero > $RUNWARDEN_OUTPUT", None, "E_RESULT_TOO_LARGE"),
    ] {
        let settings = ProcessSettings {
            cwd: Some(world.scratch.path().display().to_string()),
            ..wants.clone()
        };
        let end = world.run_as(&["bash", "-c", shell], &settings, HASTY).await;
        let got = end.outputs.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap());
        assert_eq!((got.as_deref(), code(&end)), (expected, error), "{shell}");
    }
    let left: Vec<_> = fs::read_dir(world.scratch.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the record of processes stays: {left:?}");
}

#[tokio::test]
async fn actions() {
    let world = World::new();
    let plugin = world.scratch.path().join("check_it");
    fs::write(&plugin, "#!/bin/sh\necho 'DISK WARN | /=7GB;8'\nexit 1\n").unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let measure = json!({"label": "/", "value": 7, "unit": "GB", "warn": "8", "crit": null, "min": null, "max": null});
    let cases = [
        (
            json!({"command": {"argv": ["printf", "%s", "a b"]}}),
            json!({"exit_code": 0, "signal": null, "stdout_bytes": 3, "stdout_truncated": false}),
            None,
        ),
        (
            json!({"shell": {"text": "false | echo {{x}}", "interpreter": ["bash", "-euo", "pipefail"]}}),
            json!({"exit_code": 1, "signal": null, "stdout_bytes": 6, "stdout_truncated": false}),
            None,
        ),
        (
            json!({"script": {"text": "kill -9 $$", "interpreter": ["sh"], "file": "a/../b c.sh"}}),
            json!({"exit_code": null, "signal": "SIGKILL", "stdout_bytes": 0, "stdout_truncated": false}),
            None,
        ),
        (
            json!({"nagios": {"command": [plugin]}}),
            json!({"plugin_status": "warning", "text": "DISK WARN", "perfdata": [measure], "exit_code": 1,
                "signal": null, "stdout_bytes": 20, "stdout_truncated": false}),
            Some(Verdict::Warning),
        ),
        (json!({"shell": {"text": "x", "interpreter": ["no-bash", "-e"]}}), json!({}), None),
    ];
    for (action, fields, rule) in cases {
        let resolved: Resolved = serde_json::from_value(action.clone()).unwrap();
        let outcome = perform(&resolved, &world.cx).await;
        assert_eq!(serde_json::Value::Object(outcome.fields), fields, "{action}");
        assert_eq!(outcome.rule, rule, "{action}");
        if fields == json!({}) {
            assert_eq!(outcome.end, End::NotStarted);
            assert!(outcome.error.unwrap().message.contains("`no-bash`"));
        }
    }
    let scripts = fs::read_dir(world.scratch.path()).unwrap().flatten();
    assert!(!scripts.into_iter().any(|entry| entry.path().to_string_lossy().contains("script")));
}

/// Goal: a new owner ends exactly what a dead one left, whatever that did to hide.
/// Method: an owner in a process of its own, killed while its attempt is under way.
#[test]
fn a_next_owner_ends_what_a_dead_one_left() {
    let Some(folder) = std::env::var_os("RUNWARDEN_TEST_OWNER") else {
        return next_owner();
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        world.cx.scratch = folder.clone().into();
        world.cx.run = std::env::var("RUNWARDEN_TEST_RUN").unwrap().parse().unwrap();
        let cgroup = std::env::var_os("RUNWARDEN_TEST_CGROUP").is_some();
        world.run(&["true"]).await;
        let record = fs::read_to_string(world.cx.scratch.join("processes")).unwrap();
        let hidden = if cgroup && !record.ends_with(" -\n") {
            "setsid env -i sleep 4715.2 &"
        } else {
            "setsid sleep 4715.2 &"
        };
        let shell = format!(
            "sleep 4715.1 & {hidden} (trap '' TERM; sleep 4715.3) & touch {}/up; wait",
            Path::new(&folder).display()
        );
        let conduct = Conduct { cgroup, ..HASTY };
        world.run_as(&["bash", "-c", &shell], &ProcessSettings::default(), conduct).await;
    });
}

fn next_owner() {
    let mut stranger = Stranger(Command::new("sleep").arg("4715.9").spawn().unwrap());
    for has_cgroup in [true, false] {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunId::generate();
        let mut owner = Command::new(std::env::current_exe().unwrap());
        owner.args(["a_next_owner_ends_what_a_dead_one_left", "--exact"]);
        owner
            .env("RUNWARDEN_TEST_OWNER", scratch.path())
            .env("RUNWARDEN_TEST_RUN", run.to_string());
        if has_cgroup {
            owner.env("RUNWARDEN_TEST_CGROUP", "1");
        }
        let mut owner = owner.stdout(std::process::Stdio::null()).spawn().unwrap();
        let sleepers = ["4715.1", "4715.2", "4715.3"];
        let until = Instant::now() + Duration::from_secs(5);
        while !(sleepers.iter().all(|word| runs(word)) && scratch.path().join("up").exists()) {
            assert!(Instant::now() < until, "the owner never got there");
            std::thread::yield_now();
        }
        owner.kill().unwrap();
        owner.wait().unwrap();
        // Another run's id, and the same number with another start, name nobody.
        assert_eq!(leftover::end_leftovers(Path::new("/none"), RunId::generate()), [""; 0]);
        let ended = leftover::end_leftovers(scratch.path(), run);
        assert!(sleepers.iter().all(|word| !runs(word)), "{ended:?}");
        assert!(
            ended.len() >= 4 && ended.iter().all(|word| word.starts_with("ended ")),
            "{ended:?}"
        );
        assert!(ended.iter().any(|word| word.contains("(sleep) of user ")), "{ended:?}");
        assert_eq!(leftover::end_leftovers(scratch.path(), run), [""; 0], "once is enough");
    }
    assert!(stranger.0.try_wait().unwrap().is_none(), "a stranger was ended");
}

/// A process that is none of the run's business; it ends with the test, however that ends.
struct Stranger(std::process::Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// Goal: after many attempts there is no zombie and no descriptor more than after a few.
#[test]
fn many_attempts_leave_nothing() {
    if !is_alone("many_attempts_leave_nothing") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        let mut before = 0;
        for round in 0..300 {
            let conduct = BOTH[round % 2];
            let argv: &[&str] = match round % 4 {
                0 | 1 => &["true"],
                2 => &["no-such-program"],
                // Its orphans end by themselves, one before and one after it.
                _ => &["bash", "-c", "(true &); (sleep 0.01 &)"],
            };
            world.run_as(argv, &ProcessSettings::default(), conduct).await;
            if round == 10 {
                before = count("/proc/self/fd");
            }
        }
        assert_eq!(count("/proc/self/fd"), before);
        let own = std::process::id();
        let children: Vec<String> = fs::read_dir("/proc/self/task")
            .unwrap()
            .flatten()
            .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap())
            .collect();
        assert!(children.iter().all(String::is_empty), "{own}: {children:?}");
    });
}

/// Goal: where nothing more can be opened, the step says so and the next one runs.
#[test]
fn out_of_descriptors() {
    if !is_alone("out_of_descriptors") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new();
        assert_eq!(world.run(&["true"]).await.end, End::Completed);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let few = rustix::process::Rlimit { current: Some(64), maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            taken.push(file);
        }
        for room in 0..12 {
            let end = world.run(&["true"]).await;
            match end.end {
                End::NotStarted => assert_eq!(code(&end), "E_SPAWN", "{room}"),
                End::Completed => assert_eq!(end.exit_code, Some(0), "{room}"),
                other => panic!("{other:?}"),
            }
            taken.pop();
        }
        assert_eq!(world.run(&["true"]).await.end, End::Completed);
    });
}
