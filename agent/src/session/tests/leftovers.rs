//! Nothing is left behind where contents come in, whatever becomes of what they were brought for.

use super::*;

/// Goes on until a content is on its way to the host that is not stored yet.
fn until_on_its_way(world: &mut World) {
    for _ in 0..100 {
        for side in Side::BOTH {
            let is_store = |message: &ToSide| matches!(message, ToSide::Store { .. });
            if world.sides[0].inbox.iter().any(is_store) {
                return;
            }
            world.sides[side as usize].step();
            world.deliver(side);
        }
        world.tick(20);
    }
    panic!("nothing comes: {}", world.session.explain());
}

fn configure(world: &mut World, mode: Mode) {
    let settings = Settings { mode, ..world.session.settings() };
    let effects = world.session.configure(settings, world.now);
    world.take(effects);
}

/// Both sides are equal in the end, and nothing is left.
fn comes_to_rest(world: &mut World) {
    world.written = 1;
    world.settle();
    while !world.sides[0].inbox.is_empty() {
        world.sides[0].step();
        world.deliver(Side::Alpha);
    }
    assert_eq!(world.sides[0].tree, world.sides[1].tree);
    assert!(world.sides[0].stored.is_empty(), "{:?}", world.sides[0].stored);
}

#[test]
fn an_answer_from_before_other_settings_is_not_taken_for_one_from_after() {
    for between in [None, Some(Mode::OneWaySafe)] {
        let mut world = World::new(1, Mode::TwoWaySafe);
        world.settle();
        world.sides[1].set(&path("a"), small(b"a"));
        world.sides[1].report();
        until_on_its_way(&mut world);
        // Nobody wants it for a moment, or somebody all the time.
        between.into_iter().chain([Mode::TwoWaySafe]).for_each(|mode| configure(&mut world, mode));
        comes_to_rest(&mut world);
        let records = world.session.trace(Some(&path("a"))).records;
        let failed = records.iter().any(|record| matches!(record.event, Event::Failed { .. }));
        assert!(!failed, "it was applied before it was there: {records:#?}");
    }
}

#[test]
fn what_comes_for_a_directory_that_is_given_up_goes() {
    // With something else in the same batch, and without.
    for other in [false, true] {
        let mut world = World::new(1, Mode::TwoWaySafe);
        world.settle();
        let container = &mut world.sides[1];
        container.set(&path("d"), Some(Item::Directory(Directory::empty())));
        for name in ["d/a", "d/b"].into_iter().chain(other.then_some("e")) {
            container.set(&path(name), small(name.as_bytes()));
        }
        container.report();
        until_on_its_way(&mut world);
        // Before the host has answered that one of its files is there, the other is found to be gone.
        world.sides[1].set(&path("d"), small(b"d"));
        for _ in 0..4 {
            world.sides[1].step();
            world.deliver(Side::Beta);
        }
        comes_to_rest(&mut world);
    }
}
