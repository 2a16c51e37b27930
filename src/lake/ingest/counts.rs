//! How many rows of a delivery did what.

/// The counts of a merge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows with a key that the table did not have.
    pub new: u64,
    /// Rows that say what the table says.
    pub unchanged: u64,
    /// Rows that say something else than the table.
    pub restated: u64,
    /// Rows of the delivery that a later row of it repeats, and how many of those say something else.
    pub duplicates: u64,
    pub conflicting: u64,
}

impl Counts {
    /// Adds the counts of another part of the table.
    pub fn add(&mut self, other: Counts) {
        let Counts { new, unchanged, restated, duplicates, conflicting } = other;
        self.new += new;
        self.unchanged += unchanged;
        self.restated += restated;
        self.duplicates += duplicates;
        self.conflicting += conflicting;
    }
}
