//! Limits frames that carry no request or data. Pure decisions: no I/O, the clock is an argument.
//!
//! `h2` limits what a client can make it store. But it answers PING and SETTINGS, and begins and drops
//! requests (RST_STREAM, CVE-2023-44487), as fast as they come. Such frames are counted here against an
//! allowance that time and our own responses refill.

use std::time::{Duration, Instant};

use super::frames::Frame;

/// Frames that may come at once.
const BURST: u32 = 1_000;

/// Frames that every second earns.
const PER_SECOND: u32 = 100;

/// A piece of a response that a client had no room for as a whole earns nothing where it is shorter: a
/// client may ask for it byte by byte.
const EARNS: usize = 64;

/// What is left of a connection's allowance.
pub(super) struct Patience {
    left: u32,
    since: Instant,
    /// Openings of a window that our responses have earned.
    openings: u64,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
            openings: 0,
        }
    }

    /// A response has begun.
    pub(super) fn begin(&mut self) {
        self.earn(1);
    }

    /// So many bytes of a response's body have been handed over; `is_cut`: not more, because the client
    /// has no room.
    pub(super) fn goes_on(&mut self, bytes: usize, is_cut: bool) {
        if is_cut && bytes < EARNS {
            return;
        }
        let thousands = u32::try_from(bytes / 1024).unwrap_or(BURST);
        self.earn(thousands.saturating_add(1));
        // The stream's window and the connection's, each as often as a careful client may open it.
        self.openings += 2 + 2 * (bytes / EARNS) as u64;
    }

    /// A frame of the client's has arrived. `false`: it is one too many.
    pub(super) fn received(&mut self, frame: Frame, now: Instant) -> bool {
        if brings_something(frame) {
            return true;
        }
        if frame.kind == Frame::WINDOW_UPDATE && self.openings > 0 {
            self.openings -= 1;
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
        // `h2` takes no more of them than it has sent of its own.
        Frame::SETTINGS => frame.has(Frame::ACK),
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
            frame(Frame::SETTINGS, Frame::ACK, 0),
        ] {
            assert!(patience.received(useful, begun), "{useful:?}");
        }
        for useless in [
            frame(Frame::DATA, 0, 0),
            frame(Frame::SETTINGS, 0, 0),
            frame(Frame::PING, Frame::ACK, 8),
            frame(Frame::CONTINUATION, 0, 0),
            frame(3, 0, 4),
            frame(8, 0, 4),
            frame(200, 0, 0),
        ] {
            assert!(!patience.received(useless, begun), "{useless:?}");
        }
        patience.goes_on(1, true);
        assert!(!patience.received(ping, begun), "a byte at a time");
        patience.begin();
        assert!(patience.received(ping, begun) && !patience.received(ping, begun));
        let later = begun + Duration::from_millis(1_500);
        assert!((0..PER_SECOND).all(|_| patience.received(ping, later)));
        assert!(!patience.received(ping, later));
        assert!(patience.received(ping, begun + Duration::from_secs(2)));
    }

    #[test]
    fn a_window_may_be_opened_for_what_has_been_sent_but_not_byte_by_byte() {
        let now = Instant::now();
        let opens = frame(Frame::WINDOW_UPDATE, 0, 4);
        let mut patience = Patience::new(now);
        for _ in 0..10_000 {
            // Half a window of 1 KiB, of a stream and of its connection.
            patience.goes_on(512, true);
            assert!(patience.received(opens, now) && patience.received(opens, now));
        }
        let mut at_the_end = Patience::new(now);
        at_the_end.goes_on(16 * 1024 * 1024, false);
        assert!((0..8_192).all(|_| at_the_end.received(opens, now)));
        let mut small_events = Patience::new(now);
        for _ in 0..10_000 {
            small_events.goes_on(20, false);
            assert!(small_events.received(opens, now) && small_events.received(opens, now));
        }
        let mut byte_by_byte = Patience::new(now);
        let is_patient = (0..10_000).all(|_| {
            byte_by_byte.goes_on(1, true);
            byte_by_byte.received(opens, now) && byte_by_byte.received(opens, now)
        });
        assert!(!is_patient);
    }
}
