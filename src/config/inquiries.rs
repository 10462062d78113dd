//! Answers questions to ConfigActor: the newest attempt, the history and the served settings.

use std::sync::Arc;

use actix::{Context, Handler};

use super::{
    actor::ConfigActor,
    attempt::Attempt,
    messages::{Consult, Consulted, Recall, Recalled, Review},
};

impl Handler<Recall> for ConfigActor {
    type Result = Recalled;

    fn handle(&mut self, _: Recall, _: &mut Context<Self>) -> Recalled {
        Recalled {
            generation: self.generation(),
            digest: self.digest(),
            last_reload: self.last.clone(),
            warnings: self.warnings(),
        }
    }
}

impl Handler<Review> for ConfigActor {
    type Result = Vec<Arc<Attempt>>;

    fn handle(&mut self, _: Review, _: &mut Context<Self>) -> Self::Result {
        self.history.attempts()
    }
}

impl Handler<Consult> for ConfigActor {
    type Result = Option<Consulted>;

    fn handle(&mut self, _: Consult, _: &mut Context<Self>) -> Self::Result {
        let content = &self.current.as_ref()?.content;
        Some(Consulted {
            settings: content.shown.clone(),
            digest: content.digest.clone(),
        })
    }
}
