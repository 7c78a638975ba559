//! The events' payload under the traffic it was made for: the same events, and few bytes.

#[path = "../benches/support/traffic.rs"]
mod traffic;

use sockflow::event::Event;
use sockflow::recording::events::{EventsEncoder, decode};
use traffic::Traffic;

const PAYLOAD: usize = 65_536;

#[test]
fn a_storm_comes_out_as_it_went_in_and_is_small() {
    let mut traffic = Traffic::new(7);
    let mut encoder = EventsEncoder::new();
    let mut on_disk = 0;
    for _ in 0..3 {
        let events: Vec<Event> = traffic.by_ref().take(PAYLOAD).collect();
        events.iter().for_each(|event| encoder.push(event));
        let hint = encoder.size_hint();
        let mut payload = Vec::new();
        encoder.finish(&mut payload);
        assert!((hint / 2..hint * 2).contains(&payload.len()), "{hint} for {}", payload.len());
        on_disk += zstd::bulk::compress(&payload, 1).unwrap().len();

        let mut expected = events.iter();
        let decoded = decode(&payload, |event| assert_eq!(Some(event), expected.next())).unwrap();
        assert_eq!((decoded.events, decoded.unknown), (PAYLOAD as u64, 0));
    }
    let bytes_an_event = on_disk as f64 / (3 * PAYLOAD) as f64;
    assert!(bytes_an_event < 5.5, "{bytes_an_event:.2}");
}

#[test]
fn a_seed_gives_the_same_storm_again() {
    let events = |seed| Traffic::new(seed).take(5_000).collect::<Vec<Event>>();
    assert_eq!(events(3), events(3));
    assert_ne!(events(3), events(4));
}
