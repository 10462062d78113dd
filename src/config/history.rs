//! The history: attempts with their outcomes, and the settings that a rollback can load. It does no I/O.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use super::attempt::Attempt;
use crate::settings::Recipe;

/// How many attempts are kept, at the most.
const ATTEMPTS: usize = 100;

/// Changes that all of them tell of together, at the most: more than any one does.
const CHANGES: usize = 10_000;

/// Bytes of settings text that is kept, at the most; the newest generation's is kept however large it
/// is. A text that several generations were read from counts once.
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

/// An earlier generation: what its settings were made of. Neither they nor its state are kept.
struct Kept {
    number: u64,
    settings: Recipe,
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
    pub(super) fn keep(&mut self, number: u64, settings: Recipe, limit: usize) {
        self.generations.push_front(Kept { number, settings });
        let mut counted = HashSet::new();
        let sizes = self.generations.iter().map(|kept| {
            let texts = kept.settings.texts();
            let new = texts.filter(|(address, _)| counted.insert(*address));
            new.map(|(_, size)| size).sum()
        });
        let fitting = fitting(sizes);
        self.generations.truncate(limit.min(fitting));
    }

    pub(super) fn kept(&self, number: u64) -> Option<&Recipe> {
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
    use std::{
        fs,
        time::{Duration, Instant},
    };

    use jiff::Timestamp;

    use super::*;
    use crate::config::{
        attempt::Outcome,
        trigger::{Trigger, TriggerKind},
    };
    use crate::{
        server::Confirmations,
        settings::{Baseline, Change, Sources, load},
        site::Site,
    };

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

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
    fn a_text_that_generations_have_in_common_counts_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("written");
        };
        write("default.toml", format!("# {}", "x".repeat(SIZE * 3 / 4)));
        let sources = Sources::at(folder.path());
        let load = |baseline: Baseline<'_>| {
            load::<Site>(&sources, baseline, soon()).expect("right settings")
        };
        let mut history = History::default();
        let mut before = load(Baseline::Start);
        for number in 1..=5 {
            history.keep(number, before.recipe(), 4);
            write("local.toml", format!("app.message = \"{number}\""));
            before = load(Baseline::After(&before.facts));
        }
        let is_kept = |number: &u64| history.kept(*number).is_some();
        assert_eq!((1..=5).filter(is_kept).collect::<Vec<_>>(), [2, 3, 4, 5]);
        // Read anew, it is another text.
        history.keep(6, load(Baseline::Start).recipe(), 4);
        let is_kept = |number: &u64| history.kept(*number).is_some();
        assert_eq!((1..=6).filter(is_kept).collect::<Vec<_>>(), [6]);
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
