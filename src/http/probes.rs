//! Probes on a service's own listener, beneath `probes` of its settings: for load balancers that
//! cannot reach the admin API. Such a request is in the books as any other, and enters no App.

use actix_http::{Method, Response, StatusCode, body::BoxBody, header};

use super::readiness::Readiness;
use crate::settings::{LIVEZ, READYZ};

/// The answer to what is asked beneath the prefix; `None` where it is no probe.
pub(crate) fn answer(
    asked: &str,
    method: &Method,
    readiness: &Readiness,
) -> Option<Response<BoxBody>> {
    let ok = match asked {
        LIVEZ => true,
        READYZ => readiness.is_ready(),
        _ => return None,
    };
    let status = match (method, ok) {
        (&Method::GET | &Method::HEAD, true) => StatusCode::OK,
        (&Method::GET | &Method::HEAD, false) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    let mut response = Response::build(status);
    response.insert_header((header::CONTENT_TYPE, mime::APPLICATION_JSON.as_ref()));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    let body = if status == StatusCode::METHOD_NOT_ALLOWED {
        response.insert_header((header::ALLOW, "GET, HEAD"));
        r#"{"error":"allowed here: GET, HEAD"}"#
    } else if ok {
        r#"{"ok":true}"#
    } else {
        r#"{"ok":false}"#
    };
    Some(response.body(body).map_into_boxed_body())
}
