//! `docs/parameters.md` has a row for each parameter and node type, made from the table. `LARDER_WRITE_DOCS=1` writes
//! it.

use larder::params::{Family, NodeType, Parameter, System, Unit, Value};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/parameters.md");

fn row(parameter: &Parameter) -> String {
    let default = match parameter.default_value().as_ref().map(Value::to_string) {
        None => "by node type".to_owned(),
        Some(empty) if empty.is_empty() => "none".to_owned(),
        Some(text) => text,
    };
    let unit = if parameter.unit == Unit::Count { String::new() } else { format!(", {}", parameter.unit) };
    format!(
        "| `{}` | {} | {}{unit} | {default} | {} | {} | {} | {} |\n",
        parameter.name,
        parameter.since,
        parameter.value_type,
        parameter.allowed,
        parameter.applies,
        parameter.meaning,
        parameter.drives
    )
}

fn parameters(system: System) -> String {
    let head =
        "| name | since | type | default | allowed | applies | meaning | drives |\n|---|---|---|---|---|---|---|---|\n";
    let rows: String = system.parameters().iter().map(row).collect();
    format!("{head}{rows}")
}

fn nodes() -> String {
    let text = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
    let row = |node: &NodeType| {
        let keeps = if node.append_only_file && node.snapshots && node.failover { "all" } else { "none" };
        format!(
            "| `{}` | {} | {} | {} | {keeps} |\n",
            node.name,
            text(node.redis_maxmemory.map(|bytes| bytes.to_string())),
            text(node.memcached_max_cache_memory.map(|mebibytes| mebibytes.to_string())),
            text(node.memcached_num_threads.map(|threads| threads.to_string())),
        )
    };
    let rows: String = NodeType::ALL.iter().map(row).collect();
    let head = "| node type | `maxmemory`, bytes | `max_cache_memory`, MiB | `num_threads` | append-only file, snapshots, failover |\n\
                |---|--:|--:|--:|---|\n";
    format!("{head}{rows}")
}

/// The page with the part between two marks replaced.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let at = page.find(&begin).unwrap_or_else(|| panic!("docs/parameters.md has no mark {begin}")) + begin.len();
    let until = page.find(&end).unwrap_or_else(|| panic!("docs/parameters.md has no mark {end}"));
    format!("{}{part}{}", &page[..at], &page[until..])
}

#[test]
fn the_page_is_what_the_table_says() {
    let page = std::fs::read_to_string(PAGE).expect("docs/parameters.md");
    let mut wanted = with_part(&page, "memcached", &parameters(System::Memcached));
    wanted = with_part(&wanted, "redis", &parameters(System::Redis));
    wanted = with_part(&wanted, "nodes", &nodes());
    if std::env::var_os("LARDER_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &wanted).expect("a page that can be written");
        return;
    }
    assert!(page == wanted, "docs/parameters.md is not what the table says: run the tests with LARDER_WRITE_DOCS=1");
    for family in Family::ALL {
        assert!(page.contains(&format!("`{family}`")));
    }
}
