//! Dotted keys as people write and read them: `app.routes."/a.b".status`.
//! Owns how such a key is split and printed; knows nothing of the values behind it.

/// Levels of tables and lists that settings may nest, and segments that a dotted key may have.
pub(super) const DEPTH: usize = 64;

/// Characters of a key or a found value that a message shows.
const SHOWN: usize = 160;

/// Splits a dotted key; a segment in double quotes may hold any character.
/// `None` where a segment is empty, a quote is not closed or there are more than [`DEPTH`].
pub(super) fn split(key: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut rest = key;
    while segments.len() < DEPTH {
        let (segment, length) = first(rest)?;
        segments.push(segment);
        rest = &rest[length..];
        if rest.is_empty() {
            return Some(segments);
        }
        rest = rest.strip_prefix('.')?;
    }
    None
}

/// Prints a path as a dotted key; segments that are not bare are quoted.
pub(super) fn join<S: AsRef<str>>(path: &[S]) -> String {
    let mut key = String::new();
    for segment in path {
        if !key.is_empty() {
            key.push('.');
        }
        let segment = segment.as_ref();
        if is_bare(segment) {
            key.push_str(segment);
        } else {
            key.push_str(&serde_json::Value::from(segment).to_string());
        }
    }
    key
}

/// The text itself where it is short, else its beginning and an ellipsis.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The first segment of a key and how many bytes of the key it takes.
fn first(key: &str) -> Option<(String, usize)> {
    if key.starts_with('"') {
        let mut texts = serde_json::Deserializer::from_str(key).into_iter::<String>();
        let segment = texts.next()?.ok()?;
        Some((segment, texts.byte_offset()))
    } else {
        let length = key.find(['.', '"']).unwrap_or(key.len());
        (length > 0).then(|| (key[..length].to_owned(), length))
    }
}

/// Whether a segment needs no quotes.
pub(super) fn is_bare(segment: &str) -> bool {
    !segment.is_empty()
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_segment_may_hold_dots() {
        let path = split(r#"app.routes."/a.b/{n}".status"#).expect("a good key");
        assert_eq!(path, ["app", "routes", "/a.b/{n}", "status"]);
        assert_eq!(join(&path), r#"app.routes."/a.b/{n}".status"#);
    }

    #[test]
    fn keys_that_cannot_be_split_are_refused() {
        for key in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "a\"b\""] {
            assert_eq!(split(key), None, "{key}");
        }
        assert_eq!(split(&vec!["a"; DEPTH + 1].join(".")), None);
        assert!(split(&vec!["a"; DEPTH].join(".")).is_some());
    }

    #[test]
    fn an_escaped_quote_survives_both_ways() {
        let path = ["a \" \\ \n b".to_owned(), String::new()];
        assert_eq!(split(&join(&path)).expect("its own output"), path);
    }
}
