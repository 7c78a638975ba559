//! A check: what looks at one resource.

use super::finding::Scope;
use super::look::Look;
use super::watch::Watch;
use crate::facts::{Facts, Known, Unknown};

/// Looks at one resource.
pub trait Check: Sync {
    /// Its name in JSON.
    fn id(&self) -> &'static str;
    /// Its name in a table: at most 13 cells.
    fn title(&self) -> &'static str;
    /// What it counts, in a sentence after "out of".
    fn noun(&self) -> &'static str;
    /// What it counts, as a unit.
    fn unit(&self) -> &'static str;
    /// Whose resource it is.
    fn scope(&self) -> Scope;
    /// What it says; advice is heeded only where something is wrong.
    ///
    /// # Errors
    ///
    /// What it would have to see is not known.
    fn look(&self, watch: &Watch) -> Known<Look>;
}

/// Why a limit of the host is not known, though what it limits is.
pub(super) fn hidden(facts: &Facts, seen: &str, name: &str) -> Unknown {
    Unknown(match facts.first_netns {
        Some(true) => format!("{seen}, but {name} cannot be read"),
        _ => format!("{seen}, but {name} shows in its first network namespace only"),
    })
}

/// The five words of a check, as one line each.
macro_rules! describe {
    ($id:literal, $title:literal, $noun:literal, $unit:literal, $scope:ident) => {
        fn id(&self) -> &'static str {
            $id
        }
        fn title(&self) -> &'static str {
            $title
        }
        fn noun(&self) -> &'static str {
            $noun
        }
        fn unit(&self) -> &'static str {
            $unit
        }
        fn scope(&self) -> $crate::diagnose::Scope {
            $crate::diagnose::Scope::$scope
        }
    };
}
pub(super) use describe;
