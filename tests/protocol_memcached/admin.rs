//! What operators ask, and what is counted.

use std::collections::BTreeMap;

use larder::protocol::Next;
use larder::protocol::memcached::{ConnectionInfo, DebugClock, Server, Transport};
use larder::{Automove, Cache, SystemClock};

use crate::client::{Client, Cut, cache, says, server};

pub(crate) fn stats(client: &mut Client, which: &str) -> BTreeMap<String, String> {
    let text = client.send(format!("stats{which}\r\n").as_bytes(), Cut::WHOLE);
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("END\r\n"), "{text}");
    let rows = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    rows.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn what_is_counted() {
    let server = server();
    let mut client = Client::new(&server);
    client.send(
        b"set a 0 0 1\r\n1\r\nget a a b\r\nincr a 1\r\nincr b 1\r\ndecr a 1\r\ndelete b\r\ndelete a\r\n",
        Cut::WHOLE,
    );
    client
        .send(b"set a 0 0 1\r\n1\r\ntouch a 5\r\ntouch b 5\r\ngat 5 a\r\nmg a T5\r\nmg b\r\nflush_all\r\n", Cut::WHOLE);
    client.send(b"config get x\r\nset big 0 0 99999999\r\n", Cut::WHOLE);
    let all = stats(&mut Client::new(&server), "");
    for (name, value) in [
        ("cmd_get", 4),
        ("get_hits", 2),
        ("get_misses", 2),
        ("cmd_set", 2),
        ("incr_hits", 1),
        ("incr_misses", 1),
        ("decr_hits", 1),
        ("decr_misses", 0),
        ("delete_hits", 1),
        ("delete_misses", 1),
        ("cmd_touch", 4),
        ("touch_hits", 3),
        ("touch_misses", 1),
        ("cmd_flush", 1),
        ("cmd_config_get", 1),
        ("store_too_large", 1),
        ("curr_items", 0),
        ("total_items", 4),
        ("curr_connections", 2),
        ("total_connections", 2),
    ] {
        assert_eq!(all.get(name).map(String::as_str), Some(value.to_string().as_str()), "{name}");
    }
    let mut other = Client::new(&server);
    assert_eq!(other.send(b"stats reset\r\n", Cut::WHOLE), b"RESET\r\n");
    let all = stats(&mut other, "");
    for name in ["cmd_get", "cmd_set", "total_items", "total_connections", "evictions", "cmd_flush"] {
        assert_eq!(all[name], "0", "{name}");
    }
}

#[test]
fn settings_and_groups() {
    let server = Server::builder(cache().0.build().unwrap()).setting("tcpport", "11211").setting("mine", "1").build();
    let mut client = Client::new(&server);
    let settings = stats(&mut client, " settings");
    for (name, value) in [("tcpport", "11211"), ("mine", "1"), ("cas_enabled", "yes"), ("client_flags_size", "4")] {
        assert_eq!(settings[name], value, "{name}");
    }
    client.send(b"set a 0 0 1\r\n1\r\n", Cut::WHOLE);
    assert!(stats(&mut client, " slabs").iter().any(|(name, value)| name.ends_with(":used_chunks") && value == "1"));
    assert!(stats(&mut client, " items").iter().any(|(name, value)| name.ends_with(":number") && value == "1"));
    assert_eq!(stats(&mut client, " sizes")["sizes_status"], "disabled");
    let tracking = Server::builder(server.cache().clone()).track_sizes(true).build();
    assert_eq!(stats(&mut Client::new(&tracking), " sizes").values().map(String::as_str).collect::<Vec<_>>(), ["1"]);
    assert_eq!(client.send(b"stats what\r\n", Cut::WHOLE), b"ERROR\r\n");
}

#[test]
fn who_is_connected() {
    let server = server();
    let listening = server.listening(3, "tcp:127.0.0.1:11211");
    let info = ConnectionInfo::new(9, Transport::Tcp).addr("tcp:127.0.0.1:4711").listen_addr("tcp:127.0.0.1:11211");
    let other = server.connect(info);
    let rows = stats(&mut Client::new(&server), " conns");
    assert_eq!((&rows["3:state"][..], &rows["9:addr"][..]), ("conn_listening", "tcp:127.0.0.1:4711"));
    assert_eq!((&rows["1:state"][..], &rows["9:state"][..]), ("conn_parse_cmd", "conn_read"));
    assert!(!rows.contains_key("3:listen_addr") && rows["9:listen_addr"] == "tcp:127.0.0.1:11211");
    drop((listening, other));
    assert_eq!(stats(&mut Client::new(&server), " conns").len(), 4);
}

#[test]
fn prefixes() {
    says(
        server,
        &[
            (b"stats detail dump\r\nstats detail on\r\n", b"END\r\nOK\r\n"),
            (
                b"set a:1 0 0 1\r\nx\r\nget a:1 a:2 b\r\ndelete a:1\r\n",
                b"STORED\r\nVALUE a:1 0 1\r\nx\r\nEND\r\nDELETED\r\n",
            ),
            (
                b"stats detail dump\r\n",
                b"PREFIX a get 2 hit 1 set 1 del 1\r\nPREFIX b get 1 hit 0 set 0 del 0\r\nEND\r\n",
            ),
            (b"stats detail off\r\nstats detail\r\n", b"OK\r\nCLIENT_ERROR usage: stats detail on|off|dump\r\n"),
        ],
    );
}

#[test]
fn listings() {
    let server = server();
    let mut client = Client::new(&server);
    for i in 0..500 {
        client.send(format!("set key{i} 3 100 2\r\nhi\r\n").as_bytes(), Cut::WHOLE);
    }
    client.send(b"ms AA== 1 b\r\nx\r\n", Cut::WHOLE);
    let all = String::from_utf8(client.send(b"lru_crawler metadump all\r\n", Cut::WHOLE)).unwrap();
    assert_eq!(all.lines().filter(|line| line.starts_with("key=")).count(), 501);
    assert!(
        all.contains("key=key7 exp=1767225700 la=") && all.contains("key=%00 exp=-1") && all.ends_with("\nEND\r\n")
    );
    let tight = Cut { limits: larder::protocol::Limits { output_bytes: 100, requests: 1 }, ..Cut::WHOLE };
    assert_eq!(client.send(b"lru_crawler metadump all\r\n", tight).len(), all.len());
    let all = String::from_utf8(client.send(b"lru_crawler mgdump hash\r\n", Cut::WHOLE)).unwrap();
    assert!(all.contains("mg key7\r\n") && all.contains("mg AA== b\r\n") && all.ends_with("EN\r\n"));
    assert_eq!(all.lines().count(), 503);
    let refused = client.send(b"mn\r\nlru_crawler metadump all\r\n", Cut::WHOLE);
    assert_eq!(refused, b"MN\r\nERROR cannot pipeline other commands before metadump\r\n");
    let dump = String::from_utf8(client.send(b"stats cachedump 1 3\r\n", Cut::WHOLE)).unwrap();
    assert!(dump.ends_with("END\r\n"), "{dump}");
}

#[test]
fn operators_commands() {
    let ok: &[u8] = b"OK\r\n";
    says(server, &[
        (b"slabs reassign 1 2\r\n", b"CLIENT_ERROR slab reassignment disabled\r\n"),
        (b"slabs automove 0\r\nslabs automove 7\r\nslabs automove ratio 0.5\r\nslabs automove window 1\r\nslabs\r\n",
            b"OK\r\nERROR\r\nOK\r\nCLIENT_ERROR automove window too low or too high\r\nERROR\r\n"),
        (b"lru_crawler disable\r\n", ok),
        (b"lru_crawler crawl 1\r\nlru_crawler metadump all\r\n", b"CLIENT_ERROR lru crawler disabled\r\nCLIENT_ERROR lru crawler disabled\r\n"),
        (b"lru_crawler enable\r\nlru_crawler crawl all\r\nlru_crawler crawl 0\r\n", b"OK\r\nOK\r\nBADCLASS invalid class id\r\n"),
        (b"lru_crawler sleep 5\r\nlru_crawler sleep 5000000\r\nlru_crawler tocrawl 9\r\nlru_crawler\r\n",
            b"OK\r\nCLIENT_ERROR sleep must be one second or less\r\nOK\r\nERROR\r\n"),
        (b"lru tune 10 25 0.1 2.0\r\nlru tune 50 50 1 1\r\nlru mode flat\r\nlru temp_ttl 30\r\nlru what\r\n",
            b"OK\r\nERROR hot and warm pcts must not exceed 80\r\nOK\r\nOK\r\nERROR\r\n"),
        (b"cache_memlimit 4\r\ncache_memlimit x\r\ncache_memlimit 16\r\n",
            b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\nERROR\r\nOK\r\n"),
        (b"verbosity\r\nverbosity 1 noreply\r\n", b"CLIENT_ERROR bad command line format\r\n"),
        (b"flush_all x\r\nflush_all 0 noreply\r\nflush_all noreply\r\nflush_all -1\r\n", b"CLIENT_ERROR invalid exptime argument\r\nOK\r\n"),
        (b"debugtime 5\r\n", b"ERROR\r\n"),
        (b"shutdown\r\n", b"SERVER_ERROR: shutdown not enabled\r\n"),
    ]);
    let server = server();
    Client::new(&server).send(b"slabs automove 1\r\n", Cut::WHOLE);
    assert_eq!(server.cache().automove(), Automove::Slow);
}

#[test]
fn what_may_be_forbidden() {
    let make = || Server::builder(cache().0.build().unwrap()).flush(false).dump(false).shutdown(true).build();
    says(
        make,
        &[
            (b"flush_all\r\n", b"CLIENT_ERROR flush_all not allowed\r\n"),
            (b"stats cachedump 1 1\r\n", b"CLIENT_ERROR stats cachedump not allowed\r\n"),
            (b"stats detail on\r\n", b"CLIENT_ERROR stats detail not allowed\r\n"),
            (b"lru_crawler metadump all\r\n", b"ERROR metadump not allowed\r\n"),
            (b"shutdown what\r\n", b"CLIENT_ERROR invalid shutdown mode\r\n"),
            (b"shutdown graceful\r\n", b""),
        ],
    );
    let server = make();
    let mut client = Client::new(&server);
    client.send(b"shutdown\r\n", Cut::WHOLE);
    assert_eq!(client.next, Next::Shutdown { graceful: false });
}

#[test]
fn tests_move_the_clock() {
    let clock = DebugClock::new(SystemClock::new());
    let cache = Cache::builder().max_memory(8 << 20).clock(clock.clone()).build().unwrap();
    let server = Server::builder(cache).debug_clock(clock).build();
    let mut client = Client::new(&server);
    let got = client.send(
        b"set a 0 100 1\r\nx\r\ndebugtime 101\r\nget a\r\ndebugtime x\r\ndebugtime p\r\ndebugtime r\r\n",
        Cut::WHOLE,
    );
    assert_eq!(got, b"STORED\r\nOK\r\nEND\r\nERROR\r\nOK\r\nOK\r\n");
}

#[test]
fn pages_are_reassigned_by_hand() {
    let cache =
        Cache::builder().max_memory(16 << 20).shards(1).slab_reassign(true).automove(Automove::Off).build().unwrap();
    let server = Server::builder(cache).build();
    let mut client = Client::new(&server);
    let value = [b'x'; 1000];
    for i in 0..4000 {
        client.send(&[format!("set k{i} 0 0 1000 noreply\r\n").as_bytes(), &value, b"\r\n"].concat(), Cut::WHOLE);
    }
    let slabs = stats(&mut client, " slabs");
    let source = slabs.iter().find(|(name, value)| name.ends_with(":total_pages") && value.as_str() != "1").unwrap();
    let source: u32 = source.0.split(':').next().unwrap().parse().unwrap();
    let request = format!("slabs reassign {source} {}\r\n", source + 1);
    assert_eq!(client.send(request.as_bytes(), Cut::WHOLE), b"OK\r\n");
    assert_eq!(client.send(b"slabs reassign 1 1\r\n", Cut::WHOLE), b"SAME src and dst class are identical\r\n");
    assert_eq!(client.send(b"slabs reassign 1 99\r\n", Cut::WHOLE), b"BADCLASS invalid src or dst class id\r\n");
    assert_eq!(client.send(b"slabs reassign x 1\r\n", Cut::WHOLE), b"CLIENT_ERROR bad command line format\r\n");
}

#[test]
fn a_listing_that_finds_little_stops_for_others() {
    let server = server();
    let mut client = Client::new(&server);
    for i in 0..5_000 {
        client.send(format!("set key{i} 0 0 2\r\nhi\r\n").as_bytes(), Cut::WHOLE);
    }
    let limits = larder::protocol::Limits::default();
    let mut output = larder::protocol::Output::new();
    let mut progress = client.connection.receive(b"lru_crawler metadump 60\r\n", &mut output, &limits);
    let mut stops = 0;
    while progress.more {
        stops += 1;
        progress = client.connection.receive(b"", &mut output, &limits);
    }
    assert_eq!(output.to_vec(), b"OK\r\nEND\r\n");
    assert!(stops >= 3, "{stops}");
    assert_eq!(client.send(b"mn\r\n", Cut::WHOLE), b"MN\r\n");
}

#[test]
fn lines_that_wait_for_a_watcher_are_its_memory() {
    let server = server();
    let mut watcher = Client::new(&server);
    assert_eq!(watcher.send(b"watch fetchers\r\n", Cut::WHOLE), b"OK\r\n");
    let before = watcher.connection.memory();
    Client::new(&server).send(&b"get key\r\n".repeat(100), Cut::WHOLE);
    let mut output = larder::protocol::Output::new();
    let waiting = watcher.connection.memory() - before;
    watcher.connection.poll(&mut output);
    assert!(output.len() > 4_000 && waiting >= output.len(), "{waiting}");
    assert_eq!(watcher.connection.memory(), before);
}

#[test]
fn a_dump_of_a_class_looks_at_some_items_only() {
    let server = server();
    let mut client = Client::new(&server);
    for i in 0..80_000 {
        client.send(format!("set k{i} 0 0 1 noreply\r\nx\r\n").as_bytes(), Cut::WHOLE);
    }
    assert_eq!(server.cache().len(), 80_000);
    let dump = String::from_utf8(client.send(b"stats cachedump 1 0\r\n", Cut::WHOLE)).unwrap();
    let shown = dump.lines().filter(|line| line.starts_with("ITEM ")).count();
    assert!((50_000..66_000).contains(&shown) && dump.ends_with("END\r\n"), "{shown}");
}

#[test]
fn all_watchers_together_hold_a_share_of_the_cache() {
    let server = server();
    let mut watchers: Vec<Client> = (0..20).map(|_| Client::new(&server)).collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.send(b"watch fetchers\r\n", Cut::WHOLE), b"OK\r\n");
    }
    let held = |watchers: &[Client]| watchers.iter().map(|watcher| watcher.connection.memory()).sum::<usize>();
    let before = held(&watchers);
    for _ in 0..200 {
        Client::new(&server).send(&b"get key\r\n".repeat(100), Cut::WHOLE);
    }
    let waiting = held(&watchers) - before;
    assert!((200 << 10..1 << 20).contains(&waiting), "{waiting}");
    // When one has taken its lines, there is room for the next ones, and it is told how many it has missed.
    let mut output = larder::protocol::Output::new();
    while watchers.iter_mut().any(|watcher| {
        let before = output.len();
        watcher.connection.poll(&mut output);
        output.len() > before
    }) {}
    assert_eq!(held(&watchers), before);
    Client::new(&server).send(b"get key\r\n", Cut::WHOLE);
    let mut output = larder::protocol::Output::new();
    watchers[19].connection.poll(&mut output);
    assert!(output.to_vec().starts_with(b"skipped="));
}
