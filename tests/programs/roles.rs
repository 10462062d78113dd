//! The programs: each a `main` that an author might write.

use actix_rt::{Arbiter, System};
use actix_web::{App, HttpResponse, web};
use everup::{Build, Live, Service, Settings, Sources};
use log::{LevelFilter, Log, Metadata, Record};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{error::Error, panic, process::ExitCode};

/// Tells this binary which program it is to be.
pub const VARIABLE: &str = "TEST_ROLE";

/// Ends as the program of that role does.
pub fn run(role: &str) -> ExitCode {
    match role {
        "plain" => service().main(),
        "logger" => logger(),
        "actix_main" => actix_main(),
        "tokio_main" => tokio_main(),
        "two" => two(),
        other => panic!("no program is called {other}"),
    }
}

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Sign {
    message: String,
}

impl Settings for Sign {
    const NAME: &'static str = "sign";
    type State = ();

    async fn build(&self, _: &Build) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

fn service() -> Service<Sign> {
    Service::new(|| {
        App::new()
            .route(
                "/",
                web::get().to(|sign: Live<Sign>| async move { sign.message.clone() }),
            )
            .route("/panic", web::get().to(fall))
            .route("/stop-system", web::get().to(stop_system))
            .route("/stop-arbiter", web::get().to(stop_arbiter))
    })
}

async fn fall() -> HttpResponse {
    panic!("a handler fell over")
}

async fn stop_system() -> &'static str {
    System::current().stop();
    "stopped"
}

async fn stop_arbiter() -> &'static str {
    Arbiter::current().stop();
    "stopped"
}

/// An author's logger.
struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let (level, target) = (record.level(), record.target());
        eprintln!("AUTHOR {level} {target}: {}", record.args());
    }

    fn flush(&self) {}
}

fn logger() -> ExitCode {
    log::set_logger(&Logger).expect("the first one");
    log::set_max_level(LevelFilter::Info);
    panic::set_hook(Box::new(|panic| {
        let said = panic.payload().downcast_ref::<&str>();
        eprintln!("HOOK: {}", said.unwrap_or(&"?"));
    }));
    service().main()
}

#[actix_web::main]
async fn actix_main() -> ExitCode {
    service().main()
}

#[tokio::main(flavor = "current_thread")]
async fn tokio_main() -> ExitCode {
    service().main()
}

/// Two services in one process; the second one owns it.
fn two() -> ExitCode {
    let beside = Sources::builtin()
        .set("server.listeners.public.address", "127.0.0.1:0")
        .set("admin.address", "");
    let _beside = service().start(beside).expect("it starts");
    service().main()
}
