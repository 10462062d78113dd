//! Routes that are not what their author meant: errors where they cannot be, warnings where they may.

use super::ask;
use crate::support::{Program, Setup, request};
use serde_json::Value;

/// What `check` says of settings that are wrong.
fn refused(settings: &str) -> String {
    let ran = Setup::new(settings).ask(&["check"]);
    assert_eq!(ran.code, 78, "{}", ran.err);
    ran.err
}

/// The warnings of `/status`, as `check` shows them.
fn warnings(program: &Program) -> Vec<String> {
    let status = program.status();
    let warnings = status["warnings"].as_array().expect("a list").iter();
    let text = |warning: &Value, key: &str| warning[key].as_str().unwrap_or_default().to_owned();
    let shown = warnings.map(|it| {
        let (origin, key, message) = (text(it, "origin"), text(it, "key"), text(it, "message"));
        format!("{origin}: {key}: {message}")
    });
    shown.collect()
}

#[test]
fn a_misspelt_name_in_a_redirect_or_header_is_an_error_at_its_key() {
    let text = "[app.routes.\"/a/{name}\"]\nredirect = \"/b/{nmae}\"\n\
                [app.routes.\"/b/{name}\"]\nrespond.headers = { x-who = \"{naem}\" }\n\
                [app.routes.\"/c/{name}\"]\nredirect = \"/c?who={who}\"\n";
    let said = refused(text);
    for part in [
        "default.toml:2:12: app.routes.\"/a/{name}\".redirect: expected names of the pattern in \
         braces, not `{nmae}` (did you mean `{name}`?), found \"/b/{nmae}\"",
        "default.toml:4:29: app.routes.\"/b/{name}\".respond.headers.x-who: expected names of the \
         pattern in braces, not `{naem}` (did you mean `{name}`?), found \"{naem}\"",
        "default.toml:6:12: app.routes.\"/c/{name}\".redirect: expected names of the pattern in \
         braces, not `{who}`, found",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn a_misspelt_name_in_a_body_is_a_warning_that_check_log_and_status_show() {
    let text = "[app.routes.\"/a/{name}\"]\nrespond.body = \"Hello {nmae}, { css } {}\"\n\
                [app.routes.\"/b/{name}\"]\nrespond.json = { who = \"{who}\" }\n\
                [app.routes.\"/c/{name}\"]\nrespond.body_file = \"page.js\"\n\
                [app.routes.\"/d\"]\nrespond.body = \"{name}\"\n\
                [app.routes.\"/e\"]\nredirect = \"/{x}\"\n";
    let setup = || Setup::new(text).file("page.js", "function(){return} {a} {nam}");
    let expected = [
        "settings/default.toml:2:16: app.routes.\"/a/{name}\".respond.body: `{nmae}` is sent as it \
         is: the pattern has no such name (did you mean `{name}`?)",
        "settings/default.toml:4:16: app.routes.\"/b/{name}\".respond.json: `{who}` is sent as it \
         is: the pattern has no such name",
        "settings/default.toml:10:12: app.routes.\"/e\".redirect: `{x}` is sent as it is: the \
         pattern has no such name",
        "settings/default.toml:6:21: app.routes.\"/c/{name}\".respond.body_file: `{nam}` is sent as \
         it is: the pattern has no such name (did you mean `{name}`?)",
    ];
    let ran = setup().ask(&["check"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let program = setup().serve();
    assert_eq!(warnings(&program), expected);
    for warning in expected {
        let shown = format!("warning: {warning}\n");
        assert!(ran.err.contains(&shown), "{shown:?} is not in\n{}", ran.err);
        let line = program.wait_log(warning);
        assert!(line.contains("WARN"), "{line}");
    }
    let mark = program.mark();
    program.reload();
    program.wait_after(mark, expected[0]);
    assert_eq!(program.get("/a/x").text(), "Hello {nmae}, { css } {}");
    program.edit("");
    program.reload_applied();
    assert_eq!(warnings(&program), [""; 0]);
}

#[test]
fn a_route_that_no_request_can_match_is_a_warning() {
    let text = "[app.routes.\"/a?b=c\"]\nrespond = {}\n[app.routes.\"/a#b\"]\nrespond = {}\n\
                [app.routes.\"/x/:name\"]\nrespond = {}\n[app.routes.\"/y/<name>\"]\nrespond = {}\n\
                [app.routes.\"/-/livez\"]\nrespond = {}\n[app.routes.\"/-/{other}*\"]\nrespond = {}\n\
                [app.routes.\"/z/8:30\"]\nrespond = {}\n\
                [server.listeners.public]\naddress = \"127.0.0.1:0\"\nprobes = \"/-/\"\n";
    let program = Program::serve(text);
    let found = warnings(&program);
    assert_eq!(found.len(), 5, "{found:#?}");
    for (place, key, message) in [
        (
            "1:1",
            "/a?b=c",
            "`?` begins a query, which is no part of a path",
        ),
        ("3:1", "/a#b", "`#` begins a fragment"),
        (
            "5:1",
            "/x/:name",
            "`:name` matches only itself: a segment of any text is written `{name}`",
        ),
        ("7:1", "/y/<name>", "`<name>` matches only itself"),
        (
            "9:1",
            "/-/livez",
            "listener `public` answers this path by its `probes`",
        ),
    ] {
        let begins = format!("settings/default.toml:{place}: app.routes.\"{key}\": {message}");
        assert!(
            found.iter().any(|it| it.starts_with(&begins)),
            "{begins} is not in {found:#?}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_key_underlines_the_key_and_a_conflict_names_the_other_route() {
    let text = "[app.routes.\"/h\"]\nrespond = { headers = { \"x a\" = \"b\" } }\n\
                [app.routes.\"/i\"]\nrespond.headers.connection = \"close\"\n\
                [app.routes]\n\"/a b\" = { respond = {} }\n\"/a%20b\" = { respond = {} }\n\
                \"/{x}*/y\" = { respond = {} }\n";
    let said = refused(text);
    for part in [
        "default.toml:2:25: app.routes.\"/h\".respond.headers.\"x a\": expected a header's name, \
         found \"x a\"\n  |\n2 | respond = { headers = { \"x a\" = \"b\" } }\n  |                         ^^^^^\n",
        "default.toml:4:17: app.routes.\"/i\".respond.headers.connection: expected a header that is \
         not the server's own",
        "default.toml:7:1: app.routes.\"/a%20b\": expected a pattern that does not match what \
         `/a b` matches, found \"/a%20b\"",
        "default.toml:8:1: app.routes.\"/{x}*/y\": expected segments of plain text",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn trace_and_connect_are_refused_where_a_route_names_no_methods() {
    let program = Program::serve(
        "[app.routes.\"/any\"]\nrespond = { body = \"any\" }\n\
         [app.routes.\"/traced\"]\nrespond = { body = \"traced\" }\nmethods = [\"TRACE\"]\n",
    );
    let traced = ask(&program, "TRACE", "/any", &[]);
    assert_eq!(traced.status, 405);
    let allow = traced.header("allow").expect("405 says what is allowed");
    assert!(allow.contains("GET") && !allow.contains("TRACE"), "{allow}");
    assert_eq!(ask(&program, "TRACE", "/traced", &[]).text(), "traced");
    for target in ["/any", "example.com:443"] {
        let mut conn = program.connect();
        conn.send(&request("CONNECT", target, &[("Connection", "close")], b""));
        assert_eq!(conn.answer().status, 501, "{target}");
    }
}
