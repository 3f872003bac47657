//! One user's edit at every boundary of a batch: whatever it is and whenever it comes, it survives.

use super::*;
use crate::disk::sim::Fate;
use crate::sample::nightly_or;

const EDIT: &str = "the user's own";
/// As long as what it replaces, so that the size does not tell.
const TWIN_OF_EDIT: &str = "EDIT ONE";

/// What a user does at one moment.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Writes into the file, or makes it.
    Write(&'static str),
    /// Renames a new file over it.
    Save(&'static str),
    /// Writes through a descriptor opened before.
    Held(&'static str),
    Remove,
    /// Puts a directory with a file in its place.
    Directory,
    Link,
    Chmod,
}

fn perform(volume: &mut Volume, at: &str, act: Act, held: Option<crate::disk::sim::Held>) -> bool {
    match act {
        Act::Write(content) => volume.write(at, content.as_bytes()).is_ok(),
        Act::Save(content) => volume.save(at, content.as_bytes()).is_ok(),
        Act::Held(content) => held.is_some_and(|held| volume.write_held(held, content.as_bytes()).is_ok()),
        Act::Remove => volume.remove(at).is_ok(),
        Act::Directory => {
            volume.remove(at).ok();
            volume
                .make_directory(at)
                .and_then(|()| volume.write(&format!("{at}/in"), EDIT.as_bytes()))
                .is_ok()
        }
        Act::Link => {
            volume.remove(at).ok();
            volume.link(at, EDIT.as_bytes()).is_ok()
        }
        Act::Chmod => volume.set_executable(at, true).is_ok(),
    }
}

/// Whether everything precious is somewhere; `destroyed` is what the user removed or wrote over.
pub(super) fn nothing_is_lost(world: &World, destroyed: &[Seen]) -> Result<(), String> {
    let mut there: BTreeSet<Seen> = world.disk.user(|volume| volume.see_all().into_values().collect());
    // A directory moved whole has its content with it.
    there.extend(world.disk.user(|volume| volume.see_slots().into_values()));
    let kept: BTreeSet<Seen> = world.kept().into_iter().map(|(_, seen)| seen).collect();
    for content in mixed::PRECIOUS {
        let seen = text(content).expect("text");
        if !there.contains(&seen) && !destroyed.contains(&seen) {
            return Err(format!("`{content}` is lost"));
        }
    }
    let tree: BTreeSet<Seen> = world.disk.user(|volume| volume.see_all().into_values().collect());
    let nowhere = |seen: &Seen| there.contains(seen) && !tree.contains(seen) && !kept.contains(seen);
    match mixed::PRECIOUS.iter().filter_map(|content| text(content)).find(nowhere) {
        Some(seen) => Err(format!("{seen:?} is in a slot, but no version")),
        None => Ok(()),
    }
}

/// Runs the mixed batch with one edit before one call; says how many calls there were.
fn run(
    (world, transitions): &(World, Vec<Transition>),
    rules: Rules,
    at: &'static str,
    act: Act,
    when: u64,
) -> Result<u64, String> {
    let mut world = world.copy();
    let before: BTreeMap<_, _> = world.disk.user(|volume| volume.see_all());
    let held = world.disk.user(|volume| volume.hold(at));
    let first = world.disk.calls();
    let edited = std::sync::Arc::new(std::sync::Mutex::new((false, Vec::new())));
    let note = edited.clone();
    world.disk.set_hook(move |volume, call| {
        if call.number == first + when {
            let there = volume.see_all();
            let within =
                |path: &str| path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
            let mut destroyed: Vec<Seen> =
                there.into_iter().filter(|(path, _)| within(path)).map(|(_, seen)| seen).collect();
            if let Act::Held(_) = act {
                destroyed.extend(before.get(at).cloned());
            }
            *note.lock().unwrap() = (perform(volume, at, act, held), destroyed);
            if when == 0 {
                // Between the scan and the batch there is time.
                volume.advance(1_000_000_000);
            }
        }
        Fate::Go
    });
    let outcomes = world.apply_by(rules, transitions);
    let calls = world.disk.calls() - first;
    world.disk.clear_hook();
    let (done, destroyed) = edited.lock().unwrap().clone();
    check(&world, at, act, when, done, &destroyed)
        .map_err(|lost| format!("{lost}: {act:?} at `{at}` before call {when}; {:?}", problems(&outcomes)))?;
    Ok(calls)
}

fn check(world: &World, at: &str, act: Act, when: u64, done: bool, destroyed: &[Seen]) -> Result<(), String> {
    nothing_is_lost(world, if done { destroyed } else { &[] })?;
    let tree = world.disk.user(|volume| volume.see_all());
    let kept = world.kept();
    let content = match act {
        Act::Write(content) | Act::Save(content) | Act::Held(content) => Some(content),
        Act::Directory => Some(EDIT),
        Act::Remove | Act::Link | Act::Chmod => None,
    };
    if let Some(content) = content.filter(|_| done) {
        let is = |seen: &Seen| matches!(seen, Seen::File(found, _) if found == content.as_bytes());
        let in_slots = world.disk.user(|volume| volume.see_slots());
        let whole = kept.iter().any(|(_, seen)| *seen == Seen::Directory) && in_slots.values().any(is);
        if !tree.values().any(is) && !kept.iter().any(|(_, seen)| is(seen)) && !whole {
            return Err("the edit is lost".to_owned());
        }
        if when == 0 && !tree.get(at).is_some_and(|seen| is(seen) || *seen == Seen::Directory) {
            return Err("an edit made before the batch is not where it was made".to_owned());
        }
    }
    // What the store says of its versions is true, unless somebody wrote to them later.
    for (version, _) in &kept {
        let is = world.versions.describe(&world.disk, version.id).map_err(|error| error.to_string())?;
        let late = matches!(act, Act::Held(_)) || when > 0 && matches!(act, Act::Write(_) | Act::Chmod);
        if is.as_ref() != Some(&version.what) && !late {
            return Err(format!("the store says {:?} of {is:?}", version.what));
        }
    }
    Ok(())
}

const PLACES: [&str; 17] = [
    "edit",
    "gone",
    "d/a",
    "d/b",
    "d/new",
    "from",
    "to/moved",
    "kind",
    "kind/inner",
    "t/x",
    "t",
    "run",
    "turns",
    "link",
    "p/x",
    "fresh",
    "new/deep/er",
];

const ACTS: [Act; 8] = [
    Act::Write(EDIT),
    Act::Write(TWIN_OF_EDIT),
    Act::Save(EDIT),
    Act::Held(EDIT),
    Act::Remove,
    Act::Directory,
    Act::Link,
    Act::Chmod,
];

/// The first edit that is lost, of one in so many.
fn first_loss(rules: Rules, places: &[&'static str], acts: &[Act], one_in: u64) -> Result<u64, String> {
    let mut runs = 0;
    let start = mixed::world(3);
    for (turn, (&at, &act)) in places.iter().flat_map(|at| acts.iter().map(move |act| (at, act))).enumerate()
    {
        // Each path and each act has a turn at every remainder, so that all boundaries have many of both.
        let mut when = if one_in == 1 { 0 } else { turn as u64 % one_in };
        while when < run(&start, rules, at, act, when)? {
            when += one_in;
            runs += 1;
        }
    }
    Ok(runs)
}

#[test]
fn an_edit_survives_at_every_boundary() {
    // All of them every night.
    let one_in = nightly_or(1, 11);
    let runs = first_loss(Rules::ALL, &PLACES, &ACTS, one_in).unwrap();
    assert!(runs > 10_000 / one_in, "{runs}");
}

#[test]
fn the_same_length_in_the_same_tick_is_noticed() {
    // The file was written a moment before the batch, and is again in the middle of it.
    let count = |when: Option<u64>| {
        let mut world = World::new(5, |volume| volume.write("f", b"one").unwrap());
        world.stage(&["two"]);
        world.disk.user(|volume| {
            let into = volume.now() % crate::disk::sim::TICK;
            volume.advance(crate::disk::sim::TICK - into);
            volume.write("f", b"ONE").unwrap();
        });
        world.local = scan(&world.disk, &untracked);
        let transitions = world.transitions([("f", Some(file("two")))]);
        let first = world.disk.calls();
        world.disk.set_hook(move |volume, call| {
            if when.is_some_and(|when| call.number == first + when) {
                volume.write("f", b"wow").unwrap();
            }
            Fate::Go
        });
        world.apply(&transitions);
        let calls = world.disk.calls() - first;
        (world, calls)
    };
    let (_, calls) = count(None);
    for when in 0..calls {
        let (world, _) = count(Some(when));
        let kept = world.kept();
        let there =
            world.see("f") == text("wow") || kept.iter().any(|(_, seen)| Some(seen) == text("wow").as_ref());
        assert!(there, "call {when}");
        for (version, _) in &kept {
            let is = world.versions.describe(&world.disk, version.id).unwrap();
            assert_eq!(is.as_ref(), Some(&version.what), "call {when}");
        }
    }
}

#[test]
fn of_two_edits_the_later_stands_and_the_earlier_is_not_lost() {
    let start = World::new(9, |volume| volume.write("f", b"old").unwrap());
    start.stage(&["incoming"]);
    let transitions = start.transitions([("f", Some(file("incoming")))]);
    let run = |acts: [fn(&mut Volume, &str); 2], at: [u64; 2]| {
        let mut world = start.copy();
        let first = world.disk.calls();
        let over = std::sync::Arc::new(std::sync::Mutex::new(None));
        let note = over.clone();
        world.disk.set_hook(move |volume, call| {
            for turn in [0, 1] {
                if call.number == first + at[turn] {
                    *note.lock().unwrap() = volume.see("f");
                    acts[turn](volume, ["edit one", "edit two"][turn]);
                }
            }
            Fate::Go
        });
        world.apply(&transitions);
        let calls = world.disk.calls() - first;
        world.disk.clear_hook();
        let over = over.lock().unwrap().clone();
        (world, over, calls)
    };
    let write: fn(&mut Volume, &str) = |volume, content| volume.write("f", content.as_bytes()).unwrap();
    let save: fn(&mut Volume, &str) = |volume, content| volume.save("f", content.as_bytes()).unwrap();
    for acts in [[write, write], [write, save], [save, write], [save, save]] {
        let mut at = [0, 0];
        loop {
            let (world, over, calls) = run(acts, at);
            if at[1] < calls {
                assert_eq!(world.see("f"), text("edit two"), "{at:?}");
                let kept = world.kept();
                let there = over == text("edit one")
                    || kept.iter().any(|(_, seen)| Some(seen) == text("edit one").as_ref());
                assert!(there, "{at:?}: {kept:?}");
                at[1] += 1;
            } else if at[0] < calls {
                at = [at[0] + 1, at[0] + 1];
            } else {
                break;
            }
        }
    }
}

#[test]
fn every_safeguard_is_needed() {
    let without = |leave_out: fn(&mut Rules)| {
        let mut rules = Rules::ALL;
        leave_out(&mut rules);
        rules
    };
    for (name, rules) in [
        ("check", without(|rules| rules.check = false)),
        ("verify", without(|rules| rules.verify = false)),
        ("put_back", without(|rules| rules.put_back = false)),
        ("keep", without(|rules| rules.keep = false)),
        ("only_named", without(|rules| rules.only_named = false)),
        ("never_over", without(|rules| rules.never_over = false)),
    ] {
        let lost =
            first_loss(rules, &["edit", "gone", "d/new", "fresh"], &[Act::Write(EDIT), Act::Save(EDIT)], 1);
        assert!(lost.is_err(), "nothing is lost without `{name}`");
    }
}
