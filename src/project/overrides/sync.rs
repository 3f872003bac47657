//! Reads what a project states about how its folder and its container's copy are kept equal: `mode:`, `exclude:` and
//! `sync:`.

use nexus_agent::look::Symlinks;
use nexus_agent::reconcile::Mode;
use nexus_agent::reconcile::Side;
use nexus_agent::resolve::Strategy;
use nexus_agent::rules;
use nexus_agent::rules::Rules;
use nexus_agent::watch;
use serde_yaml::Value;

use super::Reader;
use super::nearest;
use super::position;
use super::problem;
use super::scalar;
use crate::config;
use crate::model::project::Overrides;
use crate::model::project::Purpose;
use crate::model::project::SyncOverrides;

const KEYS: [&str; 8] =
    ["mode", "strategy", "exclude", "disposable", "watch", "scan", "symlinks", "entries_max"];
const WATCH: [&str; 2] = ["mode", "interval"];

/// The names of [`SyncOverrides::scan_full`].
#[derive(Clone, Copy)]
struct Scan {
    full: bool,
}

impl Scan {
    const ALL: [Self; 2] = [Self { full: false }, Self { full: true }];

    fn name(self) -> &'static str {
        if self.full { "full" } else { "accelerated" }
    }
}

impl Reader<'_> {
    /// Reads all of it into `read`.
    pub(super) fn syncing(&mut self, value: &Value, read: &mut Overrides) {
        read.purpose = self.word(value, "mode", &Purpose::ALL, Purpose::name);
        read.exclude = self.rules(value, "exclude");
        if let Some(sync) = value.get("sync").filter(|sync| !sync.is_null()) {
            read.sync = self.sync(sync);
        }
        let both_ways = read.sync.mode.filter(|mode| mode.writes(Side::Alpha));
        if let (Some(Purpose::Serve), Some(mode)) = (read.purpose, both_ways) {
            self.wrong(
                "sync.mode",
                format!("`mode: serve` is one way, `{mode}` is not"),
                "leave one of them out, or write `sync.mode: one-way-safe`",
            );
        }
    }

    fn sync(&mut self, sync: &Value) -> SyncOverrides {
        self.unknown(sync, "sync", &KEYS);
        let mut read = SyncOverrides {
            mode: self.word(sync, "sync.mode", &Mode::ALL, Mode::name),
            strategy: self.word(sync, "sync.strategy", &Strategy::ALL, Strategy::name),
            exclude: self.rules(sync, "sync.exclude"),
            disposable: self.rules(sync, "sync.disposable"),
            scan_full: self.word(sync, "sync.scan", &Scan::ALL, Scan::name).map(|scan| scan.full),
            symlinks: self.word(sync, "sync.symlinks", &Symlinks::ALL, Symlinks::name),
            entries_max: self.count(sync, "sync.entries_max"),
            ..SyncOverrides::default()
        };
        if let Some(watch) = sync.get("watch").filter(|watch| !watch.is_null()) {
            self.unknown(watch, "sync.watch", &WATCH);
            read.watch_mode = self.word(watch, "sync.watch.mode", &watch::Mode::ALL, watch::Mode::name);
            read.watch_interval = self.duration(watch, "sync.watch.interval");
        }
        read
    }

    /// The text of a single value, by the whole path of its key.
    fn stated(&mut self, section: &Value, path: &str) -> Option<String> {
        let value = section.get(last(path)).filter(|value| !value.is_null())?;
        let text = scalar(value);
        if text.is_none() {
            self.wrong(
                path,
                format!("`{path}` is not a single value"),
                "write one value behind the colon, in quotes if it begins with `!`",
            );
        }
        text.map(|text| text.trim().to_owned())
    }

    /// One of a few values, by its name.
    fn word<T: Copy>(
        &mut self,
        section: &Value,
        path: &str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let text = self.stated(section, path)?;
        let found = all.iter().copied().find(|value| name(*value) == text);
        if found.is_none() {
            let names: Vec<&str> = all.iter().copied().map(name).collect();
            let hint = nearest(&text, &names).map_or_else(
                || format!("write one of {}", names.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.wrong(path, format!("`{path}` is not one of its words: `{text}`"), hint);
        }
        found
    }

    fn count(&mut self, section: &Value, path: &str) -> Option<u64> {
        let text = self.stated(section, path)?;
        let count = text.parse::<u64>().ok().filter(|count| *count > 0);
        if count.is_none() {
            let message = format!("`{path}` is not a whole number above zero: `{text}`");
            self.wrong(path, message, "write a number such as `300000`");
        }
        count
    }

    fn duration(&mut self, section: &Value, path: &str) -> Option<std::time::Duration> {
        let text = self.stated(section, path)?;
        match config::duration(&text) {
            Ok(duration) => Some(duration),
            Err(wrong) => {
                self.wrong(path, format!("`{path}` {}: `{text}`", wrong.what), wrong.hint);
                None
            }
        }
    }

    /// Gitignore lines; one that can never match anything is a mistake.
    fn rules(&mut self, section: &Value, path: &str) -> Vec<String> {
        let items = match section.get(last(path)) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Sequence(items)) => items.iter().map(scalar).collect(),
            Some(one) => vec![scalar(one)],
        };
        let mut lines = Vec::new();
        for item in items {
            let Some(line) = item else {
                self.wrong(
                    path,
                    format!("`{path}` holds something that is not a line of text"),
                    "write `- data/` lines below it, in quotes where one begins with `!` or `*`",
                );
                continue;
            };
            let settings = rules::Settings { excludes: vec![line.clone()], ..rules::Settings::default() };
            match Rules::new(settings) {
                Ok(_) => lines.push(line),
                Err(error) => self.problems.push(problem(
                    position_of_item(self.text, path, &line),
                    format!("`{path}` holds a line that excludes nothing: `{line}`: {}", error.reason),
                    "write a line as in a .gitignore, such as `data/` or `*.tmp`",
                )),
            }
        }
        lines
    }
}

/// The key itself of a dotted path.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Line and column of an item of a list, where its text stands as it is; else of the list's key.
fn position_of_item(text: &str, path: &str, item: &str) -> Option<(usize, usize)> {
    let key = position(text, path)?;
    let below = text.lines().enumerate().skip(key.0 - 1);
    let after = |index: usize| if index + 1 == key.0 { key.1 + last(path).len() } else { 0 };
    let found = below.take_while(|(index, line)| index + 1 == key.0 || !line.trim().is_empty()).find_map(
        |(index, line)| {
            let from = after(index);
            let at = from + line.get(from..)?.find(item)?;
            Some((index + 1, line[..at].chars().count() + 1))
        },
    );
    found.or(Some(key))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::complaints;
    use super::super::tests::read;
    use super::*;

    #[test]
    fn what_is_stated_about_sync_is_read() {
        let text = "mode: dev\nexclude: [data]\nsync:\n  mode: two-way-resolved\n  strategy: newer-wins\n  \
                    exclude: ['*.tmp', '!keep.tmp']\n  disposable: cache/\n  scan: full\n  symlinks: posix-raw\n  \
                    entries_max: 500000\n  watch: { mode: force-poll, interval: 2s }\n";
        let read = read(text).unwrap();
        assert_eq!((read.purpose, read.exclude), (Some(Purpose::Dev), vec!["data".to_owned()]));
        let sync = SyncOverrides {
            mode: Some(Mode::TwoWayResolved),
            strategy: Some(Strategy::NewerWins),
            exclude: vec!["*.tmp".to_owned(), "!keep.tmp".to_owned()],
            disposable: vec!["cache/".to_owned()],
            watch_mode: Some(watch::Mode::ForcePoll),
            watch_interval: Some(Duration::from_secs(2)),
            scan_full: Some(true),
            symlinks: Some(Symlinks::PosixRaw),
            entries_max: Some(500_000),
        };
        assert_eq!(read.sync, sync);
    }

    #[test]
    fn empty_sections_state_nothing() {
        assert_eq!(read("sync:\nmode:\nexclude:\n"), Ok(Overrides::default()));
        assert_eq!(read("sync:\n  watch:\n  mode:\n"), Ok(Overrides::default()));
    }

    #[test]
    fn every_mistake_about_sync_is_told_with_its_line_and_what_was_meant() {
        let text = "sync:\n  watch:\n    mode: poll\n    interval: 500\n    every: 1s\n  mode: two-way-saef\n  \
                    strategy: host-win\n  entries_max: -5\n  scan: fast\n  exclude:\n    - data/\n    - 'a[b'\n    \
                    - !keep\n  disposable: [ok, 'x//y']\n  maximum: 3\nmode: srve\nexclude: {a: b}\n";
        insta::assert_snapshot!(complaints(text).join("\n"), @r"
        3:5: `sync.watch.mode` is not one of its words: `poll`; write one of auto, force-poll, no-watch
        4:5: `sync.watch.interval` is not a duration: it has no unit: `500`; write `500s`
        5:5: unknown key `sync.watch.every`; known keys: mode, interval
        6:3: `sync.mode` is not one of its words: `two-way-saef`; did you mean `two-way-safe`?
        7:3: `sync.strategy` is not one of its words: `host-win`; did you mean `host-wins`?
        8:3: `sync.entries_max` is not a whole number above zero: `-5`; write a number such as `300000`
        9:3: `sync.scan` is not one of its words: `fast`; write one of accelerated, full
        10:3: `sync.exclude` holds something that is not a line of text; write `- data/` lines below it, in quotes where one begins with `!` or `*`
        12:8: `sync.exclude` holds a line that excludes nothing: `a[b`: a `[` is not closed; write a line as in a .gitignore, such as `data/` or `*.tmp`
        14:21: `sync.disposable` holds a line that excludes nothing: `x//y`: it has an empty component; write a line as in a .gitignore, such as `data/` or `*.tmp`
        15:3: unknown key `sync.maximum`; known keys: mode, strategy, exclude, disposable, watch, scan, symlinks, entries_max
        16:1: `mode` is not one of its words: `srve`; did you mean `serve`?
        17:1: `exclude` holds something that is not a line of text; write `- data/` lines below it, in quotes where one begins with `!` or `*`
        ");
        assert_eq!(complaints("sync: fast\n").len(), 1);
    }

    #[test]
    fn serving_and_a_mode_that_goes_both_ways_contradict_each_other() {
        let complaints = complaints("mode: serve\nsync:\n  mode: two-way-safe\n");
        assert_eq!(
            complaints,
            ["3:3: `mode: serve` is one way, `two-way-safe` is not; \
              leave one of them out, or write `sync.mode: one-way-safe`"]
        );
        assert!(read("mode: serve\nsync:\n  mode: one-way-replica\n").is_ok());
    }
}
