//! One route as it is served: which methods it takes, and what it does. Says all that is wrong with
//! its settings; what must be read first is `Pending`.

use std::io;

use actix_http::StatusCode;
use actix_web::http::{
    Method,
    header::{self, HeaderName, HeaderValue},
};

use super::{
    files::Files,
    pattern::Pattern,
    redirect::Redirect,
    respond::{Answer, BodyFile, NotRead},
    schema::{Respond, Route},
    table::Complaint,
    template::{Template, Text, unknown_names},
};
use crate::settings::Build;

/// A route that serves, or will when its [`Pending`] has been opened.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) methods: Methods,
    pub(super) action: Action,
}

/// What a route does.
#[derive(Debug)]
pub(super) enum Action {
    Respond(Box<Answer>),
    Redirect(Box<Redirect>),
    Files(Box<Files>),
    /// Nothing yet: its file or directory is not open. In no table that serves.
    Pending,
}

/// What a route needs before it can serve.
#[derive(Debug)]
pub(super) enum Pending {
    BodyFile(BodyFile),
    Files(super::files::NotOpen),
}

/// The methods that a route takes.
#[derive(Debug)]
pub(super) enum Methods {
    /// All but TRACE and CONNECT, which mean something else to whoever asks for them.
    All,
    These(Box<These>),
}

/// Some methods.
#[derive(Debug)]
pub(super) struct These {
    methods: Vec<Method>,
    /// What is answered where another one is asked for.
    allow: HeaderValue,
}

/// Why there is nothing to serve.
pub(super) enum Unservable {
    /// The file or directory cannot be read; the error names it.
    Unreadable(io::Error),
    /// It must not be served.
    Refused(String),
}

impl From<io::Error> for Unservable {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Pending {
    /// The key that names it, relative to the route's.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::BodyFile(_) => "respond.body_file",
            Self::Files(_) => "files",
        }
    }

    /// Reads or opens it; warnings are about `key`.
    pub(super) fn open(self, key: &str, with: &Build) -> Result<Action, Unservable> {
        Ok(match self {
            Self::BodyFile(file) => Action::Respond(Box::new(file.read(key, with)?)),
            Self::Files(root) => Action::Files(Box::new(root.open(with)?)),
        })
    }
}

impl Served {
    /// From its settings; what is wrong with them is added, by its key relative to the route's.
    pub(super) fn new(
        route: &Route,
        pattern: &Pattern,
        wrong: &mut Vec<Complaint>,
    ) -> (Self, Option<Pending>) {
        let mut complain = |key: &str, expected: &str| wrong.push(Complaint::new(key, expected));
        let kinds = [
            ("`respond`", route.respond.is_some()),
            ("`redirect`", route.redirect.is_some()),
            ("`files`", route.files.is_some()),
        ];
        let given = kinds.iter().filter(|(_, is_given)| *is_given);
        let given: Vec<&str> = given.map(|(kind, _)| *kind).collect();
        if given.len() != 1 {
            let found = match &given[..] {
                [] => "none".to_owned(),
                given => given.join(" and "),
            };
            let expected =
                format!("exactly one of `respond`, `redirect` and `files`, found {found}");
            complain("", &expected);
        }
        if route.status.is_some() && route.redirect.is_none() {
            complain(".status", "no status beside anything but `redirect`");
        }
        let methods = Methods::new(route, wrong);
        let mut pending = None;
        let action = match route {
            Route {
                respond: Some(respond),
                ..
            } => match Answer::plan(respond, &pattern.names, wrong) {
                NotRead::Nothing(answer) => Action::Respond(answer),
                NotRead::File(file) => {
                    pending = Some(Pending::BodyFile(*file));
                    Action::Pending
                }
            },
            Route {
                redirect: Some(to), ..
            } => match Redirect::new(to, route.status, &pattern.names, wrong) {
                Some(redirect) => Action::Redirect(Box::new(redirect)),
                None => Action::Pending,
            },
            Route {
                files: Some(root), ..
            } => {
                match pattern.rest() {
                    Some(rest) => {
                        let root = super::files::NotOpen::new(root.clone(), rest.to_owned());
                        pending = Some(Pending::Files(root));
                    }
                    // What is wrong with a pattern has been said.
                    None if pattern.translated.is_empty() => {}
                    None => wrong.push(Complaint::new(
                        "",
                        "a pattern for `files` to end in `/{name}*`",
                    )),
                }
                Action::Pending
            }
            _ => Action::Pending,
        };
        (Self { methods, action }, pending)
    }
}

impl Methods {
    fn new(route: &Route, wrong: &mut Vec<Complaint>) -> Self {
        let only_read = route.files.is_some();
        let names = match &route.methods {
            Some(names) => names.clone(),
            None if only_read => vec!["GET".into()],
            None => return Self::All,
        };
        if names.is_empty() {
            wrong.push(Complaint::new(".methods", "one method at least"));
        }
        let mut methods = Vec::with_capacity(names.len() + 1);
        for (index, name) in names.iter().enumerate() {
            match method(name, only_read) {
                Ok(method) if methods.contains(&method) => {}
                Ok(Method::CONNECT) => wrong.push(Complaint::warning(
                    &format!(".methods.{index}"),
                    "CONNECT asks for a tunnel: it is answered with 501",
                )),
                Ok(method) => methods.push(method),
                Err(expected) => {
                    wrong.push(Complaint::new(&format!(".methods.{index}"), expected));
                }
            }
        }
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        let mut named: Vec<_> = methods.iter().map(Method::as_str).collect();
        if !methods.contains(&Method::OPTIONS) {
            named.push("OPTIONS");
        }
        let allow = HeaderValue::try_from(named.join(", "));
        let allow = allow.expect("a method is made of what a header's value may hold");
        Self::These(Box::new(These { methods, allow }))
    }

    /// What to say is allowed, where this method is not.
    pub(super) fn refuses(&self, method: &Method) -> Option<&HeaderValue> {
        match self {
            Self::These(these) if !these.methods.contains(method) => Some(&these.allow),
            Self::All if *method == Method::TRACE => Some(&USUAL_ALLOWED),
            _ => None,
        }
    }
}

/// A method by its name, or what was expected instead. Any name may be one that clients use, but
/// for those that are one slip away from a usual one.
fn method(name: &str, only_read: bool) -> Result<Method, String> {
    let method = Method::from_bytes(name.as_bytes()).ok();
    let is_upper = !name.bytes().any(|byte| byte.is_ascii_lowercase());
    match method {
        Some(method @ (Method::GET | Method::HEAD)) => Ok(method),
        _ if only_read => Err("\"GET\" or \"HEAD\", which files take".to_owned()),
        Some(method) if is_upper => match meant(name) {
            Some(usual) => Err(format!("a method (did you mean \"{usual}\"?)")),
            None => Ok(method),
        },
        _ => Err("a method in upper case, such as \"GET\"".to_owned()),
    }
}

/// The usual method that a name was to be, where it is not one itself.
fn meant(name: &str) -> Option<&'static str> {
    let is_slip = |usual: &&str| {
        // `BATCH` and `WATCH` are no `PATCH`: hardly anybody misses the first letter.
        name.as_bytes().first() == usual.as_bytes().first()
            // The distance costs as much as both lengths multiplied.
            && name.len() <= usual.len() + 1
            && strsim::damerau_levenshtein(name, usual) == 1
    };
    let is_usual = USUAL.contains(&name);
    USUAL.into_iter().find(is_slip).filter(|_| !is_usual)
}

/// What a route without `methods` names to whoever asks for TRACE; it takes every other method too.
static USUAL_ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Of RFC 9110 §9.3, and RFC 5789.
const USUAL: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// The headers of an answer.
pub(super) fn headers(
    respond: &Respond,
    names: &[String],
    wrong: &mut Vec<Complaint>,
) -> Vec<(HeaderName, Template)> {
    let mut made = Vec::with_capacity(respond.headers.len());
    for (name, value) in &respond.headers {
        let key = serde_json::Value::from(name.as_str());
        let key = format!(".respond.headers.{key}");
        let mut complain = |complaint: fn(&str, &'static str) -> Complaint, expected| {
            wrong.push(complaint(&key, expected));
        };
        match HeaderName::try_from(name.as_str()) {
            Err(_) => complain(Complaint::of_key, "a header's name"),
            Ok(made) if FRAMING.contains(&made) => {
                let expected = "a header that is not the server's own (it frames responses)";
                complain(Complaint::of_key, expected);
            }
            Ok(_) if HeaderValue::try_from(value.as_str()).is_err() => {
                let expected = "a header's value: no line breaks or other control characters";
                complain(Complaint::new, expected);
            }
            Ok(name) => {
                wrong.extend(unknown_names(&key, value, names, Text::Line));
                made.push((name, Template::new(value, names)));
            }
        }
    }
    made
}

/// Headers that say where a response ends, or what becomes of its connection.
const FRAMING: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
];

/// Whether a response of this status may have a body.
pub(super) fn has_body(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_a_usual_method_is_told_and_every_other_name_is_a_method() {
        for (name, usual) in [
            ("GTE", "GET"),
            ("GE", "GET"),
            ("POSTS", "POST"),
            ("PSOT", "POST"),
            ("DELTE", "DELETE"),
            ("OPTOINS", "OPTIONS"),
        ] {
            let expected = format!("a method (did you mean \"{usual}\"?)");
            assert_eq!(method(name, false), Err(expected));
        }
        let others = [
            "PROPFIND",
            "PROPPATCH",
            "MKCOL",
            "COPY",
            "MOVE",
            "LOCK",
            "UNLOCK",
            "PURGE",
            "BAN",
            "LIST",
            "QUERY",
            "SEARCH",
            "REPORT",
            "LINK",
            "ACL",
            "BIND",
            "BATCH",
            "WATCH",
            "PUSH",
            "PRI",
            "SET",
            "M-SEARCH",
        ];
        let long = "A".repeat(100_000);
        for name in USUAL.into_iter().chain(others).chain([&*long]) {
            assert!(method(name, false).is_ok(), "{name}");
        }
    }
}
