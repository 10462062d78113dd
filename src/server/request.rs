//! Each request of a worker: pins its generation, survives its handler; and an HTTP/1 request's
//! entry in the books.
//!
//! [`Track`] is the outermost service, around the author's App: whatever the App does, a request
//! that was received ends in the books once. An HTTP/2 stream's entry is kept in `http2`.

use std::{
    cell::RefCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{
    ConnectionType, Method, Payload, Request, Response, StatusCode,
    body::{self as bodies, BodySize, BoxBody, EitherBody, MessageBody},
    header,
};
use actix_service::Service;
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use pin_project_lite::pin_project;

use super::{
    body::{self, Limits},
    books::Ticket,
    connection::Conn,
    gate::Framing,
    probes,
};
use crate::config::{Pin as GenerationPin, Slot, Stamp};

/// The outermost service of a worker, whatever its connections speak.
pub(crate) struct Track<S> {
    inner: S,
    slot: Rc<RefCell<Slot>>,
}

impl<S> Track<S> {
    pub(crate) fn new(inner: S, slot: Rc<RefCell<Slot>>) -> Self {
        Self { inner, slot }
    }

    /// The generation of a request whose head is complete. P1, P2: no handler or middleware has
    /// seen the request.
    pub(crate) fn pin(&self) -> GenerationPin {
        self.slot.borrow_mut().pin()
    }

    /// Hands a received request to the App, or answers it where it is a probe.
    pub(crate) fn handle(
        &self,
        request: Request,
        conn: &Conn,
        pin: &GenerationPin,
        limits: Option<Rc<Limits>>,
    ) -> Handling<S::Future>
    where
        S: Service<Request>,
    {
        let asked = pin.probe(conn.listener(pin.number), request.path());
        let probe =
            asked.and_then(|asked| probes::answer(asked, request.method(), conn.hub().readiness()));
        let broken = limits.as_ref().and_then(|limits| limits.broken());
        let by = match probe.or_else(|| broken.map(|error| actix_web::Error::from(error).into())) {
            Some(answer) => By::done(answer),
            // A middleware may panic before it returns its future.
            None => catch_unwind(AssertUnwindSafe(|| self.inner.call(request)))
                .map_or_else(|_| By::done(panicked().into()), |future| By::App { future }),
        };
        let stamp = pin.stamp();
        Handling { by, limits, stamp }
    }
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
        let pin = self.pin();
        let ticket = conn.receive(&request, framing, pin.clone());
        let most = pin.server.max_body.0;
        let limits = (framing != Framing::None && !offers_upgrade)
            .then(|| body::limit(&mut request, conn.hub(), most));
        Answering {
            handling: self.handle(request, &conn, &pin, limits),
            entry: Some(OpenEntry::new(conn, ticket, offers_upgrade, is_head)),
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

pin_project! {
    /// A request on its way to a response.
    pub(crate) struct Handling<F> {
        #[pin]
        by: By<F>,
        limits: Option<Rc<Limits>>,
        stamp: Option<Stamp>,
    }
}

pin_project! {
    /// Who answers a request.
    #[project = ByView]
    enum By<F> {
        App { #[pin] future: F },
        /// Nobody any more: this is the answer, until it is taken.
        Done { answer: Option<Response<BoxBody>> },
    }
}

impl<F> By<F> {
    fn done(answer: Response<BoxBody>) -> Self {
        Self::Done {
            answer: Some(answer),
        }
    }
}

/// What has become of a request; an error has become a response.
pub(crate) struct Handled<B> {
    pub(crate) response: Response<EitherBody<B>>,
    /// The request's body has broken a limit, and this says so.
    pub(crate) is_broken: bool,
}

impl<F, B> Future for Handling<F>
where
    F: Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
    B: MessageBody + 'static,
{
    type Output = Handled<B>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(limits) = &this.limits {
            limits.wakes(cx.waker());
        }
        let polled = match this.by.project() {
            // A handler that panics costs its own request a 500 and nobody else anything.
            ByView::App { future } => catch_unwind(AssertUnwindSafe(|| future.poll(cx)))
                .unwrap_or_else(|_| Poll::Ready(Err(panicked())))
                .map(response),
            ByView::Done { answer } => {
                let answer = answer.take().expect("polled again after its answer");
                Poll::Ready(answer.map_body(|_, body| EitherBody::right(body)))
            }
        };
        let broken = this.limits.as_ref().and_then(|limits| limits.broken());
        let mut response = match broken {
            Some(error) => response(Err(error.into())),
            None => ready!(polled),
        };
        if let Some((name, value)) = this.stamp.take() {
            response.headers_mut().insert(name, value);
        }
        Poll::Ready(Handled {
            response,
            is_broken: broken.is_some(),
        })
    }
}

/// What the App has come to, as the response that it is.
fn response<B: MessageBody + 'static>(
    answer: Result<ServiceResponse<B>, actix_web::Error>,
) -> Response<EitherBody<B>> {
    let response = match answer {
        Ok(response) => {
            Response::from(response).map_body(|_, body| EitherBody::<B, BoxBody>::left(body))
        }
        Err(error) => Response::from(error).map_body(|_, body| EitherBody::right(body)),
    };
    // It would be sent all the same, and taken for the beginning of the next response.
    let has_no_body = matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    match has_no_body {
        true => response.map_body(|_, _| EitherBody::right(BoxBody::new(bodies::None::new()))),
        false => response,
    }
}

pin_project! {
    /// An HTTP/1 request on its way to a response.
    pub(crate) struct Answering<F> {
        entry: Option<OpenEntry>,
        #[pin]
        handling: Handling<F>,
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
        let handled = ready!(this.handling.poll(cx));
        let entry = this.entry.take().expect("polled again after its answer");
        Poll::Ready(Ok(finish(handled, entry)))
    }
}

/// The response, with its body entered in the books.
fn finish<B: MessageBody + 'static>(
    handled: Handled<B>,
    mut entry: OpenEntry,
) -> Response<Tracked<B>> {
    let mut response = handled.response;
    // actix-http takes every request that offers an upgrade for a stream without end: where the
    // offer is not taken, the connection serves nothing more.
    let is_spent = entry.offers_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS;
    let closes = !response.upgrade() && entry.conn.closes_with_response();
    if handled.is_broken || is_spent || closes {
        response
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    if response.head().connection_type() == ConnectionType::Close {
        entry.conn.answers_last();
    }
    entry.begins(response.status());
    response.map_body(|_, body| Tracked::new(body, entry))
}

fn panicked() -> actix_web::Error {
    actix_web::error::InternalError::new("the handler panicked", StatusCode::INTERNAL_SERVER_ERROR)
        .into()
}

/// An HTTP/1 request's entry in the books, from its head to its last byte.
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
    /// An HTTP/1 response's body. actix-http drops it when its last byte is in the write buffer, or when
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
