//! Each request of a worker: pins its generation, keeps the books, survives its handler.
//!
//! [`Track`] is the outermost service, around the author's App: whatever the App does, a request
//! that was received ends in the books once.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_http::{
    BoxedPayloadStream, ConnectionType, Method, Payload, Request, Response, StatusCode,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    error::PayloadError,
    header,
};
use actix_service::{Service, ServiceFactory};
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use futures_util::{Stream, future::LocalBoxFuture};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{books::Ticket, connection::Conn, gate::Framing, probes};
use crate::config::Slot;

/// Makes a [`Track`] around each service that `inner` makes.
pub(crate) struct TrackFactory<F> {
    pub(crate) inner: F,
    pub(crate) slot: Rc<RefCell<Slot>>,
}

impl<F, B> ServiceFactory<Request> for TrackFactory<F>
where
    F: ServiceFactory<
            Request,
            Config = (),
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        >,
    F::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<Tracked<B>>;
    type Error = actix_web::Error;
    type Config = ();
    type Service = Track<F::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let inner = self.inner.new_service(());
        let slot = self.slot.clone();
        Box::pin(async move {
            let inner = inner.await?;
            Ok(Track { inner, slot })
        })
    }
}

/// The outermost service of a worker.
pub(crate) struct Track<S> {
    inner: S,
    slot: Rc<RefCell<Slot>>,
}

impl<S, B> Service<Request> for Track<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    type Response = Response<Tracked<B>>;
    type Error = actix_web::Error;
    type Future = Answering<S::Future>;

    actix_service::forward_ready!(inner);

    fn call(&self, mut request: Request) -> Self::Future {
        let conn = request
            .conn_data::<Rc<Conn>>()
            .expect("every connection carries its own, set as it connects")
            .clone();
        let framing = framing(&mut request);
        let offers_upgrade = request.upgrade();
        let is_head = request.method() == Method::HEAD;
        // P1, P2: the head is complete, and no handler or middleware has seen the request.
        let pin = self.slot.borrow_mut().pin();
        let asked = pin.probe(conn.listener(), request.path());
        let probe =
            asked.and_then(|asked| probes::answer(asked, request.method(), conn.hub().readiness()));
        let ticket = conn.receive(&request, framing, pin);
        let stalled =
            (framing != Framing::None && !offers_upgrade).then(|| time_body(&mut request, &conn));
        Answering {
            entry: Some(OpenEntry::new(conn, ticket, offers_upgrade, is_head)),
            handling: match probe {
                Some(answer) => Handling::done(answer),
                // A middleware may panic before it returns its future.
                None => catch_unwind(AssertUnwindSafe(|| self.inner.call(request))).map_or_else(
                    |_| Handling::done(panicked().into()),
                    |future| Handling::App { future },
                ),
            },
            stalled,
        }
    }
}

/// What actix-http has understood of the request's body.
fn framing(request: &mut Request) -> Framing {
    if matches!(request.payload(), Payload::None) {
        return Framing::None;
    }
    let length = request.head().headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
    match length {
        _ if request.upgrade() => Framing::Open,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// Puts a clock before the request's body, and returns whether it has struck.
fn time_body(request: &mut Request, conn: &Rc<Conn>) -> Rc<Cell<bool>> {
    let stalled = Rc::new(Cell::new(false));
    let body = TimedBody {
        inner: request.take_payload(),
        conn: conn.clone(),
        stall: None,
        stalled: stalled.clone(),
    };
    *request.payload() = Payload::Stream {
        payload: Box::pin(body),
    };
    stalled
}

pin_project! {
    /// A request on its way to a response.
    pub(crate) struct Answering<F> {
        entry: Option<OpenEntry>,
        #[pin]
        handling: Handling<F>,
        stalled: Option<Rc<Cell<bool>>>,
    }
}

pin_project! {
    /// Who answers a request.
    #[project = HandlingView]
    enum Handling<F> {
        App { #[pin] future: F },
        /// Nobody any more: this is the answer, until it is taken.
        Done { answer: Option<Response<BoxBody>> },
    }
}

impl<F> Handling<F> {
    fn done(answer: Response<BoxBody>) -> Self {
        Self::Done {
            answer: Some(answer),
        }
    }
}

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
    B: MessageBody + 'static,
{
    type Output = Result<Response<Tracked<B>>, actix_web::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = match this.handling.project() {
            // A handler that panics costs its own request a 500 and nobody else anything.
            HandlingView::App { future } => catch_unwind(AssertUnwindSafe(|| future.poll(cx)))
                .unwrap_or_else(|_| Poll::Ready(Err(panicked())))
                .map(response),
            HandlingView::Done { answer } => {
                let answer = answer.take().expect("polled again after its answer");
                Poll::Ready(answer.map_body(|_, body| EitherBody::right(body)))
            }
        };
        let is_stalled = this.stalled.as_ref().is_some_and(|stalled| stalled.get());
        let answer = if is_stalled {
            response(Err(BodyTimeout.into()))
        } else {
            ready!(polled)
        };
        let entry = this.entry.take().expect("polled again after its answer");
        Poll::Ready(Ok(finish(answer, entry, is_stalled)))
    }
}

/// What the App has come to, as the response that it is.
fn response<B>(answer: Result<ServiceResponse<B>, actix_web::Error>) -> Response<EitherBody<B>> {
    match answer {
        Ok(response) => Response::from(response).map_body(|_, body| EitherBody::left(body)),
        Err(error) => Response::from(error).map_body(|_, body| EitherBody::right(body)),
    }
}

/// The response, with its body entered in the books.
fn finish<B: MessageBody + 'static>(
    mut response: Response<EitherBody<B>>,
    mut entry: OpenEntry,
    is_stalled: bool,
) -> Response<Tracked<B>> {
    // actix-http takes every request that offers an upgrade for a stream without end: where the
    // offer is not taken, the connection serves nothing more.
    let is_spent = entry.offers_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    let closes = entry.conn.closes_with_response() && !response.upgrade();
    if is_stalled || is_spent || closes {
        response
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    entry.begins(response.status());
    // It would be sent all the same, and taken for the beginning of the next response.
    let has_no_body = matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    response.map_body(|_, body| match has_no_body {
        true => Tracked::new(EitherBody::right(BoxBody::new(())), entry),
        false => Tracked::new(body, entry),
    })
}

fn panicked() -> actix_web::Error {
    actix_web::error::InternalError::new("the handler panicked", StatusCode::INTERNAL_SERVER_ERROR)
        .into()
}

/// The client sent no piece of its request's body for `server.body_timeout`.
#[derive(Debug)]
struct BodyTimeout;

impl std::fmt::Display for BodyTimeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request's body did not arrive in time")
    }
}

impl actix_web::ResponseError for BodyTimeout {
    fn status_code(&self) -> StatusCode {
        StatusCode::REQUEST_TIMEOUT
    }
}

/// A request's entry in the books, from its head to its last byte.
struct OpenEntry {
    conn: Rc<Conn>,
    ticket: Option<Ticket>,
    offers_upgrade: bool,
    is_complete: bool,
    /// Its response's body is measured and not sent.
    is_head: bool,
}

impl OpenEntry {
    fn new(conn: Rc<Conn>, ticket: Ticket, offers_upgrade: bool, is_head: bool) -> Self {
        Self {
            conn,
            ticket: Some(ticket),
            offers_upgrade,
            is_complete: false,
            is_head,
        }
    }

    fn begins(&mut self, status: StatusCode) {
        if let Some(ticket) = &mut self.ticket {
            ticket.begins(status);
        }
    }

    fn goes_on(&mut self, piece: &Bytes) {
        if let Some(ticket) = self.ticket.as_mut().filter(|_| !self.is_head) {
            ticket.goes_on(piece.len());
        }
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        match self.ticket.take() {
            Some(ticket) if self.is_complete => self.conn.encoded(ticket),
            Some(ticket) => self.conn.aborted(ticket),
            None => {}
        }
    }
}

pin_project! {
    /// A response's body. actix-http drops it when its last byte is in the write buffer, or when
    /// the connection fails.
    pub(crate) struct Tracked<B> {
        #[pin]
        body: EitherBody<B>,
        entry: OpenEntry,
    }
}

impl<B: MessageBody + 'static> Tracked<B> {
    fn new(body: EitherBody<B>, mut entry: OpenEntry) -> Self {
        entry.is_complete = matches!(body.size(), BodySize::None | BodySize::Sized(0));
        Self { body, entry }
    }
}

impl<B: MessageBody + 'static> MessageBody for Tracked<B> {
    type Error = <EitherBody<B> as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let next = ready!(this.body.poll_next(cx));
        this.entry.is_complete = next.is_none();
        if let Some(Ok(piece)) = &next {
            this.entry.goes_on(piece);
        }
        Poll::Ready(next)
    }
}

/// A request's body, read under `server.body_timeout` between two pieces. The clock runs only while
/// somebody waits for the next piece: a slow handler is not the client's fault.
struct TimedBody {
    inner: Payload<BoxedPayloadStream>,
    conn: Rc<Conn>,
    stall: Option<Stall>,
    stalled: Rc<Cell<bool>>,
}

/// Somebody waits for the next piece of a body.
struct Stall {
    sleep: Pin<Box<Sleep>>,
    /// How long the process had stood still before.
    stood: Duration,
}

impl Stream for TimedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = Pin::new(&mut self.inner).poll_next(cx) {
            self.stall = None;
            return Poll::Ready(piece);
        }
        let this = &mut *self;
        let hub = this.conn.hub();
        let stall = this.stall.get_or_insert_with(|| Stall {
            sleep: Box::pin(sleep_until(Instant::now() + hub.times().body)),
            stood: hub.stood(),
        });
        loop {
            ready!(stall.sleep.as_mut().poll(cx));
            hub.catch_up(std::time::Instant::now());
            let moved = hub.stood() - stall.stood;
            if moved.is_zero() {
                break;
            }
            stall.stood = hub.stood();
            let deadline = stall.sleep.deadline() + moved;
            stall.sleep.as_mut().reset(deadline);
        }
        self.stalled.set(true);
        self.conn.wake();
        let timed_out = std::io::ErrorKind::TimedOut;
        Poll::Ready(Some(Err(PayloadError::Io(timed_out.into()))))
    }
}
