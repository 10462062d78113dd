//! Whether a handler may read a piece of its response before the client has room for it.

use std::rc::{Rc, Weak};

use actix_web::{HttpMessage as _, HttpRequest};

use super::session::Session;

/// Travels with an HTTP/2 request.
pub(super) struct Ahead {
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
}

/// Whether a handler may read so many bytes ahead of its client; they count as held by its connection
/// until they are sent. A client may ask for a hundred files at once and take none of them. HTTP/1
/// answers one request after the other.
pub(crate) fn may_read_ahead(request: &HttpRequest, bytes: usize) -> bool {
    let extensions = request.extensions();
    let Some(Ahead { session, stream }) = extensions.get() else {
        return true;
    };
    session
        .upgrade()
        .is_some_and(|session| session.takes_ahead(*stream, bytes))
}
