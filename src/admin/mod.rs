//! The admin API, on a listener and an arbiter of its own. It is one of the triggers.
//!
//! `answers` has the endpoints' answers, `conditions` their conditions, `guard` who may use them.

mod answers;
mod conditions;
mod guard;

use actix_web::{
    App, Handler, HttpResponse, Resource, Responder, guard as route_guard,
    http::{Method, header},
    middleware::from_fn,
    web,
};

use crate::{
    control::Control,
    http::{self, NewServe},
};

/// Serves the admin API of the service that `control` drives.
pub(crate) fn new_serve(control: Control) -> NewServe {
    http::new_serve(move || {
        App::new()
            .app_data(web::Data::new(control.clone()))
            .app_data(answers::query_errors())
            .wrap(from_fn(guard::admit))
            .service(endpoint("/reload", Method::POST, answers::reload))
            .service(endpoint("/rollback", Method::POST, answers::rollback))
            .service(endpoint("/stop", Method::POST, answers::stop))
            .service(endpoint("/reopen-logs", Method::POST, answers::reopen_logs))
            .service(endpoint("/config", Method::GET, answers::config))
            .service(endpoint("/history", Method::GET, answers::history))
            .service(endpoint("/upgrade", Method::POST, answers::upgrade))
            .service(endpoint("/status", Method::GET, answers::status))
            .service(endpoint(LIVEZ, Method::GET, answers::livez))
            .service(endpoint(READYZ, Method::GET, answers::readyz))
            .default_service(web::to(answers::unknown_path))
    })
}

/// Open to everybody: load balancers and kubelets send neither a token nor a known Host.
const LIVEZ: &str = "/livez";
const READYZ: &str = "/readyz";

/// An endpoint with its one method; GET brings HEAD with it.
fn endpoint<F, Args>(path: &str, method: Method, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let (allow, guard) = match method {
        Method::GET => (
            "GET, HEAD",
            route_guard::Any(route_guard::Get()).or(route_guard::Head()),
        ),
        _ => ("POST", route_guard::Any(route_guard::Post())),
    };
    web::resource(path)
        .route(web::route().guard(guard).to(handler))
        .default_service(web::to(move || async move {
            let mut refused = HttpResponse::MethodNotAllowed();
            refused.insert_header((header::ALLOW, allow));
            answers::error(refused, &format!("allowed here: {allow}"))
        }))
}
