//! What a request sees, and how a worker gets it: [`Generation`], [`Slot`], [`Pin`], [`DropThread`].
//!
//! A generation is immutable and holds no socket, so an old request keeps no port open.

mod access;
mod certificates;
mod drop_thread;
mod pem;

pub(crate) use access::{Access, Token};
pub(crate) use certificates::{Certificates, HTTP2};
pub(crate) use drop_thread::{DropOnThread, DropThread, let_requests_go_first};

use std::{any::Any, ops::Deref, rc::Rc, sync::Arc};

use actix_http::header::{HeaderName, HeaderValue};
use tokio::sync::watch;

use crate::settings::{Server, Shutdown, Tables};

/// One published configuration: its number, the service's settings and the state built from them.
pub(crate) struct Generation {
    /// Counts from 1 at start.
    pub(crate) number: u64,
    pub(crate) server: Server,
    pub(crate) shutdown: Shutdown,
    /// Who may ask the admin API.
    pub(crate) access: Access,
    /// Of the listeners that speak TLS.
    pub(crate) certificates: Arc<Certificates>,
    /// The author's.
    author_data: Arc<AuthorData>,
    /// The prefixes of those listeners that answer probes.
    probes: Vec<(String, String)>,
}

/// A header that tells a response's generation.
pub(crate) type Stamp = (HeaderName, HeaderValue);

/// The author's part of a generation, behind `dyn Any` so that no actor is generic.
pub(crate) struct AuthorData {
    /// Kept longer than the state, for a rollback.
    pub(crate) settings: Arc<DropOnThread<Box<dyn Any + Send + Sync>>>,
    pub(crate) state: DropOnThread<Box<dyn Any + Send + Sync>>,
}

impl Generation {
    pub(crate) fn new<A>(
        number: u64,
        tables: &Tables<A>,
        token: Option<Token>,
        certificates: Arc<Certificates>,
        author_data: Arc<AuthorData>,
    ) -> Self {
        let listeners = tables.server.listeners.iter();
        let probes = listeners.filter_map(|(name, listener)| {
            let prefix = listener.probes.as_ref()?;
            Some((name.clone(), prefix.clone()))
        });
        Self {
            number,
            probes: probes.collect(),
            server: tables.server.clone(),
            shutdown: tables.shutdown.clone(),
            access: Access {
                token,
                hosts: tables.admin.hosts.clone(),
            },
            certificates,
            author_data,
        }
    }

    /// The settings or the state, whichever is a `T`.
    pub(crate) fn find<T: 'static>(&self) -> Option<&T> {
        let AuthorData { settings, state } = &*self.author_data;
        settings.downcast_ref().or_else(|| state.downcast_ref())
    }

    /// What a path asks of a listener beneath its prefix for probes, where it has one.
    pub(crate) fn probe<'a>(&self, listener: &str, path: &'a str) -> Option<&'a str> {
        // Usually there are none, and a request costs only this check.
        let mut prefixes = self.probes.iter();
        let (_, prefix) = prefixes.find(|(name, _)| name == listener)?;
        path.strip_prefix(prefix.as_str())
    }
}

/// A request's hold on its generation. Not `Send`: counting on one worker touches no other's cache.
pub(crate) type Pin = Rc<Held>;

/// A generation as one worker holds it, with what it would else count references to beside others.
pub(crate) struct Held {
    generation: Arc<Generation>,
    /// `server.generation_header`, where it names one.
    stamp: Option<Stamp>,
}

impl Held {
    fn new(generation: Arc<Generation>) -> Rc<Self> {
        let name = HeaderName::from_bytes(generation.server.generation_header.as_bytes());
        let stamp = name.ok().map(|name| (name, generation.number.into()));
        Rc::new(Self { generation, stamp })
    }

    /// What each response of the generation is to carry.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.stamp.clone()
    }

    /// A hold that may leave the worker.
    pub(crate) fn share(&self) -> Arc<Generation> {
        self.generation.clone()
    }
}

impl Deref for Held {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.generation
    }
}

/// One worker's view of the newest generation.
pub(crate) struct Slot {
    published: watch::Receiver<Arc<Generation>>,
    pin: Pin,
}

impl Slot {
    pub(crate) fn new(mut published: watch::Receiver<Arc<Generation>>) -> Self {
        let pin = Held::new(published.borrow_and_update().clone());
        Self { published, pin }
    }

    /// The newest generation. P2: the channel is looked at by every request, so a worker that was
    /// blocked while a reload was reported applied cannot serve an older one.
    pub(crate) fn pin(&mut self) -> Pin {
        if self.published.has_changed().unwrap_or(false) {
            self.pin = Held::new(self.published.borrow_and_update().clone());
        }
        self.pin.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_count_references_to_no_header_together() {
        let mut tables = Tables::<()>::default();
        tables.server.generation_header = "x-config-generation".to_owned();
        let drop_thread = DropThread::start().expect("a thread");
        let nothing =
            || DropOnThread::new(Box::new(()) as Box<dyn Any + Send + Sync>, &drop_thread);
        let author_data = Arc::new(AuthorData {
            settings: Arc::new(nothing()),
            state: nothing(),
        });
        let generation = Generation::new(7, &tables, None, Arc::default(), author_data);
        let published = watch::Sender::new(Arc::new(generation));
        let mut workers = [(); 2].map(|()| Slot::new(published.subscribe()));
        let [one, other] = workers.each_mut().map(|slot| {
            let (first, second) = (slot.pin().stamp(), slot.pin().stamp());
            assert_eq!(first, second);
            let (name, value) = first.expect("the settings name one");
            assert_eq!(
                (name.as_str(), value.to_str().ok()),
                ("x-config-generation", Some("7"))
            );
            (name.as_str().as_ptr(), value.as_bytes().as_ptr())
        });
        assert!(one.0 != other.0 && one.1 != other.1);
    }
}
