//! WatchActor: asks for a reload when what is watched has changed, on the control arbiter. What is
//! watched, the newest generation says.

use std::time::Instant;

use actix::{Actor, AsyncContext as _, Context, WrapFuture as _};
use tokio::sync::watch;

use super::quiet::Unsettled;
use crate::{
    config::{Errand, Trigger, TriggerKind, Watched},
    control::Control,
};

/// The actor that hears of changed files.
pub(crate) struct WatchActor;

impl WatchActor {
    pub(crate) fn start(watched: watch::Receiver<Watched>, control: Control) {
        Self::create(|ctx| {
            ctx.spawn(heed(watched, control).into_actor(&Self));
            Self
        });
    }
}

impl Actor for WatchActor {
    type Context = Context<Self>;
}

/// Until the service stops.
async fn heed(mut watched: watch::Receiver<Watched>, control: Control) {
    let mut unsettled: Option<Unsettled> = None;
    loop {
        let now = watched.borrow_and_update().clone();
        let Some(watching) = now else {
            unsettled = None;
            match watched.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let due = unsettled.map(|unsettled| unsettled.due(watching.debounce()));
        let settled = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order: under a storm of changes too, what is due is done.
            biased;
            news = watched.changed() => if news.is_err() { return },
            () = settled => {
                unsettled = None;
                let trigger = Trigger::new(TriggerKind::Watch);
                match control.ask(Errand::default(), trigger).await {
                    Ok(attempt) if !attempt.is_stopping() => {}
                    Ok(_) | Err(_) => return,
                }
            }
            () = watching.changed() => {
                unsettled = Some(Unsettled::and(unsettled, Instant::now()));
            }
        }
    }
}
