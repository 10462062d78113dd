//! What was refused before it became a request, counted by reason.

use actix_http::StatusCode;
use serde::Serialize;

/// Why something was refused that is no request, or none that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 400, or 417: it is malformed, or expects what nobody here does.
    BadRequest,
    /// 408: its head was not complete in time.
    Timeout,
    /// 414 or 431: its head is too large.
    TooLarge,
    /// 501: CONNECT, or a transfer coding that is not known.
    NotImplemented,
    /// 505: another version of HTTP.
    Version,
    /// A TLS handshake was begun and failed.
    Tls,
}

impl Refusal {
    /// What an answer with this status refuses.
    pub(crate) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::REQUEST_TIMEOUT => Self::Timeout,
            StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Self::TooLarge
            }
            StatusCode::NOT_IMPLEMENTED => Self::NotImplemented,
            StatusCode::HTTP_VERSION_NOT_SUPPORTED => Self::Version,
            _ => Self::BadRequest,
        }
    }
}

impl Refusal {
    /// The reason in one word, as the access log has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::NotImplemented => "not_implemented",
            Self::Version => "version",
            Self::Tls => "tls",
        }
    }
}

/// What was refused before it became a request, by reason. None of it is in the books of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusedRequests {
    /// Malformed: answered with 400 or 417.
    pub bad_request: u64,
    /// The head was not complete in time: 408.
    pub timeout: u64,
    /// The head is too large: 414 or 431.
    pub too_large: u64,
    /// CONNECT, or an unknown transfer coding: 501.
    pub not_implemented: u64,
    /// Another version of HTTP: 505.
    pub version: u64,
    /// TLS handshakes that were begun and failed.
    pub tls: u64,
}

impl RefusedRequests {
    pub(crate) fn count(&mut self, refusal: Refusal) {
        *match refusal {
            Refusal::BadRequest => &mut self.bad_request,
            Refusal::Timeout => &mut self.timeout,
            Refusal::TooLarge => &mut self.too_large,
            Refusal::NotImplemented => &mut self.not_implemented,
            Refusal::Version => &mut self.version,
            Refusal::Tls => &mut self.tls,
        } += 1;
    }
}

impl std::ops::AddAssign for RefusedRequests {
    fn add_assign(&mut self, more: Self) {
        self.bad_request += more.bad_request;
        self.timeout += more.timeout;
        self.too_large += more.too_large;
        self.not_implemented += more.not_implemented;
        self.version += more.version;
        self.tls += more.tls;
    }
}

impl std::iter::Sum for RefusedRequests {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, more| {
            sum += more;
            sum
        })
    }
}
