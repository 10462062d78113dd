//! The history: attempts and what came of them, and the settings that a rollback may go back to.
//! Keeps and finds; decides nothing, and does no I/O.

use std::{collections::VecDeque, sync::Arc};

use super::{attempt::Attempt, content::Read};

/// Attempts that are told of, at the most.
const ATTEMPTS: usize = 100;

/// Changes that all of them tell of together, at the most: more than any one does.
const CHANGES: usize = 10_000;

/// Bytes of settings text that the generations kept were read from, at the most; the newest is kept
/// however large it is. In memory settings may take 60 times as much.
const SIZE: usize = 8 * 1024 * 1024;

/// What has been.
#[derive(Default)]
pub(super) struct History {
    /// Newest first.
    attempts: VecDeque<Arc<Attempt>>,
    /// How many changes they tell of.
    changes: usize,
    /// Newest first; without the one that is served.
    generations: VecDeque<Kept>,
}

/// An earlier generation. Its state is not kept.
struct Kept {
    number: u64,
    settings: Read,
}

impl History {
    pub(super) fn enter(&mut self, attempt: Arc<Attempt>) {
        self.changes += attempt.changes.len();
        self.attempts.push_front(attempt);
        while self.attempts.len() > ATTEMPTS || self.changes > CHANGES {
            let oldest = self.attempts.pop_back();
            self.changes -= oldest.map_or(0, |oldest| oldest.changes.len());
        }
    }

    /// Newest first.
    pub(super) fn attempts(&self) -> Vec<Arc<Attempt>> {
        self.attempts.iter().cloned().collect()
    }

    /// Keeps the settings of a generation whose place another takes, and `limit` in all, or fewer where
    /// they are large.
    pub(super) fn keep(&mut self, number: u64, settings: Read, limit: usize) {
        self.generations.push_front(Kept { number, settings });
        let sizes = self.generations.iter().map(|kept| kept.settings.size());
        let fitting = fitting(sizes);
        self.generations.truncate(limit.min(fitting));
    }

    pub(super) fn kept(&self, number: u64) -> Option<&Read> {
        let mut generations = self.generations.iter();
        let kept = generations.find(|kept| kept.number == number)?;
        Some(&kept.settings)
    }
}

/// How many of these, the newest first, there is room for.
fn fitting(sizes: impl Iterator<Item = usize>) -> usize {
    let so_far = sizes.scan(0_usize, |sum, size| {
        *sum = sum.saturating_add(size);
        Some(*sum)
    });
    so_far.take_while(|sum| *sum <= SIZE).count().max(1)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::{
        attempt::{Confirmations, Outcome},
        trigger::{Trigger, TriggerKind},
    };
    use super::*;
    use crate::settings::Change;

    fn attempt(number: u64, changes: usize) -> Arc<Attempt> {
        let change = Change {
            key: "app.message".to_owned(),
            from: "a".into(),
            to: "b".into(),
            origin: None,
        };
        Arc::new(Attempt {
            number,
            folded: 0,
            outcome: Outcome::Applied,
            generation: number,
            digest: "".into(),
            changes: vec![change; changes],
            changes_omitted: 0,
            shadowed: Vec::new(),
            errors: Vec::new(),
            trigger: Trigger::new(TriggerKind::Control),
            workers: Confirmations::default(),
            load_ms: 0.0,
            prepare_ms: 0.0,
            publish_ms: 0.0,
            at: Timestamp::UNIX_EPOCH,
            others: Vec::new(),
            refused: None,
            is_dry_run: false,
            is_repeated: false,
            rollback: None,
        })
    }

    #[test]
    fn as_much_is_told_as_fits() {
        let mut history = History::default();
        let numbers = |history: &History| -> Vec<u64> {
            let attempts = history.attempts.iter();
            attempts.map(|attempt| attempt.number).collect()
        };
        for number in 1..=3 {
            history.enter(attempt(number, CHANGES / 2));
        }
        assert_eq!(numbers(&history), [3, 2]);
        history.enter(attempt(4, CHANGES));
        assert_eq!(numbers(&history), [4]);
        for number in 5..=ATTEMPTS as u64 + 10 {
            history.enter(attempt(number, 1));
        }
        assert_eq!(history.attempts.len(), ATTEMPTS);
        assert_eq!(history.changes, ATTEMPTS);
    }

    #[test]
    fn as_many_generations_are_kept_as_there_is_room_for_and_the_newest_in_any_case() {
        for (sizes, expected) in [
            (vec![100; 1000], 1000),
            (vec![SIZE, 1, 1], 1),
            (vec![SIZE / 2, SIZE / 2, 1], 2),
            (vec![1, SIZE, 1], 1),
            (vec![usize::MAX, usize::MAX], 1),
        ] {
            assert_eq!(fitting(sizes.iter().copied()), expected, "{sizes:?}");
        }
    }
}
