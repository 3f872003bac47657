//! What was decided once, and comes true, is not decided again.

use super::*;

/// More than fit into the batches that may be under way.
const FILES: u64 = 5_500;

fn stocked() -> World {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.settle();
    for number in 0..FILES {
        let content = number.to_le_bytes();
        let path = path(&format!("d{}/f{number}", number / 100));
        if let Some(parent) = path.parent().filter(|_| number % 100 == 0) {
            world.sides[0].set(&parent, Some(Item::Directory(Directory::empty())));
        }
        world.sides[0].set(&path, small(&content));
    }
    world.written = 1;
    world.settle();
    world.written = 2;
    world
}

/// Has every file replaced, and lets `meddle` see what each batch of it came to; says how often there was a new plan.
fn plans(world: &mut World, mut meddle: impl FnMut(&mut FromSide)) -> usize {
    for number in 0..FILES {
        let path = path(&format!("d{}/f{number}", number / 100));
        world.sides[0].set(&path, small(&[&number.to_le_bytes()[..], b"other"].concat()));
    }
    world.sides[0].report();
    let mut planned = BTreeSet::new();
    for _ in 0..30_000 {
        for side in Side::BOTH {
            world.sides[side as usize].step();
            if side == Side::Beta {
                world.sides[1].outbox.iter_mut().for_each(&mut meddle);
            }
            world.deliver(side);
        }
        world.tick(1);
        planned.insert(world.session.planned);
        if !world.session.stale && world.session.batches.is_empty() && planned.len() > 1 {
            break;
        }
    }
    planned.len()
}

#[test]
fn what_comes_true_is_decided_once_and_looked_at_in_the_end() {
    let mut world = stocked();
    let planned = plans(&mut world, |_| {});
    // One before, one for each page of what was told at most, and one in the end.
    assert!(planned <= 6, "{planned} plans");
    world.settle();
    world.check(false);
}

#[test]
fn what_does_not_come_true_is_decided_again_although_nobody_complains() {
    let mut world = stocked();
    let mut meddled = 0;
    plans(&mut world, |said| {
        if let FromSide::Applied { outcomes, .. } = said
            && meddled == 0
        {
            meddled += 1;
            // Said to stand there, and does not: as if removed the moment after.
            outcomes[0].now = None;
        }
    });
    assert_eq!(meddled, 1);
    world.sides[1].reported = world.session.replica(Side::Beta).tree.clone();
    world.settle();
    assert_eq!(world.session.conflicts, []);
    assert_eq!(diff(&world.sides[0].tree, &world.sides[1].tree), []);
}
