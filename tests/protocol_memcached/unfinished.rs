//! Values that are announced and do not come: they hold a quarter of the cache at most, and the oldest give way.

use larder::protocol::memcached::Server;

use crate::client::{Client, Cut, server};

const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

/// A client that announces a value of half a megabyte and sends a little of it.
fn begun(server: &Server, command: &str, number: usize) -> Client {
    let mut client = Client::new(server);
    let line = format!("{command} k{number} 0 0 500000\r\nbeginning");
    assert_eq!(client.send(line.as_bytes(), Cut::WHOLE), b"");
    client
}

fn rest() -> Vec<u8> {
    [&[b'x'; 500_000 - 9][..], b"\r\n"].concat()
}

#[test]
fn the_oldest_gives_way_and_is_told() {
    // 8 MiB: a quarter of it are four values.
    let server = server();
    let mut clients: Vec<Client> = (0..5).map(|i| begun(&server, "set", i)).collect();
    let late = clients.remove(0).send(&[&rest()[..], b"get k0\r\nmn\r\n"].concat(), Cut::WHOLE);
    assert_eq!(late, [NO_MEMORY, b"END\r\nMN\r\n"].concat(), "what came of it was swallowed");
    for client in &mut clients {
        assert_eq!(client.send(&rest(), Cut { piece: 10_000, first: 1, fill: true, ..Cut::WHOLE }), b"STORED\r\n");
    }
}

#[test]
fn many_of_them_leave_room_for_others() {
    let server = server();
    let mut other = Client::new(&server);
    let mut idle = Vec::new();
    for i in 0..200 {
        idle.push(begun(&server, ["set", "append"][i % 2], i));
        let said = other.send(b"set other 0 0 5\r\nvalue\r\nget other\r\n", Cut::WHOLE);
        assert_eq!(said, b"STORED\r\nVALUE other 0 5\r\nvalue\r\nEND\r\n");
    }
    assert!(server.cache().memory().used < 4 << 20);
    drop(idle);
    server.cache().check_invariants();
    let mut large = begun(&server, "set", 0);
    assert_eq!(large.send(&rest(), Cut::WHOLE), b"STORED\r\n");
}

#[test]
fn what_was_there_before_goes_with_it() {
    let server = server();
    let mut first = Client::new(&server);
    assert_eq!(first.send(b"set k0 0 0 3\r\nold\r\n", Cut::WHOLE), b"STORED\r\n");
    let mut slow = begun(&server, "set", 0);
    let _others: Vec<Client> = (1..6).map(|i| begun(&server, "set", i)).collect();
    assert!(slow.connection.fill().is_none());
    assert_eq!(slow.send(b"x", Cut::WHOLE), NO_MEMORY);
    assert_eq!(first.send(b"get k0\r\n", Cut::WHOLE), b"END\r\n");
}

#[test]
fn one_that_is_being_filled_is_not_taken_away() {
    let server = server();
    let mut first = begun(&server, "set", 0);
    assert!(first.connection.is_filling());
    let place = first.connection.fill().unwrap();
    let _others: Vec<Client> = (1..8).map(|i| begun(&server, "set", i)).collect();
    place.fill(b'x');
    let n = place.len();
    first.connection.filled(n);
    assert_eq!(first.send(b"\r\n", Cut::WHOLE), b"STORED\r\n");
    let mut second = begun(&server, "set", 9);
    assert!(second.connection.fill().is_some());
    second.connection.filled(0);
    let _more: Vec<Client> = (10..18).map(|i| begun(&server, "set", i)).collect();
    assert!(second.connection.fill().is_none(), "nothing had come");
}
