//! `If-Match` and `If-None-Match`: lists of entity tags (RFC 9110 §8.8.3, §13.1).
//! The tag of the settings is their digest in quotes.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::config::Condition;

/// What a list of entity tags names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`
    Any,
    These(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    is_weak: bool,
    opaque: String,
}

impl Tags {
    /// The tags of all headers of that name; `None` if there is no such header.
    ///
    /// # Errors
    /// What such a list looks like, where it does not.
    pub(super) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, String> {
        let mut texts = Vec::new();
        for value in headers.get_all(name) {
            texts.push(value.to_str().map_err(|_| unreadable(name))?);
        }
        if texts.is_empty() {
            return Ok(None);
        }
        let tags = Self::parse(&texts.join(","));
        tags.map(Some).ok_or_else(|| unreadable(name))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        if rest == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        loop {
            // A list may have empty elements (RFC 9110 §5.6.1.2).
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return (!tags.is_empty()).then_some(Self::These(tags));
            }
            let strong = rest.strip_prefix("W/");
            let (opaque, behind) = strong.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
            tags.push(Tag {
                is_weak: strong.is_some(),
                opaque: opaque.to_owned(),
            });
            rest = behind.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }

    /// What must be served: weak tags match nothing.
    pub(super) fn into_condition(self) -> Condition {
        match self {
            Self::Any => Condition::Any,
            Self::These(tags) => {
                let strong = tags.into_iter().filter(|tag| !tag.is_weak);
                Condition::OneOf(strong.map(|tag| tag.opaque).collect())
            }
        }
    }

    /// Whether this is what the client has already: weak tags count too.
    pub(super) fn name(&self, digest: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag.opaque == digest),
        }
    }
}

fn unreadable(name: &HeaderName) -> String {
    format!("`{name}`: expected `*` or a list of entity tags such as `\"sha256:…\"`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strong(digests: &[&str]) -> Option<Condition> {
        Some(Condition::OneOf(
            digests.iter().map(|&digest| digest.to_owned()).collect(),
        ))
    }

    #[test]
    fn lists_of_tags_are_read() {
        let condition = |text| Tags::parse(text).map(Tags::into_condition);
        assert_eq!(condition(" * "), Some(Condition::Any));
        assert_eq!(condition(r#""a""#), strong(&["a"]));
        assert_eq!(condition(r#" "a,b" ,, W/"c","d""#), strong(&["a,b", "d"]));
        assert_eq!(condition(r#"W/"a""#), strong(&[]));
        for text in [
            "",
            ",",
            "a",
            "\"a",
            "\"a\" \"b\"",
            "*, \"a\"",
            "w/\"a\"",
            "W/a",
        ] {
            assert_eq!(condition(text), None, "{text:?}");
        }
    }

    #[test]
    fn weak_tags_name_what_a_client_has() {
        let tags = Tags::parse(r#""a", W/"b""#).expect("a list");
        assert!(tags.name("a") && tags.name("b") && !tags.name("c"));
        assert!(Tags::Any.name("c"));
    }
}
