//! The extractors for handlers: [`Live`] settings and state of the request's generation, and the service's
//! [`Lifecycle`].

use std::{
    future::{Ready, ready},
    marker::PhantomData,
    ops::Deref,
    sync::Arc,
    time::Instant,
};

use actix_web::{
    Error, FromRequest, HttpMessage as _, HttpRequest, dev::Payload,
    error::ErrorInternalServerError,
};
use tokio::sync::watch;

use super::request::RequestInfo;
use crate::generation::{Generation, Pin};

/// The settings or the state of the request's generation, as an extractor.
///
/// `T` is the author's settings type or its [`State`](crate::Settings::State). Every extractor of
/// one request sees the same generation, whatever is published meanwhile. Not [`Send`]: see
/// [`share`](Self::share).
///
/// Asked for any other type, the request is answered with 500, as by `web::Data`.
pub struct Live<T> {
    pin: Pin,
    of: PhantomData<T>,
}

impl<T: 'static> Live<T> {
    /// The number of the request's generation, counted from 1 at start.
    pub fn generation(&self) -> u64 {
        self.pin.number
    }

    /// The same, to be carried into [`web::block`](actix_web::web::block) or another thread.
    pub fn share(&self) -> Shared<T> {
        Shared {
            generation: self.pin.share(),
            of: PhantomData,
        }
    }
}

impl<T: 'static> Deref for Live<T> {
    type Target = T;

    fn deref(&self) -> &T {
        found(&self.pin)
    }
}

impl<T: 'static> FromRequest for Live<T> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = pinned(request).filter(|pin| pin.find::<T>().is_some());
        ready(known.map_or_else(
            || Err(ErrorInternalServerError(unknown::<T>())),
            |pin| {
                Ok(Self {
                    pin,
                    of: PhantomData,
                })
            },
        ))
    }
}

/// A [`Live`] that may leave its worker: it holds the generation until it is dropped.
pub struct Shared<T> {
    generation: Arc<Generation>,
    of: PhantomData<fn() -> T>,
}

impl<T: 'static> Shared<T> {
    /// The number of the request's generation, counted from 1 at start.
    pub fn generation(&self) -> u64 {
        self.generation.number
    }
}

impl<T: 'static> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        found(&self.generation)
    }
}

/// The request's generation.
pub(crate) fn pinned(request: &HttpRequest) -> Option<Pin> {
    let extensions = request.extensions();
    let info = extensions.get::<RequestInfo>()?;
    Some(info.pin.clone())
}

fn found<T: 'static>(generation: &Generation) -> &T {
    generation
        .find()
        .expect("`from_request` has found it, and a generation never changes")
}

fn unknown<T>() -> String {
    let asked = std::any::type_name::<T>();
    format!("`Live<{asked}>`: neither the settings of this service nor their state")
}

/// How the service fares, as an extractor: whether it drains, and until when.
///
/// A handler that streams, or serves a WebSocket, awaits [`draining`](Self::draining) beside its
/// work, to say goodbye in time.
#[derive(Clone)]
pub struct Lifecycle {
    drains: watch::Receiver<Option<Instant>>,
}

impl Lifecycle {
    pub(crate) fn new(drains: watch::Receiver<Option<Instant>>) -> Self {
        Self { drains }
    }

    /// When what is in flight will be cut; `None` as long as the service does not drain.
    pub fn deadline(&self) -> Option<Instant> {
        *self.drains.borrow()
    }

    /// Waits until the drain begins, after `shutdown.delay`; returns its deadline. At once where it
    /// has begun.
    pub async fn draining(&mut self) -> Instant {
        let begun = self.drains.wait_for(Option::is_some).await;
        let deadline = begun.ok().and_then(|deadline| *deadline);
        // The worker is gone without a drain, and whoever asks with it.
        deadline.unwrap_or_else(Instant::now)
    }
}

impl FromRequest for Lifecycle {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let lifecycle = request.app_data::<Self>().cloned();
        ready(lifecycle.ok_or_else(|| ErrorInternalServerError("not served by everup")))
    }
}
