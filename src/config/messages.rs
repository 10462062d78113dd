//! The messages that ConfigActor receives. A [`Control`](crate::Control) sends all of them.

use std::sync::Arc;

use actix::{Addr, Message, MessageResponse};
use tokio::sync::oneshot;

use super::{attempt::Attempt, attempts::ReloadRequest, content::SharedSettings, trigger::Trigger};
use crate::{
    server::{ServerActor, Stop},
    settings::Diagnostic,
};

/// Load, prepare and publish another generation. Every trigger sends it. It carries no content: sources are
/// read when the attempt begins.
///
/// The answer goes to `requester`. An actix `send` would not do: dropping its future cancels a message that
/// is not handled yet.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Reload {
    pub(crate) request: ReloadRequest,
    pub(crate) trigger: Trigger,
    pub(crate) requester: oneshot::Sender<Arc<Attempt>>,
}

/// Reject all reloads that are not published, then send `Stop` to the ServerActor.
///
/// The stop always arrives there, even if the ConfigActor is gone or ends before it handles this message.
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

    /// The caller must send it.
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

/// Reopen the log file after it was renamed. The log reports the result.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReopenLogs {
    pub(crate) trigger: Trigger,
}

/// Asks for the newest attempt.
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

/// Asks for the history, newest first.
#[derive(Message)]
#[rtype(result = "Vec<Arc<Attempt>>")]
pub(crate) struct Review;

/// Asks for the served settings; `None` before the first generation.
#[derive(Message)]
#[rtype(result = "Option<Consulted>")]
pub(crate) struct Consult;

/// Settings that are served. To be written out elsewhere: there may be a great many.
pub(crate) struct Consulted {
    pub(crate) settings: SharedSettings,
    pub(crate) digest: Arc<str>,
}
