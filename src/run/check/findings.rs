//! What a check finds.

/// What a check finds, a line each.
#[derive(Debug, Default)]
pub struct Findings {
    /// What would stop the start, or keep it from what is asked for.
    pub errors: Vec<String>,
    /// What the log would note.
    pub warnings: Vec<String>,
}

impl Findings {
    pub(super) fn error_each(&mut self, errors: &[impl ToString]) {
        self.errors.extend(errors.iter().map(ToString::to_string));
    }
}
