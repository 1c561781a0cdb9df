//! Every bound of the program, with its unit and its reason. Nothing else holds a magic number.

use std::time::Duration;

/// A runbook file: what an approver can still read. Bytes.
pub const RUNBOOK_BYTES_MAX: u64 = 1 << 20;
/// Steps of one runbook, nested ones counted (spec 1).
pub const RUNBOOK_STEPS_MAX: usize = 1_000;
/// Nesting of YAML collections (spec 1).
pub const YAML_DEPTH_MAX: usize = 16;
/// Nodes that a YAML file may expand to through its aliases: a bomb reaches any bound, a runbook
/// of 1,000 full steps stays under a fifth of it.
pub const YAML_NODES_MAX: usize = 100_000;
/// Text that a YAML file may expand to through its aliases: four files of the largest size. Bytes.
pub const YAML_TEXT_BYTES_MAX: usize = 4 << 20;
/// Length of one template or expression: minijinja's parser overflows its stack above 8 KiB. Bytes.
pub const EXPRESSION_BYTES_MAX: usize = 2 << 10;
/// Instructions that one expression may take: well under a millisecond.
pub const EXPRESSION_FUEL: u64 = 20_000;
/// Items and bytes that one expression may touch, an item counted as 16: eight passes over the
/// largest list that fits into a result, under a second even where it is all lists.
pub const EXPRESSION_WORK_MAX: usize = 64 << 20;
/// Brackets, `not`s, `-`s and `else`s inside one another: nobody reads more, and each takes stack.
pub const EXPRESSION_NESTING_MAX: usize = 24;
/// Depth of an expression's tree, chains of operators and filters included; bounds the stack.
pub const EXPRESSION_DEPTH_MAX: usize = 128;
/// Pieces that one template may render, rounds of `each` counted: bounds nested loops.
pub const TEMPLATE_PIECES_MAX: usize = 1_000_000;
/// A rendered URL: servers refuse far shorter ones. Bytes.
pub const URL_BYTES_MAX: usize = 64 << 10;
/// Blocks inside one another in a template; each takes stack in the parser.
pub const TEMPLATE_NESTING_MAX: usize = 16;
/// A regular expression as an author writes it. Bytes.
pub const PATTERN_BYTES_MAX: usize = 1 << 10;
/// A regular expression once compiled: `\w{1,20}` fits, multiplied repetitions do not. Bytes.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 1 << 20;
/// What expressions see of one output, and what `parse` reads. Bytes.
pub const EXPRESSION_OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// One rendered argument: Linux's `MAX_ARG_STRLEN`, which counts the final NUL. Bytes.
pub const ARGUMENT_BYTES_MAX: usize = 128 << 10;
/// `value` and `outputs` of one step together. Bytes of JSON.
pub const RESULT_BYTES_MAX: usize = 1 << 20;
/// `stdout` and `stderr` of a step in "A run, as JSON" (spec 4). Bytes.
pub const SHOWN_OUTPUT_BYTES_MAX: u64 = 64 << 10;
/// Stored whole up to here, per stream; beyond it head and tail (spec 5). Bytes.
pub const STORED_OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// Head, and tail, of an output that is not stored whole. Bytes.
pub const STORED_OUTPUT_END_BYTES: u64 = 4 << 20;
/// Output up to here goes into the log's own transaction; larger into a file beside it. Bytes.
pub const BLOB_INLINE_BYTES_MAX: usize = 16 << 10;
/// A field of an entry above this stands beside the entry, which then names its digest. Bytes.
pub const ENTRY_FIELD_BYTES_MAX: usize = 4 << 10;
/// One entry of the log: tlog-tiles prefixes entries with a 16-bit length. Bytes.
pub const ENTRY_BYTES_MAX: usize = 60 << 10;
/// Room that is kept so that ends can be recorded on a full disk. Bytes.
pub const RESERVE_BYTES: u64 = 4 << 20;
/// How long an append waits for another process's transaction.
pub const STORE_LOCK_WAIT: Duration = Duration::from_secs(30);
/// One attempt of a step that sets no `timeout` (spec 1).
pub const STEP_TIMEOUT: Duration = Duration::from_secs(600);
/// Reaching a target or an endpoint, where the step sets no `connect_timeout` (spec 1).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From TERM to KILL (spec 1).
pub const KILL_GRACE: Duration = Duration::from_secs(10);
/// After a step's own process has ended: how long what it left may hold the pipes before it is
/// ended too, so that a last line is not lost.
pub const PIPE_DRAIN: Duration = Duration::from_millis(200);
/// How long we look for an end after KILL: longer only where the kernel itself hangs, or where we
/// may not end it.
pub const KILL_WAIT: Duration = Duration::from_secs(2);
/// How often an attempt under way looks for the dead among what it left, and shows its last line.
pub const ATTEMPT_TICK: Duration = Duration::from_secs(1);
/// At most so often people are shown another last line of a running attempt.
pub const LAST_LINE_PAUSE: Duration = Duration::from_millis(50);
/// Steps, or targets of one step, under way at once where the author sets no limit.
pub const PARALLEL_DEFAULT: usize = 32;
/// Attempts that one `retry` may ask for.
pub const RETRY_ATTEMPTS_MAX: u32 = 1_000;
/// An HTTP response body, where the step sets no `max_bytes`. Bytes.
pub const HTTP_BODY_BYTES_MAX: u64 = 1 << 20;
/// Files that `find` names where the step sets no `max` (spec 1).
pub const FIND_FILES_MAX: u64 = 10_000;
/// A value of an input, from wherever it comes. Bytes.
pub const INPUT_BYTES_MAX: usize = 1 << 20;
/// How often a process that owns a run looks for what others wrote about it: cancel, confirmations.
pub const FOREIGN_POLL: Duration = Duration::from_millis(200);
/// Entries at the end of the log that opening a store recomputes against its signed head, at
/// least: what a crash or a careless edit can have reached. Half a millisecond.
pub const STORE_TAIL_ENTRIES: u64 = 256;
/// How often, in entries, the store notes the state of its tree, from which a tail is recomputed.
pub const STORE_FRONTIER_ENTRIES: u64 = 64;
/// Appends that wait for the writer; whoever comes then waits to be let in.
pub const STORE_QUEUE_MAX: usize = 1_024;
/// Appends that share one commit: one fsync for all, while the first does not wait for long.
pub const STORE_GROUP_MAX: usize = 256;
/// Window of the compressor for files: a megabyte of memory with its tables. Power of two, bytes.
pub const BLOB_WINDOW_LOG: u32 = 18;
/// How long a gate stays open where it sets no `expires` (spec 2).
pub const GATE_EXPIRES: Duration = Duration::from_secs(4 * 3600);
/// Between two looks of a `guard` that sets no `every`: an abort is then at most as late as the
/// sum of this and the check itself.
pub const GUARD_EVERY: Duration = Duration::from_secs(5);
/// Before the second attempt of a `retry` that sets no `backoff` (spec 1).
pub const RETRY_BACKOFF: Duration = Duration::from_secs(2);
/// Longest delay of a `retry` that sets no `max` (spec 1).
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// Between two samples of a `probe` that sets no `every` (spec 1).
pub const PROBE_EVERY: Duration = Duration::from_millis(100);
/// What `tcp` keeps of an answer: a greeting is one line, and it goes into the log. Bytes.
pub const BANNER_BYTES_MAX: usize = 4 << 10;
/// How long `tcp` with `send` and no `match` listens for an answer, of which nobody can tell
/// whether it is complete.
pub const BANNER_WAIT: Duration = Duration::from_secs(1);
/// A file of trusted roots: the largest system store is a quarter of a MiB. Bytes.
pub const PEM_BYTES_MAX: u64 = 4 << 20;
/// What a step may ask for with `max_bytes` of `http`: it is held in memory. Bytes.
pub const HTTP_BODY_BYTES_CEILING: u64 = 64 << 20;
/// Redirects that a step may ask `http` to follow: browsers give up at 20.
pub const HTTP_REDIRECTS_MAX: u32 = 20;
/// All response headers together; longer ones are cut from the result. Bytes.
pub const HTTP_HEADERS_BYTES_MAX: usize = 64 << 10;
/// Entries of folders that one `find` looks at: minutes of work, and a bound for its memory.
pub const FIND_ENTRIES_MAX: u64 = 1_000_000;
/// Folders below `dir` that `find` has open at once, one a level of depth.
pub const FIND_DEPTH_MAX: usize = 100;
/// A pidfile: one number and a newline. Bytes.
pub const PIDFILE_BYTES_MAX: u64 = 64;
/// How much later than its pidfile was written a process may have started and still be the one
/// that is meant: clocks are stepped at boot, pids are not reused within seconds.
pub const PIDFILE_SLACK: Duration = Duration::from_secs(10);
/// How long a service may take to show the state that it was asked for.
pub const SERVICE_SETTLE: Duration = Duration::from_secs(5);
/// How often a service is looked at while it settles.
pub const SERVICE_POLL: Duration = Duration::from_millis(20);
/// How long a started service must live to count as started: what dies of its configuration does
/// so at once.
pub const SERVICE_PROOF: Duration = Duration::from_millis(200);
/// An SNTP server's answer, where `connect_timeout` is not shorter: beyond it the delay makes the
/// offset worthless.
pub const SNTP_WAIT: Duration = Duration::from_secs(5);
/// Problems of one file that are reported: a page of ten is read, a book of a thousand is not.
pub const PROBLEMS_MAX: usize = 1_000;
/// Steps and checks of one runbook together: a step has at most a few checks.
pub const RUNBOOK_ENTRIES_MAX: usize = 4 * RUNBOOK_STEPS_MAX;
/// Length of a step's id: it stands in every line of a report. Bytes.
pub const STEP_ID_BYTES_MAX: usize = 100;
