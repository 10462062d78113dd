//! Files that a worker's answers hold open: they count against the descriptors of the process as connections
//! do, so that slow downloads leave some for whoever connects next.

use std::{cell::Cell, rc::Rc};

/// How many files the answers of one worker hold open, and may.
#[derive(Clone, Default)]
pub(crate) struct OpenFiles(Rc<Count>);

#[derive(Default)]
struct Count {
    open: Cell<usize>,
    most: Cell<usize>,
    is_told: Cell<bool>,
}

/// Leave to hold one file open; given back when it is dropped.
pub(crate) struct Leave(Rc<Count>);

impl OpenFiles {
    pub(crate) fn limit(&self, most: usize) {
        self.0.most.set(most);
    }

    /// Leave for one more, or how many are open where there is none; told in the log once, until half of
    /// them are closed.
    pub(crate) fn open_one(&self) -> Option<Leave> {
        let Count {
            open,
            most,
            is_told,
        } = &*self.0;
        if open.get() >= most.get() {
            if !is_told.replace(true) {
                log::warn!(
                    target: "everup::server",
                    "a worker holds {} files open for clients that are slow to take them: requests for \
                     files are answered with 503 until some are closed (`ulimit -n`, `LimitNOFILE=`)",
                    open.get()
                );
            }
            return None;
        }
        open.set(open.get() + 1);
        Some(Leave(self.0.clone()))
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let left = self.0.open.get() - 1;
        self.0.open.set(left);
        if left <= self.0.most.get() / 2 {
            self.0.is_told.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_held_open_as_there_is_leave_for() {
        let files = OpenFiles::default();
        files.limit(2);
        let [first, second] = [(); 2].map(|()| files.open_one());
        assert!(first.is_some() && second.is_some() && files.open_one().is_none());
        drop(first);
        assert!(files.open_one().is_some());
        files.limit(1);
        assert!(files.open_one().is_none(), "the limit was lowered");
    }
}
