//! WatchActor: requests a reload when a watched file has changed. It runs on the control arbiter, and each
//! generation says what to watch.
//!
//! A change that is rejected for a reason that may pass, such as a port in use, is tried again until it is
//! accepted, the files change, or another generation is served.

use std::{collections::BTreeSet, path::PathBuf, time::Instant};

use actix::{Actor, AsyncContext as _, Context, WrapFuture as _};
use tokio::sync::watch;

use super::quiet::{Retry, Unsettled};
use crate::{
    config::{Attempt, ConfigEvent, ReloadRequest, Trigger, Watched},
    control::Control,
    server::PanicGuard,
    telemetry::emit,
};

/// The actor that hears of changed files.
pub(crate) struct WatchActor {
    _guard: PanicGuard,
}

impl WatchActor {
    pub(crate) fn start(watched: watch::Receiver<Watched>, control: Control, guard: PanicGuard) {
        Self::create(|ctx| {
            let this = Self { _guard: guard };
            ctx.spawn(heed(watched, control).into_actor(&this));
            this
        });
    }
}

impl Actor for WatchActor {
    type Context = Context<Self>;
}

/// Changes that are not served yet.
#[derive(Default)]
struct Changes {
    /// Those that no reload has read yet.
    unsettled: Option<Unsettled>,
    /// Those that were read, and rejected.
    retry: Option<Retry>,
    paths: BTreeSet<PathBuf>,
}

impl Changes {
    fn add(&mut self, path: Option<PathBuf>) {
        if self.unsettled.is_none() && self.retry.is_none() {
            self.paths.clear();
        }
        self.unsettled = Some(Unsettled::and(self.unsettled, Instant::now()));
        self.paths.extend(path);
    }

    /// What is about to be asked for.
    fn trigger(&self) -> Trigger {
        Trigger {
            is_retry: self.unsettled.is_none(),
            ..Trigger::of_paths(&self.paths)
        }
    }

    /// An attempt has read them all.
    fn read(&mut self, attempt: &Attempt) {
        let before = self.retry.take().filter(|_| self.unsettled.is_none());
        self.unsettled = None;
        if attempt.may_pass() {
            if before.is_none() {
                emit(&ConfigEvent::TriedAgain(attempt.number));
            }
            let now = Instant::now();
            self.retry = Some(Retry::after(before, now, attempt.generation));
        }
    }
}

/// Until the service stops.
async fn heed(mut watched: watch::Receiver<Watched>, control: Control) {
    let mut changes = Changes::default();
    loop {
        let now = watched.borrow_and_update().clone();
        let Some(watching) = now else {
            changes = Changes::default();
            match watched.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let served = watching.generation();
        changes.retry = changes.retry.filter(|retry| retry.generation == served);
        let retry = changes.retry.map(|retry| retry.due);
        let due = match changes.unsettled {
            Some(unsettled) => Some(unsettled.due(watching.debounce())),
            None => retry,
        };
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
                match control.ask(ReloadRequest::default(), changes.trigger()).await {
                    Ok(attempt) if !attempt.is_stopping() => changes.read(&attempt),
                    Ok(_) | Err(_) => return,
                }
            }
            path = watching.changed() => changes.add(path),
        }
    }
}
