//! What is served: a generation with its open sockets and its workers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{descriptors::Budget, worker::Worker};
use crate::{generation::Generation, net::Listener};

/// A generation with all that it opened. No request pins it, so nothing of yesterday stays open.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) generation: Arc<Generation>,
    /// Where the workers look for the newest generation.
    pub(crate) published: watch::Sender<Arc<Generation>>,
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) workers: Vec<Worker>,
    /// The id of the next new worker: those of workers that are gone do not come again.
    pub(crate) next_worker: usize,
    pub(crate) admin: Option<AdminServer>,
    /// Connections of a worker, and files that its answers hold open.
    pub(crate) max_connections: usize,
    pub(crate) max_files: usize,
    pub(crate) budget: Budget,
}

impl Snapshot {
    /// The service's own, then the admin API's.
    pub(crate) fn all_listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let admin = self.admin.iter().map(|admin| &admin.listener);
        self.listeners.iter().chain(admin)
    }
}

/// The admin listener and the worker that serves it, on an arbiter of its own: a big answer or
/// many idle clients delay no signal and no request.
#[derive(Clone)]
pub(crate) struct AdminServer {
    pub(crate) listener: Arc<Listener>,
    pub(crate) worker: Worker,
    pub(crate) max_connections: usize,
}

/// Which workers have taken up a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Confirmations {
    pub confirmed: usize,
    pub total: usize,
    /// The ids of those that had not within `reload.timeout`.
    pub late: Vec<usize>,
}

impl Confirmations {
    /// Of a generation that none of so many workers has missed.
    pub(crate) fn of_all(total: usize) -> Self {
        Self {
            confirmed: total,
            total,
            late: Vec::new(),
        }
    }
}
