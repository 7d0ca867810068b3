//! A message that says who has sent it, which it is, and whether it is whole.

const HEAD: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Letter {
    /// The worker who sends it.
    pub from: u32,
    /// Which of his messages in this round.
    pub number: u32,
    pub queue: u32,
    /// Which round.
    pub round: u32,
}

impl Letter {
    /// Its bytes, `len` of them after the head.
    pub fn write(self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + len);
        for word in [self.from, self.number, self.queue, self.round] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([0; 8]);
        let mut dice = fastrand::Rng::with_seed(u64::from(self.from) << 32 | u64::from(self.number));
        bytes.extend(std::iter::repeat_with(|| dice.u8(..)).take(len));
        let sum = sum(&bytes);
        bytes[16..HEAD].copy_from_slice(&sum.to_ne_bytes());
        bytes
    }

    /// Whether it is whole.
    pub fn read(bytes: &[u8]) -> Result<Letter, String> {
        let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(format!("a message of {} bytes: nobody sends so short ones", bytes.len()));
        };
        let word = |nth: usize| u32::from_ne_bytes(head[4 * nth..4 * nth + 4].try_into().expect("four bytes"));
        let letter = Letter { from: word(0), number: word(1), queue: word(2), round: word(3) };
        let mut zeroed = bytes.to_vec();
        zeroed[16..HEAD].fill(0);
        match sum(&zeroed).to_ne_bytes() == head[16..] {
            true => Ok(letter),
            false => Err(format!("{letter:?}, {} bytes: the sum is wrong", bytes.len())),
        }
    }

    /// The type that it is sent with.
    pub fn mtype(self) -> i64 {
        1 + i64::from(self.number % 5)
    }
}

/// FNV-1a.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
