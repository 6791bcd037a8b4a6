//! What a server may say: noise, known answers that were bent, and far too much.

use std::{fs, path::Path};

use crate::chance::Chance;

/// Says one thing after the other.
pub(crate) struct Octets {
    chance: Chance,
    /// Answers as they should be, and some as they should not.
    pub(crate) corpus: Vec<Vec<u8>>,
}

impl Octets {
    /// For a parser, from its folder.
    pub(crate) fn new(parser: &str, seed: u64) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed/corpus");
        let mut files: Vec<_> = fs::read_dir(here.join(parser)).expect("a corpus").collect();
        files.sort_by_key(|entry| entry.as_ref().expect("a file").file_name());
        let read = |entry: std::io::Result<fs::DirEntry>| {
            fs::read(entry.expect("a file").path()).expect("octets")
        };
        let corpus = files.into_iter().map(read).collect();
        Self { chance: Chance::new(seed), corpus }
    }

    /// The next one; a large one has up to 64 KiB, as much as is read of any server at once but of
    /// a body.
    pub(crate) fn next(&mut self, large: bool) -> Vec<u8> {
        let chance = &mut self.chance;
        let mut octets = match chance.of(25) {
            true => noise(chance),
            false => self.corpus[chance.below(self.corpus.len())].clone(),
        };
        for _ in 0..chance.below(6) {
            bend(chance, &mut octets);
        }
        if large && !octets.is_empty() {
            let length = 1 + chance.below(65_535);
            octets = octets.into_iter().cycle().take(length).collect();
            bend(chance, &mut octets);
        }
        octets
    }
}

fn noise(chance: &mut Chance) -> Vec<u8> {
    (0..chance.below(600)).map(|_| chance.below(256) as u8).collect()
}

/// Changes something somewhere.
fn bend(chance: &mut Chance, octets: &mut Vec<u8>) {
    let at = chance.below(octets.len() + 1);
    match chance.below(5) {
        0 => octets.truncate(at),
        1 => octets.insert(at, chance.below(256) as u8),
        2 => {
            let again = octets[at..].to_vec();
            octets.extend(again);
        }
        _ if at == octets.len() => {}
        3 => octets[at] = [0, 1, 0x0a, 0x1b, 0x7f, 0x80, 0xc0, 0xff][chance.below(8)],
        _ => octets[at] ^= 1 << chance.below(8),
    }
}
