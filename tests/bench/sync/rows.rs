//! Makes rows of the figures: ours, what it is held against, and everybody else's.

use std::collections::BTreeMap;

use super::super::table::Beside;
use super::super::table::Figure;
use super::super::table::Row;
use super::contender::Name;
use super::contender::Way;
use super::measure::Extent;
use super::measure::Figures;
use super::measure::percentile;

pub type All = BTreeMap<Name, Figures>;

/// What a figure of ours may be at most.
enum Target {
    /// No more than this.
    Most(f64),
    /// No more than so many times the pipe's.
    Pipe(f64),
}

pub fn rows(all: &All, extent: &Extent) -> Vec<Row> {
    let mut rows = Vec::new();
    let (smallest, largest) = (extent.smallest(), extent.largest());
    for &files in &*extent.sizes {
        let what = format!("initial sync of {files} files");
        let figure = move |figures: &Figures| figures.initial.get(&files).copied();
        rows.push(race(all, (format!("initial-{files}"), what, "s"), Some(Target::Pipe(1.3)), figure));
    }
    for (way, short, long) in [(Way::Out, "out", "host to container"), (Way::In, "in", "container to host")] {
        for (percent, most) in [(50, 5.0), (99, 30.0)] {
            let of = |figures: &Figures, files| {
                figures.edits.get(&(way, files)).map(|edits| percentile(edits, percent))
            };
            for &files in &*extent.sizes {
                let named = format!("{short}-p{percent}-{files}");
                let what = format!("edit to content visible, {long}, {files} files, p{percent}");
                let target = (files == largest).then_some(Target::Most(most));
                rows.push(race(all, (named, what, "ms"), target, |figures| of(figures, files)));
            }
            if largest > smallest {
                let growth = |figures: &Figures| {
                    let (large, small) = (of(figures, largest)?, of(figures, smallest)?);
                    Some(Figure { value: large.value / small.value, ..large })
                };
                let named = format!("{short}-p{percent}-growth");
                let what = format!("the same, {largest} files by {smallest}");
                rows.push(cost(all, (named, what, "x"), 1.3, growth));
            }
        }
    }
    let switched = largest / 10;
    let what = format!("git switch that changes {switched} of {largest} files");
    let named = (format!("switch-{switched}"), what, "s");
    rows.push(race(all, named, Some(Target::Pipe(1.5)), |figures| figures.switch));
    let what = format!("one byte changed in a file of {} MiB", extent.large >> 20);
    rows.push(race(all, ("large".to_owned(), what, "s"), None, |figures| figures.large));
    let what = format!("memory of both ends, {largest} files, VmRSS");
    rows.push(cost(all, ("rss".to_owned(), what, "MB"), 80.0, |figures| figures.resident));
    let what = format!("processor of both ends, {largest} files, idle for {} s", extent.idle.as_secs());
    rows.push(cost(all, ("idle".to_owned(), what, "%"), 0.2, |figures| figures.idle));
    rows
}

type Named = (String, String, &'static str);

/// Who is fastest: besides its target a figure of ours may be no more than that of any peer.
fn race(
    all: &All,
    (id, what, unit): Named,
    target: Option<Target>,
    of: impl Fn(&Figures) -> Option<Figure>,
) -> Row {
    let figure = |name: Name| all.get(&name).and_then(&of);
    let peers = Name::PEERS.into_iter().filter_map(|peer| Some((figure(peer)?, peer)));
    let fastest = peers.min_by(|(one, _), (other, _)| one.value.total_cmp(&other.value));
    let pipe = figure(Name::Tar);
    let (against, most) = match target {
        Some(Target::Most(most)) => (fastest, Some(most)),
        Some(Target::Pipe(times)) => {
            (pipe.map(|pipe| (pipe, Name::Tar)), pipe.map(|pipe| pipe.value * times))
        }
        None => (fastest, None),
    };
    let fastest = fastest.map(|(figure, _)| figure.value);
    let most = [most, fastest].into_iter().flatten().reduce(f64::min);
    finish(all, Row::of(id, what, figure(Name::Nexus), unit, most), against, of)
}

/// What it costs: others may do with less.
fn cost(all: &All, (id, what, unit): Named, most: f64, of: impl Fn(&Figures) -> Option<Figure>) -> Row {
    let ours = all.get(&Name::Nexus).and_then(&of);
    finish(all, Row::of(id, what, ours, unit, Some(most)), None, of)
}

fn finish(
    all: &All,
    row: Row,
    against: Option<(Figure, Name)>,
    of: impl Fn(&Figures) -> Option<Figure>,
) -> Row {
    let row = match against {
        Some((figure, name)) => row.against(name.as_str(), figure.value),
        None => row,
    };
    let others = Name::ALL.into_iter().filter(|&name| name != Name::Nexus);
    let others = others.filter_map(|name| Some(Beside::new(name.as_str(), all.get(&name).and_then(&of)?)));
    row.beside(others.collect())
}
