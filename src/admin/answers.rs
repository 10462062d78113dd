//! What the admin API's endpoints answer. All of it is JSON, errors too.

use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError as _, error::InternalError, web};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Outcome, Trigger, TriggerKind},
    control::{Control, Stopped},
    server::{State, Urge},
};

#[derive(Serialize)]
struct Error<'a> {
    error: &'a str,
}

/// An error's answer.
pub(super) fn error(mut response: HttpResponseBuilder, error: &str) -> HttpResponse {
    response.json(Error { error })
}

impl From<Stopped> for actix_web::Error {
    fn from(stopped: Stopped) -> Self {
        let answer = error(HttpResponse::ServiceUnavailable(), &stopped.to_string());
        InternalError::from_response(stopped, answer).into()
    }
}

/// Queries that cannot be read are told as JSON too.
pub(super) fn query_errors() -> web::QueryConfig {
    web::QueryConfig::default().error_handler(|wrong, _| {
        let answer = error(
            HttpResponseBuilder::new(wrong.status_code()),
            &wrong.to_string(),
        );
        InternalError::from_response(wrong, answer).into()
    })
}

pub(super) async fn unknown_path() -> HttpResponse {
    error(HttpResponse::NotFound(), "no such endpoint")
}

/// No parameter is known: one that is not heeded would be worse than one that is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

pub(super) async fn reload(
    control: web::Data<Control>,
    _: web::Query<NoQuery>,
) -> actix_web::Result<HttpResponse> {
    let attempt = control.ask(Trigger::new(TriggerKind::Http)).await?;
    let mut answer = match attempt.outcome {
        Outcome::Rejected if attempt.is_stopping => HttpResponse::ServiceUnavailable(),
        Outcome::Rejected => HttpResponse::UnprocessableEntity(),
        Outcome::Applied if !attempt.workers.late.is_empty() => HttpResponse::Accepted(),
        Outcome::Applied | Outcome::Unchanged => HttpResponse::Ok(),
    };
    Ok(answer.json(&*attempt))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StopQuery {
    /// Cut what is in flight.
    #[serde(default)]
    now: bool,
}

pub(super) async fn stop(
    control: web::Data<Control>,
    query: web::Query<StopQuery>,
) -> HttpResponse {
    let urge = if query.now { Urge::Now } else { Urge::Graceful };
    control.end(urge, Trigger::new(TriggerKind::Http), false);
    HttpResponse::Accepted().json(Begun {
        state: State::Draining,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpgradeQuery {
    /// Answer when there is an outcome.
    #[serde(default)]
    wait: bool,
}

pub(super) async fn upgrade(
    control: web::Data<Control>,
    query: web::Query<UpgradeQuery>,
) -> HttpResponse {
    let trigger = Trigger::new(TriggerKind::Http);
    if !query.wait {
        drop(control.request_upgrade(&trigger));
        return HttpResponse::Accepted().json(Begun {
            state: State::Upgrading,
        });
    }
    match control.ask_upgrade(&trigger).await {
        Ok(upgraded) => HttpResponse::Ok().json(upgraded),
        Err(reason) => error(HttpResponse::UnprocessableEntity(), &reason.to_string()),
    }
}

/// What has been asked for, and goes on after the answer.
#[derive(Serialize)]
struct Begun {
    state: State,
}

pub(super) async fn status(control: web::Data<Control>) -> actix_web::Result<HttpResponse> {
    Ok(HttpResponse::Ok().json(control.status().await?))
}

#[derive(Serialize)]
struct Probe {
    ok: bool,
}

pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(Probe { ok: true })
}

pub(super) async fn readyz(control: web::Data<Control>) -> HttpResponse {
    let status = control.status().await;
    if status.is_ok_and(|status| status.inspection.state.is_ready()) {
        HttpResponse::Ok().json(Probe { ok: true })
    } else {
        HttpResponse::ServiceUnavailable().json(Probe { ok: false })
    }
}
