//! A request's body, as `h2` receives it and actix-web reads it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;

/// The body of one request. The client may send as much more as has been read of it.
pub(super) struct Body {
    received: RecvStream,
}

impl Body {
    pub(super) fn new(received: RecvStream) -> Self {
        Self { received }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = match ready!(self.received.poll_data(cx)) {
            None => return Poll::Ready(None),
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(incomplete(error)))),
        };
        let released = self.received.flow_control().release_capacity(piece.len());
        Poll::Ready(Some(released.map(|()| piece).map_err(incomplete)))
    }
}

fn incomplete(error: h2::Error) -> PayloadError {
    PayloadError::Incomplete(Some(io::Error::other(error)))
}
