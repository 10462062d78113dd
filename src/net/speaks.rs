//! Which protocols the connections of a listener may use, and how one is recognized.

use std::sync::Arc;

use rustls::ServerConfig;

use super::{socket::Socket, stream::Stream};
use crate::generation::Generation;

/// What the connections of a listener may speak.
#[derive(Clone)]
pub(crate) enum Speaks {
    Http1,
    /// HTTP/1, or HTTP/2 by prior knowledge: its first bytes tell.
    Either,
    /// The same within TLS, whose handshake tells.
    Tls(Arc<ServerConfig>),
}

impl Speaks {
    /// On the listener of this name.
    pub(crate) fn on(generation: &Generation, listener: &str) -> Self {
        if let Some(config) = generation.certificates.of(listener) {
            return Self::Tls(config);
        }
        match generation.server.listeners.get(listener) {
            Some(listener) if listener.h2c => Self::Either,
            _ => Self::Http1,
        }
    }

    /// On a connection that was accepted where there was no TLS.
    pub(crate) fn in_the_clear(self) -> Self {
        match self {
            // What was spoken there is not known here.
            Self::Tls(_) => Self::Either,
            other => other,
        }
    }

    /// A connection's stream, and how it is known what is spoken on it.
    pub(crate) fn begin(self, socket: Socket) -> (Stream, Opening) {
        match self {
            Self::Http1 => (Stream::Plain(socket), Opening::Http1),
            Self::Either => (Stream::Plain(socket), Opening::Sniff),
            Self::Tls(config) => (Stream::tls(socket, config), Opening::Handshake),
        }
    }
}

/// How it is known what a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Http1,
    Sniff,
    Handshake,
}
