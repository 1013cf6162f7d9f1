//! Each format read as it should be, and refused as it should be; whatever the bytes, never a panic.

use super::*;
use crate::rng::Rng;

const ALL: [Format; 4] = [Format::Csv, Format::OracleGeneral, Format::Twitter, Format::Arc];

fn get(time_ms: u64, key: u64, size: u32, ttl_s: u32) -> Request {
    Request { time_ms, key, size, ttl_s, key_size: 0, op: Op::Get }
}

fn record(time: u32, id: u64, size: u32) -> Vec<u8> {
    [&time.to_le_bytes()[..], &id.to_le_bytes(), &size.to_le_bytes(), &(-1i64).to_le_bytes()].concat()
}

fn message(format: Format, bytes: &[u8]) -> String {
    parse(format, bytes).unwrap_err().to_string()
}

#[test]
fn csv_with_every_kind_of_header() {
    let rows = "1.5,7,100,0,get\n\n2,8,20,30.7,SET\n# a comment\n2.0009,18446744073709551615,1,0.2,delete\r\n";
    let expected = [
        get(1500, 7, 100, 0),
        Request { op: Op::Set, ..get(2000, 8, 20, 30) },
        Request { op: Op::Delete, ..get(2000, u64::MAX, 1, 1) },
    ];
    for header in ["#timestamp_s,key,size_bytes,ttl_s,op\n", "timestamp_s,key,size_bytes,ttl_s,op\r\n", ""] {
        assert_eq!(parse(Format::Csv, format!("{header}{rows}").as_bytes()).unwrap(), expected, "{header}");
    }
    assert_eq!(parse(Format::Csv, b"key,colour,time\n5,red,3").unwrap(), [get(3000, 5, 1, 0)]);
    assert_eq!(parse(Format::Csv, b"key,ttl\n5,\n").unwrap(), [get(0, 5, 1, 0)]);
    assert!(parse(Format::Csv, b"").unwrap().is_empty());
}

#[test]
fn csv_errors_name_the_line() {
    let header = "#timestamp_s,key,size_bytes,ttl_s,op\n0,1,1,0,get\n";
    for (line, told) in [
        ("0,1,1,0", "line 3: 4 fields where 5 are expected"),
        ("0,1,1,0,get,x", "line 3: 6 fields where 5 are expected"),
        ("-1,1,1,0,get", "line 3: timestamp '-1' is not a time in seconds"),
        ("0,0x5,1,0,get", "line 3: key '0x5' is not a whole number"),
        ("0,18446744073709551616,1,0,get", "line 3: key '18446744073709551616' is not a whole number"),
        ("0,1,4000000000,0,get", "line 3: size 4000000000 is more than 1073741824"),
        ("0,1,1,5000000000,get", "line 3: ttl of 5000000000 seconds is too long"),
        ("999999999999,1,1,0,get", "line 3: timestamp '999999999999' is not a time in seconds"),
        ("1.2.3,1,1,0,get", "line 3: timestamp '1.2.3' is not a time in seconds"),
        ("0,1,1,0,gobble", "line 3: unknown operation 'gobble'"),
    ] {
        let got = message(Format::Csv, format!("{header}{line}\n").as_bytes());
        assert!(got.starts_with(told), "{line}: {got}");
    }
    assert_eq!(message(Format::Csv, b"time,size\n"), "line 1: the header names no column 'key'");
    let endless = vec![b'5'; 1 << 20];
    assert!(message(Format::Csv, &endless).starts_with("line 1: longer than"));
}

#[test]
fn twitter_lines() {
    let text = "0,nz:u:eeW511W3dcH3de3d15ec,22,304,5,get,0\n7,a,b,c,5,0,12,prepend,86400\n8,k,1,0,3,delete,0\n";
    let got = parse(Format::Twitter, text.as_bytes()).unwrap();
    assert_eq!((got[0].time_ms, got[0].size, got[0].key_size, got[0].op), (0, 326, 22, Op::Get));
    assert_eq!((got[1].time_ms, got[1].size, got[1].ttl_s, got[1].op), (7000, 5, 86_400, Op::Set));
    assert_eq!(got[2].op, Op::Delete);
    assert_ne!(got[0].key, got[1].key);
    for (line, told) in [
        ("0,key,22,304,5,get", "line 1: fewer than 7 fields"),
        ("0,key,70000,304,5,get,0", "line 1: key size 70000 is more than 16384"),
        ("0,key,22,9999999999,5,get,0", "line 1: value size 9999999999 is more than"),
        ("0,key,22,1073741824,5,get,0", "line 1: key and value of 1073741846 bytes are more than"),
        ("0,key,22,3,5,frob,0", "line 1: unknown operation 'frob'"),
        ("x,key,22,3,5,get,0", "line 1: timestamp 'x' is not a time"),
    ] {
        let got = message(Format::Twitter, line.as_bytes());
        assert!(got.starts_with(told), "{line}: {got}");
    }
}

#[test]
fn arc_lines_become_blocks() {
    let got = parse(Format::Arc, b"10 3 0 0\n\n5 0 0 1\n18446744073709551615  1\t0 2\n").unwrap();
    assert_eq!(got, [get(0, 10, 1, 0), get(1, 11, 1, 0), get(2, 12, 1, 0), get(3, u64::MAX, 1, 0)]);
    for (line, told) in [
        ("1 2 3", "line 1: request number is missing"),
        ("1 2 3 4 5", "line 1: more than four fields"),
        ("1 2000000 0 0", "line 1: 2000000 blocks in one request"),
        ("18446744073709551615 2 0 0", "line 1: blocks from 18446744073709551615 on"),
        ("a 2 0 0", "line 1: first block 'a' is not a whole number"),
    ] {
        let got = message(Format::Arc, line.as_bytes());
        assert!(got.starts_with(told), "{line}: {got}");
    }
    let many = "0 1048576 0 0\n1 2 0 1\n";
    assert!(message(Format::Arc, many.as_bytes()).contains("more than 1048576 requests"));
}

#[test]
fn oracle_general_records() {
    let bytes = [record(3, 99, 4096), record(4, u64::MAX, 0)].concat();
    assert_eq!(parse(Format::OracleGeneral, &bytes).unwrap(), [get(3000, 99, 4096, 0), get(4000, u64::MAX, 0, 0)]);
    assert!(message(Format::OracleGeneral, &bytes[..40]).starts_with("record 2: cut off"));
    let huge = record(0, 1, u32::MAX);
    assert!(message(Format::OracleGeneral, &huge).starts_with("record 1: size 4294967295 is more than"));
}

#[test]
fn zstd_is_undone_and_damage_reported() {
    let text = b"#timestamp_s,key,size_bytes,ttl_s,op\n1,2,3,4,get\n".to_vec();
    let packed = zstd::encode_all(text.as_slice(), 3).unwrap();
    assert_eq!(parse(Format::Csv, &packed).unwrap(), parse(Format::Csv, &text).unwrap());
    assert!(parse(Format::Csv, &packed[..packed.len() - 3]).is_err());
    let mut damaged = packed;
    damaged[6] ^= 0xff;
    damaged[8] ^= 0xff;
    assert!(parse(Format::Csv, &damaged).is_err());
    let bomb = zstd::encode_all(vec![b'\n'; 80 << 20].as_slice(), 3).unwrap();
    assert!(message(Format::Csv, &bomb).contains("more than 67108864 bytes"));
}

#[test]
fn formats_are_told_apart() {
    for (name, bytes, format) in [
        ("a.csv", &b"#timestamp_s,key,size_bytes,ttl_s,op\n"[..], Format::Csv),
        ("a", b"0,1,1,0,get\n", Format::Csv),
        ("cluster52", b"0,key,22,3,5,get,0\n", Format::Twitter),
        ("P3.lis.zst", b"1 2 0 0\n", Format::Arc),
        ("p3", b"1 2 0 0\n", Format::Arc),
        ("x.oracleGeneral.zst", b"1", Format::OracleGeneral),
        ("x", &record(1, 2, 3), Format::OracleGeneral),
    ] {
        assert_eq!(detect(bytes, name).unwrap(), format, "{name}");
    }
    assert!(detect(b"what is this\n", "x.txt").unwrap_err().to_string().contains("--format"));
    assert!("parquet".parse::<Format>().unwrap_err().contains("csv"));
    let mut reader = Reader::new(&b"1 1 0 0\nbad\n2 1 0 0\n"[..], None, "x").unwrap();
    assert!(reader.next().unwrap().is_ok() && reader.next().unwrap().is_err());
    assert!(reader.next().is_none(), "nothing after an error");
}

#[test]
fn noise_never_panics() {
    let mut rng = Rng::new(42);
    let valid = b"0,1,1,0,get\n1 2 3 4\n0,key,22,3,5,get,0\n";
    for round in 0..4000 {
        let mut bytes = vec![0; rng.below(200) as usize];
        if round % 2 == 0 {
            rng.fill(&mut bytes);
        } else {
            bytes = valid.to_vec();
            for _ in 0..3 {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = b",.# \n-0129\xff"[rng.below(11) as usize];
            }
        }
        for format in ALL {
            let _ = parse(format, &bytes);
        }
        if let Ok(reader) = Reader::new(bytes.as_slice(), None, "x") {
            reader.for_each(drop);
        }
    }
}
