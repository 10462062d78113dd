//! Settings as TOML, each value with where it comes from: what `show` prints, and what loads again.

use serde_json::{Map, Value as Json};
use std::fmt::Write;

/// Where a value comes from, if that is to be said.
type OriginOf<'a> = dyn Fn(&[&str]) -> Option<String> + 'a;

/// A table as a TOML document. TOML knows no null: what has no value is left out.
pub(super) fn toml(table: &Json, origin: &OriginOf<'_>) -> String {
    let mut out = String::new();
    if let Json::Object(entries) = table {
        section(entries, &mut Vec::new(), origin, &mut out);
    }
    out
}

/// Calls back for each value, in order; an empty table is one, a list is one.
pub(super) fn leaves<'j>(
    value: &'j Json,
    path: &mut Vec<&'j str>,
    leaf: &mut impl FnMut(&[&str], &Json),
) {
    match value {
        Json::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                path.push(key);
                leaves(value, path, leaf);
                path.pop();
            }
        }
        value => leaf(path, value),
    }
}

fn section<'j>(
    entries: &'j Map<String, Json>,
    path: &mut Vec<&'j str>,
    origin: &OriginOf<'_>,
    out: &mut String,
) {
    let tables = |value: &Json| matches!(value, Json::Object(entries) if !entries.is_empty());
    let values = entries
        .iter()
        .filter(|(_, value)| !tables(value) && !value.is_null());
    let mut values = values.peekable();
    if values.peek().is_some() && !path.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        let keys: Vec<String> = path.iter().map(|key| self::key(key)).collect();
        line(out, format_args!("[{}]", keys.join(".")));
    }
    for (key, value) in values {
        path.push(key);
        let value = inline(value);
        match origin(path) {
            Some(origin) => {
                // A file's name may hold anything, a comment may not.
                let origin = origin.replace(char::is_control, " ");
                line(
                    out,
                    format_args!("{} = {value}  # {origin}", self::key(key)),
                );
            }
            None => line(out, format_args!("{} = {value}", self::key(key))),
        }
        path.pop();
    }
    for (key, value) in entries {
        if let Json::Object(entries) = value
            && !entries.is_empty()
        {
            path.push(key);
            section(entries, path, origin, out);
            path.pop();
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a text takes all that is written");
}

/// A value in one line.
pub(super) fn inline(value: &Json) -> String {
    match value {
        Json::String(text) => quoted(text),
        Json::Array(list) => {
            let list = list.iter().filter(|value| !value.is_null());
            let list: Vec<String> = list.map(inline).collect();
            format!("[{}]", list.join(", "))
        }
        Json::Object(entries) => {
            let entries = entries.iter().filter(|(_, value)| !value.is_null());
            let entries: Vec<String> = entries
                .map(|(key, value)| format!("{} = {}", self::key(key), inline(value)))
                .collect();
            match entries.is_empty() {
                true => "{}".to_owned(),
                false => format!("{{ {} }}", entries.join(", ")),
            }
        }
        // Its digits are TOML's too.
        scalar => scalar.to_string(),
    }
}

fn key(key: &str) -> String {
    if super::key::is_bare(key) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// What JSON escapes and how, TOML takes; it wants one character more.
fn quoted(text: &str) -> String {
    Json::from(text).to_string().replace('\u{7f}', "\\u007F")
}
