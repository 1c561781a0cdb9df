//! The thread that writes: whatever waits for it goes into one commit, so that many share an fsync
//! while one alone waits for nothing.

use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::append::Committer;
use super::error::StoreError;
use super::{Append, Appended};
use crate::audit::key::Vkey;
use crate::limits::{STORE_GROUP_MAX, STORE_QUEUE_MAX};
use crate::time::Timestamp;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

#[derive(Debug)]
enum Request {
    Append(Box<Append>, Reply<Appended>),
    Rotate { reason: String, time: Timestamp, reply: Reply<Vkey> },
}

/// Hands requests to the thread; it ends, and the database is closed, when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    sender: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(committer: Committer) -> Result<Writer, StoreError> {
        let (sender, receiver) = mpsc::channel(STORE_QUEUE_MAX);
        let builder = std::thread::Builder::new().name("store".to_owned());
        let thread = builder.spawn(move || work(committer, receiver));
        let thread = thread.map_err(|err| StoreError::Io {
            doing: "start the thread that writes".to_owned(),
            source: std::sync::Arc::new(err),
        })?;
        Ok(Writer { sender: Some(sender), thread: Some(thread) })
    }

    pub(super) async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.sender().send(Request::Append(Box::new(append), reply)).await;
        sent.map_err(|_| StoreError::Poisoned)?;
        answer.await.unwrap_or(Err(StoreError::Poisoned))
    }

    pub(super) fn append_blocking(&self, append: Append) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Append(Box::new(append), reply), answer)
    }

    pub(super) fn rotate(&self, reason: String, time: Timestamp) -> Result<Vkey, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Rotate { reason, time, reply }, answer)
    }

    fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.sender().blocking_send(request).map_err(|_| StoreError::Poisoned)?;
        answer.blocking_recv().unwrap_or(Err(StoreError::Poisoned))
    }

    fn sender(&self) -> &mpsc::Sender<Request> {
        self.sender.as_ref().expect("the sender lives as long as the writer")
    }
}

fn work(mut committer: Committer, mut requests: mpsc::Receiver<Request>) {
    let (mut appends, mut replies) = (Vec::new(), Vec::new());
    while let Some(first) = requests.blocking_recv() {
        let mut next = Some(first);
        let mut rotation = None;
        while let Some(request) = next.take() {
            match request {
                Request::Append(append, reply) => {
                    appends.push(*append);
                    replies.push(reply);
                    if appends.len() < STORE_GROUP_MAX {
                        next = requests.try_recv().ok();
                    }
                }
                Request::Rotate { reason, time, reply } => rotation = Some((reason, time, reply)),
            }
        }
        if !appends.is_empty() {
            let answers = committer.commit(&appends);
            appends.clear();
            for (answer, reply) in answers.into_iter().zip(replies.drain(..)) {
                // Who no longer waits has the facts in the log all the same.
                let _ = reply.send(answer);
            }
        }
        if let Some((reason, time, reply)) = rotation {
            let _ = reply.send(committer.rotate(&reason, time));
        }
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
