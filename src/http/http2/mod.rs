//! HTTP/2 by our own driver of `h2`: actix-http's driver sends no GOAWAY and limits little.
//!
//! [`H2Server::serve`] takes a connection whose first bytes were the preface. `driver` keeps deadlines and
//! sends GOAWAY, `stream` answers one request, `head` translates heads, `body` is a request's body, `ahead`
//! lets handlers run ahead of their client. `wire` is the byte stream, `frames` finds frames in it,
//! `patience` limits useless frames, `session` holds what these share. `h2` itself handles the meaning of
//! frames, windows and header compression.

mod ahead;
mod body;
mod driver;
mod frames;
mod head;
mod patience;
mod session;
mod stream;
mod wire;

use std::{future::poll_fn, rc::Rc};

use actix_http::{Request, body::MessageBody};
use actix_service::Service;
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;

use super::{io::Io, request::Track};
pub(crate) use ahead::{Ahead, ahead, may_read_ahead};
use driver::Driver;
use head::DateHeader;
use session::{STREAMS, Session};
use wire::H2Wire;

/// Serves a worker's HTTP/2 connections.
pub(crate) struct H2Server<S> {
    track: Rc<Track<S>>,
    date: Rc<DateHeader>,
}

impl<S, B> H2Server<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    pub(crate) fn new(track: Rc<Track<S>>) -> Self {
        Self {
            track,
            date: Rc::new(DateHeader::new()),
        }
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(&self, io: Io) {
        let session = Session::new(io.conn().clone());
        let wire = H2Wire::new(session.clone(), io.into_held());
        let served = async {
            let h2 = limits().handshake::<_, Bytes>(wire).await?;
            let mut driver = Driver::new(h2, session.clone());
            // Dropped with the connection: so are the requests that it leaves unanswered.
            let mut streams = FuturesUnordered::new();
            poll_fn(|cx| {
                driver.poll(cx, &mut streams, |request, respond| {
                    stream::answer(self, &session, request, respond)
                })
            })
            .await
        };
        if let Err(error) = served.await {
            log::debug!(target: "everup::http", "connection ended: {error}");
        }
    }
}

/// What one connection may make us keep.
fn limits() -> h2::server::Builder {
    let mut limits = h2::server::Builder::new();
    limits
        // Above what clients are told (`wire`): what comes before they have heard it is refused by us.
        .max_concurrent_streams(4 * STREAMS as u32)
        .max_concurrent_reset_streams(4 * STREAMS)
        .max_header_list_size(16 * 1024)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(512 * 1024)
        // Of frames that are smaller than 256 bytes and that nobody has read.
        .data_frame_budget(128 * 1024)
        // Of each stream's response, beside the window.
        .max_send_buffer_size(64 * 1024)
        .max_local_error_reset_streams(Some(1000));
    limits
}
