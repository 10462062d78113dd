//! WebSockets of actix-web-actors, whose actors outlive the handlers that begin them.
use crate::support::{Books, Conn, eventually, request, start_h2c};
use actix::{Actor, ActorContext as _, AsyncContext as _, StreamHandler, WrapFuture as _};
use actix_web::{App, Error, HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use everup::{Build, Lifecycle, Live, Running, Service, Settings, StopMode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Echo {
    prefix: String,
}

impl Settings for Echo {
    const NAME: &'static str = "actors";
    type State = ();

    async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

/// Sends each text back. Closes when the service drains, or only says that it does.
struct Talk {
    prefix: String,
    life: Lifecycle,
    stays: bool,
}

impl Actor for Talk {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let mut life = self.life.clone();
        let address = context.address();
        let told = async move {
            life.draining().await;
            address.do_send(Drains);
        };
        context.spawn(told.into_actor(self));
    }
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Drains;

impl actix::Handler<Drains> for Talk {
    type Result = ();

    fn handle(&mut self, _: Drains, context: &mut Self::Context) {
        if self.stays {
            context.text("it drains");
        } else {
            context.close(Some(ws::CloseCode::Away.into()));
            context.stop();
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Talk {
    fn handle(
        &mut self,
        message: Result<ws::Message, ws::ProtocolError>,
        context: &mut Self::Context,
    ) {
        match message {
            Ok(ws::Message::Text(text)) => context.text(format!("{}{text}", self.prefix)),
            Ok(ws::Message::Ping(bytes)) => context.pong(&bytes),
            Ok(ws::Message::Close(reason)) => {
                context.close(reason);
                context.stop();
            }
            Ok(_) => {}
            Err(_) => context.stop(),
        }
    }
}

async fn talk(
    path: web::Path<String>,
    request: HttpRequest,
    body: web::Payload,
    settings: Live<Echo>,
    life: Lifecycle,
) -> Result<HttpResponse, Error> {
    let talk = Talk {
        prefix: settings.prefix.clone(),
        life,
        stays: *path == "stays",
    };
    ws::start(talk, &request, body)
}

fn start(more: &[(&str, &str)]) -> Running {
    let service = Service::<Echo>::new(|| App::new().route("/{who}", web::to(talk)));
    start_h2c(service, more)
}

fn connect(running: &Running, path: &str) -> Conn {
    let mut conn = Conn::open(&running.address("public").expect("it listens").into());
    let headers = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    conn.send(&request("GET", path, &headers, b""));
    let answer = conn.answer();
    assert_eq!(answer.status, 101);
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    conn
}

/// A text from a client, masked by nothing.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("short");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[track_caller]
fn assert_says(conn: &mut Conn, text: &str) {
    let length = u8::try_from(text.len()).expect("short");
    let expected = [&[0x81, length], text.as_bytes()].concat();
    assert_eq!(conn.bytes(expected.len()), expected);
}

/// A close frame: its length, 1001.
const AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

#[test]
fn websockets_of_actors_survive_a_reload_and_are_told_of_the_drain() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("default.toml");
    let settings = |prefix: &str| {
        let text = format!(
            "[server]\nworkers = 1\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\n[app]\nprefix = \"{prefix}\"\n"
        );
        crate::support::replace(&file, text);
    };
    settings("old ");
    let service = Service::<Echo>::new(|| App::new().route("/{who}", web::to(talk)));
    let running = service.start(everup::Sources::at(folder.path()));
    let running = running.unwrap_or_else(|errors| panic!("it does not start: {errors:?}"));
    let mut old = connect(&running, "/leaves");
    // All at once, and cut amid a frame.
    let [one, two] = ["one", "two"].map(text);
    old.send(&[&one[..], &two[..4]].concat());
    assert_says(&mut old, "old one");
    old.send(&two[4..]);
    assert_says(&mut old, "old two");
    settings("new ");
    let control = running.control();
    let attempt = actix_web::rt::System::new().block_on(control.reload());
    attempt.expect("it is answered");
    old.send(&text("three"));
    assert_says(&mut old, "old three");
    let mut new = connect(&running, "/leaves");
    new.send(&text("one"));
    assert_says(&mut new, "new one");
    // One that the client closes: 1000, answered likewise.
    let mut ends = connect(&running, "/leaves");
    ends.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
    assert_eq!(ends.bytes(4), [0x88, 2, 0x03, 0xe8]);
    ends.closed();
    running.control().stop(StopMode::Graceful);
    for conn in [&mut old, &mut new] {
        assert_eq!(conn.bytes(4), AWAY);
        conn.closed();
    }
    let report = actix_web::rt::System::new().block_on(running.finished());
    assert_eq!((report.aborted, report.cut), (0, 0));
}

#[test]
fn a_websocket_of_an_actor_that_stays_is_cut_at_the_deadline() {
    let running = start(&[("shutdown.timeout", "1s")]);
    let mut conn = connect(&running, "/stays");
    conn.send(&text("one"));
    assert_says(&mut conn, "one");
    running.control().stop(StopMode::Graceful);
    assert_says(&mut conn, "it drains");
    // It is served until then.
    conn.send(&text("two"));
    assert_says(&mut conn, "two");
    conn.closed();
    let report = actix_web::rt::System::new().block_on(running.finished());
    assert_eq!((report.answered, report.aborted, report.cut), (0, 0, 1));
}

#[test]
fn an_actor_whose_client_is_gone_ends() {
    let running = start(&[]);
    drop(connect(&running, "/stays"));
    eventually("the end of the request", || {
        let books = Books::of_running(&running);
        books.assert_balanced();
        (books.received == 1 && books.in_flight == 0).then_some(())
    });
}
