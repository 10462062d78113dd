//! Files from a directory: what is said of them, and no way out of it.

use super::{ask, folder, head};
use crate::support::{Conn, Program, Setup, request};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

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
fn every_condition_on_a_file_is_heeded() {
    let program = with_files(|_| {});
    let whole = program.get("/assets/a.txt");
    let tag = whole.header("etag").expect("it has a tag");
    let modified = whole.header("last-modified").expect("it has a time");
    let (weak, several) = (format!("W/{tag}"), format!("\"x\", {tag}"));
    // The epoch's first second, and one that this test will not see.
    let (before, after) = (
        "Thu, 01 Jan 1970 00:00:01 GMT",
        "Wed, 25 Nov 2099 00:00:00 GMT",
    );
    for (headers, expected) in [
        (&[("If-None-Match", &*weak)][..], 304),
        (&[("If-None-Match", &*several)], 304),
        (&[("If-None-Match", "*")], 304),
        // The tag counts, not the time.
        (
            &[("If-None-Match", "\"x\""), ("If-Modified-Since", after)],
            200,
        ),
        (&[("If-Modified-Since", before)], 200),
        (&[("If-Match", tag)], 200),
        (&[("If-Match", &weak)], 412),
        (&[("If-Unmodified-Since", before)], 412),
        (&[("If-Unmodified-Since", modified)], 200),
        (&[("Range", "bytes=2-4"), ("If-Range", modified)], 206),
        (&[("Range", "bytes=2-4"), ("If-Range", before)], 200),
        (&[("Range", "bytes=2-4"), ("If-Range", "\"x\"")], 200),
        (&[("Range", "bytes=2-4"), ("If-None-Match", tag)], 304),
        (&[("Range", "bytes=2-4"), ("If-Match", "\"x\"")], 412),
        (&[("Range", "lines=1-2")], 200),
        (&[("Range", "bytes=0-18446744073709551615")], 206),
        (&[("Range", "bytes=18446744073709551615-")], 416),
        (&[("Range", "bytes=-0")], 416),
    ] {
        let answer = ask(&program, "GET", "/assets/a.txt", headers);
        assert_eq!(answer.status, expected, "{headers:?}");
        let body = answer.text();
        match expected {
            200 => assert_eq!(body, "0123456789", "{headers:?}"),
            304 | 412 | 416 => assert_eq!(body, "", "{headers:?}"),
            _ => {}
        }
    }
}

/// More than the buffers of both ends hold: most of it is unread until the client takes it.
const LARGE: usize = 64 * 1024 * 1024;

/// A client that has had the first bytes of a large file's answer, and its connection.
fn begin_large(program: &Program) -> Conn {
    let mut conn = program.connect();
    let close = [("Connection", "close")];
    conn.send(&request("GET", "/assets/large", &close, b""));
    conn.skip(1000);
    conn
}

#[test]
fn a_file_replaced_while_it_is_sent_arrives_as_it_was() {
    let mut public = PathBuf::new();
    let program = with_files(|made| {
        public = made.to_owned();
        fs::write(made.join("large"), vec![b'a'; LARGE]).expect("write a file");
        fs::write(made.join("next"), "b").expect("write a file");
    });
    let mut conn = begin_large(&program);
    fs::rename(public.join("next"), public.join("large")).expect("replace");
    assert_eq!(program.get("/assets/large").text(), "b");
    let rest = conn.rest();
    assert!(rest.len() > LARGE - 1000, "{} bytes", rest.len());
    assert!(rest.iter().all(|byte| *byte == b'a'));
}

#[test]
fn a_file_cut_short_while_it_is_sent_is_not_passed_off_as_whole() {
    let mut public = PathBuf::new();
    let mut program = with_files(|made| {
        public = made.to_owned();
        fs::write(made.join("large"), vec![b'a'; LARGE]).expect("write a file");
    });
    let mut conn = begin_large(&program);
    fs::write(public.join("large"), "").expect("cut it short");
    let rest = conn.rest();
    assert!(rest.len() < LARGE - 1000, "{} bytes", rest.len());
    assert_eq!(program.get("/assets/a.txt").text(), "0123456789");
    let report = program.stop();
    report.in_all.assert_balanced();
    assert_eq!((report.in_all.answered, report.in_all.aborted), (1, 1));
}
