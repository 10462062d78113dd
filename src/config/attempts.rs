//! Which attempt answers which request: one attempt runs, the others wait.
//!
//! Pure decisions: no I/O, no clock, no actor. `T` is the trigger, `A` the requester's channel.

use std::collections::VecDeque;

/// What an attempt is to do. The default reads the sources and serves them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReloadRequest {
    pub basis: Basis,
    /// Load and prepare, then forget it: nothing is served.
    pub is_dry_run: bool,
    /// Prepare anew although nothing has changed.
    pub is_forced: bool,
    /// Only where this holds when the attempt begins.
    pub condition: Option<Condition>,
}

/// Where what is to be served comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Basis {
    /// The sources, read anew.
    #[default]
    Sources,
    /// The generation of this number, kept in the history.
    Kept(u64),
}

/// What must be served when an attempt begins (`If-Match` of RFC 9110 §13.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Anything at all.
    Any,
    /// What has one of these digests.
    OneOf(Vec<String>),
}

/// The reloads of a service: at most one attempt under way, and a bounded number waiting.
///
/// Plain reloads are folded: a burst of any size costs one attempt under way and one waiting. All other
/// requests wait one by one, [`SINGLES`] at most.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempts<T, A> {
    /// The newest number given, to an attempt begun or a request refused.
    begun: u64,
    under_way: Option<RequestGroup<T, A>>,
    waiting: VecDeque<RequestGroup<T, A>>,
    /// An upgrade is under way: requests wait for this process or the next.
    held: bool,
    ended: bool,
}

/// The requests that one attempt answers, in the order in which they came. It has at least one trigger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestGroup<T, A> {
    pub request: ReloadRequest,
    pub triggers: Vec<T>,
    pub requesters: Vec<A>,
    /// Requests that this attempt answers beside the first.
    pub folded: u64,
}

/// What is to be done with a request for a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decision<T, A> {
    /// Nothing was under way: begin the attempt of this number now.
    Begin(u64),
    /// An attempt is under way, which may have read its sources already, or an upgrade: another
    /// will answer (P4).
    Waits,
    /// No attempt will be made.
    Refused(AttemptRefusal, RequestGroup<T, A>),
}

/// Why no attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptRefusal {
    /// The service is stopping.
    Stopping,
    /// [`SINGLES`] wait already.
    Busy,
}

/// How many triggers a group keeps; the rest is counted in [`RequestGroup::folded`].
pub const TRIGGERS_KEPT: usize = 6;

/// How many dry runs, rollbacks and conditional reloads may wait.
pub const SINGLES: usize = 16;

impl ReloadRequest {
    /// To go back to a generation that is kept.
    pub fn rollback(generation: u64) -> Self {
        Self {
            basis: Basis::Kept(generation),
            ..Self::default()
        }
    }

    /// Whether one attempt can answer several such requests.
    pub fn folds(&self) -> bool {
        self.basis == Basis::Sources && !self.is_dry_run && self.condition.is_none()
    }
}

impl Condition {
    pub fn holds(&self, digest: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(digests) => digests.iter().any(|known| known == digest),
        }
    }
}

impl<T, A> Default for Attempts<T, A> {
    fn default() -> Self {
        Self::after(0)
    }
}

impl<T, A> Attempts<T, A> {
    /// Counting goes on after `begun`.
    pub fn after(begun: u64) -> Self {
        Self {
            begun,
            under_way: None,
            waiting: VecDeque::new(),
            held: false,
            ended: false,
        }
    }

    /// The newest number given.
    pub fn newest(&self) -> u64 {
        self.begun
    }

    /// Somebody asks for an attempt.
    pub fn ask(&mut self, request: ReloadRequest, trigger: T, requester: A) -> Decision<T, A> {
        let group = RequestGroup::new(request, trigger, requester);
        if self.ended {
            return Decision::Refused(AttemptRefusal::Stopping, group);
        }
        if self.is_idle() && !self.held {
            self.under_way = Some(group);
            self.begun += 1;
            return Decision::Begin(self.begun);
        }
        if group.request.folds() {
            match self.foldable() {
                Some(earlier) => earlier.fold(group),
                None => self.waiting.push_back(group),
            }
            return Decision::Waits;
        }
        let singles = self.waiting.iter().filter(|group| !group.request.folds());
        if singles.count() >= SINGLES {
            return Decision::Refused(AttemptRefusal::Busy, group);
        }
        self.waiting.push_back(group);
        Decision::Waits
    }

    /// The waiting group that a plain reload may join. A rollback that was requested earlier must not undo it,
    /// so a reload joins only groups behind the last rollback.
    fn foldable(&mut self) -> Option<&mut RequestGroup<T, A>> {
        let after_rollbacks = self.waiting.iter_mut().rev();
        after_rollbacks
            .take_while(|group| group.request.basis == Basis::Sources)
            .find(|group| group.request.folds())
    }

    /// What the attempt under way is to do.
    ///
    /// # Panics
    /// Where no attempt is under way.
    pub fn request(&self) -> &ReloadRequest {
        let under_way = self.under_way.as_ref();
        &under_way.expect("an attempt is under way").request
    }

    /// The attempt under way has its outcome: those whom it answers, and the number of the attempt
    /// that is to begin now, if one waits.
    ///
    /// # Panics
    /// Where no attempt is under way.
    pub fn finish(&mut self) -> (RequestGroup<T, A>, Option<u64>) {
        let done = self
            .under_way
            .take()
            .expect("only an attempt under way finishes");
        let next = if self.held {
            None
        } else {
            self.begin_waiting()
        };
        (done, next)
    }

    /// Nothing begins until [`release`](Self::release) or [`end`](Self::end); an attempt under way
    /// goes on to its end.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Whether no attempt is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The number of the attempt that is to begin now, if one waits and none is under way.
    pub fn release(&mut self) -> Option<u64> {
        self.held = false;
        if self.is_idle() {
            self.begin_waiting()
        } else {
            None
        }
    }

    fn begin_waiting(&mut self) -> Option<u64> {
        self.under_way = self.waiting.pop_front();
        self.under_way.is_some().then(|| {
            self.begun += 1;
            self.begun
        })
    }

    /// The service stops: nothing begins any more. Those who wait, in the order of their attempts;
    /// an attempt under way stays until [`finish`](Self::finish).
    pub fn end(&mut self) -> VecDeque<RequestGroup<T, A>> {
        self.ended = true;
        std::mem::take(&mut self.waiting)
    }

    /// A number for the record of a request that no attempt will answer.
    pub fn number_refused(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }
}

impl<T, A> RequestGroup<T, A> {
    fn new(request: ReloadRequest, trigger: T, requester: A) -> Self {
        Self {
            request,
            triggers: vec![trigger],
            requesters: vec![requester],
            folded: 0,
        }
    }

    fn fold(&mut self, later: Self) {
        // A forced attempt also answers requesters of a plain reload.
        self.request.is_forced |= later.request.is_forced;
        let room = TRIGGERS_KEPT.saturating_sub(self.triggers.len());
        self.triggers.extend(later.triggers.into_iter().take(room));
        self.requesters.extend(later.requesters);
        self.folded += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dry_run() -> ReloadRequest {
        ReloadRequest {
            is_dry_run: true,
            ..ReloadRequest::default()
        }
    }

    fn plain() -> ReloadRequest {
        ReloadRequest::default()
    }

    /// The requesters of each attempt, from the one under way on.
    fn play(mut attempts: Attempts<&str, u32>) -> Vec<Vec<u32>> {
        let mut answered = Vec::new();
        loop {
            let (done, next) = attempts.finish();
            answered.push(done.requesters);
            if next.is_none() {
                return answered;
            }
        }
    }

    #[test]
    fn a_burst_costs_one_under_way_and_one_waiting() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.ask(plain(), "a", 1), Decision::Begin(1));
        for requester in 2..=100 {
            assert_eq!(attempts.ask(plain(), "b", requester), Decision::Waits);
        }
        let (first, next) = attempts.finish();
        assert_eq!((first.requesters, first.folded), (vec![1], 0));
        assert_eq!(next, Some(2));
        let (second, next) = attempts.finish();
        assert_eq!(second.requesters, (2..=100).collect::<Vec<_>>());
        assert_eq!((second.folded, second.triggers.len()), (98, TRIGGERS_KEPT));
        assert_eq!(next, None);
    }

    #[test]
    fn who_asks_during_an_attempt_is_answered_by_a_later_one() {
        let mut attempts = Attempts::default();
        attempts.ask(plain(), "a", 1);
        attempts.ask(plain(), "b", 2);
        let (first, _) = attempts.finish();
        assert_eq!(first.requesters, vec![1]);
        attempts.ask(plain(), "c", 3);
        let (second, _) = attempts.finish();
        assert_eq!(second.requesters, vec![2]);
    }

    #[test]
    fn what_is_not_plain_waits_singly_and_not_without_bound() {
        let mut attempts = Attempts::default();
        attempts.ask(plain(), "a", 0);
        for requester in 1..=16 {
            let asked = attempts.ask(dry_run(), "b", requester);
            assert_eq!(asked, Decision::Waits, "{requester}");
        }
        let refused = attempts.ask(ReloadRequest::rollback(1), "c", 17);
        let Decision::Refused(AttemptRefusal::Busy, group) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(group.requesters, vec![17]);
        assert_eq!(attempts.ask(plain(), "d", 18), Decision::Waits);
        let answered = play(attempts);
        assert_eq!(answered.len(), 18);
        assert!(answered.iter().all(|requesters| requesters.len() == 1));
    }

    #[test]
    fn a_plain_reload_passes_dry_runs_but_is_not_undone_by_an_earlier_rollback() {
        let mut attempts = Attempts::default();
        for (requester, request) in [
            plain(),
            plain(),
            dry_run(),
            plain(),
            ReloadRequest::rollback(1),
            plain(),
            dry_run(),
            plain(),
        ]
        .into_iter()
        .enumerate()
        {
            attempts.ask(request, "a", requester as u32);
        }
        let expected = vec![vec![0], vec![1, 3], vec![2], vec![4], vec![5, 7], vec![6]];
        assert_eq!(play(attempts), expected);
    }

    #[test]
    fn one_who_forces_forces_for_all_who_wait_with_them() {
        let mut attempts = Attempts::default();
        attempts.ask(plain(), "a", 1);
        attempts.ask(plain(), "a", 2);
        let forced = ReloadRequest {
            is_forced: true,
            ..ReloadRequest::default()
        };
        attempts.ask(forced, "a", 3);
        attempts.finish();
        assert!(attempts.request().is_forced);
        assert_eq!(play(attempts), [[2, 3]]);
    }

    #[test]
    fn who_asks_while_nothing_may_begin_is_answered_afterwards() {
        let mut attempts = Attempts::after(7);
        attempts.ask(plain(), "a", 1);
        attempts.hold();
        attempts.ask(plain(), "b", 2);
        assert_eq!(attempts.finish().1, None);
        assert!(attempts.is_idle());
        assert_eq!(attempts.ask(plain(), "c", 3), Decision::Waits);
        assert_eq!(attempts.release(), Some(9));
        let (second, next) = attempts.finish();
        assert_eq!((second.requesters, next), (vec![2, 3], None));
        attempts.hold();
        assert_eq!(attempts.ask(plain(), "d", 4), Decision::Waits);
        let waiting = attempts.end().into_iter().map(|group| group.requesters);
        assert_eq!(waiting.collect::<Vec<_>>(), [[4]]);
    }

    #[test]
    fn a_stop_hands_back_who_waits_and_refuses_who_comes() {
        let mut attempts = Attempts::default();
        attempts.ask(plain(), "a", 1);
        attempts.ask(plain(), "b", 2);
        attempts.ask(dry_run(), "b", 3);
        let waiting: Vec<_> = attempts
            .end()
            .into_iter()
            .map(|group| group.requesters)
            .collect();
        assert_eq!(waiting, [[2], [3]]);
        let refused = attempts.ask(plain(), "c", 4);
        assert!(matches!(
            refused,
            Decision::Refused(AttemptRefusal::Stopping, _)
        ));
        let (first, next) = attempts.finish();
        assert_eq!((first.requesters, next), (vec![1], None));
    }
}
