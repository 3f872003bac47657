//! The laws of outlines and differences, and what liars can do.

use proptest::collection::vec;
use proptest::prelude::*;

use super::outline::Chain;
use super::outline::Outliner;
use super::outline::Outlines;
use super::rsync::diff;
use super::rsync::patch;
use super::rsync::sign;
use super::rsync::signature_length;
use super::*;
use crate::sample::cases;

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn outline(content: &[u8], step: usize) -> (Digest, Vec<Chain>) {
    let mut outliner = Outliner::default();
    content.chunks(step).for_each(|part| outliner.update(part));
    outliner.finish()
}

#[test]
fn the_parts_make_the_digest_whatever_they_are_made_of() {
    let part = usize::try_from(PART).unwrap();
    let content = bytes(1, 9 * part + 1);
    for length in [0, 1, part - 1, part, part + 1, 2 * part, 3 * part, 5 * part - 7, 8 * part, 9 * part + 1] {
        for step in [part, 100_000, 4096] {
            let (digest, parts) = outline(&content[..length], step);
            assert_eq!(digest, blake3::hash(&content[..length]).into(), "{length} bytes, {step} at a time");
            let count = if length <= part { 0 } else { length.div_ceil(part) };
            assert_eq!(parts.len(), count);
        }
    }
}

#[test]
fn only_what_is_different_has_another_outline() {
    let part = usize::try_from(PART).unwrap();
    let mut content = bytes(2, 5 * part);
    let (_, before) = outline(&content, 1 << 16);
    content[2 * part + 77] ^= 1;
    let (_, after) = outline(&content, 1 << 16);
    let differing: Vec<_> = (0..5).filter(|index| before[*index] != after[*index]).collect();
    assert_eq!(differing, [2]);
    // The same bytes at another place are another part.
    assert_ne!(outline(&[bytes(3, part), bytes(3, part)].concat(), part).1[0], before[0]);
    let twice = outline(&[bytes(3, part), bytes(3, part)].concat(), part).1;
    assert_ne!(twice[0], twice[1]);
}

#[test]
fn the_oldest_outlines_are_forgotten() {
    let mut outlines = Outlines::default();
    let digest = |number: u32| Digest::from(blake3::hash(&number.to_le_bytes()));
    for number in 0..9 {
        outlines.put(digest(number), vec![Chain([0; 32]); 4096]);
    }
    assert!(outlines.get(&digest(0)).is_none());
    assert_eq!(outlines.get(&digest(8)).map(|parts| parts.len()), Some(4096));
    outlines.put(digest(10), vec![Chain([0; 32]); 3]);
    assert!(outlines.get(&digest(10)).is_none(), "short ones are not worth it");
}

/// An edit: at a place, so much is removed, and this put there.
#[derive(Debug, Clone)]
struct Edit(prop::sample::Index, usize, Vec<u8>);

fn edit() -> impl Strategy<Value = Edit> {
    (any::<prop::sample::Index>(), 0..5_000_usize, vec(any::<u8>(), 0..5_000))
        .prop_map(|(at, removed, put)| Edit(at, removed, put))
}

fn edited(old: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut new = old.to_vec();
    for Edit(at, removed, put) in edits {
        let at = at.index(new.len() + 1);
        let end = (at + removed).min(new.len());
        new.splice(at..end, put.iter().copied());
    }
    new
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_difference_makes_the_new_of_the_old(
        seed in any::<u64>(),
        length in 0..100_000_usize,
        edits in vec(edit(), 0..4),
    ) {
        let old = bytes(seed, length);
        let new = edited(&old, &edits);
        let signature = sign(&old);
        prop_assert_eq!(signature.len(), signature_length(old.len()));
        if let Some(delta) = diff(&signature, &new).unwrap() {
            prop_assert!(delta.len() < new.len().max(1));
            prop_assert_eq!(patch(&old, &delta, new.len()).unwrap(), new);
        } else {
            let touched: usize = edits.iter().map(|Edit(_, removed, put)| removed + put.len()).sum();
            prop_assert!(new.len() < 50_000 || touched > new.len() / 8, "worth telling");
        }
    }

    #[test]
    fn what_a_liar_says_of_a_difference_does_no_harm(
        old in vec(any::<u8>(), 0..10_000),
        lie in lie(),
        size in 0..100_000_usize,
    ) {
        if let Ok(new) = patch(&old, &lie, size) {
            prop_assert_eq!(new.len(), size);
        }
    }

    #[test]
    fn what_a_liar_says_of_what_it_has_does_no_harm(
        mut signature in vec(any::<u8>(), 0..3_000),
        header in prop::sample::select(vec![0x7273_0136_u32, 0x7273_0137, 0]),
        block in prop::sample::select(vec![0_u32, 1, 2048, u32::MAX]),
        hash in prop::sample::select(vec![0_u32, 8, 16, 17, u32::MAX]),
        new in vec(any::<u8>(), 0..10_000),
    ) {
        for (at, word) in [header, block, hash].into_iter().enumerate() {
            if let Some(place) = signature.get_mut(4 * at..4 * at + 4) {
                place.copy_from_slice(&word.to_be_bytes());
            }
        }
        let told = diff(&signature, &new);
        let whole = signature.len() >= 12 && (signature.len() - 12).is_multiple_of(12);
        prop_assert_eq!(told.is_ok(), whole && (header, block, hash) == (0x7273_0136, 2048, 8));
        if let Ok(Some(delta)) = told {
            prop_assert!(delta.len() <= new.len());
        }
    }
}

/// Bytes, or what looks like a difference: the magic and some commands with any lengths.
fn lie() -> impl Strategy<Value = Vec<u8>> {
    let copy = (any::<u64>(), any::<u64>())
        .prop_map(|(from, length)| [&[0x54][..], &from.to_be_bytes(), &length.to_be_bytes()].concat());
    let short_copy = (0..12_000_u16, 0..12_000_u16)
        .prop_map(|(from, length)| [&[0x4a][..], &from.to_be_bytes(), &length.to_be_bytes()].concat());
    let literal = (any::<u64>(), vec(any::<u8>(), 0..20))
        .prop_map(|(length, bytes)| [&[0x44][..], &length.to_be_bytes(), &bytes].concat());
    let command = prop_oneof![copy, short_copy.clone(), short_copy, literal, vec(any::<u8>(), 0..9)];
    let delta = (vec(command, 0..12), any::<bool>()).prop_map(|(commands, ended)| {
        let end: &[u8] = if ended { &[0] } else { &[] };
        [&0x7273_0236_u32.to_be_bytes()[..], &commands.concat(), end].concat()
    });
    prop_oneof![vec(any::<u8>(), 0..100), delta.clone(), delta]
}
