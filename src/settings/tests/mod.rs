//! The whole way from files to typed settings, as an operator meets it.

mod errors;
mod formats;
mod laws;
mod layers;
mod reference;
mod removal;
mod secrets;
mod shown;
mod size;

use super::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Demo {
    message: String,
    friends: Vec<String>,
    ratio: f32,
    colour: Colour,
    shape: Option<Shape>,
    ports: BTreeMap<u16, bool>,
    routes: BTreeMap<String, Route>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Colour {
    #[default]
    Red,
    Green,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Point,
    Circle(u32),
    Box { width: u32, height: u32 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Route {
    body: String,
    #[serde(default)]
    status: Option<u16>,
}

impl Settings for Demo {
    const NAME: &'static str = "demo";
    type State = ();
    fn check(&self, found: &mut Findings) {
        if self.message == "bad" {
            found.at("message", "a good text");
        }
        for (index, friend) in self.friends.iter().enumerate() {
            if friend.is_empty() {
                found.at(&format!("friends.{index}"), "a name");
            }
        }
    }
    async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

struct Folder(TempDir);

impl Folder {
    fn new(default: &str) -> Folder {
        let folder = Folder::empty();
        folder.write("default.toml", default);
        folder
    }

    fn empty() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.path().join(name), text).expect("written");
    }

    fn sources(&self) -> Sources {
        Sources::at(self.0.path())
    }

    /// The errors of a load, with paths as from within the folder.
    fn errors(&self) -> Vec<String> {
        self.errors_after(Baseline::Start)
    }

    fn errors_after(&self, baseline: Baseline<'_>) -> Vec<String> {
        let errors = load::<Demo>(&self.sources(), baseline, soon())
            .expect_err("wrong settings")
            .errors;
        let prefix = format!("{}/", self.0.path().display());
        errors
            .iter()
            .map(|error| error.to_string().replace(&prefix, ""))
            .collect()
    }

    /// The one error of a load, if there is any.
    fn errors_or_none(&self) -> Option<String> {
        let errors = load::<Demo>(&self.sources(), Baseline::Start, soon())
            .err()?
            .errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        Some(errors[0].to_string())
    }

    fn loaded(&self) -> Loaded<Demo> {
        loaded(&self.sources())
    }
}

fn loaded(sources: &Sources) -> Loaded<Demo> {
    load(sources, Baseline::Start, soon()).expect("right settings")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn no_files() -> ReadFiles {
    Build::new(Default::default()).files_read()
}

#[test]
fn no_source_gives_the_defaults() {
    let loaded = loaded(&Sources::builtin());
    assert_eq!(loaded.tables, Tables::default());
    let json = loaded.effective.to_json();
    assert_eq!(
        json["server"]["listeners"]["public"]["address"],
        "127.0.0.1:8080"
    );
    assert_eq!(json["server"]["keep_alive"], "1m 15s");
    assert_eq!(json["logging"]["level"], "info");
    assert_eq!(Sources::builtin().describe(), "built-in defaults only");
}

#[test]
fn layers_and_overrides_come_in_their_order() {
    let folder = Folder::new("server.workers = 1\nserver.max_connections = 7\napp.message = \"a\"");
    folder.write("local.toml", "[server]\nworkers = 2\nkeep_alive = \"1h\"\n");
    let sources = folder
        .sources()
        .set("server.workers", "3")
        .set("server.workers", "4")
        .set("app.ratio", "0.5")
        .set("app.ports.80", "true")
        .set("app.routes.\"/a.b\".body", "1")
        .set("server.listeners.main.address", "127.0.0.1:0");
    let Loaded { tables, .. } = loaded(&sources);
    assert_eq!(tables.server.workers, 4);
    assert_eq!(tables.server.max_connections, 7);
    assert_eq!(tables.server.keep_alive, Duration::from_secs(3600));
    assert_eq!(tables.app.message, "a");
    assert_eq!(tables.app.ratio, 0.5);
    assert_eq!(tables.app.ports, BTreeMap::from([(80, true)]));
    assert_eq!(tables.app.routes["/a.b"].body, "1");
    // The built-in one is there only where none is named.
    assert_eq!(tables.server.listeners.len(), 1);
    assert_eq!(
        tables.server.listeners["main"].address.to_string(),
        "127.0.0.1:0"
    );
}

#[test]
fn an_empty_table_of_listeners_names_none() {
    let tables = Folder::new("[server.listeners]\n").loaded().tables;
    assert_eq!(tables.server, Server::default());
}

#[test]
fn enums_options_and_nested_types_are_read() {
    let folder = Folder::new(
        "[app]\ncolour = \"green\"\nshape = { box = { width = 1, height = 2 } }\nratio = 2\n\
         [app.routes.\"/x\"]\nbody = \"b\"\nstatus = 201",
    );
    let app = folder.loaded().tables.app;
    assert_eq!(app.colour, Colour::Green);
    assert_eq!(
        app.shape,
        Some(Shape::Box {
            width: 1,
            height: 2
        })
    );
    assert_eq!(app.ratio, 2.0);
    assert_eq!(app.routes["/x"].status, Some(201));
    for (text, shape) in [
        ("\"point\"", Shape::Point),
        ("{ circle = 3 }", Shape::Circle(3)),
    ] {
        let app = Folder::new(&format!("app.shape = {text}"))
            .loaded()
            .tables
            .app;
        assert_eq!(app.shape, Some(shape));
    }
}

#[test]
fn a_byte_order_mark_is_no_error() {
    let folder = Folder::new("\u{feff}app.message = \"a\"");
    assert_eq!(folder.loaded().tables.app.message, "a");
}

#[test]
fn a_directory_without_a_layer_file_is_an_error_that_names_what_is_there() {
    let expected =
        "expected a file of settings, such as default.toml, default.yaml or default.json";
    let folder = Folder::empty();
    let errors = |sources: &Sources| {
        let not = load::<Demo>(sources, Baseline::Start, soon()).expect_err("no settings");
        let lines: Vec<String> = not.errors.iter().map(ToString::to_string).collect();
        lines
    };
    let path = folder.0.path().display().to_string();
    let told = |found: &str| format!("{path}: {expected}, found {found}");
    assert_eq!(errors(&folder.sources()), [told("no file")]);
    // A profile's file is a layer only where the profile is chosen.
    for name in ["prod.toml", "defaults.yml", "default.conf"] {
        folder.write(name, "");
    }
    assert_eq!(
        errors(&folder.sources()),
        [told(
            "`default.conf`, `defaults.yml`, `prod.toml`, which are not recognized"
        )]
    );
    loaded(&folder.sources().profile("prod"));
    for number in 10..30 {
        folder.write(&format!("{number}.conf"), "");
    }
    let found = errors(&folder.sources());
    let end = "`19.conf` and 13 more, which are not recognized";
    assert!(found[0].ends_with(end), "{found:?}");
}

#[test]
fn the_digest_depends_on_values_not_on_their_order_or_layer() {
    let digest = |default: &str, local: &str| {
        let folder = Folder::new(default);
        folder.write("local.toml", local);
        folder.loaded().effective.digest(&no_files())
    };
    let one = digest("app.message = \"a\"\nserver.workers = 0", "");
    assert_eq!(
        one,
        digest(
            "# other text\n[app]\nmessage = \"b\"",
            "app.message = \"a\""
        )
    );
    assert_ne!(one, digest("app.message = \"b\"", ""));
    assert!(one.starts_with("sha256:") && one.len() == 71, "{one}");
}

#[test]
fn the_digest_covers_the_content_of_files() {
    let folder = Folder::new("");
    let effective = folder.loaded().effective;
    let digest = |content: &str| {
        folder.write("page", content);
        let build = Build::new(folder.sources().base());
        build.read("page".as_ref()).expect("read");
        effective.digest(&build.files_read())
    };
    assert_eq!(digest("a"), digest("a"));
    assert_ne!(digest("a"), digest("b"));
    assert_ne!(digest("a"), effective.digest(&no_files()));
}

#[test]
fn changes_name_each_value_that_differs_and_where_it_comes_from() {
    let before =
        Folder::new("[app]\nmessage = \"a\"\n[app.routes.\"/old\"]\nbody = \"o\"\n").loaded();
    let folder = Folder::new(
        "[app]\nfriends = [\"x\"]\n[app.routes.\"/a.b\"]\nbody = \"n\"\n[server]\nkeep_alive = \"75s\"",
    );
    let after = folder.loaded();
    let changes = changes(&before.effective, &after.effective);
    let lines: Vec<_> = changes
        .told
        .iter()
        .map(|change| {
            let origin = change
                .origin
                .as_deref()
                .map(|place| place.rsplit('/').next());
            format!(
                "{} {} {} {:?}",
                change.key,
                change.from,
                change.to,
                origin.flatten()
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            r#"app.friends [] ["x"] Some("default.toml:2:11")"#,
            r#"app.message "a" "" None"#,
            r#"app.routes."/a.b".body null "n" Some("default.toml:4:8")"#,
            r#"app.routes."/a.b".status null null None"#,
            r#"app.routes."/old".body "o" null None"#,
            r#"app.routes."/old".status null null None"#,
        ]
    );
    assert_eq!(
        super::changes(&after.effective, &folder.loaded().effective),
        Changes::default()
    );
}

#[test]
fn sources_say_what_they_are() {
    let folder = Folder::new("");
    let path = folder.0.path().display().to_string();
    assert_eq!(folder.sources().describe(), format!("{path}/default.toml"));
    folder.write("local.toml", "");
    assert_eq!(
        folder.sources().describe(),
        format!("{path}/default.toml and {path}/local.toml")
    );
    assert_eq!(
        Sources::builtin().set("a", "b").describe(),
        "built-in defaults and --set"
    );
}

#[test]
fn the_schema_of_all_tables_can_be_made() {
    let schema = schemars::schema_for!(Tables<Demo>);
    let server = schema
        .pointer("/$defs/Server/properties/keep_alive")
        .expect("described");
    assert!(
        server["description"]
            .as_str()
            .is_some_and(|text| text.contains("75s"))
    );
}

#[test]
fn an_empty_text_is_none_for_every_optional_text() {
    let folder = Folder::new(
        "[server]\ngeneration_header = \"\"\n[server.listeners.a]\naddress = \"127.0.0.1:0\"\n\
         probes = \"/-/\"\n[admin]\ntoken_file = \"token\"\n[logging]\nfile = \"\"\n",
    );
    folder.write(
        "local.toml",
        "server.listeners.a.probes = \"\"\nadmin.token_file = \"\"\nadmin.address = \"\"\n",
    );
    let tables = folder.loaded().tables;
    assert_eq!(tables.server.listeners["a"].probes, None);
    assert_eq!(tables.admin.token_file, None);
    // None is none: an open address still needs a token.
    folder.write(
        "local.toml",
        "admin = { token_file = \"\", address = \"0.0.0.0:1\" }",
    );
    let errors = folder.errors();
    assert!(
        errors[0].contains("it needs `admin.token_file`"),
        "{errors:?}"
    );
}
