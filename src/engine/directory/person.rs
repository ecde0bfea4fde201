//! What is found: users and groups, or no answer.

use crate::core::enforcement::SubjectKind;

/// A user, canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The number.
    pub uid: u32,
    /// The name, as the directory writes it.
    pub name: String,
    /// Local or domain.
    pub kind: SubjectKind,
    /// All groups by name, the primary one first where it is local.
    pub groups: Vec<Membership>,
    /// Domain groups may be missing: NSS did not answer in time for a local user.
    pub partial: bool,
}

impl Person {
    /// Whether this is a member of any group of these names. A name that is a local group's means that one, whatever a domain calls its own: else
    /// whoever rules the domain could make administrators here.
    #[must_use]
    pub fn is_in_any(&self, names: &[String]) -> bool {
        self.groups.iter().any(|group| !group.shadowed && names.contains(&group.name))
    }
}

/// A group of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The name.
    pub name: String,
    /// Local or domain.
    pub kind: SubjectKind,
    /// A domain group with the name of a local one, which this is not.
    pub shadowed: bool,
}

/// A group and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// The name.
    pub name: String,
    /// Local or domain.
    pub kind: SubjectKind,
    /// Members by name, those included whose primary group it is where the files know it.
    pub members: Vec<String>,
}

/// The directory gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent(pub String);
