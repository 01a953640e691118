//! What the fuzz targets do with an input. `cargo test` runs each over some thousand inputs
//! (tests/fuzzing.rs), `tests/fuzz/run` over as many as there is time for. The targets `store` and
//! `web` lie beside what they reach into: src/store/fuzz.rs and src/net/web/fuzz.rs.

pub mod answers;
pub mod broker;
pub mod control;
pub mod decode;
pub mod files;
pub mod input;
