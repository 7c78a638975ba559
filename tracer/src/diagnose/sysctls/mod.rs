//! What is known about settings: [`table`], and [`lint`], which holds a host's files against it.

pub mod lint;
mod rules;
pub mod table;

#[cfg(test)]
mod tests;
