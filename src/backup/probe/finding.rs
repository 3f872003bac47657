//! What the answers of a place to a probe mean: what it does, and which promise falls away. Pure.

use std::fmt;

use jiff::SignedDuration;
use jiff::Timestamp;

/// So many try at once to be the one who makes an object.
pub const RACERS: usize = 8;
/// A place is asked anew after so long: servers are updated, rights are changed.
const FRESH: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A probe that came to no end is tried again after so long.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// Clocks that differ by less do no harm; servers refuse requests at a quarter of an hour.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Something a place may do or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Takes objects.
    Write,
    /// Gives them back as they are.
    Read,
    /// Lists what is there, and with it what was just written.
    List,
    /// Removes objects.
    Delete,
    /// Makes an object only where there is none, also when several try at once.
    Create,
    /// Gives back what an object was before, by the id of that version.
    Versions,
    /// Refuses bytes that are not those that were sent.
    Checksums,
    /// Names what it has stored by the MD5 of it.
    Tags,
    /// Has a clock that goes as ours.
    Clock,
    /// Keeps objects from whoever holds the key.
    Lock,
}

impl Ability {
    /// All, in the order they are shown.
    pub const ALL: [Self; 10] = [
        Self::Write,
        Self::Read,
        Self::List,
        Self::Delete,
        Self::Create,
        Self::Versions,
        Self::Checksums,
        Self::Tags,
        Self::Clock,
        Self::Lock,
    ];

    /// The word of the API for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Create => "create_once",
            Self::Versions => "versions",
            Self::Checksums => "checksums",
            Self::Tags => "tags",
            Self::Clock => "clock",
            Self::Lock => "object_lock",
        }
    }

    /// What cannot be promised where it is not proved.
    pub fn lost(self) -> &'static str {
        match self {
            Self::Write => "nothing can be backed up there",
            Self::Read => "nothing can be brought back from there, nor proved to be there",
            Self::List => "what was backed up there cannot be found",
            Self::Delete => {
                "nothing is forgotten there, whatever the rules say; a lock of a run stays until it is too old"
            }
            Self::Create => "two nodes that make one repository there at once learn of it only afterwards",
            Self::Versions => {
                "what another program overwrites or removes there is gone; moments come back from what Nexus keeps itself"
            }
            Self::Checksums => {
                "bytes damaged on the way are found by `verify --read-data` and the restore drill, not at once"
            }
            Self::Tags => "each new file of a mirror costs a second request",
            Self::Clock => "the server refuses requests once the clocks are a quarter of an hour apart",
            Self::Lock => "whoever has the key can remove the backups there",
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is known of an ability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was seen at work.
    Proved,
    /// It was seen not to be there.
    Absent,
    /// It was not asked for, or the answer says nothing.
    Unknown,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Proved, Self::Absent, Self::Unknown];

    /// The word of the API for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found out about one ability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub ability: Ability,
    /// What is known of it.
    pub verdict: Verdict,
    /// How that is known; empty when there is nothing to say.
    pub detail: String,
}

/// What a probe found out about a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// When it was asked.
    pub time: Timestamp,
    /// Which place: of another one it says nothing.
    pub place: String,
    /// About each ability that means something there.
    pub findings: Vec<Finding>,
}

impl Probe {
    /// What is known of an ability.
    pub fn verdict(&self, ability: Ability) -> Verdict {
        let found = self.findings.iter().find(|finding| finding.ability == ability);
        found.map_or(Verdict::Unknown, |finding| finding.verdict)
    }
}

/// Whether a place is to be asked now. `tried` is when a probe that came to no end was begun.
pub fn is_due(probe: Option<&Probe>, place: &str, tried: Option<Timestamp>, now: Timestamp) -> bool {
    let since = |time: Timestamp| now.duration_since(time).abs();
    let fresh = probe.is_some_and(|probe| probe.place == place && since(probe.time) < FRESH);
    !fresh && tried.is_none_or(|tried| since(tried) >= AGAIN)
}

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum No {
    /// It does not let us, or does not know what we ask for.
    Refused(String),
    /// It could not be asked.
    Failed(String),
}

/// What an object was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// What was written first.
    First,
    /// What was written last.
    Last,
    /// Something else.
    Other,
    /// There is none.
    Nothing,
}

/// What came of an attempt to make an object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It says that it is there.
    Refused,
    /// It says that it has made it.
    Taken,
}

/// What a place answered. What was not asked is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// A first object is written.
    pub write: Option<Result<(), No>>,
    /// It is read after it was written again.
    pub read: Option<Result<Held, No>>,
    /// Whether it is listed.
    pub list: Option<Result<bool, No>>,
    /// Whether the answer to the first write named a version; what comes under that after the second write.
    pub version: Option<Option<Result<Held, No>>>,
    /// What comes under it after the object was removed.
    pub version_of_removed: Option<Result<Held, No>>,
    /// It is made although it is there.
    pub second: Option<Result<Made, No>>,
    /// How many of several were told that they have made an object.
    pub winners: Option<usize>,
    /// Bytes are damaged on the way; what is there afterwards.
    pub damaged: Option<Result<Held, No>>,
    /// Whether the tag is the MD5 of the content.
    pub tagged: Option<bool>,
    /// What is there after it was removed.
    pub delete: Option<Result<Held, No>>,
    /// How far its clock is ahead of ours.
    pub ahead: Option<SignedDuration>,
}

/// What the answers mean. A place that is no `server` has no versions, clock or lines of its own.
pub fn judge(answers: &Answers, server: bool) -> Vec<Finding> {
    let mut all = vec![
        finding(Ability::Write, said(answers.write.as_ref(), |()| good())),
        finding(
            Ability::Read,
            said(answers.read.as_ref(), |held| match held {
                Held::Last => good(),
                Held::First => bad("after it was overwritten it still gives what was there before"),
                Held::Other => bad("it gives other bytes than those that were written"),
                Held::Nothing => bad("what it says it has written is not there"),
            }),
        ),
        finding(
            Ability::List,
            said(answers.list.as_ref(), |seen| match seen {
                true => good(),
                false => bad("a list does not show what was just written"),
            }),
        ),
        finding(
            Ability::Delete,
            said(answers.delete.as_ref(), |held| match held {
                Held::Nothing => good(),
                _ => bad("it says that it has removed an object, which is still there"),
            }),
        ),
        finding(Ability::Create, create(answers)),
    ];
    if server {
        all.push(finding(Ability::Versions, versions(answers)));
        all.push(finding(Ability::Checksums, checksums(answers)));
        all.push(finding(
            Ability::Tags,
            match answers.tagged {
                Some(true) => good(),
                Some(false) => bad("its tags are not the MD5 of the content"),
                None => not_asked(),
            },
        ));
        all.push(finding(Ability::Clock, clock(answers.ahead)));
        let why = "not asked: what Nexus reads and writes buckets with has no words for it";
        all.push(finding(Ability::Lock, (Verdict::Unknown, why.to_owned())));
    }
    all
}

type Known = (Verdict, String);

fn finding(ability: Ability, (verdict, detail): Known) -> Finding {
    Finding { ability, verdict, detail }
}

fn good() -> Known {
    (Verdict::Proved, String::new())
}

fn bad(detail: &str) -> Known {
    (Verdict::Absent, detail.to_owned())
}

fn not_asked() -> Known {
    (Verdict::Unknown, "not asked".to_owned())
}

fn said<T>(answer: Option<&Result<T, No>>, of: impl Fn(&T) -> Known) -> Known {
    match answer {
        None => not_asked(),
        Some(Ok(answer)) => of(answer),
        Some(Err(No::Refused(why))) => bad(why),
        Some(Err(No::Failed(why))) => (Verdict::Unknown, why.clone()),
    }
}

fn create(answers: &Answers) -> Known {
    said(answers.second.as_ref(), |made| match (made, answers.winners) {
        (Made::Taken, _) => bad("it says yes to the condition and overwrites"),
        (Made::Refused, Some(1)) => good(),
        (Made::Refused, None) => (Verdict::Unknown, "it was not tried by several at once".to_owned()),
        (Made::Refused, Some(0)) => (Verdict::Unknown, "of several at once none was let through".to_owned()),
        (Made::Refused, Some(winners)) => {
            bad(&format!("of {RACERS} at once {winners} were told that they have made it"))
        }
    })
}

fn versions(answers: &Answers) -> Known {
    let Some(version) = &answers.version else { return not_asked() };
    let Some(first) = version else { return bad("it keeps no versions") };
    let current = || bad("it names versions, and serves the current content under the name of an old one");
    match first {
        Ok(Held::First) => {}
        Ok(Held::Last) => return current(),
        Ok(Held::Other | Held::Nothing) => return bad("it names versions, and has no old ones"),
        Err(_) => return said(Some(first), |_| good()),
    }
    match &answers.version_of_removed {
        None => (Verdict::Proved, "seen of an object that is there".to_owned()),
        Some(Ok(Held::First)) => (Verdict::Proved, "also of an object that was removed".to_owned()),
        Some(_) => bad("with an object go its versions"),
    }
}

fn checksums(answers: &Answers) -> Known {
    match &answers.damaged {
        None => not_asked(),
        // Whatever it says: it has said no.
        Some(Err(No::Refused(_))) => good(),
        Some(Err(No::Failed(why))) => (Verdict::Unknown, why.clone()),
        Some(Ok(Held::Nothing)) => bad("it says yes to damaged bytes, and does not keep them"),
        Some(Ok(_)) => bad("it stores bytes that were damaged on the way"),
    }
}

fn clock(ahead: Option<SignedDuration>) -> Known {
    let Some(ahead) = ahead else { return (Verdict::Unknown, "it does not say what time it is".to_owned()) };
    let seconds = ahead.as_secs();
    let detail = match seconds {
        -2..=2 => String::new(),
        ..=-3 => format!("{} s behind this machine's", seconds.unsigned_abs()),
        _ => format!("{seconds} s ahead of this machine's"),
    };
    let verdict = if ahead.abs() <= SKEW_MAX { Verdict::Proved } else { Verdict::Absent };
    (verdict, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the best of servers answers.
    fn best() -> Answers {
        Answers {
            write: Some(Ok(())),
            read: Some(Ok(Held::Last)),
            list: Some(Ok(true)),
            version: Some(Some(Ok(Held::First))),
            version_of_removed: Some(Ok(Held::First)),
            second: Some(Ok(Made::Refused)),
            winners: Some(1),
            damaged: Some(Err(No::Refused("BadDigest".to_owned()))),
            tagged: Some(true),
            delete: Some(Ok(Held::Nothing)),
            ahead: Some(SignedDuration::from_secs(-1)),
        }
    }

    fn check(change: impl FnOnce(&mut Answers), ability: Ability, verdict: Verdict, word: &str) {
        let mut answers = best();
        change(&mut answers);
        let findings = judge(&answers, true);
        let found = findings.iter().find(|finding| finding.ability == ability).unwrap();
        assert!(found.verdict == verdict && found.detail.contains(word), "{ability}: {found:?}");
        let others = findings.iter().zip(judge(&best(), true)).filter(|(one, _)| one.ability != ability);
        for (one, best) in others {
            assert_eq!(*one, best, "what one answer means for another ability");
        }
    }

    #[test]
    fn what_is_not_seen_to_work_is_not_proved() {
        use Ability::*;
        use Verdict::*;
        let refused = || No::Refused("AccessDenied".to_owned());
        let failed = || No::Failed("SlowDown".to_owned());
        check(|_| {}, Lock, Unknown, "not asked");
        check(|to| to.write = Some(Err(refused())), Write, Absent, "AccessDenied");
        check(|to| to.read = Some(Ok(Held::First)), Read, Absent, "before");
        check(|to| to.read = Some(Ok(Held::Nothing)), Read, Absent, "not there");
        check(|to| to.list = Some(Err(refused())), List, Absent, "AccessDenied");
        check(|to| to.list = Some(Ok(false)), List, Absent, "does not show");
        check(|to| to.list = None, List, Unknown, "not asked");
        check(|to| to.delete = Some(Err(refused())), Delete, Absent, "AccessDenied");
        check(|to| to.delete = Some(Err(failed())), Delete, Unknown, "SlowDown");
        check(|to| to.delete = Some(Ok(Held::Last)), Delete, Absent, "still there");
        // Garage: 200 to `If-None-Match: *`, and it overwrites.
        check(|to| to.second = Some(Ok(Made::Taken)), Create, Absent, "overwrites");
        // s3s-fs: it looks, and then it writes.
        check(|to| to.winners = Some(3), Create, Absent, "of 8 at once 3");
        check(|to| to.winners = Some(0), Create, Unknown, "none");
        check(|to| to.winners = None, Create, Unknown, "several");
        check(|to| to.second = Some(Err(refused())), Create, Absent, "AccessDenied");
        // Garage: a version's id with each write, and the current content under each.
        check(|to| to.version = Some(Some(Ok(Held::Last))), Versions, Absent, "current content");
        check(|to| to.version = Some(None), Versions, Absent, "no versions");
        check(|to| to.version = Some(Some(Err(refused()))), Versions, Absent, "AccessDenied");
        check(|to| to.version = Some(Some(Err(failed()))), Versions, Unknown, "SlowDown");
        check(|to| to.version_of_removed = Some(Ok(Held::Nothing)), Versions, Absent, "go its versions");
        check(|to| to.version_of_removed = None, Versions, Proved, "that is there");
        check(|to| to.damaged = Some(Ok(Held::Other)), Checksums, Absent, "damaged on the way");
        check(|to| to.damaged = Some(Err(failed())), Checksums, Unknown, "SlowDown");
        check(|to| to.tagged = Some(false), Tags, Absent, "MD5");
        check(|to| to.ahead = Some(SignedDuration::from_secs(1200)), Clock, Absent, "1200 s ahead");
        check(|to| to.ahead = Some(SignedDuration::from_secs(-40)), Clock, Proved, "40 s behind");
        check(|to| to.ahead = None, Clock, Unknown, "what time");
    }

    #[test]
    fn the_best_of_servers_has_all_but_what_cannot_be_asked_and_a_folder_what_a_folder_has() {
        for finding in judge(&best(), true) {
            assert_eq!(finding.verdict == Verdict::Proved, finding.ability != Ability::Lock, "{finding:?}");
        }
        let folder: Vec<_> = judge(&best(), false).into_iter().map(|finding| finding.ability).collect();
        assert_eq!(folder, Ability::ALL[..5]);
    }

    #[test]
    fn a_place_is_asked_at_first_when_it_is_another_one_and_each_week() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let now = at("2026-03-10T00:00:00Z");
        let probe = |time: &str| Probe { time: at(time), place: "here".to_owned(), findings: vec![] };
        assert!(is_due(None, "here", None, now));
        assert!(!is_due(None, "here", Some(at("2026-03-09T23:30:00Z")), now), "it has just failed");
        assert!(is_due(None, "here", Some(at("2026-03-09T23:00:00Z")), now));
        assert!(!is_due(Some(&probe("2026-03-04T00:00:00Z")), "here", None, now));
        assert!(is_due(Some(&probe("2026-03-03T00:00:00Z")), "here", None, now));
        assert!(is_due(Some(&probe("2026-03-09T00:00:00Z")), "there", None, now));
        assert!(is_due(Some(&probe("2026-04-09T00:00:00Z")), "here", None, now), "a clock that was wrong");
    }
}
