//! What the program serves: answers and redirects here, files in `files`.
mod checks;
mod files;
mod served;

use crate::support::{Program, Response, Setup, request};
use std::fs;

fn ask(program: &Program, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut conn = program.connect();
    conn.send(&request(method, path, headers, b""));
    conn.answer()
}

/// Asks with a method whose answer has no body, and says so by what the connection answers next.
fn head(program: &Program, path: &str) -> (u16, String, String) {
    let mut conn = program.connect();
    let close = [("Connection", "close")];
    conn.send(&request("HEAD", path, &close, b""));
    let text = String::from_utf8(conn.rest()).expect("a head is text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let status = head[9..12].parse().expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn folder(setup: &Setup, name: &str) {
    fs::create_dir_all(setup.settings().join(name)).expect("make a folder");
}

#[test]
fn a_route_takes_its_methods_and_names_them_to_others() {
    let program = Program::serve(
        "[app.routes.\"/any\"]\nrespond = { body = \"any\" }\n\
         [app.routes.\"/get\"]\nrespond = { body = \"got\" }\nmethods = [\"GET\"]\n\
         [app.routes.\"/own\"]\nrespond = { body = \"own\" }\nmethods = [\"POST\", \"OPTIONS\"]\n",
    );
    for method in ["GET", "POST", "DELETE", "OPTIONS", "BREW"] {
        assert_eq!(ask(&program, method, "/any", &[]).text(), "any", "{method}");
        assert_eq!(ask(&program, method, "/none", &[]).status, 404, "{method}");
    }
    assert_eq!(program.get("/get").text(), "got");
    let (status, head, body) = head(&program, "/get");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-length: 3"), "{head}");
    for method in ["POST", "DELETE", "get"] {
        let refused = ask(&program, method, "/get", &[]);
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let options = ask(&program, "OPTIONS", "/get", &[]);
    assert_eq!(options.status, 204);
    assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(ask(&program, "OPTIONS", "/own", &[]).text(), "own");
    assert_eq!(
        ask(&program, "GET", "/own", &[]).header("allow"),
        Some("POST, OPTIONS")
    );
}

#[test]
fn a_redirect_says_where_with_what_the_pattern_matched() {
    let program = Program::serve(
        "[app.routes.\"/old\"]\nredirect = \"/new\"\n\
         [app.routes.\"/moved/{rest}*\"]\nredirect = \"/{rest}\"\nstatus = 302\n\
         [app.routes.\"/find/{what}\"]\nredirect = \"https://example.com/s?q={what}\"\n",
    );
    for (path, status, location) in [
        ("/old", 308, "/new"),
        ("/old?a=b", 308, "/new"),
        ("/moved/", 302, "/"),
        ("/moved/a%20b/c", 302, "/a%20b/c"),
        ("/moved//evil.example/x", 302, "/evil.example/x"),
        ("/find/a%26b", 308, "https://example.com/s?q=a%26b"),
        ("/find/a&b=c", 308, "https://example.com/s?q=a%26b%3Dc"),
    ] {
        let answer = program.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("location"), Some(location), "{path}");
    }
}

#[test]
fn bodies_are_text_json_or_a_file() {
    let setup = Setup::new(
        "[app.routes.\"/json/{name}\"]\nrespond.json = { name = \"{name}\", list = [1, 2.5] }\n\
         [app.routes.\"/page/{name}\"]\nrespond.body_file = \"pages/page.html\"\n\
         [app.routes.\"/raw\"]\nrespond = { body_file = \"raw\", headers.content-type = \"x/y\" }\n",
    );
    folder(&setup, "pages");
    let program = setup
        .file("pages/page.html", "<p>{name} {other}")
        .file("raw", b"\x00\xff{name}")
        .serve();
    let json = program.get("/json/%22%0A");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(
        json.json(),
        serde_json::json!({ "name": "\"\n", "list": [1, 2.5] })
    );
    let page = program.get("/page/%3Cb%3E");
    assert_eq!(page.text(), "<p>&lt;b&gt; {other}");
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let raw = program.get("/raw");
    assert_eq!(raw.body, b"\x00\xff{name}");
    assert_eq!(raw.header("content-type"), Some("x/y"));
}

#[test]
fn another_content_of_a_body_file_is_another_generation() {
    let program = Setup::new("[app.routes.\"/page\"]\nrespond.body_file = \"page.txt\"\n")
        .file("page.txt", "one")
        .serve();
    let digest = program.status()["digest"].clone();
    assert_eq!(program.get("/page").text(), "one");
    assert_eq!(program.reload().1["outcome"], "unchanged");
    program.write("page.txt", "two");
    assert_eq!(program.get("/page").text(), "one", "not before a reload");
    assert_eq!(program.reload_applied()["generation"], 2);
    assert_eq!(program.get("/page").text(), "two");
    assert_ne!(program.status()["digest"], digest);
    fs::remove_file(program.settings().join("page.txt")).expect("it is there");
    let (status, attempt) = program.reload();
    assert_eq!(status, 422, "{attempt:#}");
    let error = &attempt["errors"][0];
    assert_eq!(error["key"], "app.routes.\"/page\".respond.body_file");
    let says = error["message"].as_str().expect("a message");
    assert!(says.contains("page.txt`: no such file"), "{says}");
    assert_eq!(program.get("/page").text(), "two");
}

#[test]
fn what_cannot_be_opened_is_told_at_its_place() {
    let program = Program::serve("[app]\nmessage = \"served\"\n");
    program.edit(
        "[app.routes.\"/a/{path}*\"]\nfiles = \"absent\"\n\
         [app.routes.\"/b\"]\nrespond.body_file = \"gone\"\n",
    );
    let (status, attempt) = program.reload();
    assert_eq!(status, 422, "{attempt:#}");
    for (index, key, place, name) in [
        (0, "/a/{path}*\".files", "2:9", "absent"),
        (1, "/b\".respond.body_file", "4:21", "gone"),
    ] {
        let error = &attempt["errors"][index];
        assert_eq!(error["key"], format!("app.routes.\"{key}"));
        assert_eq!(error["origin"], format!("settings/default.toml:{place}"));
        let says = error["message"].as_str().expect("a message");
        assert!(says.contains(name), "{says}");
    }
    assert_eq!(attempt["errors"].as_array().map(Vec::len), Some(2));
    assert_eq!(program.get("/").text(), "served");
}

#[test]
fn routes_that_are_wrong_are_told_at_their_place() {
    let text = "[app.routes.\"/a\"]\nrespond = {}\nredirect = \"/b\"\n\
                [app.routes.\"/c\"]\nredirect = \"/d\"\nstatus = 200\n\
                [app.routes.\"/e\"]\nrespond = { status = 99 }\nmethods = [\"get\", \"GTE\"]\n\
                [app.routes.\"/f\"]\nredirect = \"/d\"\nstatus = \"many\"\n\
                [app.routes.\"/g\"]\nrespond.status = \"many\"\n\
                [app.routes.\"/h\"]\nrespond.status = -1\n";
    let (code, log) = Setup::new(text).run();
    assert_eq!(code, 78, "{log}");
    for part in [
        "default.toml:1:1: app.routes.\"/a\": expected exactly one of",
        "default.toml:6:10: app.routes.\"/c\".status: expected 301, 302, 303, 307 or 308, found 200",
        "default.toml:8:22: app.routes.\"/e\".respond.status: expected a number from 200 to 599",
        "default.toml:9:12: app.routes.\"/e\".methods.0: expected a method in upper case",
        "default.toml:9:19: app.routes.\"/e\".methods.1: expected a method (did you mean \"GET\"?), found \"GTE\"",
        "default.toml:12:10: app.routes.\"/f\".status: expected 301, 302, 303, 307 or 308, found \"many\"",
        "default.toml:14:18: app.routes.\"/g\".respond.status: expected a number from 200 to 599, found \"many\"",
        "default.toml:16:18: app.routes.\"/h\".respond.status: expected a number from 200 to 599, found -1",
    ] {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
}
