//! `stats`: the figures of the service, by memcached's names.

use std::sync::atomic::Ordering::Relaxed;

use super::connection::Connection;
use super::counters::Count;
use super::parse::{Words, small_number};
use super::server::{Auth, Binding, Server};
use super::store::BINARY_KEY;
use super::text::BAD_FORMAT;
use crate::api::Cursor;
use crate::policy::EvictionPolicy;
use crate::protocol::Output;
use crate::shard::Automove;
use crate::stats::{ClassStats, Stats};

/// A name and a value.
pub(super) type Row = (String, String);

/// `stats cachedump` shows no more bytes than this.
const MOST_DUMPED: usize = 2 << 20;
/// ... and looks at no more items than about this: others wait for it.
const MOST_LOOKED_AT: usize = 1 << 16;

fn row(rows: &mut Vec<Row>, name: &str, value: impl ToString) {
    rows.push((name.to_owned(), value.to_string()));
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// `stats` in the text protocol.
pub(super) fn text(conn: &mut Connection, words: &Words<'_>, output: &mut Output) {
    conn.tally.hand_over(&conn.server.0.counts);
    conn.is_working();
    let server = conn.server.clone();
    let dump = server.0.config.dump;
    let rows = match words.get(1).copied() {
        None => general(&server),
        Some(b"reset") => {
            reset(&server);
            return output.put(b"RESET\r\n");
        }
        Some(b"detail") if !dump => return output.put(b"CLIENT_ERROR stats detail not allowed\r\n"),
        Some(b"detail") => return detail(&server, words.get(2).copied(), output),
        Some(b"cachedump") if !dump => return output.put(b"CLIENT_ERROR stats cachedump not allowed\r\n"),
        Some(b"cachedump") => return cachedump(&server, words, output),
        Some(b"conns") => connections(&server),
        Some(b"settings") => settings(&server),
        Some(b"items") => items(&server),
        Some(b"slabs") => slabs(&server),
        Some(b"sizes") => sizes(&server),
        Some(_) => return output.put(b"ERROR\r\n"),
    };
    for (name, value) in rows {
        output.put(format!("STAT {name} {value}\r\n").as_bytes());
    }
    output.put(b"END\r\n");
}

/// `stat` in the binary protocol; None if there is no such group of figures.
pub(super) fn binary(conn: &mut Connection, group: &[u8]) -> Option<Vec<Row>> {
    conn.tally.hand_over(&conn.server.0.counts);
    conn.is_working();
    let server = &conn.server;
    Some(match group {
        b"" => general(server),
        b"reset" => {
            reset(server);
            Vec::new()
        }
        b"settings" => settings(server),
        b"items" => items(server),
        b"slabs" => slabs(server),
        b"sizes" => sizes(server),
        b"conns" => connections(server),
        b"detail on" | b"detail off" if server.0.config.dump => {
            server.0.prefixes.switch(group == b"detail on");
            Vec::new()
        }
        b"detail dump" if server.0.config.dump => {
            let text = String::from_utf8_lossy(&server.0.prefixes.dump()).into_owned();
            vec![("detailed".to_owned(), text)]
        }
        _ => return None,
    })
}

fn reset(server: &Server) {
    server.0.counts.reset();
    server.0.connections.reset();
    server.0.prefixes.reset();
    *server.0.baseline.lock() = server.0.cache.stats();
}

fn detail(server: &Server, what: Option<&[u8]>, output: &mut Output) {
    match what {
        Some(what @ (b"on" | b"off")) => {
            server.0.prefixes.switch(what == b"on");
            output.put(b"OK\r\n");
        }
        Some(b"dump") => output.put(&server.0.prefixes.dump()),
        _ => output.put(b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
    }
}

fn cachedump(server: &Server, words: &Words<'_>, output: &mut Output) {
    let (Some(class), Some(limit)) = (words.get(2), words.get(3)) else {
        return output.put(b"CLIENT_ERROR bad command line\r\n");
    };
    let (Some(class), Some(limit)) = (small_number(class), small_number(limit)) else {
        return output.put(BAD_FORMAT);
    };
    if class as usize > server.0.most_class() {
        return output.put(b"CLIENT_ERROR Illegal slab id\r\n");
    }
    let (mut cursor, mut shown, mut looked, before) = (Some(Cursor::START), 0, 0, output.len());
    while let Some(from) = cursor {
        let (entries, next) = server.0.cache.scan(from, 64);
        looked += entries.len();
        cursor = next.filter(|_| looked < MOST_LOOKED_AT);
        for entry in entries {
            let Some(seen) = server.0.inspect(&entry.key) else { continue };
            if seen.class != class as usize || seen.attributes.marks & BINARY_KEY != 0 {
                continue;
            }
            if limit != 0 && shown == limit || output.len() - before > MOST_DUMPED {
                cursor = None;
                break;
            }
            shown += 1;
            let end = entry.metadata.deadline_ms.unwrap_or(0) / 1000;
            output.put(b"ITEM ");
            output.put(&entry.key);
            output.put(format!(" [{} b; {end} s]\r\n", seen.value_len).as_bytes());
        }
    }
    output.put(b"END\r\n");
}

/// The engine's counts since the last reset.
fn since_reset(server: &Server) -> Stats {
    // In this order: a reset by somebody else meanwhile must not be later than what it is taken from.
    let then = *server.0.baseline.lock();
    let now = server.0.cache.stats();
    Stats {
        stored: now.stored.saturating_sub(then.stored),
        evictions: now.evictions.saturating_sub(then.evictions),
        evicted_unfetched: now.evicted_unfetched.saturating_sub(then.evicted_unfetched),
        expired: now.expired.saturating_sub(then.expired),
        expired_unfetched: now.expired_unfetched.saturating_sub(then.expired_unfetched),
        reclaimed: now.reclaimed.saturating_sub(then.reclaimed),
        pages_moved: now.pages_moved.saturating_sub(then.pages_moved),
        flushed_items: now.flushed_items.saturating_sub(then.flushed_items),
        expired_on_read: now.expired_on_read.saturating_sub(then.expired_on_read),
        flushed_on_read: now.flushed_on_read.saturating_sub(then.flushed_on_read),
        ..now
    }
}

/// `stats`
fn general(server: &Server) -> Vec<Row> {
    let shared = &server.0;
    let mut rows = Vec::with_capacity(90);
    process(server, &mut rows);
    let out = &mut rows;
    let count = |count| server.total(count);
    for (name, which) in [
        ("cmd_get", Count::Gets),
        ("cmd_set", Count::Sets),
        ("cmd_flush", Count::Flushes),
        ("cmd_touch", Count::Touches),
        ("cmd_meta", Count::Metas),
        ("get_hits", Count::GetHits),
        ("get_misses", Count::GetMisses),
    ] {
        row(out, name, count(which));
    }
    let engine = since_reset(server);
    row(out, "get_expired", engine.expired_on_read);
    row(out, "get_flushed", engine.flushed_on_read);
    for (name, which) in [
        ("delete_misses", Count::DeleteMisses),
        ("delete_hits", Count::DeleteHits),
        ("incr_misses", Count::IncrMisses),
        ("incr_hits", Count::IncrHits),
        ("decr_misses", Count::DecrMisses),
        ("decr_hits", Count::DecrHits),
        ("cas_misses", Count::CasMisses),
        ("cas_hits", Count::CasHits),
        ("cas_badval", Count::CasBadval),
        ("touch_hits", Count::TouchHits),
        ("touch_misses", Count::TouchMisses),
        ("store_too_large", Count::TooLarge),
        ("store_no_memory", Count::NoMemory),
        ("auth_cmds", Count::Auths),
        ("auth_errors", Count::AuthErrors),
    ] {
        row(out, name, count(which));
    }
    if shared.config.idle_timeout > 0 {
        row(out, "idle_kicks", shared.connections.kicked.load(Relaxed));
    }
    row(out, "bytes_read", count(Count::BytesRead));
    row(out, "bytes_written", count(Count::BytesWritten));
    memory(server, &engine, out);
    rows
}

/// Process and connections: the head of `stats`.
fn process(server: &Server, out: &mut Vec<Row>) {
    let shared = &server.0;
    let facts = shared.config.facts.as_ref().map(|facts| facts()).unwrap_or_default();
    let now = shared.cache.now_ms();
    let connections = &shared.connections;
    row(out, "pid", facts.pid);
    row(out, "uptime", now.saturating_sub(shared.started_ms) / 1000);
    row(out, "time", now / 1000);
    row(out, "version", &shared.config.version);
    row(out, "libevent", "none");
    row(out, "pointer_size", usize::BITS);
    for (name, time) in [("rusage_user", facts.user), ("rusage_system", facts.system)] {
        row(out, name, format!("{}.{:06}", time.as_secs(), time.subsec_micros()));
    }
    row(out, "max_connections", shared.config.max_connections);
    row(out, "curr_connections", connections.open());
    row(out, "total_connections", connections.opened());
    if shared.config.reject_connections {
        row(out, "rejected_connections", connections.rejected.load(Relaxed));
    }
    row(out, "connection_structures", connections.open());
    row(out, "response_obj_oom", connections.output_failures.load(Relaxed));
    row(out, "response_obj_count", connections.open());
    row(out, "response_obj_bytes", connections.output_bytes.load(Relaxed));
    row(out, "read_buf_count", connections.read_buffers.load(Relaxed));
    row(out, "read_buf_bytes", connections.read_buffer_bytes.load(Relaxed));
    row(out, "read_buf_bytes_free", 0);
    row(out, "read_buf_oom", connections.read_buffer_failures.load(Relaxed));
    row(out, "reserved_fds", 0);
}

/// The tail of `stats`.
fn memory(server: &Server, engine: &Stats, out: &mut Vec<Row>) {
    let shared = &server.0;
    let connections = &shared.connections;
    let memory = shared.cache.memory();
    row(out, "limit_maxbytes", memory.limit);
    row(out, "accepting_conns", u8::from(connections.not_listening.load(Relaxed) == 0));
    row(out, "listen_disabled_num", connections.listen_disabled.load(Relaxed));
    row(out, "time_in_listen_disabled_us", connections.listen_disabled_us.load(Relaxed));
    row(out, "threads", shared.config.threads);
    row(out, "conn_yields", server.total(Count::Yields));
    let buckets: u64 = shared.cache.shards().iter().map(|shard| shard.buckets).sum();
    row(out, "hash_power_level", buckets.max(1).ilog2());
    row(out, "hash_bytes", memory.index);
    row(out, "hash_is_expanding", 0);
    if shared.cache.settings().reassign {
        for name in ["rescues", "chunk_rescues", "inline_reclaim", "busy_items", "busy_deletes", "busy_nomem"] {
            row(out, &format!("slab_reassign_{name}"), 0);
        }
        row(out, "slab_reassign_last_busy_status", "none");
        row(out, "slab_reassign_running", 0);
        row(out, "slabs_moved", engine.pages_moved);
    }
    if shared.live.crawler.load(Relaxed) {
        row(out, "lru_crawler_running", 0);
        row(out, "lru_crawler_starts", shared.live.crawler_starts.load(Relaxed));
    }
    if shared.config.lru_maintainer {
        row(out, "lru_maintainer_juggles", engine.maintenance_runs);
    }
    row(out, "malloc_fails", engine.commit_failures);
    let [watchers, written, skipped, sent] = shared.watchers.figures();
    row(out, "log_worker_dropped", 0);
    row(out, "log_worker_written", written);
    row(out, "log_watcher_skipped", skipped);
    row(out, "log_watcher_sent", sent);
    row(out, "log_watchers", watchers);
    row(out, "unexpected_napi_ids", 0);
    row(out, "round_robin_fallback", 0);
    row(out, "bytes", memory.chunk_bytes);
    row(out, "curr_items", shared.cache.len());
    row(out, "total_items", engine.stored);
    row(out, "slab_global_page_pool", memory.pooled / page_bytes(server));
    row(out, "expired_unfetched", engine.expired_unfetched);
    row(out, "evicted_unfetched", engine.evicted_unfetched);
    if shared.config.lru_maintainer {
        row(out, "evicted_active", 0);
    }
    row(out, "evictions", engine.evictions);
    // Memory that was won back from what had ended or was cleared, by whomever.
    row(out, "reclaimed", engine.expired + engine.flushed_items);
    row(out, "crawler_reclaimed", engine.expired.saturating_sub(engine.reclaimed));
    row(out, "crawler_items_checked", 0);
    row(out, "lrutail_reflocked", 0);
    if shared.config.lru_maintainer {
        for name in ["moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims", "lru_bumps_dropped"] {
            row(out, name, 0);
        }
    }
    // Only where auto discovery is used: tools that know memcached count the rows.
    let (gets, sets, entries) =
        (server.total(Count::ConfigGets), server.total(Count::ConfigSets), shared.discovery.len());
    if gets + sets + entries as u64 > 0 {
        row(out, "cmd_config_get", gets);
        row(out, "cmd_config_set", sets);
        row(out, "curr_config", entries);
    }
}

fn page_bytes(server: &Server) -> u64 {
    let largest = server.0.cache.classes().iter().map(|class| class.chunk_size * class.chunks_per_page).max();
    largest.unwrap_or(1).max(1)
}

/// `stats settings`
fn settings(server: &Server) -> Vec<Row> {
    let (shared, mut rows) = (&server.0, Vec::with_capacity(70));
    let (cache, config, lru) = (&shared.cache, &shared.config, *shared.live.lru.lock());
    let (settings, built, out) = (cache.settings(), cache.built(), &mut rows);
    row(out, "maxbytes", cache.memory_limits().0);
    row(out, "maxconns", config.max_connections);
    for (name, value) in [("tcpport", "0"), ("udpport", "0"), ("inter", "NULL")] {
        row(out, name, value);
    }
    row(out, "verbosity", server.verbosity());
    row(out, "oldest", 0);
    row(out, "evictions", if cache.policy() == EvictionPolicy::NoEviction { "off" } else { "on" });
    row(out, "domain_socket", "NULL");
    row(out, "umask", "700");
    row(out, "shutdown_command", yes(config.shutdown));
    row(out, "growth_factor", format!("{:.2}", built.growth_factor));
    row(out, "chunk_size", built.chunk_size);
    row(out, "num_threads", config.threads);
    row(out, "num_threads_per_udp", config.threads);
    row(out, "stat_key_prefix", char::from(config.delimiter));
    row(out, "detail_enabled", yes(shared.prefixes.is_on()));
    row(out, "reqs_per_event", 20);
    row(out, "cas_enabled", yes(shared.has_tokens));
    row(out, "tcp_backlog", 1024);
    row(
        out,
        "binding_protocol",
        match config.binding {
            Binding::Auto => "auto-negotiate",
            Binding::Ascii => "ascii",
            Binding::Binary => "binary",
        },
    );
    row(out, "auth_enabled_sasl", yes(config.auth == Auth::Sasl));
    row(out, "auth_enabled_ascii", yes(config.auth == Auth::Ascii));
    row(out, "item_size_max", config.item_size_max);
    row(out, "maxconns_fast", yes(config.reject_connections));
    row(out, "hashpower_init", built.initial_items.max(1).ilog2());
    row(out, "slab_reassign", yes(settings.reassign));
    let automove = match cache.automove() {
        Automove::Off => 0,
        Automove::Slow => 1,
        Automove::Always => 2,
    };
    row(out, "slab_automove", automove);
    row(out, "slab_automove_ratio", format!("{:.2}", *shared.live.automove_ratio.lock()));
    row(out, "slab_automove_window", 30);
    row(out, "slab_chunk_max", cache.classes().last().map_or(0, |class| class.chunk_size));
    row(out, "lru_crawler", yes(shared.live.crawler.load(Relaxed)));
    row(out, "lru_crawler_sleep", shared.live.crawler_sleep_us.load(Relaxed));
    row(out, "lru_crawler_tocrawl", shared.live.crawler_tocrawl.load(Relaxed));
    row(out, "tail_repair_time", 0);
    row(out, "flush_enabled", yes(config.flush));
    row(out, "dump_enabled", yes(config.dump));
    row(out, "hash_algorithm", "rapidhash");
    row(out, "lru_maintainer_thread", yes(config.lru_maintainer));
    row(out, "lru_segmented", yes(lru.segmented && config.lru_maintainer));
    row(out, "hot_lru_pct", lru.hot_percent);
    row(out, "warm_lru_pct", lru.warm_percent);
    row(out, "hot_max_factor", format!("{:.2}", lru.hot_factor));
    row(out, "warm_max_factor", format!("{:.2}", lru.warm_factor));
    row(out, "temp_lru", yes(lru.temporary_ttl.is_some()));
    row(out, "temporary_ttl", lru.temporary_ttl.unwrap_or(61));
    row(out, "idle_timeout", config.idle_timeout);
    row(out, "watcher_logbuf_size", 0);
    row(out, "worker_logbuf_size", 0);
    row(out, "read_buf_mem_limit", 0);
    row(out, "track_sizes", yes(config.track_sizes));
    row(out, "inline_ascii_response", "no");
    row(out, "num_napi_ids", 0);
    row(out, "memory_file", "(null)");
    row(out, "client_flags_size", size_of::<u32>());
    for (name, value) in &config.rows {
        match rows.iter_mut().find(|row| row.0 == *name) {
            Some(row) => row.1.clone_from(value),
            None => rows.push((name.clone(), value.clone())),
        }
    }
    rows
}

/// Whether a class has, or had, items.
fn is_known(class: &ClassStats) -> bool {
    class.pages + class.evicted + class.expired > 0
}

/// `stats items`: by class, as far as the engine knows by class.
fn items(server: &Server) -> Vec<Row> {
    let mut rows = Vec::new();
    for (i, class) in server.0.cache.classes().iter().enumerate().filter(|(_, class)| is_known(class)) {
        let mut put = |name: &str, value: u64| row(&mut rows, &format!("items:{}:{name}", i + 1), value);
        put("number", class.used_chunks);
        put("age", 0);
        put("mem_requested", class.used_chunks * class.chunk_size);
        put("evicted", class.evicted);
        put("evicted_unfetched", class.evicted_unfetched);
        put("expired_unfetched", class.expired_unfetched);
        put("reclaimed", class.expired);
        put("crawler_reclaimed", class.expired);
    }
    rows
}

/// `stats slabs`
fn slabs(server: &Server) -> Vec<Row> {
    let (mut rows, mut active) = (Vec::new(), 0);
    for (i, class) in server.0.cache.classes().iter().enumerate().filter(|(_, class)| is_known(class)) {
        active += u64::from(class.pages > 0);
        let mut put = |name: &str, value: u64| row(&mut rows, &format!("{}:{name}", i + 1), value);
        put("chunk_size", class.chunk_size);
        put("chunks_per_page", class.chunks_per_page);
        put("total_pages", class.pages);
        put("total_chunks", class.pages * class.chunks_per_page);
        put("used_chunks", class.used_chunks);
        put("free_chunks", class.free_chunks);
        put("free_chunks_end", 0);
    }
    row(&mut rows, "active_slabs", active);
    row(&mut rows, "total_malloced", server.0.cache.memory().slab);
    rows
}

/// `stats sizes`: how many items there are of each size, in steps of 32 bytes.
fn sizes(server: &Server) -> Vec<Row> {
    let (shared, mut rows) = (&server.0, Vec::new());
    if !shared.config.track_sizes {
        row(&mut rows, "sizes_status", "disabled");
        return rows;
    }
    let mut counts = std::collections::BTreeMap::<usize, u64>::new();
    let mut cursor = Some(Cursor::START);
    while let Some(from) = cursor {
        let (entries, next) = shared.cache.scan(from, 256);
        cursor = next;
        for entry in entries {
            let size = shared.inspect(&entry.key).map_or(0, |seen| seen.size);
            *counts.entry(size.div_ceil(32) * 32).or_default() += 1;
        }
    }
    for (size, count) in counts.into_iter().filter(|(size, _)| *size > 0) {
        row(&mut rows, &size.to_string(), count);
    }
    rows
}

/// `stats conns`
fn connections(server: &Server) -> Vec<Row> {
    let (mut rows, now) = (Vec::new(), server.0.cache.now_ms());
    for (id, peer) in server.0.registry.all() {
        let mut put = |name: &str, value: &str| row(&mut rows, &format!("{id}:{name}"), value);
        put("addr", &peer.addr);
        if !peer.is_listening() {
            put("listen_addr", &peer.listen_addr);
        }
        put("state", peer.state());
        put("secs_since_last_cmd", &peer.idle_seconds(now).to_string());
    }
    rows
}
