//! Who wins a conflict: a strategy, or a person.
//!
//! The planner says where two edits meet; this turns such a conflict into a transition on the side that loses, whose
//! version goes to the version store by being displaced. Only a meeting of two edits has a winner. Where content that is
//! not carried stands in the way (ignored, unreadable), no strategy decides: to lose it was nobody's wish.

use std::fmt;
use std::str::FromStr;

use crate::entry::Digest;
use crate::path::RelPath;
use crate::reconcile::Conflict;
use crate::reconcile::Mode;
use crate::reconcile::Plan;
use crate::reconcile::Side;
use crate::reconcile::Transition;
use crate::reconcile::is_blocked;
use crate::reconcile::only_removes;
use crate::safety::Hold;
use crate::tree::File;
use crate::tree::Item;
use crate::tree::Tree;

/// Which of two edits stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The host's.
    #[default]
    HostWins,
    /// The container's.
    ContainerWins,
    /// The one that was made later; the host's when nobody can tell.
    NewerWins,
    /// Neither, until a person says so.
    Manual,
}

/// A strategy nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no conflict strategy: there are `host-wins`, `container-wins`, `newer-wins` and `manual`")]
pub struct UnknownStrategy(String);

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 4] = [Self::HostWins, Self::ContainerWins, Self::NewerWins, Self::Manual];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::HostWins => "host-wins",
            Self::ContainerWins => "container-wins",
            Self::NewerWins => "newer-wins",
            Self::Manual => "manual",
        }
    }

    fn winner(self, conflict: &Conflict, modified: Modified<'_>) -> Option<Side> {
        let time = |side| modified(side, conflict);
        match self {
            Self::HostWins => Some(Side::Alpha),
            Self::ContainerWins => Some(Side::Beta),
            Self::NewerWins => match (time(Side::Alpha), time(Side::Beta)) {
                (Some(alpha), Some(beta)) if beta > alpha => Some(Side::Beta),
                _ => Some(Side::Alpha),
            },
            Self::Manual => None,
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        let known = Self::ALL.into_iter().find(|strategy| strategy.name() == text);
        known.ok_or_else(|| UnknownStrategy(text.to_owned()))
    }
}

/// When a side's version was made, in nanoseconds since the epoch; `None` when it cannot be told.
pub type Modified<'a> = &'a dyn Fn(Side, &Conflict) -> Option<i128>;

/// Lets a strategy decide the conflicts of a plan, except those that a hold keeps for a yes. What it cannot decide stays
/// a conflict.
pub fn resolve(plan: &mut Plan, mode: Mode, strategy: Strategy, modified: Modified<'_>, held: &[Hold]) {
    for conflict in std::mem::take(&mut plan.conflicts) {
        let winner = strategy.winner(&conflict, modified).filter(|winner| {
            may_win(&conflict, *winner, mode) && !held.iter().any(|hold| hold.keeps(&conflict))
        });
        match winner {
            Some(winner) => {
                let loser = winner.other();
                plan.on_mut(loser).push(transition(
                    &conflict,
                    loser,
                    conflict.on(winner).and_then(Item::carried),
                ));
            }
            None => plan.conflicts.push(conflict),
        }
    }
    sort(plan);
}

/// Whether a strategy may let a side win: both made something new, the mode writes the other side, and nothing that has
/// to stay is there.
fn may_win(conflict: &Conflict, winner: Side, mode: Mode) -> bool {
    let made = |side| !only_removes(conflict.ancestor.as_ref(), conflict.on(side));
    let met = match mode {
        Mode::TwoWaySafe | Mode::TwoWayResolved => made(Side::Alpha) && made(Side::Beta),
        Mode::OneWaySafe => made(Side::Beta) && conflict.alpha.as_ref().is_none_or(Item::is_carried),
        Mode::OneWayReplica => false,
    };
    met && mode.writes(winner.other()) && !is_blocked(conflict.on(winner.other()))
}

/// What a person wants of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The host's version.
    Host,
    /// The container's version.
    Container,
    /// A version made of both; its content is at hand.
    Merged(File),
}

/// Why a choice is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no conflict there, or no longer.
    #[error("there is no conflict at {}", shown(.path.as_ref()))]
    NoConflict {
        /// Where.
        path: Option<RelPath>,
    },
    /// Not the versions that were looked at when the choice was made.
    #[error("{} changed since it was looked at", shown(.path.as_ref()))]
    Stale {
        /// Where.
        path: Option<RelPath>,
    },
    /// Content that is not carried would have to go.
    #[error("the {on} has ignored or unreadable content at {}", shown(.path.as_ref()))]
    Blocked {
        /// On which side.
        on: Side,
        /// Where.
        path: Option<RelPath>,
    },
    /// The mode never writes the side that would lose.
    #[error("in mode `{mode}` the {side} is never written")]
    OneWay {
        /// The mode.
        mode: Mode,
        /// The side.
        side: Side,
    },
}

fn shown(path: Option<&RelPath>) -> String {
    path.map_or_else(|| "the root".to_owned(), |path| format!("`{path}`"))
}

/// Stands for a conflict as it is now: another when a version changed. To be shown with it, and given with the choice.
pub fn token(conflict: &Conflict) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for item in [&conflict.alpha, &conflict.beta] {
        hasher.update(&Tree::with_root(item.clone()).digest().0);
    }
    hasher.update(conflict.path.as_ref().map_or(b"", |path| path.as_bytes()));
    hasher.finalize().into()
}

/// Stand for a conflict as it is when one side has got what was chosen, and the other has not yet.
pub(crate) fn halfway(conflict: &Conflict, choice: &Choice) -> Vec<Digest> {
    let Choice::Merged(file) = choice else { return Vec::new() };
    let new = || Some(Item::File(file.clone()));
    let alpha = Conflict { alpha: new(), ..conflict.clone() };
    let beta = Conflict { beta: new(), ..conflict.clone() };
    vec![token(&alpha), token(&beta)]
}

/// Settles one conflict of a plan as a person chose, who was shown the version that `seen` stands for.
///
/// # Errors
/// Says why not; the plan is then as it was.
pub fn choose(
    plan: &mut Plan,
    mode: Mode,
    path: Option<&RelPath>,
    seen: Digest,
    choice: &Choice,
) -> Result<(), Refusal> {
    let at = || path.cloned();
    let index = plan.conflicts.iter().position(|conflict| conflict.path.as_ref() == path);
    let index = index.ok_or_else(|| Refusal::NoConflict { path: at() })?;
    let conflict = &plan.conflicts[index];
    if token(conflict) != seen {
        return Err(Refusal::Stale { path: at() });
    }
    let (losers, new) = match choice {
        Choice::Host => (&[Side::Beta][..], conflict.alpha.as_ref().and_then(Item::carried)),
        Choice::Container => (&[Side::Alpha][..], conflict.beta.as_ref().and_then(Item::carried)),
        Choice::Merged(file) => (&[Side::Alpha, Side::Beta][..], Some(Item::File(file.clone()))),
    };
    for side in losers.iter().copied() {
        if !mode.writes(side) {
            return Err(Refusal::OneWay { mode, side });
        }
        if is_blocked(conflict.on(side)) {
            return Err(Refusal::Blocked { on: side, path: at() });
        }
    }
    let conflict = plan.conflicts.remove(index);
    for side in losers.iter().copied().filter(|side| conflict.on(*side) != new.as_ref()) {
        plan.on_mut(side).push(transition(&conflict, side, new.clone()));
    }
    sort(plan);
    Ok(())
}

fn transition(conflict: &Conflict, side: Side, new: Option<Item>) -> Transition {
    Transition { path: conflict.path.clone(), old: conflict.on(side).cloned(), new }
}

fn sort(plan: &mut Plan) {
    plan.alpha.sort_by(|one, two| one.path.cmp(&two.path));
    plan.beta.sort_by(|one, two| one.path.cmp(&two.path));
}

#[cfg(test)]
mod tests;
