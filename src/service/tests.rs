//! What a panic of everup's own actors comes to.

use std::{
    error::Error,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use actix::{Context, Handler, Message};
use actix_web::{rt::System, web};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

/// A bug in whichever actor gets it.
#[derive(Message)]
#[rtype(result = "()")]
struct Bug;

impl Handler<Bug> for ConfigActor {
    type Result = ();

    fn handle(&mut self, _: Bug, _: &mut Context<Self>) {
        panic!("by a test");
    }
}

impl Handler<Bug> for ServerActor {
    type Result = ();

    fn handle(&mut self, _: Bug, _: &mut Context<Self>) {
        panic!("by a test");
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Plain {}

impl Settings for Plain {
    const NAME: &'static str = "plain";
    type State = ();

    async fn build(&self, _: &Build) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

/// A service whose only answer waits until the service is asked to drain.
fn start() -> Running {
    let sources = Sources::builtin()
        .set("server.listeners.public.address", "127.0.0.1:0")
        .set("server.workers", "1")
        .set("admin.address", "");
    let answer = |mut lifecycle: crate::Lifecycle| async move {
        lifecycle.draining().await;
        "drained"
    };
    Service::<Plain>::new(move || App::new().route("/", web::get().to(answer)))
        .start(sources)
        .expect("it starts")
}

#[test]
fn a_config_actor_that_panics_ends_the_service_gracefully_and_as_failed() {
    let running = start();
    let address = running.address("public").expect("TCP");
    let mut client = TcpStream::connect(address).expect("it listens");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .expect("it reads");
    let control = running.control();
    let report = System::new().block_on(async {
        while control
            .status()
            .await
            .expect("it serves")
            .inspection
            .requests
            .in_flight
            == 0
        {}
        let (config, _) = control.actors();
        assert!(config.send(Bug).await.is_err());
        running.finished().await
    });
    assert!(report.is_failure);
    assert_eq!((report.answered, report.cut), (1, 0));
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.ends_with("drained"), "{answer}");
}

#[test]
fn a_server_actor_that_panics_ends_the_service_as_failed() {
    let running = start();
    let (_, server) = running.control().actors();
    let report = System::new().block_on(async {
        assert!(server.send(Bug).await.is_err());
        running.finished().await
    });
    assert!(report.is_failure);
}
