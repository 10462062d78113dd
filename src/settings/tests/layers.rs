//! Profiles, variables and `--set`: what wins, how keys and values are read, what is shadowed.

use super::*;
use std::ffi::OsString;

/// Variables of a service whose prefix is `DEMO`.
fn with(sources: Sources, variables: &[(&str, &str)]) -> Sources {
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    sources.variables("DEMO", variables)
}

fn errors(sources: &Sources) -> String {
    let errors = load::<Demo>(sources, Baseline::Start, soon())
        .expect_err("wrong settings")
        .errors;
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn later_layers_win() {
    let folder = Folder::new("[server]\nworkers = 1\n[app]\nmessage = \"default\"\nratio = 1");
    folder.write("prod.toml", "server.workers = 2\napp.message = \"prod\"");
    let message = |sources: &Sources| loaded(sources).tables.app.message;
    assert_eq!(message(&folder.sources()), "default");
    let sources = folder.sources().profile("prod");
    assert_eq!(message(&sources), "prod");
    folder.write("local.toml", "app.message = \"local\"");
    assert_eq!(message(&sources), "local");
    let sources = with(sources, &[("DEMO__APP__MESSAGE", "variable")]);
    assert_eq!(message(&sources), "variable");
    let sources = sources.set("app.message", "set");
    assert_eq!(message(&sources), "set");
    let tables = loaded(&sources).tables;
    assert_eq!((tables.server.workers, tables.app.ratio), (2, 1.0));
}

#[test]
fn a_profile_that_is_not_there_is_an_error() {
    let folder = Folder::new("");
    let path = folder.0.path().display().to_string();
    assert_eq!(
        errors(&folder.sources().profile("prod")),
        format!(
            "the profile \"prod\" has no file: expected prod.toml, prod.yaml or prod.json in {path}"
        )
    );
    for name in ["", "default", "local", "../prod", "a/b", ".prod", "a\0b"] {
        folder.write("prod.toml", "");
        let found = errors(&folder.sources().profile(name));
        assert!(
            found.starts_with("expected a profile's name of "),
            "{found}"
        );
    }
    let file = folder.0.path().join("default.toml");
    for sources in [Sources::builtin(), Sources::at(file)] {
        let found = errors(&sources.profile("prod"));
        assert_eq!(found, "the profile \"prod\" needs a settings directory");
    }
}

#[test]
fn variables_are_matched_to_keys_whatever_their_case() {
    let folder = Folder::new("server.keep_alive = \"1s\"");
    let sources = with(
        folder.sources(),
        &[
            ("DEMO__SERVER__WORKERS", "4"),
            ("DEMO__server__Keep_Alive", "2s"),
            ("DEMO__SERVER__LISTENERS__MAIN__ADDRESS", "127.0.0.1:1"),
            ("DEMO__APP__ROUTES__/a.B/{n}[0]__BODY", "b"),
            ("DEMO__APP__ROUTES__/a.B/{n}[0]__STATUS", "201"),
            ("DEMO__APP__PORTS__80", "true"),
            ("DEMO__APP__SHAPE__BOX", "{ width = 1, height = 2 }"),
            ("DEMO_PROFILE", "nobody's"),
            ("DEMO_PORT_8081_TCP", "a container's"),
            ("DEMOS__SERVER__WORKERS", "another's"),
        ],
    );
    let Tables { server, app, .. } = loaded(&sources).tables;
    assert_eq!((server.workers, server.keep_alive.as_secs()), (4, 2));
    assert_eq!(server.listeners.keys().collect::<Vec<_>>(), ["main"]);
    let route = &app.routes["/a.B/{n}[0]"];
    assert_eq!((&*route.body, route.status), ("b", Some(201)));
    assert_eq!(app.ports, BTreeMap::from([(80, true)]));
    let (width, height) = (1, 2);
    assert_eq!(app.shape, Some(Shape::Box { width, height }));
}

#[test]
fn a_text_becomes_what_is_wanted() {
    let folder =
        Folder::new("app.friends = [\"x\"]\n[app.routes.\"/a\"]\nbody = \"a\"\nstatus = 200");
    let sources = folder
        .sources()
        .set("app.friends", "[\"1\", \"{b}\"]")
        .set("app.message", "[1, {x}]")
        .set("app.ratio", "1e-1")
        .set("app.ports", "{ 80 = true, 81 = false }")
        .set("app.colour", "green")
        .set("app.routes.\"/a.b\"", "{ body = \"[2]\" }")
        .set("app.routes.\"/a\"", "{ body = \"new\" }")
        .set("app.routes.\"/a.b\".status", "404");
    let app = loaded(&sources).tables.app;
    assert_eq!(app.friends, ["1", "{b}"]);
    assert_eq!(app.message, "[1, {x}]");
    assert_eq!(app.ratio, 0.1);
    assert_eq!(app.ports, BTreeMap::from([(80, true), (81, false)]));
    assert_eq!(app.colour, Colour::Green);
    let route = |key: &str| (&*app.routes[key].body, app.routes[key].status);
    assert_eq!(route("/a.b"), ("[2]", Some(404)));
    // A table merges, whoever brings it.
    assert_eq!(route("/a"), ("new", Some(200)));
}

#[test]
fn what_is_wrong_with_a_variable_or_an_override_names_it() {
    use std::os::unix::ffi::OsStringExt;
    let sources = with(
        Sources::builtin()
            .set("app.friends", "[1]")
            .set("app..x", "1"),
        &[
            ("DEMO__SERVER__WORKERS", "many"),
            ("DEMO__server__WORKERS", "4"),
            ("DEMO__SERVER__WROKERS", "4"),
            ("DEMO__APP____X", "4"),
            ("DEMO__", "4"),
            ("DEMO__APP__FRIENDS", "[1,"),
            (
                "DEMO__APP__ROUTES",
                "{ \"/a\" = { bdy = \"x\", body = 1 } }",
            ),
            ("DEMO__SERVER__LISTENERS__A b__ADDRESS", "127.0.0.1:1"),
        ],
    );
    insta::assert_snapshot!(errors(&sources), @r#"
    DEMO__: expected keys with `__` between them
    DEMO__APP____X: expected keys with `__` between them
    DEMO__server__WORKERS: sets the same as DEMO__SERVER__WORKERS
    DEMO__APP__ROUTES: app.routes."/a".body: expected a text, found 1
    DEMO__APP__ROUTES: app.routes."/a".bdy: unknown key (did you mean `body`?)
    DEMO__SERVER__LISTENERS__A b__ADDRESS: server.listeners."A b": expected a listener's name of at most 64 characters from a-z, 0-9, - and _, found "A b"
    DEMO__SERVER__WORKERS: server.workers: expected a number from 0 to 512, found "many"
    DEMO__SERVER__WROKERS: server.wrokers: unknown key (did you mean `workers`?)
    --set: expected a dotted key, found "app..x"
    --set: app.friends.0: expected a text, found 1
    "#);
    assert_eq!(
        errors(&Sources::builtin().set("app.friends", "[1,")),
        "--set: app.friends: expected a list, found a text that is no table or list in TOML"
    );
    // Neither may vanish beneath the other, and take what the files say with it.
    let sources = with(
        Sources::builtin().set("logging", "[1]"),
        &[("DEMO__SERVER", "3"), ("DEMO__SERVER__WORKERS", "2")],
    );
    insta::assert_snapshot!(errors(&sources), @r"
    DEMO__SERVER: server: expected a table, found a text that is no table in TOML
    --set: logging: expected a table, found a list
    ");
    assert_eq!(
        errors(&Sources::builtin().set("server.workers", "600")),
        "--set: server.workers: expected a number from 0 to 512, found 600"
    );
    let bytes = OsString::from_vec(vec![b'a', 0xff]);
    let sources = Sources::builtin().variables("DEMO", [("DEMO__APP__MESSAGE".into(), bytes)]);
    assert_eq!(errors(&sources), "DEMO__APP__MESSAGE: expected UTF-8");
}

#[test]
fn near_misses_of_own_variables_are_warnings_and_those_of_others_are_not_looked_at() {
    let warned = |names: &[&str]| -> Vec<String> {
        let variables: Vec<_> = names.iter().map(|name| (*name, "4")).collect();
        let warnings = loaded(&with(Sources::builtin(), &variables)).warnings;
        warnings.iter().map(ToString::to_string).collect()
    };
    let near = [
        ("DEMO_SERVER_WORKERS", "DEMO__SERVER__WORKERS"),
        ("DEMO_SERVER__WORKERS", "DEMO__SERVER__WORKERS"),
        ("DEMO_LOGGING_MAX_SIZE", "DEMO__LOGGING__MAX_SIZE"),
        (
            "DEMO_SERVER_LISTENERS_MAIN_ONE_ADDRESS",
            "DEMO__SERVER__LISTENERS__MAIN_ONE__ADDRESS",
        ),
        (
            "DEMO_server_listeners_a_tls_key",
            "DEMO__server__listeners__a__tls__key",
        ),
        ("DEMO_APP_ROUTES_/a_BODY", "DEMO__APP__ROUTES__/a__BODY"),
        ("DEMO_APP_PORTS_80", "DEMO__APP__PORTS__80"),
        ("DEMO_PROFIL", "DEMO_PROFILE"),
        ("DEMO_PRFOILE", "DEMO_PROFILE"),
    ];
    for (name, meant) in near {
        let told = format!("{name}: sets nothing (did you mean `{meant}`?)");
        assert_eq!(warned(&[name]), [told]);
    }
    let others = [
        "AWS_PROFILE",
        "EMO_PROFILE",
        "DEMO_PROFILE",
        "DEMOS_SERVER_WORKERS",
        "DEMO_TWO__SERVER__WORKERS",
        "DEMO_SERVER_PORT",
        "DEMO_SERVER_SERVICE_HOST",
        "DEMO_PORT_8081_TCP",
        "DEMO_SERVER",
        "DEMO_SERVER_LISTENERS",
        "DEMO_",
        "DEMO_VERSION",
    ];
    assert_eq!(warned(&others), [""; 0]);
    let long = format!("DEMO_SERVER_LISTENERS{}", "_a".repeat(10_000));
    assert_eq!(warned(&[&long]), [""; 0]);
}

#[test]
fn keys_that_look_like_paths_are_keys() {
    let sources = Sources::builtin()
        .set("app.routes.a[4000000000].body", "a")
        .set("app.routes.\"{b}.c\".body", "b");
    let sources = with(sources, &[("DEMO__APP__ROUTES__C[4000000000]__BODY", "c")]);
    let routes = loaded(&sources).tables.app.routes;
    let keys: Vec<&String> = routes.keys().collect();
    assert_eq!(keys, ["C[4000000000]", "a[4000000000]", "{b}.c"]);
}

#[test]
fn a_change_that_a_variable_or_an_override_hides_is_told() {
    let folder = Folder::new("[app]\nmessage = \"a\"\nfriends = [\"a\"]\nratio = 1\n");
    let sources = with(folder.sources(), &[("DEMO__APP__MESSAGE", "v")])
        .set("app.friends", "[]")
        .set("server.workers", "1");
    let before = loaded(&sources).effective;
    folder.write(
        "default.toml",
        "[app]\nmessage = \"b\"\nfriends = [\"a\"]\nratio = 2\n",
    );
    folder.write("local.toml", "[server]\nworkers = 3\n");
    let after = loaded(&sources).effective;
    let lines = |from: &Effective, to: &Effective| -> Vec<String> {
        let path = format!("{}/", folder.0.path().display());
        let line = |it: &Shadowed| format!("{} {} {}", it.key, it.origin, it.by).replace(&path, "");
        shadowed(from, to).iter().map(line).collect()
    };
    assert_eq!(
        lines(&before, &after),
        [
            "app.message default.toml:2:11 DEMO__APP__MESSAGE",
            "server.workers local.toml:2:11 --set",
        ]
    );
    assert_eq!(lines(&after, &after), [""; 0]);
    let keys: Vec<String> = changes(&before, &after)
        .told
        .into_iter()
        .map(|it| it.key)
        .collect();
    assert_eq!(keys, ["app.ratio"]);
}

#[test]
fn what_is_written_starts_at_the_directories_that_systemd_gives() {
    use std::path::{Path, PathBuf};
    let given = with(
        Sources::builtin(),
        &[
            ("LOGS_DIRECTORY", "/var/log/a:/b"),
            ("STATE_DIRECTORY", "/state"),
        ],
    );
    let written = |what, path: &str| given.written(what, Path::new(path));
    assert_eq!(written(Written::Logs, "x"), PathBuf::from("/var/log/a/x"));
    assert_eq!(written(Written::Logs, "/x"), PathBuf::from("/x"));
    assert_eq!(written(Written::State, "x"), PathBuf::from("/state/x"));
    assert_eq!(written(Written::Runtime, "x"), PathBuf::from("x"));
}

#[test]
fn a_file_that_has_not_changed_is_not_parsed_again() {
    let folder =
        Folder::new("app.message = \"a\"\n[app.routes.\"/x\"]\nbody = \"x\"\nstatus = 201\n");
    folder.write("local.toml", "app.routes.\"/y\".body = \"y\"");
    let before = folder.loaded();
    let text = |loaded: &Loaded<Demo>, index: usize| loaded.facts.files[index].text.clone();
    let after = |before: &Loaded<Demo>| {
        let after = Baseline::After(&before.facts);
        load::<Demo>(&folder.sources(), after, soon()).expect("right settings")
    };
    folder.write("local.toml", "app.routes.\"/x\".status = 203");
    let now = after(&before);
    assert!(Arc::ptr_eq(&text(&now, 0), &text(&before, 0)));
    assert!(!Arc::ptr_eq(&text(&now, 1), &text(&before, 1)));
    let fresh = folder.loaded();
    assert_eq!(now.tables, fresh.tables);
    assert_eq!(now.effective.origins(), fresh.effective.origins());
    // What was merged over it has not changed the file's own values.
    fs::remove_file(folder.0.path().join("local.toml")).expect("removed");
    let now = after(&now);
    assert_eq!(now.tables.app.routes["/x"].status, Some(201));
    assert!(!now.tables.app.routes.contains_key("/y"));
    // A file that comes before it makes it another source.
    folder.write("default.yaml", "app: {}");
    fs::rename(
        folder.0.path().join("default.toml"),
        folder.0.path().join("local.toml"),
    )
    .expect("renamed");
    let (now, fresh) = (after(&now), folder.loaded());
    assert_eq!(now.effective.origins(), fresh.effective.origins());
}
