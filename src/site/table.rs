//! The routes of a generation, as one matchit table behind one catch-all: a hundred thousand of
//! them are found in under a microsecond, where an App would try one pattern after the other.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use actix_http::StatusCode;
use actix_web::{
    HttpResponse,
    http::header::{self, HeaderName, HeaderValue},
};
use matchit::{InsertError, Params, Router};

use super::{
    schema::{Respond, Site},
    template::{Escape, Template},
};

/// Finds the answer to a path.
pub struct Table {
    router: Router<usize>,
    answers: Vec<Answer>,
}

struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, Template)>,
    body: Template,
    escape: Escape,
    delay: Duration,
}

/// What is wrong with a setting, by its key below `[app]`.
pub(super) struct Complaint {
    pub(super) key: String,
    pub(super) expected: String,
}

/// A path's answer, and what its pattern's names matched.
pub struct Found<'a> {
    answer: &'a Answer,
    params: Params<'a, 'a>,
}

impl Table {
    /// All of the routes, or all that is wrong with them.
    pub(super) fn build(site: &Site) -> Result<Self, Vec<Complaint>> {
        let mut table = Self {
            router: Router::new(),
            answers: Vec::with_capacity(site.routes.len() + 1),
        };
        let mut complaints = Vec::new();
        for (pattern, route) in &site.routes {
            if let Err(expected) = table.add(pattern, &route.respond) {
                complaints.extend(expected.into_iter().map(|(key, expected)| Complaint {
                    key: format!("routes.{pattern:?}{key}"),
                    expected,
                }));
            }
        }
        if !site.routes.contains_key("/") {
            let respond = Respond {
                body: site.message.clone(),
                ..Respond::default()
            };
            // No pattern but `/` itself stands in its way, or it is answered by that one.
            let _ = table.add("/", &respond);
        }
        if complaints.is_empty() {
            Ok(table)
        } else {
            Err(complaints)
        }
    }

    /// The answer to a path as it came, percent-encoded.
    pub fn find<'a>(&'a self, path: &'a str) -> Option<Found<'a>> {
        let matched = self.router.at(path).ok()?;
        Some(Found {
            answer: &self.answers[*matched.value],
            params: matched.params,
        })
    }

    fn add(&mut self, pattern: &str, respond: &Respond) -> Result<(), Vec<(String, String)>> {
        let mut wrong = Vec::new();
        let names = match self.insert(pattern, self.answers.len()) {
            Ok(names) => names,
            Err(expected) => {
                wrong.push((String::new(), expected));
                Vec::new()
            }
        };
        let status = StatusCode::from_u16(respond.status).ok();
        let status = status.filter(|status| (200..600).contains(&status.as_u16()));
        if status.is_none() {
            wrong.push((".respond.status".into(), "a number from 200 to 599".into()));
        }
        let headers = headers(&respond.headers, &names, &mut wrong);
        let Some(status) = status.filter(|_| wrong.is_empty()) else {
            return Err(wrong);
        };
        self.answers.push(Answer {
            status,
            escape: Escape::of(&respond.headers),
            headers,
            body: Template::new(&respond.body, &names),
            delay: respond.delay,
        });
        Ok(())
    }

    /// Enters a pattern, and returns its names.
    fn insert(&mut self, pattern: &str, answer: usize) -> Result<Vec<String>, String> {
        let Some(rest) = pattern.strip_prefix('/') else {
            return Err("a pattern that begins with `/`".into());
        };
        let mut names = Vec::new();
        let mut translated = String::with_capacity(pattern.len() + 1);
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            translated.push('/');
            let name = |segment: &str| {
                let name = segment.strip_prefix('{')?.strip_suffix('}')?;
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                (!name.is_empty() && name.bytes().all(is_plain)).then(|| name.to_owned())
            };
            let tail = segment.strip_suffix('*').and_then(name);
            if let Some(name) = tail.clone().filter(|_| segments.peek().is_none()) {
                // matchit's own rest is never empty, so the pattern without it is one more.
                self.enter(&translated, answer)?;
                translated.push_str(&format!("{{*{name}}}"));
                names.push(name);
            } else if let Some(name) = name(segment) {
                translated.push_str(segment);
                names.push(name);
            } else if segment.contains(['{', '}', '*']) || tail.is_some() {
                return Err("segments of plain text, `{name}`, or `{name}*` at the end".into());
            } else {
                translated.push_str(&encode(segment));
            }
        }
        let mut distinct = names.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < names.len() {
            return Err("a name once only".into());
        }
        self.enter(&translated, answer)?;
        Ok(names)
    }

    fn enter(&mut self, pattern: &str, answer: usize) -> Result<(), String> {
        self.router
            .insert(pattern, answer)
            .map_err(|error| match error {
                InsertError::Conflict { with } => {
                    format!("a pattern that does not match what `{with}` matches")
                }
                other => other.to_string(),
            })
    }
}

/// A segment as clients send it (RFC 3986 §3.3).
fn encode(segment: &str) -> Cow<'_, str> {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const NOT_IN_PATHS: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'`');
    utf8_percent_encode(segment, NOT_IN_PATHS).into()
}

fn headers(
    headers: &BTreeMap<String, String>,
    names: &[String],
    wrong: &mut Vec<(String, String)>,
) -> Vec<(HeaderName, Template)> {
    let mut made = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let mut complain = |expected: &str| {
            wrong.push((format!(".respond.headers.{name:?}"), expected.to_owned()));
        };
        match HeaderName::try_from(name.as_str()) {
            Err(_) => complain("a header's name"),
            Ok(made) if FRAMING.contains(&made) => {
                complain("a header that is not the server's own (it frames responses)");
            }
            Ok(_) if HeaderValue::try_from(value.as_str()).is_err() => {
                complain("a header's value: no line breaks or other control characters");
            }
            Ok(name) => made.push((name, Template::new(value, names))),
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

impl Found<'_> {
    /// How long to wait before the answer.
    pub fn delay(&self) -> Duration {
        self.answer.delay
    }

    /// The answer.
    pub fn response(&self) -> HttpResponse {
        let Answer {
            status,
            headers,
            body,
            escape,
            ..
        } = self.answer;
        let mut response = HttpResponse::build(*status);
        if *escape == Escape::PlainByDefault {
            response.content_type(mime::TEXT_PLAIN_UTF_8);
        }
        for (name, value) in headers {
            // As it came: percent-encoded, so it cannot break out of the header.
            response.append_header((name.clone(), &*value.fill(&self.params, Escape::AsItCame)));
        }
        response.body(body.fill(&self.params, *escape).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Route;

    fn site(routes: &[(&str, &str)]) -> Site {
        let routes = routes.iter().map(|(pattern, body)| {
            let respond = Respond {
                body: (*body).into(),
                ..Respond::default()
            };
            ((*pattern).to_owned(), Route { respond })
        });
        Site {
            routes: routes.collect(),
            ..Site::default()
        }
    }

    fn found(table: &Table, path: &str) -> Option<String> {
        let found = table.find(path)?;
        Some(
            found
                .answer
                .body
                .fill(&found.params, found.answer.escape)
                .into_owned(),
        )
    }

    #[test]
    fn a_path_finds_its_pattern() {
        let table = Table::build(&site(&[
            ("/hello/{name}", "Hello, {name}! {other} {}"),
            ("/files/{path}*", "[{path}]"),
            ("/café", "coffee"),
        ]));
        let Ok(table) = table else {
            panic!("the patterns are fine")
        };
        let cases = [
            ("/", Some("Before hot reload")),
            ("/hello/J%C3%BCrgen", Some("Hello, Jürgen! {other} {}")),
            ("/hello/", None),
            ("/hello/a/b", None),
            ("/files/", Some("[]")),
            ("/files/a/b", Some("[a/b]")),
            ("/files", None),
            ("/caf%C3%A9", Some("coffee")),
            ("/none", None),
        ];
        for (path, expected) in cases {
            assert_eq!(found(&table, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_route_at_the_root_takes_the_place_of_the_message() {
        let table = Table::build(&site(&[("/", "mine")]));
        assert_eq!(
            table.ok().and_then(|table| found(&table, "/")).as_deref(),
            Some("mine")
        );
    }

    #[test]
    fn patterns_that_are_wrong_are_all_named() {
        let wrong = [
            "nothing",
            "/{}",
            "/{a}*/b",
            "/a{b}",
            "/{a}/{a}",
            "/{x:[0-9]}",
        ];
        let routes: Vec<_> = wrong.iter().map(|pattern| (*pattern, "")).collect();
        let complaints = Table::build(&site(&routes)).err().unwrap_or_default();
        let mut keys: Vec<_> = complaints
            .into_iter()
            .map(|complaint| complaint.key)
            .collect();
        let mut expected: Vec<_> = wrong
            .iter()
            .map(|pattern| format!("routes.{pattern:?}"))
            .collect();
        keys.sort();
        expected.sort();
        assert_eq!(keys, expected);
        assert!(
            Table::build(&site(&[("/{a}/x", ""), ("/{b}/x", "")])).is_err(),
            "they overlap"
        );
    }
}
