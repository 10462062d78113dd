//! HTTP/1 by our own dispatcher on actix-http's parser of heads ([`Codec`](actix_http::h1::Codec)).
//!
//! [`serve`] takes a connection and serves one request after the other: its head is awaited
//! (`receive`), the App answers it while its body is fed and its response is sent (`exchange`), and
//! only then is the next head decoded. Answers to pipelined requests are written together. A
//! connection is in one [`Phase`](super::connection::Phase) at a time, which says how long it may take:
//!
//! ```text
//! Idle ─▶ Head ─▶ Answer ⇄ Body ─▶ Idle …      an unread body is read away in Body
//!  └───────┴──────────┴──────┴───▶ Closing     idle for too long, refused, or answered for the last time
//! ```
//!
//! What decides is without I/O: `head` what a head must be beside its syntax, `decide` how bodies are
//! framed and whether the connection goes on, `chunked` where a chunked body ends. `encode` writes
//! heads and frames, `body` carries a request's body to its reader, `wire` holds what was read and what
//! is to be written.

mod body;
mod chunked;
mod decide;
mod encode;
mod exchange;
mod head;
mod inflow;
mod receive;
mod wire;

use std::{future::poll_fn, io, rc::Rc};

use actix_http::{Request, ServiceConfig, StatusCode, body::MessageBody};
use actix_service::Service;
use actix_web::dev::ServiceResponse;

use super::{connection::Phase, io::Io, refused::Refusal, request::Track};
use decide::Next;
use receive::{Received, Receiver};
use wire::H1Wire;

/// Requests that are answered without a pause, where they have all arrived: then others have a turn.
const BATCH: usize = 32;

/// Serves a connection to its end. `config` is the worker's: it knows the date.
pub(crate) async fn serve<S, B>(track: &Rc<Track<S>>, config: &ServiceConfig, io: Io)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let conn = io.conn().clone();
    let mut wire = H1Wire::new(conn, io.into_held());
    if track.is_ready().await.is_err() {
        log::error!(target: "everup::http", "connection ended: a middleware is not ready");
        return;
    }
    if let Err(error) = answer_all(track, config, &mut wire).await {
        log::debug!(target: "everup::http", "connection ended: {error}");
    }
}

async fn answer_all<S, B>(
    track: &Rc<Track<S>>,
    config: &ServiceConfig,
    wire: &mut H1Wire,
) -> io::Result<()>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let mut receiver = Receiver::new(config);
    let mut batch = 0;
    loop {
        let received = poll_fn(|cx| receiver.poll_next(wire, cx)).await?;
        let next = match received {
            Received::Request { request, asked } => {
                // Boxed: an idle connection does not pay for the room that an answer needs.
                Box::pin(exchange::answer(track, config, wire, request, asked)).await?
            }
            Received::Nothing => Next::Close,
            Received::Refused(status) => {
                refuse(wire, config, status);
                Next::Close
            }
        };
        match next {
            Next::Request => {}
            Next::Cut => return Ok(()),
            Next::Close | Next::Upgrade => break,
        }
        batch = if wire.input.is_empty() { 0 } else { batch + 1 };
        if batch == BATCH || wire.room() < wire::HELD / 2 {
            batch = 0;
            poll_fn(|cx| wire.poll_flush(cx)).await?;
            tokio::task::yield_now().await;
        }
    }
    wire.conn().enter_phase(Phase::Answer);
    poll_fn(|cx| wire.poll_flush(cx)).await?;
    poll_fn(|cx| wire.conn().poll_shutdown(cx)).await
}

/// Answers what is no request, or none that can be served: nothing of it is in the books of requests.
fn refuse(wire: &mut H1Wire, config: &ServiceConfig, status: StatusCode) {
    wire.conn().refuse(Refusal::of(status), Some(status));
    encode::refusal(wire.output(), status, config);
}
