//! Closes listeners without a loss (P5): new handshakes are dropped, those under way end, the queues are
//! emptied, then the sockets close.

use std::{sync::Arc, time::Duration};

use futures_util::future::select_ok;
use tokio::{sync::oneshot, task::JoinHandle};

use super::worker::{CloseListeners, Worker};
use crate::{
    http::Deadline,
    net::{Listener, handshakes},
};

/// How long handshakes under way are waited for, at the most: SYN-ACKs that nobody answers any more are
/// sent again for a minute.
pub(super) const HANDSHAKES: Duration = Duration::from_secs(1);

/// How often handshakes under way are looked for.
const TICK: Duration = Duration::from_millis(5);

/// Waits until no handshake with any of these is under way, or until the limit.
pub(super) async fn handshakes_end(listeners: &[Arc<Listener>], limit: Deadline) {
    let addresses: Vec<_> = listeners
        .iter()
        .filter(|listener| !listener.origin().lives_on())
        .filter_map(|listener| listener.address().tcp())
        .collect();
    let end = async {
        while handshakes::are_under_way(&addresses) {
            tokio::time::sleep(TICK).await;
        }
    };
    let _ = limit.bound(end).await;
}

/// Queues that are being emptied, and listeners that then close.
pub(super) struct Emptying {
    /// Of each worker: whether it has served what it found.
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) closed: JoinHandle<()>,
}

/// Has the workers serve what is queued at listeners that close ([`Origin::closes`]), and closes these.
///
/// [`Origin::closes`]: super::origin::Origin::closes
pub(super) fn empty(listeners: Vec<Arc<Listener>>, workers: &[Worker]) -> Emptying {
    let (workers, firsts): (Vec<_>, Vec<_>) = workers
        .iter()
        .map(|worker| {
            let (emptied, is_empty) = oneshot::channel();
            let asked = worker.address.send(CloseListeners);
            let emptying = actix_rt::spawn(async move {
                // A worker that is gone emptied nothing either.
                if asked.await.unwrap_or(false) {
                    // Another was the first.
                    let _ = emptied.send(());
                }
            });
            (emptying, is_empty)
        })
        .unzip();
    // All workers share one accept queue, so it is enough that one finds it empty. A worker that is blocked
    // in a handler is not waited for.
    let closed = actix_rt::spawn(async move {
        if !firsts.is_empty() {
            // Else there was nothing to empty.
            let _ = select_ok(firsts).await;
        }
        for listener in listeners {
            listener.close();
        }
    });
    Emptying { workers, closed }
}
