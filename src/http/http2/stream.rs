//! One stream: a request, the App, a response.

use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{
    HttpMessage as _, Method, Payload, Request, Response,
    body::{BodySize, MessageBody},
};
use actix_service::Service;
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};

use super::{
    H2Server,
    ahead::Ahead,
    body::{H2RequestBody, Upload},
    head::{self, DateHeader, Malformed},
    session::{Session, StreamEntry},
};
use crate::http::{
    body::{self, BodyError, Limits},
    clock::Allowance,
    misconduct::Misconduct,
    pace::{Pace, Wait},
    refused::Refusal,
    request::{Handled, Handling},
};

/// Asked of a stream's window at once.
const PIECE: usize = 16 * 1024;

/// Receives a request; the future answers it. Dropped, the stream is reset. `None` where there is no
/// request to be answered by the App: then nothing of it is in the books.
pub(super) fn answer<S, B>(
    server: &H2Server<S>,
    session: &Rc<Session>,
    received: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<impl Future<Output = ()> + use<S, B>>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let conn = session.conn();
    let (parts, body) = received.into_parts();
    let (size, mut request) = match head::request(&parts, conn) {
        Ok(translated) => translated,
        Err(Malformed) => {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return None;
        }
    };
    if !session.has_room(size) {
        respond.send_reset(Reason::REFUSED_STREAM);
        return None;
    }
    if let Some(status) = head::refusal(&parts) {
        let told = actix_http::StatusCode::from_u16(status.as_u16()).ok();
        conn.refuse(told.map_or(Refusal::BadRequest, Refusal::of), told);
        let refusal = head::bare(status, &server.date);
        if let Err(error) = respond.send_response(refusal, true) {
            log::debug!(target: "everup::http", "stream ended: {error}");
        }
        return None;
    }
    let pin = server.track.pin();
    let stream = respond.stream_id().as_u32();
    let ahead = Ahead::new(session, stream);
    request.extensions_mut().insert(ahead);
    let named = (request.method().clone(), request.uri().clone());
    let is_head = request.method() == Method::HEAD;
    let entry = session.enter(stream, named, size, pin.number);
    let most = pin.server.max_body.0;
    let expects = parts.headers.contains_key(http::header::EXPECT);
    let upload = (!body.is_end_stream()).then(|| Upload::new(body, session, expects));
    let limits = upload.clone().map(|upload| {
        *request.payload() = Payload::Stream {
            payload: Box::pin(H2RequestBody(upload)),
        };
        body::limit(&mut request, conn.hub(), most)
    });
    let handling = server.track.handle(request, conn, &pin, limits.clone());
    let hub = conn.hub().clone();
    let answering = Answering {
        entry,
        is_head,
        date: server.date.clone(),
        upload: upload.clone(),
        limits,
    };
    Some(async move {
        // What panics here is a response's body: it costs its own stream.
        let answered = AssertUnwindSafe(answering.run(handling, respond)).catch_unwind();
        match answered.await {
            Ok(Ok(sent)) => {
                if let Some(upload) = upload {
                    upload.discard(&hub, most).await;
                }
                drop(sent);
            }
            Ok(Err(why)) => log::debug!(target: "everup::http", "stream ended: {why}"),
            Err(_) => log::debug!(target: "everup::http", "stream ended: its body panicked"),
        }
    })
}

/// Why a response did not reach the socket whole.
#[derive(Debug)]
enum Lost {
    /// The client has reset the stream, or the connection is gone.
    Reset,
    /// The client let no byte of it through for `server.write_timeout`.
    Stalled,
    /// The client was slower than `server.min_rate`.
    Slow,
    /// The body failed, or is not as long as it said.
    Body(Box<dyn std::error::Error>),
    /// A response that HTTP/2 does not have, such as one with status 1xx.
    Unspeakable(Option<http::Error>),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reset => f.write_str("reset"),
            Self::Stalled => f.write_str("the client takes nothing"),
            Self::Slow => f.write_str("the client is too slow"),
            Self::Body(error) => write!(f, "the response's body failed: {error}"),
            Self::Unspeakable(None) => f.write_str("HTTP/2 has no final response of status 1xx"),
            Self::Unspeakable(Some(error)) => write!(f, "the head cannot be sent: {error}"),
        }
    }
}

impl From<h2::Error> for Lost {
    fn from(_: h2::Error) -> Self {
        Self::Reset
    }
}

/// What a response is answered with.
struct Answering {
    entry: StreamEntry,
    is_head: bool,
    date: Rc<DateHeader>,
    upload: Option<Rc<Upload>>,
    limits: Option<Rc<Limits>>,
}

impl Answering {
    /// Ready when the whole response is with the socket.
    async fn run<F, B>(
        self,
        handling: Handling<F>,
        mut respond: SendResponse<Bytes>,
    ) -> Result<SendStream<Bytes>, Lost>
    where
        F: Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
        B: MessageBody + 'static,
    {
        let Handled { response, .. } = {
            let mut handling = pin!(handling);
            let handled = |cx: &mut Context<'_>| match handling.as_mut().poll(cx) {
                Poll::Ready(handled) => Poll::Ready(Ok(handled)),
                // The handler ends with the client's interest.
                Poll::Pending => {
                    if self
                        .upload
                        .as_ref()
                        .is_some_and(|it| it.owes_continue(cx.waker()))
                    {
                        self.invite(&mut respond)?;
                    }
                    respond.poll_reset(cx).map(|_| Err(Lost::Reset))
                }
            };
            poll_fn(handled).await?
        };
        if let Some(BodyError::Slow) = self.limits.as_ref().and_then(|limits| limits.broken()) {
            self.entry.session().conn().blame(Misconduct::Slow);
        }
        if response.status().is_informational() {
            respond.send_reset(Reason::HTTP_1_1_REQUIRED);
            return Err(Lost::Unspeakable(None));
        }
        let mut send = self.send(response, &mut respond).await?;
        let sent = |cx: &mut Context<'_>| match self.entry.poll_sent(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => send.poll_reset(cx).map(|_| Err(Lost::Reset)),
        };
        poll_fn(sent).await?;
        Ok(send)
    }

    /// Tells the client that its body is wanted.
    fn invite(&self, respond: &mut SendResponse<Bytes>) -> Result<(), Lost> {
        let mut invitation = http::Response::new(());
        *invitation.status_mut() = http::StatusCode::CONTINUE;
        respond.send_informational(invitation)?;
        self.entry.session().gives();
        Ok(())
    }

    /// Gives the whole response to `h2`.
    async fn send<B: MessageBody>(
        &self,
        response: Response<B>,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<SendStream<Bytes>, Lost> {
        let (response, body) = response.into_parts();
        let size = body.size();
        self.entry.begin(response.status());
        let head = match head::response(response.head(), size, &self.date) {
            Ok(head) => head,
            Err(error) => {
                respond.send_reset(Reason::INTERNAL_ERROR);
                return Err(Lost::Unspeakable(Some(error)));
            }
        };
        let is_whole = self.is_head || size.is_eof();
        let mut send = respond.send_response(head, is_whole)?;
        self.entry.session().gives();
        if !is_whole {
            let poured = self.pour(pin!(body), size, &mut send).await;
            if let Err(why) = poured {
                match why {
                    Lost::Body(_) => send.send_reset(Reason::INTERNAL_ERROR),
                    Lost::Stalled | Lost::Slow => {
                        self.entry.expel(match why {
                            Lost::Slow => Misconduct::Slow,
                            _ => Misconduct::Stalled,
                        });
                        send.send_reset(Reason::CANCEL);
                    }
                    Lost::Reset | Lost::Unspeakable(_) => {}
                }
                return Err(why);
            }
        }
        Ok(send)
    }

    async fn pour<B: MessageBody>(
        &self,
        mut body: Pin<&mut B>,
        size: BodySize,
        send: &mut SendStream<Bytes>,
    ) -> Result<(), Lost> {
        let mut left = match size {
            BodySize::Sized(length) => Some(length),
            BodySize::None | BodySize::Stream => None,
        };
        let mut pace = Pace::default();
        // It is one piece, most likely, and there already.
        let is_small = matches!(size, BodySize::Sized(length) if length <= PIECE as u64);
        loop {
            if !is_small {
                self.may_take(send).await?;
            }
            let next = |cx: &mut Context<'_>| match body.as_mut().poll_next(cx) {
                Poll::Ready(piece) => Poll::Ready(Ok(piece)),
                Poll::Pending => send.poll_reset(cx).map(|_| Err(Lost::Reset)),
            };
            let Some(piece) = poll_fn(next).await? else {
                break;
            };
            let mut piece = piece.map_err(|error| Lost::Body(error.into()))?;
            // Where it is the whole body, it was there before, and is not held on its account.
            if size != BodySize::Sized(piece.len() as u64) {
                self.entry.takes(piece.len());
            }
            while !piece.is_empty() {
                let room = self.room(send, piece.len(), &mut pace).await?;
                let part = piece.split_to(room.min(piece.len()));
                if let Some(left) = &mut left {
                    let rest = left.checked_sub(part.len() as u64);
                    *left = rest.ok_or_else(|| Lost::Body("longer than it said".into()))?;
                }
                // The last frame says so, where it is known to be the last.
                let is_last = left == Some(0) && piece.is_empty();
                pace.goes_on(part.len());
                self.entry.goes_on(part.len(), !piece.is_empty());
                send.send_data(part, is_last)?;
                self.entry.session().gives();
                if is_last {
                    return Ok(());
                }
            }
        }
        if left.is_some() {
            return Err(Lost::Body("shorter than it said".into()));
        }
        send.send_data(Bytes::new(), true)?;
        self.entry.session().gives();
        Ok(())
    }

    /// Waits until the connection holds little enough of its responses.
    async fn may_take(&self, send: &mut SendStream<Bytes>) -> Result<(), Lost> {
        let mut allowance = None;
        let may_take = |cx: &mut Context<'_>| {
            if self.entry.poll_may_take(false, cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            send.reserve_capacity(1);
            loop {
                let has_room = send.capacity() > 0;
                if has_room && self.entry.poll_may_take(true, cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match send.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Lost::Reset)),
                    Poll::Pending => break,
                }
            }
            let hub = self.entry.session().conn().hub();
            // Those that hold it are ended before, if they stand still.
            let allowance =
                allowance.get_or_insert_with(|| Allowance::new(hub, 2 * hub.times().write));
            allowance.poll_over(cx).map(|()| Err(Lost::Stalled))
        };
        poll_fn(may_take).await
    }

    /// How many bytes the client has room for; waits for some.
    async fn room(
        &self,
        send: &mut SendStream<Bytes>,
        wanted: usize,
        pace: &mut Pace,
    ) -> Result<usize, Lost> {
        send.reserve_capacity(wanted.min(PIECE));
        if send.capacity() > 0 {
            return Ok(send.capacity());
        }
        let hub = self.entry.session().conn().hub();
        let times = hub.times();
        let wait = pace.wait(&times, times.write);
        let mut allowance = Allowance::new(hub, wait.time());
        let room = |cx: &mut Context<'_>| {
            loop {
                return Poll::Ready(match send.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(0))) => continue,
                    Poll::Ready(Some(Ok(room))) => Ok(room),
                    Poll::Ready(Some(Err(_)) | None) => Err(Lost::Reset),
                    Poll::Pending => {
                        ready!(allowance.poll_over(cx));
                        Err(match wait {
                            Wait::Silent(_) => Lost::Stalled,
                            Wait::Slow(_) => Lost::Slow,
                        })
                    }
                });
            }
        };
        let room = poll_fn(room).await;
        pace.waited(allowance.used());
        room
    }
}
