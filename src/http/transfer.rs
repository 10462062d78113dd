//! The way of idle connections to whoever serves afterwards, the new process of an upgrade or, where
//! workers become fewer, another of them: their clients notice nothing.
//!
//! A connection that is idle has nothing of its own but its socket: what its client sends next waits in the
//! kernel for whoever reads next. Owns the way from a worker to where the sockets are sent; which
//! connection is idle is for [`Conn`](super::connection::Conn) to say.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::sync::{Semaphore, mpsc, oneshot};

/// A worker's way out; cloned for each.
#[derive(Clone)]
pub(crate) struct Transfer {
    /// The listeners whose connections may go.
    listeners: Arc<[Arc<str>]>,
    /// Bounded by `room`.
    outgoing: mpsc::UnboundedSender<OutgoingConnection>,
    /// For each that is under way; the others wait.
    room: Arc<Semaphore>,
}

/// How many connections are under way at once. Each takes a second descriptor meanwhile, and there may
/// be few.
const UNDER_WAY: usize = 8;

/// A connection under way.
pub(crate) struct OutgoingConnection {
    pub(crate) listener: Arc<str>,
    pub(crate) socket: OwnedFd,
    /// Sent when it is taken; dropped where nobody will take it.
    pub(crate) arrived: oneshot::Sender<()>,
}

/// A connection that was passed on.
pub(crate) struct TransferredConnection {
    pub(crate) listener: Arc<str>,
    pub(crate) socket: OwnedFd,
}

impl Transfer {
    /// The way of these listeners' connections to whoever receives `outgoing`.
    pub(crate) fn by(
        listeners: Arc<[Arc<str>]>,
        outgoing: mpsc::UnboundedSender<OutgoingConnection>,
    ) -> Self {
        Self {
            listeners,
            outgoing,
            room: Arc::new(Semaphore::new(UNDER_WAY)),
        }
    }

    /// Whether connections of this listener may go.
    pub(crate) fn is_of(&self, listener: &str) -> bool {
        self.listeners.iter().any(|name| **name == *listener)
    }

    /// Passes a connection on by what `clone` makes of its socket. Whether it has arrived; where it has
    /// not, it is to be served as before.
    pub(crate) async fn pass(
        &self,
        listener: Arc<str>,
        clone: impl FnOnce() -> Option<OwnedFd>,
    ) -> bool {
        let Ok(_room) = self.room.acquire().await else {
            return false;
        };
        let Some(socket) = clone() else {
            return false;
        };
        let (arrived, has_arrived) = oneshot::channel();
        let outgoing = OutgoingConnection {
            listener,
            socket,
            arrived,
        };
        self.outgoing.send(outgoing).is_ok() && has_arrived.await.is_ok()
    }
}
