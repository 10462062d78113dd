//! Why the server ends what a client has begun: for what the client does, and not because anything
//! failed. The log says it once for each connection; the books count such requests apart.

use std::fmt;

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
            Self::Flood => "it sends too many frames that bring nothing",
            Self::Head => "it completed no request head within `server.client_request_timeout`",
            Self::Slow => "it was slower than `server.min_rate`",
            Self::Stalled => "it took no byte of a response for `server.write_timeout`",
        })
    }
}
