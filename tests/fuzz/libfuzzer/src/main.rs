//! One program for all targets; `SELVEDGE_FUZZ_TARGET` names the one.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<&'static selvedge_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("SELVEDGE_FUZZ_TARGET").expect("SELVEDGE_FUZZ_TARGET names a target");
    selvedge_fuzz::TARGETS.iter().find(|target| target.name == name).expect("a target of that name")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
