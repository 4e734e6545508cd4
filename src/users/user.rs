//! The record that belongs to an identity: what we know.

/// A row of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id, as it stands in the directory.
    pub id: String,
    /// The e-mail, where the row has one.
    pub email: Option<String>,
    /// The extra columns, in the order of the settings.
    pub columns: Box<[Option<String>]>,
}

impl User {
    /// The value of the extra column at this place of the settings.
    pub fn column(&self, place: usize) -> Option<&str> {
        self.columns.get(place).and_then(Option::as_deref)
    }
}
