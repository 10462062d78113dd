//! Why the server ends what a client has begun: for what the client does, and not because anything
//! failed. The log says it once for each connection; the books count such requests apart.

use std::{fmt, net::SocketAddr};

use log::Level;

use crate::telemetry::Event;

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misconduct {
    /// It sent too many frames that bring nothing.
    Flood,
    /// It began a request's head and did not complete it.
    Head,
    /// It took no byte of a response.
    Stalled,
    /// It was slower than it may be, with a body or a response.
    Slow,
}

impl fmt::Display for Misconduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flood => "it sent too many frames that carry no request or data",
            Self::Head => "it completed no request head within `server.client_request_timeout`",
            Self::Slow => "it was slower than `server.min_rate`",
            Self::Stalled => "it took no byte of a response for `server.write_timeout`",
        })
    }
}

/// A connection, or a request of it, was ended for what its client did.
pub(crate) struct ClientEnded<'a> {
    /// `None` on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) listener: &'a str,
    pub(crate) why: Misconduct,
}

impl Event for ClientEnded<'_> {
    fn level(&self) -> Level {
        Level::Warn
    }

    fn target(&self) -> &'static str {
        "everup::server"
    }
}

impl fmt::Display for ClientEnded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a client")?;
        if let Some(peer) = self.peer {
            write!(f, ", {peer},")?;
        }
        write!(
            f,
            " on listener {} was disconnected: {}",
            self.listener, self.why
        )
    }
}
