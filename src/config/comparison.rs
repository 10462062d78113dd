//! Lists the differences between the served and the next settings.

use serde_json::Value as Json;

use super::{content::Content, prepare::Current};
use crate::settings::{Changes, changes, file_changes};

/// What differs from what is served.
pub(super) fn compare(current: Option<&Current>, next: &Content) -> Changes {
    let Some(Current {
        content: served, ..
    }) = current
    else {
        return Changes::default();
    };
    let (from, to) = (&served.settings.effective, &next.settings.effective);
    let mut changes = changes(from, to);
    for change in &mut changes.told {
        shorten(&mut change.from);
        shorten(&mut change.to);
    }
    let mut files = file_changes(&served.files, &next.files, to);
    for change in &mut files {
        served.certificates.describe(&change.key, &mut change.from);
        next.certificates.describe(&change.key, &mut change.to);
    }
    changes.with_files(files)
}

/// The most bytes of a value in a reported change: every status repeats it.
const VALUE: usize = 1024;

/// A value that is too long becomes the beginning of its text, and says how long it was.
fn shorten(value: &mut Json) {
    let text = match &*value {
        Json::String(text) if text.len() <= VALUE => return,
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) => return,
        other => other.to_string(),
    };
    if text.len() > VALUE {
        let beginning = &text[..text.floor_char_boundary(VALUE)];
        *value = format!("{beginning}… ({} bytes)", text.len()).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_told_by_their_beginning() {
        let mut short = Json::from("a".repeat(VALUE));
        let before = short.clone();
        shorten(&mut short);
        assert_eq!(short, before);

        let mut long = Json::from("ä".repeat(VALUE));
        shorten(&mut long);
        let text = long.as_str().expect("a text");
        assert!(text.ends_with("ä… (2048 bytes)"), "{text}");

        let mut list = Json::from(vec!["abc"; 1000]);
        shorten(&mut list);
        let text = list.as_str().expect("a text");
        assert!(text.starts_with(r#"["abc","#) && text.ends_with("… (6001 bytes)"));
        let mut few = Json::from(vec![1, 2]);
        shorten(&mut few);
        assert_eq!(few, Json::from(vec![1, 2]));
    }
}
