//! The one writer of a process. An append is committed either by the thread that asks, where one
//! run is all there is and every switch of threads costs, or by a thread of its own: whatever waits
//! for that goes into one commit, so that many share an fsync while one alone waits for nothing.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::append::Committer;
use super::error::StoreError;
use super::{Append, Appended};
use crate::audit::key::Vkey;
use crate::limits::{STORE_GROUP_MAX, STORE_QUEUE_MAX};
use crate::time::Timestamp;

type Reply = oneshot::Sender<Result<Appended, StoreError>>;

/// Commits, one at a time. The database is closed when it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    committer: Arc<Mutex<Committer>>,
    /// Started by the first append that is queued.
    queue: OnceLock<Queue>,
}

#[derive(Debug)]
struct Queue {
    sender: Option<mpsc::Sender<(Append, Reply)>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn new(committer: Committer) -> Writer {
        Writer { committer: Arc::new(Mutex::new(committer)), queue: OnceLock::new() }
    }

    pub(super) async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.get_or_init(|| Queue::start(Arc::clone(&self.committer)));
        let sent = queue.sender().send((append, reply)).await;
        sent.map_err(|_| StoreError::Poisoned)?;
        answer.await.unwrap_or(Err(StoreError::Poisoned))
    }

    /// Commits on this thread, behind whatever is being committed.
    pub(super) fn append_blocking(&self, append: Append) -> Result<Appended, StoreError> {
        let mut answers = lock(&self.committer).commit(&[append]);
        answers.pop().unwrap_or(Err(StoreError::Poisoned))
    }

    pub(super) fn rotate(&self, reason: &str, time: Timestamp) -> Result<Vkey, StoreError> {
        lock(&self.committer).rotate(reason, time)
    }
}

/// A panic in a commit leaves a transaction that SQLite takes back: the committer itself poisons
/// what must not go on.
fn lock(committer: &Mutex<Committer>) -> MutexGuard<'_, Committer> {
    committer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn start(committer: Arc<Mutex<Committer>>) -> Queue {
        let (sender, mut receiver) = mpsc::channel::<(Append, Reply)>(STORE_QUEUE_MAX);
        let work = move || {
            while let Some(first) = receiver.blocking_recv() {
                let (mut appends, mut replies) = (vec![first.0], vec![first.1]);
                while appends.len() < STORE_GROUP_MAX
                    && let Ok((append, reply)) = receiver.try_recv()
                {
                    appends.push(append);
                    replies.push(reply);
                }
                for (answer, reply) in lock(&committer).commit(&appends).into_iter().zip(replies) {
                    // Who no longer waits has the facts in the log all the same.
                    let _ = reply.send(answer);
                }
            }
        };
        // Without the thread the receiver is gone, and every append is refused.
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(work).ok();
        Queue { sender: Some(sender), thread }
    }

    fn sender(&self) -> &mpsc::Sender<(Append, Reply)> {
        self.sender.as_ref().expect("the sender lives as long as the queue")
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own thread; appends since then were refused.
            let _ = thread.join();
        }
    }
}
