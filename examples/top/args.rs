//! The command line of `top`.

use std::path::PathBuf;

use larder::EvictionPolicy;
use lexopt::prelude::*;

use crate::amounts;
use crate::command::Parsed;

pub(crate) const HELP: &str = "\
Shows a cache at work, in the terminal.

Usage: top [options] [trace]

Without a trace the built-in workload is played (see the example `replay`). A trace is played again and again. A get of
an absent key is followed by a set of the object. The time in the trace drives the cache's clock, so that lifetimes pass
in a hurry.

  --max-memory SIZE       limit of the cache at first: 64MiB, 1.5GiB, 1000000 ... [64MiB; headless: 4MiB]
  --curve-memory SIZE     memory for the miss-ratio curve, beside that; 0 for none [4MiB]
  --policy NAME           eviction policy at first [default]
  --value-size N          bytes of a value where the trace has no sizes [100]
  --seed N                of the workload and of the cache [1]
  --frames N              end after N pictures [headless: 1; else: never]
  --headless              print the pictures as text; each shows 100,000 requests more
  --size WxH              of these pictures [120x40]
  -h, --help              this text

Keys: q quit   p pause   + - memory limit   c clear   1 ... 9 policy
";

/// What the keys 1 to 9 choose.
pub(crate) const POLICIES: [EvictionPolicy; 9] = [
    EvictionPolicy::Default,
    EvictionPolicy::AllkeysLru,
    EvictionPolicy::AllkeysLfu,
    EvictionPolicy::S3Fifo,
    EvictionPolicy::Sieve,
    EvictionPolicy::AllkeysRandom,
    EvictionPolicy::VolatileLru,
    EvictionPolicy::VolatileTtl,
    EvictionPolicy::NoEviction,
];

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) max_memory: u64,
    pub(crate) curve_memory: u64,
    pub(crate) policy: EvictionPolicy,
    pub(crate) value_size: u32,
    pub(crate) seed: u64,
    pub(crate) frames: Option<u64>,
    pub(crate) headless: bool,
    pub(crate) size: (u16, u16),
    pub(crate) trace: Option<PathBuf>,
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Parsed<Args>, String> {
    let mut args = Args {
        max_memory: 0,
        curve_memory: 4 << 20,
        policy: EvictionPolicy::Default,
        value_size: 100,
        seed: 1,
        frames: None,
        headless: false,
        size: (120, 40),
        trace: None,
    };
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Long("max-memory") => args.max_memory = amounts::parse_bytes(&text(&mut parser)?)?,
            Long("curve-memory") => {
                let amount = text(&mut parser)?;
                args.curve_memory = if amount == "0" { 0 } else { amounts::parse_bytes(&amount)? };
            }
            Long("policy") => {
                args.policy = text(&mut parser)?.parse().map_err(|error: larder::Error| error.to_string())?
            }
            Long("value-size") => args.value_size = number("--value-size", &text(&mut parser)?)?,
            Long("seed") => args.seed = number("--seed", &text(&mut parser)?)?,
            Long("frames") => args.frames = Some(number("--frames", &text(&mut parser)?)?),
            Long("headless") => args.headless = true,
            Long("size") => args.size = size(&text(&mut parser)?)?,
            Short('h') | Long("help") => return Ok(Parsed::Help),
            Value(path) if args.trace.is_none() => args.trace = Some(path.into()),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if args.max_memory == 0 {
        // In one picture a small cache shows more.
        args.max_memory = if args.headless { 4 << 20 } else { 64 << 20 };
    }
    if args.frames == Some(0) {
        return Err("--frames is 0; give the number of pictures".into());
    }
    Ok(Parsed::Run(args))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{option} '{text}' is not a number, or too large a one"))
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let bad = || format!("--size '{text}' is not a size; write for example 120x40, at most 1000x1000");
    let (width, height) = text.split_once('x').ok_or_else(bad)?;
    let side = |text: &str| text.parse().ok().filter(|side| (1..=1000).contains(side)).ok_or_else(bad);
    Ok((side(width)?, side(height)?))
}
