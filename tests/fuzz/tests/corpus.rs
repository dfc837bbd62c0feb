//! Every input that the repository keeps – seeds, and what fuzzing has found – is survived.

use std::path::Path;

#[test]
fn the_corpus_is_survived() {
    for target in selvedge_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("no corpus {}", folder.display()));
        let mut inputs = 0;
        for entry in entries {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            (target.run)(&bytes);
            inputs += 1;
        }
        assert!(inputs >= 3, "{} has {inputs} inputs", target.name);
        (target.run)(b"");
    }
}
