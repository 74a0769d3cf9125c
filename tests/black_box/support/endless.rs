//! A service whose every page names another one that was never named before.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// A running service. Its thread ends with the test.
pub struct Endless(SocketAddr);

impl Endless {
    /// Starts one that takes `pause` for each page.
    pub fn with_pause(pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        thread::spawn(move || {
            for (client, number) in listener.incoming().flatten().zip(1_u32..) {
                thread::sleep(pause);
                answer(client, number);
            }
        });
        Self(address)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}

/// Answers one request, so that the next comes over a new connection; a login finds its token in it, too.
fn answer(mut client: TcpStream, number: u32) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = format!(r#"{{"ok":true,"accessToken":"endless-access-token","entities":[],"next":"page-{number}"}}"#);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(format!("{head}{body}").as_bytes()).ok()
}
