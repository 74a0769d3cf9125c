//! What both test programs read.

use std::fs;

use serde::de::DeserializeOwned;

/// This repository.
pub const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// What the program can do, as `catalog.yml` lists it: what is derived from it covers every destination there will be.
pub fn catalog<T: DeserializeOwned>() -> T {
    let text = fs::read_to_string(format!("{REPOSITORY}/catalog.yml")).expect("catalog.yml can be read");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("catalog.yml: {error}"))
}
