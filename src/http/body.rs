//! Limits a request's body: `server.body_timeout` between two pieces, `server.max_body` in all.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use actix_http::{BoxedPayloadStream, Payload, Request, StatusCode, error::PayloadError, header};
use bytes::Bytes;
use futures_util::Stream;

use super::{
    clock::Allowance,
    hub::Hub,
    pace::{Pace, Wait},
};

/// Holds the request's body to its limits; `most` bytes are the one of its size.
pub(crate) fn limit(request: &mut Request, hub: &Rc<Hub>, most: u64) -> Rc<Limits> {
    let limits = Rc::new(Limits::default());
    let length = request.head().headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.trim().parse::<u64>().ok());
    if length.is_some_and(|length| length > most) {
        limits.broken.set(Some(BodyError::TooLarge));
    }
    let body = LimitedBody {
        inner: request.take_payload(),
        hub: hub.clone(),
        waiting: None,
        pace: Pace::default(),
        left: most,
        limits: limits.clone(),
        has_failed: false,
    };
    *request.payload() = Payload::Stream {
        payload: Box::pin(body),
    };
    limits
}

/// Which limit a body has broken: the request is then answered, whatever its handler does.
#[derive(Default)]
pub(crate) struct Limits {
    broken: Cell<Option<BodyError>>,
    /// Of whoever answers the request. The body may be read by another task.
    waker: RefCell<Option<Waker>>,
}

impl Limits {
    pub(crate) fn broken(&self) -> Option<BodyError> {
        self.broken.get()
    }

    /// Wakes this task when one is broken.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        match &mut *self.waker.borrow_mut() {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub(crate) fn fail(&self, error: BodyError) {
        self.broken.set(Some(error));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The client sent no piece of it for `server.body_timeout`.
    Late,
    /// The client was slower than `server.min_rate`.
    Slow,
    /// It has more bytes than `server.max_body`.
    TooLarge,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Late => "the request's body did not arrive in time",
            Self::Slow => "the request's body arrived too slowly",
            Self::TooLarge => "the request's body is too large",
        })
    }
}

impl actix_web::ResponseError for BodyError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Late | Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

/// The clock runs only while somebody waits for the next piece: a slow handler is not the client's
/// fault.
struct LimitedBody {
    inner: Payload<BoxedPayloadStream>,
    hub: Rc<Hub>,
    waiting: Option<(Allowance, Wait)>,
    pace: Pace,
    /// Bytes that may still come.
    left: u64,
    limits: Rc<Limits>,
    has_failed: bool,
}

impl Stream for LimitedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // An error is returned once: a reader that skips errors would never finish.
        if self.has_failed {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_piece(cx));
        self.has_failed = matches!(next, Some(Err(_)));
        Poll::Ready(next)
    }
}

impl LimitedBody {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<<Self as Stream>::Item>> {
        if self.limits.broken() == Some(BodyError::TooLarge) {
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        if let Poll::Ready(piece) = Pin::new(&mut self.inner).poll_next(cx) {
            if let Some((allowance, _)) = self.waiting.take() {
                self.pace.waited(allowance.used());
            }
            if let Some(Ok(piece)) = &piece {
                self.pace.goes_on(piece.len());
                let Some(left) = self.left.checked_sub(piece.len() as u64) else {
                    self.limits.fail(BodyError::TooLarge);
                    return Poll::Ready(Some(Err(PayloadError::Overflow)));
                };
                self.left = left;
            }
            return Poll::Ready(piece);
        }
        let Self {
            hub, waiting, pace, ..
        } = self;
        let (allowance, wait) = waiting.get_or_insert_with(|| {
            let times = hub.times();
            let wait = pace.wait(&times, times.body);
            (Allowance::new(hub, wait.time()), wait)
        });
        ready!(allowance.poll_over(cx));
        let broken = match wait {
            Wait::Silent(_) => BodyError::Late,
            Wait::Slow(_) => BodyError::Slow,
        };
        self.limits.fail(broken);
        Poll::Ready(Some(Err(PayloadError::Io(ErrorKind::TimedOut.into()))))
    }
}
