//! stub until the real one is merged
#[derive(Clone, Debug)]
pub struct Gauges;
