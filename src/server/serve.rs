//! An author's App, made into what serves one connection after another; their types end here.

use std::{cell::RefCell, future::poll_fn, net::SocketAddr, rc::Rc, sync::Arc};

use actix_http::{Request, body::MessageBody, error::DispatchError};
use actix_service::{Service, map_config};
use actix_web::{
    App,
    dev::{AppConfig, ServiceFactory, ServiceRequest, ServiceResponse},
};
use futures_util::future::LocalBoxFuture;
use rustls::ServerConfig;

use super::{
    connection::Conn,
    http1::{self, Call},
    http2,
    hub::Hub,
    io::{Io, Protocol, Stream},
    request::Track,
    socket::Socket,
};
use crate::config::{Generation, Slot};

/// Serves one connection after another.
pub(crate) trait Serve {
    /// Resolves when the connection is at its end.
    fn serve(&self, conn: Rc<Conn>, opening: Opening) -> LocalBoxFuture<'static, ()>;
}

/// What the connections of a listener may speak.
#[derive(Clone)]
pub(crate) enum Speaks {
    Http1,
    /// HTTP/1, or HTTP/2 by prior knowledge: its first bytes tell.
    Either,
    /// The same within TLS, whose handshake tells.
    Tls(Arc<ServerConfig>),
}

impl Speaks {
    /// On the listener of this name.
    pub(crate) fn on(generation: &Generation, listener: &str) -> Self {
        if let Some(config) = generation.certificates.of(listener) {
            return Self::Tls(config);
        }
        match generation.server.listeners.get(listener) {
            Some(listener) if listener.h2c => Self::Either,
            _ => Self::Http1,
        }
    }

    /// On a connection that was accepted where there was no TLS.
    pub(crate) fn in_the_clear(self) -> Self {
        match self {
            // What was spoken there is not known here.
            Self::Tls(_) => Self::Either,
            other => other,
        }
    }

    /// A connection's stream, and how it is known what is spoken on it.
    pub(crate) fn begin(self, socket: Socket) -> (Stream, Opening) {
        match self {
            Self::Http1 => (Stream::Plain(socket), Opening::Http1),
            Self::Either => (Stream::Plain(socket), Opening::Sniff),
            Self::Tls(config) => (Stream::tls(socket, config), Opening::Handshake),
        }
    }
}

/// How it is known what a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Http1,
    Sniff,
    Handshake,
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
        // Whether it is secure is an App's own: one for either.
        let [plain, secure] = [false, true].map(|is_secure| {
            let app = app().app_data(hub.lifecycle()).app_data(hub.files());
            // The only way to tell an App served without `HttpServer` its true scheme and address.
            let config = AppConfig::__priv_test_new(is_secure, address.to_string(), address);
            let app = map_config(app, move |()| config.clone());
            app.new_service(())
        });
        Box::pin(async move {
            let plain = Rc::new(protocols(plain.await.ok()?, slot.clone()).await?);
            let secure = Rc::new(protocols(secure.await.ok()?, slot).await?);
            let serve = move |conn: Rc<Conn>, opening| -> LocalBoxFuture<'static, ()> {
                let (plain, secure) = (plain.clone(), secure.clone());
                match opening {
                    Opening::Http1 => Box::pin(async move { plain.http1(Io::new(conn)).await }),
                    Opening::Sniff => Box::pin(async move { plain.either(Io::new(conn)).await }),
                    Opening::Handshake => Box::pin(async move { secure.agree(conn).await }),
                }
            };
            Some(Rc::new(serve) as Rc<dyn Serve>)
        })
    })
}

/// An App, and what it may be asked by.
struct Protocols<H, S> {
    http1: H,
    http2: http2::Server<S>,
}

/// `None` where an author's middleware fails.
async fn protocols<S, B>(
    app: S,
    slot: Rc<RefCell<Slot>>,
) -> Option<Protocols<impl Service<Call, Response = (), Error = DispatchError> + 'static, S>>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let track = Rc::new(Track::new(app, slot));
    Some(Protocols {
        http1: http1::service(track.clone()).await?,
        http2: http2::Server::new(track),
    })
}

impl<H, S, B> Protocols<H, S>
where
    H: Service<Call, Response = (), Error = DispatchError>,
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    async fn http1(&self, io: Io) {
        http1::serve(&self.http1, io).await;
    }

    /// Its first bytes tell.
    async fn either(&self, mut io: Io) {
        match poll_fn(|cx| io.poll_sniff(cx)).await {
            Protocol::Http1 => self.http1(io).await,
            Protocol::Http2 => self.http2.serve(io).await,
        }
    }

    /// The handshake tells.
    async fn agree(&self, conn: Rc<Conn>) {
        match poll_fn(|cx| conn.poll_handshake(cx)).await {
            Ok(Protocol::Http1) => self.http1(Io::new(conn)).await,
            // What was agreed on is to be seen in the first bytes too, which may be long in coming.
            Ok(Protocol::Http2) => {
                let mut io = Io::new(conn.clone());
                match poll_fn(|cx| io.poll_sniff(cx)).await {
                    Protocol::Http2 => self.http2.serve(io).await,
                    // It ends as one of HTTP/2 does that begins with anything else (RFC 9113 §3.4).
                    Protocol::Http1 => {
                        let closed = poll_fn(|cx| conn.poll_shutdown(cx)).await;
                        if let Err(error) = closed {
                            log::debug!(target: "everup::http", "connection ended: {error}");
                        }
                    }
                }
            }
            Err(error) => log::debug!(target: "everup::tls", "handshake failed: {error}"),
        }
    }
}

impl<F> Serve for F
where
    F: Fn(Rc<Conn>, Opening) -> LocalBoxFuture<'static, ()>,
{
    fn serve(&self, conn: Rc<Conn>, opening: Opening) -> LocalBoxFuture<'static, ()> {
        self(conn, opening)
    }
}
