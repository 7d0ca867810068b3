//! The text of a message: sender, number, queue, round and checksum, then data.

const HEADER: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The worker that sends it.
    pub from: u32,
    /// Its number among the messages of this worker in this round.
    pub number: u32,
    pub queue: u32,
    /// The round.
    pub round: u32,
}

impl Payload {
    /// Encodes the payload with `len` bytes of data.
    pub fn write(self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + len);
        for word in [self.from, self.number, self.queue, self.round] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([0; 8]);
        let mut rng = fastrand::Rng::with_seed(u64::from(self.from) << 32 | u64::from(self.number));
        bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(len));
        let sum = sum(&bytes);
        bytes[16..HEADER].copy_from_slice(&sum.to_ne_bytes());
        bytes
    }

    /// Decodes a payload. Returns an error if the checksum is wrong.
    pub fn read(bytes: &[u8]) -> Result<Payload, String> {
        let Some((head, _)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(format!("a message of {} bytes is shorter than the header", bytes.len()));
        };
        let word = |nth: usize| u32::from_ne_bytes(head[4 * nth..4 * nth + 4].try_into().expect("four bytes"));
        let payload = Payload { from: word(0), number: word(1), queue: word(2), round: word(3) };
        let mut zeroed = bytes.to_vec();
        zeroed[16..HEADER].fill(0);
        match sum(&zeroed).to_ne_bytes() == head[16..] {
            true => Ok(payload),
            false => Err(format!("{payload:?}, {} bytes: wrong checksum", bytes.len())),
        }
    }

    /// Returns the type that the message is sent with.
    pub fn mtype(self) -> i64 {
        1 + i64::from(self.number % 5)
    }
}

/// Returns the FNV-1a checksum.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
