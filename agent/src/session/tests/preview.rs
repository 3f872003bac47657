//! What other rules would do is said before they count, and is never a deletion.

use super::*;
use crate::rules;
use crate::rules::Rules;

fn rules(excludes: &[&str]) -> Rules {
    let excludes = excludes.iter().map(ToString::to_string).collect();
    Rules::new(rules::Settings { excludes, ..rules::Settings::default() }).unwrap()
}

#[test]
fn other_rules_say_what_stops_and_begins_and_remove_nothing() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    for name in ["data/one", "data/two", "kept"] {
        world.sides[0].set(
            &path("data"),
            world.sides[0]
                .tree
                .get(Some(&path("data")))
                .cloned()
                .or_else(|| Some(Item::Directory(Directory::empty()))),
        );
        world.sides[0].set(&path(name), small(name.as_bytes()));
    }
    world.sides[0].set(&path("build"), Some(Item::Untracked(Keep::Protected)));
    world.settle();
    // In conflict, and not any more once nobody carries it.
    for side in 0..2 {
        world.sides[side].set(&path("data/three"), small(&[u8::try_from(side).unwrap()]));
    }
    world.written = 1;
    world.settle();
    let settings = Settings { limits: Limits::default(), ..world.session.settings() };
    let before = world.session.status();
    assert_eq!(before.conflicts.len(), 1);

    let preview = world.session.preview_under(&settings, &rules(&["data/", "!build/"]));
    let names = |named: &Named| named.samples.iter().map(RelPath::to_string).collect::<Vec<_>>();
    assert_eq!(
        (preview.stops.count, names(&preview.stops)),
        (3, vec!["data/one".into(), "data/three".into(), "data/two".into()])
    );
    assert_eq!((preview.begins.count, names(&preview.begins)), (1, vec!["build".into()]));
    assert_eq!((preview.sides, preview.conflicts.len()), ([Counts::default(); 2], 0));
    let all = world.session.preview_under(&settings, &rules(&["*"]));
    assert_eq!((all.stops.count, all.sides), (4, [Counts::default(); 2]));
    assert_eq!((all.halt, all.holds), (None, vec![]));
    let same = world.session.preview_under(&settings, &rules(&[]));
    assert_eq!((same.stops, same.begins, same.conflicts.len()), (Named::default(), Named::default(), 1));
    assert_eq!(world.session.status(), before, "a preview changes nothing");
}
