//! A text with a pattern's names in it, filled in for each request.

use std::borrow::Cow;

use super::{pattern::name_of, table::Complaint};
use matchit::Params;
use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};

/// A text, and where the names stand that are to be filled in.
#[derive(Debug)]
pub(super) struct Template {
    /// With the names, in their braces.
    text: Box<str>,
    /// Where the names begin and end, without their braces.
    names: Box<[(u32, u32)]>,
}

/// How a matched text is made harmless in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// Percent-encoded, as the client sent it.
    AsItCame,
    /// Percent-encoded, in the path of an address.
    Path,
    /// Percent-encoded, as one value in the query of an address.
    Query,
    /// Decoded: the route's content type gives no text a meaning.
    Plain,
    /// Decoded, markup escaped.
    Markup,
    /// Decoded, as within a JSON string.
    Json,
}

impl Escape {
    /// What a body of a content type demands.
    pub(super) fn of(content_type: &str) -> Self {
        let content_type = content_type.to_ascii_lowercase();
        let is = |what: &str| content_type.contains(what);
        match () {
            () if is("json") || is("javascript") => Self::Json,
            () if is("html") || is("xml") || is("svg") => Self::Markup,
            () => Self::Plain,
        }
    }

    fn apply(self, matched: &str) -> Cow<'_, str> {
        let decoded = || percent_decode_str(matched).decode_utf8_lossy();
        match self {
            Self::AsItCame => matched.into(),
            Self::Plain => decoded(),
            // It is encoded as far as the client cared to: `%` stays.
            Self::Path => utf8_percent_encode(matched, NOT_IN_ADDRESSES).into(),
            Self::Query => utf8_percent_encode(&decoded(), RESERVED).to_string().into(),
            Self::Markup => decoded()
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
                let quoted = serde_json::Value::from(&*decoded()).to_string();
                quoted[1..quoted.len() - 1].to_owned().into()
            }
        }
    }
}

/// What must not stand as it is in an address's path; `\` is a `/` to browsers.
const NOT_IN_ADDRESSES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// All but the unreserved (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Template {
    /// Only `names` are filled in: other braces stay as they are.
    pub(super) fn new(text: &str, names: &[String]) -> Self {
        let mut found = Vec::new();
        let mut rest = text;
        while let Some((at, name)) = next(rest, names) {
            let start = text.len() - rest.len() + at + 1;
            let end = start + name.len();
            // Texts have at most 16 MiB, as the files that they are in.
            found.push((start as u32, end as u32));
            rest = &text[end + 1..];
        }
        Self {
            text: text.into(),
            names: found.into(),
        }
    }

    /// The text, where no name is filled in.
    pub(super) fn fixed(&self) -> Option<&str> {
        self.names.is_empty().then_some(&*self.text)
    }

    pub(super) fn fill(&self, params: &Params<'_, '_>, escape: Escape) -> Cow<'_, str> {
        if let Some(text) = self.fixed() {
            return text.into();
        }
        let mut filled = String::with_capacity(self.text.len());
        let mut done = 0;
        for &(start, end) in &self.names {
            let (start, end) = (start as usize, end as usize);
            filled.push_str(&self.text[done..start - 1]);
            // The rest of a path may be empty, and is then not among the params.
            let matched = params.get(&self.text[start..end]).unwrap_or_default();
            filled.push_str(&escape.apply(matched));
            done = end + 1;
        }
        filled.push_str(&self.text[done..]);
        filled.into()
    }
}

/// The names in braces that the pattern does not have, each once: the first few.
fn unknown<'t>(text: &'t str, names: &[String]) -> Vec<&'t str> {
    let mut unknown: Vec<&str> = Vec::new();
    for (at, _) in text.match_indices('{') {
        let inside = &text[at + 1..];
        // No further than any name is long: a text of braces that never close takes no longer.
        let inside = &inside[..inside.floor_char_boundary(NAME)];
        let name = inside.split_once('}').and_then(|(name, _)| name_of(name));
        let is_name = |name: &&str| !name.starts_with(|char: char| char.is_ascii_digit());
        let Some(name) = name.filter(is_name) else {
            continue;
        };
        if !names.iter().any(|known| known == name) && !unknown.contains(&name) {
            unknown.push(name);
            if unknown.len() == UNKNOWN {
                break;
            }
        }
    }
    unknown
}

/// Bytes of a name that is looked for, and its brace.
const NAME: usize = 65;

/// Unknown names that are reported of one text.
const UNKNOWN: usize = 3;

/// Where a text is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// An address or a header: braces have no other use there.
    Line,
    /// A body: braces may be part of it.
    Body,
}

/// Names in braces that the pattern does not have: an error in a [`Text::Line`] of a pattern with
/// names, else a warning.
pub(super) fn unknown_names(key: &str, text: &str, names: &[String], of: Text) -> Vec<Complaint> {
    if names.is_empty() && of == Text::Body {
        return Vec::new();
    }
    let unknown = unknown(text, names).into_iter();
    let complaints = unknown.map(|unknown| match of {
        Text::Line if !names.is_empty() => {
            let hint = hint(meant(unknown, names));
            let expected = format!("names of the pattern in braces, not `{{{unknown}}}`{hint}");
            Complaint::new(key, expected)
        }
        _ => Complaint::warning(key, sent_as_it_is(unknown, meant(unknown, names))),
    });
    complaints.collect()
}

/// What to warn of in a file's text, which others may have written: names in braces that are nearly
/// one of the pattern's.
pub(super) fn misspelt_names(text: &str, names: &[String]) -> Vec<String> {
    let unknown = unknown(text, names).into_iter();
    let misspelt = unknown.filter_map(|unknown| {
        let meant = meant(unknown, names)?;
        Some(sent_as_it_is(unknown, Some(meant)))
    });
    misspelt.collect()
}

fn sent_as_it_is(unknown: &str, meant: Option<&String>) -> String {
    let hint = hint(meant);
    format!("`{{{unknown}}}` is sent as it is: the pattern has no such name{hint}")
}

fn hint(meant: Option<&String>) -> String {
    meant.map_or_else(String::new, |name| format!(" (did you mean `{{{name}}}`?)"))
}

/// The name that an unknown one was probably meant to be.
fn meant<'n>(unknown: &str, names: &'n [String]) -> Option<&'n String> {
    let distance = |name: &&String| strsim::damerau_levenshtein(unknown, name);
    let is_near = |name: &&String| distance(name) <= unknown.len().max(3) / 3;
    names.iter().filter(is_near).min_by_key(distance)
}

/// Where the first of `names` stands in braces.
fn next<'a>(text: &str, names: &'a [String]) -> Option<(usize, &'a str)> {
    let places = text.match_indices('{');
    places
        .filter_map(|(at, _)| {
            // No further than a name is long: a text of braces that never close takes no longer.
            let inside = &text[at + 1..];
            let closes = |name: &&String| {
                let behind = inside.strip_prefix(name.as_str());
                behind.is_some_and(|behind| behind.starts_with('}'))
            };
            Some((at, names.iter().find(closes)?.as_str()))
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
        assert_eq!(Escape::Path.apply("%3Cb>\\é"), "%3Cb%3E%5C%C3%A9");
        assert_eq!(Escape::Query.apply("a&b=%3C/é"), "a%26b%3D%3C%2F%C3%A9");
    }
}
