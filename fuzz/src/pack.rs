//! A corpus in one file. Each input is its length in four bytes, little-endian, followed by its
//! bytes.

/// Returns the inputs of a pack, up to the first truncated one.
pub fn inputs(mut pack: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((len, rest)) = pack.split_first_chunk::<4>() {
        let Some((input, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else { break };
        all.push(input);
        pack = rest;
    }
    all
}

/// Returns the pack of some inputs, the shortest first.
pub fn pack(mut inputs: Vec<Vec<u8>>) -> Vec<u8> {
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.iter().flat_map(|input| (input.len() as u32).to_le_bytes().into_iter().chain(input.iter().copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let pack = pack(vec![b"long".to_vec(), vec![], b"x".to_vec()]);
        assert_eq!(inputs(&pack), [&b""[..], b"x", b"long"]);
        assert_eq!(inputs(&pack[..pack.len() - 1]), [&b""[..], b"x"]);
    }
}
