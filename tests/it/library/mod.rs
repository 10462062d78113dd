//! The library, as an author's own tests use it: started in this process, on port 0, driven by code.
mod builds;
mod handlers;
mod history;
mod late;
mod logs;
mod named;
mod services;
mod sources;
mod threads;

use crate::support::{Address, Books, CEILING, Conn, eventually, replace, request};
use actix_web::{App, HttpRequest, HttpResponse, web};
use everup::{Build, Control, Lifecycle, Live, Running, Service, Settings, Sources};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    error::Error,
    fs,
    future::Future,
    sync::{Arc, Condvar, Mutex},
};
use tempfile::TempDir;

/// An author's settings; what they say of `build` is how their build behaves.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Shop {
    message: String,
    /// `fail`, `panic`, `await` (for ever), or the path of a FIFO: it is opened for reading, which waits for a writer.
    build: String,
}

/// What the build makes of the settings.
struct Sign(String);

impl Settings for Shop {
    const NAME: &'static str = "shop";
    type State = Sign;

    async fn build(&self, _: &Build) -> Result<Sign, Box<dyn Error>> {
        match self.build.as_str() {
            "" => {}
            "fail" => return Err(format!("no sign can be painted with {}", self.message).into()),
            "await" => std::future::pending().await,
            "panic" => panic!("the painter fell over {}", self.message),
            fifo => drop(fs::File::open(fifo)?),
        }
        Ok(Sign(format!("[{}]", self.message)))
    }
}

/// Holds a handler, and the worker under it, until the test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Passage>, Condvar)>);

#[derive(Default)]
struct Passage {
    waiting: usize,
    open: bool,
}

impl Gate {
    /// Blocks the thread until [`Gate::open`].
    fn pass(&self) {
        let mut passage = self.0.0.lock().expect("no panic at the gate");
        passage.waiting += 1;
        self.0.1.notify_all();
        let waited = self
            .0
            .1
            .wait_timeout_while(passage, CEILING, |passage| !passage.open);
        drop(waited.expect("no panic at the gate"));
    }

    /// Waits until so many have come to it.
    fn wait_for(&self, count: usize) {
        let passage = self.0.0.lock().expect("no panic at the gate");
        let waited = self
            .0
            .1
            .wait_timeout_while(passage, CEILING, |passage| passage.waiting < count);
        let (passage, result) = waited.expect("no panic at the gate");
        assert!(
            !result.timed_out(),
            "{} of {count} came to the gate",
            passage.waiting
        );
    }

    fn open(&self) {
        self.0.0.lock().expect("no panic at the gate").open = true;
        self.0.1.notify_all();
    }
}

/// A service on a settings folder of its own.
struct Stand {
    folder: TempDir,
    running: Running,
    gate: Gate,
}

impl Stand {
    /// Starts it with one worker; `more` are further lines at the top of the settings.
    fn open(message: &str, more: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::write(folder.path().join("default.toml"), text(message, "", more))
            .expect("write the settings");
        let gate = Gate::default();
        let at_gate = gate.clone();
        let service = Service::<Shop>::new(move || {
            let (gate, late_gate) = (at_gate.clone(), at_gate.clone());
            App::new()
                .route("/", web::get().to(say))
                .route("/sign", web::get().to(show))
                .route("/scheme", web::get().to(scheme))
                .route("/panic", web::get().to(fall))
                .route("/wrong", web::get().to(wrong))
                .route("/echo", web::post().to(echo))
                .route("/drain", web::get().to(wait_for_the_drain))
                .route(
                    "/drain/gate",
                    web::get().to(move |mut life: Lifecycle| {
                        let gate = late_gate.clone();
                        async move {
                            life.draining().await;
                            gate.pass();
                            "passed"
                        }
                    }),
                )
                .route(
                    "/gate",
                    web::get().to(move || {
                        gate.pass();
                        async { "passed" }
                    }),
                )
        });
        let running = service.start(Sources::at(folder.path()));
        let running = running.unwrap_or_else(|_| panic!("the service does not start"));
        Self {
            folder,
            running,
            gate,
        }
    }

    /// Edits the settings; `build` is how the next build behaves.
    fn edit(&self, message: &str, build: &str, more: &str) {
        replace(
            &self.folder.path().join("default.toml"),
            text(message, build, more),
        );
    }

    fn reload(&self) -> Value {
        reload(&self.running.control())
    }

    /// Edits and reloads, which must be applied.
    fn change(&self, message: &str) {
        self.edit(message, "", "");
        let attempt = self.reload();
        assert_eq!(attempt["outcome"], "applied", "{attempt:#}");
    }

    fn connect(&self) -> Conn {
        Conn::open(&self.address())
    }

    /// Blocks the only worker in a handler, until the gate opens: who waits for it.
    fn block(&self) -> Conn {
        let mut conn = self.connect();
        conn.send(&request("GET", "/gate", &[], b""));
        self.gate.wait_for(1);
        conn
    }

    fn address(&self) -> Address {
        self.running.address("public").expect("it listens").into()
    }

    fn get(&self, path: &str) -> crate::support::Response {
        self.connect().get(path)
    }

    fn admin(&self) -> Conn {
        let admin = self.running.admin_address();
        Conn::open(&admin.expect("it has an admin listener").into())
    }

    fn status(&self) -> Value {
        self.admin().get("/status").json()
    }

    /// The books when nothing is in flight: a client may hold an answer a moment before they do.
    fn settled(&self) -> Books {
        eventually("nothing in flight", || {
            let books = Books::of(&self.status()["requests"]);
            (books.in_flight == 0).then_some(books)
        })
    }
}

/// Dotted keys, so that `more` can add to any table.
fn text(message: &str, build: &str, more: &str) -> String {
    format!(
        "server.workers = 1\nserver.listeners.public.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n\
         {more}\n[app]\nmessage = \"{message}\"\nbuild = \"{build}\"\n"
    )
}

/// An attempt, as JSON shows it.
fn reload(control: &Control) -> Value {
    let attempt = wait(control.reload()).expect("the service runs");
    serde_json::to_value(&*attempt).expect("an attempt is JSON")
}

/// Runs a future of the library on a runtime of the test's own.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ended = runtime.block_on(async { tokio::time::timeout(CEILING, future).await });
    ended.expect("the library answers")
}

async fn say(shop: Live<Shop>) -> String {
    shop.message.clone()
}

async fn show(shop: Live<Shop>, sign: Live<Sign>) -> String {
    format!("{} {} {}", shop.generation(), shop.message, sign.0)
}

async fn scheme(request: HttpRequest) -> String {
    request.connection_info().scheme().to_owned()
}

async fn fall() -> HttpResponse {
    panic!("a handler fell over")
}

async fn wrong(_: Live<Vec<u8>>) -> &'static str {
    "never"
}

async fn echo(body: web::Bytes) -> web::Bytes {
    body
}

async fn wait_for_the_drain(mut life: Lifecycle) -> String {
    let before = life.deadline().is_some();
    let deadline = life.draining().await;
    let ahead = deadline.elapsed().is_zero();
    format!(
        "deadline before {before}, ahead {ahead}, after {}",
        life.deadline().is_some()
    )
}
