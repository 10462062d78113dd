//! How slow a client may be with one body, that of its request or that of its response. Deciding only:
//! no I/O, and no clock.

use std::time::Duration;

use super::hub::Times;

/// How long a client was waited for, and what it brought or took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
}

/// How long one wait may last, and what it means that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The client brings or takes nothing.
    Silent(Duration),
    /// It is slower than `server.min_rate`.
    Slow(Duration),
}

impl Wait {
    pub(crate) fn time(self) -> Duration {
        match self {
            Self::Silent(time) | Self::Slow(time) => time,
        }
    }
}

impl Pace {
    /// So many bytes have passed.
    pub(crate) fn goes_on(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// A wait of this length has ended.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// A wait begins; `silent` is how long the client may do nothing.
    pub(crate) fn wait(&self, times: &Times, silent: Duration) -> Wait {
        if times.min_rate == 0 {
            return Wait::Silent(silent);
        }
        let earned = Duration::from_secs_f64(self.bytes as f64 / times.min_rate as f64);
        let left = (times.min_rate_grace + earned).saturating_sub(self.waited);
        match left < silent {
            true => Wait::Slow(left),
            false => Wait::Silent(silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_is_slow_has_the_grace_and_what_its_bytes_earn() {
        let mut times = Times {
            keep_alive: SECOND,
            request: SECOND,
            body: SECOND,
            write: SECOND,
            handshake: SECOND,
            linger: SECOND,
            min_rate: 100,
            min_rate_grace: 60 * SECOND,
        };
        let mut pace = Pace::default();
        let silent = 30 * SECOND;
        assert_eq!(pace.wait(&times, silent), Wait::Silent(silent));
        for _ in 0..2 {
            pace.waited(29 * SECOND);
            pace.goes_on(1);
        }
        // 60 s of grace and 20 ms for two bytes, of which 58 s are gone.
        let left = Duration::from_millis(2_020);
        assert_eq!(pace.wait(&times, silent), Wait::Slow(left));
        pace.goes_on(100_000);
        assert_eq!(pace.wait(&times, silent), Wait::Silent(silent));
        times.min_rate = 0;
        assert_eq!(Pace::default().wait(&times, silent), Wait::Silent(silent));
    }
}
