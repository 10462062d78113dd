//! `GET /config`: what is served, and where it comes from.
use super::TEXT;
use crate::support::{Conn, Program, request};

#[test]
fn the_settings_that_are_served_are_shown_with_their_digest() {
    let program = Program::serve(TEXT);
    let digest = program.status()["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let answer = program.admin_ask("GET", "/config", &[]);
    assert_eq!(
        answer.header("etag"),
        Some(format!("\"{digest}\"").as_str())
    );
    let shown = answer.json();
    assert_eq!(shown["app"]["message"], "here");
    assert_eq!(
        shown["shutdown"]["timeout"], "25s",
        "defaults are settings too"
    );
    program.edit(&TEXT.replace("here", "not read yet"));
    assert_eq!(program.admin_ask("GET", "/config", &[]).json(), shown);
    program.reload_applied();
    let after = program.admin_ask("GET", "/config", &[]).json();
    assert_eq!(after["app"]["message"], "not read yet");
    assert_eq!(program.post("/rollback?generation=1").status, 200);
    assert_eq!(program.admin_ask("GET", "/config", &[]).json(), shown);
}

#[test]
fn who_has_the_settings_already_is_told_so() {
    let program = Program::serve(TEXT);
    let tag = program.admin_ask("GET", "/config", &[]);
    let tag = tag.header("etag").expect("a tag").to_owned();
    for known in [
        tag.as_str(),
        "*",
        &format!("W/{tag}"),
        &format!("\"a\", {tag}"),
    ] {
        let answer = program.admin_ask("GET", "/config", &[("If-None-Match", known)]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
    }
    let other = [("If-None-Match", "\"sha256:0\"")];
    assert_eq!(program.admin_ask("GET", "/config", &other).status, 200);
    let mut conn = Conn::open(program.admin());
    conn.send(&request("HEAD", "/config", &[], b""));
    assert_eq!(conn.answer_to_head().header("etag"), Some(tag.as_str()));
}

#[test]
fn origins_are_those_of_the_newest_reading() {
    let program = Program::serve(TEXT);
    let origins = || program.admin_ask("GET", "/config?origin=true", &[]).json();
    let shown = origins();
    assert_eq!(
        shown["settings"],
        program.admin_ask("GET", "/config", &[]).json()
    );
    assert_eq!(
        shown["origins"]["app.message"],
        "settings/default.toml:4:11"
    );
    assert_eq!(
        shown["origins"]["shutdown.timeout"], "default",
        "what no source says"
    );
    program.edit(&format!("# a comment\n{TEXT}"));
    assert_eq!(program.reload().1["outcome"], "unchanged");
    assert_eq!(
        origins()["origins"]["app.message"],
        "settings/default.toml:5:11"
    );
}
