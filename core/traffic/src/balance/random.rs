//! Uniform choice.

/// One of the list; weights do not count, as in Envoy.
pub fn pick(list: &[usize], random: u64) -> Option<usize> {
    let position = random.checked_rem(list.len() as u64)?;
    list.get(position as usize).copied()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_modulo_the_length_decides() {
        assert_eq!(super::pick(&[4, 7], 5), Some(7));
        assert_eq!(super::pick(&[], 5), None);
    }
}
