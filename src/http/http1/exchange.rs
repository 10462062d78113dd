//! Answers one request: drives its handler and its response while its body is fed.

use std::{
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::{
    ConnectionType, Request, Response, ResponseHead, ServiceConfig, StatusCode,
    body::{BodySize, EitherBody, MessageBody},
    header,
};
use actix_service::Service;
use actix_web::dev::ServiceResponse;
use bytes::Bytes;

use super::{
    decide::{self, Answered, Next, RequestTraits, Rest},
    encode::{self, BodyFraming},
    inflow::{Inflow, Opened},
    refuse,
    wire::H1Wire,
};
use crate::http::{
    books::{RequestEnd, Ticket},
    connection::{Conn, Phase},
    request::{Handled, Handling, Track},
};

/// Room below which the response's body is not asked for more.
const LEAST_ROOM: usize = 4 * 1024;

/// Answers a request whose head is complete.
///
/// # Errors
/// Where the connection has failed; then the request is aborted.
pub(super) async fn answer<S, B>(
    track: &Rc<Track<S>>,
    config: &ServiceConfig,
    wire: &mut H1Wire,
    mut request: Request,
    asked: RequestTraits,
) -> io::Result<Next>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let pin = track.pin();
    let Opened {
        inflow,
        payload,
        limits,
    } = match Inflow::open(&asked, pin.server.max_body.0, &mut wire.input) {
        Ok(opened) => opened,
        Err(status) => {
            refuse(wire, config, status);
            return Ok(Next::Close);
        }
    };
    let conn = wire.conn().clone();
    *request.payload() = payload;
    let head = request.head_mut();
    head.peer_addr = conn.peer();
    let ticket = conn.enter(head.method.clone(), head.uri.clone(), pin.number);
    let entry = RequestEntry {
        conn: conn.clone(),
        ticket: Some(ticket),
    };
    let mut exchange = Exchange {
        wire,
        inflow,
        asked,
        most: pin.server.max_body.0,
        entry,
    };
    let handling = track.handle(request, &conn, &pin, limits);
    match exchange.respond(handling, config).await? {
        Next::Request => exchange.drain().await,
        next => Ok(next),
    }
}

/// One request and its answer.
struct Exchange<'a> {
    wire: &'a mut H1Wire,
    inflow: Inflow,
    asked: RequestTraits,
    /// How long the request's body may be.
    most: u64,
    entry: RequestEntry,
}

impl Exchange<'_> {
    /// Drives the handler, and sends what it responds.
    async fn respond<F, B>(
        &mut self,
        handling: Handling<F>,
        config: &ServiceConfig,
    ) -> io::Result<Next>
    where
        F: Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
        B: MessageBody + 'static,
    {
        let mut handling = pin!(handling);
        let handled = poll_fn(|cx| {
            loop {
                if let Poll::Ready(handled) = handling.as_mut().poll(cx) {
                    return Poll::Ready(io::Result::Ok(handled));
                }
                if !self.poll_meanwhile(cx)? {
                    return Poll::Pending;
                }
            }
        });
        let Handled {
            response,
            is_broken,
        } = handled.await?;
        let (head, body) = self.final_response(response).into_parts();
        let (next, frames) = self.begin(head.head(), body.size(), is_broken, config);
        drop(head);
        if !self.send(pin!(body), frames).await? {
            poll_fn(|cx| self.wire.poll_flush(cx)).await?;
            return Ok(Next::Cut);
        }
        let ticket = self.entry.ticket.take().expect("it is taken only here");
        self.wire.encoded(ticket);
        Ok(next)
    }

    /// While the handler or the response's body waits: sends what there is, and feeds the request's
    /// body. Whether that may have moved whoever waits.
    fn poll_meanwhile(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let has_moved = self.inflow.poll_feed(self.wire, cx)?;
        if !has_moved {
            let _ = self.wire.poll_flush(cx)?;
        }
        Ok(has_moved)
    }

    /// A response that would leave the client waiting for another becomes an error.
    fn final_response<B: MessageBody + 'static>(
        &self,
        response: Response<EitherBody<B>>,
    ) -> Response<EitherBody<B>> {
        if decide::is_final(&self.asked, response.status()) {
            return response;
        }
        let status = response.status();
        log::debug!(target: "everup::http", "status {status} is no answer to this request: 500 instead");
        Response::new(StatusCode::INTERNAL_SERVER_ERROR).map_body(|_, body| EitherBody::right(body))
    }

    /// Decides how the response is sent, and writes its head.
    fn begin(
        &mut self,
        head: &ResponseHead,
        size: BodySize,
        is_broken: bool,
        config: &ServiceConfig,
    ) -> (Next, BodyFraming) {
        let rest = self.inflow.rest(&mut self.wire.input);
        let is_last = || {
            let waits = rest == Rest::None && !self.wire.input.is_empty();
            !waits && self.wire.conn().closes_with_response()
        };
        let closes = is_broken
            || head.connection_type() == ConnectionType::Close
            || decide::is_too_much(rest)
            || is_last();
        let answered = Answered {
            status: head.status,
            size,
            is_unchunked: !head.chunked(),
            says_length: said_length(head, size),
            closes,
        };
        let plan = decide::plan(&self.asked, &answered);
        self.entry.begin(head.status);
        self.wire.conn().begins_response();
        encode::head(self.wire.output(), head, &plan, self.asked.is_old, config);
        if plan.next == Next::Upgrade {
            self.inflow.agree();
        }
        (plan.next, BodyFraming::new(plan.outgoing))
    }

    /// Sends the response's body. Whether it was whole.
    async fn send<B: MessageBody>(
        &mut self,
        mut body: Pin<&mut B>,
        mut frames: BodyFraming,
    ) -> io::Result<bool> {
        let mut piece = Bytes::new();
        let has_ended = poll_fn(|cx| {
            loop {
                let waits = match self.pour(body.as_mut(), &mut frames, &mut piece, cx) {
                    Poured::All => return Poll::Ready(Ok(true)),
                    Poured::Failed => return Poll::Ready(Ok(false)),
                    Poured::Waits => true,
                    Poured::Full => false,
                };
                let is_flushed = self.wire.poll_flush(cx)?.is_ready();
                if is_flushed && !waits {
                    let bare = frames.bare();
                    match self.wire.poll_write_through(cx, &mut piece, bare)? {
                        Poll::Ready(written) => {
                            self.entry.goes_on(written);
                            frames.written(written);
                            continue;
                        }
                        Poll::Pending => {}
                    }
                }
                if !self.inflow.poll_feed(self.wire, cx)? {
                    return Poll::Pending;
                }
            }
        });
        let has_ended: io::Result<bool> = has_ended.await;
        if !has_ended? {
            return Ok(false);
        }
        let finished = frames.finish(self.wire.output());
        if finished.is_err() {
            log::debug!(target: "everup::http", "a response's body is shorter than it said");
        }
        Ok(finished.is_ok())
    }

    /// Takes of the response's body what there is, and what there is room for.
    fn pour<B: MessageBody>(
        &mut self,
        mut body: Pin<&mut B>,
        frames: &mut BodyFraming,
        piece: &mut Bytes,
        cx: &mut Context<'_>,
    ) -> Poured {
        while !frames.are_complete() {
            if piece.is_empty() {
                // What panics here costs its own response.
                let next = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_next(cx)));
                match next {
                    Ok(Poll::Pending) => return Poured::Waits,
                    Ok(Poll::Ready(None)) => return Poured::All,
                    Ok(Poll::Ready(Some(Ok(next)))) => *piece = next,
                    Ok(Poll::Ready(Some(Err(error)))) => {
                        let error: Box<dyn std::error::Error> = error.into();
                        log::debug!(target: "everup::http", "a response's body failed: {error}");
                        return Poured::Failed;
                    }
                    Err(_) => {
                        log::debug!(target: "everup::http", "a response's body panicked");
                        return Poured::Failed;
                    }
                }
                continue;
            }
            let room = self.wire.room();
            if room < LEAST_ROOM {
                return Poured::Full;
            }
            let written = frames.put(self.wire.output(), piece, room);
            self.entry.goes_on(written);
        }
        Poured::All
    }

    /// Reads away what nobody has read of the request's body.
    async fn drain(&mut self) -> io::Result<Next> {
        if matches!(self.inflow, Inflow::Done) {
            return Ok(Next::Request);
        }
        // The time in which the rest has to come begins when the response has been taken.
        self.wire.conn().enter_phase(Phase::Answer);
        poll_fn(|cx| self.wire.poll_flush(cx)).await?;
        let mut left = self.most.min(decide::DRAINED);
        let drained = poll_fn(|cx| self.inflow.poll_drain(self.wire, &mut left, cx));
        Ok(match drained.await? {
            true => Next::Request,
            false => Next::Close,
        })
    }
}

/// What became of asking a response's body for more.
enum Poured {
    All,
    Failed,
    /// It has no more now.
    Waits,
    /// There is no room.
    Full,
}

/// What a response says of its own length, where its body does not tell.
fn said_length(head: &ResponseHead, size: BodySize) -> Option<u64> {
    if size != BodySize::Stream {
        return None;
    }
    let length = head.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

/// A request's entry in the books. Dropped before its response is encoded, the request is aborted.
struct RequestEntry {
    conn: Rc<Conn>,
    ticket: Option<Ticket>,
}

impl RequestEntry {
    fn begin(&mut self, status: StatusCode) {
        if let Some(ticket) = &mut self.ticket {
            ticket.begin(status);
        }
    }

    fn goes_on(&mut self, bytes: usize) {
        if let Some(ticket) = &mut self.ticket {
            ticket.goes_on(bytes);
        }
    }
}

impl Drop for RequestEntry {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.conn.close([ticket], RequestEnd::Aborted);
        }
    }
}
