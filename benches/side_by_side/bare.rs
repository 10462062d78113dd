//! The other side of HTTP/2: an App served by `h2` with nothing around it. It has no limits, no times,
//! no books, and cannot stop.

use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    thread,
};

use actix_http::Request;
use actix_service::{Service, ServiceFactory as _, map_config};
use actix_web::{
    App, Error,
    body::{MessageBody, to_bytes},
    dev::{AppConfig, ServiceResponse},
};
use bytes::Bytes;
use h2::server::SendResponse;
use tokio::task::spawn_local;

use crate::roles::routes;

/// Serves until the process ends; `serving` is told the address.
pub fn serve(workers: usize, serving: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    serving(listener.local_addr()?);
    let threads: Vec<_> = (0..workers)
        .map(|_| listener.try_clone())
        .map(|listener| {
            let listener = listener?;
            Ok(thread::spawn(move || {
                actix_web::rt::System::new().block_on(accept(listener))
            }))
        })
        .collect::<anyhow::Result<_>>()?;
    for thread in threads {
        thread.join().expect("no worker panics")?;
    }
    Ok(())
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = map_config(App::new().configure(routes), |()| AppConfig::default());
    let app = app.new_service(()).await;
    let app = Rc::new(app.map_err(|()| anyhow::anyhow!("the App cannot be made"))?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let app = app.clone();
        spawn_local(async move {
            let mut connection = h2::server::handshake(socket).await?;
            while let Some(accepted) = connection.accept().await {
                let (head, respond) = accepted?;
                spawn_local(answer(app.clone(), head.into_parts().0, respond));
            }
            Ok::<(), h2::Error>(())
        });
    }
}

/// Answers one request; what fails ends its stream.
async fn answer<S, B>(
    app: Rc<S>,
    head: http::request::Parts,
    mut respond: SendResponse<Bytes>,
) -> anyhow::Result<()>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let mut request = Request::new();
    request.head_mut().uri = head.uri.path().parse()?;
    for (name, value) in &head.headers {
        let name = actix_http::header::HeaderName::from_bytes(name.as_ref())?;
        let value = actix_http::header::HeaderValue::from_bytes(value.as_bytes())?;
        request.head_mut().headers.append(name, value);
    }
    let answer = app.call(request).await;
    let answer = answer.map_err(|error| anyhow::anyhow!(error.to_string()))?;
    let mut response = http::Response::builder().status(answer.status().as_u16());
    for (name, value) in answer.headers() {
        response = response.header(name.as_str(), value.as_bytes());
    }
    let body = to_bytes(answer.into_body()).await;
    let body = body.map_err(|_| anyhow::anyhow!("the body failed"))?;
    respond
        .send_response(response.body(())?, false)?
        .send_data(body, true)?;
    Ok(())
}
