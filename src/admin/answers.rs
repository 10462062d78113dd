//! What the admin API's endpoints answer. All of it is JSON, errors too.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError as _,
    error::{InternalError, QueryPayloadError},
    http::header::{self, HeaderName},
    web,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::conditions::Tags;
use crate::{
    config::{
        Condition, Consulted, Outcome, Refused, ReloadRequest, SharedSettings, Trigger, TriggerKind,
    },
    control::{Control, Stopped},
    http::{self, Client},
    server::{State, StopUrgency},
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
        let reason = match &wrong {
            QueryPayloadError::Deserialize(error) => format!("query: {error}"),
            other => format!("query: {other}"),
        };
        let answer = error(HttpResponseBuilder::new(wrong.status_code()), &reason);
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadQuery {
    /// Load and prepare, and change nothing.
    #[serde(default)]
    dry_run: bool,
    /// Prepare anew though nothing has changed.
    #[serde(default)]
    force: bool,
}

pub(super) async fn reload(
    control: web::Data<Control>,
    query: web::Query<ReloadQuery>,
    client: web::ReqData<Client>,
    request: HttpRequest,
) -> actix_web::Result<HttpResponse> {
    let reload = ReloadRequest {
        is_dry_run: query.dry_run,
        is_forced: query.force,
        condition: condition(&request)?,
        ..ReloadRequest::default()
    };
    let trigger = Trigger::of_client(TriggerKind::Http, &client);
    attempt(&control, reload, trigger).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackQuery {
    #[serde(deserialize_with = "generation")]
    generation: u64,
}

fn generation<'de, D: Deserializer<'de>>(query: D) -> Result<u64, D::Error> {
    let text = String::deserialize(query)?;
    let expected = || de::Error::custom("expected `generation` to be a number");
    text.parse().map_err(|_| expected())
}

pub(super) async fn rollback(
    control: web::Data<Control>,
    query: web::Query<RollbackQuery>,
    client: web::ReqData<Client>,
    request: HttpRequest,
) -> actix_web::Result<HttpResponse> {
    let reload = ReloadRequest {
        condition: condition(&request)?,
        ..ReloadRequest::rollback(query.generation)
    };
    let trigger = Trigger::of_client(TriggerKind::Rollback, &client);
    attempt(&control, reload, trigger).await
}

/// What must be served when the attempt begins.
fn condition(request: &HttpRequest) -> actix_web::Result<Option<Condition>> {
    Ok(tags(request, &header::IF_MATCH)?.map(Tags::into_condition))
}

fn tags(request: &HttpRequest, name: &HeaderName) -> actix_web::Result<Option<Tags>> {
    Tags::of(request.headers(), name).map_err(|reason| {
        let answer = error(HttpResponse::BadRequest(), &reason);
        InternalError::from_response(reason, answer).into()
    })
}

async fn attempt(
    control: &Control,
    reload: ReloadRequest,
    trigger: Trigger,
) -> actix_web::Result<HttpResponse> {
    let attempt = control.ask(reload, trigger).await?;
    let mut answer = match (attempt.outcome, attempt.refused) {
        (_, Some(Refused::Stopping)) => HttpResponse::ServiceUnavailable(),
        (_, Some(Refused::Busy)) => {
            let mut busy = HttpResponse::ServiceUnavailable();
            busy.insert_header((header::RETRY_AFTER, "1"));
            busy
        }
        (_, Some(Refused::Condition)) => HttpResponse::PreconditionFailed(),
        (_, Some(Refused::NotKept(_))) => HttpResponse::NotFound(),
        (Outcome::Rejected, None) => HttpResponse::UnprocessableEntity(),
        (Outcome::Applied, None) if !attempt.workers.late.is_empty() => HttpResponse::Accepted(),
        (Outcome::Applied | Outcome::Unchanged | Outcome::WouldApply, None) => HttpResponse::Ok(),
    };
    written(&mut answer, attempt).await
}

/// Written on another thread: a hundred thousand routes take their time, and who asks for readiness
/// meanwhile is not to wait. Where there is no thread it is written here: what was done is told in any
/// case.
async fn written(
    answer: &mut HttpResponseBuilder,
    value: impl Serialize + Send + Sync + 'static,
) -> actix_web::Result<HttpResponse> {
    let value = Arc::new(value);
    let shared = value.clone();
    let text = match http::block(move || serde_json::to_vec(&*shared)).await {
        Ok(text) => text?,
        Err(_) => serde_json::to_vec(&*value)?,
    };
    Ok(answer.content_type(mime::APPLICATION_JSON).body(text))
}

pub(super) async fn history(
    control: web::Data<Control>,
    _: web::Query<NoQuery>,
) -> actix_web::Result<HttpResponse> {
    written(&mut HttpResponse::Ok(), control.history().await?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigQuery {
    /// Where each value comes from, too.
    #[serde(default)]
    origin: bool,
}

pub(super) async fn config(
    control: web::Data<Control>,
    query: web::Query<ConfigQuery>,
    request: HttpRequest,
) -> actix_web::Result<HttpResponse> {
    let with_origins = query.origin;
    let known = tags(&request, &header::IF_NONE_MATCH)?;
    let Consulted { settings, digest } = control.consult().await?;
    // Settings that have moved within their files have the digest that they had.
    let is_known = !with_origins && known.is_some_and(|known| known.name(&digest));
    let mut answer = match is_known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    answer.insert_header((header::ETAG, format!("\"{digest}\"")));
    answer.insert_header((header::CACHE_CONTROL, "no-cache"));
    if is_known {
        return Ok(answer.finish());
    }
    let shown = Shown {
        settings,
        with_origins,
    };
    written(&mut answer, shown).await
}

/// The settings that are served, as they may be shown.
struct Shown {
    settings: SharedSettings,
    with_origins: bool,
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let effective = &self.settings.effective;
        match self.with_origins {
            true => effective.with_origins().serialize(serializer),
            false => effective.to_json().serialize(serializer),
        }
    }
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
    client: web::ReqData<Client>,
) -> HttpResponse {
    let urgency = if query.now {
        StopUrgency::Now
    } else {
        StopUrgency::Graceful
    };
    let trigger = Trigger::of_client(TriggerKind::Http, &client);
    control.end(urgency, trigger, false);
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
    client: web::ReqData<Client>,
) -> HttpResponse {
    let trigger = Trigger::of_client(TriggerKind::Http, &client);
    if !query.wait && !control.is_stopping().await {
        drop(control.request_upgrade(&trigger));
        return HttpResponse::Accepted().json(Begun {
            state: State::Upgrading,
        });
    }
    match control.ask_upgrade(&trigger).await {
        Ok(upgraded) => HttpResponse::Ok().json(upgraded),
        Err(why) => {
            let answer = match why.is_stopping() {
                true => HttpResponse::ServiceUnavailable(),
                false => HttpResponse::UnprocessableEntity(),
            };
            error(answer, &why.to_string())
        }
    }
}

/// What has been asked for, and goes on after the answer.
#[derive(Serialize)]
struct Begun {
    state: State,
}

/// The log tells what came of it.
pub(super) async fn reopen_logs(
    control: web::Data<Control>,
    client: web::ReqData<Client>,
    _: web::Query<NoQuery>,
) -> HttpResponse {
    control.reopen_logs(Trigger::of_client(TriggerKind::Http, &client));
    HttpResponse::Accepted().json(Reopening { reopening: true })
}

#[derive(Serialize)]
struct Reopening {
    reopening: bool,
}

pub(super) async fn status(
    control: web::Data<Control>,
    _: web::Query<NoQuery>,
) -> actix_web::Result<HttpResponse> {
    written(&mut HttpResponse::Ok(), control.status().await?).await
}

#[derive(Serialize)]
struct Probe {
    ok: bool,
}

pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(Probe { ok: true })
}

pub(super) async fn readyz(control: web::Data<Control>) -> HttpResponse {
    let ok = control.is_ready();
    let mut answer = match ok {
        true => HttpResponse::Ok(),
        false => HttpResponse::ServiceUnavailable(),
    };
    answer.json(Probe { ok })
}
