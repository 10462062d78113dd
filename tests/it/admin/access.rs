//! Who may ask the admin API: tokens, hosts, bodies, and how many at once.
use super::TEXT;
use crate::support::{Address, Conn, Program, Response, Setup, request};
use rustix::process::Uid;
use serde_json::Value;

const TOKEN: &str = "0123456789abcdef";

fn with_admin(admin: &str) -> String {
    format!("[admin]\n{admin}\n{TEXT}")
}

fn with_token(address: &str) -> Setup {
    let text = with_admin(&format!("address = \"{address}\"\ntoken_file = \"token\""));
    Setup::new(&text).file("token", format!("{TOKEN}\n"))
}

fn status_with(program: &Program, authorization: &[&str]) -> u16 {
    let headers: Vec<_> = authorization
        .iter()
        .map(|value| ("Authorization", *value))
        .collect();
    program.admin_ask("GET", "/status", &headers).status
}

#[test]
fn without_the_token_nothing_is_told_but_probes() {
    let program = with_token("127.0.0.1:0").serve();
    for path in ["/status", "/config", "/history", "/nothing"] {
        let answer = program.admin_ask("GET", path, &[]);
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, Some("Bearer")),
            "{path}"
        );
        assert!(answer.json()["error"].is_string());
    }
    for path in ["/reload", "/stop", "/rollback?generation=1"] {
        assert_eq!(program.post(path).status, 401, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(program.admin_ask("GET", path, &[]).status, 200, "{path}");
    }
    let bearer = format!("Bearer {TOKEN}");
    for good in [&bearer, &format!("bearer   {TOKEN}")] {
        assert_eq!(status_with(&program, &[good]), 200, "{good}");
    }
    for wrong in [
        &["Bearer"][..],
        &["Bearer "],
        &[TOKEN],
        &[&format!("Basic {TOKEN}")],
        &[&format!("Bearer{TOKEN}")],
        &["Bearer 0123456789abcde"],
        &["Bearer 0123456789abcdeff"],
        &["Bearer 0123456789abcdeF"],
        &[&bearer, &bearer],
        &[&bearer, "Bearer x"],
        &[&format!("{bearer}, {bearer}")],
    ] {
        assert_eq!(status_with(&program, wrong), 401, "{wrong:?}");
    }
}

#[test]
fn a_token_opens_an_address_for_everybody_and_changes_by_reload() {
    let program = with_token("0.0.0.0:0").serve();
    let bearer = format!("Bearer {TOKEN}");
    let reload = |token: &str| {
        let headers = [("Authorization", token), ("Host", "10.0.0.1")];
        let answer = program.admin_ask("POST", "/reload", &headers);
        (answer.status, answer.text())
    };
    assert_eq!(status_with(&program, &[&bearer]), 200);
    program.write("token", "too short\n");
    let (status, text) = reload(&bearer);
    assert_eq!(status, 422);
    assert!(
        text.contains("admin.token_file") && text.contains("settings/default.toml:3:14"),
        "{text}"
    );
    assert!(!text.contains("too short"), "{text}");
    program.write("token", "another-token-of-somebody\n");
    assert_eq!(
        status_with(&program, &[&bearer]),
        200,
        "not before a reload"
    );
    let (status, text) = reload(&bearer);
    assert_eq!(status, 200);
    assert!(
        text.contains("\"applied\"") && !text.contains("another-token"),
        "{text}"
    );
    assert_eq!(reload(&bearer).0, 401);
    assert_eq!(reload("Bearer another-token-of-somebody").0, 200);
    let log = program.log();
    assert!(
        !log.contains("another-token") && !log.contains(TOKEN),
        "{log}"
    );
}

#[test]
fn the_digest_that_is_published_says_nothing_of_the_token() {
    let program = with_token("127.0.0.1:0").serve();
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let before = program.admin_ask("GET", "/status", &headers).json();
    program.write("token", "another-token-of-somebody\n");
    let attempt = program.admin_ask("POST", "/reload", &headers).json();
    assert_eq!(attempt["generation"], 2, "it is a change: {attempt:#}");
    assert_eq!(attempt["digest"], before["digest"]);
}

#[test]
fn a_token_that_cannot_be_read_is_an_error_at_its_place() {
    let text = with_admin("address = \"127.0.0.1:0\"\ntoken_file = \"absent\"");
    let (code, log) = Setup::new(&text).run();
    assert_eq!(code, 78, "{log}");
    assert!(
        log.contains("settings/default.toml:3:14: admin.token_file: cannot read"),
        "{log}"
    );
}

#[test]
fn a_directory_that_holds_the_token_is_not_served() {
    let setup = Setup::new(
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"../public/keys/token\"\n\
         [app.routes.\"/{rest}*\"]\nfiles = \"../public\"\n",
    );
    let keys = setup.settings().join("../public/keys");
    std::fs::create_dir_all(&keys).expect("make folders");
    std::fs::write(keys.join("token"), TOKEN).expect("write the token");
    let (code, log) = setup.run();
    assert_ne!(code, 0, "{log}");
    assert!(log.contains("/public` holds the secret"), "{log}");
}

#[test]
fn a_body_that_is_the_token_is_not_served_by_whatever_name() {
    for body in ["token", "link", "hard"] {
        let setup = Setup::new(&format!(
            "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n\
             [app.routes.\"/x\"]\nrespond.body_file = \"{body}\"\n"
        ))
        .file("token", TOKEN);
        let token = setup.settings().join("token");
        std::os::unix::fs::symlink("token", setup.settings().join("link")).expect("a link");
        let named = setup.settings().join(body);
        std::fs::hard_link(token, setup.settings().join("hard")).expect("a link");
        let (code, log) = setup.run();
        assert_ne!(code, 0, "{log}");
        let told = format!(
            "app.routes.\"/x\".respond.body_file: `{}` is a secret file",
            named.display()
        );
        assert!(log.contains(&told), "{log}");
    }
}

#[test]
fn hosts_that_the_settings_name_may_ask() {
    let program = Program::serve(&with_admin(
        "address = \"127.0.0.1:0\"\nhosts = [\"Admin.Example\"]",
    ));
    let status = |host: &str| {
        program
            .admin_ask("GET", "/status", &[("Host", host)])
            .status
    };
    for good in [
        "admin.example",
        "ADMIN.example:8081",
        "localhost",
        "127.0.0.1",
    ] {
        assert_eq!(status(good), 200, "{good}");
    }
    for bad in ["example", "x.admin.example", "admin.example.evil.example"] {
        assert_eq!(status(bad), 403, "{bad}");
    }
    let mut conn = Conn::open(program.admin());
    conn.send(b"GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(
        conn.answer().status,
        403,
        "another name in the request's target"
    );
    program.edit(&with_admin("address = \"127.0.0.1:0\"\nhosts = [\"a:80\"]"));
    let (code, attempt) = program.reload();
    assert_eq!(
        (code, &attempt["errors"][0]["key"]),
        (422, &"admin.hosts.0".into())
    );
}

#[test]
fn a_body_that_nobody_reads_is_read_away_or_refused() {
    let program = Program::serve(TEXT);
    let mut conn = Conn::open(program.admin());
    for _ in 0..3 {
        conn.send(&request("POST", "/reload", &[], b"{\"some\": \"body\"}"));
        assert_eq!(conn.answer().status, 200);
    }
    conn.send(&request("POST", "/stop", &[], &[b'x'; 100_000]));
    let answer = conn.answer();
    assert_eq!((answer.status, answer.closes()), (413, true));
    assert!(answer.json()["error"].is_string());
    let chunk = [b"8000\r\n".as_slice(), &[b'x'; 0x8000], b"\r\n"].concat();
    let mut conn = Conn::open(program.admin());
    conn.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    conn.send(&chunk.repeat(3));
    let answer = conn.answer();
    assert_eq!((answer.status, answer.closes()), (200, true));
    conn.closed();
    assert_eq!(program.status()["state"], "serving");
}

/// A request whose body does not come.
fn without_its_body(method: &str, path: &str) -> Vec<u8> {
    let head = "HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    format!("{method} {path} {head}x").into_bytes()
}

#[test]
fn no_endpoint_waits_for_a_body() {
    let mut program = Program::serve(TEXT);
    for (method, path, status) in [
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/status", 200),
        ("GET", "/nothing", 404),
        ("POST", "/status", 405),
        ("POST", "/reload?dry_run=true", 200),
        ("POST", "/rollback?generation=7", 404),
        ("POST", "/stop", 202),
    ] {
        let mut conn = Conn::open(program.admin());
        conn.send(&without_its_body(method, path));
        let answer = conn.answer();
        let found = (answer.status, answer.closes());
        assert_eq!(found, (status, true), "{method} {path}");
        // A client that goes on sending is read away, not reset before it has read the answer.
        let _over = conn.write(b"more");
        conn.closed();
    }
    program.expect_exit(0);
}

#[test]
fn bodies_that_do_not_come_do_not_keep_probes_out() {
    let program = Program::serve(TEXT);
    let slow: Vec<Conn> = (0..1500)
        .map(|number| {
            let mut conn = Conn::open(program.admin());
            let path = ["/livez", "/reload?dry_run=true"][number % 2];
            let method = ["GET", "POST"][number % 2];
            // It may have been closed for a later one already.
            let _over = conn.write(&without_its_body(method, path));
            conn
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(program.readyz(), 200);
        assert_eq!(program.reload().0, 200);
    }
    drop(slow);
}

/// Asks as a process of the user `nobody` would; `None` where this user cannot.
fn ask_as_nobody(program: &Program, method: &str, path: &str) -> Option<Response> {
    let (admin, bytes) = (program.admin().clone(), request(method, path, &[], b""));
    // The kernel keeps users by thread; this one ends with its request.
    let asking = std::thread::spawn(move || {
        let nobody = Some(Uid::from_raw(65534));
        if let Err(error) = rustix::thread::set_thread_res_uid(nobody, nobody, nobody) {
            eprintln!("skipped: this user cannot become another: {error}");
            return None;
        }
        let mut conn = Conn::open(&admin);
        conn.send(&bytes);
        Some(conn.answer())
    });
    asking.join().expect("no panic")
}

#[test]
fn without_a_token_another_user_of_the_machine_changes_nothing() {
    let program = Program::serve(TEXT);
    for path in [
        "/reload",
        "/rollback?generation=1",
        "/stop",
        "/stop?now=true",
        "/upgrade",
        "/reopen-logs",
    ] {
        let Some(answer) = ask_as_nobody(&program, "POST", path) else {
            return;
        };
        assert_eq!(answer.status, 403, "{path}");
        let reason = answer.json()["error"].to_string();
        assert!(reason.contains("of uid 65534"), "{reason}");
    }
    let read = ask_as_nobody(&program, "GET", "/status").expect("it could before");
    assert_eq!(read.status, 200, "reading changes nothing");
    assert_eq!(program.reload().0, 200, "the service's own user may");
    assert_eq!(program.status()["state"], "serving");
}

#[test]
fn with_the_token_another_user_may_change_what_it_likes() {
    let program = with_token("127.0.0.1:0").serve();
    let answer = ask_as_nobody(&program, "POST", "/reload");
    assert!(answer.is_none_or(|answer| answer.status == 401));
    let bearer = format!("Bearer {TOKEN}");
    let reload = program.admin_ask("POST", "/reload", &[("Authorization", &bearer)]);
    assert_eq!(reload.status, 200);
}

#[test]
fn the_service_s_own_user_may_reload_over_ipv6_too() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let program = Program::serve(&with_admin("address = \"[::1]:0\""));
    assert_eq!(program.reload().0, 200);
}

#[test]
fn a_client_that_has_said_all_that_it_will_may_still_reload() {
    let program = Program::serve(TEXT);
    let mark = program.mark();
    let mut conn = Conn::open(program.admin());
    conn.send(&request("POST", "/reload", &[], b""));
    conn.half_close();
    assert_eq!(conn.answer().status, 200, "it is still there");
    program.wait_attempt(mark, "unchanged");
}

#[test]
fn who_asked_is_named_in_the_answer_and_the_log() {
    let own = rustix::process::geteuid().as_raw();
    let program = Program::serve(TEXT);
    let mark = program.mark();
    let mut conn = Conn::open(program.admin());
    conn.send(&request("POST", "/reload", &[], b""));
    let trigger = &conn.answer().json()["trigger"];
    assert_eq!(trigger["peer"], conn.local());
    assert_eq!(trigger["uid"], own);
    assert_eq!(
        trigger["pid"],
        Value::Null,
        "it would take a look at every process"
    );
    let line = program.wait_attempt(mark, "unchanged").text;
    let by = format!("by the admin API from {} uid {own}", conn.local());
    assert!(line.contains(&by), "{line}");

    let program = Program::serve(&with_admin("address = \"unix:admin.sock\""));
    let mark = program.mark();
    let trigger = &program.reload().1["trigger"];
    let pid = std::process::id();
    assert_eq!(
        (&trigger["peer"], &trigger["pid"], &trigger["uid"]),
        (&"unix".into(), &pid.into(), &own.into())
    );
    let command = trigger["command"].as_str().expect("a command");
    let line = program.wait_attempt(mark, "unchanged").text;
    let by = format!("by the admin API from a unix socket, pid {pid} uid {own} ({command})");
    assert!(line.contains(&by), "{line}");
}

#[test]
fn idle_connections_do_not_keep_the_operator_out() {
    let program = Program::serve(TEXT);
    let idle: Vec<Conn> = (0..1500)
        .map(|number| {
            let mut conn = Conn::open(program.admin());
            if number % 2 == 0 {
                // It may have been closed for a later one already.
                let _ = conn.write(b"GET /status HT");
            }
            conn
        })
        .collect();
    let mut busy = Conn::open(program.admin());
    for _ in 0..10 {
        assert_eq!(busy.get("/status").status, 200);
        assert_eq!(
            program.status()["state"],
            "serving",
            "a new connection is answered"
        );
        assert_eq!(program.reload().0, 200);
    }
    assert_eq!(program.get("/").text(), "here");
    drop(idle);
}

#[test]
fn with_few_descriptors_one_admin_connection_after_the_other_is_answered() {
    let program = Setup::new(TEXT).shell("ulimit -n 64").serve();
    let mut kept = Vec::new();
    for _ in 0..40 {
        let mut conn = Conn::open(program.admin());
        assert_eq!(conn.get("/status").status, 200);
        kept.push(conn);
    }
    assert_eq!(program.reload().0, 200);
}

#[test]
fn a_unix_socket_may_ask_for_a_token_too() {
    let program = with_token("unix:admin.sock").serve();
    assert!(matches!(program.admin(), Address::Unix(_)));
    assert_eq!(status_with(&program, &[]), 401);
    assert_eq!(status_with(&program, &[&format!("Bearer {TOKEN}")]), 200);
}

#[test]
fn a_request_of_http_1_0_needs_no_host() {
    let program = Program::serve(TEXT);
    let mut conn = Conn::open(program.admin());
    conn.send(b"POST /reload HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(conn.answer().status, 200);
}
