//! The binary protocol.

use larder::protocol::Next;
use larder::protocol::memcached::{Server, Users};

use crate::client::{Client, Cut, cache, reply, says, server};

fn request(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], token: u64) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode];
    bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    bytes.extend_from_slice(&((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend_from_slice(b"OPAQ");
    bytes.extend_from_slice(&token.to_be_bytes());
    [&bytes, extras, key, value].concat()
}

/// A reply: opcode, status, token, then the body's parts.
#[derive(Debug, PartialEq)]
struct Reply {
    opcode: u8,
    status: u16,
    token: u64,
    extras: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        assert!(bytes[0] == 0x81 && &bytes[12..16] == b"OPAQ", "{bytes:?}");
        let (key, extras, body) =
            (usize::from(word(2)), usize::from(bytes[4]), usize::from(word(8)) << 16 | usize::from(word(10)));
        all.push(Reply {
            opcode: bytes[1],
            status: word(6),
            token: u64::from_be_bytes(bytes[16..24].try_into().unwrap()),
            extras: bytes[24..24 + extras].to_vec(),
            key: bytes[24 + extras..24 + extras + key].to_vec(),
            value: bytes[24 + extras + key..24 + body].to_vec(),
        });
        bytes = &bytes[24 + body..];
    }
    all
}

fn ask(client: &mut Client, opcode: u8, extras: &[u8], key: &[u8], value: &[u8], token: u64) -> Vec<Reply> {
    replies(&client.send(&request(opcode, extras, key, value, token), Cut::WHOLE))
}

fn one(client: &mut Client, opcode: u8, extras: &[u8], key: &[u8], value: &[u8], token: u64) -> Reply {
    let mut all = ask(client, opcode, extras, key, value, token);
    assert_eq!(all.len(), 1, "{opcode:#x}: {all:?}");
    all.remove(0)
}

const FLAGS: [u8; 8] = [0, 0, 0, 9, 0, 0, 0, 0];

#[test]
fn storing_getting_deleting() {
    let server = server();
    let mut client = Client::new(&server);
    let miss = one(&mut client, 0x00, b"", b"k", b"", 0);
    assert_eq!((miss.status, &miss.value[..]), (1, &b"Not found"[..]));
    let miss = one(&mut client, 0x0c, b"", b"k", b"", 0);
    assert_eq!((miss.status, &miss.key[..]), (1, &b"k"[..]));
    let set = one(&mut client, 0x01, &FLAGS, b"k", b"value", 0);
    assert!(set.status == 0 && set.token != 0);
    let hit = one(&mut client, 0x00, b"", b"k", b"", 0);
    assert_eq!(
        (hit.token, &hit.extras[..], &hit.key[..], &hit.value[..]),
        (set.token, &FLAGS[..4], &b""[..], &b"value"[..])
    );
    assert_eq!(one(&mut client, 0x0c, b"", b"k", b"", 0).key, b"k");
    assert_eq!(one(&mut client, 0x02, &FLAGS, b"k", b"x", 0).status, 2);
    assert_eq!(one(&mut client, 0x03, &FLAGS, b"none", b"x", 0).status, 1);
    assert_eq!(one(&mut client, 0x01, &FLAGS, b"k", b"x", set.token + 1000).status, 2);
    assert_eq!(one(&mut client, 0x01, &FLAGS, b"none", b"x", 5).status, 1);
    let set = one(&mut client, 0x01, &FLAGS, b"k", b"x", set.token);
    assert_eq!(set.status, 0);
    assert_eq!(one(&mut client, 0x0e, b"", b"k", b"yz", 0).status, 0);
    assert_eq!(one(&mut client, 0x0f, b"", b"k", b"w", 0).status, 0);
    assert_eq!(one(&mut client, 0x0e, b"", b"none", b"yz", 0).status, 5);
    assert_eq!(one(&mut client, 0x00, b"", b"k", b"", 0).value, b"wxyz");
    assert_eq!(one(&mut client, 0x04, b"", b"k", b"", 1).status, 2);
    assert_eq!(one(&mut client, 0x04, b"", b"k", b"", 0).status, 0);
    assert_eq!(one(&mut client, 0x04, b"", b"k", b"", 0).status, 1);
}

#[test]
fn quiet_requests_say_only_what_matters() {
    let server = server();
    let mut client = Client::new(&server);
    for (opcode, extras, key, value) in [
        (0x11u8, &FLAGS[..], &b"k"[..], &b"v"[..]),
        (0x09, b"", b"none", b""),
        (0x0d, b"", b"none", b""),
        (0x13, &FLAGS, b"k", b"w"),
        (0x19, b"", b"k", b"x"),
        (0x1a, b"", b"k", b"u"),
    ] {
        assert_eq!(ask(&mut client, opcode, extras, key, value, 0), [], "{opcode:#x}");
    }
    assert_eq!(one(&mut client, 0x12, &FLAGS, b"k", b"v", 0).status, 2);
    assert_eq!(one(&mut client, 0x09, b"", b"k", b"", 0).value, b"uwx");
    assert_eq!(one(&mut client, 0x0d, b"", b"k", b"", 0).key, b"k");
    assert_eq!(one(&mut client, 0x14, b"", b"none", b"", 0).status, 1);
    assert_eq!(ask(&mut client, 0x14, b"", b"k", b"", 0), []);
    assert_eq!(ask(&mut client, 0x18, b"", b"", b"", 0), []);
    assert_eq!(ask(&mut client, 0x17, b"", b"", b"", 0), []);
    assert_eq!(client.next, Next::Close);
}

#[test]
fn numbers_times_and_the_rest() {
    let server = server();
    let mut client = Client::new(&server);
    let step =
        |by: u64, initial: u64, end: u32| [&by.to_be_bytes()[..], &initial.to_be_bytes(), &end.to_be_bytes()].concat();
    assert_eq!(one(&mut client, 0x05, &step(1, 0, u32::MAX), b"n", b"", 0).status, 1);
    let made = one(&mut client, 0x05, &step(1, 41, 0), b"n", b"", 0);
    assert_eq!(made.value, 41u64.to_be_bytes());
    let stepped = one(&mut client, 0x05, &step(1, 0, 0), b"n", b"", made.token);
    assert_eq!(stepped.value, 42u64.to_be_bytes());
    assert_eq!(one(&mut client, 0x06, &step(1, 0, 0), b"n", b"", made.token).status, 2);
    assert_eq!(one(&mut client, 0x06, &step(50, 0, 0), b"n", b"", 0).value, 0u64.to_be_bytes());
    one(&mut client, 0x01, &FLAGS, b"s", b"x", 0);
    assert_eq!(one(&mut client, 0x05, &step(1, 0, 0), b"s", b"", 0).status, 6);
    let touched = one(&mut client, 0x1c, &30u32.to_be_bytes(), b"s", b"", 0);
    assert_eq!((touched.status, touched.value.len(), &touched.extras[..]), (0, 0, &FLAGS[..4]));
    assert_eq!(one(&mut client, 0x1d, &30u32.to_be_bytes(), b"s", b"", 0).value, b"x");
    assert_eq!(one(&mut client, 0x23, &30u32.to_be_bytes(), b"s", b"", 0).key, b"s");
    assert_eq!(one(&mut client, 0x1c, &30u32.to_be_bytes(), b"none", b"", 0).status, 1);
    assert_eq!(one(&mut client, 0x0b, b"", b"", b"", 0).value, b"1.6.0");
    assert_eq!(one(&mut client, 0x0a, b"", b"", b"", 0).status, 0);
    assert_eq!(one(&mut client, 0x08, &[0; 4], b"", b"", 0).status, 0);
    assert_eq!(one(&mut client, 0x00, b"", b"s", b"", 0).status, 1);
    let stats = ask(&mut client, 0x10, b"", b"", b"", 0);
    assert!(stats.iter().any(|row| row.key == b"cmd_flush" && row.value == b"1"));
    assert!(stats.last().is_some_and(|row| row.key.is_empty() && row.value.is_empty()));
    assert_eq!(one(&mut client, 0x10, b"", b"what", b"", 0).status, 1);
    assert_eq!(one(&mut client, 0x77, b"", b"key", b"value", 0).status, 0x81);
    assert_eq!(one(&mut client, 0x20, b"", b"", b"", 0).status, 0x81);
    assert_eq!(one(&mut client, 0x21, b"", b"PLAIN", b"x", 0).status, 0x81);
    one(&mut client, 0x64, &[0; 4], b"cluster", b"1\na||1\n", 0);
    assert_eq!(one(&mut client, 0x60, b"", b"cluster", b"", 0).value, b"1\na||1\n");
    // The key that old clients ask for.
    let old = one(&mut client, 0x0c, b"", b"AmazonElastiCache:cluster", b"", 0);
    assert_eq!((old.status, &old.key[..], &old.value[..]), (0, &b"AmazonElastiCache:cluster"[..], &b"1\na||1\n"[..]));
    assert_eq!(one(&mut client, 0x66, b"", b"cluster", b"", 0).status, 0);
    assert_eq!(one(&mut client, 0x00, b"", b"AmazonElastiCache:cluster", b"", 0).status, 1);
    assert_eq!(one(&mut client, 0x60, b"", b"cluster", b"", 0).status, 1);
    assert_eq!(one(&mut client, 0x07, b"", b"", b"", 0).status, 0);
    assert_eq!(client.next, Next::Close);
}

#[test]
fn a_header_that_cannot_be_is_answered_at_once() {
    // More extras and key than body; a key that is too long; a body beyond all bounds.
    for (key_len, extras_len, body_len, status) in
        [(9u16, 8, 16u32, 0x81), (251, 8, 300, 4), (1, 8, u32::MAX, 4), (0, 8, 9, 4)]
    {
        let mut header = request(0x01, b"", b"", b"", 0);
        header[2..4].copy_from_slice(&key_len.to_be_bytes());
        header[4] = extras_len;
        header[8..12].copy_from_slice(&body_len.to_be_bytes());
        let mut client = Client::new(&server());
        let answers = replies(&client.send(&header, Cut::WHOLE));
        assert_eq!((answers.len(), answers[0].status, client.next), (1, status, Next::Close), "{key_len} {body_len}");
    }
}

#[test]
fn a_dialogue_cut_anywhere() {
    let big = vec![b'b'; 20_000];
    let requests = [
        request(0x01, &FLAGS, b"k", &big, 0),
        request(0x0e, b"", b"k", &big[..5000], 0),
        request(0x11, &FLAGS, b"j", b"small", 0),
        request(0x0d, b"", b"none", b"", 0),
        request(0x04, b"", b"j", b"", 0),
        request(0x01, &FLAGS, b"huge", &vec![0; 2 << 20], 0),
        request(0x07, b"", b"", b"", 0),
    ];
    let server = || Server::builder(cache().0.max_item_size(1 << 20).build().unwrap()).build();
    let expected = reply(&server(), &requests.concat(), Cut::WHOLE).0;
    let all = replies(&expected);
    assert_eq!(all.iter().map(|reply| reply.status).collect::<Vec<_>>(), [0, 0, 0, 3, 0]);
    says(server, &[(&requests[..5].concat(), &expected[..expected.len() - 24 - 24 - 10])]);
    says(
        server,
        &[(&request(0x01, &FLAGS, b"huge", &vec![0; 2 << 20], 0), &expected[expected.len() - 58..expected.len() - 24])],
    );
}

#[test]
fn malformed_requests_end_the_connection() {
    let long_key = vec![b'k'; 251];
    let mut more_key_than_body = request(0x00, b"", b"key", b"", 0);
    more_key_than_body[11] = 1;
    for (bytes, status) in [
        (request(0x00, b"", b"", b"", 0), Some(4)),
        (request(0x00, b"", &long_key, b"", 0), Some(4)),
        (request(0x01, b"", b"k", b"v", 0), Some(4)),
        (request(0x0b, b"x", b"", b"", 0), Some(4)),
        (more_key_than_body, Some(0x81)),
        (b"get me anything that has a header's length\r\n".to_vec(), None),
    ] {
        let first = request(0x0a, b"", b"", b"", 0);
        let (got, next) = reply(&server(), &[&first[..], &bytes].concat(), Cut::WHOLE);
        assert_eq!(next, Next::Close, "{bytes:?}");
        assert_eq!(replies(&got).get(1).map(|reply| reply.status), status, "{bytes:?}");
    }
}

#[test]
fn sasl() {
    let users = Users::new().with("alice", "secret");
    let server = Server::builder(cache().0.build().unwrap()).sasl(users).build();
    let mut client = Client::new(&server);
    assert_eq!(one(&mut client, 0x20, b"", b"", b"", 0).value, b"PLAIN");
    assert_eq!(one(&mut client, 0x21, b"", b"CRAM-MD5", b"\0alice\0secret", 0).status, 0x20);
    assert_eq!(one(&mut client, 0x21, b"", b"PLAIN", b"\0alice\0wrong", 0).status, 0x20);
    assert_eq!(one(&mut client, 0x22, b"", b"PLAIN", b"\0alice\0secret", 0).status, 0x20);
    assert_eq!(one(&mut client, 0x21, b"", b"PLAIN", b"\0alice\0secret", 0).value, b"Authenticated");
    assert_eq!(one(&mut client, 0x01, &FLAGS, b"k", b"v", 0).status, 0);
    assert_eq!(client.connection.user(), Some(&b"alice"[..]));
    // Who tries again, and fails, is nobody any more.
    assert_eq!(one(&mut client, 0x21, b"", b"PLAIN", b"\0alice\0wrong", 0).status, 0x20);
    assert_eq!(client.connection.user(), None);
    assert_eq!(one(&mut client, 0x00, b"", b"k", b"", 0).status, 0x20);
    let mut stranger = Client::new(&server);
    assert_eq!(one(&mut stranger, 0x00, b"", b"k", b"", 0).status, 0x20);
    assert_eq!(stranger.next, Next::Close);
}
