//! The listener: reads requests, puts faults in the way, journals, and lets the stand-ins answer.

mod response;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::control;
use crate::faults::Fault;
use crate::services::{Service, is_credential_header};
use crate::shared::Shared;
use crate::wire::{Reply, Request};
use response::{Body, Cut, oversized, plain, truncated};

/// More than any service takes (Direktiv's 32 MiB), so that their own limits are what a client meets.
const BODY_LIMIT: usize = 64 << 20;

/// The thread that serves; it ends when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: Option<String>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already, and dropping must not panic again.
            drop(thread.join());
        }
    }
}

/// Listens, and serves on a thread of its own.
pub(crate) fn run(shared: Arc<Shared>) -> io::Result<Running> {
    let listener = TcpListener::bind(shared.options.listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let tls = shared.options.tls.then(|| tls::make(&shared.options.certificate));
    let (acceptor, ca_pem) = tls.map_or((None, None), |(acceptor, pem)| (Some(acceptor), Some(pem)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener that doesn't block");
            tokio::spawn(accept(listener, acceptor, shared));
            // Nothing is ever sent: this ends when the other half is dropped.
            stopped.await.ok();
        });
        // Dropping the runtime ends every connection that is still open.
    })?;
    Ok(Running {
        address,
        ca_pem,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn accept(listener: tokio::net::TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: wait for some to be closed instead of spinning.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            stream.set_nodelay(true).ok();
            let Ok(cutter) = Cutter::of(&stream) else { return };
            match acceptor {
                None => serve(stream, cutter, shared).await,
                // A client that doesn't trust the root ends the handshake: nothing to answer then.
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, cutter, shared).await,
                    Err(_) => drop(cutter),
                },
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, cutter: Cutter, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, &cutter, &shared));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that was cut, by either side, is no problem of the sandbox.
    connection.await.ok();
}

/// Makes the end of a connection a reset instead of an orderly close.
struct Cutter(OwnedFd);

impl Cutter {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        stream.as_fd().try_clone_to_owned().map(Self)
    }

    /// With a linger of zero, closing sends RST and throws away what wasn't sent.
    fn cut(&self) -> Cut {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).ok();
        Cut
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    cutter: &Cutter,
    shared: &Shared,
) -> Result<hyper::Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let prefixed = path.strip_prefix('/').unwrap_or(path);
    // The rest keeps its slash: `/cto` and `/cto/` are told apart in the journal.
    let (first, rest) = prefixed.split_at(prefixed.find('/').unwrap_or(prefixed.len()));
    let service = Service::named(first);
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return Ok(plain(Reply::text(413, "larger than anything that a service takes")));
    };
    let lossy = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let request = Request {
        method: head.method.to_string(),
        path: if service.is_some() {
            rest.to_owned()
        } else {
            path.to_owned()
        },
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), lossy(value)))
            .collect(),
        body: body.to_bytes().to_vec(),
    };
    let Some(service) = service else {
        return Ok(plain(control::answer(shared, &request)));
    };
    let number = shared.journal().add(service, &request);
    let fault = shared.faults().take(service, &request);
    let response = answer_as(service, &request, fault, cutter, shared).await?;
    shared.journal().answered(number, response.status().as_u16());
    Ok(response)
}

async fn answer_as(
    service: Service,
    request: &Request,
    fault: Option<Fault>,
    cutter: &Cutter,
    shared: &Shared,
) -> Result<hyper::Response<Body>, Cut> {
    let process = async || {
        let reply = shared.stand_ins().of(service).answer(request);
        tokio::time::sleep(reply.after + shared.options.latency).await;
        reply
    };
    Ok(match fault {
        None => plain(process().await),
        Some(Fault::Status { code, headers, body }) => {
            let json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
            let kind = if json {
                "application/json"
            } else {
                "text/plain; charset=utf-8"
            };
            let mut reply = Reply::bytes(code, kind, body.into_bytes());
            if headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            {
                reply.headers.clear();
            }
            reply.headers.extend(headers);
            plain(reply)
        }
        Some(Fault::Delay(delay)) => {
            let reply = process().await;
            tokio::time::sleep(delay).await;
            plain(reply)
        }
        Some(Fault::Reset) => return Err(cutter.cut()),
        Some(Fault::ProcessThenReset) => {
            process().await;
            return Err(cutter.cut());
        }
        Some(Fault::ProcessThen(fault)) => {
            process().await;
            Box::pin(answer_as(service, request, Some(*fault), cutter, shared)).await?
        }
        Some(Fault::Truncate) => truncated(&process().await),
        Some(Fault::Oversize(bytes)) => oversized(bytes),
        Some(Fault::Html) => plain(Reply::html(
            200,
            "<!doctype html><title>Sign in</title><p>Please sign in.</p>",
        )),
        Some(Fault::NotJson) => plain(Reply::bytes(200, "application/json", b"{\"ok\": tru".to_vec())),
        Some(Fault::Redirect(location)) => plain(Reply::empty(307).with("location", &location)),
        Some(Fault::EchoSecrets) => plain(shared.stand_ins().of(service).error_reply(400, &echo(request))),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::ThenSeed(changed, state)) => {
            let reply = process().await;
            let seeded = shared.stand_ins().of(changed).seed(state);
            plain(seeded.map_or_else(
                |problem| Reply::text(500, &format!("{} can't be seeded: {problem}", changed.name())),
                |()| reply,
            ))
        }
    })
}

/// The headers that carry credentials, and the body.
fn echo(request: &Request) -> String {
    let headers = request.headers.iter().filter(|(name, _)| is_credential_header(name));
    let headers = headers
        .map(|(name, value)| format!("{name}: {value}"))
        .collect::<Vec<_>>();
    format!(
        "can't process {} {}",
        headers.join(" "),
        String::from_utf8_lossy(&request.body)
    )
}
