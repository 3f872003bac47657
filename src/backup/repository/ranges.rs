//! Which parts of packs are read with one request each, so that blobs that lie near each other come together. Pure.
//!
//! Invariant: what is read and not wanted is never more than what is wanted.

use std::ops::Range;

use rustic_core::Id;

/// The largest part that is read at once, unless one blob is larger.
const PART_MAX: u64 = 4 << 20;
/// What lies between two blobs is read with them up to here: asking again takes longer.
const HOLE_MAX: u64 = 128 << 10;

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In which pack.
    pub pack: Id,
    /// From where on.
    pub offset: u32,
    /// So many bytes.
    pub length: u32,
}

impl Place {
    /// Its bytes in the pack.
    pub fn bytes(&self) -> Range<u64> {
        let from = u64::from(self.offset);
        from..from + u64::from(self.length)
    }
}

/// A part of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which pack.
    pub pack: Id,
    /// Which bytes of it.
    pub bytes: Range<u64>,
}

/// The parts to read, and for each place the part that holds it.
pub fn plan(places: &[Place]) -> (Vec<Part>, Vec<usize>) {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|index| places[*index]);
    let mut parts: Vec<Part> = Vec::new();
    let mut of = vec![0; places.len()];
    let mut wanted = 0;
    for index in order {
        let (place, bytes) = (&places[index], places[index].bytes());
        let fits = parts.last_mut().filter(|part| {
            let hole = bytes.start.saturating_sub(part.bytes.end);
            let end = part.bytes.end.max(bytes.end);
            let (all, useful) = (end - part.bytes.start, wanted + u64::from(place.length));
            part.pack == place.pack && hole <= HOLE_MAX && all <= PART_MAX && all <= useful * 2
        });
        match fits {
            Some(part) => {
                wanted += bytes.end.saturating_sub(part.bytes.end.max(bytes.start));
                part.bytes.end = part.bytes.end.max(bytes.end);
            }
            None => {
                wanted = u64::from(place.length);
                parts.push(Part { pack: place.pack, bytes });
            }
        }
        of[index] = parts.len() - 1;
    }
    (parts, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pack: u8, offset: u32, length: u32) -> Place {
        Place { pack: Id::new([pack; 32]), offset, length }
    }

    fn planned(places: &[Place]) -> (Vec<(u64, u64)>, Vec<usize>) {
        let (parts, of) = plan(places);
        for (place, part) in places.iter().zip(&of) {
            let (part, bytes) = (&parts[*part], place.bytes());
            assert_eq!(part.pack, place.pack);
            assert!(part.bytes.start <= bytes.start && bytes.end <= part.bytes.end, "{part:?} {place:?}");
        }
        (parts.into_iter().map(|part| (part.bytes.start, part.bytes.end)).collect(), of)
    }

    #[test]
    fn neighbours_come_together_in_whatever_order_they_are_asked_for() {
        let places = [place(1, 200, 100), place(2, 0, 50), place(1, 0, 100), place(1, 100, 100)];
        assert_eq!(planned(&places), (vec![(0, 300), (0, 50)], vec![0, 1, 0, 0]));
        assert_eq!(planned(&[]), (vec![], vec![]));
    }

    #[test]
    fn one_blob_that_is_wanted_often_is_read_once() {
        let places = [place(1, 10, 1000); 3];
        assert_eq!(planned(&places), (vec![(10, 1010)], vec![0, 0, 0]));
        let overlapping = [place(1, 0, 100), place(1, 50, 20), place(1, 60, 100)];
        assert_eq!(planned(&overlapping), (vec![(0, 160)], vec![0, 0, 0]));
    }

    #[test]
    fn no_more_is_read_for_nothing_than_for_something() {
        let small = [place(1, 0, 1000), place(1, 3000, 1000)];
        assert_eq!(planned(&small), (vec![(0, 4000)], vec![0, 0]), "a hole as large as both");
        let wide = [place(1, 0, 1000), place(1, 3001, 1000)];
        assert_eq!(planned(&wide).0.len(), 2);
        let far = [place(1, 0, 1 << 20), place(1, (1 << 20) + (128 << 10) + 1, 1 << 20)];
        assert_eq!(planned(&far).0.len(), 2, "asking again is quicker");
        // However often one place is wanted, it is useful once.
        let often = [place(1, 0, 1000), place(1, 0, 1000), place(1, 0, 1000), place(1, 5000, 1000)];
        assert_eq!(planned(&often).0, [(0, 1000), (5000, 6000)]);
    }

    #[test]
    fn a_part_ends_where_it_gets_large_and_a_large_blob_is_one() {
        let places: Vec<Place> = (0..10).map(|number| place(1, number << 20, 1 << 20)).collect();
        assert_eq!(planned(&places).0, [(0, 4 << 20), (4 << 20, 8 << 20), (8 << 20, 10 << 20)]);
        assert_eq!(planned(&[place(1, 5, u32::MAX)]).0, [(5, 5 + u64::from(u32::MAX))]);
    }
}
