//! Deletions in a session: many at once, few by few, and what a yes is to.

use super::*;

/// In so many folders, so that no listing is long.
const FOLDERS: u64 = 50;

/// The path of one file of many.
fn nth(number: u64) -> RelPath {
    path(&format!("d{}/f{number}", number % FOLDERS))
}

/// A world whose host has so many files, with the limits that are in force by default.
fn stocked(files: u64) -> World {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.session.settings.limits = Limits::default();
    for number in 0..files {
        let file = nth(number);
        if number < FOLDERS {
            world.sides[0].set(&file.parent().unwrap(), Some(Item::Directory(Directory::empty())));
        }
        world.sides[0].set(&file, small(format!("content {number}").as_bytes()));
    }
    world.settle();
    world
}

/// Has everybody do what they can for so many milliseconds, a little at a time.
fn pass(world: &mut World, ms: u64) {
    let step = (ms / 10).max(20);
    let until = world.now + Duration::from_millis(ms);
    while world.now < until {
        for side in Side::BOTH {
            world.sides[side as usize].report();
            while !world.sides[side as usize].inbox.is_empty() {
                world.sides[side as usize].step();
            }
            while !world.sides[side as usize].outbox.is_empty() {
                world.deliver(side);
            }
        }
        world.tick(step);
    }
}

fn left(world: &World, side: usize) -> u64 {
    world.sides[side].tree.root().map_or(0, Item::files)
}

/// SY-09: a folder that is deleted file by file, from a hundred in a second to one in two, is held before most of it is
/// gone; a yes is enough for all that was shown.
#[test]
fn sy09_a_slow_deletion_is_held_as_a_quick_one_is() {
    for (files, pause) in [(100, 10), (100, 200), (120, 2_000), (1_200, 100)] {
        for from in [0, 1] {
            let mut world = stocked(files);
            for number in 0..files * 9 / 10 {
                world.sides[from].set(&nth(number), None);
                pass(&mut world, pause);
            }
            let to = 1 - from;
            assert!(left(&world, to) * 2 >= files, "{files} every {pause} ms: {} are left", left(&world, to));
            let [hold] = &world.session.holds[..] else { panic!("{:?}", world.session.holds) };
            let Cause::MassDeletion { from: side, files: going, before, of } = hold.cause else {
                panic!("{hold:?}")
            };
            assert_eq!((side, of), (Side::BOTH[to], files));
            assert!(going + before == files * 9 / 10 || going * 2 > files, "{hold:?}");
            // It still waits when what went before is long ago.
            pass(&mut world, 310_000);
            let key = world.session.holds[0].key;
            assert!(world.session.approve(key));
            pass(&mut world, 1_000);
            assert_eq!((world.session.holds.len(), left(&world, to)), (0, files - files * 9 / 10));
        }
    }
}

/// SY-09: what people do all day is not held: some files go, branches change there and back, a build makes and removes.
#[test]
fn sy09_ordinary_deletions_flow() {
    let mut world = stocked(100);
    for number in 0..40 {
        world.sides[0].set(&nth(number), None);
        pass(&mut world, 100);
        assert_eq!(world.session.holds, [], "{number}");
    }
    assert_eq!(left(&world, 1), 60);

    let mut world = stocked(100);
    for _ in 0..6 {
        for there in [false, true] {
            for number in 0..40 {
                let content = small(format!("content {number}").as_bytes());
                world.sides[1].set(&nth(number), content.filter(|_| there));
            }
            pass(&mut world, 2_000);
            assert_eq!(world.session.holds, []);
        }
    }
    assert_eq!(left(&world, 0), 100);

    let mut world = stocked(20);
    for number in 0..400 {
        let made = path(&format!("made{number}"));
        world.sides[1].set(&made, small(b"made"));
        pass(&mut world, 100);
        world.sides[1].set(&made, None);
        pass(&mut world, 100);
        assert_eq!(world.session.holds, [], "{number}");
    }
    assert_eq!(left(&world, 0), 20);
}

/// Many deletions go in several portions: the yes is to all of them.
#[test]
fn a_yes_lasts_until_all_it_was_said_to_is_gone() {
    let mut world = stocked(6_000);
    for number in 0..5_500 {
        world.sides[0].set(&nth(number), None);
    }
    pass(&mut world, 4_000);
    let key = world.session.holds[0].key;
    assert!(world.session.approve(key) && left(&world, 1) == 6_000);
    pass(&mut world, 1_000);
    assert_eq!((world.session.holds.len(), left(&world, 1)), (0, 500));
}
