//! Which content coding a client likes best (RFC 9110 §12.5.3, with the choices that Envoy makes).

/// What the client's `accept-encoding` leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// No coding: the client asked for none, or for none that there is.
    Identity,
    /// The coding at this place of the list.
    Coding(usize),
}

/// Chooses among `codings`, in the order of the server's liking. Of codings that the client likes equally well the one
/// that it names first is chosen; `first` is the place of one that is chosen then in any case.
pub fn choose(accept_encoding: &str, codings: &[&str], first: Option<usize>) -> Choice {
    let mut best: Option<(f32, &str)> = None;
    for item in accept_encoding.split(',') {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let Some(quality) = quality(parts) else { return Choice::Identity };
        let known = name == "*"
            || name.eq_ignore_ascii_case("identity")
            || codings.iter().any(|coding| coding.eq_ignore_ascii_case(name));
        if !known {
            continue;
        }
        let preferred = first.is_some_and(|first| codings[first].eq_ignore_ascii_case(name));
        let better = match best {
            None => quality > 0.0,
            Some((known, _)) => quality > known || preferred && quality >= known,
        };
        if better {
            best = Some((quality, name));
        }
    }
    match best {
        None => Choice::Identity,
        Some((_, "*")) if !codings.is_empty() => Choice::Coding(0),
        Some((_, name)) => codings
            .iter()
            .position(|coding| coding.eq_ignore_ascii_case(name))
            .map_or(Choice::Identity, Choice::Coding),
    }
}

/// The weight of one element; `None` if it cannot be read.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<f32> {
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    match weight {
        None => Some(1.0),
        Some(weight) => weight.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses() {
        let codings = ["gzip", "br", "zstd"];
        for (accepted, chosen) in [
            ("gzip", Choice::Coding(0)),
            ("br, gzip", Choice::Coding(1)),
            ("gzip, br", Choice::Coding(0)),
            ("gzip;q=0.5, br;q=0.8", Choice::Coding(1)),
            ("GZIP", Choice::Coding(0)),
            ("gzip;q=0", Choice::Identity),
            ("identity, gzip;q=0.5", Choice::Identity),
            ("identity;q=0.3, zstd;q=0.5", Choice::Coding(2)),
            ("*", Choice::Coding(0)),
            ("*;q=0.1, br;q=0.5", Choice::Coding(1)),
            ("deflate", Choice::Identity),
            ("", Choice::Identity),
            ("gzip;q=x", Choice::Identity),
            ("gzip ; q=0.5 , br ; q = 1", Choice::Coding(1)),
        ] {
            assert_eq!(choose(accepted, &codings, None), chosen, "{accepted}");
        }
        assert_eq!(
            choose("gzip, br", &codings, Some(1)),
            Choice::Coding(1),
            "the server's favourite, if liked as well"
        );
        assert_eq!(choose("gzip, br;q=0.9", &codings, Some(1)), Choice::Coding(0));
        assert_eq!(choose("*", &[], None), Choice::Identity);
    }
}
