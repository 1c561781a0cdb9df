//! Starts one process: the only file of the crate with `unsafe`.
//!
//! Why not `std::process`: it can neither place a child into a cgroup at birth (moving it there
//! afterwards takes tens of milliseconds, and what it forked meanwhile stays outside), nor reset
//! ignored signals, nor keep descriptors that others left open from leaking.
//!
//! How: `clone3` with `CLONE_VM | CLONE_VFORK`, as glibc's `posix_spawn` does it. The child runs
//! [`child_main`] on a stack of its own, in our memory, while the calling thread (and only that)
//! stands still until the child has called `execve` or ended. So nothing is copied, however large
//! we are, and an error of the child is simply written where the parent reads it. Other threads go
//! on: the child therefore takes no lock and allocates nothing, it only makes system calls with
//! what the parent prepared.

#![expect(unsafe_code, reason = "no safe interface starts a process inside a cgroup; see above")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::{WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What to start, fully prepared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    /// The file to execute; searched for by the caller.
    pub(super) program: &'a CStr,
    /// With the program's name as the first.
    pub(super) argv: &'a [CString],
    /// The whole environment, `NAME=value`.
    pub(super) env: &'a [CString],
    /// Working folder; ours if absent.
    pub(super) cwd: Option<&'a CStr>,
    /// Descriptors 0, 1 and 2 of the process.
    pub(super) stdio: [BorrowedFd<'a>; 3],
    /// The folder of the cgroup to be born in.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
}

/// A process that was started: its number cannot be reused until it is waited for by `pidfd`.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Nothing was started: the program has not run.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) stage: Stage,
    pub(super) error: io::Error,
}

/// Where it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The kernel made no process.
    Clone,
    /// The process could not enter its working folder.
    Cwd,
    /// The program could not be executed.
    Exec,
}

/// Stack of the child until `execve`: its frames take under 1 KiB, unoptimised ones included.
const STACK_BYTES: usize = 64 << 10;

/// Not in libc for every target; from `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of `linux/sched.h`, version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// What the child reads, and where it says how it failed.
struct Plan {
    program: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    stdio: [c_int; 3],
    failed_at: Option<Stage>,
    errno: c_int,
}

thread_local! {
    /// One stack a thread is enough: the thread waits while its child uses it.
    static STACK: RefCell<Box<[MaybeUninit<u8>]>> =
        RefCell::new(Box::new_uninit_slice(STACK_BYTES));
}

/// Starts a process as the leader of a session and group of its own, without a terminal, with
/// default signal handling, umask 022 and no descriptor but 0 to 2.
///
/// Blocks the calling thread until the program is loaded: about as long as reading its file.
///
/// # Errors
///
/// [`Failed`], and then the program has not run. With a cgroup, [`Stage::Clone`] may be about the
/// cgroup alone: the caller may try again without.
pub(super) fn spawn(start: &Start<'_>) -> Result<Child, Failed> {
    let argv = pointers(start.argv);
    let env = pointers(start.env);
    let mut plan = Plan {
        program: start.program.as_ptr(),
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        cwd: start.cwd.map_or(ptr::null(), CStr::as_ptr),
        stdio: start.stdio.map(|fd| fd.as_raw_fd()),
        failed_at: None,
        errno: 0,
    };
    let child = STACK
        .with_borrow_mut(|stack| clone(&raw mut plan, stack, start.cgroup))
        .map_err(|error| Failed { stage: Stage::Clone, error })?;
    // SAFETY: `plan` lives; the child, which shares our memory, may have written to it, and has
    // since left our memory by `execve` or by its end. Volatile: the compiler saw no write.
    let failed_at = unsafe { ptr::read_volatile(&raw const plan.failed_at) };
    let Some(stage) = failed_at else { return Ok(child) };
    // SAFETY: as above.
    let errno = unsafe { ptr::read_volatile(&raw const plan.errno) };
    // The child has ended or is about to: this takes it out of the process table.
    let _ = rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    Err(Failed { stage, error: io::Error::from_raw_os_error(errno) })
}

/// A descriptor of ours, watched.
///
/// # Errors
///
/// The kernel has no room for another watch.
pub(super) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open and the same until its owner, this value, is gone.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// A descriptor that its owner keeps open meanwhile, watched.
///
/// # Errors
///
/// As [`watch`].
pub(super) fn watch_borrowed(
    fd: BorrowedFd<'_>,
    interest: Interest,
) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: its owner is borrowed for as long, so it stays open and the same.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Makes the child, on `stack`, with every signal held back meanwhile: a handler of ours must not
/// run in it, since it would run in our memory.
fn clone(
    plan: *mut Plan,
    stack: &mut [MaybeUninit<u8>],
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Child> {
    let mut pidfd: c_int = -1;
    let base = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
    // Both architectures want the stack's end on 16 bytes.
    let from = (stack.as_mut_ptr() as u64).next_multiple_of(16);
    let to = (stack.as_mut_ptr_range().end as u64) & !15;
    let args = CloneArgs {
        flags: base | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: from,
        stack_size: to - from,
        cgroup: cgroup.map_or(0, |folder| folder.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    let held = hold_signals();
    // SAFETY: `args` and everything it points to outlive the call; the stack is ours alone and
    // the child has left it when the call returns (CLONE_VFORK).
    let mut returned = unsafe {
        clone_and_run(
            libc::SYS_clone3,
            [(&raw const args) as u64, size_of::<CloneArgs>() as u64, 0],
            plan,
        )
    };
    if returned == -c_long::from(libc::ENOSYS) && cgroup.is_none() {
        // Container sandboxes hide `clone3`, because they cannot look into its arguments.
        // SAFETY: as above; `clone` takes the end of the stack, and puts the pidfd where it
        // would otherwise put the parent's thread id.
        returned = unsafe {
            clone_and_run(
                libc::SYS_clone,
                [base | libc::SIGCHLD as u64, to, (&raw mut pidfd) as u64],
                plan,
            )
        };
    }
    restore_signals(&held);
    match i32::try_from(returned) {
        Ok(pid) if pid > 0 => {
            // SAFETY: the kernel has just made this descriptor for us (CLONE_PIDFD).
            let pidfd = unsafe { OwnedFd::from_raw_fd(ptr::read_volatile(&raw const pidfd)) };
            Ok(Child { pid, pidfd })
        }
        _ => Err(io::Error::from_raw_os_error(i32::try_from(-returned).unwrap_or(libc::EIO))),
    }
}

/// Takes back that we were started with the ends of children ignored, as some supervisors do: the
/// kernel would then throw every exit status away.
pub(super) fn hear_of_children() {
    // SAFETY: a valid signal and valid pointers; all zeros is a valid `sigaction`. A handler that
    // somebody set stays.
    unsafe {
        let mut now = MaybeUninit::<libc::sigaction>::zeroed();
        if libc::sigaction(libc::SIGCHLD, ptr::null(), now.as_mut_ptr()) == 0
            && (now.assume_init().sa_sigaction == libc::SIG_IGN
                || now.assume_init().sa_flags & libc::SA_NOCLDWAIT != 0)
        {
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        }
    }
}

fn hold_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the pointers are valid; both sets are written before they are read.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: a set that `hold_signals` got from the kernel.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut()) };
}

/// The system call, after which the child runs [`child_main`] and never comes back here.
///
/// # Safety
///
/// `args` must be right for `number`, give the child a stack of its own, and hold its parent until
/// it is gone; `plan` must live as long.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_and_run(number: c_long, args: [u64; 3], plan: *mut Plan) -> c_long {
    let returned: c_long;
    // SAFETY: the parent sees an ordinary system call. The child sees 0 and a fresh stack, and
    // jumps away without touching any register that the compiler has a plan for.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") number => returned,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") 0_u64,
            in("r8") 0_u64,
            in("r12") child_main as *const (),
            in("r13") plan,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    returned
}

/// As for x86-64.
///
/// # Safety
///
/// As for x86-64.
#[cfg(target_arch = "aarch64")]
unsafe fn clone_and_run(number: c_long, args: [u64; 3], plan: *mut Plan) -> c_long {
    let returned: c_long;
    // SAFETY: as for x86-64.
    unsafe {
        core::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") args[0] => returned,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") 0_u64,
            in("x4") 0_u64,
            in("x20") child_main as *const (),
            in("x21") plan,
        );
    }
    returned
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("starting processes needs a few lines of assembly for this architecture");

/// The child, from birth to `execve`. Only system calls: other threads of ours may hold any lock.
extern "C" fn child_main(plan: *mut Plan) -> ! {
    // SAFETY: the parent keeps `plan` and all that it points to until we are gone; every call
    // below is async-signal-safe.
    unsafe {
        let given = &*plan;
        libc::setsid();
        let mut target = 0;
        while target < 3 {
            libc::dup2(given.stdio[target as usize], target);
            target += 1;
        }
        libc::umask(0o022);
        // Ignored signals would stay ignored (SIGPIPE is, in every Rust program). By the system
        // call itself: the C library keeps two signals for its own use, and an ancestor of ours may
        // have ignored those. All zeros is the kernel's `struct sigaction` for the default.
        let default = [0_u64; 4];
        let mut signal = 1;
        while signal <= 64 {
            let none = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>());
            signal += 1;
        }
        // Ours are opened close-on-exec; this is for what we ourselves were started with, and for
        // libraries that forget it. Kernels before 5.11 lack it, and then those are inherited.
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        let mut failed_at = Stage::Cwd;
        if given.cwd.is_null() || libc::chdir(given.cwd) == 0 {
            failed_at = Stage::Exec;
            libc::execve(given.program, given.argv, given.env);
        }
        (*plan).errno = *libc::__errno_location();
        (*plan).failed_at = Some(failed_at);
        libc::_exit(127)
    }
}
