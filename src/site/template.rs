//! A text with a pattern's names in it, filled in for each request.

use std::{borrow::Cow, collections::BTreeMap};

use matchit::Params;
use percent_encoding::percent_decode_str;

/// A text, cut at the names that are to be filled in.
pub(super) struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Name(String),
}

/// How a matched text is made harmless in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// Percent-encoded, as the client sent it.
    AsItCame,
    /// Decoded, in plain text: the route names no content type.
    PlainByDefault,
    /// Decoded: the route's content type gives no text a meaning.
    Plain,
    /// Decoded, markup escaped.
    Markup,
    /// Decoded, as within a JSON string.
    Json,
}

impl Escape {
    /// What a body of the content type among `headers` demands.
    pub(super) fn of(headers: &BTreeMap<String, String>) -> Self {
        let content_type = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let Some((_, content_type)) = content_type else {
            return Self::PlainByDefault;
        };
        let content_type = content_type.to_ascii_lowercase();
        let is = |what: &str| content_type.contains(what);
        match () {
            () if is("json") || is("javascript") => Self::Json,
            () if is("html") || is("xml") || is("svg") => Self::Markup,
            () => Self::Plain,
        }
    }

    fn apply(self, matched: &str) -> Cow<'_, str> {
        if self == Self::AsItCame {
            return matched.into();
        }
        let decoded = percent_decode_str(matched).decode_utf8_lossy();
        match self {
            Self::AsItCame | Self::Plain | Self::PlainByDefault => decoded,
            Self::Markup => decoded
                .chars()
                .fold(String::new(), |mut escaped, char| {
                    match char {
                        '&' => escaped.push_str("&amp;"),
                        '<' => escaped.push_str("&lt;"),
                        '>' => escaped.push_str("&gt;"),
                        '"' => escaped.push_str("&quot;"),
                        '\'' => escaped.push_str("&#39;"),
                        other => escaped.push(other),
                    }
                    escaped
                })
                .into(),
            Self::Json => {
                let quoted = serde_json::Value::from(&*decoded).to_string();
                quoted[1..quoted.len() - 1].to_owned().into()
            }
        }
    }
}

impl Template {
    /// Only `names` are filled in: other braces stay as they are.
    pub(super) fn new(text: &str, names: &[String]) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((at, name)) = next(rest, names) {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            pieces.push(Piece::Name(name.to_owned()));
            rest = &rest[at + name.len() + 2..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Self(pieces)
    }

    pub(super) fn fill(&self, params: &Params<'_, '_>, escape: Escape) -> Cow<'_, str> {
        match &*self.0 {
            [] => "".into(),
            [Piece::Text(text)] => text.into(),
            pieces => {
                let texts = pieces.iter().map(|piece| match piece {
                    Piece::Text(text) => Cow::from(text),
                    // The rest of a path may be empty, and is then not among the params.
                    Piece::Name(name) => escape
                        .apply(params.get(name).unwrap_or_default())
                        .into_owned()
                        .into(),
                });
                texts.collect::<String>().into()
            }
        }
    }
}

/// Where the first of `names` stands in braces.
fn next<'a>(text: &str, names: &'a [String]) -> Option<(usize, &'a str)> {
    let places = text.match_indices('{');
    places
        .filter_map(|(at, _)| {
            let (inside, _) = text[at + 1..].split_once('}')?;
            let name = names.iter().find(|name| *name == inside)?;
            Some((at, name.as_str()))
        })
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_cannot_break_out_of_its_place() {
        let sent = "%3Cb%3E%22%0a";
        assert_eq!(Escape::Markup.apply(sent), "&lt;b&gt;&quot;\n");
        assert_eq!(Escape::Json.apply(sent), r#"<b>\"\n"#);
        assert_eq!(Escape::Plain.apply(sent), "<b>\"\n");
        assert_eq!(Escape::AsItCame.apply(sent), sent);
    }
}
