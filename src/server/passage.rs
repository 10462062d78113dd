//! The way of idle connections to whoever serves afterwards, the new process of an upgrade or, where
//! workers become fewer, another of them: their clients notice nothing.
//!
//! A connection that is idle has nothing of its own but its socket: what its client sends next waits in the
//! kernel for whoever reads next. Owns the way from a worker to where the sockets are sent; which
//! connection is idle is for [`Conn`](super::connection::Conn) to say.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::sync::{mpsc, oneshot};

/// A worker's way out; cloned for each.
#[derive(Clone)]
pub(crate) struct Passage {
    /// The listeners whose connections may go.
    listeners: Arc<[Arc<str>]>,
    /// Not bounded here: there are no more passengers than connections, and each waits.
    departures: mpsc::UnboundedSender<Passenger>,
}

/// A connection under way.
pub(crate) struct Passenger {
    pub(crate) listener: Arc<str>,
    pub(crate) socket: OwnedFd,
    /// Sent when it is taken; dropped where nobody will take it.
    pub(crate) arrived: oneshot::Sender<()>,
}

/// A connection that was passed on.
pub(crate) struct Arrival {
    pub(crate) listener: Arc<str>,
    pub(crate) socket: OwnedFd,
}

impl Passage {
    /// The way of these listeners' connections to whoever receives `departures`.
    pub(crate) fn by(
        listeners: Arc<[Arc<str>]>,
        departures: mpsc::UnboundedSender<Passenger>,
    ) -> Self {
        Self {
            listeners,
            departures,
        }
    }

    /// Whether connections of this listener may go.
    pub(crate) fn is_of(&self, listener: &str) -> bool {
        self.listeners.iter().any(|name| **name == *listener)
    }

    /// Passes a clone of a connection's socket on. Whether it has arrived.
    pub(crate) async fn pass(&self, listener: Arc<str>, socket: OwnedFd) -> bool {
        let (arrived, has_arrived) = oneshot::channel();
        let passenger = Passenger {
            listener,
            socket,
            arrived,
        };
        self.departures.send(passenger).is_ok() && has_arrived.await.is_ok()
    }
}
