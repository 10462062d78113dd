//! Diagnostics as a person sees them: what is wrong in one line, then the line that it is about
//! with the place underlined. Lines of the log have the first part only.

use std::{io, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anstream::{AutoStream, ColorChoice};

use crate::{
    settings::{Diagnostic, Excerpt},
    telemetry::LogHandle,
};

/// Says all that is wrong, on standard error, by way of the log's writer.
pub(super) fn say(log: &LogHandle, errors: &[Diagnostic]) {
    log.say(&render(errors));
}

/// Says what is no error, and probably not as it was meant, in the same way.
pub(super) fn warn(log: &LogHandle, warnings: &[Diagnostic]) {
    if !warnings.is_empty() {
        log.say(&render_warnings(warnings));
    }
}

/// All errors, in colour where standard error is a terminal that shows it and nobody says
/// otherwise (`NO_COLOR`, `TERM=dumb`).
pub(super) fn render(errors: &[Diagnostic]) -> String {
    all(errors, Level::ERROR.no_name(), &renderer())
}

/// All warnings, each with that word before it.
pub(super) fn render_warnings(warnings: &[Diagnostic]) -> String {
    all(warnings, Level::WARNING, &renderer())
}

fn renderer() -> Renderer {
    match AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => Renderer::plain(),
        _ => Renderer::styled(),
    }
}

fn all(found: &[Diagnostic], level: Level<'_>, renderer: &Renderer) -> String {
    let rendered = found.iter().map(|it| one(it, level.clone(), renderer));
    rendered.collect::<Vec<_>>().join("\n")
}

fn one(found: &Diagnostic, level: Level<'_>, renderer: &Renderer) -> String {
    let told = found.to_string();
    let title = level.primary_title(told.as_str());
    let line = found.place.as_ref().and_then(|place| place.line);
    let Some((excerpt, line)) = found.excerpt.as_ref().zip(line) else {
        return renderer.render(&[Group::with_title(title)]);
    };
    let place = AnnotationKind::Primary.span(bytes(excerpt));
    let shown = Snippet::source(excerpt.text.as_str())
        .line_start(line as usize)
        .annotation(place);
    renderer.render(&[title.element(shown)])
}

/// The place within the excerpt, in bytes.
fn bytes(excerpt: &Excerpt) -> Range<usize> {
    let text = &excerpt.text;
    let offset = |characters| {
        let at = text.char_indices().nth(characters);
        at.map_or(text.len(), |(at, _)| at)
    };
    offset(excerpt.start)..offset(excerpt.start + excerpt.length)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{
        settings::{Build, Secret, Settings, Sources, read},
        site::Site,
    };

    fn rendered(errors: &[Diagnostic], renderer: &Renderer) -> String {
        all(errors, Level::ERROR.no_name(), renderer).replace('\x1b', "␛")
    }

    fn wrong() -> Vec<Diagnostic> {
        let sources = Sources::at("src/cli/wrong.toml").set("shutdown.delay", "soon");
        read::<Site>(&sources).expect_err("it is wrong")
    }

    #[test]
    fn a_person_sees_the_line_and_the_place() {
        insta::assert_snapshot!(rendered(&wrong(), &Renderer::plain()), @r#"
        src/cli/wrong.toml:3:11: server.workers: expected a number from 0 to 512, found "many"
          |
        3 | workers = "many"
          |           ^^^^^^
        src/cli/wrong.toml:4:1: server.keepalive: unknown key (did you mean `keep_alive`?)
          |
        4 | keepalive = "75s"
          | ^^^^^^^^^
        src/cli/wrong.toml:6:12: app.message: expected a text, found 5
          |
        6 |  message = 5 # behind a tab
          |            ^
        src/cli/wrong.toml:7:53: app.routes."/hello/{name}".respond.statu: unknown key (did you mean `status`?)
          |
        7 | routes."/hello/{name}" = { respond = { body = "你好", statu = 200 } }
          |                                                       ^^^^^
        src/cli/wrong.toml:8:142: app.routes."/long".respond.stat: unknown key (known are status, body, json, body_file, headers, delay)
          |
        8 | wo three four five six seven eight nine ten eleven twelve thirteen fourteen" }, stat = 1, body = "and so it goes on and on and on, an...
          |                                                                                 ^^^^
        --set: shutdown.delay: expected a duration of at most 365 days such as "250ms", "30s" or "1h", found "soon"
        "#);
    }

    #[test]
    fn on_a_terminal_the_place_stands_out() {
        insta::assert_snapshot!(rendered(&wrong()[..2], &Renderer::styled()), @r#"
        ␛[1msrc/cli/wrong.toml:3:11: server.workers: expected a number from 0 to 512, found "many"␛[0m
          ␛[1m␛[94m|␛[0m
        ␛[1m␛[94m3␛[0m ␛[1m␛[94m|␛[0m workers = "many"
          ␛[1m␛[94m|␛[0m           ␛[1m␛[91m^^^^^^␛[0m
        ␛[1msrc/cli/wrong.toml:4:1: server.keepalive: unknown key (did you mean `keep_alive`?)␛[0m
          ␛[1m␛[94m|␛[0m
        ␛[1m␛[94m4␛[0m ␛[1m␛[94m|␛[0m keepalive = "75s"
          ␛[1m␛[94m|␛[0m ␛[1m␛[91m^^^^^^^^^␛[0m
        "#);
    }

    #[derive(Debug, Serialize, Deserialize, JsonSchema, Default)]
    #[serde(default)]
    struct Safe {
        token: Secret,
        size: u8,
    }

    impl Settings for Safe {
        const NAME: &'static str = "safe";
        type State = ();
        async fn build(&self, _: &Build) -> Result<(), Box<dyn std::error::Error>> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        for text in [
            "[app]\ntoken = [\"hunter2\"]\n",
            "[app]\ntokn = \"hunter2\"\n",
            "[app]\ntoken = \"hunter2\n",
            "app = { size = 700, token = \"hunter2\" }\n",
        ] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("safe.toml");
            fs::write(&path, text).expect("written");
            let errors = read::<Safe>(&Sources::at(path)).expect_err("wrong");
            let seen = rendered(&errors, &Renderer::plain());
            assert!(!seen.contains("hunter2"), "{text:?}: {seen}");
        }
    }
}
