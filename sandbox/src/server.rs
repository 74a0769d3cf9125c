//! The listener: reads requests, puts faults in the way, journals, and lets the stand-ins answer.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

use crate::faults::Faults;
use crate::journal::Journal;
use crate::wire::{Reply, Request};
use crate::{Fault, Options, Service, StandIn};
use crate::{aviator, control, cto, direktiv, gitlab, port, rely};

/// More than any service takes (Direktiv's 32 MiB), so that their own limits are what a client meets.
const BODY_LIMIT: usize = 64 << 20;

/// Everything that a sandbox is, apart from its thread.
pub(crate) struct World {
    pub(crate) options: Options,
    services: Mutex<Services>,
    journal: Mutex<Journal>,
    faults: Mutex<Faults>,
}

/// The stand-ins.
pub(crate) struct Services([Box<dyn StandIn>; Service::ALL.len()]);

impl Services {
    fn new(options: &Options) -> Self {
        Self(Service::ALL.map(|service| -> Box<dyn StandIn> {
            match service {
                Service::Rely => Box::new(rely::Rely::new(options)),
                Service::Cto => Box::new(cto::Cto::new(options)),
                Service::Direktiv => Box::new(direktiv::Direktiv::new(options)),
                Service::Aviator => Box::new(aviator::Aviator::new(options)),
                Service::Port => Box::new(port::Port::new(options)),
                Service::GitLab => Box::new(gitlab::GitLab::new(options)),
            }
        }))
    }

    pub(crate) fn of(&mut self, service: Service) -> &mut dyn StandIn {
        self.0[service as usize].as_mut()
    }
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let services = Mutex::new(Services::new(&options));
        Self {
            options,
            services,
            journal: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    pub(crate) fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().expect("no stand-in panics")
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("the journal doesn't panic")
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("the faults don't panic")
    }

    pub(crate) fn reset(&self) {
        *self.services() = Services::new(&self.options);
        self.journal().clear();
        self.faults().clear();
    }

    /// Every credential and token that no page may show.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let known = &self.options.credentials;
        let mut secrets = vec![
            known.rely_token.clone(),
            known.cto_token.clone(),
            known.direktiv_token.clone(),
            known.aviator_token.clone(),
            known.port_client_secret.clone(),
            known.gitlab_job_token.clone(),
            known.gitlab_access_token.clone(),
        ];
        let mut services = self.services();
        for service in Service::ALL {
            secrets.extend(services.of(service).secrets());
        }
        secrets
    }
}

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
pub(crate) fn run(world: Arc<World>) -> io::Result<Running> {
    let listener = TcpListener::bind(world.options.listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let tls = world.options.tls.then(make_tls);
    let (acceptor, ca_pem) = tls.map_or((None, None), |(acceptor, pem)| (Some(acceptor), Some(pem)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let thread = std::thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener that doesn't block");
            tokio::spawn(accept(listener, acceptor, world));
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

/// A root made for this sandbox, and an acceptor with its certificate for `localhost` and 127.0.0.1.
fn make_tls() -> (TlsAcceptor, String) {
    let made = "rcgen makes keys and certificates of its own defaults";
    let mut root = rcgen::CertificateParams::new(Vec::<String>::new()).expect(made);
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name
        .push(rcgen::DnType::CommonName, "notify-event sandbox");
    root.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let issuer = rcgen::CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().expect(made)).expect(made);
    let key = rcgen::KeyPair::generate().expect(made);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = rcgen::CertificateParams::new(names)
        .expect(made)
        .signed_by(&key, &issuer)
        .expect(made);
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.into())
        .expect("the key is the certificate's");
    (TlsAcceptor::from(Arc::new(config)), issuer.pem())
}

async fn accept(listener: tokio::net::TcpListener, acceptor: Option<TlsAcceptor>, world: Arc<World>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: wait for some to be closed instead of spinning.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (acceptor, world) = (acceptor.clone(), Arc::clone(&world));
        tokio::spawn(async move {
            stream.set_nodelay(true).ok();
            let Ok(cutter) = Cutter::of(&stream) else { return };
            match acceptor {
                None => serve(stream, cutter, world).await,
                // A client that doesn't trust the root ends the handshake: nothing to answer then.
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, cutter, world).await,
                    Err(_) => drop(cutter),
                },
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, cutter: Cutter, world: Arc<World>) {
    let service = service_fn(|request| answer(request, &cutter, &world));
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

/// The connection ends here, without a reply.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the sandbox cut the connection")
    }
}

impl std::error::Error for Cut {}

type Body = UnsyncBoxBody<Bytes, Cut>;

async fn answer(
    request: hyper::Request<Incoming>,
    cutter: &Cutter,
    world: &World,
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
        return Ok(plain(control::answer(world, &request)));
    };
    let number = world.journal().add(service, &request);
    let fault = world.faults().take(service, &request);
    let response = answer_as(service, &request, fault, cutter, world).await?;
    world.journal().answered(number, response.status().as_u16());
    Ok(response)
}

async fn answer_as(
    service: Service,
    request: &Request,
    fault: Option<Fault>,
    cutter: &Cutter,
    world: &World,
) -> Result<hyper::Response<Body>, Cut> {
    let process = async || {
        let reply = world.services().of(service).answer(request);
        tokio::time::sleep(reply.after).await;
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
        Some(Fault::Truncate) => truncated(&process().await),
        Some(Fault::Oversize(bytes)) => oversized(bytes),
        Some(Fault::Html) => plain(Reply::html(
            200,
            "<!doctype html><title>Sign in</title><p>Please sign in.</p>",
        )),
        Some(Fault::NotJson) => plain(Reply::bytes(200, "application/json", b"{\"ok\": tru".to_vec())),
        Some(Fault::Redirect(location)) => plain(Reply::empty(307).with("location", &location)),
        Some(Fault::EchoSecrets) => plain(world.services().of(service).complain(400, &echo(request))),
        Some(Fault::Hang) => std::future::pending().await,
    })
}

/// The headers that carry credentials, and the body.
fn echo(request: &Request) -> String {
    let secret = |name: &str| control::CREDENTIAL_HEADERS.contains(&name);
    let headers = request.headers.iter().filter(|(name, _)| secret(name));
    let headers = headers
        .map(|(name, value)| format!("{name}: {value}"))
        .collect::<Vec<_>>();
    format!(
        "can't process {} {}",
        headers.join(" "),
        String::from_utf8_lossy(&request.body)
    )
}

fn head(reply: &Reply) -> hyper::http::response::Builder {
    let mut response = hyper::Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    response
}

fn finish(response: hyper::http::response::Builder, body: Body) -> hyper::Response<Body> {
    response.body(body).unwrap_or_else(|error| {
        // Only a tester's own fault can hold a header that isn't one.
        let body = Full::from(format!("the sandbox can't send this reply: {error}"));
        let mut response = hyper::Response::new(body.map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

fn plain(reply: Reply) -> hyper::Response<Body> {
    let response = head(&reply);
    finish(
        response,
        Full::from(reply.body).map_err(|never| match never {}).boxed_unsync(),
    )
}

/// Announces more than it sends. An empty reply announces something too, or nothing would be missing.
fn truncated(reply: &Reply) -> hyper::Response<Body> {
    let response = head(reply).header("content-length", reply.body.len() + 16);
    let half = Bytes::copy_from_slice(&reply.body[..reply.body.len() / 2]);
    let (mut sender, body) = Channel::<Bytes, Cut>::new(1);
    tokio::spawn(async move {
        sender.send_data(half).await.ok();
        // The half has to be on its way before the connection ends.
        tokio::time::sleep(Duration::from_millis(20)).await;
        sender.abort(Cut);
    });
    finish(response, body.boxed_unsync())
}

/// `{"padding":"xxx…"}`, in pieces, of exactly this many bytes.
fn oversized(bytes: usize) -> hyper::Response<Body> {
    const START: &[u8] = b"{\"padding\":\"";
    const END: &[u8] = b"\"}";
    const PIECE: &[u8] = &[b'x'; 1 << 16];
    let (mut sender, body) = Channel::<Bytes, Cut>::new(1);
    tokio::spawn(async move {
        let mut left = bytes.saturating_sub(START.len() + END.len());
        sender.send_data(Bytes::from_static(START)).await?;
        while left > 0 {
            let piece = &PIECE[..left.min(PIECE.len())];
            sender.send_data(Bytes::from_static(piece)).await?;
            left -= piece.len();
        }
        // Whoever stops reading makes the send fail, which ends this too.
        sender.send_data(Bytes::from_static(END)).await
    });
    finish(
        head(&Reply::empty(200).with("content-type", "application/json")),
        body.boxed_unsync(),
    )
}
