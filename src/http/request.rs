//! Each request of a worker, whatever its connection speaks: it is assigned its generation, answered by
//! the App or in its place, and survives a handler that panics.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
};

use actix_http::{
    HttpMessage as _, Request, Response, StatusCode,
    body::{self as bodies, BoxBody, EitherBody, MessageBody},
};
use actix_service::Service;
use actix_web::dev::ServiceResponse;
use pin_project_lite::pin_project;

use super::{body::Limits, connection::Conn, probes};
use crate::generation::{Pin as GenerationPin, Slot, Stamp};

/// What travels with each request, among its extensions.
pub(crate) struct RequestInfo {
    /// P1: its generation.
    pub(crate) pin: GenerationPin,
    /// Who keeps a request longer than its connection lasts keeps no socket open by that.
    pub(crate) conn: Weak<Conn>,
}

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

    /// Waits until the App is ready for requests: at once, but for an author's middleware that says
    /// otherwise.
    ///
    /// # Errors
    /// Those of that middleware.
    pub(crate) async fn is_ready(&self) -> Result<(), S::Error>
    where
        S: Service<Request>,
    {
        poll_fn(|cx| self.inner.poll_ready(cx)).await
    }

    /// Hands a received request to the App, or answers it where it is a probe.
    pub(crate) fn handle(
        &self,
        request: Request,
        conn: &Rc<Conn>,
        pin: &GenerationPin,
        limits: Option<Rc<Limits>>,
    ) -> Handling<S::Future>
    where
        S: Service<Request>,
    {
        request.extensions_mut().insert(RequestInfo {
            pin: pin.clone(),
            conn: Rc::downgrade(conn),
        });
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
            limits.set_waker(cx.waker());
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

fn panicked() -> actix_web::Error {
    actix_web::error::InternalError::new("the handler panicked", StatusCode::INTERNAL_SERVER_ERROR)
        .into()
}
