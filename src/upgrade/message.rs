//! What the two processes tell each other. Both may be of different versions: what one does not
//! know it ignores, what would be misread changes [`PROTOCOL`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    config::{Attempt, Trigger},
    server::Bequest,
};

/// The version of this talk.
pub(super) const PROTOCOL: u32 = 1;

/// The first message: it comes with the standard input that was, and with the history's records.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    /// Its name in the message tells ours from whatever else a standard input may bring.
    pub(super) everup_upgrade: u32,
    /// The generation that is served, and the newest attempt's number: counting goes on.
    pub(super) generation: u64,
    pub(super) attempts: u64,
}

/// What the old process says after that.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToNew {
    /// Each comes with its descriptor.
    Sockets(Vec<Bequest>),
    /// What the service manager has passed, by name; each comes with its descriptor.
    Activated(Vec<String>),
    /// The commit: the old process lets go.
    Yours,
    /// Idle connections, by the names of their listeners in the old process; each comes with its
    /// descriptor.
    Connections(Vec<Arc<str>>),
    /// Somebody asked the old process for a reload meanwhile; answered by [`ToOld::Reloaded`].
    Reload(Trigger),
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToOld {
    Ready {
        pid: u32,
        generation: u64,
        /// Which sockets it has taken, by their place in the offer.
        taken: Vec<usize>,
    },
    /// It cannot start.
    Failed(Vec<String>),
    Reloaded(Box<Attempt>),
}
