//! A chart of a table as SVG: bars for each contender, one for each number of threads; for hit ratios, for each trace
//! and size, one for each contender.
//!
//! Bars begin at 0 and are as long as the figure, up to ten times larder's; longer ones are cut, with a gap near the
//! end. The number stands beside every bar.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Failure;
use crate::contenders::MAP;
use crate::report::{Figure, Measurement, Table, is_larder};

const WIDTH: i32 = 900;
const LEFT: i32 = 150;
const RIGHT: i32 = 110;
const TOP: i32 = 64;
const BAR: i32 = 13;
const GAP: i32 = 10;
/// Bars of more than so many times larder's are cut.
const CUT: f64 = 10.0;

const LARDER_COLOUR: RGBColor = RGBColor(213, 94, 0);
const PEER_COLOUR: RGBColor = RGBColor(0, 114, 178);
const MAP_COLOUR: RGBColor = RGBColor(150, 150, 150);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// Draws a table into a folder, as `<case>.svg`. Draws nothing where nothing was measured.
pub(crate) fn draw(folder: &Path, table: &Table) -> Result<(), Failure> {
    if table.measurements.is_empty() {
        return Ok(());
    }
    let path = folder.join(format!("{}.svg", table.case));
    let told = |error: &dyn std::fmt::Display| format!("{}: cannot draw: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| told(&error))?;
    let rows = groups(table);
    let bars: usize = rows.iter().map(|(_, bars)| bars.len()).sum();
    let height = TOP + bars as i32 * BAR + rows.len() as i32 * GAP + 16;
    let root = SVGBackend::new(&path, (WIDTH as u32, height as u32)).into_drawing_area();
    chart(&root, table, &rows).and_then(|()| Ok(root.present()?)).map_err(|error| told(&error))
}

/// The bars of each row, with what stands before it: a row a contender, or a trace and size.
fn groups(table: &Table) -> Vec<(String, Vec<&Measurement>)> {
    let mut groups: Vec<(String, Vec<&Measurement>)> = Vec::new();
    for m in &table.measurements {
        let name = if m.case == table.case { &m.contender } else { &m.case };
        let name = name.split_once(':').map_or(name.as_str(), |(_, of)| of);
        match groups.iter_mut().find(|(known, _)| known == name) {
            Some((_, bars)) => bars.push(m),
            None => groups.push((name.to_owned(), vec![m])),
        }
    }
    groups
}

fn chart(area: &Area<'_>, table: &Table, rows: &[(String, Vec<&Measurement>)]) -> Drawn {
    area.fill(&WHITE)?;
    let title = ("sans-serif", 20).into_font().color(&BLACK);
    let small = ("sans-serif", 12).into_font().color(&RGBColor(90, 90, 90));
    area.draw(&Text::new(table.case.clone(), (16, 12), title))?;
    area.draw(&Text::new(format!("{}; {}", table.about, unit(table)), (16, 40), small.clone()))?;
    let values = || table.measurements.iter().map(|m| m.figure.value());
    let own = table.measurements.iter().filter(|m| is_larder(&m.contender)).map(|m| m.figure.value());
    let most = values().fold(0.0, f64::max);
    let longest = own.fold(0.0, f64::max) * CUT;
    let end = if longest > 0.0 { most.min(longest) } else { most }.max(f64::MIN_POSITIVE);
    let right = |at| small.clone().pos(Pos::new(at, VPos::Center));
    let mut y = TOP;
    for (name, bars) in rows {
        let middle = y + bars.len() as i32 * BAR / 2;
        area.draw(&Text::new(name.clone(), (LEFT - 8, middle), right(HPos::Right)))?;
        for m in bars {
            let value = m.figure.value();
            let length = (value.min(end) / end * f64::from(WIDTH - LEFT - RIGHT)) as i32;
            let colour = colour(&m.contender).mix(if m.threads == 1 { 1.0 } else { 0.55 });
            area.draw(&Rectangle::new([(LEFT, y), (LEFT + length, y + BAR - 2)], colour.filled()))?;
            if value > end {
                let cut = LEFT + length - 12;
                area.draw(&Rectangle::new([(cut, y), (cut + 4, y + BAR - 2)], WHITE.filled()))?;
            }
            let at = (LEFT + length + 4, y + BAR / 2 - 1);
            area.draw(&Text::new(label(table, m), at, right(HPos::Left)))?;
            y += BAR;
        }
        y += GAP;
    }
    Ok(())
}

fn unit(table: &Table) -> &'static str {
    match table.measurements.first().map(|m| m.figure) {
        Some(Figure::Time(_)) => "ns per operation and thread, shorter is better; pale: two threads",
        Some(Figure::Amount(_, unit)) => unit.name(),
        None => "",
    }
}

fn label(table: &Table, m: &Measurement) -> String {
    match m.figure {
        Figure::Time(time) if time.ns_per_op < 100.0 => format!("{:.1}", time.ns_per_op),
        Figure::Time(time) => format!("{:.0}", time.ns_per_op),
        Figure::Amount(value, _) if m.case != table.case => format!("{:.2} % {}", value * 100.0, m.contender),
        Figure::Amount(value, _) if value < 10.0 => format!("{value:.3}"),
        Figure::Amount(value, _) => format!("{value:.1}"),
    }
}

fn colour(contender: &str) -> RGBColor {
    match contender {
        MAP => MAP_COLOUR,
        _ if is_larder(contender) => LARDER_COLOUR,
        _ => PEER_COLOUR,
    }
}
