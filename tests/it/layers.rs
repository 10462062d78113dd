//! The layers of the code: a module uses only modules of lower layers, as ARCHITECTURE.md lists them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Highest first. Modules of one line do not use each other.
const LAYERS: [&[&str]; 14] = [
    &["site"],
    &["cli"],
    &["service"],
    &["signals", "watch", "admin"],
    &["control"],
    &["upgrade"],
    &["config"],
    &["server"],
    &["http"],
    &["net"],
    &["generation"],
    &["telemetry"],
    &["settings"],
    &["systemd"],
];

/// Arrows that still point up, and what they carry. None may be added.
const EXCEPTIONS: [(&str, &str, &[&str]); 4] = [
    // The new process of an upgrade opens what the one before has passed.
    ("config", "upgrade", &["Inheritance"]),
    // The old one passes its sockets while the ServerActor serves on them.
    (
        "server",
        "upgrade",
        &[
            "self",
            "InheritedState",
            "Inheritance",
            "PassedConnections",
            "Program",
            "Successor",
        ],
    ),
    ("server", "config", &["Attempt", "NotUpgraded"]),
    // `Service::main` is the command line.
    ("service", "cli", &[""]),
];

#[test]
fn no_module_uses_one_of_a_higher_layer() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut up = BTreeSet::new();
    let mut uses = 0;
    for file in rust_files(&source) {
        let path = file.strip_prefix(&source).expect("it is in there");
        let module = module_of(path);
        let Some(own) = layer(&module) else {
            continue;
        };
        let text = fs::read_to_string(&file).expect("it can be read");
        for (used, item) in used_by(&text) {
            let Some(other) = layer(&used).filter(|_| used != module) else {
                continue;
            };
            uses += 1;
            let is_excepted = EXCEPTIONS.iter().any(|(from, to, items)| {
                *from == module && *to == used && items.contains(&item.as_str())
            });
            if other <= own && !is_excepted {
                up.insert(format!("{}: crate::{used}::{item}", path.display()));
            }
        }
    }
    assert!(uses > 200, "the uses are found: {uses}");
    assert!(up.is_empty(), "{up:#?}");
}

/// Its place in [`LAYERS`].
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The top-level module that a file below `src` belongs to.
fn module_of(path: &Path) -> String {
    let first = path.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        // Tests play authors: they use what is above.
        if path.is_dir() && !path.ends_with("tests") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files
}

/// The top-level modules that a file's code names behind `crate::`, and what it names of each.
fn used_by(text: &str) -> Vec<(String, String)> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .expect("the first part")
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(members(group).into_iter().flat_map(|it| names(&it))),
            None => {
                let end = rest.find([';', ' ', '(', ')', ',', '>', '<', '\n']);
                let path = match rest
                    .find('{')
                    .filter(|open| end.is_none_or(|end| *open < end))
                {
                    Some(_) => rest.split(';').next().expect("a use ends"),
                    None => &rest[..end.unwrap_or(rest.len())],
                };
                used.extend(names(path));
            }
        }
    }
    used
}

/// The members of a group behind its opening brace.
fn members(group: &str) -> Vec<String> {
    let (mut depth, mut member, mut all) = (0, String::new(), Vec::new());
    for letter in group.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                all.push(std::mem::take(&mut member));
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        member.push(letter);
    }
    all.push(member);
    all
}

/// Of `module::{a, b::c}` or `module::a`: the module with each of its items.
fn names(path: &str) -> Vec<(String, String)> {
    let path = path.trim();
    let (module, rest) = path.split_once("::").unwrap_or((path, ""));
    let items = match rest.trim().strip_prefix('{') {
        Some(group) => members(group),
        None => vec![rest.to_owned()],
    };
    let first = |item: String| {
        let item = item.trim().split("::").next().expect("the first part");
        item.to_owned()
    };
    let items = items.into_iter().map(first);
    let mut named: Vec<_> = items.map(|item| (module.to_owned(), item)).collect();
    named.retain(|(module, _)| !module.is_empty());
    named
}

#[test]
fn uses_are_read_in_every_form() {
    let text = "use crate::{\n    a::{B, c::D},\n    e,\n};\nuse crate::f::{self, G};\n\
                // crate::no\nfn x() { crate::h::i(); }\n#[cfg(test)]\nmod tests { use crate::j; }";
    let found: Vec<String> = used_by(text)
        .into_iter()
        .map(|(module, item)| format!("{module}.{item}"))
        .collect();
    assert_eq!(found, ["a.B", "a.c", "e.", "f.self", "f.G", "h.i"]);
}
