//! The text protocol.

use larder::protocol::memcached::{Binding, MAX_UNCONSUMED, Server, Users};
use larder::protocol::{Limits, Next, Output};
use larder::{Cache, EvictionPolicy};

use crate::client::{Client, Cut, START, cache, reply, says, server, show};

const BAD: &[u8] = b"CLIENT_ERROR bad command line format\r\n";

#[test]
fn storing_and_getting() {
    says(
        server,
        &[
            (b"get foo\r\n", b"END\r\n"),
            (b"set foo 7 0 3\r\nbar\r\n", b"STORED\r\n"),
            (b"get foo\r\n", b"VALUE foo 7 3\r\nbar\r\nEND\r\n"),
            (b"get foo none  foo\n", b"VALUE foo 7 3\r\nbar\r\nVALUE foo 7 3\r\nbar\r\nEND\r\n"),
            (b"add foo 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
            (b"add new 0 0 0\r\n\r\n", b"STORED\r\n"),
            (b"replace none 0 0 1\r\nx\r\n", b"NOT_STORED\r\n"),
            (b"replace foo 4294967295 0 1\r\nx\r\n", b"STORED\r\n"),
            (b"append foo 0 0 2\r\nyz\r\n", b"STORED\r\n"),
            (b"prepend foo 0 0 1\r\nw\r\n", b"STORED\r\n"),
            (b"append none 0 0 2\r\nyz\r\n", b"NOT_STORED\r\n"),
            (b"get foo new\r\n", b"VALUE foo 4294967295 4\r\nwxyz\r\nVALUE new 0 0\r\n\r\nEND\r\n"),
            (b"delete foo\r\n", b"DELETED\r\n"),
            (b"delete foo\r\n", b"NOT_FOUND\r\n"),
            (
                b"set a 0 0 1 noreply\r\n1\r\nadd a 0 0 1 noreply\r\n2\r\ndelete b noreply\r\nget a\r\n",
                b"VALUE a 0 1\r\n1\r\nEND\r\n",
            ),
            (b"verbosity 1\r\nversion\r\nmn\r\n", b"OK\r\nVERSION 1.6.0\r\nMN\r\n"),
            (b"quit\r\n", b""),
        ],
    );
}

#[test]
fn numbers_and_times() {
    says(
        server,
        &[
            (b"set n 0 0 2\r\n10\r\n", b"STORED\r\n"),
            (b"incr n 5\r\n", b"15\r\n"),
            (b"decr n 20\r\n", b"0\r\n"),
            (b"get n\r\n", b"VALUE n 0 2\r\n0 \r\nEND\r\n"),
            (b"incr n 18446744073709551615\r\nincr n 1\r\n", b"18446744073709551615\r\n0\r\n"),
            (b"incr none 1\r\ndecr none 1\r\n", b"NOT_FOUND\r\nNOT_FOUND\r\n"),
            (
                b"incr n x\r\nincr n -1\r\n",
                b"CLIENT_ERROR invalid numeric delta argument\r\nCLIENT_ERROR invalid numeric delta argument\r\n",
            ),
            (
                b"set t 0 0 1\r\nx\r\nincr t 1\r\n",
                b"STORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            ),
            (b"incr n 1 noreply\r\nincr n 1\r\n", b"2\r\n"),
            (
                b"touch t 10\r\ntouch none 10\r\ntouch t x\r\n",
                b"TOUCHED\r\nNOT_FOUND\r\nCLIENT_ERROR invalid exptime argument\r\n",
            ),
            (b"gat 10 t none\r\n", b"VALUE t 0 1\r\nx\r\nEND\r\n"),
            (
                b"gat x t\r\ngat 10\r\n",
                b"CLIENT_ERROR invalid exptime argument\r\nCLIENT_ERROR bad command line format\r\n",
            ),
            (b"touch t -1\r\nget t\r\n", b"TOUCHED\r\nEND\r\n"),
            (b"set e 0 -1 1\r\nx\r\nget e\r\n", b"STORED\r\nEND\r\n"),
            (b"set e 0 2592001 1\r\nx\r\nget e\r\n", b"STORED\r\nEND\r\n"),
            (b"set e 0 4000000000 1\r\nx\r\n", BAD),
            (b"set e 0 2000000000 1\r\nx\r\nget e\r\n", b"STORED\r\nVALUE e 0 1\r\nx\r\nEND\r\n"),
        ],
    );
}

#[test]
fn times_to_live_end() {
    let (builder, clock) = cache();
    let server = Server::builder(builder.build().unwrap()).build();
    let mut client = Client::new(&server);
    client.send(b"set a 0 10 1\r\nx\r\nset b 0 0 1\r\nx\r\n", Cut::WHOLE);
    client.send(format!("set c 0 {} 1\r\nx\r\n", START + 20).as_bytes(), Cut::WHOLE);
    clock.set((START + 11) * 1000);
    assert_eq!(client.send(b"get a b c\r\n", Cut::WHOLE), b"VALUE b 0 1\r\nx\r\nVALUE c 0 1\r\nx\r\nEND\r\n");
    client.send(b"touch c 0\r\nflush_all 30\r\n", Cut::WHOLE);
    clock.set((START + 40) * 1000);
    assert_eq!(client.send(b"get a b c\r\n", Cut::WHOLE), b"VALUE b 0 1\r\nx\r\nVALUE c 0 1\r\nx\r\nEND\r\n");
    clock.set((START + 42) * 1000);
    assert_eq!(client.send(b"get a b c\r\n", Cut::WHOLE), b"END\r\n");
}

#[test]
fn check_and_set() {
    let server = server();
    let mut client = Client::new(&server);
    client.send(b"set k 0 0 1\r\na\r\n", Cut::WHOLE);
    let got = client.send(b"gets k\r\n", Cut::WHOLE);
    let line = String::from_utf8(got).unwrap();
    let token = line.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let request = format!("cas k 0 0 1 {token}\r\nb\r\ncas k 0 0 1 {token}\r\nc\r\ncas none 0 0 1 {token}\r\nc\r\n");
    assert_eq!(client.send(request.as_bytes(), Cut::WHOLE), b"STORED\r\nEXISTS\r\nNOT_FOUND\r\n");
    assert_eq!(client.send(b"cas k 0 0 1 0\r\nb\r\ncas k 0 0 1\r\nb\r\n", Cut::WHOLE), [b"EXISTS\r\n", BAD].concat());
    let stats = show(&client.send(b"stats\r\n", Cut::WHOLE));
    for row in ["cas_hits 1", "cas_badval 2", "cas_misses 1"] {
        assert!(stats.contains(&format!("STAT {row}")) || stats.len() > 1400, "{row} in {stats}");
    }
}

#[test]
fn without_tokens_nothing_has_the_right_one() {
    let make = || Server::builder(Cache::builder().max_memory(8 << 20).check_and_set(false).build().unwrap()).build();
    let big = vec![b'x'; 5000];
    says(
        make,
        &[
            (b"set k 0 0 1\r\na\r\ngets k\r\n", b"STORED\r\nVALUE k 0 1 0\r\na\r\nEND\r\n"),
            (b"cas k 0 0 1 1\r\nb\r\ncas n 0 0 1 1\r\nb\r\n", b"EXISTS\r\nNOT_FOUND\r\n"),
            (&[b"cas k 0 0 5000 1\r\n", &big[..], b"\r\nget n\r\n"].concat(), b"EXISTS\r\nEND\r\n"),
        ],
    );
}

#[test]
fn large_values_go_straight_to_their_place() {
    let big: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    let set = |name: &str, value: &[u8], end: &[u8]| {
        [format!("{name} 5 0 {}\r\n", value.len()).as_bytes(), value, end].concat()
    };
    let value = |key: &str, flags: u32, value: &[u8]| {
        [format!("VALUE {key} {flags} {}\r\n", value.len()).as_bytes(), value, b"\r\nEND\r\n"].concat()
    };
    says(
        server,
        &[
            (&set("set big", &big, b"\r\n"), b"STORED\r\n"),
            (b"get big\r\n", &value("big", 5, &big)),
            (&set("add big", &big, b"\r\n"), b"NOT_STORED\r\n"),
            (&set("set big", &big[..4097], b"xx"), b"CLIENT_ERROR bad data chunk\r\n"),
            (&set("append big", &big[..5000], b"\r\n"), b"STORED\r\n"),
            (&set("prepend big", b"ab", b"\r\n"), b"STORED\r\n"),
            (b"get big\r\n", &value("big", 5, &[b"ab", &big[..], &big[..5000]].concat())),
        ],
    );
}

#[test]
fn what_is_too_large_is_thrown_away_with_what_was_there() {
    let make = || {
        let cache = cache().0.max_item_size(10_000).build().unwrap();
        Server::builder(cache).build()
    };
    let big = vec![b'x'; 10_001];
    let mut request = b"set k 0 0 1\r\nx\r\nset k 0 0 10001\r\n".to_vec();
    request.extend_from_slice(&big);
    request.extend_from_slice(b"\r\nget k\r\n");
    says(make, &[(&request, b"STORED\r\nSERVER_ERROR object too large for cache\r\nEND\r\n")]);
}

#[test]
fn no_memory_is_told() {
    let cache = cache().0.policy(EvictionPolicy::NoEviction).max_memory(1 << 20).build().unwrap();
    let server = Server::builder(cache).build();
    let mut client = Client::new(&server);
    let value = vec![b'x'; 3000];
    let mut last = Vec::new();
    for i in 0..1000 {
        let request = [format!("set k{i} 0 0 3000\r\n").as_bytes(), &value, b"\r\n"].concat();
        last = client.send(&request, Cut::WHOLE);
        if last != b"STORED\r\n" {
            break;
        }
    }
    assert_eq!(last, b"SERVER_ERROR out of memory storing object\r\n");
    assert_eq!(client.send(b"get k0\r\n", Cut::WHOLE).len(), 3000 + 24);
}

#[test]
fn bad_lines() {
    let long_key = vec![b'k'; 251];
    let with_key = |before: &str, after: &str| [before.as_bytes(), &long_key, after.as_bytes()].concat();
    says(
        server,
        &[
            (b" \n", BAD),
            (b"\r\n", BAD),
            (b"boo\r\n", b"ERROR\r\n"),
            (b"foo noreply\r\n", b""),
            (b"  get a\r\n", b"ERROR\r\n"),
            (b"get\r\n", BAD),
            (b"get \r\n", BAD),
            (b"gets  \r\n", BAD),
            (b"set\r\n", BAD),
            (b"set k 0 0\r\n", BAD),
            (b"set k 0 0 -1\r\n", BAD),
            (b"set k 0 0 9223372036854775808\r\n", BAD),
            (b"set k 0 0 2147483647\r\n", BAD),
            (b"set k x 0 1\r\nx\r\n", BAD),
            (b"set k 0 x 1\r\nx\r\n", BAD),
            (b"set k 4294967296 0 1\r\nx\r\n", BAD),
            (b"set k 0 0 1\r\nxyz\r\n", b"CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n"),
            (&with_key("get ", "\r\n"), BAD),
            (&with_key("get a ", " b\r\n"), BAD),
            (&with_key("set ", " 0 0 3\r\nget\r\n"), BAD),
            (&with_key("set ", " 0 0 3 noreply\r\nget\r\n"), b""),
            (&with_key("delete ", "\r\n"), BAD),
            (b"delete\r\n", BAD),
            (
                b"delete a b\r\ndelete a 0\r\n",
                b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\nNOT_FOUND\r\n",
            ),
            (b"touch a\r\nincr a\r\n", &[BAD, BAD].concat()),
            (b"GET / HTTP/1.1\r\nget a\r\n", b""),
        ],
    );
    assert_eq!(reply(&server(), b"GET / HTTP/1.1\r\n", Cut::WHOLE).1, Next::Close);
}

#[test]
fn lines_without_an_end_are_not_kept() {
    let server = server();
    let mut client = Client::new(&server);
    assert_eq!(client.send(&[b'x'; 2048], Cut::WHOLE), b"");
    assert_eq!(client.next, Next::Continue);
    client.send(b"x", Cut::WHOLE);
    assert_eq!(client.next, Next::Close);
    // A long list of keys is a line too.
    let mut keys = b"get".to_vec();
    keys.extend_from_slice(&b" key".repeat(50_000));
    keys.extend_from_slice(b"\r\n");
    assert!(keys.len() < MAX_UNCONSUMED);
    assert_eq!(reply(&server, &keys, Cut { piece: 10_000, ..Cut::WHOLE }).0, b"END\r\n");
    let endless = [b"get ".as_slice(), &vec![b'k'; MAX_UNCONSUMED]].concat();
    assert_eq!(reply(&server, &endless, Cut { piece: 100_000, ..Cut::WHOLE }).1, Next::Close);
}

#[test]
fn a_retrieval_stops_where_the_output_is_full() {
    let server = server();
    let mut client = Client::new(&server);
    let value = vec![b'v'; 10_000];
    client.send(&[b"set k 0 0 10000\r\n", &value[..], b"\r\n"].concat(), Cut::WHOLE);
    let request = [&b"get"[..], &b" k".repeat(100), b"\r\nget k\r\n"].concat();
    let (mut output, mut rest, mut most) = (Output::new(), &request[..], 0);
    let limits = Limits { output_bytes: 50_000, requests: 1000 };
    let mut sent = 0;
    loop {
        let progress = client.connection.receive(rest, &mut output, &limits);
        rest = &rest[progress.consumed..];
        most = most.max(output.len());
        sent += output.len();
        output.advance(output.len());
        if !progress.more {
            break;
        }
    }
    assert!(rest.is_empty() && most < 70_000, "{} left, {most} at once", rest.len());
    assert_eq!(sent, 101 * (10_000 + 19) + 10);
}

#[test]
fn auto_discovery() {
    let big = vec![b'x'; 65_537];
    let too_big = [b"config set cluster 0 65537\r\n".as_slice(), &big, b"\r\n"].concat();
    says(
        server,
        &[
            (b"config get cluster\r\n", b"END\r\n"),
            (b"get AmazonElastiCache:cluster\r\n", b"END\r\n"),
            (b"config set cluster 0 15\r\n1\nlocal||11211\n\r\n", b"STORED\r\n"),
            (b"config get cluster\r\n", b"CONFIG cluster 0 15\r\n1\nlocal||11211\n\r\nEND\r\n"),
            (
                b"get AmazonElastiCache:cluster\r\n",
                b"VALUE AmazonElastiCache:cluster 0 15\r\n1\nlocal||11211\n\r\nEND\r\n",
            ),
            (
                b"gets AmazonElastiCache:cluster\r\n",
                b"VALUE AmazonElastiCache:cluster 0 15 0\r\n1\nlocal||11211\n\r\nEND\r\n",
            ),
            (&too_big, b"SERVER_ERROR object too large for cache\r\n"),
            (b"config delete cluster\r\nconfig delete cluster\r\n", b"DELETED\r\nNOT_FOUND\r\n"),
            (
                b"set AmazonElastiCache:cluster 0 0 1\r\nx\r\nget AmazonElastiCache:cluster\r\n",
                b"STORED\r\nVALUE AmazonElastiCache:cluster 0 1\r\nx\r\nEND\r\n",
            ),
            (b"config get\r\nconfig what cluster\r\nconfig\r\n", &[BAD, b"ERROR\r\nERROR\r\n"].concat()),
            (b"config set c x 1\r\n", BAD),
        ],
    );
}

#[test]
fn passwords() {
    let make = || {
        let users = Users::new().with("alice", "secret").with("bob", "a b");
        Server::builder(cache().0.build().unwrap()).ascii_auth(users).build()
    };
    says(
        make,
        &[
            (b"get foo\r\n", b"CLIENT_ERROR unauthenticated\r\n"),
            (b"set x 0 0 7\r\nalice x\r\n", b"CLIENT_ERROR authentication failure\r\n"),
            (b"set x 0 0 5\r\nalice\r\n", b"CLIENT_ERROR bad authentication token format\r\n"),
            (b"set x 0 0 5\r\nali cxx", b"CLIENT_ERROR bad command line termination\r\n"),
            (b"set x 0 0 99999\r\n", b"CLIENT_ERROR auth token too long\r\n"),
            (b"set x 0 0 7\r\nbob a b\r\n", b"STORED\r\n"),
            (b"set x 0 0 7\r\nbob a b\r\nget x\r\n", b"STORED\r\nVALUE x 0 7\r\nbob a b\r\nEND\r\n"),
        ],
    );
    let keys = [b"get ".as_slice(), &b"k ".repeat(1_100)].concat();
    assert_eq!(reply(&make(), &keys, Cut::WHOLE).1, Next::Close, "long lines are for those who are known");
    let sasl = Server::builder(cache().0.build().unwrap()).sasl(Users::new()).build();
    assert_eq!(reply(&sasl, b"get a\r\n and more than the bytes of a header", Cut::WHOLE), (Vec::new(), Next::Close));
}

#[test]
fn a_binding_may_be_fixed() {
    let ascii = Server::builder(cache().0.build().unwrap()).binding(Binding::Ascii).build();
    assert_eq!(reply(&ascii, b"\x80\x00\r\n", Cut::WHOLE).0, b"ERROR\r\n");
}

#[test]
fn tokens_may_be_given_when_they_are_asked_for() {
    let server = Server::builder(cache().0.tokens(false).build().unwrap()).build();
    let (mut one, mut other) = (Client::new(&server), Client::new(&server));
    let token = |client: &mut Client| {
        let reply = String::from_utf8(client.send(b"gets k\r\n", Cut::WHOLE)).unwrap();
        reply.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    let cas =
        |client: &mut Client, token: &str| client.send(format!("cas k 0 0 1 {token}\r\nx\r\n").as_bytes(), Cut::WHOLE);
    one.send(b"set k 0 0 3\r\nold\r\n", Cut::WHOLE);
    let first = token(&mut one);
    assert_eq!(token(&mut other), first, "it stays what it is");
    // Whatever has become of the value meanwhile.
    for change in [&b"set k 0 0 3\r\nold\r\n"[..], b"append k 0 0 1\r\n.\r\n", b"delete k\r\nset k 0 0 3\r\nold\r\n"] {
        let before = token(&mut one);
        other.send(change, Cut::WHOLE);
        assert_eq!(cas(&mut one, &before), b"EXISTS\r\n", "{change:?}");
    }
    let last = token(&mut one);
    assert_eq!((cas(&mut one, &last), cas(&mut other, &last)), (b"STORED\r\n".to_vec(), b"EXISTS\r\n".to_vec()));
    // A value that has none yet has no token that could be named, and is later than all that were given.
    one.send(b"delete k\r\nset k 0 0 3\r\nold\r\n", Cut::WHOLE);
    assert_eq!(
        one.send(b"md k C0\r\nma k C0\r\n", Cut::WHOLE),
        b"EX\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
    );
    assert_eq!(
        one.send(format!("ms k 1 C{last}\r\nx\r\nms k 1 I C{last}\r\nx\r\nmg k v\r\n").as_bytes(), Cut::WHOLE),
        b"EX\r\nHD\r\nVA 1 X W\r\nx\r\n"
    );
    one.send(b"delete k\r\nset k 0 0 3\r\nold\r\n", Cut::WHOLE);
    assert_eq!(one.send(b"ms k 1 I C18446744073709551615\r\nx\r\n", Cut::WHOLE), b"EX\r\n");
}

#[test]
fn what_is_there_is_shown_though_there_is_no_memory_for_its_token() {
    let cache = cache().0.max_memory(1 << 20).policy(EvictionPolicy::NoEviction).tokens(false).build().unwrap();
    let server = Server::builder(cache).build();
    let mut client = Client::new(&server);
    let mut stored = 0;
    while client.send(format!("set {stored} 0 0 84\r\n{}\r\n", "x".repeat(84)).as_bytes(), Cut::WHOLE) == b"STORED\r\n"
    {
        stored += 1;
    }
    assert!(stored > 5000);
    for i in 0..stored {
        let reply = client.send(format!("gets {i}\r\n").as_bytes(), Cut::WHOLE);
        assert!(reply.starts_with(b"VALUE "), "{i} of {stored}");
        let reply = client.send(format!("mg {i} c v\r\n").as_bytes(), Cut::WHOLE);
        assert!(reply.starts_with(b"VA 84 c"), "{i} of {stored}");
    }
}
