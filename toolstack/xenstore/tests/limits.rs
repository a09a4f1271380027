//! What a client says when the daemon does not answer, goes away, or answers nonsense.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};
use xenstore::wire::Header;
use xenstore::{Access, Client, Errno, Error, MessageType};

/// A client whose daemon is what the test makes of the socket's other end.
fn with(serve: impl FnOnce(UnixStream) + Send + 'static) -> (Client, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || serve(listener.accept().unwrap().0));
    (Client::connect(&path.to_string_lossy()).unwrap(), folder)
}

fn answer(stream: &mut UnixStream, kind: u32, request: u32, payload: &[u8]) {
    let length = payload.len() as u32;
    let header = Header { kind, request, transaction: 0, length };
    stream.write_all(&header.encode()).unwrap();
    stream.write_all(payload).unwrap();
}

#[test]
fn a_daemon_that_never_answers_costs_the_limit_and_the_error_names_the_request() {
    let (mut client, _folder) = with(|mut stream| _ = stream.read_to_end(&mut Vec::new()));
    client.set_limit(Duration::from_millis(50));
    let begin = Instant::now();
    let error = client.read("/local/domain/0/name").unwrap_err();
    assert!(begin.elapsed() >= Duration::from_millis(50));
    assert!(error.is_timed_out());
    assert_eq!(
        error.to_string(),
        "xenstored did not answer READ of \"/local/domain/0/name\" within 50ms"
    );
}

#[test]
fn an_answer_that_comes_after_its_limit_is_not_taken_for_the_next_ones() {
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let (mut client, _folder) = with(move |mut stream| {
        told.recv().unwrap();
        answer(&mut stream, 2, 1, b"late");
        answer(&mut stream, 15, 0, b"/w\0token\0");
        answer(&mut stream, 2, 2, b"right");
        let _ = told.recv();
    });
    client.set_limit(Duration::from_millis(20));
    assert!(client.read("/late").unwrap_err().is_timed_out());
    tell.send(()).unwrap();
    client.set_limit(Duration::from_secs(20));
    assert_eq!(client.read("/right").unwrap(), "right");
    let event = client.next_event(Duration::ZERO).unwrap().unwrap();
    assert_eq!((event.path.as_str(), event.token.as_str()), ("/w", "token"));
}

#[test]
fn a_daemon_that_goes_away_is_said_so_with_the_request() {
    let (mut client, _folder) = with(|stream| {
        let mut byte = [0];
        (&stream).read_exact(&mut byte).unwrap();
    });
    let error = client.rm("/a").unwrap_err();
    assert!(error.is_disconnected(), "{error}");
    assert!(error.to_string().contains("RM of \"/a\""), "{error}");
}

#[test]
fn an_answer_that_the_protocol_does_not_allow_is_said_so() {
    for (kind, payload, what) in
        [(3, &b"x"[..], "its type is 3"), (16, b"EFROBNICATE\0", "unknown error \"EFROBNICATE\"")]
    {
        let (mut client, _folder) = with(move |mut stream| {
            answer(&mut stream, kind, 1, payload);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        match client.read("/a") {
            Err(Error::Protocol { what: said, .. }) => assert_eq!(said, what),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_does_not_fit_or_would_end_early_is_refused_before_it_is_sent() {
    let (mut client, _folder) = with(|mut stream| _ = stream.read_to_end(&mut Vec::new()));
    let error = client.write("/a", &"x".repeat(4096)).unwrap_err();
    assert!(matches!(error, Error::TooLong { length: 4099, .. }), "{error}");
    assert!(matches!(client.read("/a\0b"), Err(Error::ZeroByte { .. })));
    assert!(matches!(client.watch("/a", "t\0"), Err(Error::ZeroByte { .. })));
}

#[test]
fn an_error_of_the_daemon_keeps_its_name_request_and_path() {
    let (mut client, _folder) = with(|mut stream| {
        answer(&mut stream, MessageType::Error as u32, 1, b"EACCES\0");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = client.read("/a").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::Access));
    assert!(error.is_permission() && !error.is_not_found());
    assert_eq!(
        error.to_string(),
        "xenstore READ of \"/a\" failed: the node's permissions do not allow it (EACCES)"
    );
}

#[test]
fn no_daemon_at_all_is_said_with_the_place_that_was_tried() {
    let error = Client::connect("/nonexistent/socket").err().unwrap();
    assert!(error.is_disconnected());
    assert_eq!(error.to_string(), "cannot connect to xenstored at /nonexistent/socket");
}
