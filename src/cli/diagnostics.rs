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

/// All that is wrong, in colour where standard error is a terminal that shows it and nobody says
/// otherwise (`NO_COLOR`, `TERM=dumb`).
pub(super) fn render(errors: &[Diagnostic]) -> String {
    let renderer = match AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => Renderer::plain(),
        _ => Renderer::styled(),
    };
    let rendered: Vec<String> = errors.iter().map(|error| one(error, &renderer)).collect();
    rendered.join("\n")
}

fn one(error: &Diagnostic, renderer: &Renderer) -> String {
    let told = error.to_string();
    let title = Level::ERROR.no_name().primary_title(told.as_str());
    let line = error.place.as_ref().and_then(|place| place.line);
    let Some((excerpt, line)) = error.excerpt.as_ref().zip(line) else {
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
