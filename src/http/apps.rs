//! A worker's Apps. An App reports one address and scheme to all of its requests (`app_config()`), so the
//! worker makes one for each address and scheme that it accepts at, when the first connection comes.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    rc::Rc,
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::connection::Conn;

/// What an App is told of its address where it listens at none.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Apps that are kept at the most while no connection uses them: listeners may come and go at ever
/// new addresses.
const MOST: usize = 32;

/// What an App tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) is_secure: bool,
    pub(crate) address: SocketAddr,
}

impl At {
    pub(crate) fn of(conn: &Conn) -> Self {
        Self {
            is_secure: conn.is_tls(),
            address: conn.local_addr().unwrap_or(NOWHERE),
        }
    }
}

/// Makes an App; `None` where an author's middleware fails.
type Make<A> = Box<dyn Fn(At) -> LocalBoxFuture<'static, Option<A>>>;

pub(crate) struct Apps<A> {
    make: Make<A>,
    /// The first is the one that the worker started with.
    made: RefCell<Vec<(At, Rc<A>)>>,
}

impl<A> Apps<A> {
    /// Makes the first. `None` where it cannot be made.
    pub(crate) async fn new<M>(make: M, first: At) -> Option<Self>
    where
        M: Fn(At) -> LocalBoxFuture<'static, Option<A>> + 'static,
    {
        let app = Rc::new(make(first).await?);
        Some(Self {
            make: Box::new(make),
            made: RefCell::new(vec![(first, app)]),
        })
    }

    /// The App for connections that were accepted there. Where it cannot be made, although the first
    /// could, the first serves them.
    pub(crate) async fn at(&self, at: At) -> Rc<A> {
        if let Some(known) = self.known(at) {
            return known;
        }
        let making = AssertUnwindSafe(async { (self.make)(at).await });
        let made = making.catch_unwind().await.ok().flatten();
        if let Some(known) = self.known(at) {
            return known;
        }
        let mut all = self.made.borrow_mut();
        let app = made.map(Rc::new).unwrap_or_else(|| {
            let At { address, .. } = at;
            log::error!(target: "everup::server", "the App cannot be made for {address}: another address's serves it");
            all[0].1.clone()
        });
        let mut place = 0;
        let mut spare = all.len().saturating_sub(MOST);
        all.retain(|(_, app)| {
            place += 1;
            let goes = spare > 0 && place > 1 && Rc::strong_count(app) == 1;
            spare -= usize::from(goes);
            !goes
        });
        all.push((at, app.clone()));
        app
    }

    fn known(&self, at: At) -> Option<Rc<A>> {
        let made = self.made.borrow();
        let known = made.iter().find(|(its, _)| *its == at);
        known.map(|(_, app)| app.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> At {
        At {
            is_secure: false,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    #[tokio::test]
    async fn an_app_is_made_once_for_each_address_and_the_first_serves_where_it_fails() {
        let make = |at: At| -> LocalBoxFuture<'static, Option<u16>> {
            let port = at.address.port();
            assert!(port != 3, "an author's App panics");
            Box::pin(async move { (port != 2).then_some(port) })
        };
        let apps = Apps::new(make, at(1)).await.expect("it is made");
        let first = apps.at(at(1)).await;
        let other = apps.at(at(4)).await;
        assert_eq!((*first, *other), (1, 4));
        assert!(Rc::ptr_eq(&other, &apps.at(at(4)).await));
        for failing in [2, 3] {
            assert!(Rc::ptr_eq(&first, &apps.at(at(failing)).await));
        }
        for port in 10..200 {
            apps.at(at(port)).await;
        }
        assert!(apps.made.borrow().len() <= MOST + 2);
        assert!(Rc::ptr_eq(&other, &apps.at(at(4)).await), "it is in use");
    }
}
