//! A corpus in one file: each input is its length, in four bytes, the lowest first, and then its bytes.

/// The inputs of a pack; as far as it goes, if it is cut off.
pub fn inputs(mut pack: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((len, rest)) = pack.split_first_chunk::<4>() {
        let Some((input, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else { break };
        all.push(input);
        pack = rest;
    }
    all
}

/// The pack of some inputs, the shortest first.
pub fn pack(mut inputs: Vec<Vec<u8>>) -> Vec<u8> {
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.iter().flat_map(|input| (input.len() as u32).to_le_bytes().into_iter().chain(input.iter().copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let pack = pack(vec![b"long".to_vec(), vec![], b"x".to_vec()]);
        assert_eq!(inputs(&pack), [&b""[..], b"x", b"long"]);
        assert_eq!(inputs(&pack[..pack.len() - 1]), [&b""[..], b"x"]);
    }
}
