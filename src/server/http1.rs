//! HTTP/1 through actix-http: an author's App, made into a [`Serve`].

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, Protocol, body::MessageBody};
use actix_service::{Service, map_config};
use actix_web::{
    App,
    dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse},
};
use futures_util::future::{LocalBoxFuture, poll_fn};

use super::{connection::Conn, hub::Hub, io::Io, request::TrackFactory};
use crate::config::Slot;

/// Serves one connection after another; the author's types end here.
pub(crate) trait Serve {
    /// Resolves when the connection is at its end.
    fn serve(&self, io: Io, peer: Option<SocketAddr>) -> LocalBoxFuture<'static, ()>;
}

/// Makes a worker's [`Serve`], on the worker's thread. `None` where the App cannot be made.
pub(crate) type NewServe = Arc<
    dyn Fn(Rc<Hub>, Rc<RefCell<Slot>>, SocketAddr) -> LocalBoxFuture<'static, Option<Rc<dyn Serve>>>
        + Send
        + Sync,
>;

/// Makes a [`NewServe`] of an author's App.
pub(crate) fn new_serve<F, T, B>(app: F) -> NewServe
where
    F: Fn() -> App<T> + Send + Sync + 'static,
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    T::Future: 'static,
    T::Service: 'static,
    B: MessageBody + 'static,
{
    Arc::new(move |hub, slot, address| {
        let app = app().app_data(hub.lifecycle());
        // The only way to tell an App served without `HttpServer` its true scheme and address.
        let config = AppConfig::__priv_test_new(false, address.to_string(), address);
        let tracked = TrackFactory {
            inner: map_config(app, move |()| config.clone()),
            slot,
        };
        let factory = HttpService::<Io, _, _>::build()
            // Its timers are off: the connection's own clock keeps all times.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(Duration::ZERO)
            .on_connect_ext(|io: &Io, data| {
                data.insert::<Rc<Conn>>(io.conn().clone());
            })
            .finish(tracked);
        Box::pin(async move {
            let service = Rc::new(factory.new_service(()).await.ok()?);
            let serve = move |io: Io, peer| -> LocalBoxFuture<'static, ()> {
                let service = service.clone();
                Box::pin(async move {
                    // Resolves at once, but for an author's middleware that says otherwise.
                    let call = (io, Protocol::Http1, peer);
                    let answered = match poll_fn(|cx| poll_ready(&*service, &call, cx)).await {
                        Ok(()) => service.call(call).await,
                        unready => unready,
                    };
                    if let Err(error) = answered {
                        log::debug!(target: "everup::http", "connection ended: {error}");
                    }
                })
            };
            Some(Rc::new(serve) as Rc<dyn Serve>)
        })
    })
}

/// A handler is a service of one kind of call only, which the compiler is to be told.
fn poll_ready<S: Service<C>, C>(
    service: &S,
    _: &C,
    cx: &mut std::task::Context<'_>,
) -> std::task::Poll<Result<(), S::Error>> {
    service.poll_ready(cx)
}

impl<F> Serve for F
where
    F: Fn(Io, Option<SocketAddr>) -> LocalBoxFuture<'static, ()>,
{
    fn serve(&self, io: Io, peer: Option<SocketAddr>) -> LocalBoxFuture<'static, ()> {
        self(io, peer)
    }
}
