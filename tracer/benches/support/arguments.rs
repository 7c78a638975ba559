//! How much a benchmark is asked to do.

/// Events: from the command line or `EVENTS`; few when `cargo test` only wants to see it run.
pub(crate) fn events() -> usize {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = arguments.iter().find_map(|argument| argument.parse().ok());
    let given = given.or_else(|| std::env::var("EVENTS").ok()?.parse().ok());
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    given.unwrap_or(if is_bench { 10_000_000 } else { 20_000 }).max(1)
}
