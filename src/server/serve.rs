//! An author's App, made into what serves one connection after another; their types end here.

use std::{cell::RefCell, future::poll_fn, net::SocketAddr, rc::Rc, sync::Arc};

use actix_http::body::MessageBody;
use actix_service::map_config;
use actix_web::{
    App,
    dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse},
};
use futures_util::future::LocalBoxFuture;

use super::{
    connection::Conn,
    http1, http2,
    hub::Hub,
    io::{Io, Protocol},
    request::Track,
};
use crate::{config::Slot, settings::Server};

/// Serves one connection after another.
pub(crate) trait Serve {
    /// Resolves when the connection is at its end.
    fn serve(&self, conn: Rc<Conn>, speaks: Speaks) -> LocalBoxFuture<'static, ()>;
}

/// What a connection may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    /// HTTP/1, or HTTP/2 by prior knowledge: its first bytes tell.
    Either,
}

impl Speaks {
    /// On the listener of this name.
    pub(crate) fn on(server: &Server, listener: &str) -> Self {
        match server.listeners.get(listener) {
            Some(listener) if listener.h2c => Self::Either,
            _ => Self::Http1,
        }
    }
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
        let app = map_config(app, move |()| config.clone());
        Box::pin(async move {
            let app = app.new_service(()).await.ok()?;
            let track = Rc::new(Track::new(app, slot));
            let http1 = Rc::new(http1::service(track.clone()).await?);
            let http2 = Rc::new(http2::Server::new(track));
            let serve = move |conn: Rc<Conn>, speaks| -> LocalBoxFuture<'static, ()> {
                let (http1, http2) = (http1.clone(), http2.clone());
                Box::pin(async move {
                    let mut io = Io::new(conn);
                    let protocol = match speaks {
                        Speaks::Http1 => Protocol::Http1,
                        Speaks::Either => poll_fn(|cx| io.poll_sniff(cx)).await,
                    };
                    match protocol {
                        Protocol::Http1 => http1::serve(&*http1, io).await,
                        Protocol::Http2 => http2.serve(io).await,
                    }
                })
            };
            Some(Rc::new(serve) as Rc<dyn Serve>)
        })
    })
}

impl<F> Serve for F
where
    F: Fn(Rc<Conn>, Speaks) -> LocalBoxFuture<'static, ()>,
{
    fn serve(&self, conn: Rc<Conn>, speaks: Speaks) -> LocalBoxFuture<'static, ()> {
        self(conn, speaks)
    }
}
