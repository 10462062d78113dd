//! HTTP/1 through actix-http.

use std::{
    future::{poll_fn, ready},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use actix_http::{
    HttpService, KeepAlive, Protocol, Request, body::MessageBody, error::DispatchError,
};
use actix_service::{Service, ServiceFactory as _, fn_factory};
use actix_web::dev::ServiceResponse;

use super::{connection::Conn, io::Io, request::Track};

/// What actix-http serves: a stream, what it speaks, and who is at its other end.
pub(crate) type Call = (Io, Protocol, Option<SocketAddr>);

/// Makes a worker's service of HTTP/1 connections. `None` where an author's middleware fails.
pub(crate) async fn service<S, B>(
    track: Rc<Track<S>>,
) -> Option<impl Service<Call, Response = (), Error = DispatchError> + 'static>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let shared = fn_factory(move || ready(Ok::<_, ()>(track.clone())));
    let factory = HttpService::<Io, _, _>::build()
        // Its timers are off: the connection's own clock keeps all times.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::ZERO)
        .on_connect_ext(|io: &Io, data| {
            data.insert::<Rc<Conn>>(io.conn().clone());
        })
        .finish(shared);
    factory.new_service(()).await.ok()
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    service: &impl Service<Call, Response = (), Error = DispatchError>,
    io: Io,
) {
    let peer = io.conn().peer();
    // Resolves at once, but for an author's middleware that says otherwise.
    let answered = match poll_fn(|cx| service.poll_ready(cx)).await {
        Ok(()) => service.call((io, Protocol::Http1, peer)).await,
        unready => unready,
    };
    if let Err(error) = answered {
        log::debug!(target: "everup::http", "connection ended: {error}");
    }
}
