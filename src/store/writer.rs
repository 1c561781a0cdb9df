//! The thread that writes: whatever waits for it goes into one commit, so that many share an fsync
//! while one alone waits for nothing.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::append::Committer;
use super::error::StoreError;
use super::{Append, Appended};
use crate::limits::{STORE_GROUP_MAX, STORE_QUEUE_MAX};

type Reply = oneshot::Sender<Result<Appended, StoreError>>;

/// Hands appends to the thread; it ends, and the database is closed, when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    sender: Option<mpsc::Sender<(Append, Reply)>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(mut committer: Committer) -> Result<Writer, StoreError> {
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
                for (answer, reply) in committer.commit(&appends).into_iter().zip(replies) {
                    // Who no longer waits has the facts in the log all the same.
                    let _ = reply.send(answer);
                }
            }
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(work);
        let thread = thread.map_err(|err| StoreError::Io {
            doing: "start the thread that writes".to_owned(),
            source: std::sync::Arc::new(err),
        })?;
        Ok(Writer { sender: Some(sender), thread: Some(thread) })
    }

    pub(super) async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.sender().send((append, reply)).await;
        sent.map_err(|_| StoreError::Poisoned)?;
        answer.await.unwrap_or(Err(StoreError::Poisoned))
    }

    pub(super) fn append_blocking(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.sender().blocking_send((append, reply));
        sent.map_err(|_| StoreError::Poisoned)?;
        answer.blocking_recv().unwrap_or(Err(StoreError::Poisoned))
    }

    fn sender(&self) -> &mpsc::Sender<(Append, Reply)> {
        self.sender.as_ref().expect("the sender lives as long as the writer")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its own thread; appends since then were refused.
            let _ = thread.join();
        }
    }
}
