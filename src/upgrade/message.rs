//! The messages between the two processes of an upgrade. The processes may be of different versions: each
//! ignores messages and fields that it does not know and closes the descriptors that came with them. A
//! change that another version would misread needs a new [`PROTOCOL`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    config::{Attempt, Trigger},
    net::InheritedSocket,
};

/// The version of these messages.
pub(super) const PROTOCOL: u32 = 2;

/// The first message: it comes with the standard input that was, and with the history's records.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    /// Its name in the message tells ours from whatever else a standard input may bring. The rest of
    /// another protocol's offer is not looked at.
    pub(super) everup_upgrade: u32,
    /// The generation that is served, and the newest attempt's number: counting goes on.
    #[serde(default)]
    pub(super) generation: u64,
    #[serde(default)]
    pub(super) attempts: u64,
}

/// What the old process says after that.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ToNew {
    /// Listening sockets; each comes with its descriptor.
    Sockets { sockets: Vec<InheritedSocket> },
    /// What the service manager has passed, by name; each comes with its descriptor.
    Activated { names: Vec<String> },
    /// The old process lets go.
    Commit,
    /// Idle connections, by the names of their listeners in the old process; each comes with its
    /// descriptor. Answered by [`ToOld::Taken`]; until then they are the old process's, and it sends
    /// no more.
    Connections { listeners: Vec<Arc<str>> },
    /// Somebody asked the old process for a reload meanwhile; answered by [`ToOld::Reloaded`].
    Reload { trigger: Trigger },
    /// What only another version knows.
    #[serde(other)]
    Unknown,
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ToOld {
    Ready {
        pid: u32,
        generation: u64,
        /// Which sockets it has taken, by their place in the offer.
        taken: Vec<usize>,
    },
    /// It cannot start.
    Failed {
        reasons: Vec<String>,
    },
    /// Which connections of the last [`ToNew::Connections`] it has taken, by their place. The old
    /// process keeps the others.
    Taken {
        places: Vec<usize>,
    },
    Reloaded {
        attempt: Box<Attempt>,
    },
    /// What only another version knows.
    #[serde(other)]
    Unknown,
}
