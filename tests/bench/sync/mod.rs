//! Our sync beside lsyncd, unison, syncthing and a plain `tar | docker exec tar`, on the same trees in one run.
//!
//! Everybody begins with the same checkout on the host and an empty volume in a container, alone on the machine as far
//! as this run is concerned. What is visible on the other side is seen from the outside, by the same means for all.

pub mod tree;

mod contender;
mod lsyncd;
mod node;
mod peer;
mod pipe;
mod syncthing;
mod unison;

mod see;

mod measure;
mod rows;

pub use contender::Name;
pub use measure::Extent;

use super::table::Row;

/// The rows, and how each contender is set up.
pub async fn run(extent: &Extent, names: &[Name]) -> (Vec<Row>, Vec<String>) {
    let mut templates = Vec::new();
    for &files in &*extent.sizes {
        templates.push(tree::Template::make(files).await);
    }
    let mut all = rows::All::new();
    let mut notes = Vec::new();
    for &name in names {
        let figures = measure::measure(name, &templates, extent).await;
        let edits =
            figures.edits.iter().map(|((way, files), edits)| format!("{} {way:?} at {files}", edits.len()));
        let edits: Vec<_> = edits.collect();
        notes.push(format!("{}: {}; edits made: {}", name.as_str(), name.note(), edits.join(", ")));
        all.insert(name, figures);
    }
    (rows::rows(&all, extent), notes)
}
