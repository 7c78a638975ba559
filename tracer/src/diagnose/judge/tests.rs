//! The judge from moment to moment.
