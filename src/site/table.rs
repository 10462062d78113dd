//! The routes of a generation, as one matchit table behind one catch-all: a hundred thousand of
//! them are found in under a microsecond, where an App would try one pattern after the other.

use matchit::{InsertError, Params, Router};

use super::{
    pattern::Pattern,
    route::{Pending, Served, Unservable},
    schema::{Respond, Route, Site},
};
use crate::settings::{Build, Findings};

/// Finds what to do with a path.
#[derive(Debug)]
pub struct Table {
    router: Router<usize>,
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
    pub(super) expected: String,
}

impl Complaint {
    pub(super) fn new(key: &str, expected: &str) -> Self {
        Self {
            key: key.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

/// A path's route, and what its pattern's names matched.
pub(super) struct Found<'a> {
    pub(super) route: &'a Served,
    pub(super) params: Params<'a, 'a>,
}

impl Plan {
    /// All of the routes, or all that is wrong with them; does no I/O.
    pub(super) fn new(site: &Site) -> Result<Self, Vec<Complaint>> {
        let mut plan = Self {
            table: Table {
                router: Router::new(),
                routes: Vec::with_capacity(site.routes.len() + 1),
            },
            pending: Vec::new(),
        };
        let mut complaints = Vec::new();
        for (pattern, route) in &site.routes {
            if let Err(expected) = plan.add(pattern, route) {
                complaints.extend(expected.into_iter().map(|complaint| Complaint {
                    key: format!("{}{}", key(pattern), complaint.key),
                    ..complaint
                }));
            }
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
            let _ = plan.add("/", &route);
        }
        if complaints.is_empty() {
            Ok(plan)
        } else {
            Err(complaints)
        }
    }

    /// Reads what the routes wait for, or says what cannot be read.
    pub(super) fn open(self, with: &Build) -> Result<Table, Findings> {
        let Self { mut table, pending } = self;
        let mut found = Findings::default();
        for (index, key, pending) in pending {
            match pending.open(with) {
                Ok(action) => table.routes[index].action = action,
                Err((of, Unservable::Failed(why))) => found.failed(&format!("{key}.{of}"), why),
                Err((of, Unservable::Refused(why))) => found.refused(&format!("{key}.{of}"), why),
            }
        }
        match found.is_empty() {
            true => Ok(table),
            false => Err(found),
        }
    }

    fn add(&mut self, pattern: &str, route: &Route) -> Result<(), Vec<Complaint>> {
        let mut wrong = Vec::new();
        let index = self.table.routes.len();
        let read = Pattern::read(pattern).map_err(str::to_owned);
        let read = read.and_then(|read| {
            self.table.enter(&read, index)?;
            Ok(read)
        });
        let read = read.unwrap_or_else(|expected| {
            wrong.push(Complaint {
                key: String::new(),
                expected,
            });
            Pattern::none()
        });
        let (served, pending) = Served::new(route, &read, &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        self.table.routes.push(served);
        self.pending
            .extend(pending.map(|pending| (index, key(pattern), pending)));
        Ok(())
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
            route: &self.routes[*matched.value],
            params: matched.params,
        })
    }

    fn enter(&mut self, pattern: &Pattern, route: usize) -> Result<(), String> {
        for pattern in pattern.without_rest.iter().chain([&pattern.translated]) {
            self.router
                .insert(pattern, route)
                .map_err(|error| match error {
                    InsertError::Conflict { with } => {
                        let with = Pattern::written(&with);
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
        Plan::new(site).expect("sound routes").table
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
        let complaints = Plan::new(site).err().unwrap_or_default();
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
