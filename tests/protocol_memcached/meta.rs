//! Meta commands.

use larder::protocol::memcached::Server;

use crate::client::{Client, Cut, cache, says, server, show};

fn ask(client: &mut Client, request: &str) -> String {
    String::from_utf8(client.send(request.as_bytes(), Cut::WHOLE)).unwrap()
}

/// The number after a letter in a reply's first line.
fn flag(reply: &str, letter: char) -> Option<u64> {
    let line = reply.lines().next()?;
    line.split(' ').skip(1).find_map(|word| word.strip_prefix(letter)?.parse().ok())
}

#[test]
fn getting() {
    says(
        server,
        &[
            (b"mg foo v\r\n", b"EN\r\n"),
            (b"mg foo v q\r\nmg foo v Oabc k\r\n", b"EN Oabc kfoo\r\n"),
            (b"ms foo 3 F9 T100\r\nbar\r\n", b"HD\r\n"),
            (b"mg foo\r\n", b"HD\r\n"),
            (b"mg foo v\r\n", b"VA 3\r\nbar\r\n"),
            (b"mg foo s v f t k Oxyz\r\n", b"VA 3 s3 f9 t100 kfoo Oxyz\r\nbar\r\n"),
            (b"mg foo t T30 t\r\nmg foo Ln Px T40 t\r\n", b"CLIENT_ERROR duplicate flag\r\nHD t40\r\n"),
            (b"ms h 1\r\nx\r\nmg h h\r\nmg h h u\r\n", b"HD\r\nHD h0\r\nHD h1\r\n"),
            (b"ms h 1\r\nx\r\nmg h h u\r\nmg h h u\r\n", b"HD\r\nHD h0\r\nHD h0\r\n"),
            (b"mg foo m\r\n", b"CLIENT_ERROR invalid flag\r\n"),
            (b"mg foo N\r\n", b"CLIENT_ERROR bad token in command line format\r\n"),
            (b"mg foo Oxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", b"CLIENT_ERROR opaque token too long\r\n"),
            (b"mg\r\nmg \r\n", b"CLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\n"),
            (b"mn\r\n", b"MN\r\n"),
        ],
    );
}

#[test]
fn storing() {
    let big = vec![b'x'; 6000];
    let set = |flags: &str| [format!("ms big 6000{flags}\r\n").as_bytes(), &big, b"\r\n"].concat();
    says(server, &[
        (b"ms a 1 q\r\n1\r\nms a 1 ME\r\n2\r\nms n 1 MR\r\n3\r\n", b"NS\r\nNS\r\n"),
        (b"ms a 2 MA s\r\nbc\r\nms a 1 MP s k Oq\r\n0\r\nmg a v\r\n", b"HD s3\r\nHD s4 ka Oq\r\nVA 4\r\n01bc\r\n"),
        (b"ms none 1 MA\r\nx\r\nms none 1 MA N30 s\r\nx\r\nmg none v t\r\n", b"NS\r\nHD s1\r\nVA 1 t30\r\nx\r\n"),
        (b"ms a 1 MZ\r\nx\r\n", b"CLIENT_ERROR invalid mode for ms M token\r\n"),
        (b"ms a 1 C5 c\r\nx\r\nms none2 1 C5\r\nx\r\n", b"EX c0\r\nNF\r\n"),
        (b"ms a 1 E77 c\r\nx\r\nmg a c\r\nms a 1 C77 E78\r\ny\r\nmg a c v\r\n", b"HD c77\r\nHD c77\r\nHD\r\nVA 1 c78\r\ny\r\n"),
        (b"ms a\r\nms a x\r\n", b"CLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\n"),
        (b"ms a 1\r\nxy\r\n\r\n", b"CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\n"),
        (&set(" s F3 Oz"), b"HD s6000 Oz\r\n"),
        (&set(" MA s q k"), b""),
        (b"mg big s f\r\n", b"HD s12000 f3\r\n"),
        (b"ms 44OG44K544OI 2 b k\r\npo\r\nmg 44OG44K544OI v\r\nmg 44OG44K544OI b v k\r\n", b"HD k44OG44K544OI b\r\nEN\r\nVA 2 k44OG44K544OI b\r\npo\r\n"),
        ("mg テスト v k\r\n".as_bytes(), b"VA 2 k44OG44K544OI b\r\npo\r\n"),
        (b"ms %% 1 b\r\nx\r\n", b"CLIENT_ERROR error decoding key\r\n"),
    ]);
}

#[test]
fn deleting_and_counting() {
    says(server, &[
        (b"md a\r\nmd a q\r\nms a 1\r\nx\r\nmd a C99\r\nmd a q\r\nmd a k Ox\r\n", b"NF\r\nNF\r\nHD\r\nEX\r\nNF ka Ox\r\n"),
        (b"ms a 1 F3\r\nx\r\nmd a x\r\nmg a v f t\r\n", b"HD\r\nHD\r\nVA 0 f0 t-1\r\n\r\n"),
        (b"ma n\r\nma n N0 J13 v\r\nma n v\r\nma n D30 v\r\nma n MD D9000 v t\r\n", b"NF\r\nVA 2\r\n13\r\nVA 2\r\n14\r\nVA 2\r\n44\r\nVA 1 t-1\r\n0\r\n"),
        (b"ma n q\r\nma n T300 v t\r\nma n t\r\n", b"VA 1 t300\r\n2\r\nHD t300\r\n"),
        (b"ma n MX\r\nma n Dx\r\nms s 1\r\nx\r\nma s\r\n", b"CLIENT_ERROR invalid mode for ma M token\r\nCLIENT_ERROR invalid or duplicate flag\r\nHD\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
        (b"ma m N0 J5 E11 c\r\nma m C12\r\nma m C11 E13 c v\r\n", b"HD c11\r\nEX\r\nVA 1 c13\r\n6\r\n"),
    ]);
}

#[test]
fn one_client_is_told_to_bring_a_missing_value() {
    let server = server();
    let (mut one, mut other) = (Client::new(&server), Client::new(&server));
    let first = ask(&mut one, "mg k s c v N30 t\r\n");
    assert!(first.starts_with("VA 0 s0 c") && first.contains(" t30 W\r\n"), "{first}");
    let second = ask(&mut other, "mg k c v N30 t\r\n");
    assert!(second.contains(" Z\r\n") && !second.contains('W'), "{second}");
    let token = flag(&first, 'c').unwrap();
    assert_eq!(ask(&mut one, "ms k 2 C9999\r\nno\r\n"), "EX\r\n");
    assert_eq!(ask(&mut one, &format!("ms k 2 C{token} T100\r\nok\r\n")), "HD\r\n");
    assert_eq!(ask(&mut other, "mg k v N30 t\r\n"), "VA 2 t100\r\nok\r\n");
}

#[test]
fn one_client_is_told_to_bring_a_new_value_before_the_end() {
    let server = server();
    let (mut one, mut other) = (Client::new(&server), Client::new(&server));
    ask(&mut one, "ms k 2 T100\r\nok\r\n");
    assert_eq!(ask(&mut one, "mg k v R50\r\n"), "VA 2\r\nok\r\n");
    assert_eq!(ask(&mut one, "mg k v R130\r\n"), "VA 2 W\r\nok\r\n");
    assert_eq!(ask(&mut other, "mg k v R130\r\n"), "VA 2 Z\r\nok\r\n");
    assert_eq!(ask(&mut one, "ms k 2 T100\r\nup\r\n"), "HD\r\n");
    assert_eq!(ask(&mut other, "mg k v\r\n"), "VA 2\r\nup\r\n");
    // Flags are looked at in their order: before the new end, after it.
    assert_eq!(ask(&mut other, "mg k R50 T20\r\n"), "HD\r\n");
    assert_eq!(ask(&mut other, "mg k T30 R50 t\r\n"), "HD t30 W\r\n");
    assert_eq!(ask(&mut other, "mg n T-1 N0 t\r\nmg m N0 T-1\r\nmg m\r\n"), "HD t-1 W\r\nHD W\r\nEN\r\n");
}

#[test]
fn stale_values_are_served_while_one_client_brings_a_new_one() {
    let server = server();
    let mut client = Client::new(&server);
    ask(&mut client, "ms k 3\r\nold\r\n");
    assert_eq!(ask(&mut client, "md k I T30\r\n"), "HD\r\n");
    let won = ask(&mut client, "mg k t c v\r\n");
    assert!(won.starts_with("VA 3 t30 c") && won.contains(" X W\r\n"), "{won}");
    assert_eq!(ask(&mut client, "mg k v\r\n"), "VA 3 Z X\r\nold\r\n");
    // An older value may still come in its place, and is stale too, and lives no longer.
    assert_eq!(ask(&mut client, "ms k 1 T90 C0\r\nf\r\n"), "EX\r\n");
    assert_eq!(ask(&mut client, "ms k 1 I T90 C1\r\nf\r\n"), "HD\r\n");
    let again = ask(&mut client, "mg k t c v\r\n");
    assert!(again.contains(" t30 ") && again.contains(" Z X\r\nf\r\n"), "{again}");
    let token = flag(&again, 'c').unwrap();
    assert_eq!(ask(&mut client, &format!("ms k 3 T90 C{token}\r\nnew\r\n")), "HD\r\n");
    assert_eq!(ask(&mut client, "mg k t v\r\n"), "VA 3 t90\r\nnew\r\n");
}

#[test]
fn a_value_that_the_client_has_is_not_sent() {
    let server = server();
    let mut client = Client::new(&server);
    let token = flag(&ask(&mut client, "ms k 2 c\r\nok\r\n"), 'c').unwrap();
    assert_eq!(ask(&mut client, &format!("mg k v C{token}\r\n")), "HD\r\n");
    assert_eq!(ask(&mut client, "mg k v C999\r\n"), "VA 2\r\nok\r\n");
}

#[test]
fn items_may_know_their_last_use() {
    let (builder, clock) = cache();
    let server = Server::builder(builder.build().unwrap()).track_access(true).build();
    let mut client = Client::new(&server);
    ask(&mut client, "ms k 2\r\nok\r\n");
    clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(ask(&mut client, "mg k l u\r\nmg k l\r\nmg k l\r\n"), "HD l5\r\nHD l5\r\nHD l0\r\n");
    clock.advance(std::time::Duration::from_secs(3));
    let me = ask(&mut client, "me k\r\n");
    assert!(me.starts_with("ME k exp=-1 la=3 cas=") && me.contains(" fetch=yes cls="), "{me}");
    assert_eq!(ask(&mut client, "me none\r\nme\r\n"), "EN\r\nCLIENT_ERROR bad command line format\r\n");
}

#[test]
fn items_without_a_token_are_given_one() {
    let cache = larder::Cache::builder().max_memory(8 << 20).build().unwrap();
    let server = Server::builder(cache).build();
    let mut client = Client::new(&server);
    ask(&mut client, "ms k 2\r\nok\r\n");
    let token = flag(&ask(&mut client, "mg k c\r\n"), 'c').unwrap();
    assert_eq!(flag(&ask(&mut client, "mg k c\r\n"), 'c'), Some(token));
    let gets = ask(&mut client, "gets k\r\n");
    assert!(gets.starts_with(&format!("VALUE k 0 2 {token}\r\n")), "{}", show(gets.as_bytes()));
}

#[test]
fn what_there_is_no_memory_to_show_is_not_waited_for() {
    let builder = cache().0.policy(larder::EvictionPolicy::NoEviction);
    let server = Server::builder(builder.build().unwrap()).build();
    let cache = server.cache();
    let large = vec![b'x'; 900_000];
    let stored = (0..20).take_while(|i| cache.set(format!("large{i}").as_bytes(), &large).is_ok()).count();
    assert!((2..20).contains(&stored), "{stored}");
    // All places in which a thread sees values at once are taken, and there is no memory for a copy.
    let held: Vec<_> = (0..8).map(|_| cache.get(b"large0").unwrap()).collect();
    assert!(cache.get(b"large1").is_err());
    assert_eq!(Client::new(&server).send(b"mg large1 s v N30\r\n", Cut::WHOLE), b"EN\r\n");
    drop(held);
    assert_eq!(Client::new(&server).send(b"mg large1 s N30\r\n", Cut::WHOLE), b"HD s900000\r\n");
}
