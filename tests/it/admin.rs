//! The admin listener: what it answers, whom it refuses, and its unix socket.
mod access;
mod attempts;
mod config;
mod probes;

use crate::support::{Address, Conn, Program, Setup, request};
use rustix::process::Signal;
use std::os::unix::{
    fs::{FileTypeExt, PermissionsExt},
    net::UnixListener,
};
use tempfile::TempDir;

const TEXT: &str = "[server]\nworkers = 2\n[app]\nmessage = \"here\"\n";

/// Asks with exactly these bytes: what to send is the test's whole business.
fn raw(program: &Program, bytes: &str) -> (u16, String) {
    let mut conn = Conn::open(program.admin());
    conn.send(bytes.as_bytes());
    let answer = conn.answer();
    (answer.status, answer.text())
}

#[test]
fn the_status_tells_what_runs() {
    let program = Program::serve(TEXT);
    program.get("/");
    let status = program.status();
    assert_eq!(
        (&status["service"], &status["state"]),
        (&"everup".into(), &"serving".into())
    );
    assert_eq!(
        (&status["pid"], &status["generation"]),
        (&program.id().into(), &1.into())
    );
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        status["digest"]
            .as_str()
            .is_some_and(|digest| digest.starts_with("sha256:")),
        "{status:#}"
    );
    assert!(
        status["started_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z')),
        "{status:#}"
    );
    assert!(
        status["uptime_s"]
            .as_f64()
            .is_some_and(|seconds| seconds >= 0.0),
        "{status:#}"
    );
    let listener = &status["listeners"][0];
    assert_eq!(listener["name"], "public");
    assert_eq!(listener["address"], program.public().to_string());
    assert_eq!(listener["requests"]["received"], 1);
    let ids: Vec<_> = (0..2)
        .map(|id| status["workers"][id]["id"].as_u64())
        .collect();
    assert!(
        ids.iter().all(Option::is_some) && ids[0] != ids[1],
        "{status:#}"
    );
}

#[test]
fn the_admin_s_own_requests_are_in_no_books() {
    let program = Program::serve(TEXT);
    for _ in 0..5 {
        program.readyz();
        program.reload();
    }
    assert_eq!(program.books().received, 0);
    program.get("/");
    assert_eq!(program.books().received, 1);
}

#[test]
fn a_wrong_method_is_405_and_says_which_is_right() {
    let program = Program::serve(TEXT);
    for (path, wrong, right) in [
        ("/reload", "GET", "POST"),
        ("/stop", "GET", "POST"),
        ("/status", "POST", "GET"),
        ("/livez", "DELETE", "GET"),
        ("/readyz", "PUT", "GET"),
    ] {
        let answer = program.admin_ask(wrong, path, &[]);
        assert_eq!(answer.status, 405, "{wrong} {path}");
        let allow = answer.header("allow").unwrap_or_default();
        assert!(
            allow.split(',').any(|method| method.trim() == right),
            "{wrong} {path}: Allow: {allow:?}"
        );
    }
    // No listener is a tunnel to anywhere.
    assert_eq!(program.admin_ask("CONNECT", "/reload", &[]).status, 501);
    assert_eq!(program.readyz(), 200, "GET /stop stops nothing");
}

#[test]
fn another_protocol_is_not_waited_for() {
    let program = Program::serve(TEXT);
    for (headers, answer) in [
        ("Upgrade: websocket\r\n", (200, r#"{"ok":true}"#)),
        // A body, and none: nobody can tell where the next request begins.
        ("Upgrade: websocket\r\nContent-Length: 3\r\n", (400, "")),
    ] {
        let (status, text) = raw(
            &program,
            &format!(
                "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n{headers}\r\n"
            ),
        );
        assert_eq!((status, text.as_str()), answer);
    }
}

#[test]
fn an_unknown_path_is_404() {
    let program = Program::serve(TEXT);
    for path in ["/nothing", "/reload/", "/status/x", "/STATUS"] {
        assert_eq!(program.admin_ask("GET", path, &[]).status, 404, "{path}");
    }
}

#[test]
fn get_reload_does_not_reload() {
    let program = Program::serve(TEXT);
    program.edit("[server]\nworkers = 2\n[app]\nmessage = \"changed\"\n");
    for method in ["GET", "HEAD", "PUT"] {
        let mut conn = Conn::open(program.admin());
        conn.send(&request(method, "/reload", &[("Connection", "close")], b""));
        let answer = String::from_utf8_lossy(&conn.rest()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    assert_eq!(program.status()["generation"], 1);
    assert_eq!(program.get("/").text(), "here");
}

#[test]
fn a_foreign_host_is_403() {
    let program = Program::serve(TEXT);
    let port = program.admin().port();
    for host in [
        "evil.example",
        "evil.example:80",
        &format!("evil.example:{port}"),
        "localhost.evil.example",
        "127.0.0.1.evil.example",
    ] {
        for (method, path) in [("GET", "/status"), ("POST", "/reload")] {
            assert_eq!(
                program.admin_ask(method, path, &[("Host", host)]).status,
                403,
                "{method} {path} for {host}"
            );
        }
        for path in ["/livez", "/readyz"] {
            assert_eq!(
                program.admin_ask("GET", path, &[("Host", host)]).status,
                200,
                "{path} for {host}"
            );
        }
    }
    for host in [
        "localhost",
        &format!("localhost:{port}"),
        "127.0.0.1",
        &format!("127.0.0.1:{port}"),
        "[::1]",
        "192.0.2.7:80",
    ] {
        assert_eq!(
            program
                .admin_ask("GET", "/status", &[("Host", host)])
                .status,
            200,
            "{host}"
        );
    }
    assert_eq!(
        raw(&program, "GET /status HTTP/1.0\r\n\r\n").0,
        200,
        "without a Host"
    );
}

#[test]
fn a_page_of_another_site_cannot_change_anything() {
    let program = Program::serve(TEXT);
    let host = program.admin().to_string();
    let ask = |method, path, name, value| {
        program
            .admin_ask(method, path, &[("Host", host.as_str()), (name, value)])
            .status
    };
    let foreign = [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ];
    for (name, value) in foreign {
        for path in ["/reload", "/stop", "/stop?now=true"] {
            assert_eq!(
                ask("POST", path, name, value),
                403,
                "POST {path} with {name}: {value}"
            );
        }
        assert_eq!(
            ask("GET", "/status", name, value),
            200,
            "GET changes nothing: {name}: {value}"
        );
    }
    let own = format!("http://{host}");
    for (name, value) in [
        ("Origin", own.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Site", "none"),
    ] {
        assert_eq!(ask("POST", "/reload", name, value), 200, "{name}: {value}");
    }
    assert_eq!(program.status()["state"], "serving");
}

#[test]
fn livez_and_readyz_need_no_host() {
    let program = Program::serve(TEXT);
    for path in ["/livez", "/readyz"] {
        assert_eq!(
            raw(&program, &format!("GET {path} HTTP/1.0\r\n\r\n")).0,
            200,
            "{path}"
        );
        assert_eq!(
            program
                .admin_ask("GET", path, &[("Host", "10.1.2.3:8081")])
                .status,
            200,
            "{path}"
        );
    }
}

#[test]
fn many_requests_go_over_one_admin_connection() {
    let program = Program::serve(TEXT);
    let mut conn = Conn::open(program.admin());
    for number in 1..=50 {
        program.edit(&format!(
            "[server]\nworkers = 2\n[app]\nmessage = \"{number}\"\n"
        ));
        conn.send(&request("POST", "/reload", &[], b""));
        assert_eq!(conn.answer().json()["outcome"], "applied");
        assert_eq!(conn.get("/status").json()["generation"], number + 1);
    }
}

/// A folder for a socket, and the settings that put the admin there.
fn at_socket() -> (TempDir, std::path::PathBuf, String) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("admin.sock");
    let text = format!("[admin]\naddress = \"unix:{}\"\n{TEXT}", path.display());
    (folder, path, text)
}

#[test]
fn the_unix_socket_is_for_its_owner_alone_and_gone_at_exit() {
    let (_folder, path, text) = at_socket();
    let mut program = Program::serve(&text);
    assert_eq!(program.admin(), &Address::Unix(path.clone()));
    let meta = std::fs::symlink_metadata(&path).expect("the socket is there");
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(program.reload().0, 200);
    assert_eq!(
        program
            .admin_ask("GET", "/status", &[("Host", "anything.example")])
            .status,
        200,
        "no Host check here"
    );
    program.stop();
    assert!(!path.exists(), "it is removed at exit");
}

#[test]
fn a_stale_unix_socket_is_replaced() {
    let (_folder, path, text) = at_socket();
    let mut program = Program::serve(&text);
    program.signal(Signal::KILL);
    program.wait_exit();
    assert!(path.exists(), "kill -9 leaves it");
    let mut again = Program::serve(&text);
    assert_eq!(again.status()["pid"], again.id());
    again.stop();
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_that_somebody_answers_is_left_alone() {
    let (_folder, path, text) = at_socket();
    let program = Program::serve(&text);
    let (code, log) = Setup::new(&text).run();
    assert_eq!(code, 1, "{log}");
    assert!(
        log.contains(&path.display().to_string()),
        "the log names the socket:\n{log}"
    );
    assert_eq!(
        program.status()["pid"],
        program.id(),
        "the first still answers"
    );
}

#[test]
fn a_unix_socket_that_is_no_longer_ours_is_not_removed() {
    let (_folder, path, text) = at_socket();
    let mut program = Program::serve(&text);
    std::fs::remove_file(&path).expect("the socket is there");
    let _other = UnixListener::bind(&path).expect("somebody else takes the name");
    program.stop();
    assert!(path.exists(), "it is somebody else's by now");
}

#[test]
fn a_file_that_is_no_socket_is_never_replaced() {
    let (_folder, path, text) = at_socket();
    std::fs::write(&path, "precious").expect("write a file");
    let (code, log) = Setup::new(&text).run();
    assert_ne!(code, 0, "{log}");
    assert_eq!(
        std::fs::read_to_string(&path).ok().as_deref(),
        Some("precious")
    );
}

#[test]
fn without_an_admin_it_serves_reloads_and_stops() {
    let mut program = Program::serve(&format!("[admin]\naddress = \"\"\n{TEXT}"));
    let mark = program.mark();
    program.write(
        "default.toml",
        "[admin]\naddress = \"\"\n[server]\nworkers = 2\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\n[app]\nmessage = \"after\"\n",
    );
    program.signal(Signal::HUP);
    program.wait_attempt(mark, "applied");
    assert_eq!(program.get("/").text(), "after");
    program.stop();
}
