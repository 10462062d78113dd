//! How many frames that bring nothing a connection may send. Deciding only: no I/O, the clock is an
//! argument.
//!
//! `h2` bounds what a client can make it keep, but answers PING and SETTINGS, takes empty DATA, and
//! begins and drops requests (RST_STREAM, CVE-2023-44487) as fast as they come. Here such frames
//! are counted against what time and our own responses have earned.

use std::time::{Duration, Instant};

use super::frames::Frame;

/// Frames that may come at once.
const BURST: u32 = 1_000;

/// Frames that every second earns.
const PER_SECOND: u32 = 100;

/// A frame of ours that is shorter, and no head, earns nothing: a client may have asked for it byte
/// by byte.
const EARNS: u32 = 64;

/// What is left of a connection's allowance.
pub(super) struct Patience {
    left: u32,
    since: Instant,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
        }
    }

    /// Frames of ours have been sent.
    pub(super) fn sent(&mut self, frame: Frame) {
        let is_response =
            frame.kind == Frame::HEADERS || (frame.kind == Frame::DATA && frame.length >= EARNS);
        if is_response {
            self.earn(1 + frame.length / 1024);
        }
    }

    /// A frame of the client's has arrived. `false`: it is one too many.
    pub(super) fn received(&mut self, frame: Frame, now: Instant) -> bool {
        if brings_something(frame) {
            return true;
        }
        let seconds = now.saturating_duration_since(self.since).as_secs();
        if seconds > 0 {
            self.since += Duration::from_secs(seconds);
            let earned = u32::try_from(seconds).map_or(BURST, |s| s.saturating_mul(PER_SECOND));
            self.earn(earned);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(BURST);
    }
}

fn brings_something(frame: Frame) -> bool {
    match frame.kind {
        Frame::HEADERS => true,
        Frame::DATA => frame.length > 0 || frame.has(Frame::END_STREAM),
        // Answers to ours.
        Frame::SETTINGS | Frame::PING => frame.has(Frame::ACK),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u32) -> Frame {
        Frame {
            length,
            kind,
            flags,
            stream: 1,
        }
    }

    #[test]
    fn frames_that_bring_nothing_use_it_up_and_time_and_responses_renew_it() {
        let begun = Instant::now();
        let mut patience = Patience::new(begun);
        let ping = frame(Frame::PING, 0, 8);
        assert!((0..BURST).all(|_| patience.received(ping, begun)));
        assert!(!patience.received(ping, begun));
        for useful in [
            frame(Frame::HEADERS, Frame::END_HEADERS, 30),
            frame(Frame::DATA, 0, 1),
            frame(Frame::DATA, Frame::END_STREAM, 0),
            frame(Frame::PING, Frame::ACK, 8),
            frame(Frame::SETTINGS, Frame::ACK, 0),
        ] {
            assert!(patience.received(useful, begun), "{useful:?}");
        }
        for useless in [
            frame(Frame::DATA, 0, 0),
            frame(Frame::SETTINGS, 0, 0),
            frame(Frame::CONTINUATION, 0, 0),
            frame(3, 0, 4),
            frame(8, 0, 4),
            frame(200, 0, 0),
        ] {
            assert!(!patience.received(useless, begun), "{useless:?}");
        }
        patience.sent(frame(Frame::DATA, 0, 1));
        assert!(!patience.received(ping, begun), "a byte at a time");
        patience.sent(frame(Frame::HEADERS, Frame::END_HEADERS, 20));
        assert!(patience.received(ping, begun) && !patience.received(ping, begun));
        let later = begun + Duration::from_millis(1_500);
        assert!((0..PER_SECOND).all(|_| patience.received(ping, later)));
        assert!(!patience.received(ping, later));
        assert!(patience.received(ping, begun + Duration::from_secs(2)));
    }
}
