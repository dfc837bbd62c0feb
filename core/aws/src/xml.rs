//! The XML that some services answer with: elements and text. No document types, no entities of one's own.

/// How deep elements may be nested.
pub const XML_DEPTH_MAX: usize = 32;

/// An element. Its attributes and prefixes are passed over: no answer needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Without its prefix.
    pub name: String,
    /// In their order.
    pub children: Vec<Self>,
    /// All text directly inside of it.
    pub text: String,
}

/// The text is not the XML that services answer with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    #[error("no XML at byte {0}")]
    Malformed(usize),
    #[error("elements are nested deeper than {XML_DEPTH_MAX}")]
    Depth,
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// For what is no XML, holds a document type or is nested too deeply.
    pub fn parse(text: &str) -> Result<Self, XmlError> {
        let mut rest = text;
        let mut open: Vec<Self> = Vec::new();
        let malformed = |rest: &str| XmlError::Malformed(text.len() - rest.len());
        loop {
            let Some(at) = rest.find('<') else { return Err(malformed(rest)) };
            let (before, tag) = rest.split_at(at);
            if let Some(element) = open.last_mut() {
                unescape(before, &mut element.text).ok_or_else(|| malformed(rest))?;
            } else if !before.trim_start_matches('\u{feff}').trim().is_empty() {
                return Err(malformed(rest));
            }
            let skipped = [("<?", "?>"), ("<!--", "-->")];
            if let Some((opening, closing)) = skipped.iter().find(|(opening, _)| tag.starts_with(opening)) {
                let end = tag[opening.len()..].find(closing).ok_or_else(|| malformed(tag))?;
                rest = &tag[opening.len() + end + closing.len()..];
                continue;
            }
            if let Some(data) = tag.strip_prefix("<![CDATA[") {
                let end = data.find("]]>").ok_or_else(|| malformed(tag))?;
                open.last_mut().ok_or_else(|| malformed(tag))?.text.push_str(&data[..end]);
                rest = &data[end + 3..];
                continue;
            }
            if tag.starts_with("<!") {
                return Err(malformed(tag));
            }
            let end = end_of_tag(tag).ok_or_else(|| malformed(tag))?;
            let (inside, after) = (&tag[1..end], &tag[end + 1..]);
            rest = after;
            let closed = if let Some(name) = inside.strip_prefix('/') {
                let element = open.pop().ok_or_else(|| malformed(tag))?;
                if local(name.trim_end()) != element.name {
                    return Err(malformed(tag));
                }
                Some(element)
            } else {
                let is_empty = inside.ends_with('/');
                let name = inside.trim_end_matches('/').split(char::is_whitespace).next().unwrap_or_default();
                if name.is_empty() {
                    return Err(malformed(tag));
                }
                let element = Self { name: local(name).to_owned(), ..Self::default() };
                if is_empty {
                    Some(element)
                } else {
                    if open.len() == XML_DEPTH_MAX {
                        return Err(XmlError::Depth);
                    }
                    open.push(element);
                    None
                }
            };
            if let Some(element) = closed {
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None if rest.trim().is_empty() => return Ok(element),
                    None => return Err(malformed(rest)),
                }
            }
        }
    }

    /// The first child of that name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of that name.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// The first element of that name, at any depth.
    pub fn find(&self, name: &str) -> Option<&Self> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }
}

/// Where a tag's `>` is: not inside of quotes.
fn end_of_tag(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if byte == open => quote = None,
            _ => {}
        }
    }
    None
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// Text as written, with its references resolved.
fn unescape(text: &str, out: &mut String) -> Option<()> {
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';')? + at;
        let name = &rest[at + 1..end];
        out.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let digits = name.strip_prefix('#')?;
                let code = match digits.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => digits.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(())
}

/// Text as XML has to have it.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_text_and_references_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<!-- c --><a x='>'><n:b>1 &lt; &#50;&#x33; &amp;</n:b><c/><b><![CDATA[<raw>]]></b></a>\n";
        let found = Element::parse(text).unwrap();
        assert_eq!(found.name, "a");
        assert_eq!(found.child_text("b"), Some("1 < 23 &"));
        assert_eq!(found.child_text("c"), Some(""));
        assert_eq!(found.children[2].text, "<raw>");
        assert_eq!(found.find("c").map(|element| element.name.as_str()), Some("c"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "",
            "a",
            "<a>",
            "</a>",
            "<a></b>",
            "<a>&own;</a>",
            "<a>&",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>",
            "<a/><b/>",
            "<a/>x",
            "< >",
            "<a",
            "<![CDATA[x]]>",
        ] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
        assert_eq!(Element::parse(&"<a>".repeat(XML_DEPTH_MAX + 1)), Err(XmlError::Depth));
    }

    #[test]
    fn what_is_escaped_comes_back() {
        let text = "a<b>&\"'ä";
        assert_eq!(Element::parse(&format!("<x>{}</x>", escape(text))).unwrap().text, text);
    }
}
