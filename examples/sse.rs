//! Events that end with a goodbye: `cargo run --example sse -- --settings examples/sse`, then
//! `curl -N 127.0.0.1:8080/events`, and stop the service: the client is told when to come back.
use actix_web::{App, HttpResponse, Responder, get, http::header, rt::time::interval, web::Bytes};
use everup::{Build, Findings, Lifecycle, Live, Service, Settings};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{convert::Infallible, error::Error, process::ExitCode, time::Duration};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ticker {
    /// Milliseconds between two events; a stream keeps those that it began with.
    every_ms: u64,
    /// Milliseconds after which a client that was told goodbye comes back.
    retry_ms: u64,
}

impl Default for Ticker {
    fn default() -> Self {
        let (every_ms, retry_ms) = (1_000, 2_000);
        Self { every_ms, retry_ms }
    }
}

impl Settings for Ticker {
    const NAME: &'static str = "ticker";
    type State = ();
    fn check(&self, found: &mut Findings) {
        if self.every_ms == 0 {
            found.at("every_ms", "at least 1");
        }
    }
    async fn build(&self, _: &Build) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

#[get("/events")]
async fn events(settings: Live<Ticker>, life: Lifecycle) -> impl Responder {
    let ticks = interval(Duration::from_millis(settings.every_ms));
    let retry = settings.retry_ms;
    let events = stream::unfold(Some((ticks, life, 1_u64)), move |before| async move {
        let (mut ticks, mut life, count) = before?;
        let (event, next) = tokio::select! {
            biased;
            _ = life.draining() => (format!("retry: {retry}\nevent: goodbye\ndata: {count}\n\n"), None),
            _ = ticks.tick() => (format!("data: {count}\n\n"), Some((ticks, life, count + 1))),
        };
        Some((Ok::<_, Infallible>(Bytes::from(event)), next))
    });
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(events)
}

pub fn service() -> Service<Ticker> {
    Service::new(|| App::new().service(events))
}

fn main() -> ExitCode {
    service().main()
}
