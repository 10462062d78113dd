//! Decides whether a handler may produce more of its response before the client has room for it, and counts
//! it.

use std::rc::{Rc, Weak};

use actix_web::{HttpMessage as _, HttpRequest};

use super::session::Session;

/// Travels with an HTTP/2 request.
#[derive(Clone)]
pub(crate) struct Ahead {
    session: Weak<Session>,
    stream: u32,
}

impl Ahead {
    pub(super) fn new(session: &Rc<Session>, stream: u32) -> Self {
        Self {
            session: Rc::downgrade(session),
            stream,
        }
    }

    /// The response's body is about to read so many bytes: they count as held from now on, so that not all
    /// streams of a connection read at once what only one of them has room for.
    pub(crate) fn begins_to_read(&self, bytes: usize) {
        if let Some(session) = self.session.upgrade() {
            session.holds_ahead(self.stream, bytes);
        }
    }
}

/// What counts the bytes that a response's body reads; `None` over HTTP/1, which answers one request after
/// the other.
pub(crate) fn ahead(request: &HttpRequest) -> Option<Ahead> {
    request.extensions().get().cloned()
}

/// Whether a handler may read so many bytes ahead of its client; they count as held by its connection
/// until they are sent. A client may ask for a hundred files at once and take none of them.
pub(crate) fn may_read_ahead(request: &HttpRequest, bytes: usize) -> bool {
    let extensions = request.extensions();
    let Some(Ahead { session, stream }) = extensions.get() else {
        return true;
    };
    session
        .upgrade()
        .is_some_and(|session| session.takes_ahead(*stream, bytes))
}
