//! The routes of a generation, as one matchit table behind one catch-all: a hundred thousand of
//! them are found in under a microsecond, where an App would try one pattern after the other.

use std::{cell::OnceCell, collections::HashMap};

use matchit::{InsertError, Params, Router};

use super::{
    pattern::Pattern,
    route::{Pending, Served, Unservable},
    schema::{Respond, Route, Site},
};
use crate::settings::{Build, Findings, Probe};

/// Finds what to do with a path.
#[derive(Debug)]
pub struct Table {
    router: Router<u32>,
    routes: Vec<Served>,
}

/// A table of which some routes wait for what they must read.
#[derive(Debug)]
pub(super) struct Plan {
    table: Table,
    /// By the index of the route and its key.
    pending: Vec<(usize, String, Pending)>,
}

/// What is wrong with a setting, by its key below `[app]`.
#[derive(Debug)]
pub(super) struct Complaint {
    pub(super) key: String,
    pub(super) about: About,
}

/// What a complaint says.
#[derive(Debug)]
pub(super) enum About {
    /// The value should be this.
    Expected(String),
    /// The key should be this.
    ExpectedKey(String),
    /// It is valid, and probably not what was meant.
    Warning(String),
}

impl Complaint {
    pub(super) fn new(key: &str, expected: impl Into<String>) -> Self {
        let (key, about) = (key.to_owned(), About::Expected(expected.into()));
        Self { key, about }
    }

    pub(super) fn of_key(key: &str, expected: impl Into<String>) -> Self {
        let (key, about) = (key.to_owned(), About::ExpectedKey(expected.into()));
        Self { key, about }
    }

    pub(super) fn warning(key: &str, message: impl Into<String>) -> Self {
        let (key, about) = (key.to_owned(), About::Warning(message.into()));
        Self { key, about }
    }

    pub(super) fn is_warning(&self) -> bool {
        matches!(self.about, About::Warning(_))
    }

    pub(super) fn report(self, found: &mut Findings) {
        let Self { key, about } = self;
        match about {
            About::Expected(expected) => found.at(&key, expected),
            About::ExpectedKey(expected) => found.at_key(&key, expected),
            About::Warning(message) => found.warn(&key, message),
        }
    }
}

/// A path's route, and what its pattern's names matched.
pub(super) struct Found<'a> {
    pub(super) route: &'a Served,
    pub(super) params: Params<'a, 'a>,
}

impl Plan {
    /// All of the routes, with warnings, or all that is wrong with them; does no I/O.
    pub(super) fn new(
        site: &Site,
        probes: &[Probe],
    ) -> Result<(Self, Vec<Complaint>), Vec<Complaint>> {
        let mut plan = Self {
            table: Table {
                router: Router::new(),
                routes: Vec::with_capacity(site.routes.len() + 1),
            },
            pending: Vec::new(),
        };
        let mut complaints = Vec::new();
        let written = Written::of(site);
        for (pattern, route) in &site.routes {
            let found = plan.add(pattern, route, &written, probes);
            complaints.extend(found.into_iter().map(|complaint| Complaint {
                key: format!("{}{}", key(pattern), complaint.key),
                ..complaint
            }));
        }
        if !site.routes.contains_key("/") {
            let message = Respond {
                body: Some(site.message.clone()),
                ..Respond::default()
            };
            let route = Route {
                respond: Some(message),
                ..Route::default()
            };
            // No pattern but `/` itself stands in its way, or it is answered by that one.
            let _ = plan.add("/", &route, &written, &[]);
        }
        if complaints.iter().all(Complaint::is_warning) {
            Ok((plan, complaints))
        } else {
            Err(complaints)
        }
    }

    /// Reads what the routes wait for, or says what cannot be read.
    pub(super) fn open(self, with: &Build) -> Result<Table, Findings> {
        let Self { mut table, pending } = self;
        let mut found = Findings::default();
        for (index, key, pending) in pending {
            let key = format!("{key}.{}", pending.key());
            match pending.open(&key, with) {
                Ok(action) => table.routes[index].action = action,
                Err(Unservable::Unreadable(error)) => found.unreadable(&key, &error),
                Err(Unservable::Refused(why)) => found.refused(&key, why),
            }
        }
        match found.is_empty() {
            true => Ok(table),
            false => Err(found),
        }
    }

    /// Adds a route, unless anything is wrong with it.
    fn add(
        &mut self,
        pattern: &str,
        route: &Route,
        written: &Written<'_>,
        probes: &[Probe],
    ) -> Vec<Complaint> {
        let mut found = Vec::new();
        let index = self.table.routes.len();
        let read = Pattern::read(pattern).map_err(str::to_owned);
        let read = read.and_then(|read| {
            self.table.enter(&read, index, written)?;
            Ok(read)
        });
        let read = read.unwrap_or_else(|expected| {
            found.push(Complaint::of_key("", expected));
            Pattern::none()
        });
        let doubts = read.doubts(pattern, probes).into_iter();
        found.extend(doubts.map(|doubt| Complaint::warning("", doubt)));
        let (served, pending) = Served::new(route, &read, &mut found);
        if found.iter().all(Complaint::is_warning) {
            self.table.routes.push(served);
            let pending = pending.map(|pending| (index, key(pattern), pending));
            self.pending.extend(pending);
        }
        found
    }
}

/// Patterns as the settings write them, by their form for matchit.
struct Written<'s> {
    site: &'s Site,
    /// Made for the first error that asks.
    patterns: OnceCell<HashMap<String, &'s str>>,
}

impl<'s> Written<'s> {
    fn of(site: &'s Site) -> Self {
        let patterns = OnceCell::new();
        Self { site, patterns }
    }

    fn pattern(&self, translated: &str) -> String {
        let patterns = self.patterns.get_or_init(|| {
            let mut patterns = HashMap::new();
            for pattern in self.site.routes.keys() {
                let Ok(read) = Pattern::read(pattern) else {
                    continue;
                };
                for translated in read.without_rest.into_iter().chain([read.translated]) {
                    // The first is the one in the way: the others conflict with it.
                    patterns.entry(translated).or_insert(pattern.as_str());
                }
            }
            patterns
        });
        let written = patterns.get(translated).map(|&pattern| pattern.to_owned());
        written.unwrap_or_else(|| Pattern::written(translated))
    }
}

/// A route's key below `[app]`.
fn key(pattern: &str) -> String {
    format!("routes.{}", serde_json::Value::from(pattern))
}

impl Table {
    /// The route of a path in its canonical form.
    pub(super) fn find<'a>(&'a self, path: &'a str) -> Option<Found<'a>> {
        let matched = self.router.at(path).ok()?;
        Some(Found {
            route: &self.routes[*matched.value as usize],
            params: matched.params,
        })
    }

    fn enter(
        &mut self,
        pattern: &Pattern,
        route: usize,
        written: &Written<'_>,
    ) -> Result<(), String> {
        for pattern in pattern.without_rest.iter().chain([&pattern.translated]) {
            // Settings have at most 16 MiB a file.
            self.router
                .insert(pattern, route as u32)
                .map_err(|error| match error {
                    InsertError::Conflict { with } => {
                        let with = written.pattern(&with);
                        format!("a pattern that does not match what `{with}` matches")
                    }
                    other => other.to_string(),
                })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{pattern::canonical, route::Action};
    use actix_web::body::MessageBody;

    /// The site of an `[app]`.
    fn site(app: &str) -> Site {
        toml::from_str(app).expect("sound types")
    }

    fn respond(routes: &[(&str, &str)]) -> Site {
        let routes = routes.iter().map(|(pattern, body)| {
            format!("[routes.{pattern:?}]\nrespond = {{ body = {body:?} }}\n")
        });
        site(&routes.collect::<String>())
    }

    fn table(site: &Site) -> Table {
        Plan::new(site, &[]).expect("sound routes").0.table
    }

    /// The body that a path is answered with, and its type.
    fn found(table: &Table, path: &str) -> Option<(String, String)> {
        let path = canonical(path);
        let found = table.find(&path)?;
        let Action::Respond(answer) = &found.route.action else {
            panic!("{path} is not answered by `respond`")
        };
        let response = answer.response(&found.params);
        let content_type = response
            .headers()
            .get("content-type")
            .expect("there is one");
        let content_type = content_type.to_str().expect("text").to_owned();
        let body = response.into_body().try_into_bytes().expect("at once");
        Some((String::from_utf8_lossy(&body).into_owned(), content_type))
    }

    fn keys(site: &Site) -> Vec<String> {
        let complaints = Plan::new(site, &[]).err().unwrap_or_default();
        let mut keys: Vec<_> = complaints.into_iter().map(|wrong| wrong.key).collect();
        keys.sort();
        keys
    }

    #[test]
    fn a_path_finds_its_pattern() {
        let table = table(&respond(&[
            ("/hello/{name}", "Hello, {name}! {other} {}"),
            ("/files/{path}*", "[{path}]"),
            ("/café", "coffee"),
        ]));
        let cases = [
            ("/", Some("Before hot reload")),
            ("/hello/J%C3%BCrgen", Some("Hello, Jürgen! {other} {}")),
            ("/hell%6f/you", Some("Hello, you! {other} {}")),
            ("/hello/a%2fb", Some("Hello, a/b! {other} {}")),
            ("/hello/", None),
            ("/hello/a/b", None),
            ("/files/", Some("[]")),
            ("/files/a/b", Some("[a/b]")),
            ("/files", None),
            ("/caf%C3%A9", Some("coffee")),
            ("/caf%c3%a9", Some("coffee")),
            ("/none", None),
        ];
        for (path, expected) in cases {
            let body = found(&table, path).map(|(body, _)| body);
            assert_eq!(body.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_route_at_the_root_takes_the_place_of_the_message() {
        let table = table(&respond(&[("/", "mine")]));
        assert_eq!(found(&table, "/").expect("found").0, "mine");
    }

    #[test]
    fn json_is_sent_with_names_in_its_texts_only() {
        let table = table(&site(
            "[routes.\"/{n}\"]\nrespond.json = { b = [1, true, 2.5], a = \"<{n}>\", n = {} }\n",
        ));
        let (body, content_type) = found(&table, "/%22x%0a").expect("found");
        assert_eq!(body, r#"{"a":"<\"x\n>","b":[1,true,2.5],"n":{}}"#);
        assert_eq!(content_type, "application/json");
    }

    #[test]
    fn a_large_body_is_whole_too() {
        let large = "x".repeat(100_000);
        let table = table(&respond(&[("/large", &large)]));
        assert_eq!(found(&table, "/large").expect("found").0, large);
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
        let mut expected: Vec<_> = wrong
            .iter()
            .map(|pattern| format!("routes.{pattern:?}"))
            .collect();
        expected.sort();
        assert_eq!(keys(&respond(&routes)), expected);
        let overlap = respond(&[("/{a}/x", ""), ("/{b}/x", "")]);
        assert_eq!(keys(&overlap), [r#"routes."/{b}/x""#]);
    }

    #[test]
    fn settings_that_are_wrong_are_named_by_their_keys() {
        let cases = [
            ("", ""),
            ("respond = {}\nredirect = \"/\"", ""),
            ("respond = {}\nfiles = \"x\"", ""),
            ("files = \"x\"", ""),
            ("respond = {}\nstatus = 301", ".status"),
            ("redirect = \"new\"", ".redirect"),
            (
                "respond = { status = 204, body = \"x\" }",
                ".respond.status",
            ),
            ("respond = { body = \"x\", json = 1 }", ".respond"),
            ("respond = { body_file = \"x\", json = 1 }", ".respond"),
            ("respond.headers.\"a b\" = \"\"", ".respond.headers.\"a b\""),
            (
                "respond.headers.connection = \"x\"",
                ".respond.headers.\"connection\"",
            ),
            ("respond.headers.x = \"a\\nb\"", ".respond.headers.\"x\""),
            ("respond = {}\nmethods = []", ".methods"),
            ("respond = {}\nmethods = [\"GET\", \"get\"]", ".methods.1"),
            ("respond = {}\nmethods = [\"G T\"]", ".methods.0"),
        ];
        for (route, key) in cases {
            let site = site(&format!("[routes.\"/x\"]\n{route}\n"));
            assert!(
                keys(&site).contains(&format!("routes.\"/x\"{key}")),
                "{route}"
            );
        }
        let site = site("[routes.\"/{p}*\"]\nfiles = \"x\"\nmethods = [\"POST\"]\n");
        assert_eq!(keys(&site), [r#"routes."/{p}*".methods.0"#]);
    }
}
