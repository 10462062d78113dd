//! How patterns and paths are written: a pattern's names, its form for matchit, and the one form
//! that paths which mean the same have.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::settings::Probe;

/// A route's pattern, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As matchit writes it.
    pub(super) translated: String,
    /// The same without its rest, where it has one: matchit's own rest is never empty.
    pub(super) without_rest: Option<String>,
    /// Its names, in order.
    pub(super) names: Vec<String>,
}

impl Pattern {
    /// Reads a pattern, or says what was expected.
    pub(super) fn read(pattern: &str) -> Result<Self, &'static str> {
        let rest = pattern
            .strip_prefix('/')
            .ok_or("a pattern that begins with `/`")?;
        let mut names: Vec<String> = Vec::new();
        let mut without_rest = None;
        let mut translated = String::with_capacity(pattern.len() + 1);
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            translated.push('/');
            let tail = segment.strip_suffix('*').and_then(name);
            if let Some(name) = tail.filter(|_| segments.peek().is_none()) {
                without_rest = Some(translated.clone());
                translated.push_str(&format!("{{*{name}}}"));
                names.push(name.to_owned());
            } else if let Some(name) = name(segment) {
                translated.push_str(segment);
                names.push(name.to_owned());
            } else if segment.contains(['{', '}', '*']) || tail.is_some() {
                return Err("segments of plain text, `{name}`, or `{name}*` at the end");
            } else {
                let encoded = utf8_percent_encode(segment, NOT_IN_PATHS).to_string();
                translated.push_str(&canonical(&encoded));
            }
        }
        let mut distinct: Vec<_> = names.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < names.len() {
            return Err("a name once only");
        }
        Ok(Self {
            translated,
            without_rest,
            names,
        })
    }

    /// Why no request may ever match the pattern as it is written, though it is valid.
    pub(super) fn doubts(&self, written: &str, probes: &[Probe]) -> Vec<String> {
        let mut doubts = Vec::new();
        if let Some(mark) = written.chars().find(|char| "?#".contains(*char)) {
            let part = if mark == '?' { "query" } else { "fragment" };
            doubts.push(format!(
                "`{mark}` begins a {part}, which is no part of a path: no request matches this \
                 pattern unless it writes `{mark}` percent-encoded"
            ));
        }
        let foreign = written.split('/').find_map(|segment| {
            let colon = segment.strip_prefix(':');
            let angle = || segment.strip_prefix('<')?.strip_suffix('>');
            Some((segment, name_of(colon.or_else(angle)?)?))
        });
        if let Some((segment, name)) = foreign {
            doubts.push(format!(
                "`{segment}` matches only itself: a segment of any text is written `{{{name}}}`"
            ));
        }
        let of_it = |probe: &&Probe| canonical(&probe.path) == self.translated;
        if let Some(Probe { listener, .. }) = probes.iter().find(of_it) {
            doubts.push(format!(
                "listener `{listener}` answers this path by its `probes`: the route gets no \
                 request there"
            ));
        }
        doubts
    }

    /// What matchit has in its way, as patterns are written here: its `{*name}` is our `{name}*`.
    pub(super) fn written(translated: &str) -> String {
        match translated.rsplit_once("{*") {
            Some((before, rest)) => format!("{before}{{{rest}*"),
            None => translated.to_owned(),
        }
    }

    /// In place of one that cannot be read: it has no names.
    pub(super) fn none() -> Self {
        Self {
            translated: String::new(),
            without_rest: None,
            names: Vec::new(),
        }
    }

    /// The name of the rest, which the last segment matches.
    pub(super) fn rest(&self) -> Option<&str> {
        let _has_rest = self.without_rest.as_ref()?;
        self.names.last().map(String::as_str)
    }
}

/// The name that a whole segment stands for.
fn name(segment: &str) -> Option<&str> {
    name_of(segment.strip_prefix('{')?.strip_suffix('}')?)
}

/// A text, where it may be a name.
pub(super) fn name_of(text: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!text.is_empty() && text.bytes().all(is_plain)).then_some(text)
}

/// A segment as clients send it (RFC 3986 §3.3).
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`');

/// The one form of paths that mean the same (RFC 3986 §6.2.2): what need not be percent-encoded is
/// not, the rest is in upper case. What is reserved stays as it came: `%2F` is not `/`.
pub(super) fn canonical(path: &str) -> Cow<'_, str> {
    if path.bytes().all(|byte| byte.is_ascii() && byte != b'%') {
        return path.into();
    }
    let mut made = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(|char: char| char == '%' || !char.is_ascii()) {
        made.push_str(&rest[..at]);
        let special = &rest[at..];
        let length = match encoded(special) {
            Some(byte) => {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    made.push(byte.into());
                } else {
                    made.push_str(percent_encoding::percent_encode_byte(byte));
                }
                3
            }
            None => {
                let length = special.chars().next().map_or(1, char::len_utf8);
                made.extend(utf8_percent_encode(&special[..length], CONTROLS));
                length
            }
        };
        rest = &special[length..];
    }
    made.push_str(rest);
    made.into()
}

/// The byte that a text begins with, where it is percent-encoded.
fn encoded(text: &str) -> Option<u8> {
    let digit = |at| char::from(*text.as_bytes().get(at)?).to_digit(16);
    let byte = text
        .strip_prefix('%')
        .and_then(|_| Some(digit(1)? * 16 + digit(2)?))?;
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_mean_the_same_have_one_form() {
        let cases = [
            ("/plain;a=b", "/plain;a=b"),
            ("/%68ello%2d", "/hello-"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a%2fb%5c", "/a%2Fb%5C"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("/%é", "/%%C3%A9"),
        ];
        for (path, expected) in cases {
            assert_eq!(canonical(path), expected, "{path}");
            assert_eq!(canonical(expected), expected, "{path}");
        }
    }

    #[test]
    fn a_pattern_is_read_with_its_names() {
        let pattern = Pattern::read("/a b/{one}/{two}*").expect("a good one");
        assert_eq!(pattern.translated, "/a%20b/{one}/{*two}");
        assert_eq!(pattern.without_rest.as_deref(), Some("/a%20b/{one}/"));
        assert_eq!(pattern.names, ["one", "two"]);
        assert_eq!(pattern.rest(), Some("two"));
        assert_eq!(Pattern::written(&pattern.translated), "/a%20b/{one}/{two}*");
        assert_eq!(Pattern::written("/a/{one}"), "/a/{one}");
        for wrong in [
            "a",
            "/{}",
            "/{a}*/b",
            "/a{b}",
            "/{a}/{a}",
            "/{x:[0-9]}",
            "/*",
        ] {
            assert!(Pattern::read(wrong).is_err(), "{wrong}");
        }
    }
}
