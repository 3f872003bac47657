//! What becomes of a text that was edited on both sides: the text with both edits, where they do not clash. Pure.

use diffy::MergeOptions;

/// Longer texts are not merged, in bytes: what a hostile one costs grows with its length.
pub const TEXT_MAX: u64 = 256 * 1024;

/// Why there is no such text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmerged {
    /// Bytes have no lines.
    #[error("{0} is no text")]
    NoText(&'static str),
    /// Both sides changed the same lines.
    #[error("the two edits clash in {places} place{}", if *.places == 1 { "" } else { "s" })]
    Clashes {
        /// In so many places.
        places: usize,
    },
}

/// What `host` and `container` make of `ancestor` together.
///
/// # Errors
/// Where one of them is no text, or the two edits clash.
pub fn merge(ancestor: &[u8], host: &[u8], container: &[u8]) -> Result<String, Unmerged> {
    let ancestor = text(ancestor).ok_or(Unmerged::NoText("what both last agreed on"))?;
    let host = text(host).ok_or(Unmerged::NoText("the version of the host"))?;
    let container = text(container).ok_or(Unmerged::NoText("the version of the container"))?;
    // No line of theirs begins like a mark.
    let mark = [ancestor, host, container].map(longest_run).into_iter().max().unwrap_or(0).max(6) + 1;
    let merged = MergeOptions::new().set_conflict_marker_length(mark).merge(ancestor, host, container);
    merged.map_err(|marked| {
        let begin = "<".repeat(mark);
        Unmerged::Clashes { places: marked.lines().filter(|line| line.starts_with(&begin)).count() }
    })
}

/// What may be merged at all: a zero byte is in no text.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The most `<` a line begins with.
fn longest_run(text: &str) -> usize {
    text.lines().map(|line| line.bytes().take_while(|byte| *byte == b'<').count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "one\ntwo\nthree\nfour\nfive\n";

    #[track_caller]
    fn check(host: &str, container: &str, expect: Result<&str, usize>) {
        let merged = merge(BEFORE.as_bytes(), host.as_bytes(), container.as_bytes());
        assert_eq!(merged, expect.map(str::to_owned).map_err(|places| Unmerged::Clashes { places }));
        let swapped = merge(BEFORE.as_bytes(), container.as_bytes(), host.as_bytes());
        assert_eq!(swapped, expect.map(str::to_owned).map_err(|places| Unmerged::Clashes { places }));
    }

    #[test]
    fn edits_apart_are_put_together_and_edits_of_one_line_clash() {
        check("1\ntwo\nthree\nfour\nfive\n", "one\ntwo\nthree\nfour\n5\n", Ok("1\ntwo\nthree\nfour\n5\n"));
        check(
            "one\ntwo\nthree\nfour\n",
            "zero\none\ntwo\nthree\nfour\nfive\n",
            Ok("zero\none\ntwo\nthree\nfour\n"),
        );
        check(
            "one\nTWO\nthree\nfour\nfive\n",
            "one\nTWO\nthree\nfour\nfive\n",
            Ok("one\nTWO\nthree\nfour\nfive\n"),
        );
        check("one\n2\nthree\nfour\nfive\n", "one\nzwei\nthree\nfour\nfive\n", Err(1));
        check("1\ntwo\nthree\nfour\n5\n", "eins\ntwo\nthree\nfour\nfünf\n", Err(2));
        check("", "one\ntwo\n3\nfour\nfive\n", Err(1));
        // A text that looks like marks is a text.
        check("<<<<<<<<< one\ntwo\nthree\nfour\n5\n", "one\n<<<<<<<\nthree\nfour\nfive\n", Err(1));
    }

    #[test]
    fn bytes_are_not_merged() {
        assert_eq!(merge(b"a", b"b\0", b"a"), Err(Unmerged::NoText("the version of the host")));
        assert_eq!(
            merge(b"\xff", b"b", b"a").unwrap_err().to_string(),
            "what both last agreed on is no text"
        );
        assert_eq!(Unmerged::Clashes { places: 2 }.to_string(), "the two edits clash in 2 places");
    }
}
