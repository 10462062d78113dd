//! The effective settings as they are shown: they load again to the same, and say where each value
//! comes from. The schema.

use super::*;

const TEXT: &str = "[server]\nworkers = 3\n[server.listeners.a]\naddress = \"127.0.0.1:1\"\n\
                    [app]\nmessage = \"a \\\"b\\\"\\n\\u007F ü\"\nfriends = [\"x\", \" \"]\nratio = 0.1\n\
                    shape = { box = { width = 1, height = 2 } }\n[app.ports]\n80 = true\n\
                    [app.routes.\"/a.b/{n} \\\"q\\\"\"]\nbody = \"{n}\"\n[app.routes.\"/z\"]\nbody = \"\"\nstatus = 404\n";

#[test]
fn what_is_shown_loads_again_to_the_same() {
    for text in ["", TEXT] {
        let effective = Folder::new(text).loaded().effective;
        let digest = effective.digest(&no_files());
        let json = effective.to_json().to_string();
        let shown = [
            ("toml", effective.to_toml(false)),
            ("toml", effective.to_toml(true)),
            ("json", json.clone()),
            // JSON is YAML, but for a character that only JSON allows.
            ("yaml", json.replace('\u{7f}', "\\x7f")),
        ];
        for (ending, text) in shown {
            let folder = Folder::empty();
            folder.write(&format!("default.{ending}"), &text);
            let again = folder.loaded().effective;
            assert_eq!(again.digest(&no_files()), digest, "{text}");
        }
    }
}

#[test]
fn each_value_says_where_it_comes_from() {
    let folder = Folder::new("[server]\nworkers = 3\n[app]\nfriends = [\"x\"]\n");
    folder.write("local.yaml", "app:\n  routes:\n    /a: {body: b}\n");
    let variables = [("DEMO__APP__RATIO".into(), "0.5".into())];
    let sources = folder
        .sources()
        .variables("DEMO", variables)
        .set("app.message", "m");
    let effective = loaded(&sources).effective;
    let path = format!("{}/", folder.0.path().display());
    let origins = effective.origins();
    let origin = |key: &str| origins[key].replace(&path, "");
    assert_eq!(origin("server.workers"), "default.toml:2:11");
    assert_eq!(origin("app.friends"), "default.toml:4:11");
    assert_eq!(origin("app.routes.\"/a\".body"), "local.yaml:3:16");
    assert_eq!(origin("app.ratio"), "DEMO__APP__RATIO");
    assert_eq!(origin("app.message"), "--set");
    assert_eq!(origin("server.keep_alive"), "default");
    let toml = effective.to_toml(true).replace(&path, "");
    for line in [
        "workers = 3  # default.toml:2:11",
        "keep_alive = \"1m 15s\"  # default",
        "[app.routes.\"/a\"]",
        "body = \"b\"  # local.yaml:3:16",
        "ratio = 0.5  # DEMO__APP__RATIO",
    ] {
        assert!(toml.lines().any(|known| known == line), "{line} in\n{toml}");
    }
}

#[test]
fn the_schema_has_docs_and_defaults_and_forbids_unknown_keys() {
    let schema = schema::<Demo>();
    assert_eq!(schema["title"], "Settings of demo");
    let at = |pointer: &str| schema.pointer(pointer).cloned().unwrap_or_default();
    let keep_alive = at("/$defs/Server/properties/keep_alive");
    assert!(
        keep_alive["description"]
            .as_str()
            .is_some_and(|text| text.contains("75s"))
    );
    assert_eq!(keep_alive["default"], "1m 15s");
    assert_eq!(at("/$defs/Server/properties/workers/maximum"), 512);
    for table in [
        "/$defs/Server",
        "/$defs/Route",
        "/$defs/Demo",
        "/$defs/Listener",
        "",
    ] {
        assert_eq!(
            at(&format!("{table}/additionalProperties")),
            false,
            "{table}"
        );
    }
    assert_eq!(
        at("/$defs/Demo/properties/routes/additionalProperties/$ref"),
        "#/$defs/Route"
    );
}

#[test]
fn the_same_texts_are_told_from_those_in_which_something_has_moved() {
    let folder = Folder::new(TEXT);
    let load = |message: &str| loaded(&folder.sources().set("app.message", message)).effective;
    let effective = load("m");
    assert!(load("m").has_texts_of(&effective));
    folder.write("default.toml", ["\n", TEXT].concat());
    assert!(!load("m").has_texts_of(&effective));
    folder.write("default.toml", TEXT);
    assert!(load("m").has_texts_of(&effective));
    folder.write("local.yaml", "# nothing");
    assert!(!load("m").has_texts_of(&effective));
}
