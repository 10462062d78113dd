//! A request's body, read under `server.body_timeout` between two pieces.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use actix_http::{BoxedPayloadStream, Payload, Request, StatusCode, error::PayloadError};
use bytes::Bytes;
use futures_util::Stream;

use super::{clock::Allowance, hub::Hub};

/// Puts a clock before the request's body.
pub(crate) fn time(request: &mut Request, hub: &Rc<Hub>) -> Rc<Stall> {
    let stall = Rc::new(Stall::default());
    let body = TimedBody {
        inner: request.take_payload(),
        hub: hub.clone(),
        allowance: None,
        stall: stall.clone(),
    };
    *request.payload() = Payload::Stream {
        payload: Box::pin(body),
    };
    stall
}

/// Whether a body's clock has struck: the request is then answered, whatever its handler does.
#[derive(Default)]
pub(crate) struct Stall {
    has_struck: Cell<bool>,
    /// Of whoever answers the request. The body may be read by another task.
    waker: RefCell<Option<Waker>>,
}

impl Stall {
    pub(crate) fn has_struck(&self) -> bool {
        self.has_struck.get()
    }

    /// Wakes this task when the clock strikes.
    pub(crate) fn wakes(&self, waker: &Waker) {
        match &mut *self.waker.borrow_mut() {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn strike(&self) {
        self.has_struck.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The client sent no piece of its request's body for `server.body_timeout`.
#[derive(Debug)]
pub(crate) struct BodyTimeout;

impl fmt::Display for BodyTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body did not arrive in time")
    }
}

impl actix_web::ResponseError for BodyTimeout {
    fn status_code(&self) -> StatusCode {
        StatusCode::REQUEST_TIMEOUT
    }
}

/// The clock runs only while somebody waits for the next piece: a slow handler is not the client's
/// fault.
struct TimedBody {
    inner: Payload<BoxedPayloadStream>,
    hub: Rc<Hub>,
    allowance: Option<Allowance>,
    stall: Rc<Stall>,
}

impl Stream for TimedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = Pin::new(&mut self.inner).poll_next(cx) {
            self.allowance = None;
            return Poll::Ready(piece);
        }
        let Self { hub, allowance, .. } = &mut *self;
        let allowance = allowance.get_or_insert_with(|| Allowance::new(hub, hub.times().body));
        ready!(allowance.poll_over(cx));
        self.stall.strike();
        Poll::Ready(Some(Err(PayloadError::Io(ErrorKind::TimedOut.into()))))
    }
}
