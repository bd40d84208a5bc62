//! The server's edge against clients that no client is like.

use axum::body::Body;
use axum::routing::get;
use futures_util::stream;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use std::io;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use tokio::sync::watch;

use super::*;

#[tokio::test]
async fn who_leaves_an_answer_unread_loses_the_connection() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let Address::Tcp(address) = listener.address().clone() else { panic!("a TCP address was asked for") };
    let (alive, mut gone) = mpsc::channel::<()>(1);
    let endless = move || {
        let alive = alive.clone();
        async move {
            // Holds `alive` for as long as somebody wants the answer.
            let pieces = stream::unfold(alive, |alive| async {
                Some((Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 16 * 1024])), alive))
            });
            Body::from_stream(pieces)
        }
    };
    let router = Router::new().route("/", get(endless));
    let limits = Limits { stall_timeout: Duration::from_millis(100), ..Limits::default() };
    let (stop, stopping) = watch::channel(false);
    let server = tokio::spawn(serve(listener, router, limits, stopping));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    // With the last answer and the router gone, nobody holds `alive`.
    stop.send(true).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        server.await.unwrap();
        gone.recv().await
    });
    assert_eq!(ended.await, Ok(None), "the connection is still served");
    drop(client);
}

#[test]
fn what_other_machines_can_reach_is_known_for_it() {
    for (address, local) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("unix:/run/typingd.sock", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("[::ffff:0.0.0.0]:1", false),
        ("[::ffff:10.0.0.1]:1", false),
        ("[fe80::1]:1", false),
        ("192.168.0.1:1", false),
        ("128.0.0.1:1", false),
    ] {
        assert_eq!(address.parse::<Address>().unwrap().is_local(), local, "{address}");
    }
}
