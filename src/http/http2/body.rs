//! A request's body, received by `h2` and read by actix-web. What the handler does not read is discarded.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;

use super::session::Session;
use crate::http::{clock::Allowance, hub::Hub};

/// The body of one request, shared by its reader and by whoever answers the request. The client may
/// send as much more as has been read of it.
pub(super) struct Upload {
    received: RefCell<RecvStream>,
    /// A reader may outlive the connection, and must not keep its socket open.
    session: Weak<Session>,
    /// The client waits for 100 before it sends its body.
    expects: Cell<bool>,
    /// Of whoever is to send that.
    answers: RefCell<Option<Waker>>,
    is_asked_for: Cell<bool>,
}

impl Upload {
    pub(super) fn new(received: RecvStream, session: &Rc<Session>, expects: bool) -> Rc<Self> {
        Rc::new(Self {
            received: RefCell::new(received),
            session: Rc::downgrade(session),
            expects: Cell::new(expects),
            answers: RefCell::default(),
            is_asked_for: Cell::default(),
        })
    }

    /// Whether the client is to be told now that its body is wanted; else this task is woken then.
    pub(super) fn owes_continue(&self, answers: &Waker) -> bool {
        if !self.expects.get() {
            return false;
        }
        if self.is_asked_for.get() {
            self.expects.set(false);
            return true;
        }
        self.answers.replace(Some(answers.clone()));
        false
    }

    /// Reads away what nobody reads, once the request is answered: a client that is still writing may
    /// lose the response where its stream is reset. Ends at `most` bytes, and where the client brings
    /// none for `server.body_timeout`; the stream is reset then (RFC 9113 §8.1).
    pub(super) async fn discard(self: Rc<Self>, hub: &Rc<Hub>, most: u64) {
        let mut left = most;
        // Somebody may read on behind the response.
        while Rc::strong_count(&self) == 1 {
            let mut allowance = Allowance::new(hub, hub.times().body);
            let next = |cx: &mut Context<'_>| match self.poll_next(cx) {
                Poll::Ready(next) => Poll::Ready(next.and_then(Result::ok)),
                Poll::Pending => allowance.poll_over(cx).map(|()| None),
            };
            let Some(piece) = poll_fn(next).await else {
                return;
            };
            let Some(rest) = left.checked_sub(piece.len() as u64) else {
                return;
            };
            left = rest;
        }
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let mut received = self.received.borrow_mut();
        let piece = match received.poll_data(cx) {
            Poll::Ready(piece) => piece,
            Poll::Pending => {
                let stream = received.stream_id().as_u32();
                let session = self.session.upgrade();
                if !session.is_some_and(|it| it.awaits_body(stream, cx.waker())) {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Some(Err(PayloadError::Incomplete(Some(error)))));
                }
                self.is_asked_for.set(true);
                if let Some(answers) = self.answers.take() {
                    answers.wake();
                }
                return Poll::Pending;
            }
        };
        let piece = match piece {
            None => return Poll::Ready(None),
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(incomplete(error)))),
        };
        let released = received.flow_control().release_capacity(piece.len());
        Poll::Ready(Some(released.map(|()| piece).map_err(incomplete)))
    }
}

fn incomplete(error: h2::Error) -> PayloadError {
    PayloadError::Incomplete(Some(io::Error::other(error)))
}

/// What reads a body.
pub(super) struct H2RequestBody(pub(super) Rc<Upload>);

impl Stream for H2RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}
