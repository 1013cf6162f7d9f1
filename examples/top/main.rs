//! A dashboard for the terminal: a cache under load, and what it makes of it, second by second.
//! `cargo run --release --example top -- --help` tells the rest.
//!
//! ```text
//!  args ─► load (workload or trace) ─► app (cache, history, keys) ─► view ─► terminal, or text with --headless
//! ```

mod app;
mod args;
mod load;
mod view;

#[path = "../support/amounts.rs"]
#[allow(dead_code, reason = "replay uses the rest")]
mod amounts;
#[path = "../support/command.rs"]
mod command;
#[path = "../support/rng.rs"]
mod rng;
#[path = "../support/trace/mod.rs"]
#[allow(dead_code, reason = "replay uses the rest")]
mod trace;
#[path = "../support/units.rs"]
mod units;
#[path = "../support/workload.rs"]
mod workload;
#[path = "../support/zipf.rs"]
mod zipf;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use app::App;
use args::Args;
use crossterm::event::{self, Event};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// What can end the program early, as the line to print.
type Failure = String;

/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(100);
/// Requests played for a picture that nobody waits for.
const HEADLESS_REQUESTS: u64 = 100_000;

fn main() -> ExitCode {
    command::run("top", args::HELP, args::parse(lexopt::Parser::from_env()), run)
}

fn run(args: &Args) -> Result<(), Failure> {
    let mut app = App::new(args)?;
    if args.headless {
        print!("{}", headless(&mut app, args)?);
        return Ok(());
    }
    interactive(&mut app, args.frames)
}

/// Draws until the user has had enough, or for so many frames.
fn interactive(app: &mut App, frames: Option<u64>) -> Result<(), Failure> {
    let told = |error: std::io::Error| format!("cannot use the terminal: {error}; try --headless");
    let mut terminal = ratatui::try_init().map_err(told)?;
    let mut run = || -> std::io::Result<Result<(), Failure>> {
        let mut drawn = 0;
        while !app.is_over() && frames.is_none_or(|frames| drawn < frames) {
            let next = Instant::now() + FRAME;
            // Most of the time is for the cache, the rest for the picture.
            if let Err(failure) = app.play_until(next - FRAME / 10) {
                return Ok(Err(failure));
            }
            app.sample();
            terminal.draw(|frame| view::draw(frame, app))?;
            drawn += 1;
            while event::poll(next.saturating_duration_since(Instant::now()))? {
                if let Event::Key(key) = event::read()? {
                    app.press(key);
                }
            }
        }
        Ok(Ok(()))
    };
    let result = run();
    ratatui::restore();
    result.map_err(told)?
}

/// The pictures as text, each after the same number of requests; with a seed, always the same but for the rate.
fn headless(app: &mut App, args: &Args) -> Result<String, Failure> {
    let (width, height) = args.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).map_err(|error| error.to_string())?;
    let mut text = String::new();
    for number in 1..=args.frames.unwrap_or(1) {
        app.play(HEADLESS_REQUESTS)?;
        app.sample();
        terminal.draw(|frame| view::draw(frame, app)).map_err(|error| error.to_string())?;
        text.push_str(&format!("--- frame {number}\n"));
        let buffer = terminal.backend().buffer();
        for row in buffer.content().chunks(usize::from(width)) {
            let line: String = row.iter().map(|cell| cell.symbol()).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use larder::EvictionPolicy;

    fn args(line: &[&str]) -> Args {
        match args::parse(lexopt::Parser::from_args(line)) {
            Ok(command::Parsed::Run(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    fn press(app: &mut App, letter: char) {
        app.press(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::NONE));
    }

    #[test]
    fn one_picture_without_options_shows_a_cache_that_evicts() {
        let args = args(&["--headless"]);
        let mut app = App::new(&args).unwrap();
        let text = headless(&mut app, &args).unwrap();
        let stats = app.cache().stats();
        assert!(stats.evictions > 1000 && stats.hits > 10_000, "{text}");
    }

    #[test]
    fn pictures_show_what_there_is() {
        let args = args(&["--headless", "--frames", "2", "--max-memory", "4MiB", "--size", "110x40"]);
        let text = headless(&mut App::new(&args).unwrap(), &args).unwrap();
        for part in ["frame 2", "hit ratio", "memory", "classes", "miss ratio", "evicted", "default", "4.0 MiB"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert_eq!(text.lines().count(), 2 * 41);
    }

    #[test]
    fn small_terminals_are_no_problem() {
        for size in ["1x1", "20x5", "40x10", "300x100"] {
            let args = args(&["--headless", "--max-memory", "1MiB", "--size", size]);
            headless(&mut App::new(&args).unwrap(), &args).unwrap();
        }
    }

    #[test]
    fn keys_do_what_they_say() {
        let mut app = App::new(&args(&["--max-memory", "4MiB"])).unwrap();
        app.play(10_000).unwrap();
        press(&mut app, '+');
        assert_eq!(app.limit(), 5 << 20);
        press(&mut app, '-');
        press(&mut app, '-');
        assert!(app.limit() < 4 << 20);
        press(&mut app, '2');
        assert_eq!(app.cache().policy(), args::POLICIES[1]);
        press(&mut app, '1');
        assert_eq!(app.cache().policy(), EvictionPolicy::Default);
        press(&mut app, 'p');
        let before = app.cache().stats().gets;
        app.play(10_000).unwrap();
        assert_eq!(app.cache().stats().gets, before, "paused");
        press(&mut app, 'p');
        (0..60).for_each(|_| press(&mut app, '-'));
        assert!(app.message().contains("max_memory"), "{}", app.message());
        press(&mut app, 'c');
        assert!(app.cache().is_empty());
        press(&mut app, 'q');
        assert!(app.is_over());
    }

    #[test]
    fn wrong_arguments_are_told() {
        for line in [&["--size", "5"][..], &["--max-memory", "x"], &["--policy", "none"], &["--frames", "0"]] {
            assert!(args::parse(lexopt::Parser::from_args(line)).is_err(), "{line:?}");
        }
    }
}
