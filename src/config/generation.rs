//! What a request sees, and how a worker gets hold of it: [`Generation`], [`Slot`], [`Pin`], [`Reaper`].
//!
//! A generation is immutable and holds no socket, so a request of yesterday keeps no port open. It
//! does not know where it came from, nor who serves it.

use std::{
    any::Any,
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
};

use tokio::sync::watch;

use crate::settings::{Server, Shutdown};

/// One published configuration: its number, the service's settings and the state built from them.
pub(crate) struct Generation {
    /// Counts from 1 at start.
    pub(crate) number: u64,
    pub(crate) server: Server,
    pub(crate) shutdown: Shutdown,
    /// The author's; `None` only while it is being dropped.
    insides: Option<Insides>,
    reaper: Reaper,
}

/// The author's part of a generation, behind `dyn Any` so that no actor is generic.
pub(crate) struct Insides {
    pub(crate) settings: Box<dyn Any + Send + Sync>,
    pub(crate) state: Box<dyn Any + Send + Sync>,
}

impl Generation {
    pub(crate) fn new(
        number: u64,
        server: Server,
        shutdown: Shutdown,
        insides: Insides,
        reaper: Reaper,
    ) -> Self {
        Self {
            number,
            server,
            shutdown,
            insides: Some(insides),
            reaper,
        }
    }

    /// The settings or the state, whichever is a `T`.
    pub(crate) fn find<T: 'static>(&self) -> Option<&T> {
        let insides = self.insides.as_ref()?;
        insides
            .settings
            .downcast_ref()
            .or_else(|| insides.state.downcast_ref())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(insides) = self.insides.take() {
            self.reaper.bury(insides);
        }
    }
}

/// Frees what generations held on a thread of its own: the last reference may be dropped on a
/// worker, where freeing 100,000 routes would stop every request for 80 ms, and where state that
/// owns a runtime would panic.
#[derive(Clone)]
pub(crate) struct Reaper(mpsc::Sender<Insides>);

impl Reaper {
    /// The thread ends with the last clone.
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (bury, buried) = mpsc::channel();
        thread::Builder::new()
            .name("everup-reaper".into())
            .spawn(move || {
                super::background::let_requests_go_first();
                for insides in buried {
                    // An author's `Drop` that panics must not end the reaper.
                    let drop_it = std::panic::AssertUnwindSafe(move || drop::<Insides>(insides));
                    let _ = std::panic::catch_unwind(drop_it);
                }
            })?;
        Ok(Self(bury))
    }

    fn bury(&self, insides: Insides) {
        // The receiver outlives every sender; were it gone, the insides are freed right here.
        let _ = self.0.send(insides);
    }
}

/// A request's hold on its generation. Not `Send`: counting on one worker touches no other's cache.
pub(crate) type Pin = Rc<Arc<Generation>>;

/// One worker's view of the newest generation.
pub(crate) struct Slot {
    published: watch::Receiver<Arc<Generation>>,
    pin: Pin,
}

impl Slot {
    pub(crate) fn new(mut published: watch::Receiver<Arc<Generation>>) -> Self {
        let pin = Rc::new(published.borrow_and_update().clone());
        Self { published, pin }
    }

    /// The newest generation. P2: the channel is looked at by every request, so a worker that was
    /// blocked while a reload was reported applied cannot serve an older one.
    pub(crate) fn pin(&mut self) -> Pin {
        if self.published.has_changed().unwrap_or(false) {
            self.pin = Rc::new(self.published.borrow_and_update().clone());
        }
        self.pin.clone()
    }
}
