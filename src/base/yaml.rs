//! What YAML text may look like before a reader gets to see it.
//!
//! The reader's time grows with the square of how deep flow collections nest: 200 KB of `[` keep it busy for a minute
//! before it says that they nest too deeply. The depth is bounded from above line by line, without reading.

/// How deep flow collections may seem to nest.
const DEEPEST: usize = 2048;

/// Refuses text that would keep a YAML reader busy.
///
/// # Errors
/// What is too much about it.
pub fn bounded(text: &str) -> Result<&str, String> {
    let open: usize = text.lines().map(left_open).sum();
    if open > DEEPEST {
        return Err(format!("the file leaves {open} brackets open, at most {DEEPEST} are read"));
    }
    Ok(text)
}

/// How many brackets a line can leave open at most. Where a closing one may stand in a comment, a quote or a tag, none
/// of the line's counts; one that closes nothing on its line counts for nothing.
fn left_open(line: &str) -> usize {
    let unsure = line.contains(['#', '"', '\'', '!']);
    let mut open = 0_usize;
    let mut before = ' ';
    for character in line.chars() {
        match character {
            // The brace of `${VARIABLE}` opens nothing.
            '{' if before == '$' => {}
            '[' | '{' => open += 1,
            ']' | '}' if !unsure => open = open.saturating_sub(1),
            _ => {}
        }
        before = character;
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_brackets_is_refused_and_variables_are_no_brackets() {
        for good in ["[".repeat(DEEPEST), "a: ${A} \"x\"\n".repeat(10_000), "a: {b: [c]}\n".repeat(10_000)] {
            assert!(bounded(&good).is_ok());
        }
        for bad in ["[", "[ # ]\n", "[ ']',\n", "a]]]: [\n", "{? !<]> [\n", "- {\n"] {
            assert!(bounded(&bad.repeat(DEEPEST + 1)).is_err(), "{bad}");
        }
    }
}
