//! One attempt under way, one waiting: who asks for a reload is answered by which attempt.
//!
//! Deciding only: no I/O, no clock, no actor. `T` is what asked, `A` the asker's way back.

/// The reloads of a service: at most one attempt under way and one waiting, whatever the burst.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempts<T, A> {
    /// The newest number given, to an attempt begun or a request refused.
    begun: u64,
    under_way: Option<Order<T, A>>,
    waiting: Option<Order<T, A>>,
    /// An upgrade is under way: what is asked for waits, whoever will carry it out.
    held: bool,
    ended: bool,
}

/// Those that one attempt answers, the first to ask first. There is always one trigger at least.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order<T, A> {
    pub triggers: Vec<T>,
    pub askers: Vec<A>,
    /// Requests that this attempt answers beside the first.
    pub folded: u64,
}

/// What is to be done with a request for a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked<T, A> {
    /// Nothing was under way: begin the attempt of this number now.
    Begin(u64),
    /// An attempt is under way, which may have read its sources already, or an upgrade: another
    /// will answer (P4).
    Waits,
    /// The service is stopping: no attempt will be made.
    Refused(T, A),
}

/// How many triggers an order keeps; the rest is counted in [`Order::folded`].
pub const TRIGGERS_KEPT: usize = 6;

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
            waiting: None,
            held: false,
            ended: false,
        }
    }

    /// The newest number given.
    pub fn newest(&self) -> u64 {
        self.begun
    }

    /// Somebody asks for a reload.
    pub fn ask(&mut self, trigger: T, asker: A) -> Asked<T, A> {
        if self.ended {
            return Asked::Refused(trigger, asker);
        }
        if self.is_idle() && !self.held {
            self.under_way = Some(Order::new(trigger, asker));
            self.begun += 1;
            return Asked::Begin(self.begun);
        }
        match &mut self.waiting {
            Some(order) => order.fold(trigger, asker),
            None => self.waiting = Some(Order::new(trigger, asker)),
        }
        Asked::Waits
    }

    /// The attempt under way has its outcome: those whom it answers, and the number of the attempt
    /// that is to begin now, if one waits.
    ///
    /// # Panics
    /// Where no attempt is under way.
    pub fn finish(&mut self) -> (Order<T, A>, Option<u64>) {
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
        self.under_way = self.waiting.take();
        self.under_way.is_some().then(|| {
            self.begun += 1;
            self.begun
        })
    }

    /// The service stops: nothing begins any more. Those who wait, in the order of their attempts;
    /// an attempt under way stays until [`finish`](Self::finish).
    pub fn end(&mut self) -> Option<Order<T, A>> {
        self.ended = true;
        self.waiting.take()
    }

    /// A number for the record of a request that no attempt will answer.
    pub fn number_refused(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }
}

impl<T, A> Order<T, A> {
    pub fn new(trigger: T, asker: A) -> Self {
        Self {
            triggers: vec![trigger],
            askers: vec![asker],
            folded: 0,
        }
    }

    fn fold(&mut self, trigger: T, asker: A) {
        if self.triggers.len() < TRIGGERS_KEPT {
            self.triggers.push(trigger);
        }
        self.askers.push(asker);
        self.folded += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_costs_one_under_way_and_one_waiting() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.ask("a", 1), Asked::Begin(1));
        for asker in 2..=100 {
            assert_eq!(attempts.ask("b", asker), Asked::Waits);
        }
        let (first, next) = attempts.finish();
        assert_eq!((first.askers, first.folded), (vec![1], 0));
        assert_eq!(next, Some(2));
        let (second, next) = attempts.finish();
        assert_eq!(second.askers, (2..=100).collect::<Vec<_>>());
        assert_eq!((second.folded, second.triggers.len()), (98, TRIGGERS_KEPT));
        assert_eq!(next, None);
    }

    #[test]
    fn who_asks_during_an_attempt_is_answered_by_a_later_one() {
        let mut attempts = Attempts::default();
        attempts.ask("a", 1);
        attempts.ask("b", 2);
        let (first, _) = attempts.finish();
        assert_eq!(first.askers, vec![1]);
        attempts.ask("c", 3);
        let (second, _) = attempts.finish();
        assert_eq!(second.askers, vec![2]);
    }

    #[test]
    fn who_asks_while_nothing_may_begin_is_answered_afterwards() {
        let mut attempts = Attempts::after(7);
        attempts.ask("a", 1);
        attempts.hold();
        attempts.ask("b", 2);
        assert_eq!(attempts.finish().1, None);
        assert!(attempts.is_idle());
        assert_eq!(attempts.ask("c", 3), Asked::Waits);
        assert_eq!(attempts.release(), Some(9));
        let (second, next) = attempts.finish();
        assert_eq!((second.askers, next), (vec![2, 3], None));
        attempts.hold();
        assert_eq!(attempts.ask("d", 4), Asked::Waits);
        assert_eq!(attempts.end().map(|order| order.askers), Some(vec![4]));
    }

    #[test]
    fn a_stop_hands_back_who_waits_and_refuses_who_comes() {
        let mut attempts = Attempts::default();
        attempts.ask("a", 1);
        attempts.ask("b", 2);
        assert_eq!(attempts.end().map(|order| order.askers), Some(vec![2]));
        assert_eq!(attempts.ask("c", 3), Asked::Refused("c", 3));
        let (first, next) = attempts.finish();
        assert_eq!((first.askers, next), (vec![1], None));
    }
}
