//! What the documentation says that a machine can check: links, keys of settings and their defaults,
//! examples, signals, commands, exit codes, endpoints.
use crate::support::{Identity, Program, Setup};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Pages for users and for contributors.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
    let docs = fs::read_dir(root.join("docs")).expect("there is docs/");
    let docs = docs.map(|entry| entry.expect("it can be listed").path());
    let paths = names.iter().map(|name| root.join(name)).chain(docs);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a page is text");
        (path, text)
    };
    paths.map(read).collect()
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines that are in no block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// The blocks of code in a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = text.split(&opening).skip(1);
    let closed = |block: &str| block.split("```").next().map(str::to_owned);
    blocks.filter_map(closed).collect()
}

/// The rows of all tables whose first column has this heading, as cells.
fn rows(text: &str, first: &str) -> Vec<Vec<String>> {
    let heading = format!("| {first} |");
    let mut is_in_it = false;
    let mut rows = Vec::new();
    for line in prose(text) {
        is_in_it = line.starts_with(&heading) || (is_in_it && line.starts_with('|'));
        if is_in_it && !line.starts_with(&heading) && !line.starts_with("| ---") {
            let cells = line.trim_matches('|').split(" | ");
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    assert!(!rows.is_empty(), "no table begins with {first:?}");
    rows
}

/// What stands between the first pair of backticks, if the cell begins with one.
fn code(cell: &str) -> Option<&str> {
    let (code, _) = cell.strip_prefix('`')?.split_once('`')?;
    Some(code)
}

/// The fragment by which GitHub links to a heading.
fn fragment(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut broken = Vec::new();
    for (path, text) in pages() {
        let links = prose(&text).flat_map(|line| line.split("](").skip(1));
        let links = links.filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().expect("a page is in a folder");
            let target = match file {
                "" => path.clone(),
                file => folder.join(file),
            };
            let has_heading = || {
                let text = fs::read_to_string(&target).unwrap_or_default();
                let headings = prose(&text).filter(|line| line.starts_with('#'));
                let mut fragments = headings.map(|line| fragment(line.trim_start_matches('#')));
                heading.is_empty() || fragments.any(|fragment| fragment == heading)
            };
            if !target.exists() || !has_heading() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

/// Each key of the schema that holds no further keys, with its default; `*` is any name.
fn schema_keys() -> BTreeMap<String, Option<Json>> {
    fn named<'s>(schema: &'s Json, node: &'s Json) -> &'s Json {
        let mut both = node["anyOf"].as_array().into_iter().flatten();
        let target = node
            .get("$ref")
            .or_else(|| both.find_map(|it| it.get("$ref")));
        let name = target
            .and_then(Json::as_str)
            .and_then(|it| it.rsplit('/').next());
        name.map_or(node, |name| &schema["$defs"][name])
    }
    fn walk(schema: &Json, node: &Json, key: &str, keys: &mut BTreeMap<String, Option<Json>>) {
        let table = named(schema, node);
        let more = &table["additionalProperties"];
        let under = |name: &str| match key {
            "" => name.to_owned(),
            key => format!("{key}.{name}"),
        };
        if let Some(properties) = table["properties"].as_object() {
            for (name, property) in properties {
                walk(schema, property, &under(name), keys);
            }
        } else if named(schema, more)["properties"].is_object() {
            walk(schema, more, &under("*"), keys);
        } else {
            keys.insert(key.to_owned(), node.get("default").cloned());
        }
    }
    let printed = Setup::empty().ask(&["schema"]).out;
    let schema: Json = serde_json::from_str(&printed).expect("it is JSON");
    let mut keys = BTreeMap::new();
    walk(&schema, &schema, "", &mut keys);
    keys
}

/// The keys of the reference, with their defaults as TOML.
fn reference() -> BTreeMap<String, Option<String>> {
    let text = page("docs/settings.md") + &page("docs/routes-and-files.md");
    let keys = rows(&text, "key").into_iter().map(|cells| {
        let key = code(&cells[0]).expect("a key is code");
        let key = key.replace("NAME", "*").replace("PATTERN", "*");
        (key, code(&cells[1]).map(str::to_owned))
    });
    keys.collect()
}

#[test]
fn the_reference_has_every_key_of_the_schema_and_no_other() {
    let reference: BTreeSet<String> = reference().into_keys().collect();
    let schema: BTreeSet<String> = schema_keys().into_keys().collect();
    assert_eq!(reference, schema);
}

#[test]
fn the_defaults_of_the_reference_are_those_of_the_program() {
    let schema = schema_keys();
    let mut settings = String::new();
    for (key, default) in reference() {
        let known = schema[&key].as_ref().filter(|known| !known.is_null());
        assert_eq!(default.is_some(), known.is_some(), "{key}");
        let Some(default) = default else {
            continue;
        };
        if key.contains('*') {
            let table: Json = toml::from_str(&format!("it = {default}")).expect("it is TOML");
            assert_eq!(Some(&table["it"]), known, "{key}");
        } else {
            settings += &format!("{key} = {default}\n");
        }
    }
    let shown = |settings: &str| {
        let shown = Setup::raw(settings.as_bytes()).ask(&["show", "--json"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        shown.out
    };
    assert_eq!(shown(&settings), shown("# nothing is set\n"));
}

#[test]
fn every_example_of_settings_is_accepted() {
    let identity = Identity::new();
    for (path, text) in pages() {
        let examples = blocks(&text, "toml").into_iter();
        for example in examples.filter(|text| !text.starts_with("[dependencies]")) {
            let setup = Setup::raw(example.as_bytes())
                .file("hello.html", "hello")
                .file("admin-token", "0123456789abcdef")
                .file("cert.pem", &identity.certificate)
                .file("key.pem", &identity.key);
            fs::create_dir(setup.settings().join("public")).expect("a folder to serve");
            let checked = setup.ask(&["check"]);
            let told = format!("{}:\n{example}\n{}", path.display(), checked.err);
            assert_eq!((checked.code, &*checked.err), (0, ""), "{told}");
        }
    }
}

#[test]
fn the_rust_of_the_pages_is_in_the_example() {
    let greeter = page("examples/greeter.rs");
    for (path, text) in pages() {
        for block in blocks(&text, "rust") {
            let mut lines = greeter.lines();
            for line in block.lines().filter(|line| !line.is_empty()) {
                let is_there = lines.any(|known| known == line);
                assert!(
                    is_there,
                    "{}: {line:?} is not in the example",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_dependencies_of_an_author_are_those_of_this_crate() {
    let table = |text: &str| -> toml::Table { toml::from_str(text).expect("it is TOML") };
    let version = |value: &toml::Value| {
        let of_table = value.get("version").and_then(toml::Value::as_str);
        value.as_str().or(of_table).map(str::to_owned)
    };
    let ours = table(&page("Cargo.toml"));
    let text = page("docs/library.md");
    let mut blocks = blocks(&text, "toml").into_iter();
    let theirs = blocks.find(|block| block.starts_with("[dependencies]"));
    let theirs = table(&theirs.expect("the page says what an author needs"));
    for (name, value) in theirs["dependencies"].as_table().expect("a table") {
        let own = version(&ours["dependencies"][name]);
        assert_eq!(version(value), own, "{name}");
    }
}

#[test]
fn the_signals_are_those_of_the_program() {
    let printed = Setup::empty().ask(&["signals", "--json"]).out;
    let signals: Vec<Json> = serde_json::from_str(&printed).expect("it is JSON");
    let known: BTreeSet<(String, String)> = signals
        .iter()
        .map(|signal| {
            ["signal", "action"].map(|key| signal[key].as_str().expect("text").to_owned())
        })
        .map(|[signal, action]| (signal, action))
        .collect();
    let mut documented = BTreeSet::new();
    for cells in rows(&page("docs/signals.md"), "signal") {
        let action = code(&cells[1]).expect("an action is code");
        for signal in cells[0].split(", ") {
            documented.insert((signal.to_owned(), action.to_owned()));
        }
    }
    assert_eq!(documented, known);
}

#[test]
fn the_commands_and_exit_codes_are_those_of_the_program() {
    let help = Setup::empty().ask(&["--help"]).out;
    let listed = |heading: &str| -> BTreeSet<String> {
        let lines = help.lines().skip_while(|line| *line != heading).skip(1);
        let lines = lines.take_while(|line| !line.is_empty());
        let words = lines.filter_map(|line| line.split_whitespace().next());
        words.map(str::to_owned).collect()
    };
    let text = page("docs/commands.md");
    let codes = rows(&text, "code").into_iter();
    let codes: BTreeSet<String> = codes.map(|cells| cells[0].clone()).collect();
    assert_eq!(codes, listed("Exit codes:"));
    let mut commands = BTreeSet::from(["help".to_owned()]);
    for cells in rows(&text, "command") {
        let named = cells[0]
            .split('`')
            .filter_map(|code| code.strip_prefix("everup "));
        commands.extend(named.map(str::to_owned));
    }
    assert_eq!(commands, listed("Commands:"));
}

#[test]
fn the_endpoints_are_those_of_the_admin_api() {
    let program = Program::serve("[server]\nworkers = 1\n");
    let mut paths = BTreeSet::new();
    for cells in rows(&page("docs/admin-api.md"), "endpoint") {
        let endpoint = code(&cells[0]).expect("an endpoint is code");
        let (method, path) = endpoint.split_once(' ').expect("a method and a path");
        let path = path.split('?').next().unwrap_or(path);
        let answer = program.admin_ask("PUT", path, &[]);
        let allowed = answer.header("allow").unwrap_or_default();
        let allows = allowed.split(", ").any(|allowed| allowed == method);
        assert!(answer.status == 405 && allows, "{endpoint}: {answer:?}");
        paths.insert(path.to_owned());
    }
    let source = page("src/admin/mod.rs");
    let literals = source.split('"').skip(1).step_by(2);
    let served = literals.filter(|literal| literal.starts_with('/'));
    assert_eq!(paths, served.map(str::to_owned).collect());
}

#[test]
fn the_answer_of_a_reload_has_the_keys_that_are_documented() {
    let text = page("docs/reload.md");
    let [example] = &blocks(&text, "json")[..] else {
        panic!("one example of an answer");
    };
    let example: Json = serde_json::from_str(example).expect("it is JSON");
    let (_, answer) = Program::serve("[server]\nworkers = 1\n").reload();
    let keys = |value: &Json| -> BTreeSet<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(keys(&example), keys(&answer));
    for part in ["trigger", "workers"] {
        assert_eq!(keys(&example[part]), keys(&answer[part]), "{part}");
    }
}
