//! `settings/default.toml` is the reference: all that there is, each at its default.

use super::*;
use crate::site::Site;
use serde_json::Value as Json;

const REFERENCE: &str = include_str!("../../../settings/default.toml");

/// The file with all its settings in force.
fn in_force() -> String {
    let lines = REFERENCE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn site(text: &str) -> Loaded<Site> {
    load(&Folder::new(text).sources(), Baseline::Start, soon()).expect("right settings")
}

#[test]
fn the_reference_sets_the_defaults_commented_or_not() {
    let defaults =
        load::<Site>(&Sources::builtin(), Baseline::Start, soon()).expect("right settings");
    for text in [REFERENCE, &in_force()] {
        let loaded = site(text);
        assert_eq!(loaded.effective.to_json(), defaults.effective.to_json());
    }
}

#[test]
fn the_reference_has_every_setting_that_has_a_default() {
    let loaded = site(&in_force());
    let mut missing = Vec::new();
    for (key, origin) in loaded.effective.origins() {
        if origin == "default" && key != "app.routes" {
            missing.push(key);
        }
    }
    assert_eq!(missing, [""; 0], "not in settings/default.toml");
}

#[test]
fn the_reference_names_every_key_of_the_schema() {
    let schema = schema::<Site>();
    let mut missing = Vec::new();
    names(&schema, &mut |name| {
        let assigned = format!("{name} =");
        let is_there = REFERENCE.contains(&assigned)
            || REFERENCE.lines().any(|line| {
                let header = line.trim_start_matches(['#', ' ']).strip_prefix('[');
                header.is_some_and(|header| header.split(['.', ']']).any(|part| part == name))
            });
        if !is_there {
            missing.push(name.to_owned());
        }
    });
    assert_eq!(missing, [""; 0], "not in settings/default.toml");
}

/// Every key of every table that a schema knows.
fn names(schema: &Json, name: &mut impl FnMut(&str)) {
    match schema {
        Json::Object(entries) => {
            if let Some(Json::Object(properties)) = entries.get("properties") {
                properties.keys().for_each(|key| name(key));
            }
            entries.values().for_each(|value| names(value, name));
        }
        Json::Array(list) => list.iter().for_each(|value| names(value, name)),
        _ => {}
    }
}
