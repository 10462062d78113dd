//! The program's own service: answers what its settings say.
//!
//! Built on the library as any author's service is, and given nothing that another would not get.
//! `schema` is its table `[app]`, `table` finds a request's route, `template` fills in a body.

mod schema;
mod table;
mod template;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};

pub use self::{
    schema::{Respond, Route, Site},
    table::Table,
};
use crate::Live;

/// Answers every request of the program.
pub async fn answer(request: HttpRequest, table: Live<Table>) -> HttpResponse {
    let Some(found) = table.find(request.path()) else {
        return HttpResponse::build(StatusCode::NOT_FOUND)
            .content_type(mime::TEXT_PLAIN_UTF_8)
            .body("404 Not Found\n");
    };
    if !found.delay().is_zero() {
        tokio::time::sleep(found.delay()).await;
    }
    found.response()
}
