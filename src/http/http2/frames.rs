//! Finds the borders of frames in a stream of bytes (RFC 9113 §4.1). Pure decisions: no I/O. `h2` judges
//! the contents.

use bytes::BytesMut;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
    /// A kind that means nothing.
    pub(super) const UNKNOWN: u8 = 0xff;

    /// Where in a frame its kind stands.
    pub(super) const KIND_AT: usize = 3;
    /// How long an answer to a PING is in all.
    pub(super) const PONG: usize = HEADER + 8;

    pub(super) const ACK: u8 = 0x1;
    pub(super) const END_STREAM: u8 = 0x1;
    pub(super) const END_HEADERS: u8 = 0x4;

    fn parse(header: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = header;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn is_answer_to_ping(self) -> bool {
        self.kind == Self::PING && self.has(Self::ACK) && self.length == 8
    }

    /// Whether it is a GOAWAY with this code; the bytes end with its last one.
    pub(super) fn is_goodbye(self, bytes: &[u8], code: u32) -> bool {
        let behind_last_stream = (self.length as usize).checked_sub(4);
        let said = behind_last_stream
            .filter(|_| self.kind == Self::GOAWAY)
            .and_then(|length| bytes.len().checked_sub(length))
            .and_then(|at| bytes[at..].first_chunk());
        said.is_some_and(|said| u32::from_be_bytes(*said) == code)
    }

    /// Whether it is a part of a block of header fields, be it the last.
    pub(super) fn is_of_head(self) -> bool {
        matches!(self.kind, Self::HEADERS | Self::CONTINUATION)
    }
}

/// The SETTINGS frame that these bytes begin with, with this limit of streams. `None` where they begin
/// with anything else, or name no limit.
pub(super) fn with_max_streams(bytes: &[u8], limit: u32) -> Option<BytesMut> {
    const SETTING: usize = 6;
    const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
    let frame = Frame::parse(*bytes.first_chunk()?);
    let whole = bytes.get(..HEADER + frame.length as usize)?;
    if frame.kind != Frame::SETTINGS || frame.has(Frame::ACK) {
        return None;
    }
    let mut changed = BytesMut::from(whole);
    let mut settings = changed[HEADER..].chunks_exact_mut(SETTING);
    let named = settings.find(|setting| setting[..2] == MAX_CONCURRENT_STREAMS)?;
    named[2..].copy_from_slice(&limit.to_be_bytes());
    Some(changed)
}

/// What has passed of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Header(Frame),
    Whole(Frame),
}

const HEADER: usize = 9;

/// Follows the frames of one direction.
#[derive(Default)]
pub(super) struct FrameTracker {
    header: [u8; HEADER],
    filled: usize,
    /// Bytes that are to come of the frame under way, or of what comes before the first.
    rest: u32,
    current: Option<Frame>,
}

impl FrameTracker {
    /// Frames that begin behind so many other bytes.
    pub(super) fn behind(preface: u32) -> Self {
        Self {
            rest: preface,
            ..Self::default()
        }
    }

    /// Follows these bytes, and tells of each header and each frame that are complete with them,
    /// and with how many of them.
    pub(super) fn follow(&mut self, all: &[u8], mut tell: impl FnMut(Passed, usize)) {
        let mut bytes = all;
        loop {
            let here = bytes.len().min(self.rest as usize);
            bytes = &bytes[here..];
            self.rest -= u32::try_from(here).unwrap_or(self.rest);
            if self.rest > 0 {
                return;
            }
            if let Some(whole) = self.current.take() {
                tell(Passed::Whole(whole), all.len() - bytes.len());
            }
            let here = bytes.len().min(HEADER - self.filled);
            self.header[self.filled..][..here].copy_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            self.filled += here;
            if self.filled < HEADER {
                return;
            }
            let frame = Frame::parse(self.header);
            tell(Passed::Header(frame), all.len() - bytes.len());
            self.filled = 0;
            self.rest = frame.length;
            self.current = Some(frame);
        }
    }
}

/// Finds where streams end among the frames that are sent.
#[derive(Default)]
pub(super) struct Ends {
    /// A head that ends its stream and is not whole.
    pending: Option<u32>,
}

impl Ends {
    /// The stream whose last frame this one is.
    pub(super) fn of(&mut self, whole: Frame) -> Option<u32> {
        let ends = whole.has(Frame::END_STREAM).then_some(whole.stream);
        match whole.kind {
            Frame::DATA => ends,
            Frame::HEADERS if whole.has(Frame::END_HEADERS) => ends,
            Frame::HEADERS => {
                self.pending = ends;
                None
            }
            Frame::CONTINUATION if whole.has(Frame::END_HEADERS) => self.pending.take(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_found_however_their_bytes_are_split() {
        let bytes = [
            b"PRI!".to_vec(),
            frame(Frame::SETTINGS, 0, 0, b""),
            frame(Frame::HEADERS, Frame::END_HEADERS, 1, b"abcdefghij"),
            frame(Frame::DATA, Frame::END_STREAM, 1, b"xyz"),
        ]
        .concat();
        for at_once in 1..=bytes.len() {
            let mut frames = FrameTracker::behind(4);
            let mut passed = Vec::new();
            for piece in bytes.chunks(at_once) {
                frames.follow(piece, |what, _| passed.push(what));
            }
            let kinds: Vec<_> = passed
                .iter()
                .map(|what| match what {
                    Passed::Header(frame) => (false, frame.kind, frame.length, frame.stream),
                    Passed::Whole(frame) => (true, frame.kind, frame.length, frame.stream),
                })
                .collect();
            assert_eq!(
                kinds,
                [
                    (false, 4, 0, 0),
                    (true, 4, 0, 0),
                    (false, 1, 10, 1),
                    (true, 1, 10, 1),
                    (false, 0, 3, 1),
                    (true, 0, 3, 1)
                ],
                "{at_once} bytes at once"
            );
        }
    }

    #[test]
    fn the_limit_of_streams_is_changed_and_nothing_else() {
        let settings = [0, 3, 0, 0, 1, 0x90, 0, 4, 0, 4, 0, 0];
        let bytes = [
            frame(Frame::SETTINGS, 0, 0, &settings),
            frame(Frame::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        ]
        .concat();
        let changed = with_max_streams(&bytes, 100).expect("it names a limit");
        let expected = [0, 3, 0, 0, 0, 100, 0, 4, 0, 4, 0, 0];
        assert_eq!(changed, frame(Frame::SETTINGS, 0, 0, &expected)[..]);
        assert_eq!(with_max_streams(&bytes[..20], 100), None);
        let without = frame(Frame::SETTINGS, 0, 0, &settings[6..]);
        assert_eq!(with_max_streams(&without, 100), None);
        let acknowledged = frame(Frame::SETTINGS, Frame::ACK, 0, b"");
        assert_eq!(with_max_streams(&acknowledged, 100), None);
    }

    #[test]
    fn a_goodbye_is_known_by_its_code() {
        let goodbye = frame(Frame::GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\x0bcalm");
        let parsed = Frame::parse(*goodbye.first_chunk().expect("a header"));
        assert!(parsed.is_goodbye(&goodbye, 11));
        assert!(!parsed.is_goodbye(&goodbye, 0));
        assert!(
            !parsed.is_goodbye(&goodbye[15..], 11),
            "its code was in bytes of before"
        );
    }

    #[test]
    fn a_stream_ends_with_its_last_frame_and_not_with_the_one_that_says_so() {
        let mut ends = Ends::default();
        let frame = |kind, flags, stream| Frame {
            length: 0,
            kind,
            flags,
            stream,
        };
        let head = Frame::END_HEADERS;
        assert_eq!(ends.of(frame(Frame::HEADERS, head, 1)), None);
        assert_eq!(ends.of(frame(Frame::DATA, 0, 1)), None);
        assert_eq!(ends.of(frame(Frame::DATA, Frame::END_STREAM, 1)), Some(1));
        let whole = head | Frame::END_STREAM;
        assert_eq!(ends.of(frame(Frame::HEADERS, whole, 3)), Some(3));
        assert_eq!(ends.of(frame(Frame::HEADERS, Frame::END_STREAM, 5)), None);
        assert_eq!(ends.of(frame(Frame::CONTINUATION, 0, 5)), None);
        assert_eq!(ends.of(frame(Frame::CONTINUATION, head, 5)), Some(5));
        assert_eq!(ends.of(frame(Frame::PING, Frame::ACK, 0)), None);
    }
}
