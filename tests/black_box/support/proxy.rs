//! A proxy that counts: it takes `CONNECT` and absolute-form requests, and leads them all to one address, whatever
//! host they name.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A running proxy. Its threads end with the test.
pub struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy that leads to `target`.
    pub fn to(target: SocketAddr) -> Self {
        Self::start(move |client, seen| lead(client, target, seen))
    }

    /// Starts a proxy that answers everything with this head.
    pub fn answering(head: &'static str) -> Self {
        Self::start(move |mut client, seen| {
            let asked = head_of(&mut client)?;
            seen.lock().ok()?.push(asked);
            client.write_all(head.as_bytes()).ok()?;
            // Hung up with a body unread, the answer could be lost.
            client.shutdown(Shutdown::Write).ok()?;
            std::io::copy(&mut client, &mut std::io::sink()).map(|_| ()).ok()
        })
    }

    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<String>>) -> Option<()> + Send + Sync + 'static) -> Self {
        let serve = Arc::new(serve);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, serve) = (Arc::clone(&seen), Arc::clone(&serve));
                thread::spawn(move || serve(client, &seen));
            }
        });
        Self { address, heads }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The head of each connection's first request.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no thread panics with it").clone()
    }
}

fn head_of(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn lead(mut client: TcpStream, target: SocketAddr, seen: &Mutex<Vec<String>>) -> Option<()> {
    let head = head_of(&mut client)?;
    let is_tunnel = head.starts_with("CONNECT ");
    seen.lock().ok()?.push(head.clone());
    let mut server = TcpStream::connect(target).ok()?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    } else {
        // The sandbox understands the absolute form.
        server.write_all(head.as_bytes()).ok()?;
    }
    let mut upstream = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = thread::spawn(move || {
        std::io::copy(&mut upstream.0, &mut upstream.1).ok();
        upstream.1.shutdown(Shutdown::Write).ok();
    });
    std::io::copy(&mut server, &mut client).ok();
    client.shutdown(Shutdown::Both).ok();
    up.join().ok()
}
