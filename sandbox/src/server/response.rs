//! Replies as hyper sends them, whole or broken on purpose.

use std::time::Duration;

use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;

use crate::wire::Reply;

/// The connection ends here, without a reply.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the sandbox cut the connection")
    }
}

impl std::error::Error for Cut {}

pub(super) type Body = UnsyncBoxBody<Bytes, Cut>;

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

/// A reply as it is.
pub(super) fn plain(reply: Reply) -> hyper::Response<Body> {
    let response = head(&reply);
    finish(
        response,
        Full::from(reply.body).map_err(|never| match never {}).boxed_unsync(),
    )
}

/// Announces more than it sends. An empty reply announces something too, or nothing would be missing.
pub(super) fn truncated(reply: &Reply) -> hyper::Response<Body> {
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
pub(super) fn oversized(bytes: usize) -> hyper::Response<Body> {
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
