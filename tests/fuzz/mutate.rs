//! Inputs like the ones that are kept, and a little wrong: for every test run a few thousand, the same each time.
//!
//! Knows nothing of what code an input reaches; that is the fuzzer's part (`make fuzz`). With the words of its dictionary and pieces of
//! other inputs it gets far all the same.

use std::path::Path;

/// Longer inputs show nothing new.
const LONGEST: usize = 8192;

/// Makes inputs.
pub(super) struct Mutator {
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    random: u64,
}

// === impl Mutator ===

impl Mutator {
    /// From the inputs that are kept, and the words of a dictionary of libFuzzer's.
    pub(super) fn new(seeds: Vec<Vec<u8>>, dictionary: &Path, seed: u64) -> Self {
        let text = std::fs::read_to_string(dictionary).expect("a dictionary");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let quoted = lines.filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
        Self {
            seeds,
            words: quoted.map(word).collect(),
            random: seed | 1,
        }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        for _ in 0..=self.below(5) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let to = (at + self.below(16)).min(input.len());
        match self.below(9) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..to)),
            2 => {
                let part = input[at..to].to_vec();
                input.splice(at..at, part);
            }
            3 | 4 => {
                let word = self.below(self.words.len());
                let word = self.words[word].clone();
                // In place of as much, or in between.
                let end = match self.below(2) {
                    0 => at,
                    _ => (at + word.len()).min(input.len()),
                };
                input.splice(at..end, word);
            }
            5 => {
                // The end of another one.
                let other = self.seed();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 if at < input.len() => {
                // A length or a number's first byte.
                let values = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
                input[at] = values[self.below(values.len())];
            }
            7 if at < input.len() => input[at] ^= 1 << self.below(8),
            _ => {
                let byte = self.random().to_le_bytes()[0];
                input.insert(at, byte);
            }
        }
    }

    fn seed(&mut self) -> Vec<u8> {
        let seed = self.below(self.seeds.len());
        self.seeds[seed].clone()
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("small");
        usize::try_from(self.random() % bound).expect("small")
    }

    /// xorshift64*.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

/// A word of a dictionary: `\xNN` is a byte.
fn word(quoted: &str) -> Vec<u8> {
    let mut word = Vec::new();
    let mut rest = quoted;
    while let Some(first) = rest.chars().next() {
        let hex = rest.strip_prefix("\\x").and_then(|rest| rest.get(..2));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                word.push(byte);
                rest = &rest[4..];
            }
            None => {
                word.extend(first.to_string().bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    word
}
