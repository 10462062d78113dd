//! TOML, YAML and JSON alike: what is right, what is wrong, and where.

use super::*;

/// A folder with one file.
fn file(name: &str, text: impl AsRef<[u8]>) -> Folder {
    let folder = Folder::empty();
    folder.write(name, text);
    folder
}

#[test]
fn the_three_formats_say_the_same() {
    let toml = "[server]\nworkers = 3\nkeep_alive = \"1h\"\n[app]\nmessage = \"ä \\\"x\\\"\"\n\
                friends = [\"a\", \"b\"]\nratio = 0.5\nshape = { box = { width = 1, height = 2 } }\n\
                [app.routes.\"/a.b/{n}\"]\nbody = \"1\"\nstatus = 201\n";
    let yaml = "server:\n  workers: 3\n  keep_alive: 1h\napp:\n  message: 'ä \"x\"'\n  friends:\n  \
                - a\n  - b\n  ratio: 0.5\n  shape: {box: {width: 1, height: 2}}\n  routes:\n    \
                /a.b/{n}:\n      body: \"1\"\n      status: 201\n";
    let json = r#"{"server": {"workers": 3, "keep_alive": "1h"}, "app": {"message": "ä \"x\"",
                "friends": ["a", "b"], "ratio": 5e-1, "shape": {"box": {"width": 1, "height": 2}},
                "routes": {"\/a.b\/{n}": {"body": "1", "status": 201}}}}"#;
    let loaded = [
        ("toml", toml),
        ("yaml", yaml),
        ("yml", yaml),
        ("json", json),
    ]
    .map(|(ending, text)| file(&format!("default.{ending}"), text).loaded());
    for other in &loaded {
        assert_eq!(other.tables, loaded[0].tables);
        let digest = |loaded: &Loaded<Demo>| loaded.effective.digest(&no_files());
        assert_eq!(digest(other), digest(&loaded[0]));
    }
}

#[test]
fn each_layer_has_its_own_format() {
    let folder = file(
        "default.yaml",
        "server: {workers: 1}\napp: {message: a, ratio: 1}\n",
    );
    folder.write(
        "prod.json",
        r#"{"server": {"workers": 2}, "app": {"message": "b"}}"#,
    );
    folder.write("local.toml", "server.workers = 3");
    let tables = loaded(&folder.sources().profile("prod")).tables;
    assert_eq!(tables.server.workers, 3);
    assert_eq!(tables.app.message, "b");
    assert_eq!(tables.app.ratio, 1.0);
    assert_eq!(folder.loaded().tables.app.message, "a");
}

#[test]
fn errors_of_yaml_and_json_have_their_places() {
    let folder = file(
        "default.yaml",
        "# ä\nserver:\n  workers: many\n  \"keepalive\": 5s\n  listeners:\n    x: {}\napp:\n  friends: [ä, 2]\n",
    );
    folder.write(
        "local.json",
        "{\n\t\"server\": {\"workers\": -1, \"write_timeout\": \"soon\"},\n \"app\": {\"mesage\": null, \"ratio\": \"x\"}}",
    );
    insta::assert_snapshot!(folder.errors().join("\n"), @r#"
    default.yaml:4:3: server.keepalive: unknown key (did you mean `keep_alive`?)
    default.yaml:6:8: server.listeners.x.address: missing, and there is no default
    default.yaml:8:16: app.friends.1: expected a text, found 2
    local.json:2:24: server.workers: expected a number from 0 to 512, found -1
    local.json:2:45: server.write_timeout: expected a duration above zero, of at most 365 days, such as "250ms", "30s" or "1h", found "soon"
    local.json:3:10: app.mesage: unknown key (did you mean `message`?)
    local.json:3:35: app.ratio: expected a number, found "x"
    "#);
}

#[test]
fn a_syntax_error_is_told_with_its_place_in_each_format() {
    let errors = |name: &str, text: &str| file(name, text).errors().join("\n");
    let bad = [
        ("yaml", "app:\n  message: [a\n"),
        ("yaml", "app:\n  message: \"Aft"),
        ("yaml", "app:\n\tmessage: a\n"),
        ("yaml", "app:\n  message: a\n  message: b\n"),
        ("yaml", "app: *nowhere\n"),
        ("yaml", "app: &a {message: *a}\n"),
        ("yaml", "app: {}\n---\napp: {}\n"),
        ("yaml", "- a\n"),
        ("yaml", "just a text"),
        ("yaml", "app: {ratio: .inf}\n"),
        ("yaml", "? [a, b]\n: c\n"),
        ("yaml", "~: 1\n"),
        ("json", "{\"app\": {\"message\": \"Aft"),
        ("json", "{\"app\": {\"message\": \"a\",}}"),
        ("json", "{\"app\": {\"message\": \"a\"}}\n{}"),
        (
            "json",
            "{\"app\": {\"message\": \"a\",\n \"message\": \"b\"}}",
        ),
        ("json", "app: {message: a}"),
        ("json", "{\"app\": {\"ratio\": 1e400}}"),
        ("json", "[1]"),
        ("json", ""),
        ("toml", "[["),
    ];
    let all: Vec<String> = bad
        .iter()
        .map(|(ending, text)| errors(&format!("default.{ending}"), text))
        .collect();
    insta::assert_snapshot!(all.join("\n"), @r"
    default.yaml:2:12: unclosed bracket '['
    default.yaml:2:12: unclosed quote
    default.yaml:2:2: tabs disallowed within this context (block indentation)
    default.yaml:3:3: duplicate key `message`: the first is at default.yaml:2:3
    default.yaml:1:6: reference to unknown value
    default.yaml:1:19: an alias within what it stands for
    default.yaml:3:1: a second document in one file
    default.yaml:1:1: expected a table
    default.yaml:1:1: expected a table
    default.yaml:1:14: a number that is not finite
    default.yaml:1:3: expected a key that is a text
    default.yaml:1:1: expected a key, found nothing
    default.json:1:24: EOF while parsing a string
    default.json:1:25: trailing comma
    default.json:2:1: trailing characters
    default.json:2:2: duplicate key `message`: the first is at default.json:1:10
    default.json:1:1: expected value
    default.json:1:19: a number that is not finite
    default.json:1:1: expected a table
    default.json:1:1: EOF while parsing a value
    default.toml:1:3: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
    ");
}

#[test]
fn bombs_and_deep_nesting_are_errors_at_once() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{below}]\n");
    }
    let levels = 100_000;
    let deep = [
        ("yaml", bomb),
        ("yaml", "[".repeat(levels)),
        ("yaml", "{a: ".repeat(levels)),
        ("yaml", "- ".repeat(levels)),
        ("yaml", "? ".repeat(levels)),
        (
            "yaml",
            (0..2000)
                .map(|n| format!("{}a:\n", " ".repeat(n)))
                .collect(),
        ),
        (
            "yaml",
            format!("app: {}1{}", "[".repeat(70), "]".repeat(70)),
        ),
        ("json", "[".repeat(levels)),
        ("json", r#"{"a":"#.repeat(levels)),
        (
            "json",
            format!(r#"{{"app": {}1{}}}"#, "[".repeat(70), "]".repeat(70)),
        ),
    ];
    for (ending, text) in deep {
        let errors = file(&format!("default.{ending}"), &text).errors();
        assert!(!errors.is_empty(), "{text:.60}");
        assert!(errors.iter().all(|error| error.len() < 400), "{errors:?}");
    }
}

#[test]
fn numbers_are_exact_or_refused_in_each_format() {
    let loads = |ending: &str, number: &str| {
        let text = match ending {
            "toml" => format!("server.max_connections = {number}"),
            "yaml" => format!("server:\n  max_connections: {number}"),
            _ => format!(r#"{{"server": {{"max_connections": {number}}}}}"#),
        };
        file(&format!("default.{ending}"), text).errors_or_none()
    };
    for ending in ["toml", "yaml", "json"] {
        assert_eq!(loads(ending, "4294967295"), None, "{ending}");
        for number in [
            "4294967296",
            "99999999999999999999",
            "-1",
            "1.5",
            "1.0",
            "1e3",
        ] {
            let error = loads(ending, number).expect(number);
            let found = error.rsplit_once("found ").expect(number).1.to_owned();
            let same = found.parse::<f64>().expect(number) == number.parse::<f64>().expect(number);
            assert!(same && !found.contains('e'), "{ending} {number}: {error}");
        }
        let error = loads(ending, &"9".repeat(50)).expect("too large");
        assert!(error.ends_with("a number that is too large"), "{error}");
    }
}

#[test]
fn what_other_yaml_dialects_take_for_something_else_is_a_text() {
    let text = "app:\n  friends: [no, on, 0755, 1_000, 12:30:00, 2001-01-01, '1', !!str 2]\n";
    let app = file("default.yaml", text).loaded().tables.app;
    let all = [
        "no",
        "on",
        "0755",
        "1_000",
        "12:30:00",
        "2001-01-01",
        "1",
        "2",
    ];
    assert_eq!(app.friends, all);
}

#[test]
fn a_table_with_nothing_in_it_sets_nothing() {
    let folder = file(
        "default.yaml",
        "app:\n  message: a\nserver:\n  # workers: 1\n",
    );
    folder.write("local.yaml", "app:\nserver:\n");
    let tables = folder.loaded().tables;
    assert_eq!(tables.app.message, "a");
    assert_eq!(tables.server, Server::default());
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let text = "app:\n  routes:\n    /a: &one {body: x, status: 201}\n    /b: *one\n    /c: {<<: *one, status: 202}\n";
    let routes = file("default.yaml", text).loaded().tables.app.routes;
    assert_eq!(routes["/b"], routes["/a"]);
    assert_eq!((&*routes["/c"].body, routes["/c"].status), ("x", Some(202)));
}

#[test]
fn two_files_of_one_layer_are_an_error_that_names_both() {
    let folder = Folder::new("");
    folder.write("default.yaml", "");
    let path = folder.0.path().display();
    let errors = folder.errors();
    let expected = format!(
        "default.yaml: is there beside {path}/default.toml, and one of the two must go: a layer \
         has one file"
    );
    assert_eq!(errors, [expected.replace(&format!("{path}/"), "")]);
}

#[test]
fn one_file_is_read_by_its_ending() {
    for (name, text) in [
        ("a.toml", "app.message = 'one'"),
        ("a.yaml", "app: {message: one}"),
        ("a.json", r#"{"app": {"message": "one"}}"#),
    ] {
        let folder = file(name, text);
        let sources = Sources::at(folder.0.path().join(name));
        assert_eq!(loaded(&sources).tables.app.message, "one", "{name}");
    }
    for name in ["a.ini", "a", "a.TOML.bak"] {
        let folder = file(name, "");
        let sources = Sources::at(folder.0.path().join(name));
        let errors = load::<Demo>(&sources, Baseline::Start, soon())
            .expect_err(name)
            .errors;
        let message = "expected a directory, or a file that ends in .toml, .yaml or .json";
        assert_eq!((errors.len(), &*errors[0].message), (1, message), "{name}");
    }
}

#[test]
fn a_layer_that_is_written_anew_in_another_format_must_not_be_empty_either() {
    let folder = Folder::new("app.message = 'a'");
    let facts = folder.loaded().facts;
    fs::remove_file(folder.0.path().join("default.toml")).expect("removed");
    folder.write("default.yaml", "app: {message: a}");
    let after = Baseline::After(&facts);
    load::<Demo>(&folder.sources(), after, soon()).expect("the same layer");
    folder.write("default.yaml", "");
    let errors = folder.errors_after(after);
    assert!(
        errors[0].starts_with("default.yaml: is empty"),
        "{errors:?}"
    );
}
