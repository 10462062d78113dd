//! The program's books and verdicts, read from its status and its log.
use super::{Conn, LoadBooks};
use everup::Running;
use serde_json::Value;

/// received = answered + aborted + cut + in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    pub received: u64,
    pub answered: u64,
    pub aborted: u64,
    /// Of the aborted ones; not in the line of a stop.
    pub aborted_by_server: u64,
    pub cut: u64,
    pub in_flight: u64,
}

impl Books {
    /// From the `requests` of a status.
    pub fn of(requests: &Value) -> Self {
        let count = |key: &str| {
            requests[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key} in {requests}"))
        };
        Self {
            received: count("received"),
            answered: count("answered"),
            aborted: count("aborted"),
            aborted_by_server: count("aborted_by_server"),
            cut: count("cut"),
            in_flight: count("in_flight"),
        }
    }

    /// Of a service in this process that has an admin listener.
    pub fn of_running(running: &Running) -> Self {
        let admin = running.admin_address().expect("it has an admin listener");
        Self::of(&Conn::open(&admin.into()).get("/status").json()["requests"])
    }

    pub fn assert_balanced(&self) {
        let sum = self.answered + self.aborted + self.cut + self.in_flight;
        assert_eq!(self.received, sum, "the books do not balance: {self:?}");
    }
}

/// The line with which the program ends:
/// `stopped: drained in 1.023 s; drain: 12 answered, 0 aborted, 0 cut; in all: 9 received = 9 answered + …`.
#[derive(Debug)]
pub struct StopReport {
    pub seconds: f64,
    pub drained: u64,
    pub aborted: u64,
    pub cut: u64,
    pub in_all: Books,
}

impl StopReport {
    pub fn parse(line: &str) -> Option<Self> {
        let (_, text) = line.split_once("stopped: drained in ")?;
        let (seconds, text) = text.split_once(" s; drain: ")?;
        let (drain, all) = text.split_once("; in all: ")?;
        Some(Self {
            seconds: seconds.parse().ok()?,
            drained: before(drain, "answered")?,
            aborted: before(drain, "aborted")?,
            cut: before(drain, "cut")?,
            in_all: Books {
                received: before(all, "received")?,
                answered: before(all, "answered")?,
                aborted: before(all, "aborted")?,
                aborted_by_server: 0,
                cut: before(all, "cut")?,
                in_flight: before(all, "in flight")?,
            },
        })
    }

    /// Nothing was lost, and both sides counted the same; `others` were asked beside the load.
    pub fn assert_agrees(&self, load: &LoadBooks, others: u64) {
        load.assert_nothing_lost();
        self.in_all.assert_balanced();
        let all = self.in_all;
        assert_eq!(
            (all.aborted, all.cut, all.in_flight),
            (0, 0, 0),
            "by the program's books: {all:?}"
        );
        assert_eq!(
            all.answered,
            load.answered + others,
            "the program's {all:?}, the clients' {load:?}"
        );
    }
}

/// The number in front of a word.
fn before(text: &str, word: &str) -> Option<u64> {
    let (front, _) = text.split_once(&format!(" {word}"))?;
    front.rsplit(' ').next()?.parse().ok()
}

/// `reload 3 applied: generation 2, …`: the one line of an attempt.
#[derive(Debug)]
pub struct AttemptLine {
    pub number: u64,
    pub outcome: String,
    pub text: String,
}

impl AttemptLine {
    pub fn parse(line: &str) -> Option<Self> {
        let (at, _) = line.match_indices("reload ").find(|(at, word)| {
            line[at + word.len()..].starts_with(|next: char| next.is_ascii_digit())
        })?;
        let (number, rest) = line[at + "reload ".len()..].split_once(' ')?;
        let (outcome, text) = rest.split_once(':')?;
        let known = ["applied", "unchanged", "rejected", "would_apply"].contains(&outcome);
        known.then_some(Self {
            number: number.parse().ok()?,
            outcome: outcome.into(),
            text: text.trim().into(),
        })
    }

    /// How many further requests it answered, by its `folded N`.
    pub fn folded(&self) -> u64 {
        let after = self
            .text
            .split_once("folded ")
            .map_or("", |(_, after)| after);
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }
}
