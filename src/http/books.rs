//! The books of one worker: the requests that it received and how each ended.
//!
//! They lie behind the worker's own mutex, which is uncontended while requests are served. ServerActor
//! takes it to read, and at a stop's deadline to name and cut the requests in flight. That works even if
//! the worker is blocked in a handler.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix_http::{Method, StatusCode, Uri};
use serde::Serialize;
use slab::Slab;

use super::refused::{Refusal, RefusedRequests};
use crate::telemetry::{Access, AccessEnd, AccessRequest, Sent};

/// What became of requests: `received = answered + aborted + cut + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// The head was complete and well-formed: the request was handed to the service.
    pub received: u64,
    /// The last byte of the response was handed to the socket.
    pub answered: u64,
    /// The client hung up or took nothing for too long, or the response failed midway.
    pub aborted: u64,
    /// Those of the aborted ones that the server has ended for what the client did: it sent too much
    /// that brings nothing, or took nothing.
    pub aborted_by_server: u64,
    /// Ended by a stop's deadline, or by force.
    pub cut: u64,
    pub in_flight: u64,
}

impl Requests {
    /// Whether what was received is all accounted for.
    pub fn balance(&self) -> bool {
        self.received == self.answered + self.aborted + self.cut + self.in_flight
    }
}

impl std::ops::AddAssign for Requests {
    fn add_assign(&mut self, more: Self) {
        self.received += more.received;
        self.answered += more.answered;
        self.aborted += more.aborted;
        self.aborted_by_server += more.aborted_by_server;
        self.cut += more.cut;
        self.in_flight += more.in_flight;
    }
}

impl std::iter::Sum for Requests {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, more| {
            sum += more;
            sum
        })
    }
}

/// One worker's books, shared with the ServerActor.
#[derive(Default)]
pub(crate) struct Books(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    accounts: Vec<Account>,
    in_flight: Slab<Entry>,
    tickets: u64,
}

/// What one listener brought to one worker.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) listener: Arc<str>,
    pub(crate) connections: u64,
    pub(crate) requests: Requests,
    pub(crate) refused: RefusedRequests,
}

/// A request in flight.
struct Entry {
    account: usize,
    serial: u64,
    request: Received,
}

/// A request that was received, as the access log names it at its end.
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) since: Instant,
    pub(crate) generation: u64,
}

/// Which account a connection's requests are entered in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccountId(usize);

/// A request's entry in the books, to be closed once.
#[derive(Debug)]
pub(crate) struct Ticket {
    place: usize,
    serial: u64,
    /// Its response, where one has begun.
    sent: Option<Sent>,
}

impl Ticket {
    /// The head of its response is about to be handed over.
    pub(crate) fn begin(&mut self, status: StatusCode) {
        self.sent = Some(Sent { status, bytes: 0 });
    }

    /// So much more of the response's body has been handed over.
    pub(crate) fn goes_on(&mut self, bytes: usize) {
        if let Some(sent) = &mut self.sent {
            sent.bytes += bytes as u64;
        }
    }

    pub(crate) fn sent(&self) -> Option<Sent> {
        self.sent
    }
}

/// How a request ended, where it was not cut.
#[derive(Clone, Copy)]
pub(crate) enum RequestEnd {
    Answered,
    Aborted,
    /// Aborted, for what the client did.
    AbortedByServer,
}

/// A request that was cut, as the log names it.
pub(crate) struct Victim {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) age: Duration,
    pub(crate) generation: u64,
}

impl Victim {
    /// What its response came to before it was cut is not known here.
    pub(crate) fn access(&self) -> Access<'_> {
        Access {
            asked: Some(AccessRequest {
                method: &self.method,
                path: &self.path,
                generation: self.generation,
                took: self.age,
            }),
            peer: self.peer,
            sent: None,
            end: AccessEnd::Cut,
        }
    }
}

impl Books {
    /// The account of the listener of this name, opened where there is none yet.
    pub(crate) fn account(&self, listener: &Arc<str>) -> AccountId {
        let accounts = &mut self.ledger().accounts;
        let known = accounts.iter().position(|open| open.listener == *listener);
        AccountId(known.unwrap_or_else(|| {
            accounts.push(Account {
                listener: listener.clone(),
                connections: 0,
                requests: Requests::default(),
                refused: RefusedRequests::default(),
            });
            accounts.len() - 1
        }))
    }

    pub(crate) fn connected(&self, account: AccountId) {
        self.ledger().accounts[account.0].connections += 1;
    }

    pub(crate) fn disconnected(&self, account: AccountId) {
        self.ledger().accounts[account.0].connections -= 1;
    }

    /// Something was refused that is no request.
    pub(crate) fn refuse(&self, account: AccountId, refusal: Refusal) {
        self.ledger().accounts[account.0].refused.count(refusal);
    }

    /// A request's head is complete.
    pub(crate) fn receive(&self, account: AccountId, request: Received) -> Ticket {
        let mut ledger = self.ledger();
        ledger.tickets += 1;
        let serial = ledger.tickets;
        ledger.accounts[account.0].requests.received += 1;
        let place = ledger.in_flight.insert(Entry {
            account: account.0,
            serial,
            request,
        });
        Ticket {
            place,
            serial,
            sent: None,
        }
    }

    /// A request has ended. One that was cut meanwhile stays cut: then there is nothing to close.
    pub(crate) fn close(&self, ticket: &Ticket, end: RequestEnd) -> Option<Received> {
        let mut ledger = self.ledger();
        let open = ledger.in_flight.get(ticket.place);
        if open.is_none_or(|entry| entry.serial != ticket.serial) {
            return None;
        }
        let entry = ledger.in_flight.remove(ticket.place);
        let requests = &mut ledger.accounts[entry.account].requests;
        match end {
            RequestEnd::Answered => requests.answered += 1,
            RequestEnd::Aborted => requests.aborted += 1,
            RequestEnd::AbortedByServer => {
                requests.aborted += 1;
                requests.aborted_by_server += 1;
            }
        }
        Some(entry.request)
    }

    /// Enters all that is in flight as cut, and names it.
    pub(crate) fn cut(&self, now: Instant) -> Vec<Victim> {
        let mut ledger = self.ledger();
        let entries: Vec<Entry> = ledger.in_flight.drain().collect();
        let mut victims = Vec::with_capacity(entries.len());
        for Entry {
            account, request, ..
        } in entries
        {
            ledger.accounts[account].requests.cut += 1;
            victims.push(Victim {
                method: request.method,
                path: request.uri.path().to_owned(),
                peer: request.peer,
                age: now.saturating_duration_since(request.since),
                generation: request.generation,
            });
        }
        victims
    }

    /// The accounts as they stand at one moment; what is in flight is counted, not derived.
    pub(crate) fn read(&self) -> Vec<Account> {
        let ledger = self.ledger();
        let mut accounts = ledger.accounts.clone();
        for (_, entry) in &ledger.in_flight {
            accounts[entry.account].requests.in_flight += 1;
        }
        accounts
    }

    /// No call made under the lock panics, so a poisoned one still holds a whole ledger.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the books of a worker that is gone.
pub(crate) fn add(to: &mut Vec<Account>, accounts: Vec<Account>) {
    for account in accounts {
        match to.iter_mut().find(|it| it.listener == account.listener) {
            Some(known) => {
                known.requests += account.requests;
                known.refused += account.refused;
            }
            None => to.push(account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(books: &Books, account: AccountId) -> Ticket {
        let request = Received {
            method: Method::GET,
            uri: Uri::from_static("/a?b"),
            peer: None,
            since: Instant::now(),
            generation: 1,
        };
        books.receive(account, request)
    }

    #[test]
    fn the_books_balance_whatever_the_end() {
        let books = Books::default();
        let account = books.account(&"public".into());
        let [a, b, c, _d] = std::array::from_fn(|_| receive(&books, account));
        for answered in [a, b] {
            books.close(&answered, RequestEnd::Answered);
        }
        let aborted = books.close(&c, RequestEnd::Aborted).expect("it was open");
        assert_eq!((aborted.uri.path(), aborted.generation), ("/a", 1));
        let read = books.read()[0].requests;
        let expected = Requests {
            received: 4,
            answered: 2,
            aborted: 1,
            aborted_by_server: 0,
            cut: 0,
            in_flight: 1,
        };
        assert_eq!(read, expected);
        assert!(read.balance());
    }

    #[test]
    fn what_was_cut_stays_cut_when_its_worker_finishes_it_later() {
        let books = Books::default();
        let account = books.account(&"public".into());
        let late = receive(&books, account);
        let named = books.cut(Instant::now());
        assert_eq!((named.len(), named[0].path.as_str()), (1, "/a"));
        let next = receive(&books, account);
        assert_eq!(late.place, next.place, "the place is taken again");
        assert!(books.close(&late, RequestEnd::Answered).is_none());
        let read = books.read()[0].requests;
        assert_eq!((read.cut, read.answered, read.in_flight), (1, 0, 1));
    }
}
