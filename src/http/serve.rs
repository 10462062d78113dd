//! An author's App, made into what serves one connection after another; their types end here.

use std::{cell::RefCell, future::poll_fn, net::SocketAddr, rc::Rc, sync::Arc};

use actix_http::{ServiceConfig, body::MessageBody};
use actix_service::map_config;
use actix_web::{
    App,
    dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse},
};
use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{
    apps::{Apps, At},
    connection::Conn,
    http1, http2,
    hub::Hub,
    io::Io,
    request::Track,
};
use crate::{
    generation::Slot,
    net::{Opening, Protocol},
};

/// Serves one connection after another.
pub(crate) trait Serve {
    /// Resolves when the connection is at its end.
    fn serve(&self, conn: Rc<Conn>, opening: Opening) -> LocalBoxFuture<'static, ()>;
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
    let app = Arc::new(app);
    Arc::new(move |hub, slot, address| {
        let app = app.clone();
        let make = move |at: At| {
            // The only way to tell an App served without `HttpServer` its true scheme and address.
            let config =
                AppConfig::__priv_test_new(at.is_secure, at.address.to_string(), at.address);
            let app = app().app_data(hub.lifecycle()).app_data(hub.files());
            let making = map_config(app, move |()| config.clone()).new_service(());
            let slot = slot.clone();
            let making = async move {
                let track = Rc::new(Track::new(making.await.ok()?, slot));
                let http2 = http2::H2Server::new(track.clone());
                Some(Protocols { track, http2 })
            };
            making.boxed_local()
        };
        let first = At {
            is_secure: false,
            address,
        };
        Box::pin(async move {
            let apps = Rc::new(Apps::new(make, first).await?);
            // It knows the date, which a task of its own keeps.
            let config = ServiceConfig::default();
            let serve = move |conn: Rc<Conn>, opening| -> LocalBoxFuture<'static, ()> {
                let (apps, config) = (apps.clone(), config.clone());
                Box::pin(async move {
                    let Some((io, protocol)) = open(conn, opening).await else {
                        return;
                    };
                    let app = apps.at(At::of(io.conn())).await;
                    match protocol {
                        Protocol::Http1 => http1::serve(&app.track, &config, io).await,
                        // Boxed: a connection of HTTP/1 does not pay for its room.
                        Protocol::Http2 => Box::pin(app.http2.serve(io)).await,
                    }
                })
            };
            Some(Rc::new(serve) as Rc<dyn Serve>)
        })
    })
}

/// An App, and what it may be asked by.
struct Protocols<S> {
    track: Rc<Track<S>>,
    http2: http2::H2Server<S>,
}

/// What a new connection speaks. `None` where it does not come to that.
async fn open(conn: Rc<Conn>, opening: Opening) -> Option<(Io, Protocol)> {
    let agreed = match opening {
        Opening::Http1 => Some(Protocol::Http1),
        Opening::Sniff => None,
        Opening::Handshake => match poll_fn(|cx| conn.poll_handshake(cx)).await {
            Ok(agreed) => Some(agreed),
            Err(error) => {
                log::debug!(target: "everup::tls", "handshake failed: {error}");
                return None;
            }
        },
    };
    let mut io = Io::new(conn.clone());
    if agreed == Some(Protocol::Http1) {
        return Some((io, Protocol::Http1));
    }
    let seen = poll_fn(|cx| io.poll_sniff(cx)).await;
    if agreed.is_some_and(|agreed| agreed != seen) {
        // It ends as one of HTTP/2 does that begins with anything else (RFC 9113 §3.4).
        if let Err(error) = poll_fn(|cx| conn.poll_shutdown(cx)).await {
            log::debug!(target: "everup::http", "connection ended: {error}");
        }
        return None;
    }
    Some((io, seen))
}

impl<F> Serve for F
where
    F: Fn(Rc<Conn>, Opening) -> LocalBoxFuture<'static, ()>,
{
    fn serve(&self, conn: Rc<Conn>, opening: Opening) -> LocalBoxFuture<'static, ()> {
        self(conn, opening)
    }
}
