//! What holds of all settings: no bytes bring the load down, later layers win, the order of keys is
//! no matter, what is shown loads again to the same.

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const ENDINGS: [&str; 3] = ["toml", "yaml", "json"];

/// Loads a file; whatever it holds, it gives settings or diagnostics that are fit to be told.
fn survives(ending: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let folder = Folder::empty();
    folder.write(&format!("default.{ending}"), bytes);
    let Err(NotLoaded { errors, .. }) = load::<Demo>(&folder.sources(), Baseline::Start, soon())
    else {
        return Ok(());
    };
    prop_assert!(!errors.is_empty() && errors.len() <= 21);
    for error in &errors {
        let line = error.to_string();
        prop_assert!(!line.contains('\n') && line.len() < 2_000, "{line}");
        prop_assert!(
            error.place.is_some() || error.message == "and more",
            "{line}"
        );
        if let Some(excerpt) = &error.excerpt {
            let length = excerpt.text.chars().count();
            prop_assert!(excerpt.length > 0 && excerpt.start <= length, "{excerpt:?}");
        }
    }
    Ok(())
}

/// The author's table as some file has it, in part.
fn app() -> impl Strategy<Value = Json> {
    let text = any::<String>().prop_map(|text| text.replace(unfit, ""));
    // Few, so that layers meet.
    let key = prop::sample::select(vec![
        "/a.b/{n}",
        "a[4000000000]",
        "\"",
        "x y \\ ü",
        "",
        "<<",
    ]);
    let key = key.prop_map(str::to_owned);
    let route = (text.clone(), option::of(200..600_u16));
    let route = route.prop_map(|(body, status)| match status {
        Some(status) => json!({"body": body, "status": status}),
        None => json!({ "body": body }),
    });
    let message = text.prop_filter("its check refuses it", |text| text != "bad");
    let fields = (
        option::of(message),
        option::of(vec("[a-z]{1,3}", 0..3)),
        option::of(any::<f32>().prop_filter("finite", |number| number.is_finite())),
        option::of(btree_map(
            any::<u16>().prop_map(|port| port.to_string()),
            any::<bool>(),
            0..3,
        )),
        option::of(btree_map(key, route, 0..3)),
        option::of(prop::sample::select(vec![
            json!("point"),
            json!({"circle": 3}),
        ])),
    );
    fields.prop_map(|(message, friends, ratio, ports, routes, shape)| {
        let fields = [
            ("message", message.map(Json::from)),
            ("friends", friends.map(Json::from)),
            ("ratio", ratio.map(Json::from)),
            ("ports", ports.map(|ports| json!(ports))),
            ("routes", routes.map(|routes| json!(routes))),
            ("shape", shape),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Json::Object(given.collect())
    })
}

/// What YAML does not allow, not even escaped as JSON does it.
fn unfit(c: char) -> bool {
    c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Settings in a format.
fn written(ending: &str, app: &Json) -> String {
    let all = json!({ "app": app });
    match ending {
        "toml" => super::super::show::toml(&all, &|_| None),
        // JSON is YAML.
        _ => all.to_string(),
    }
}

/// The merge as the contract tells it: tables key by key, all else is replaced.
fn merged(below: &Json, above: &Json) -> Json {
    match (below, above) {
        (Json::Object(below), Json::Object(above)) => {
            let mut all = below.clone();
            for (key, value) in above {
                let value = below
                    .get(key)
                    .map_or(value.clone(), |below| merged(below, value));
                all.insert(key.clone(), value);
            }
            Json::Object(all)
        }
        (_, above) => above.clone(),
    }
}

/// Settings in a format, with the keys of every table the other way round.
fn reversed(ending: &str, app: &Json) -> String {
    if ending == "toml" {
        let mut lines = Vec::new();
        super::super::show::leaves(app, &mut vec!["app"], &mut |path, value| {
            let leaf = super::super::show::inline(value);
            lines.push(format!("{} = {leaf}\n", key::join(path)));
        });
        lines.reverse();
        return lines.concat();
    }
    fn json(value: &Json) -> String {
        let Json::Object(entries) = value else {
            return value.to_string();
        };
        let entries = entries.iter().rev();
        let entries: Vec<String> = entries
            .map(|(key, value)| format!("{}: {}", Json::from(key.as_str()), json(value)))
            .collect();
        format!("{{{}}}", entries.join(", "))
    }
    format!("{{\"app\": {}}}", json(app))
}

fn digest(sources: &Sources) -> String {
    loaded(sources).effective.digest(&no_files())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_settings_or_diagnostics(bytes in vec(any::<u8>(), 0..200)) {
        for ending in ENDINGS {
            survives(ending, &bytes)?;
        }
    }

    #[test]
    fn anything_like_settings_gives_settings_or_diagnostics(
        parts in vec(
            prop::sample::select(vec![
                "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", " ", "\"", "'", "\"\"\"", "#",
                "server", "app", "workers", "listeners", "public", "address", "routes", "ä", ": ",
                "\"a[4000000000]\"", "1", "-", "1.5", "true", "\"127.0.0.1:0\"", "\\u12", "\0",
                "0x", "1979-05-27", "server.workers = 1\n", "[app.routes.\"/x\"]\n", "e", "_",
                "\n  ", "- ", "? ", "&a ", "*a", "<<: *a", "!!str ", "|\n", ">-\n", "---\n", "...\n",
                "%YAML 1.2\n", "~", "null", "\"a\": ", "{\"app\": {", "}}", "1e999", "\\ud800", "\t",
                "\u{feff}", "app:\n  routes:\n    /x: ", "\r\n", "\u{2028}",
            ]),
            0..40,
        )
    ) {
        for ending in ENDINGS {
            survives(ending, parts.concat().as_bytes())?;
        }
    }

    #[test]
    fn the_later_layer_wins(
        below in app(),
        above in app(),
        formats in (prop::sample::select(&ENDINGS[..]), prop::sample::select(&ENDINGS[..])),
    ) {
        // A value that is not a table, in place of one, is another law's.
        prop_assume!(below.get("shape").is_none() || above.get("shape").is_none());
        let two = Folder::empty();
        two.write(&format!("default.{}", formats.0), written(formats.0, &below));
        two.write(&format!("local.{}", formats.1), written(formats.1, &above));
        let one = Folder::empty();
        one.write("default.json", written("json", &merged(&below, &above)));
        prop_assert_eq!(digest(&two.sources()), digest(&one.sources()));
    }

    #[test]
    fn the_order_of_keys_is_no_matter(app in app(), ending in prop::sample::select(&ENDINGS[..])) {
        let digests = [written(ending, &app), reversed(ending, &app)].map(|text| {
            let folder = Folder::empty();
            folder.write(&format!("default.{ending}"), text);
            digest(&folder.sources())
        });
        prop_assert_eq!(&digests[0], &digests[1]);
    }

    #[test]
    fn what_is_shown_loads_again(app in app()) {
        let folder = Folder::empty();
        folder.write("default.json", written("json", &app));
        let effective = loaded(&folder.sources()).effective;
        let json = effective.to_json().to_string();
        for (ending, text) in [("toml", effective.to_toml(true)), ("yaml", json.clone()), ("json", json)] {
            let folder = Folder::empty();
            folder.write(&format!("default.{ending}"), &text);
            prop_assert_eq!(digest(&folder.sources()), effective.digest(&no_files()), "{}", text);
        }
    }
}
