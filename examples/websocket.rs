//! A WebSocket that closes with 1001 when the service stops:
//! `cargo run --example websocket -- --settings examples/websocket`
use actix_web::{App, HttpRequest, HttpResponse, get, rt, web::Payload};
use actix_ws::{AggregatedMessage as Message, AggregatedMessageStream, CloseCode, Session};
use everup::{Build, Lifecycle, Live, Service, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{error::Error, process::ExitCode};

#[derive(Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct Echo {
    /// Written before each text that is sent back; a WebSocket keeps that which it began with.
    prefix: String,
}

impl Settings for Echo {
    const NAME: &'static str = "echo";
    type State = ();
    async fn build(&self, _: &Build) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

#[get("/echo")]
async fn echo(
    request: HttpRequest,
    body: Payload,
    settings: Live<Echo>,
    life: Lifecycle,
) -> actix_web::Result<HttpResponse> {
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    let messages = messages.aggregate_continuations();
    rt::spawn(converse(session, messages, life, settings.prefix.clone()));
    Ok(response)
}

/// Sends each text back, until the client closes or the service drains.
async fn converse(
    mut session: Session,
    mut messages: AggregatedMessageStream,
    mut life: Lifecycle,
    prefix: String,
) {
    let reason = loop {
        let message = tokio::select! {
            biased;
            _ = life.draining() => break Some(CloseCode::Away.into()),
            message = messages.recv() => message,
        };
        let sent = match message {
            Some(Ok(Message::Text(text))) => session.text(format!("{prefix}{text}")).await,
            Some(Ok(Message::Ping(bytes))) => session.pong(&bytes).await,
            Some(Ok(Message::Binary(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(reason))) => break reason,
            Some(Err(_)) => break Some(CloseCode::Protocol.into()),
            None => return,
        };
        if sent.is_err() {
            return;
        }
    };
    // It fails only where the client has gone.
    let _ = session.close(reason).await;
}

pub fn service() -> Service<Echo> {
    Service::new(|| App::new().service(echo))
}

fn main() -> ExitCode {
    service().main()
}
