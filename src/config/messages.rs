//! What the ConfigActor is told and asked. All messages come from a [`Control`](crate::Control).

use std::sync::Arc;

use actix::{Addr, Message, MessageResponse};
use tokio::sync::oneshot;

use super::{attempt::Attempt, attempts::ReloadRequest, content::SharedSettings, trigger::Trigger};
use crate::{
    server::{ServerActor, Stop},
    settings::Diagnostic,
};

/// Make another generation the one that is served. From every trigger alike; says how, never with
/// what: sources are read when the attempt begins.
///
/// The answer goes to `requester`, so that who loses interest takes nothing back: dropping the future
/// of an actix `send` cancels a message that has not been handled.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Reload {
    pub(crate) request: ReloadRequest,
    pub(crate) trigger: Trigger,
    pub(crate) requester: oneshot::Sender<Arc<Attempt>>,
}

/// Begin no reload any more, reject what has not been published, then let the ServerActor stop.
///
/// The stop arrives there in any case: also where the ConfigActor is gone, or goes before it comes
/// to this message.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct EndService {
    /// `None` once it is under way.
    stop: Option<Stop>,
    server: Addr<ServerActor>,
}

impl EndService {
    pub(crate) fn new(stop: Stop, server: Addr<ServerActor>) -> Self {
        Self {
            stop: Some(stop),
            server,
        }
    }

    /// Who takes it sees to it that it arrives.
    pub(super) fn take(&mut self) -> Option<Stop> {
        self.stop.take()
    }
}

impl Drop for EndService {
    fn drop(&mut self) {
        if let Some(stop) = self.take() {
            self.server.do_send(stop);
        }
    }
}

/// Open the log file anew: somebody has renamed it. The log tells what came of it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReopenLogs {
    pub(crate) trigger: Trigger,
}

/// Tell of the newest attempt.
#[derive(Message)]
#[rtype(result = "Recalled")]
pub(crate) struct Recall;

#[derive(MessageResponse)]
pub(crate) struct Recalled {
    pub(crate) generation: u64,
    pub(crate) digest: Arc<str>,
    pub(crate) last_reload: Option<Arc<Attempt>>,
    /// What is valid and probably not what was meant.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Tell of the attempts of before, newest first.
#[derive(Message)]
#[rtype(result = "Vec<Arc<Attempt>>")]
pub(crate) struct Review;

/// Hand out the settings that are served; `None` where none are yet.
#[derive(Message)]
#[rtype(result = "Option<Consulted>")]
pub(crate) struct Consult;

/// Settings that are served. To be written out elsewhere: there may be a great many.
pub(crate) struct Consulted {
    pub(crate) settings: SharedSettings,
    pub(crate) digest: Arc<str>,
}
