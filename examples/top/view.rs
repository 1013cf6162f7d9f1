//! The picture.
//!
//! ```text
//! ┌ what is played, policy, limit ──────────────────────────────────┐
//! ├ hit ratio over time ────────────────┬ memory ───────────────────┤
//! │                                     ├ classes                   │
//! ├ requests a second ──────────────────┤                           │
//! ├ evicted, expired, stored ───────────┤                           │
//! ├ miss ratio by memory ───────────────┴───────────────────────────┤
//! └ keys ───────────────────────────────────────────────────────────┘
//! ```

use larder::{ClassStats, MemoryReport};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Bar, BarChart, BarGroup, Block, Chart, Dataset, GraphType, Paragraph, Sparkline};

use crate::app::{App, Sample};
use crate::units;

const GOOD: Color = Color::Green;
const BUSY: Color = Color::Cyan;
const LESS: Color = Color::Yellow;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let [head, body, curve, keys] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(8), Constraint::Length(2)])
            .areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(body);
    let [ratio, rate, events] =
        Layout::vertical([Constraint::Min(5), Constraint::Length(5), Constraint::Length(5)]).areas(left);
    let [memory, classes] = Layout::vertical([Constraint::Length(8), Constraint::Min(0)]).areas(right);
    let report = app.cache().memory();
    draw_head(frame, head, app);
    draw_ratio(frame, ratio, app);
    draw_rate(frame, rate, app);
    draw_events(frame, events, app);
    draw_memory(frame, memory, &report, app.curve_memory());
    draw_classes(frame, classes, &app.cache().classes());
    draw_curve(frame, curve, app);
    draw_keys(frame, keys, app);
}

fn titled(title: impl Into<String>) -> Block<'static> {
    Block::bordered().title(format!(" {} ", title.into()))
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (hours, minutes) = (app.time().as_secs() / 3600, app.time().as_secs() / 60 % 60);
    let paused = if app.is_paused() { "   PAUSED" } else { "" };
    let lines = vec![
        Line::from(vec![
            Span::styled(format!(" larder top: {}", app.source()), bold),
            Span::raw(format!("   policy {}   limit {}", app.cache().policy(), units::bytes(app.limit()))),
            Span::styled(paused, Style::new().fg(LESS)),
        ]),
        Line::raw(format!(
            " {} requests   {hours} h {minutes:02} min on the cache's clock   {}",
            units::count(app.requests()),
            app.message()
        )),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_ratio(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let points: Vec<(f64, f64)> = app.history.iter().enumerate().map(|(i, s)| (i as f64, s.hit_ratio)).collect();
    let now = points.last().map_or(0.0, |point| point.1);
    let overall = app.cache().stats().hit_ratio().unwrap_or(0.0);
    let dataset = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(Style::new().fg(GOOD))
        .data(&points);
    let end = points.len().max(2) as f64 - 1.0;
    let chart = Chart::new(vec![dataset])
        .block(titled(format!("hit ratio {now:.3} now, {overall:.3} since the start")))
        .x_axis(Axis::default().bounds([0.0, end]))
        .y_axis(Axis::default().bounds([0.0, 1.0]).labels(["0", ".5", "1"]));
    frame.render_widget(chart, area);
}

fn draw_rate(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let width = usize::from(area.width.saturating_sub(2));
    let last = app.history.len().saturating_sub(width);
    let rates: Vec<u64> = app.history.iter().skip(last).map(|sample| sample.requests_per_s as u64).collect();
    let now = rates.last().copied().unwrap_or(0);
    let line = Sparkline::default()
        .block(titled(format!("{} requests a second", units::count(now))))
        .style(Style::new().fg(BUSY))
        .data(&rates);
    frame.render_widget(line, area);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let (stats, last) = (app.cache().stats(), app.history.back().copied().unwrap_or_default());
    let cell =
        |name: &str, now: u64, all: u64| format!(" {name:<11} {:>8} {:>12}", units::count(now), units::count(all));
    let Sample { evictions, expired, stored, turned_away, pages_moved, .. } = last;
    let lines = vec![
        Line::raw(cell("evicted", evictions, stats.evictions) + &cell("stored", stored, stats.stored)),
        Line::raw(cell("expired", expired, stats.expired) + &cell("turned away", turned_away, stats.turned_away)),
        Line::raw(
            cell("pages moved", pages_moved, stats.pages_moved)
                + &format!(" longest lock hold {:>11.2} ms", stats.longest_lock_hold_ns as f64 / 1e6),
        ),
    ];
    frame.render_widget(Paragraph::new(lines).block(titled("since the last picture, since the start")), area);
}

/// A bar of text: full blocks, and one of the eighths.
fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8))
}

fn draw_memory(frame: &mut Frame<'_>, area: Rect, report: &MemoryReport, curve_memory: u64) {
    let width = usize::from(area.width).saturating_sub(27);
    let row = |name: &str, bytes: u64, color: Color| {
        let share = bytes as f64 / report.limit.max(1) as f64;
        Line::from(vec![
            Span::raw(format!(" {name:<12} {:>10} ", units::bytes(bytes))),
            Span::styled(bar(share, width), Style::new().fg(color)),
        ])
    };
    let lines = vec![
        row("payload", report.payload_bytes, GOOD),
        row("chunks", report.chunk_bytes, GOOD),
        row("slab", report.slab, BUSY),
        row("index", report.index, LESS),
        row("policy, side", report.side.saturating_sub(curve_memory), LESS),
        Line::raw(format!(
            " {} items, {:.1} bytes each more",
            units::count(report.items),
            report.used.saturating_sub(report.payload_bytes + curve_memory) as f64 / report.items.max(1) as f64
        )),
    ];
    let used = units::bytes(report.used.saturating_sub(curve_memory));
    frame.render_widget(Paragraph::new(lines).block(titled(format!("memory: {used} used"))), area);
}

fn draw_classes(frame: &mut Frame<'_>, area: Rect, classes: &[ClassStats]) {
    let mut used: Vec<&ClassStats> = classes.iter().filter(|class| class.pages > 0).collect();
    let count = used.len();
    used.sort_by_key(|class| std::cmp::Reverse(class.used_chunks * class.chunk_size));
    let most = used.first().map_or(1, |class| class.used_chunks * class.chunk_size).max(1);
    let width = usize::from(area.width).saturating_sub(30);
    let mut lines = vec![Line::raw("  chunk  pages  fill      bytes")];
    lines.extend(used.iter().take(usize::from(area.height.saturating_sub(3))).map(|class| {
        let bytes = class.used_chunks * class.chunk_size;
        let fill = class.used_chunks as f64 / (class.used_chunks + class.free_chunks).max(1) as f64;
        Line::from(vec![
            Span::raw(format!(" {:>6} {:>6} {fill:>5.2} {:>10} ", class.chunk_size, class.pages, units::bytes(bytes))),
            Span::styled(bar(bytes as f64 / most as f64, width), Style::new().fg(BUSY)),
        ])
    }));
    frame.render_widget(Paragraph::new(lines).block(titled(format!("largest of {count} classes in use"))), area);
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(curve) = app.curve() else {
        let text = "no curve (--curve-memory 0), or no reads yet";
        frame.render_widget(Paragraph::new(text).block(titled("miss ratio by memory")), area);
        return;
    };
    let points = curve.points();
    let bars: Vec<Bar<'_>> = points
        .iter()
        .map(|point| {
            let style = Style::new().fg(if point.factor == 1.0 { GOOD } else { LESS });
            Bar::default()
                .value((point.miss_ratio * 1000.0).round() as u64)
                .text_value(format!("{:.3}", point.miss_ratio))
                .label(Line::raw(format!("{} x  {}", point.factor, units::bytes(point.memory))))
                .style(style)
        })
        .collect();
    let rates: Vec<String> = points.iter().map(|point| format!("{:.3}", point.sampling_rate)).collect();
    let title = format!("miss ratio by memory, estimated; shares of keys sampled: {}", rates.join(" "));
    let chart = BarChart::default()
        .block(titled(title))
        .bar_width((area.width / 5).clamp(1, 22))
        .bar_gap(2)
        .max(1000)
        .data(BarGroup::default().bars(&bars));
    frame.render_widget(chart, area);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let chosen = app.cache().policy();
    let mut spans = vec![Span::raw(" ")];
    for (number, policy) in crate::args::POLICIES.iter().enumerate() {
        let style = if *policy == chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(format!("{} {policy}", number + 1), style));
        spans.push(Span::raw(" "));
    }
    let lines = vec![Line::raw(" q quit  p pause  + - limit  c clear  1 ... 9 policy:"), Line::from(spans)];
    frame.render_widget(Paragraph::new(lines), area);
}
