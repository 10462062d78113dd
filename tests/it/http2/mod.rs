//! HTTP/2 by prior knowledge, from outside: through the `h2` crate and frame by frame.
mod closing;
mod frames;
mod limits;
mod requests;
mod stops;

use crate::support::{Address, Books, H2, Program, eventually, frames::RawH2, start_h2c};
use actix_http::body::{BodyStream, SizedStream};
use actix_web::{App, HttpRequest, HttpResponse, dev::ConnectionInfo, web};
use bytes::Bytes;
use everup::{Build, Lifecycle, Live, Running, Service, Settings};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// The program, with one worker and HTTP/2 on its public listener; these lines under `[server]`.
fn program(server: &str, rest: &str) -> Program {
    Program::serve(&settings(server, "here", rest))
}

fn settings(server: &str, message: &str, rest: &str) -> String {
    format!(
        "[server]\nworkers = 1\n{server}\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\nh2c = true\n\
         [app]\nmessage = \"{message}\"\n{rest}"
    )
}

/// An author's service of its own.
struct Shop {
    running: Running,
    /// Handlers of `/wait` that were dropped.
    dropped: Arc<AtomicUsize>,
    /// Pieces that were taken from bodies of `/endless`.
    taken: Arc<AtomicUsize>,
}

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Sold {
    message: String,
}

impl Settings for Sold {
    const NAME: &'static str = "sold";
    type State = ();

    async fn build(&self, _: &Build) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

impl Shop {
    /// Starts it; each `more` is a setting.
    fn open(more: &[(&str, &str)]) -> Self {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counts = dropped.clone();
        let taken = Arc::new(AtomicUsize::new(0));
        let takes = taken.clone();
        let service = Service::<Sold>::new(move || {
            let (counts, takes) = (counts.clone(), takes.clone());
            App::new()
                .route("/", web::route().to(say))
                .route("/who", web::route().to(who))
                .route("/echo", web::post().to(|body: Bytes| async { body }))
                .route("/skips", web::post().to(skips))
                .route("/early", web::post().to(|| async { "not read" }))
                .route("/panic", web::get().to(fall))
                .route("/drain", web::get().to(wait_for_the_drain))
                .route("/large", web::get().to(|| async { vec![b'x'; LARGE] }))
                .route("/pieces", web::get().to(pieces))
                .route("/endless", web::get().to(move || endless(takes.clone())))
                .route("/breaks", web::get().to(breaks))
                .route("/panics", web::get().to(panics))
                .route("/short", web::get().to(short))
                .route("/headers", web::get().to(headers))
                .route("/empty", web::get().to(HttpResponse::NoContent))
                .route("/switch", web::get().to(HttpResponse::SwitchingProtocols))
                .route("/wait", web::get().to(move || wait(counts.clone())))
        });
        let more = [&[("app.message", "here")], more].concat();
        let running = start_h2c(service, &more);
        Self {
            running,
            dropped,
            taken,
        }
    }

    fn address(&self) -> Address {
        self.running.address("public").expect("it listens").into()
    }

    fn connect(&self) -> H2 {
        H2::open(&self.address())
    }

    fn raw(&self) -> RawH2 {
        RawH2::open(&self.address())
    }

    fn books(&self) -> Books {
        Books::of_running(&self.running)
    }

    fn wait_in_flight(&self, count: u64) {
        eventually("requests in flight", || {
            (self.books().in_flight == count).then_some(())
        });
    }

    /// The books when nothing is in flight: a client may hold an answer a moment before they do.
    fn settled(&self) -> Books {
        self.wait_in_flight(0);
        self.books()
    }

    fn dropped(&self) -> usize {
        self.dropped.load(Relaxed)
    }

    fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }
}

const LARGE: usize = 3_000_000;

/// Reads on whatever is wrong with the body, and says how often something was.
async fn skips(body: web::Payload) -> String {
    let errors = body.filter(|piece| std::future::ready(piece.is_err()));
    errors.count().await.to_string()
}

async fn say(sold: Live<Sold>) -> String {
    sold.message.clone()
}

async fn who(request: HttpRequest, info: ConnectionInfo, life: Lifecycle) -> String {
    let peer = request
        .peer_addr()
        .is_some_and(|peer| peer.ip().is_loopback());
    format!(
        "{} {} {:?} peer {peer} {} {} drains {}",
        info.scheme(),
        info.host(),
        request.version(),
        request.path(),
        request.query_string(),
        life.deadline().is_some(),
    )
}

async fn fall() -> HttpResponse {
    panic!("a handler fell over")
}

async fn wait_for_the_drain(mut life: Lifecycle) -> &'static str {
    life.draining().await;
    "drained"
}

/// Three pieces of no length known before.
async fn pieces() -> HttpResponse {
    let pieces = ["one ", "two ", "three"].map(|piece| Ok::<_, actix_web::Error>(piece.into()));
    HttpResponse::Ok().streaming(stream::iter(pieces))
}

/// What is taken at once from the body of `/endless`.
const PIECE: usize = 64 * 1024;

async fn endless(taken: Arc<AtomicUsize>) -> HttpResponse {
    let pieces = stream::repeat_with(move || {
        taken.fetch_add(1, Relaxed);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; PIECE]))
    });
    HttpResponse::Ok().streaming(pieces)
}

async fn breaks() -> HttpResponse {
    let failed = std::io::Error::other("the body broke");
    let pieces = [Ok(Bytes::from_static(b"begun")), Err(failed)];
    HttpResponse::Ok().body(BodyStream::new(stream::iter(pieces)))
}

async fn panics() -> HttpResponse {
    let mut polls = 0;
    HttpResponse::Ok().body(BodyStream::new(stream::poll_fn(move |_| {
        polls += 1;
        assert!(polls < 2, "a body fell over");
        std::task::Poll::Ready(Some(Ok::<_, std::io::Error>(Bytes::from_static(b"begun"))))
    })))
}

/// Says ten bytes, has five.
async fn short() -> HttpResponse {
    let piece = Ok::<_, std::io::Error>(Bytes::from_static(b"short"));
    HttpResponse::Ok().body(SizedStream::new(10, stream::iter([piece])))
}

async fn headers() -> HttpResponse {
    HttpResponse::Ok()
        .append_header(("connection", "keep-alive"))
        .append_header(("keep-alive", "timeout=5"))
        .append_header(("transfer-encoding", "chunked"))
        .append_header(("x-a", "1"))
        .append_header(("x-a", "2"))
        .append_header(("date", "Sun, 06 Nov 1994 08:49:37 GMT"))
        .body("told")
}

/// Waits for ever, and counts its end.
async fn wait(counts: Arc<AtomicUsize>) -> &'static str {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let _counted = Counted(counts);
    std::future::pending().await
}
