//! Transfers idle connections to another worker, or to the new process of an upgrade. Clients notice
//! nothing.
//!
//! An idle connection owns nothing but its socket: the client's next bytes wait in the kernel for the next
//! reader. This file carries sockets from a worker to their receiver;
//! [`Conn`](super::connection::Conn) decides which connection is idle.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::sync::{Semaphore, mpsc, oneshot};

/// A worker's sender of idle connections; each connection clones it.
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
    /// Sends connections of these listeners to `outgoing`.
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

    /// Transfers a connection by a clone of its socket. Returns whether the receiver has taken it; if not, the
    /// caller goes on serving it.
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
