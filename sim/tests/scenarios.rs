//! The stories under `scenarios/`: what is told there must happen. `BLESS=1` writes down what happens today, to be
//! read as prose before it is committed.

use selvedge_sim::scenario;
use std::path::Path;
use std::{env, fs};

#[test]
fn every_story_happens_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut stories: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it reads").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    stories.sort();
    assert!(stories.len() >= 5, "stories are missing");
    let mut different = Vec::new();
    for path in stories {
        let told = fs::read_to_string(&path).expect("a story is text");
        let happens = scenario::tell(&told).unwrap_or_else(|broken| panic!("{}: {broken}", path.display()));
        if env::var_os("BLESS").is_some() {
            fs::write(&path, &happens).expect("the folder is writable");
        } else if let Some(line) = first_difference(&told, &happens) {
            different.push(format!("{}:{line}", path.display()));
        }
    }
    assert!(different.is_empty(), "another story happens (BLESS=1 writes it down): {different:#?}");
}

fn first_difference(told: &str, happens: &str) -> Option<String> {
    let (mut told, mut happens) = (told.lines(), happens.lines());
    (1..).find_map(|number: usize| match (told.next(), happens.next()) {
        (None, None) => Some(None),
        (one, other) if one == other => None,
        (one, other) => Some(Some(format!("{number}: {one:?} is told, {other:?} happens"))),
    })?
}
