//! Versions as projects state them, and the image tag that honours them.

use crate::model::project::Version;
use crate::project::detect::view::View;

/// The version stated in a file that holds nothing else (`.nvmrc`, `.python-version`, `.ruby-version`, `runtime.txt`):
/// its first line that is no comment.
pub(crate) fn from_file(view: &View<'_>, file: &str, known: &[&str]) -> Option<Version> {
    let text = view.text(file)?;
    let stated = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .find(|line| !line.is_empty())?;
    stated_in(view, file, stated, known)
}

/// The version stated for one of these tools in `.tool-versions` or `mise.toml`.
pub(crate) fn from_tools(view: &View<'_>, tools: &[&str], known: &[&str]) -> Option<Version> {
    let line = view.text(".tool-versions").into_iter().flat_map(str::lines).find_map(|line| {
        let mut words = line.split_whitespace();
        tools.contains(&words.next()?).then(|| words.next()).flatten()
    });
    if let Some(stated) = line {
        return stated_in(view, ".tool-versions", stated, known);
    }
    let (file, text) = view.first_text(&["mise.toml", ".mise.toml"])?;
    let table = text.parse::<toml::Table>().ok()?;
    let table = table.get("tools")?;
    let stated = tools.iter().find_map(|tool| {
        let tool = table.get(*tool)?;
        tool.as_str().or_else(|| tool.get("version")?.as_str())
    })?;
    stated_in(view, file, stated, known)
}

/// A stated version with its tag; `None` when it names no version (`lts/*`, `*`, `latest`).
pub(crate) fn stated_in(view: &View<'_>, file: &str, stated: &str, known: &[&str]) -> Option<Version> {
    let tag = tag(stated, known)?;
    let stated = stated.chars().filter(|c| !c.is_control()).take(60).collect();
    Some(Version { stated, tag, file: view.path(file) })
}

/// The tag for a requirement: the first of `known` that it allows, which is the one in common use. A pin of a version that
/// is not known keeps its own digits, so that an old or a new release is still asked for.
fn tag(stated: &str, known: &[&str]) -> Option<String> {
    let digits = known.first().map_or(1, |version| version.split('.').count());
    let choices: Vec<Vec<u64>> = known.iter().map(|version| numbers(version)).collect();
    let mut pins = Vec::new();
    let mut best: Option<usize> = None;
    for range in stated.split("||").map(bounds) {
        let range = range?;
        let found = choices.iter().position(|choice| range.allows(choice));
        best = [best, found].into_iter().flatten().min();
        pins.extend(range.pin);
    }
    let chosen = best.map(|place| choices[place].clone()).or_else(|| pins.into_iter().max())?;
    Some(chosen.iter().take(digits.min(chosen.len())).map(u64::to_string).collect::<Vec<_>>().join("."))
}

/// One end of a range; `None` is open.
type Bound = Option<Vec<u64>>;

#[derive(Default)]
struct Range {
    /// Each is (least, first not allowed); open ends are `None`.
    bounds: Vec<(Bound, Bound)>,
    /// The version named, for when none of the known ones fits.
    pin: Option<Vec<u64>>,
}

impl Range {
    fn allows(&self, choice: &[u64]) -> bool {
        self.bounds.iter().all(|(least, end)| {
            // A choice stands for every patch release of it, so the lower bound is compared at the choice's precision.
            let low = least.as_ref().is_none_or(|least| choice >= &least[..least.len().min(choice.len())]);
            low && end.as_ref().is_none_or(|end| choice < end.as_slice())
        })
    }
}

/// Reads `^18`, `>=3.10,<3.13`, `18.x`, `v20.1.0`, `~> 3.4.0`, `==3.12.*`, `python-3.11.4`, `ruby-3.1.2`, `16 - 20`.
fn bounds(text: &str) -> Option<Range> {
    let mut range = Range::default();
    if let Some((low, high)) = text.split_once(" - ") {
        let end = bump(&numbers(high), numbers(high).len().checked_sub(1)?);
        range.bounds.push((Some(numbers(low)), Some(end)));
        return Some(range);
    }
    let text = text.trim().replace([',', '"', '\''], " ");
    let mut operator = String::new();
    for part in text.split_whitespace() {
        let start = part.find(|c: char| c.is_ascii_digit());
        let sign = |text: &str| text.chars().filter(|c| "<>=^~!".contains(*c)).collect::<String>();
        let Some(start) = start else {
            operator = sign(part);
            continue;
        };
        let sign = Some(sign(&part[..start]))
            .filter(|sign| !sign.is_empty())
            .unwrap_or(std::mem::take(&mut operator));
        let version = numbers(&part[start..]);
        let (Some(last), false) = (version.len().checked_sub(1), sign == "!=") else { continue };
        let bound = match sign.as_str() {
            ">=" => (Some(version.clone()), None),
            ">" => (Some(if last == 0 { bump(&version, 0) } else { version.clone() }), None),
            "<=" => (None, Some(bump(&version, last))),
            "<" => (None, Some(version.clone())),
            "^" => (
                Some(version.clone()),
                Some(bump(&version, version.iter().position(|n| *n > 0).unwrap_or(0))),
            ),
            "~>" | "~=" => (Some(version.clone()), Some(bump(&version, last.saturating_sub(1)))),
            "~" => (Some(version.clone()), Some(bump(&version, last.min(1)))),
            _ => (Some(version.clone()), Some(bump(&version, last))),
        };
        if sign != "<" {
            range.pin = Some(version);
        }
        range.bounds.push(bound);
    }
    (!range.bounds.is_empty()).then_some(range)
}

/// The first version above all that share these digits up to `place`.
fn bump(version: &[u64], place: usize) -> Vec<u64> {
    let mut up = version[..=place.min(version.len() - 1)].to_vec();
    if let Some(last) = up.last_mut() {
        *last = last.saturating_add(1);
    }
    up
}

/// The leading numbers: `v20.11.1` is 20, 11, 1; `18.x` is 18.
fn numbers(text: &str) -> Vec<u64> {
    let start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let parts = text[start..].split('.').map_while(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok().map(|number| (number, digits.len() == part.len()))
    });
    let mut found = Vec::new();
    for (number, whole) in parts.take(3) {
        found.push(number);
        if !whole {
            break;
        }
    }
    found
}

/// Releases a stated range may choose from, the one in common use first.
pub(crate) const NODE: [&str; 4] = ["22", "24", "20", "18"];
pub(crate) const PHP: [&str; 5] = ["8.4", "8.3", "8.2", "8.1", "8.0"];
pub(crate) const GO: [&str; 5] = ["1.24", "1.25", "1.23", "1.22", "1.21"];
pub(crate) const RUBY: [&str; 4] = ["3.3", "3.4", "3.2", "3.1"];
pub(crate) const PYTHON: [&str; 6] = ["3.13", "3.12", "3.14", "3.11", "3.10", "3.9"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_versions_become_tags() {
        let node = |stated| tag(stated, &NODE).unwrap_or_default();
        assert_eq!(node("18"), "18");
        assert_eq!(node("v20.11.1"), "20");
        assert_eq!(node(">=16"), "22");
        assert_eq!(node("^18 || ^20"), "20");
        assert_eq!(node("18.x"), "18");
        assert_eq!(node("12"), "12");
        assert_eq!(node("16 - 20"), "20");
        assert_eq!(node(">= 18 < 21"), "20");
        assert_eq!(node("lts/*"), "");
        assert_eq!(node("*"), "");
        assert_eq!(node("~20.3"), "20");
        let python = |stated| tag(stated, &PYTHON).unwrap_or_default();
        assert_eq!(python(">=3.10"), "3.13");
        assert_eq!(python("==3.12.*"), "3.12");
        assert_eq!(python("python-3.11.4"), "3.11");
        assert_eq!(python(">=3.8,<3.12"), "3.11");
        assert_eq!(python("^3.9"), "3.13");
        assert_eq!(python("~=3.10"), "3.13");
        assert_eq!(python("3.7"), "3.7");
        assert_eq!(python("3"), "3.13");
        assert_eq!(python("99999999999999999999999"), "");
    }
}
