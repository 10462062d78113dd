//! Probes on a listener of the service.
use crate::support::{Conn, Program, request};

const LISTENERS: &str = "[server]\nworkers = 2\n[server.listeners.public]\naddress = \"127.0.0.1:0\"\nprobes = \"/-/\"\n\
     [server.listeners.other]\naddress = \"127.0.0.1:0\"\n\
     [app.routes.\"/-/{name}\"]\nrespond = { body = \"app {name}\" }\n";

fn ask(program: &Program, listener: &str, path: &str) -> (u16, String) {
    let answer = Conn::open(program.listener(listener)).get(path);
    (answer.status, answer.text())
}

#[test]
fn probes_are_answered_where_the_settings_say_and_nowhere_else() {
    let program = Program::serve(LISTENERS);
    let ok = (200, "{\"ok\":true}".to_owned());
    assert_eq!(ask(&program, "public", "/-/livez"), ok);
    assert_eq!(ask(&program, "public", "/-/readyz"), ok);
    for (listener, path, name) in [
        ("other", "/-/livez", "livez"),
        ("public", "/-/else", "else"),
        ("public", "/-/livezz", "livezz"),
    ] {
        assert_eq!(
            ask(&program, listener, path),
            (200, format!("app {name}")),
            "{listener} {path}"
        );
    }
    let mut conn = program.connect();
    conn.send(&request("HEAD", "/-/readyz", &[], b""));
    assert_eq!(conn.answer_to_head().status, 200);
    conn.send(&request("POST", "/-/readyz", &[], b""));
    let answer = conn.answer();
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(conn.get("/-/livez?verbose").status, 200);
    let books = program.books();
    books.assert_balanced();
    assert_eq!(books.received, 8, "probes are in the books");
}

#[test]
fn probes_come_and_go_by_reload() {
    let program = Program::serve(LISTENERS);
    let mut conn = program.connect();
    assert_eq!(conn.get("/-/livez").text(), "{\"ok\":true}");
    program.edit(&LISTENERS.replace("probes = \"/-/\"\n", ""));
    program.reload_applied();
    assert_eq!(conn.get("/-/livez").text(), "app livez");
    program.edit(&LISTENERS.replace("probes = \"/-/\"\n", "probes = \"/health/\"\n"));
    program.reload_applied();
    assert_eq!(conn.get("/health/readyz").text(), "{\"ok\":true}");
    for wrong in ["health", "/health", "health/", "/he alth/"] {
        program.edit(&LISTENERS.replace("/-/\"\n[", &format!("{wrong}\"\n[")));
        let (status, attempt) = program.reload();
        assert_eq!(status, 422, "{wrong:?}");
        assert_eq!(
            attempt["errors"][0]["key"],
            "server.listeners.public.probes"
        );
    }
    program.edit(&LISTENERS.replace("/-/\"\n[", "\"\n["));
    program.reload_applied();
    assert_eq!(
        conn.get("/-/livez").text(),
        "app livez",
        "`\"\"` means none"
    );
}

#[test]
fn readyz_says_no_from_the_moment_of_the_stop() {
    let mut program = Program::serve(&format!("[shutdown]\ndelay = \"60s\"\n{LISTENERS}"));
    let mut early = program.connect();
    assert_eq!(early.get("/-/readyz").status, 200);
    assert_eq!(program.post("/stop").status, 202);
    // The answer came after the stop was asked for.
    let late = ask(&program, "public", "/-/readyz");
    assert_eq!(late, (503, "{\"ok\":false}".to_owned()));
    assert_eq!(program.readyz(), 503);
    assert_eq!(ask(&program, "public", "/-/livez").0, 200);
    let answer = early.get("/-/readyz");
    assert_eq!((answer.status, answer.closes()), (503, true));
    program.post("/stop?now=true");
    program.expect_exit(0);
}
