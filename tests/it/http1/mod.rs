//! HTTP/1: what is answered, what is refused, and that nothing is ever taken for what it is not.
mod bodies;
mod cases;
mod cuts;
mod listeners;
mod refused;
mod responses;

use crate::support::{Books, Conn, eventually};
use actix_web::{App, Either, HttpRequest, HttpResponse, body::SizedStream, web};
use everup::{Running, Service, Settings, Sources};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;

#[derive(Serialize, Deserialize, JsonSchema, Default)]
struct Nothing {}

impl Settings for Nothing {
    const NAME: &'static str = "http1";
    type State = ();

    async fn build(&self, _: &everup::Build) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

/// Bytes of the answer of `/large`.
const LARGE: usize = 3_000_000;

/// A service with one worker, in this process.
struct Stand {
    running: Running,
    /// Requests that no client has made.
    smuggled: Arc<AtomicUsize>,
    /// What `/slow` and `/keeps` wait for.
    gate: Arc<Semaphore>,
}

impl Stand {
    /// Starts it; each `more` is a setting.
    fn open(more: &[(&str, &str)]) -> Self {
        let smuggled = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let (count, opens) = (smuggled.clone(), gate.clone());
        let service = Service::<Nothing>::new(move || app(count.clone(), opens.clone()));
        let sources = Sources::builtin()
            .set("server.workers", "1")
            .set("server.listeners.public.address", "127.0.0.1:0")
            .set("admin.address", "127.0.0.1:0");
        let sources = more
            .iter()
            .fold(sources, |sources, (key, value)| sources.set(key, value));
        let running = service.start(sources);
        let running = running.unwrap_or_else(|errors| panic!("it does not start: {errors:?}"));
        Self {
            running,
            smuggled,
            gate,
        }
    }

    fn connect(&self) -> Conn {
        Conn::open(&self.running.address("public").expect("it listens").into())
    }

    /// Lets one request for `/slow` be answered, once so many requests have been received.
    fn answer_slow(&self, received: u64) {
        eventually("the requests to be received", || {
            (self.books().received >= received).then_some(())
        });
        self.gate.add_permits(1);
    }

    fn books(&self) -> Books {
        Books::of_running(&self.running)
    }

    /// The books when nothing is in flight: a client may hold an answer a moment before they do.
    fn settled(&self) -> Books {
        let books = eventually("nothing in flight", || {
            Some(self.books()).filter(|books| books.in_flight == 0)
        });
        books.assert_balanced();
        books
    }

    fn assert_nothing_smuggled(&self) {
        assert_eq!(self.smuggled.load(Ordering::Relaxed), 0);
    }
}

fn app(
    smuggled: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
) -> App<
    impl actix_web::dev::ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let at_keeps = gate.clone();
    App::new()
        .route("/", web::to(|| async { "here" }))
        .route("/last", web::to(|| async { "last" }))
        .route("/echo", web::to(|body: web::Bytes| async { body }))
        .route("/slow", web::to(move || slow(gate.clone())))
        .route("/keeps", web::to(move |body| keeps(body, at_keeps.clone())))
        .route("/stream", web::to(stream_back))
        .route("/flow", web::to(flow))
        .route("/endless", web::to(endless))
        .route("/quiet", web::to(quiet))
        .route("/fails", web::to(fails))
        .route("/short", web::to(short))
        .route(
            "/early",
            web::to(|| async { HttpResponse::Processing().finish() }),
        )
        .route("/where", web::to(tell_where))
        .route("/large", web::to(|| async { "x".repeat(LARGE) }))
        .route("/sized/{length}", web::to(sized))
        .route("/skips", web::to(skips))
        .route(
            "/smuggled",
            web::to(move || {
                smuggled.fetch_add(1, Ordering::Relaxed);
                async { "smuggled" }
            }),
        )
}

/// Waits until the test lets it answer.
async fn slow(gate: Arc<Semaphore>) -> &'static str {
    gate.acquire().await.expect("it stays open").forget();
    "slow"
}

/// The same, while a task waits for the body.
async fn keeps(mut body: web::Payload, gate: Arc<Semaphore>) -> &'static str {
    actix_web::rt::spawn(async move { while body.next().await.is_some() {} });
    slow(gate).await;
    "kept"
}

/// Reads on whatever is wrong, and says how often something was.
async fn skips(body: web::Payload) -> String {
    let errors = body.filter(|piece| std::future::ready(piece.is_err()));
    errors.count().await.to_string()
}

async fn sized(length: web::Path<usize>) -> String {
    "x".repeat(*length)
}

/// Sends the body back as it comes.
async fn stream_back(body: web::Payload) -> HttpResponse {
    HttpResponse::Ok().streaming(body)
}

/// A body whose length is not known.
async fn flow() -> HttpResponse {
    let pieces = stream::iter(["a", "bc", "def"]);
    HttpResponse::Ok().streaming(pieces.map(|piece| Ok::<_, actix_web::Error>(piece.into())))
}

async fn endless() -> HttpResponse {
    HttpResponse::Ok().streaming(stream::repeat_with(|| {
        Ok::<_, actix_web::Error>("x".repeat(1000).into())
    }))
}

/// A stream that has nothing to say.
async fn quiet() -> HttpResponse {
    HttpResponse::Ok().streaming(stream::pending::<Result<web::Bytes, actix_web::Error>>())
}

async fn fails() -> HttpResponse {
    let begin = stream::iter([Ok("begun".into())]);
    let error = actix_web::error::ErrorInternalServerError("it fails");
    HttpResponse::Ok().streaming(begin.chain(stream::iter([Err(error)])))
}

/// A body that is shorter than it says.
async fn short() -> HttpResponse {
    let piece = stream::iter([Ok::<_, actix_web::Error>("begun".into())]);
    HttpResponse::Ok().body(SizedStream::new(10, piece))
}

/// What a request is told of the listener.
async fn tell_where(request: HttpRequest) -> Either<String, HttpResponse> {
    let config = request.app_config();
    Either::Left(format!(
        "{} {} {}",
        config.local_addr(),
        config.secure(),
        request.connection_info().host()
    ))
}
