//! What the program serves: answers, redirects and files, and no way out of a directory.
use crate::support::{Program, Response, Setup, request};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{fs, os::unix::fs::symlink, path::Path};

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

/// A program with files: `/assets/` is `settings/public`.
fn with_files(fill: impl FnOnce(&Path)) -> Program {
    let setup = Setup::new("[app.routes.\"/assets/{path}*\"]\nfiles = \"public\"\n");
    folder(&setup, "public/sub");
    let public = setup.settings().join("public");
    fs::write(public.join("a.txt"), "0123456789").expect("write a file");
    fs::write(public.join("sub/index.html"), "<p>sub").expect("write a file");
    fill(&public);
    setup.serve()
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
    let says = attempt["errors"][0]["message"].as_str().expect("a message");
    assert!(
        says.contains("routes.\"/page\".respond.body_file"),
        "{says}"
    );
    assert_eq!(program.get("/page").text(), "two");
}

#[test]
fn files_come_with_type_tag_and_ranges() {
    let program = with_files(|_| {});
    let whole = program.get("/assets/a.txt");
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(
        whole.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert!(whole.header("content-disposition").is_none());
    let modified = whole.header("last-modified").expect("it has a time");
    let tag = whole.header("etag").expect("it has a tag");

    let part = ask(
        &program,
        "GET",
        "/assets/a.txt",
        &[("Range", "bytes=2-4"), ("If-Range", tag)],
    );
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let last = ask(&program, "GET", "/assets/a.txt", &[("Range", "bytes=-2")]);
    assert_eq!(last.text(), "89");
    let beyond = ask(&program, "GET", "/assets/a.txt", &[("Range", "bytes=10-")]);
    assert_eq!(beyond.status, 416);
    for condition in [("If-None-Match", tag), ("If-Modified-Since", modified)] {
        let same = ask(&program, "GET", "/assets/a.txt", &[condition]);
        assert_eq!((same.status, same.body.len()), (304, 0), "{condition:?}");
    }
    let other = ask(&program, "GET", "/assets/a.txt", &[("If-Match", "\"x\"")]);
    assert_eq!(other.status, 412);

    let (status, head, body) = head(&program, "/assets/a.txt");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-length: 10"), "{head}");
    assert!(head.contains(&format!("etag: {tag}")), "{head}");
    let posted = ask(&program, "POST", "/assets/a.txt", &[]);
    assert_eq!(posted.status, 405);
    assert_eq!(posted.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn a_file_of_many_pieces_arrives_whole_and_after_its_head() {
    let content: Vec<u8> = (0..3_000_000u32).map(|byte| byte as u8).collect();
    let mut program = with_files(|public| {
        fs::write(public.join("large"), &content).expect("write a file");
        fs::write(public.join("empty"), "").expect("write a file");
    });
    let large = program.get("/assets/large");
    assert!(large.body == content, "{} bytes", large.body.len());
    let empty = program.get("/assets/empty");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    assert!(
        head(&program, "/assets/large")
            .1
            .contains("content-length: 3000000")
    );
    let report = program.stop();
    report.in_all.assert_balanced();
    assert_eq!((report.in_all.answered, report.in_all.aborted), (3, 0));
}

#[test]
fn a_directory_is_its_index_behind_a_slash() {
    let program = with_files(|public| {
        fs::create_dir(public.join("bare")).expect("make a folder");
        fs::create_dir(public.join("a b")).expect("make a folder");
    });
    for (path, location) in [
        ("/assets/sub", "./sub/"),
        ("/assets/sub?x=y", "./sub/?x=y"),
        ("/assets/a%20b", "./a%20b/"),
    ] {
        let answer = program.get(path);
        assert_eq!(answer.status, 308, "{path}");
        assert_eq!(answer.header("location"), Some(location), "{path}");
    }
    let index = program.get("/assets/sub/");
    assert_eq!((index.status, index.text().as_str()), (200, "<p>sub"));
    assert_eq!(
        index.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for path in ["/assets/", "/assets/bare/", "/assets/a.txt/", "/assets"] {
        assert_eq!(program.get(path).status, 404, "{path}");
    }
}

#[test]
fn no_way_leads_out_of_a_directory() {
    let program = with_files(|public| {
        let settings = public.parent().expect("the settings");
        fs::write(settings.join("secret"), "secret").expect("write a file");
        fs::write(public.join(".env"), "secret").expect("write a file");
        fs::create_dir(public.join(".git")).expect("make a folder");
        fs::write(public.join(".git/config"), "secret").expect("write a file");
        symlink("../secret", public.join("out")).expect("link");
        symlink(settings, public.join("outside")).expect("link");
        symlink(settings.join("secret"), public.join("absolute")).expect("link");
        symlink("/proc/self/root/etc", public.join("magic")).expect("link");
        symlink("sub/../a.txt", public.join("inside")).expect("link");
        symlink("loop", public.join("loop")).expect("link");
    });
    assert_eq!(program.get("/assets/inside").text(), "0123456789");
    for path in [
        "/assets/../secret",
        "/assets/sub/../../secret",
        "/assets/%2e%2e/secret",
        "/assets/%2E%2E%2Fsecret",
        "/assets/..%2fsecret",
        "/assets/.%2e/secret",
        "/assets/sub/..%5c..%5csecret",
        "/assets/..\\secret",
        "/assets/%252e%252e/secret",
        "/assets//etc/passwd",
        "/assets/%2fetc/passwd",
        "/assets/./a.txt",
        "/assets/sub/../a.txt",
        "/assets/a.txt%00",
        "/assets/.env",
        "/assets/%2eenv",
        "/assets/.git/config",
        "/assets/out",
        "/assets/outside/secret",
        "/assets/outside/",
        "/assets/absolute",
        "/assets/magic/passwd",
        "/assets/loop",
        "/assets/%ff",
        &format!("/assets/{}", "x".repeat(300)),
    ] {
        let answer = program.get(path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(!answer.text().contains("secret"), "{path}");
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let program = with_files(|public| {
        let fifo = public.join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
        let socket = public.join("socket");
        std::os::unix::net::UnixListener::bind(socket).expect("make a socket");
        fs::create_dir(public.join("sub/deep")).expect("make a folder");
        let index = public.join("sub/deep/index.html");
        mknodat(CWD, &index, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("make a FIFO");
    });
    for path in ["/assets/fifo", "/assets/socket", "/assets/sub/deep/"] {
        assert_eq!(program.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_directory_swapped_under_its_name_is_served_after_a_reload() {
    let setup = Setup::new("[app.routes.\"/{path}*\"]\nfiles = \"current\"\n");
    for release in ["one", "two"] {
        folder(&setup, release);
        let file = setup.settings().join(release).join("name");
        fs::write(file, release).expect("write a file");
    }
    let link = setup.settings().join("current");
    symlink("one", &link).expect("link");
    let program = setup.serve();
    assert_eq!(program.get("/name").text(), "one");
    assert_eq!(program.reload().1["outcome"], "unchanged");
    let next = program.settings().join("next");
    symlink("two", &next).expect("link");
    fs::rename(&next, &link).expect("swap");
    assert_eq!(program.get("/name").text(), "one", "not before a reload");
    program.reload_applied();
    assert_eq!(program.get("/name").text(), "two");
}

#[test]
fn a_directory_that_would_serve_the_settings_is_rejected() {
    for root in [".", "..", "/", "../settings", "linked"] {
        let text = format!("[app.routes.\"/{{path}}*\"]\nfiles = {root:?}\n");
        let setup = Setup::new(&text);
        symlink(".", setup.settings().join("linked")).expect("link");
        let (code, log) = setup.run();
        assert_ne!(code, 0, "{root}");
        assert!(
            log.contains("routes.\"/{path}*\".files") && log.contains("holds the settings"),
            "{root}: {log}"
        );
    }
    let setup = Setup::new("[app.routes.\"/{path}*\"]\nfiles = \"public\"\n");
    folder(&setup, "public");
    fs::write(setup.settings().join("public/real.toml"), "# empty").expect("write a file");
    symlink("public/real.toml", setup.settings().join("local.toml")).expect("link");
    let (_, log) = setup.run();
    assert!(log.contains("holds the settings"), "{log}");
}

#[test]
fn what_cannot_be_opened_is_named_by_its_route() {
    let program = Program::serve("[app]\nmessage = \"served\"\n");
    program.edit(
        "[app.routes.\"/a/{path}*\"]\nfiles = \"absent\"\n\
         [app.routes.\"/b\"]\nrespond.body_file = \"gone\"\n",
    );
    let (status, attempt) = program.reload();
    assert_eq!(status, 422, "{attempt:#}");
    let says = attempt["errors"].to_string();
    for key in [
        "/a/{path}*",
        ".files",
        "/b",
        ".respond.body_file",
        "absent",
        "gone",
    ] {
        assert!(says.contains(key), "{key} is not in {says}");
    }
    assert_eq!(program.get("/").text(), "served");
}

#[test]
fn routes_that_are_wrong_are_told_at_their_place() {
    let text = "[app.routes.\"/a\"]\nrespond = {}\nredirect = \"/b\"\n\
                [app.routes.\"/c\"]\nredirect = \"/d\"\nstatus = 200\n\
                [app.routes.\"/e\"]\nrespond = { status = 99 }\nmethods = [\"get\"]\n";
    let (code, log) = Setup::new(text).run();
    assert_eq!(code, 78, "{log}");
    for part in [
        "default.toml:1:1: app.routes.\"/a\": expected exactly one of",
        "default.toml:6:10: app.routes.\"/c\".status: expected 301, 302, 303, 307 or 308, found 200",
        "default.toml:8:22: app.routes.\"/e\".respond.status: expected a number from 200 to 599",
        "default.toml:9:12: app.routes.\"/e\".methods.0: expected a method in upper case",
    ] {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
}
