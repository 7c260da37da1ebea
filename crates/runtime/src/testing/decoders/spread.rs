//! What the client and nodes say to each other of what is passed on.

use super::{again, now, packed};
use crate::model::Incarnation;
use crate::spread::wire::{Said, Turn};
use crate::spread::{Door, Fault, Manifest, Offer, read_offer};

/// A word, by its first byte which one.
pub(super) fn words(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    match which % 3 {
        0 => drop(again::<Said>(rest)),
        1 => drop(again::<Turn>(rest)),
        _ => {
            let Ok(Offer { manifest, .. }) = now(read_offer(&mut &*rest)) else { return };
            let sizes = (0..manifest.chunks()).map(|it| manifest.size(it) as u64);
            assert_eq!(sizes.sum::<u64>(), manifest.length());
            assert_eq!(manifest.size(manifest.chunks()), 0);
        }
    }
}

pub(super) fn word_seeds() -> Vec<Vec<u8>> {
    let failed = Some((Fault::Lied, "chunk 3".to_owned()));
    let said = packed([Said::Have, Said::Next { from: 3, failed }]);
    let door = Door { name: Incarnation::new("w-1"), address: [10, 0, 0, 7].into(), port: 4242 };
    let turns = packed([Turn::Mine, Turn::Ask(door)]);
    let offer = Offer { key: [7; 40], manifest: Manifest::of(&vec![1; 100].into()) };
    let framed = |it: Vec<u8>| [&(it.len() as u32).to_be_bytes()[..], &it].concat();
    let offers: Vec<_> = packed([offer]).into_iter().map(framed).collect();
    let marked = |(which, words): (u8, Vec<Vec<u8>>)| {
        words.into_iter().map(move |it| [&[which][..], &it].concat()).collect::<Vec<_>>()
    };
    [(0, said), (1, turns), (2, offers)].into_iter().flat_map(marked).collect()
}
