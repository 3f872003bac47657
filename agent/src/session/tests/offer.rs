//! What a person made of a conflict comes to both sides, and neither had it.

use super::*;

/// Both sides have another file at `a`, and a person has made a third of them: its content.
fn disputed() -> (World, File) {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.settle();
    for (side, text) in [(0, "host"), (1, "container")] {
        world.sides[side].set(&path("a"), small(text.as_bytes()));
    }
    world.written = 1;
    world.settle();
    // Longer than one message carries.
    let content: Vec<u8> = (0..3 * CHUNK / 2).map(|byte| byte.to_le_bytes()[0]).collect();
    let file = world.session.offer(content, true).unwrap();
    let status = world.session.status();
    let [dispute] = &status.conflicts[..] else { panic!("one conflict: {:?}", status.conflicts) };
    world.session.choose(Some(path("a")), dispute.key, Choice::Merged(file.clone())).unwrap();
    (world, file)
}

fn settled(mut world: World, file: &File) {
    world.written = 2;
    world.settle();
    for (side, text) in world.sides.iter().zip(["host", "container"]) {
        assert_eq!(side.tree.get(Some(&path("a"))), Some(&Item::File(file.clone())));
        assert!(side.kept.contains(&blake3::hash(text.as_bytes()).into()), "what it displaces is kept");
    }
    assert_eq!(world.session.status().conflicts, []);
    assert_eq!(world.session.ancestor().get(Some(&path("a"))), Some(&Item::File(file.clone())));
    assert!(!world.session.offers.has(&file.digest), "it is let go");
}

#[test]
fn a_version_made_of_both_comes_to_both() {
    let (world, file) = disputed();
    settled(world, &file);
}

#[test]
fn one_side_may_go_and_come_back_meanwhile() {
    for first in Side::BOTH {
        let (mut world, file) = disputed();
        let there = |world: &World, side: Side| {
            world.sides[side as usize].tree.get(Some(&path("a"))) == Some(&Item::File(file.clone()))
        };
        for _ in 0..200 {
            if there(&world, first) {
                break;
            }
            world.tick(20);
            world.sides[first as usize].step();
            world.deliver(first);
        }
        let other = first.other();
        assert!(there(&world, first) && !there(&world, other));
        world.session.lost(other);
        let side = &mut world.sides[other as usize];
        (side.attached, side.stored) = (false, BTreeSet::new());
        side.inbox.clear();
        side.outbox.clear();
        let effects = world.session.connected(other);
        world.take(effects);
        settled(world, &file);
    }
}

#[test]
fn too_much_is_not_kept_in_memory() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    assert!(world.session.offer(vec![1; 40 << 20], false).is_some());
    assert_eq!(world.session.offer(vec![2; 40 << 20], false), None);
    world.settle();
    assert!(world.session.offer(vec![2; 40 << 20], false).is_some(), "nobody has chosen the first");
}
