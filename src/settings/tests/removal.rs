//! What a later layer takes away: `null` and `{ unset = true }`, keys that exclude each other, and
//! what is required all the same.

use super::*;
use crate::site::Site;
use std::ffi::OsString;

const LISTENERS: &str = "[server.listeners.a]\naddress = \"127.0.0.1:1\"\nprobes = \"/-/\"\n\
                         tls = { certificate = \"c\", key = \"k\" }\n\
                         [server.listeners.b]\naddress = \"127.0.0.1:2\"\n";

/// The settings with this `default.toml`, and a `local` file in a format.
fn layered(default: &str, ending: &str, local: &str) -> Loaded<Site> {
    let folder = Folder::new(default);
    folder.write(&format!("local.{ending}"), local);
    site(&folder.sources())
}

fn site(sources: &Sources) -> Loaded<Site> {
    load(sources, Baseline::Start, soon()).expect("right settings")
}

#[test]
fn a_later_layer_removes_what_an_earlier_one_sets_in_each_format() {
    for (ending, text) in [
        (
            "toml",
            "[server]\nworkers = { unset = true }\n[server.listeners.a]\nprobes.unset = true\n\
             [server.listeners.a.tls]\nunset = true\n[server.listeners.b]\nunset = true\n\
             [shutdown]\nunset = true\n[app.routes.\"/x\"]\nunset = true\n",
        ),
        (
            "yaml",
            "server:\n  workers: null\n  listeners:\n    a: {probes: null, tls: ~}\n    b: null\n\
             shutdown: null\napp:\n  routes:\n    /x: ~\n",
        ),
        (
            "json",
            r#"{"server": {"workers": null, "listeners": {"a": {"probes": null, "tls": null},
            "b": null}}, "shutdown": null, "app": {"routes": {"/x": null}}}"#,
        ),
    ] {
        let default = format!(
            "server.workers = 3\nshutdown.timeout = \"1s\"\n{LISTENERS}\
             [app.routes.\"/x\"]\nredirect = \"/y\"\n[app.routes.\"/z\"]\nredirect = \"/y\"\n"
        );
        let Loaded {
            tables, effective, ..
        } = layered(&default, ending, text);
        assert_eq!(tables.server.workers, 0, "{ending}");
        assert_eq!(tables.shutdown, Shutdown::default(), "{ending}");
        let listeners: Vec<_> = tables.server.listeners.keys().collect();
        assert_eq!(listeners, ["a"], "{ending}");
        let listener = &tables.server.listeners["a"];
        assert_eq!(
            (&listener.tls, &listener.probes),
            (&None, &None),
            "{ending}"
        );
        let json = effective.to_json();
        let routes = json["app"]["routes"].as_object().expect("a table");
        assert_eq!(routes.keys().collect::<Vec<_>>(), ["/z"], "{ending}");
        // What is in force is the default, whoever made room for it.
        let origins = effective.origins();
        for key in ["server.workers", "shutdown.timeout"] {
            assert_eq!(origins[key], "default", "{ending}: {key}");
        }
        let again = Folder::new(&effective.to_toml(true));
        assert_eq!(site(&again.sources()).effective.to_json(), json, "{ending}");
    }
}

#[test]
fn the_last_listener_that_is_removed_makes_room_for_the_built_in_one() {
    let tables = layered(LISTENERS, "yaml", "server: {listeners: null}").tables;
    assert_eq!(tables.server.listeners, Server::default().listeners);
}

#[test]
fn what_is_removed_may_be_set_anew_by_a_later_layer() {
    let folder = Folder::new(LISTENERS);
    folder.write("prod.yaml", "server: {listeners: {a: null}}");
    folder.write("local.toml", "server.listeners.a.address = \"127.0.0.1:3\"");
    let listener = &site(&folder.sources().profile("prod"))
        .tables
        .server
        .listeners["a"];
    assert_eq!(listener.address.to_string(), "127.0.0.1:3");
    assert_eq!((&listener.tls, &listener.probes), (&None, &None));
}

#[test]
fn a_variable_and_an_override_remove_too_and_hide_what_files_say() {
    let folder = Folder::new(&format!("{LISTENERS}[app]\nmessage = \"a\"\n"));
    let name = OsString::from("EVERUP__SERVER__LISTENERS__A__TLS");
    let sources = folder
        .sources()
        .variables("EVERUP", [(name, OsString::from("{ unset = true }"))])
        .set("server.listeners.b", "{ unset = true }")
        .set("app.message", "{unset=true}");
    let before = site(&sources);
    let listeners = &before.tables.server.listeners;
    assert_eq!(listeners.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(listeners["a"].tls, None);
    assert_eq!(
        before.effective.to_json()["app"]["message"],
        "Before hot reload"
    );
    folder.write(
        "default.toml",
        LISTENERS.replace("\"k\"", "\"l\"").replace(":2", ":4"),
    );
    let hidden = shadowed(&before.effective, &site(&sources).effective);
    let by: Vec<_> = hidden.iter().map(|it| (&*it.key, &*it.by)).collect();
    assert_eq!(
        by,
        [
            (
                "server.listeners.a.tls",
                "EVERUP__SERVER__LISTENERS__A__TLS"
            ),
            ("server.listeners.b", "--set"),
        ]
    );
}

#[test]
fn what_is_removed_is_a_change_to_the_default_or_to_nothing() {
    let folder = Folder::new(&format!("server.workers = 3\n{LISTENERS}"));
    let before = site(&folder.sources()).effective;
    folder.write(
        "local.yaml",
        "server:\n  workers: null\n  listeners:\n    a: {probes: null}\n",
    );
    let told = changes(&before, &site(&folder.sources()).effective).told;
    let lines = told
        .iter()
        .map(|it| format!("{} {} {} {:?}", it.key, it.from, it.to, it.origin));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            r#"server.listeners.a.probes "/-/" null None"#,
            "server.workers 3 0 None",
        ]
    );
}

#[test]
fn what_is_required_and_removed_is_missing_and_what_is_unknown_stays_so() {
    let folder = Folder::new(LISTENERS);
    folder.write(
        "local.yaml",
        "server:\n  listeners:\n    a: {address: null, adress: null}\n",
    );
    assert_eq!(
        folder.errors(),
        [
            "local.yaml:3:9: server.listeners.a.address: removed, and there is no default",
            "local.yaml:3:24: server.listeners.a.adress: unknown key (did you mean `address`?)",
        ]
    );
}

#[test]
fn null_within_a_value_of_any_form_is_data() {
    let route =
        |json: &str| format!("{{\"app\": {{\"routes\": {{\"/\": {{\"respond\": {json}}}}}}}}}");
    let folder = Folder::empty();
    folder.write(
        "default.json",
        route(r#"{"json": {"a": null, "b": [null], "c": {"unset": true}}}"#),
    );
    let effective = site(&folder.sources()).effective;
    let json = &effective.to_json()["app"]["routes"]["/"]["respond"]["json"];
    assert_eq!(
        json.to_string(),
        r#"{"a":null,"b":[null],"c":{"unset":true}}"#
    );
    let origin = &effective.origins()["app.routes.\"/\".respond.json.a"];
    assert!(origin.contains("default.json:1:"), "{origin}");
}

#[test]
fn a_key_with_nothing_behind_it_sets_nothing_over_a_table_and_is_warned_of() {
    let folder = Folder::new(&format!("server.workers = 3\n{LISTENERS}"));
    folder.write(
        "local.yaml",
        "server:\n  # workers: 1\n  listeners:\n    a:\n      tls:\n      probes:\n",
    );
    let loaded = site(&folder.sources());
    let listener = &loaded.tables.server.listeners["a"];
    assert!(listener.tls.is_some(), "null, written out, would remove it");
    assert_eq!(listener.probes, None);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    let told = "local.yaml:5:7: server.listeners.a.tls: nothing stands behind this key, so it sets \
                nothing (`null` removes what earlier layers set)";
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].ends_with(told), "{warnings:?}");
}

/// The route `/` with these layers, as JSON.
fn route(layers: &[&str]) -> serde_json::Value {
    let folder = Folder::empty();
    for (name, text) in ["default", "prod", "local"].iter().zip(layers) {
        folder.write(
            &format!("{name}.toml"),
            format!("[app.routes.\"/{{p}}*\"]\n{text}\n"),
        );
    }
    let sources = folder.sources();
    let sources = if layers.len() > 1 {
        sources.profile("prod")
    } else {
        sources
    };
    site(&sources).effective.to_json()["app"]["routes"]["/{p}*"].clone()
}

#[test]
fn a_later_layer_gives_a_route_another_action() {
    let respond = "respond = { status = 201, body = \"a\" }\nmethods = [\"GET\"]";
    let redirected = route(&[respond, "redirect = \"/b\"\nstatus = 307"]);
    assert_eq!(
        redirected,
        serde_json::json!({"redirect": "/b", "status": 307, "methods": ["GET"]})
    );
    let files = route(&["redirect = \"/b\"\nstatus = 307", "files = \"public\""]);
    assert_eq!(files, serde_json::json!({"files": "public"}));
    // What a layer between has replaced is gone.
    let again = route(&[respond, "redirect = \"/b\"", "respond = { body = \"c\" }"]);
    assert_eq!(
        (&again["respond"]["status"], &again["respond"]["body"]),
        (&200.into(), &"c".into())
    );
    assert_eq!(again.get("redirect"), None);
    let body = route(&[
        "respond = { body = \"a\", status = 201 }",
        "respond.json = [1]",
    ]);
    assert_eq!(body["respond"].get("body"), None);
    assert_eq!(body["respond"]["status"], 201);
}

#[test]
fn an_override_gives_a_route_another_action_and_hides_the_files_one() {
    let folder = Folder::new("[app.routes.\"/a\"]\nrespond = { body = \"a\" }\n");
    let sources = folder.sources().set("app.routes.\"/a\".redirect", "/b");
    let before = site(&sources).effective;
    let route = &before.to_json()["app"]["routes"]["/a"];
    assert_eq!(*route, serde_json::json!({"redirect": "/b"}));
    folder.write(
        "default.toml",
        "[app.routes.\"/a\"]\nrespond = { body = \"c\" }\n",
    );
    let hidden = shadowed(&before, &site(&sources).effective);
    let by: Vec<_> = hidden.iter().map(|it| (&*it.key, &*it.by)).collect();
    assert_eq!(by, [("app.routes.\"/a\".respond", "--set")]);
}

#[test]
fn two_variables_that_exclude_each_other_are_an_error() {
    let name = |key: &str| OsString::from(format!("EVERUP__APP__ROUTES__/A__{key}"));
    let variables = [
        (name("REDIRECT"), "/b".into()),
        (name("RESPOND__BODY"), "b".into()),
    ];
    let sources = Sources::builtin().variables("EVERUP", variables);
    let errors = load::<Site>(&sources, Baseline::Start, soon()).expect_err("two actions");
    let told = errors.errors[0].to_string();
    assert!(told.contains("found `respond` and `redirect`"), "{told}");
}

#[test]
fn a_later_layer_gives_an_enum_and_a_secret_another_form() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Forms {
        shape: Option<super::Shape>,
        password: Secret,
    }

    impl Settings for Forms {
        const NAME: &'static str = "forms";
        type State = ();
        async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
            Ok(())
        }
    }

    let folder = Folder::new(
        "[app]\nshape = { box = { width = 1, height = 2 } }\npassword = { env = \"A\" }\n",
    );
    folder.write(
        "local.toml",
        "[app]\nshape.circle = 3\npassword.file = \"b\"\n",
    );
    folder.write("b", "hunter2");
    let loaded = load::<Forms>(&folder.sources(), Baseline::Start, soon()).expect("another form");
    assert_eq!(loaded.tables.app.shape, Some(super::Shape::Circle(3)));
    assert_eq!(loaded.tables.app.password.expose(), "hunter2");
}

#[test]
fn a_key_without_a_default_is_required_also_where_its_table_is_not_there() {
    #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
    struct Strict {
        url: String,
    }

    impl Settings for Strict {
        const NAME: &'static str = "strict";
        type State = ();
        async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
            Ok(())
        }
    }

    #[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
    struct Nothing;

    impl Settings for Nothing {
        const NAME: &'static str = "nothing";
        type State = ();
        async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
            Ok(())
        }
    }

    let removed = Folder::new("app.url = \"u\"");
    removed.write("local.yaml", "app: null");
    for sources in [
        Sources::builtin(),
        Folder::new("[server]\n").sources(),
        removed.sources(),
    ] {
        // The folder in the middle is gone by now, which the load does not hide.
        let Err(not) = load::<Strict>(&sources, Baseline::Forced, soon()) else {
            panic!("a key is missing");
        };
        let told: Vec<_> = not.errors.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["app.url: missing, and there is no default"]);
    }
    load::<Nothing>(&Sources::builtin(), Baseline::Start, soon()).expect("nothing is required");
}

#[test]
fn an_error_that_comes_of_two_layers_names_both_places() {
    let listener = "[server.listeners.a]\naddress = \"127.0.0.1:1\"\n";
    let both = |default: &str, local: &str| {
        let folder = Folder::new(default);
        folder.write("local.toml", local);
        let errors = load::<Site>(&folder.sources(), Baseline::Start, soon()).expect_err("wrong");
        let path = format!("{}/", folder.0.path().display());
        let told: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
        told.join("\n").replace(&path, "")
    };
    let tls = "tls = { certificate = \"c\", key = \"k\" }";
    let told = both(
        &format!("{listener}h2c = true\n"),
        &format!("[server.listeners.a]\n{tls}\n"),
    );
    assert!(
        told.starts_with("default.toml:3:7: server.listeners.a.h2c: "),
        "{told}"
    );
    assert!(
        told.ends_with(" (`server.listeners.a.tls` stands at local.toml:2:7)"),
        "{told}"
    );
    assert_eq!(
        both(listener, "server.listeners.b.address = \"127.0.0.1:1\""),
        "local.toml:1:30: server.listeners.b.address: 127.0.0.1:1 is the address of \
         server.listeners.a.address already (`server.listeners.a.address` stands at \
         default.toml:2:11)"
    );
    let route = "[app.routes.\"/a\"]\n";
    assert_eq!(
        both(
            &format!("{route}methods = [\"GET\"]\n"),
            &format!("{route}status = 307\n")
        )
        .lines()
        .next(),
        Some(
            "default.toml:1:1: app.routes.\"/a\": expected exactly one of `respond`, `redirect` and \
             `files`, found none (part of it stands at local.toml:2:1)"
        )
    );
}
