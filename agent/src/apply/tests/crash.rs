//! What others see while a batch is applied, and what is left when the machine stops in the middle.

use super::*;
use crate::disk::sim::Fate;
use crate::disk::sim::Random;
use crate::sample::nightly_or;
use crate::versions::What;

#[test]
fn nobody_ever_sees_half_of_something() {
    let (mut world, transitions) = mixed::world(2);
    let views = mixed::views();
    world.disk.set_hook(move |volume, call| {
        for (at, allowed) in &views {
            let seen = volume.see(at);
            assert!(allowed.contains(&seen), "before {call:?}: `{at}` is {seen:?}");
        }
        for at in volume.see_all().keys() {
            assert!(views.contains_key(at.as_str()), "before {call:?}: `{at}` is there");
        }
        Fate::Go
    });
    assert_eq!(problems(&world.apply(&transitions)), [""; 0]);
}

/// Stops the machine before one call, starts it again and finishes the work; says how many calls there were.
fn crash(seed: u64, when: Option<u64>, order: bool, apart: bool) -> Result<u64, String> {
    let (mut world, transitions) = mixed::world(seed);
    if apart {
        world.disk.keep_apart();
    }
    if !order {
        world.disk.forget_order();
    }
    // Staged content has reached the disk only if `finish` saw to it.
    let fresh: Vec<_> =
        mixed::INCOMING.iter().map(|content| Slot::Whole(digest(content.as_bytes()))).collect();
    for slot in &fresh {
        world.disk.discard(*slot).unwrap();
    }
    world.stage(&mixed::INCOMING);
    let first = world.disk.calls();
    world.disk.set_hook(move |_, call| match when {
        Some(when) if call.number == first + when => Fate::Crash,
        _ => Fate::Go,
    });
    world.apply(&transitions);
    world.versions.settle(&world.disk).ok();
    let calls = world.disk.calls() - first;
    world.disk.clear_hook();
    if when.is_none() {
        return Ok(calls);
    }
    world.disk.restart();
    recovered(world.disk).map_err(|wrong| format!("{wrong}: seed {seed}, call {when:?}"))?;
    Ok(calls)
}

fn recovered(disk: SimDisk) -> Result<(), String> {
    let mut world = World::open(disk);
    for (at, allowed) in mixed::views() {
        let seen = world.see(at);
        // Who may execute it is no content, and is not ordered by anything.
        if !allowed.contains(&seen) {
            return Err(format!("`{at}` is {seen:?}"));
        }
    }
    for at in world.disk.user(|volume| volume.see_all()).keys() {
        if !mixed::views().contains_key(at.as_str()) {
            return Err(format!("`{at}` is there"));
        }
    }
    race::nothing_is_lost(&world, &[])?;
    for (version, _) in world.kept() {
        let is = world.versions.describe(&world.disk, version.id).unwrap();
        if is.as_ref() != Some(&version.what) {
            return Err(format!("the store says {:?} of {is:?}", version.what));
        }
    }
    // What is staged is what its name says, and of use.
    let slots = world.disk.slots().unwrap();
    for slot in &slots {
        if let Slot::Whole(expected) = slot {
            let facts = world.disk.stat((*slot).into()).unwrap().unwrap();
            let found = content::digest(&world.disk, (*slot).into(), &facts).unwrap();
            if found != Some(*expected) {
                return Err(format!("{slot:?} holds {found:?}"));
            }
        }
    }
    // The rest of the work is planned anew, and done.
    world.stage(&mixed::INCOMING);
    world.stage(&["moved"]);
    let changes = mixed::changes()
        .into_iter()
        .filter(|(at, new)| world.local.get(Some(&path(at))).and_then(Item::carried) != *new);
    let transitions = world.transitions(changes.collect::<Vec<_>>());
    let failed = problems(&world.apply(&transitions));
    if !failed.is_empty() {
        return Err(format!("afterwards {failed:?}"));
    }
    for (at, allowed) in mixed::views() {
        if world.see(at) != *allowed.last().unwrap() {
            return Err(format!("in the end `{at}` is {:?}", world.see(at)));
        }
    }
    race::nothing_is_lost(&world, &[])?;
    clear_staging(&world.disk, &world.versions, |_| false).unwrap();
    world.versions.settle(&world.disk).unwrap();
    // A directory found without its name in the list stays there, being hardly ever there at all.
    let whole = |slot: &Slot| match slot {
        Slot::Taken(id) => world.versions.get(*id).is_some_and(|version| version.what == What::Directory),
        slot => matches!(slot, Slot::Kept(_)),
    };
    match world.disk.slots().unwrap().iter().find(|slot| !whole(slot)) {
        Some(slot) => Err(format!("{slot:?} is left")),
        None => Ok(()),
    }
}

fn first_wrong(order: bool, apart: bool, seeds: std::ops::Range<u64>) -> Result<(), String> {
    for seed in seeds {
        let calls = crash(seed, None, order, apart)?;
        for when in 0..=calls {
            crash(seed, Some(when), order, apart)?;
        }
    }
    Ok(())
}

#[test]
fn a_crash_at_any_call_leaves_old_or_new_and_loses_nothing() {
    let seeds = nightly_or(40, 2);
    first_wrong(true, false, 0..seeds).unwrap();
    first_wrong(true, true, seeds..seeds + seeds / 2).unwrap();
}

#[test]
fn content_that_is_not_ordered_before_its_name_is_noticed() {
    assert!(first_wrong(false, false, 0..10).is_err());
}

#[test]
fn crashes_in_a_row_lose_nothing() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (world, transitions) = mixed::world(seed);
        let disk = world.disk.clone();
        drop(world);
        for _ in 0..6 {
            let first = disk.calls();
            let when = first + random.below(260) as u64;
            disk.set_hook(move |_, call| if call.number == when { Fate::Crash } else { Fate::Go });
            // Opening may be what is cut short, too.
            if let Ok(mut versions) = Versions::open(&disk, disk.medium(0), Side::Alpha, Limits::default()) {
                let hook_free = SimDisk::clone(&disk);
                let lost = BTreeSet::new();
                let batch = Batch { id: 7, transitions: &transitions, lost: &lost, raw_links: false };
                let local = mixed::world(seed).0.local;
                apply(&hook_free, &mut versions, &local, &batch, &mut BTreeMap::new());
            }
            disk.clear_hook();
            disk.restart();
        }
        let world = World::open(disk);
        race::nothing_is_lost(&world, &[]).unwrap_or_else(|lost| panic!("{lost}: seed {seed}"));
    }
}
