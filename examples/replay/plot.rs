//! Hit ratio by cache size as an SVG: a chart a trace, a line a policy.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Failure;
use crate::report::Outcome;

const WIDTH: u32 = 900;
const CHART_HEIGHT: u32 = 520;
/// The first seven are told apart also by those who do not see red and green alike (Okabe and Ito).
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(150, 150, 150),
    RGBColor(120, 94, 60),
    RGBColor(110, 70, 190),
    RGBColor(170, 20, 40),
    RGBColor(150, 170, 30),
];

/// Whether a picture can be written there, said before the long work and not after.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(format!("--plot: {} is a folder; name a file", path.display()));
    }
    if !folder.is_dir() {
        return Err(format!("--plot: there is no folder {}", folder.display()));
    }
    Ok(())
}

/// Draws all outcomes; those of one trace and policy are one line.
pub(crate) fn draw(path: &Path, outcomes: &[Outcome]) -> Result<(), Failure> {
    let traces = unique(outcomes.iter().map(|outcome| outcome.trace.as_str()));
    if traces.is_empty() {
        return Err(format!("{}: nothing to draw, no run came to an end", path.display()));
    }
    let root = SVGBackend::new(path, (WIDTH, CHART_HEIGHT * traces.len() as u32)).into_drawing_area();
    let told = |error: &dyn std::fmt::Display| format!("{}: cannot draw: {error}", path.display());
    root.fill(&WHITE).map_err(|error| told(&error))?;
    for (area, trace) in root.split_evenly((traces.len(), 1)).iter().zip(traces) {
        let of_trace: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.trace == trace).collect();
        chart(area, trace, &of_trace).map_err(|error| told(&error))?;
    }
    root.present().map_err(|error| told(&error))
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn chart(area: &Area<'_>, trace: &str, outcomes: &[&Outcome]) -> Result<(), Box<dyn std::error::Error>> {
    let by_share = outcomes.iter().all(|outcome| outcome.share.is_some());
    let x_of = |outcome: &Outcome| match outcome.share {
        Some(share) if by_share => share * 100.0,
        _ => outcome.capacity as f64 / f64::from(1 << 20),
    };
    let (low, high) = outcomes
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(low, high), outcome| (low.min(x_of(outcome)), high.max(x_of(outcome))));
    let top = outcomes.iter().map(|outcome| outcome.hit_ratio() * 100.0).fold(0.0, f64::max);
    let top = ((top / 10.0).floor() + 1.0) * 10.0;

    let mut chart = ChartBuilder::on(area)
        .caption(format!("{trace}: hit ratio by cache size"), ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d((low * 0.8..high * 1.25).log_scale(), 0.0..top.min(100.0))?;
    chart
        .configure_mesh()
        .x_desc(if by_share { "cache size, % of the footprint" } else { "cache size, MiB" })
        .y_desc("hit ratio, %")
        .x_label_formatter(&|x| format!("{}", (x * 1e6).round() / 1e6))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .draw()?;
    let policies = unique(outcomes.iter().map(|outcome| outcome.policy.as_str()));
    for (policy, colour) in policies.into_iter().zip(COLOURS.iter().cycle().copied()) {
        let of_policy = outcomes.iter().filter(|outcome| outcome.policy == policy);
        let mut points: Vec<(f64, f64)> =
            of_policy.map(|outcome| (x_of(outcome), outcome.hit_ratio() * 100.0)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(policy)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}
