//! What is wrong, as an operator reads it.

use super::*;

#[test]
fn all_errors_of_all_layers_come_at_once_in_the_order_of_the_sources() {
    let folder = Folder::new(
        "[server]\nworkers = \"many\"\nkeepalive = \"1s\"\nmax_connections = 0\n\
         write_timeout = \"0s\"\nbody_timeout = 5\n\
         [server.listeners.\"Bad Name\"]\naddress = \"127.0.0.1:1\"\n\
         [server.listeners.x]\n[server.listeners.y]\naddress = \"localhost\"\n\
         [admin]\naddress = \"0.0.0.0:1\"\n[servr]\nworkers = 1\n",
    );
    folder.write(
        "local.toml",
        "[server]\n  workers = 513\n[app]\nfriends = [\"a\", 2, \"c\", 4]\ncolour = \"blue\"\n\
         shape = { box = { width = 1.0 } }\nports = { x = true }\n[logging]\nlevel = \"loud\"\n",
    );
    let timeout =
        "a duration above zero, of at most 365 days, such as \"250ms\", \"30s\" or \"1h\"";
    assert_eq!(
        folder.errors(),
        [
            "default.toml:3:1: server.keepalive: unknown key (did you mean `keep_alive`?)".to_owned(),
            "default.toml:4:19: server.max_connections: expected a number from 1 to 4294967295, \
             found 0"
                .to_owned(),
            format!("default.toml:5:17: server.write_timeout: expected {timeout}, found \"0s\""),
            format!("default.toml:6:16: server.body_timeout: expected {timeout}, found 5"),
            "default.toml:7:19: server.listeners.\"Bad Name\": expected a listener's name of at \
             most 64 characters from a-z, 0-9, - and _, found \"Bad Name\""
                .to_owned(),
            "default.toml:9:1: server.listeners.x.address: missing, and there is no default"
                .to_owned(),
            "default.toml:11:11: server.listeners.y.address: expected an IP address and a port \
             such as \"127.0.0.1:8080\" or \"[::1]:8080\", \"unix:PATH\" or \"systemd:NAME\", found \"localhost\""
                .to_owned(),
            "default.toml:13:11: admin.address: other machines can reach this address, so it \
             needs `admin.token_file`"
                .to_owned(),
            "default.toml:14:2: servr: unknown key (did you mean `server`?)".to_owned(),
            "local.toml:2:13: server.workers: expected a number from 0 to 512, found 513"
                .to_owned(),
            "local.toml:4:17: app.friends.1: expected a text, found 2".to_owned(),
            "local.toml:4:25: app.friends.3: expected a text, found 4".to_owned(),
            "local.toml:5:10: app.colour: expected \"red\" or \"green\", found \"blue\"".to_owned(),
            "local.toml:6:27: app.shape.box.width: expected a number from 0 to 4294967295, found \
             1.0"
            .to_owned(),
            "local.toml:7:11: app.ports.x: expected a number from 0 to 65535, found \"x\""
                .to_owned(),
            "local.toml:9:9: logging.level: expected \"off\", \"error\", \"warn\", \"info\", \
             \"debug\" or \"trace\", found \"loud\""
                .to_owned(),
        ]
    );
}

#[test]
fn nothing_is_rounded_wrapped_or_turned_into_text() {
    for (text, found) in [
        ("server.workers = 2.6", "2.6"),
        ("server.workers = -1", "-1"),
        ("server.workers = \"4\"", "\"4\""),
        (
            "server.workers = 99999999999999999999",
            "99999999999999999999",
        ),
        ("server.workers = true", "true"),
        ("server.workers = [1]", "a list"),
        ("server.workers.x = 1", "a table"),
        ("app.message = 1", "1"),
        ("app.ratio = \"1\"", "\"1\""),
        ("app.routes = 1", "1"),
        ("app = 1", "1"),
        ("server = []", "a list"),
    ] {
        let errors = Folder::new(text).errors();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(
            errors[0].ends_with(&format!(", found {found}")),
            "{text}: {errors:?}"
        );
    }
}

#[test]
fn overrides_that_do_not_fit_name_their_source() {
    let errors = |key: &str, value: &str| {
        let sources = Sources::builtin().set(key, value);
        let errors = load::<Demo>(&sources, Baseline::Start, soon())
            .expect_err("wrong settings")
            .errors;
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        errors("server.workers", "many"),
        ["--set: server.workers: expected a number from 0 to 512, found \"many\""]
    );
    assert_eq!(
        errors("server.wrokers", "1"),
        ["--set: server.wrokers: unknown key (did you mean `workers`?)"]
    );
    assert_eq!(
        errors("a..b", "1"),
        ["--set: expected a dotted key, found \"a..b\""]
    );
    assert_eq!(
        errors("app.ratio", "inf"),
        ["--set: app.ratio: expected a number, found \"inf\""]
    );
}

#[test]
fn at_most_twenty_errors_are_told_and_that_there_are_more() {
    for (entry, count) in [("k = 1", 20), ("k = 1", 21), ("[app.routes.k]", 21)] {
        let text: Vec<_> = (0..count)
            .map(|n| entry.replace('k', &format!("k{n}")))
            .collect();
        let errors = Folder::new(&text.join("\n")).errors();
        assert_eq!(errors.len(), count, "{entry}");
        assert_eq!(
            errors.last().is_some_and(|last| last == "and more"),
            count > 20
        );
    }
}

#[test]
fn what_is_in_a_file_with_a_syntax_error_is_not_judged() {
    let folder = Folder::new("[server]\nworkers = \"x\"\nnonsense = 1\n[app\nmessage = \"bad\"\n");
    folder.write(
        "local.toml",
        "[app]\nmessage = \"bad\"\n[admin]\naddress = \"0.0.0.0:1\"\n[logging]\nlevel = 1\n",
    );
    let errors = folder.errors();
    assert!(errors[0].starts_with("default.toml:4:5: "), "{errors:?}");
    // What the other file says may depend on what could not be read: its types alone are judged.
    assert!(
        errors[1].starts_with("local.toml:6:9: logging.level: "),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn a_key_that_is_there_twice_names_both_places_in_each_format() {
    for (name, text, told) in [
        (
            "default.toml",
            "[app]\nmessage = \"a\"\nratio = 1\nmessage = \"b\"\n",
            "default.toml:4:1: duplicate key `message`: the first is at default.toml:2:1",
        ),
        (
            "default.yaml",
            "app:\n  message: a\n  ratio: 1\n  message: b\n",
            "default.yaml:4:3: duplicate key `message`: the first is at default.yaml:2:3",
        ),
        (
            "default.json",
            "{\"app\": {\"message\": \"a\",\n \"ratio\": 1,\n \"message\": \"b\"}}",
            "default.json:3:2: duplicate key `message`: the first is at default.json:1:10",
        ),
    ] {
        let folder = Folder::empty();
        folder.write(name, text);
        assert_eq!(folder.errors(), [told]);
    }
}

#[test]
fn a_string_without_quotes_is_told_alone() {
    let folder =
        Folder::new("[logging]\nlevel = info\n[server]\nworkers = two\nkeep_alive = 75s\n");
    folder.write("local.toml", "[reload]\nwatch = True\n");
    assert_eq!(
        folder.errors(),
        [
            "default.toml:2:9: expected a value; a string needs quotes: \"info\"",
            "default.toml:4:11: expected a value; a string needs quotes: \"two\"",
            "default.toml:5:14: expected a value; a string needs quotes: \"75s\"",
            "local.toml:2:9: expected a value; booleans are lower case: `true`",
        ]
    );
}

#[test]
fn an_authors_check_is_told_with_place_and_value() {
    let folder = Folder::new("[app]\nmessage = \"bad\"\nfriends = [\"a\", \"\"]\n");
    assert_eq!(
        folder.errors(),
        [
            "default.toml:2:11: app.message: expected a good text, found \"bad\"",
            "default.toml:3:17: app.friends.1: expected a name, found \"\"",
        ]
    );
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    let folder = Folder::new("");
    folder.write("default.toml", b"# \xc3\xa4\na = \xff");
    assert_eq!(
        folder.errors(),
        ["default.toml:2:5: expected UTF-8, found the byte 0xff"]
    );
}

#[test]
fn a_named_path_that_is_missing_is_an_error() {
    let folder = Folder::new("");
    let gone = Sources::at(folder.0.path().join("gone"));
    let errors = load::<Demo>(&gone, Baseline::Start, soon())
        .expect_err("missing")
        .errors;
    assert!(
        errors[0]
            .to_string()
            .ends_with("/gone: no such file or directory"),
        "{errors:?}"
    );
    let file = folder.0.path().join("one.toml");
    fs::write(&file, "app.message = \"one\"").expect("written");
    assert_eq!(loaded(&Sources::at(file)).tables.app.message, "one");
}

#[test]
fn a_link_to_nowhere_is_not_the_same_as_absent() {
    let folder = Folder::new("");
    std::os::unix::fs::symlink("nowhere", folder.0.path().join("local.toml")).expect("linked");
    assert_eq!(folder.errors(), ["local.toml: no such file or directory"]);
}

#[test]
fn a_file_that_became_empty_is_an_error_and_one_that_is_gone_a_change() {
    let folder = Folder::new("app.message = \"a\"");
    folder.write("local.toml", "");
    let facts = folder.loaded().facts;
    let after = Baseline::After(&facts);
    // Empty before: it may be so again.
    load::<Demo>(&folder.sources(), after, soon()).expect("nothing has changed");
    folder.write("default.toml", "");
    let emptied = "default.toml: is empty and was not before (to set nothing, leave a comment in it, \
                   or force the reload)";
    assert_eq!(folder.errors_after(after), [emptied]);
    load::<Demo>(&folder.sources(), Baseline::Forced, soon()).expect("forced");
    folder.write("default.toml", "# nothing");
    load::<Demo>(&folder.sources(), after, soon()).expect("a comment sets nothing");

    folder.write("local.json", "{}");
    fs::remove_file(folder.0.path().join("local.toml")).expect("removed");
    let facts = folder.loaded().facts;
    folder.write("local.json", "");
    assert_eq!(
        folder.errors_after(Baseline::After(&facts)),
        [
            "local.json: is empty and was not before (to set nothing, write `{}` in it, or force \
             the reload)",
            "local.json:1:1: EOF while parsing a value",
        ]
    );
}

#[test]
fn a_layer_file_that_is_gone_no_longer_applies_and_the_last_one_must_not_go_unless_forced() {
    let folder = Folder::new("app.message = \"a\"");
    folder.write("local.toml", "app.message = \"b\"");
    let before = folder.loaded();
    let after = |facts| load::<Demo>(&folder.sources(), Baseline::After(facts), soon());
    fs::remove_file(folder.0.path().join("local.toml")).expect("removed");
    let now = after(&before.facts).expect("default.toml is still there");
    assert_eq!(now.tables.app.message, "a");
    fs::remove_file(folder.0.path().join("default.toml")).expect("removed");
    let hint = "(a forced reload serves the built-in defaults)";
    let told = |errors: Vec<Diagnostic>| {
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].to_string()
    };
    let gone = told(after(&now.facts).expect_err("none is left").errors);
    assert!(gone.ends_with(&format!("found no file {hint}")), "{gone}");
    let forced = || load::<Demo>(&folder.sources(), Baseline::Forced, soon()).expect("forced");
    assert_eq!(forced().tables, Tables::default());
    fs::remove_dir(folder.0.path()).expect("removed");
    let gone = told(after(&now.facts).expect_err("the directory is gone").errors);
    let end = format!("no such file or directory {hint}");
    assert!(gone.ends_with(&end), "{gone}");
    assert_eq!(forced().tables, Tables::default());
}

#[test]
fn what_keeps_changing_while_it_is_read_is_not_applied() {
    let folder = Folder::new("");
    let path = folder.0.path().join("default.toml");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        let mut count = 0;
        while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
            count += 1;
            fs::write(&path, format!("# {count}")).expect("written");
        }
    });
    // Whatever a pass catches, a load gives settings or says that the file does not stand still.
    for _ in 0..50 {
        let deadline = Instant::now() + Duration::from_millis(10);
        if let Err(NotLoaded { errors, .. }) =
            load::<Demo>(&folder.sources(), Baseline::Start, deadline)
        {
            assert_eq!(errors.len(), 1);
            assert!(errors[0].message.starts_with("kept changing"), "{errors:?}");
            assert_eq!(errors[0].kind, Fault::System);
        }
    }
    drop(stop);
    writer.join().expect("the writer ends");
    folder.loaded();
}

/// A type whose keys are required: where one of them fails, a default stands in for the whole.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Strict {
    name: String,
    size: u8,
}

impl Settings for Strict {
    const NAME: &'static str = "strict";
    type State = ();

    fn check(&self, found: &mut Findings) {
        if self.name.is_empty() {
            found.at("name", "a name");
        }
        if self.size == 0 {
            found.at("size", "a number above zero");
        }
    }

    async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

#[test]
fn the_author_s_check_does_not_blame_a_value_for_a_default_that_stands_in_for_it() {
    let folder = Folder::new("[app]\nname = \"right\"\nsize = \"many\"\n");
    let errors = |folder: &Folder| {
        let wrong = load::<Strict>(&folder.sources(), Baseline::Start, soon());
        let errors = wrong.expect_err("wrong settings").errors;
        let keys = errors.into_iter().map(|error| error.key);
        keys.collect::<Vec<_>>()
    };
    assert_eq!(errors(&folder), ["app.size"]);
    folder.write("default.toml", "[app]\nname = \"right\"\nsize = 0\n");
    assert_eq!(errors(&folder), ["app.size"]);
}
