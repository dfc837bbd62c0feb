//! Texts that are reviewed as they are.

/// Compares with a file of `tests/golden`, which `BLESS=1` writes anew.
#[expect(clippy::disallowed_methods, reason = "the test compares with the file, and writes it when asked")]
pub(crate) fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        text,
        "{path}: write it anew with BLESS=1"
    );
}
