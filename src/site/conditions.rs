//! What a request's conditions and ranges ask of a file (RFC 9110 §13 and §14).

use std::{
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    HttpRequest,
    http::{
        Method,
        header::{
            self, EntityTag, Header, HttpDate, IfMatch, IfModifiedSince, IfNoneMatch, IfRange,
            IfUnmodifiedSince,
        },
    },
};

/// What tells one content of a file from another.
#[derive(Debug)]
pub(super) struct Validators {
    /// Of size and time alone, in whole seconds: copies of a file on several machines have the same.
    pub(super) etag: EntityTag,
    /// `None` where no date can say it, or it lies ahead (RFC 9110 §8.8.2.1).
    pub(super) modified: Option<HttpDate>,
    /// The same in seconds.
    second: u64,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Whole,
    /// These bytes, which are some.
    Part(Range<u64>),
    NotModified,
    PreconditionFailed,
    /// No range that is asked for has a byte.
    NotSatisfiable,
}

/// The first second that an HTTP date cannot say: that of the year 10,000.
const END: u64 = 253_402_300_800;

impl Validators {
    pub(super) fn new(length: u64, modified: SystemTime, now: SystemTime) -> Self {
        let since = modified.duration_since(UNIX_EPOCH).ok();
        let second = since.as_ref().map_or(0, Duration::as_secs);
        let can_be_said = since.is_some() && second < END && modified <= now;
        Self {
            etag: EntityTag::new_strong(format!("{second:x}-{length:x}")),
            modified: can_be_said.then(|| modified.into()),
            second,
        }
    }

    /// Judges a GET or HEAD of a file of this length, in the order of RFC 9110 §13.2.2.
    pub(super) fn judge(&self, request: &HttpRequest, length: u64) -> Selection {
        match get::<IfMatch>(request) {
            Some(IfMatch::Any) => {}
            Some(IfMatch::Items(tags)) => {
                if !tags.iter().any(|tag| tag.strong_eq(&self.etag)) {
                    return Selection::PreconditionFailed;
                }
            }
            None => {
                let since = get::<IfUnmodifiedSince>(request);
                if since.is_some_and(|IfUnmodifiedSince(since)| self.is_newer(since)) {
                    return Selection::PreconditionFailed;
                }
            }
        }
        let is_known = match get::<IfNoneMatch>(request) {
            Some(IfNoneMatch::Any) => true,
            Some(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&self.etag)),
            None => {
                let since = get::<IfModifiedSince>(request);
                self.modified.is_some()
                    && since.is_some_and(|IfModifiedSince(since)| !self.is_newer(since))
            }
        };
        if is_known {
            return Selection::NotModified;
        }
        if request.method() != Method::GET || !self.if_range(request) {
            return Selection::Whole;
        }
        let mut lines = request.headers().get_all(header::RANGE);
        match (
            lines.next().and_then(|line| line.to_str().ok()),
            lines.next(),
        ) {
            (Some(range), None) => ranges(range, length).unwrap_or(Selection::Whole),
            _ => Selection::Whole,
        }
    }

    fn is_newer(&self, than: HttpDate) -> bool {
        self.modified.is_some() && Some(self.second) > second(than)
    }

    /// Whether a range is of the content that the client knows.
    fn if_range(&self, request: &HttpRequest) -> bool {
        match get::<IfRange>(request) {
            None => !request.headers().contains_key(header::IF_RANGE),
            Some(IfRange::EntityTag(tag)) => tag.strong_eq(&self.etag),
            Some(IfRange::Date(date)) => {
                self.modified.is_some() && second(date) == Some(self.second)
            }
        }
    }
}

fn second(date: HttpDate) -> Option<u64> {
    let since = SystemTime::from(date).duration_since(UNIX_EPOCH);
    since.ok().map(|since| since.as_secs())
}

/// A header, where it is there and valid.
fn get<H: Header>(request: &HttpRequest) -> Option<H> {
    let is_there = request.headers().contains_key(H::name());
    is_there.then(|| H::parse(request).ok()).flatten()
}

/// What a `Range` asks for; `None` where it is to be ignored: another unit, a set that is invalid, or
/// several ranges, which would need an answer of several parts (RFC 9110 §14.2).
fn ranges(header: &str, length: u64) -> Option<Selection> {
    let (unit, set) = header.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut satisfiable = None;
    let mut count = 0;
    let trimmed = set.split(',').map(|spec| spec.trim_matches([' ', '\t']));
    for spec in trimmed.filter(|spec| !spec.is_empty()) {
        count += 1;
        if let Some(range) = range(spec, length)? {
            if satisfiable.is_some() {
                return None;
            }
            satisfiable = Some(range);
        }
    }
    match satisfiable {
        // The end of an empty file: all of it, which no `Content-Range` can say.
        Some(range) if range.is_empty() => None,
        Some(range) => Some(Selection::Part(range)),
        None if count == 0 => None,
        None => Some(Selection::NotSatisfiable),
    }
}

/// One range; `Some(None)` where it is valid and cannot be satisfied, `None` where it is invalid.
fn range(spec: &str, length: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = position(last)?;
        return Some((suffix > 0).then(|| length.saturating_sub(suffix)..length));
    }
    let first = position(first)?;
    let end = match last {
        "" => length,
        last => {
            let last = position(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(length)
        }
    };
    Some((first < length).then_some(first..end))
}

/// A number of digits alone; one that is larger than any file stands for the largest.
fn position(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_has_it() {
        let huge = "9".repeat(40);
        let part = |range| Some(Selection::Part(range));
        for (header, length, expected) in [
            ("bytes=0-0", 10, part(0..1)),
            ("bytes=2-4", 10, part(2..5)),
            ("BYTES=2-", 10, part(2..10)),
            ("bytes=-3", 10, part(7..10)),
            ("bytes=-30", 10, part(0..10)),
            ("bytes=9-100", 10, part(9..10)),
            (&format!("bytes=0-{huge}"), 10, part(0..10)),
            (&format!("bytes=-{huge}"), 10, part(0..10)),
            (
                &format!("bytes={huge}-"),
                10,
                Some(Selection::NotSatisfiable),
            ),
            (
                &format!("bytes={huge}-{huge}"),
                10,
                Some(Selection::NotSatisfiable),
            ),
            ("bytes=10-", 10, Some(Selection::NotSatisfiable)),
            ("bytes=-0", 10, Some(Selection::NotSatisfiable)),
            ("bytes=0-", 0, Some(Selection::NotSatisfiable)),
            ("bytes=0-0", 0, Some(Selection::NotSatisfiable)),
            ("bytes=-0", 0, Some(Selection::NotSatisfiable)),
            ("bytes=-1", 0, None),
            ("bytes= 2-4 ,", 10, part(2..5)),
            ("bytes=2-4, 20-", 10, part(2..5)),
            ("bytes=20-,30-", 10, Some(Selection::NotSatisfiable)),
            ("bytes=0-1,3-4", 10, None),
            ("bytes=4-2", 10, None),
            ("bytes=", 10, None),
            ("bytes=,", 10, None),
            ("bytes=-", 10, None),
            ("bytes=a-b", 10, None),
            ("bytes=+1-2", 10, None),
            ("bytes=1 - 2", 10, None),
            ("bytes=0-1,x", 10, None),
            ("bytes", 10, None),
            ("lines=0-1", 10, None),
        ] {
            assert_eq!(ranges(header, length), expected, "{header} of {length}");
        }
    }

    #[test]
    fn a_time_that_no_date_can_say_is_left_out() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let modified = |time| Validators::new(1, time, now).modified.is_some();
        assert!(modified(now) && modified(UNIX_EPOCH));
        assert!(!modified(now + Duration::from_secs(2)));
        assert!(!modified(UNIX_EPOCH - Duration::from_secs(1)));
    }
}
