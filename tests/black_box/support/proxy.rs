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
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || lead(client, target, &seen));
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

fn lead(mut client: TcpStream, target: SocketAddr, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_tunnel = text.starts_with("CONNECT ");
    seen.lock().ok()?.push(text);
    let mut server = TcpStream::connect(target).ok()?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    } else {
        // The sandbox understands the absolute form.
        server.write_all(&head).ok()?;
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
