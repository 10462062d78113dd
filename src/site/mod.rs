//! The program's own service: answers what its settings say.
//!
//! Built on the library as any author's service is, and given nothing that another would not get, but
//! for a directory's place in the tree (`Build::directory`) and the paths of probes
//! (`Findings::probes`). `schema` is its table `[app]`, `pattern` reads patterns and paths, `table`
//! finds a request's route, `route` is one, `respond`, `redirect` and `files` are what it does,
//! `beneath` and `file` open and send a file, `conditions` says which part of it, `template` fills in a
//! text, `throttle` bounds warnings.

mod beneath;
mod conditions;
mod file;
mod files;
mod pattern;
mod redirect;
mod respond;
mod route;
mod schema;
mod table;
mod template;
mod throttle;

use std::path::Path;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
};

pub use self::{
    schema::{Respond, Route, Site},
    table::Table,
};
use crate::http::Live;
use route::Action;
use table::Found;

/// Answers every request of the program.
pub async fn answer(request: HttpRequest, table: Live<Table>) -> HttpResponse {
    if request.method() == Method::CONNECT {
        // A tunnel is asked of the server, whatever its routes are.
        return plain(StatusCode::NOT_IMPLEMENTED);
    }
    let path = pattern::canonical(request.path());
    let Some(Found { route, params }) = table.find(&path) else {
        return not_found();
    };
    if let Some(allow) = route.methods.refuses(request.method()) {
        let mut response = if request.method() == Method::OPTIONS {
            HttpResponse::NoContent().finish()
        } else {
            plain(StatusCode::METHOD_NOT_ALLOWED)
        };
        response.headers_mut().insert(header::ALLOW, allow.clone());
        return response;
    }
    match &route.action {
        Action::Respond(answer) => {
            if !answer.delay.is_zero() {
                tokio::time::sleep(answer.delay).await;
            }
            answer.response(&params)
        }
        Action::Redirect(redirect) => redirect.response(&params),
        Action::Files(files) => {
            // An empty rest is not among the params.
            let below = params.get(files.rest()).unwrap_or_default();
            files.response(&request, below).await
        }
        Action::Pending => not_found(),
    }
}

fn not_found() -> HttpResponse {
    plain(StatusCode::NOT_FOUND)
}

/// The type of a file's content by its name, text in UTF-8; XML says itself what it is in.
fn by_extension(path: &Path) -> mime::Mime {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let guessed = actix_files::file_extension_to_mime(extension.unwrap_or_default());
    let is_text = guessed.type_() == mime::TEXT && guessed.subtype() != mime::XML;
    let is_text = is_text || guessed == mime::APPLICATION_JAVASCRIPT;
    if is_text && guessed.get_param(mime::CHARSET).is_none() {
        let with_charset = format!("{guessed}; charset=utf-8").parse();
        return with_charset.unwrap_or(guessed);
    }
    guessed
}

/// A status in words.
fn plain(status: StatusCode) -> HttpResponse {
    HttpResponse::build(status)
        .content_type(mime::TEXT_PLAIN_UTF_8)
        .body(format!("{status}\n"))
}
