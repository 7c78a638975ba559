//! Events as columns: the payload of an events frame.
