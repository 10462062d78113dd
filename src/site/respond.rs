//! `respond`: an answer that is always the same, but for the pattern's own names in it.

use std::{borrow::Cow, path::PathBuf, time::Duration};

use actix_http::StatusCode;
use actix_web::{
    HttpResponse,
    http::header::{self, HeaderName},
};
use bytes::Bytes;
use matchit::Params;

use super::{
    by_extension,
    route::{self, Unservable},
    schema::Respond,
    table::Complaint,
    template::{Escape, Template, Text, misspelt_names, unknown_names},
};
use crate::settings::Build;

/// What is answered.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    /// Where no header names it.
    content_type: Option<Cow<'static, str>>,
    headers: Box<[(HeaderName, Template)]>,
    body: ContentBody,
    pub(super) delay: Duration,
}

#[derive(Debug)]
enum ContentBody {
    /// Copied for each request: workers that count references to one text wait for each other's
    /// caches, for longer than the copy takes.
    Copied(Box<[u8]>),
    /// Beyond [`COPIED`], where copying would cost more than that, and memory for each request.
    Shared(Bytes),
    Filled(Template, Escape),
}

/// The largest body that is copied.
const COPIED: usize = 16 * 1024;

/// An answer whose body may have to be read first.
pub(super) enum NotRead {
    Nothing(Box<Answer>),
    File(Box<BodyFile>),
}

/// An answer whose body is to be read from a file.
#[derive(Debug)]
pub(super) struct BodyFile {
    path: PathBuf,
    names: Vec<String>,
    answer: Answer,
    escape: Escape,
}

impl Answer {
    /// From its settings; what is wrong with them is added.
    pub(super) fn plan(respond: &Respond, names: &[String], wrong: &mut Vec<Complaint>) -> NotRead {
        let Respond {
            body,
            json,
            body_file,
            ..
        } = respond;
        let bodies = [body.is_some(), json.is_some(), body_file.is_some()];
        if bodies.into_iter().filter(|is_given| *is_given).count() > 1 {
            let expected = "at most one of `body`, `json` and `body_file`";
            wrong.push(Complaint::new(".respond", expected));
        }
        let status = StatusCode::from_u16(respond.status);
        let status = status.expect("`schema` reads none but those from 200 to 599");
        let is_empty = json.is_none()
            && body_file.is_none()
            && body.as_ref().is_none_or(|body| body.is_empty());
        if !is_empty && !route::has_body(status) {
            let expected = "a status that comes with a body, as there is one";
            wrong.push(Complaint::new(".respond.status", expected));
        }
        let content_type = respond
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let default = match (json, body_file) {
            (Some(_), _) => Cow::from("application/json"),
            (None, Some(path)) => by_extension(path).to_string().into(),
            (None, None) => "text/plain; charset=utf-8".into(),
        };
        let escape = match content_type {
            Some((_, given)) => Escape::of(given),
            None => Escape::of(&default),
        };
        let body = match json {
            Some(json) => {
                let mut json = json.clone();
                // The order of keys must not depend on features that other crates ask for.
                json.sort_all_objects();
                let json = json.to_string();
                wrong.extend(unknown_names(".respond.json", &json, names, Text::Body));
                // In a text of JSON, whatever its type is called.
                ContentBody::new(&json, names, Escape::Json)
            }
            None => {
                let body = body.as_deref().unwrap_or_default();
                wrong.extend(unknown_names(".respond.body", body, names, Text::Body));
                ContentBody::new(body, names, escape)
            }
        };
        let answer = Self {
            status,
            content_type: content_type.is_none().then_some(default),
            headers: route::headers(respond, names, wrong).into(),
            body,
            delay: respond.delay,
        };
        match body_file {
            None => NotRead::Nothing(Box::new(answer)),
            Some(path) => NotRead::File(Box::new(BodyFile {
                path: path.clone(),
                names: names.to_owned(),
                answer,
                escape,
            })),
        }
    }

    pub(super) fn response(&self, params: &Params<'_, '_>) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(content_type) = &self.content_type {
            response.insert_header((header::CONTENT_TYPE, &**content_type));
        }
        for (name, value) in &self.headers {
            // As it came: percent-encoded, so it cannot break out of the header.
            response.append_header((name.clone(), &*value.fill(params, Escape::AsItCame)));
        }
        match &self.body {
            ContentBody::Copied(body) => response.body(body.to_vec()),
            ContentBody::Shared(body) => response.body(body.clone()),
            ContentBody::Filled(body, escape) => {
                response.body(body.fill(params, *escape).into_owned())
            }
        }
    }
}

impl BodyFile {
    /// Reads the body. One that is not UTF-8 has no names in it.
    pub(super) fn read(self, key: &str, with: &Build) -> Result<Answer, Unservable> {
        let is = [
            (with.is_secret(&self.path), "is a secret file"),
            (with.is_settings(&self.path), "holds settings"),
        ];
        if let Some((_, what)) = is.iter().find(|(is_it, _)| *is_it) {
            let name = with.resolve(&self.path);
            let why = format!("`{}` {what}, which would be served", name.display());
            return Err(Unservable::Refused(why));
        }
        let content = with.read(&self.path)?;
        let body = match std::str::from_utf8(&content) {
            Ok(text) if !self.names.is_empty() => {
                for misspelt in misspelt_names(text, &self.names) {
                    with.warn(key, misspelt);
                }
                ContentBody::new(text, &self.names, self.escape)
            }
            _ => ContentBody::fixed(content),
        };
        Ok(Answer {
            body,
            ..self.answer
        })
    }
}

impl ContentBody {
    fn new(text: &str, names: &[String], escape: Escape) -> Self {
        let template = Template::new(text, names);
        match template.fixed() {
            Some(text) => Self::fixed(text.into()),
            None => Self::Filled(template, escape),
        }
    }

    fn fixed(content: Vec<u8>) -> Self {
        if content.len() > COPIED {
            Self::Shared(content.into())
        } else {
            Self::Copied(content.into())
        }
    }
}
