//! What the codec promises: the same events come out, and no bytes make it panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::code::every_kind;
use super::*;
use crate::event::{Event, EventKind, Owner};
use crate::time::Monotonic;

fn encoded(events: &[Event]) -> Vec<u8> {
    let mut encoder = EventsEncoder::new();
    events.iter().for_each(|event| encoder.push(event));
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    payload
}

fn decoded(payload: &[u8]) -> Result<Vec<Event>, Malformed> {
    let mut events = Vec::new();
    let said = decode(payload, |event| events.push(event.clone()))?;
    assert_eq!(said, Decoded { events: events.len() as u64, unknown: 0 });
    Ok(events)
}

fn event(at: u64, kind: EventKind, socket: u64) -> Event {
    Event {
        at: Monotonic(at),
        kind,
        socket,
        local: (Ipv4Addr::new(192, 0, 2, 1).into(), 443),
        peer: (Ipv4Addr::new(198, 51, 100, 7).into(), 50_000),
        owner: None,
        netns: 4_026_531_840,
        born: Some(Monotonic(at)),
    }
}

/// Times near each other, and the extremes.
fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_000_000..1_002_000_u64,
        1 => select(vec![0, 1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1]),
        1 => any::<u64>(),
    ]
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..4_u32).prop_map(|last| Ipv4Addr::from_bits(0x0a00_0000 + last).into()),
        (0..4_u32)
            .prop_map(|last| { Ipv4Addr::from_bits(0x0a00_0000 + last).to_ipv6_mapped().into() }),
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(IpAddr::V6),
    ]
}

fn any_owner() -> impl Strategy<Value = Option<Arc<Owner>>> {
    let comm = prop_oneof![
        3 => "(nginx|a|)",
        1 => any::<String>(),
        1 => (1..3_000_usize).prop_map(|length| "é".repeat(length)),
    ];
    let pid = prop_oneof![0..3_u32, any::<u32>()];
    prop::option::of((pid, comm).prop_map(|(pid, comm)| Arc::new(Owner { pid, comm })))
}

/// The parts from which events are put together, so that sockets, owners and addresses recur.
#[derive(Clone, Debug)]
struct Parts {
    sockets: Vec<u64>,
    ends: Vec<(IpAddr, u16)>,
    owners: Vec<Option<Arc<Owner>>>,
    netns: Vec<u32>,
    born: Vec<Option<Monotonic>>,
}

fn any_parts() -> impl Strategy<Value = Parts> {
    let socket = prop_oneof![1..20_u64, 4_090..4_110_u64, any::<u64>()];
    let born = prop::option::of(any_time().prop_map(Monotonic));
    (
        vec(socket, 1..12),
        vec((any_address(), any::<u16>()), 1..4),
        vec(any_owner(), 1..4),
        vec(any::<u32>(), 1..3),
        vec(born, 1..3),
    )
        .prop_map(|(sockets, ends, owners, netns, born)| Parts {
            sockets,
            ends,
            owners,
            netns,
            born,
        })
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let choice = (any_time(), select(every_kind()), any::<[Index; 6]>());
    (any_parts(), vec(choice, 0..200)).prop_map(|(parts, choices)| {
        choices
            .into_iter()
            .map(|(at, kind, [socket, local, peer, owner, netns, born])| Event {
                at: Monotonic(at),
                kind,
                socket: *socket.get(&parts.sockets),
                local: *local.get(&parts.ends),
                peer: *peer.get(&parts.ends),
                owner: owner.get(&parts.owners).clone(),
                netns: *netns.get(&parts.netns),
                born: *born.get(&parts.born),
            })
            .collect()
    })
}

fn drop_event(_: &Event) {}

proptest! {
    #[test]
    fn the_same_events_come_out(events in any_events()) {
        let payload = encoded(&events);
        prop_assert_eq!(count(&payload), Ok(events.len() as u64));
        prop_assert_eq!(decoded(&payload), Ok(events));
    }

    #[test]
    fn a_used_encoder_is_as_good_as_new(first in any_events(), second in any_events()) {
        let mut encoder = EventsEncoder::new();
        let mut payload = Vec::new();
        for events in [first, second] {
            events.iter().for_each(|event| encoder.push(event));
            prop_assert_eq!(encoder.len(), events.len());
            payload.clear();
            encoder.finish(&mut payload);
            prop_assert!(encoder.is_empty());
            prop_assert_eq!(encoder.size_hint(), 0);
            prop_assert_eq!(&payload, &encoded(&events));
        }
    }

    #[test]
    fn every_missing_or_trailing_byte_is_noticed(events in any_events(), cut in any::<Index>()) {
        let mut payload = encoded(&events);
        let cut = cut.index(payload.len());
        let is_refused = |bytes: &[u8]| decode(bytes, drop_event).is_err();
        prop_assert!(is_refused(&payload[..cut]));
        payload.push(0);
        prop_assert!(is_refused(&payload));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..400)) {
        decodes_or_complains(&bytes);
    }

    #[test]
    fn small_numbers_do_not_make_it_panic(bytes in vec(0..9_u8, 0..200)) {
        decodes_or_complains(&bytes);
    }

    #[test]
    fn damage_does_not_make_it_panic(
        events in any_events(),
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut payload = encoded(&events);
        for (place, byte) in damage {
            *place.get_mut(&mut payload) = byte;
        }
        decodes_or_complains(&payload);
    }
}

/// Whatever it gives cannot be more than the payload says and has room for.
fn decodes_or_complains(payload: &[u8]) {
    let mut lent = 0;
    let result = decode(payload, |_| lent += 1);
    assert!(lent <= payload.len() as u64);
    if let Ok(decoded) = result {
        assert_eq!(decoded.events, lent);
        assert_eq!(Ok(decoded.events + decoded.unknown), count(payload));
    }
}

#[test]
fn an_empty_payload_has_no_events() {
    let payload = encoded(&[]);
    assert_eq!(count(&payload), Ok(0));
    assert_eq!(decoded(&payload), Ok(vec![]));
    assert!(decode(&[], drop_event).is_err());
}

#[test]
fn all_kinds_in_all_places_need_codes_of_two_bytes() {
    let kinds = every_kind();
    let mut events = Vec::new();
    for (number, &kind) in kinds.iter().enumerate() {
        let time = number as u64;
        events.push(event(time, kind, number as u64));
        events.push(Event { born: Some(Monotonic(time)), ..event(time, kind, number as u64) });
        events.push(Event { born: None, ..event(time, kind, 1_000 + number as u64) });
        let again = Event { at: Monotonic(time), kind, ..events[number / 2].clone() };
        events.push(again);
    }
    assert_eq!(decoded(&encoded(&events)), Ok(events));
}

#[test]
fn a_cookie_that_alternates_between_identities_keeps_them() {
    let one = event(5, EventKind::Close, 7);
    let other = Event { peer: (Ipv6Addr::LOCALHOST.into(), 1), ..one.clone() };
    let events = [&one, &other, &one, &one, &other].map(Clone::clone);
    assert_eq!(decoded(&encoded(&events)), Ok(events.to_vec()));
}

/// The example of `docs/FORMAT-events.md`: if this changes, so did the format.
#[test]
fn the_documented_example_holds() {
    let owner = Some(Arc::new(Owner { pid: 812, comm: "nginx".to_owned() }));
    let first = event(1_000_000, EventKind::Close, 4_097);
    let second =
        Event { at: Monotonic(1_000_300), kind: EventKind::ResetIn, owner, ..first.clone() };
    let payload = encoded(&[first.clone(), second.clone()]);
    assert_eq!(decoded(&payload), Ok(vec![first, second]));
    insta::assert_snapshot!(hex(&payload));
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// One event of a flow, whose code's kind is `kind`.
fn with_kind(kind: &[u8]) -> Vec<u8> {
    let known = encoded(&[event(9, EventKind::Close, 1)]);
    let code = [1, 5, 1, 2];
    let at = known.windows(4).position(|window| window == code).unwrap();
    let mut payload = known[..at + 2].to_vec();
    payload.push(kind.len() as u8);
    payload.extend_from_slice(kind);
    payload.extend_from_slice(&known[at + 4..]);
    payload
}

#[test]
fn kinds_of_a_newer_version_are_counted_and_left_out() {
    let one = |kind: &[u8]| decode(&with_kind(kind), drop_event);
    assert_eq!(one(&[2]), Ok(Decoded { events: 1, unknown: 0 }));
    for kind in [&[][..], &[0], &[2, 0], &[8], &[1, 1, 13], &[1, 0, 1], &[4, 6], &[200; 90]] {
        assert_eq!(one(kind), Ok(Decoded { events: 0, unknown: 1 }), "{kind:?}");
    }
}

#[test]
fn few_bytes_cannot_claim_many_events() {
    // 2^40 events of one code, every column without planes.
    let claim = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 0, 1, 0, 1, 2, 0, 0, 0, 0, 0, 0];
    assert!(count(&claim).is_err());
    assert!(decode(&claim, drop_event).is_err());
}

#[test]
fn addresses_that_no_flow_has_are_refused() {
    // No event, and an address 0.0.0.0 that claims to be there for nothing.
    let without_flow = [0, 0, 0, 0, 0, 1, 0, 8, 0, 0];
    let complaint = Malformed("it has more addresses than flows have ends");
    assert_eq!(decode(&without_flow, drop_event), Err(complaint));

    // A flow whose ends are the same address, which the table has twice.
    let address = Ipv4Addr::UNSPECIFIED.into();
    let one = Event { local: (address, 0), peer: (address, 0), ..event(0, EventKind::Close, 0) };
    let mut payload = encoded(&[one]);
    let addresses = payload.iter().position(|&byte| byte == 5).unwrap() + 4;
    assert_eq!(payload[addresses], 1);
    payload[addresses] = 2;
    let complaint = Malformed("no flow has one of the addresses");
    assert_eq!(decode(&payload, drop_event), Err(complaint));
}

#[test]
fn numbers_of_more_than_64_bits_are_refused() {
    let mut number = [0xff; 10];
    number[9] = 1;
    assert_eq!(wire::Bytes(&number).number(), Ok(u64::MAX));
    for last in [2, 0x7f, 0x80, 0x81] {
        number[9] = last;
        assert!(wire::Bytes(&number).number().is_err(), "{last}");
    }
}

#[test]
fn the_hint_is_near_the_size() {
    for step in [1, 7, 5_000] {
        let mut encoder = EventsEncoder::new();
        for number in 0..10_000_u64 {
            let socket = number / step;
            let peer = (Ipv4Addr::from_bits(socket as u32 * 977).into(), socket as u16);
            let born = Some(Monotonic(socket * 5));
            encoder.push(&Event { peer, born, ..event(number * 700, EventKind::Close, socket) });
        }
        let hint = encoder.size_hint();
        let mut payload = Vec::new();
        encoder.finish(&mut payload);
        let (least, most) = (payload.len() * 2 / 3, payload.len() * 3 / 2);
        assert!((least..most).contains(&hint), "{hint} for {}, {step} a socket", payload.len());
    }
}
