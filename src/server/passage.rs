//! The way of idle connections to the process that serves afterwards: their clients notice nothing.
//!
//! A connection that is idle has nothing in this process: what its client sends next waits in the
//! kernel for whoever reads next. Owns the way from a worker to where the sockets are sent; which
//! connection is idle is for [`Conn`](super::connection::Conn) to say.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::sync::{mpsc, oneshot};

/// A worker's way out; cloned for each.
#[derive(Clone)]
pub(crate) struct Passage {
    /// The listeners whose sockets live on in the new process.
    listeners: Arc<[Arc<str>]>,
    /// Not bounded here: there are no more passengers than connections, and each waits.
    departures: mpsc::UnboundedSender<Passenger>,
}

/// A connection under way.
pub(crate) struct Passenger {
    pub(crate) listener: Arc<str>,
    pub(crate) socket: OwnedFd,
    /// Sent when the new process has it; dropped where it will not get it.
    pub(crate) arrived: oneshot::Sender<()>,
}

/// A connection that the process before has passed on.
pub(crate) struct Arrival {
    pub(crate) listener: Arc<str>,
    pub(crate) socket: OwnedFd,
}

impl Passage {
    pub(crate) fn new(listeners: Arc<[Arc<str>]>) -> (Self, mpsc::UnboundedReceiver<Passenger>) {
        let (departures, passengers) = mpsc::unbounded_channel();
        let passage = Self {
            listeners,
            departures,
        };
        (passage, passengers)
    }

    pub(crate) fn listeners(&self) -> &[Arc<str>] {
        &self.listeners
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
