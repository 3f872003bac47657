//! How contents are asked for and put together, step by step.

use super::*;
use crate::sample::path;
use crate::session::queue::Replaced;

const MIB: u64 = 1 << 20;

fn digest(tag: &str) -> Digest {
    blake3::hash(tag.as_bytes()).into()
}

fn arrival(old: Option<u64>, new: u64) -> Arrival {
    let base = Base { path: path("f"), digest: digest("old") };
    let base = old.map(|size| Replaced { base, size });
    Arrival::new(Wanted { path: path("f"), digest: digest("new"), size: new, base }, 0, 0)
}

/// Outlines both versions; the parts in `differing` are different.
fn outlined(arrival: &mut Arrival, old: u64, new: u64, differing: &[u64]) {
    for (end, size) in [(End::Target, old), (End::Source, new)] {
        let Some(Next::Ask(question)) = arrival.next() else { panic!("it is to be asked") };
        assert_eq!((question.of, question.what), (end, What::Outline { of: end }));
        let other = |part: &u64| end == End::Source && differing.contains(part);
        let chains = (0..delta::parts(size)).map(|part| Chain([u8::from(other(&part)); 32]));
        arrival.outlined(end, 0, chains.collect()).unwrap();
    }
}

/// Goes on to the end; parts that are looked for are `found` or not. Says how each stretch is stored.
fn bring(arrival: &mut Arrival, found: bool) -> Vec<(&'static str, u64)> {
    let mut ways = Vec::new();
    loop {
        for store in arrival.stores() {
            let ToSide::Store { part, offset, last, .. } = store else { panic!("{store:?}") };
            assert_eq!(offset, ways.iter().map(|(_, size)| size).sum::<u64>(), "in order");
            assert_eq!(last, offset + part.size() == arrival.wanted.size);
            let way = match part {
                Part::Sent(_) => "sent",
                Part::Differing { .. } => "differing",
                Part::Same { .. } => "same",
            };
            ways.push((way, part.size()));
        }
        let question = match arrival.next() {
            None => return ways,
            Some(Next::Here(_)) => continue,
            Some(Next::Ask(question)) => question,
        };
        let (What::Sign { offset } | What::Read { offset }) = question.what else { panic!("{question:?}") };
        let signed = matches!(question.what, What::Sign { .. });
        if signed {
            assert!(arrival.signed(offset, vec![1]).is_some());
        }
        let whole = vec![0; usize::try_from(question.bytes).unwrap()];
        let piece = if signed && found { Piece::Delta(vec![1]) } else { Piece::Whole(whole) };
        arrival.content(offset, piece).unwrap();
    }
}

#[test]
fn equal_parts_stay_where_they_are_and_others_are_looked_for() {
    let mut some = arrival(Some(3 * MIB), 3 * MIB);
    outlined(&mut some, 3 * MIB, 3 * MIB, &[5]);
    let expected = [("same", MIB), ("same", PART), ("differing", PART), ("same", MIB), ("same", PART * 2)];
    assert_eq!(bring(&mut some, true), expected);
    // One part has no outline, and is looked for all the same; what is short, or new, is not.
    assert_eq!(bring(&mut arrival(Some(100_000), 100_000), true), [("differing", 100_000)]);
    assert_eq!(bring(&mut arrival(Some(1_000), 1_000), true), [("sent", 1_000)]);
    assert_eq!(bring(&mut arrival(None, 300_000), true), [("sent", PART), ("sent", 300_000 - PART)]);
}

#[test]
fn what_is_there_under_another_name_is_copied() {
    let base = Base { path: path("elsewhere"), digest: digest("new") };
    let base = Some(Replaced { base, size: 2 * MIB + 5 });
    let wanted = Wanted { path: path("f"), digest: digest("new"), size: 2 * MIB + 5, base };
    assert_eq!(bring(&mut Arrival::new(wanted, 0, 0), true), [("same", MIB), ("same", MIB), ("same", 5)]);
}

#[test]
fn what_is_not_found_again_is_not_looked_for_for_ever() {
    let parts: Vec<_> = (0..12).collect();
    let mut other = arrival(Some(3 * MIB), 3 * MIB);
    outlined(&mut other, 3 * MIB, 3 * MIB, &parts);
    let mut looked_for = 0;
    while let Some(Next::Ask(question)) = other.next() {
        let What::Sign { offset } = question.what else { break };
        looked_for += 1;
        assert!(other.signed(offset, vec![1]).is_some());
        other.content(offset, Piece::Whole(vec![0; usize::try_from(PART).unwrap()])).unwrap();
    }
    assert_eq!(looked_for, POOR);
}

#[test]
fn an_insertion_is_looked_for_where_it_moved_things() {
    let mut longer = arrival(Some(2 * MIB), 2 * MIB + 500_000);
    outlined(&mut longer, 2 * MIB, 2 * MIB + 500_000, &[2, 3, 4]);
    let mut spans = Vec::new();
    while let Some(next) = longer.next() {
        if let Next::Ask(Question { message: ToSide::Sign { span, .. }, .. }) = next {
            spans.push(span.from);
        }
    }
    let place = |part: u64| part * PART - SLACK;
    assert_eq!(spans[..3], [place(2), place(3) - 500_000, place(4) - 500_000]);
}

#[test]
fn begun_again_it_is_whole_and_answers_of_before_count_for_nothing() {
    let mut begun = arrival(Some(3 * MIB), 3 * MIB);
    outlined(&mut begun, 3 * MIB, 3 * MIB, &[]);
    assert!(matches!(begun.next(), Some(Next::Here(MIB))));
    assert!(matches!(begun.next(), Some(Next::Here(MIB))));
    assert_eq!(begun.stores().len(), 2);
    assert!(begun.answered(MIB, true));
    assert!(begun.fall_back());
    assert!(!begun.answered(MIB, true), "the second part of before");
    let Some(Next::Ask(question)) = begun.next() else { panic!("it is to be asked") };
    assert_eq!((question.what, question.attempt), (What::Read { offset: 0 }, 1));
    assert!(begun.is_current(1) && !begun.is_current(0));
    assert!(!begun.fall_back(), "there is no other way");
}

#[test]
fn what_is_half_there_is_gone_on_with() {
    let wanted = Wanted { path: path("f"), digest: digest("new"), size: MIB, base: None };
    let offset = |stored, stale| match Arrival::new(wanted.clone(), stored, stale).next() {
        Some(Next::Ask(Question { what: What::Read { offset }, .. })) => offset,
        other => panic!("{other:?}"),
    };
    assert_eq!(offset(2 * PART, 0), 2 * PART);
    assert_eq!(offset(2 * PART, 1), 0, "nobody knows how far it is");
    assert_eq!(offset(2 * PART + 1, 0), 0);
    assert_eq!(offset(MIB, 0), 0);
    let mut resumed = Arrival::new(wanted, 2 * PART, 0);
    assert!(resumed.fall_back(), "the beginning may be what is wrong");
}

#[test]
fn answers_that_cannot_be_are_refused() {
    let mut some = arrival(Some(3 * MIB), 3 * MIB);
    assert_eq!(some.outlined(End::Target, 1, vec![Chain([0; 32])]), Err(Absurd));
    assert_eq!(some.outlined(End::Target, 0, Vec::new()), Err(Absurd));
    assert_eq!(some.outlined(End::Target, 0, vec![Chain([0; 32]); 13]), Err(Absurd));
    outlined(&mut some, 3 * MIB, 3 * MIB, &[0]);
    assert!(matches!(some.next(), Some(Next::Ask(_))));
    assert_eq!(some.content(0, Piece::Delta(vec![1])), Err(Absurd), "it was not asked for yet");
    assert!(some.signed(0, vec![1]).is_some());
    let part = usize::try_from(PART).unwrap();
    assert_eq!(some.content(0, Piece::Whole(vec![0; part - 1])), Err(Absurd));
    assert_eq!(some.content(0, Piece::Delta(vec![0; part + 1])), Err(Absurd));
    assert_eq!(some.content(0, Piece::Whole(vec![0; part])), Ok(()));
}
