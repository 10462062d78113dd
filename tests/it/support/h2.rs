//! HTTP/2 through the `h2` crate: a client for one test, and a load that honours GOAWAY and keeps books.
use super::{Address, CEILING, tls};
use bytes::Bytes;
use h2::{
    Reason,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Method, Request, StatusCode};
use std::{
    cell::RefCell,
    future::Future,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
    task::LocalSet,
};

/// A whole answer.
#[derive(Debug)]
pub struct H2Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl H2Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A request to be sent, to `http://localhost`.
pub fn h2_request(method: Method, path: &str) -> Request<()> {
    let request = Request::builder().method(method);
    let request = request.uri(format!("http://localhost{path}"));
    request.body(()).expect("a request")
}

/// One connection, which moves only while one of its methods runs.
pub struct H2 {
    runtime: Runtime,
    local: LocalSet,
    send: SendRequest<Bytes>,
}

impl H2 {
    pub fn open(address: &Address) -> Self {
        let runtime = runtime();
        let local = LocalSet::new();
        let send = local.block_on(&runtime, async { dial(address).await.expect("it accepts") });
        Self {
            runtime,
            local,
            send,
        }
    }

    pub fn get(&mut self, path: &str) -> H2Response {
        self.ask(h2_request(Method::GET, path), b"")
    }

    /// Asks, with a body where it is not empty.
    pub fn ask(&mut self, request: Request<()>, body: &'static [u8]) -> H2Response {
        let send = self.send.clone();
        let asked = ask(send, request, Bytes::from_static(body), || {});
        self.wait(asked).expect("an answer")
    }

    /// Asks, and sends no more than the beginning of a body.
    pub fn stall(&mut self, request: Request<()>, part: &'static [u8]) -> H2Response {
        let send = self.send.clone();
        let asked = async {
            let (response, mut stream) = send.ready().await?.send_request(request, false)?;
            stream.send_data(Bytes::from_static(part), false)?;
            read(response).await
        };
        self.wait(asked).expect("an answer")
    }

    /// Asks, and sends the body only where a 100 comes before the answer; whether it came.
    pub fn expect(&mut self, request: Request<()>, body: &'static [u8]) -> (bool, H2Response) {
        let send = self.send.clone();
        let asked = async {
            let (mut response, mut stream) = send.ready().await?.send_request(request, false)?;
            let first = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
            let continues = first.transpose()?;
            let continues = continues.is_some_and(|it| it.status() == StatusCode::CONTINUE);
            if continues {
                stream.send_data(Bytes::from_static(body), true)?;
            }
            Ok::<_, h2::Error>((continues, read(response).await?))
        };
        self.wait(asked).expect("an answer")
    }

    /// Asks so many times at once.
    pub fn get_at_once(&mut self, path: &str, times: usize) -> Vec<H2Response> {
        let asked: Vec<_> = (0..times)
            .map(|_| {
                let request = h2_request(Method::GET, path);
                ask(self.send.clone(), request, Bytes::new(), || {})
            })
            .collect();
        let answers = self.wait(futures_util::future::join_all(asked));
        answers
            .into_iter()
            .map(|answer| answer.expect("an answer"))
            .collect()
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let waited = async { tokio::time::timeout(CEILING, future).await };
        let ended = self.local.block_on(&self.runtime, waited);
        ended.expect("an answer in time")
    }
}

fn runtime() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}

/// Opens a connection, driven by a local task.
async fn dial(address: &Address) -> std::io::Result<SendRequest<Bytes>> {
    let (Address::Tcp(at) | Address::Tls(at)) = address else {
        panic!("{address} is no TCP address");
    };
    let socket = TcpStream::connect(at).await?;
    socket.set_nodelay(true)?;
    if let Address::Tcp(_) = address {
        return open(socket).await;
    }
    let connector = tokio_rustls::TlsConnector::from(tls::client(&[b"h2"]));
    open(connector.connect(tls::name(), socket).await?).await
}

async fn open<T>(socket: T) -> std::io::Result<SendRequest<Bytes>>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let opened = h2::client::handshake(socket).await;
    let (send, connection) = opened.map_err(std::io::Error::other)?;
    // Its end is told by the streams.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(send)
}

/// One request; `is_sent` is called when it has left.
async fn ask(
    send: SendRequest<Bytes>,
    request: Request<()>,
    mut body: Bytes,
    is_sent: impl FnOnce(),
) -> Result<H2Response, h2::Error> {
    let mut send = send.ready().await?;
    let (response, mut stream) = send.send_request(request, body.is_empty())?;
    is_sent();
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        // The answer may be there before the body is sent.
        let Some(Ok(room)) = room else { break };
        let piece = body.split_to(room);
        stream.send_data(piece, body.is_empty())?;
    }
    read(response).await
}

async fn read(response: ResponseFuture) -> Result<H2Response, h2::Error> {
    let (head, mut from) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = from.data().await {
        let piece = match piece {
            // A whole response to a request that need not be sent to its end (RFC 9113 §8.1).
            Err(error) if error.reason() == Some(Reason::NO_ERROR) && error.is_reset() => break,
            piece => piece?,
        };
        body.extend(&piece);
        from.flow_control().release_capacity(piece.len())?;
    }
    Ok(H2Response {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// The clients' books: sent = answered + lost, once all of them have ended.
#[derive(Debug, Default)]
pub struct H2Books {
    pub sent: u64,
    pub answered: u64,
    /// Sent, and not answered whole; those that a client may send again are among them.
    pub lost: u64,
    /// Connections that the server ended, and that were dialled anew.
    pub redials: u64,
    /// The first losses, and answers that were not as expected, in words.
    pub complaints: Vec<String>,
}

/// Clients under way, all on one thread.
pub struct H2Load {
    plan: Arc<Plan>,
    clients: JoinHandle<H2Books>,
}

struct Plan {
    to: Address,
    path: &'static str,
    body: Bytes,
    expected: Vec<u8>,
    answered: AtomicU64,
    is_over: AtomicBool,
}

impl H2Load {
    /// So many connections of so many streams, each asking again and again until it is refused a
    /// connection. Posts where `body` is not empty.
    pub fn start(
        to: &Address,
        (connections, streams): (usize, usize),
        path: &'static str,
        body: &'static [u8],
        expected: &[u8],
    ) -> Self {
        let plan = Arc::new(Plan {
            to: to.clone(),
            path,
            body: Bytes::from_static(body),
            expected: expected.to_vec(),
            answered: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let theirs = plan.clone();
        let clients = thread::spawn(move || {
            let books = Rc::new(RefCell::new(H2Books::default()));
            let clients = (0..connections).map(|_| client(theirs.clone(), streams, books.clone()));
            let all = futures_util::future::join_all(clients);
            LocalSet::new().block_on(&runtime(), all);
            Rc::into_inner(books).expect("all have ended").into_inner()
        });
        Self { plan, clients }
    }

    pub fn wait_answered(&self, count: u64) {
        super::eventually("answers", || {
            (self.plan.answered.load(Relaxed) >= count || self.clients.is_finished()).then_some(())
        });
        assert!(!self.clients.is_finished(), "the clients were refused");
    }

    /// Waits until every client was refused, or has its last answer.
    pub fn end(self) -> H2Books {
        self.plan.is_over.store(true, Relaxed);
        self.clients.join().expect("no client panics")
    }

    /// As [`H2Load::end`], of clients that do not cease on their own.
    pub fn until_refused(self) -> H2Books {
        self.clients.join().expect("no client panics")
    }
}

/// One connection after the other.
async fn client(plan: Arc<Plan>, streams: usize, books: Rc<RefCell<H2Books>>) {
    while let Ok(send) = dial(&plan.to).await {
        let asking = (0..streams).map(|_| keep_asking(&plan, send.clone(), &books));
        futures_util::future::join_all(asking).await;
        if plan.is_over.load(Relaxed) {
            return;
        }
        books.borrow_mut().redials += 1;
    }
}

/// Asks on one connection until that takes no more.
async fn keep_asking(plan: &Plan, send: SendRequest<Bytes>, books: &RefCell<H2Books>) {
    while !plan.is_over.load(Relaxed) {
        let method = match plan.body.is_empty() {
            true => Method::GET,
            false => Method::POST,
        };
        let request = h2_request(method, plan.path);
        let mut is_sent = false;
        let answer = ask(send.clone(), request, plan.body.clone(), || is_sent = true).await;
        if !is_sent {
            return;
        }
        let mut books = books.borrow_mut();
        books.sent += 1;
        match answer {
            Ok(answer) if answer.status == StatusCode::OK && answer.body == plan.expected => {
                books.answered += 1;
                plan.answered.fetch_add(1, Relaxed);
            }
            other => {
                books.lost += 1;
                if books.complaints.len() < 20 {
                    books.complaints.push(format!("{other:?}"));
                }
                return;
            }
        }
    }
}
