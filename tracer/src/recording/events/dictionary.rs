//! What a payload writes once and then names by number: owners and addresses.
//!
//! Both are chosen by others (a peer its addresses, a process its name), so they are hashed with
//! the keyed hash of std: nobody can slow a recording down by making them collide.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Malformed;
use super::column::{Column, ColumnWriter, Numbers};
use super::wire::{Bytes, put_number};
use crate::event::Owner;
use crate::recording::bounds::MOST_TEXT;

/// The owners of a payload being written.
#[derive(Default)]
pub(super) struct Owners {
    table: Vec<Arc<Owner>>,
    numbers: HashMap<Arc<Owner>, u32>,
    text: usize,
}

impl Owners {
    /// Whether `number` names `owner`; 0 is nobody.
    #[inline]
    pub(super) fn is(&self, number: u32, owner: Option<&Arc<Owner>>) -> bool {
        match owner {
            None => number == 0,
            Some(owner) => {
                number != 0 && self.table.get(number as usize - 1).is_some_and(|o| same(o, owner))
            }
        }
    }

    /// The number of `owner`, who is now in the table.
    pub(super) fn number(&mut self, owner: Option<&Arc<Owner>>) -> u32 {
        let Some(owner) = owner else { return 0 };
        // Few owners make most events, and theirs is mostly the same allocation.
        if let Some(place) = self.table.iter().take(8).position(|known| Arc::ptr_eq(known, owner)) {
            return place as u32 + 1;
        }
        if let Some(&number) = self.numbers.get(owner) {
            return number;
        }
        self.text += owner.comm.len() + 8;
        self.table.push(Arc::clone(owner));
        let number = self.table.len() as u32;
        self.numbers.insert(Arc::clone(owner), number);
        number
    }

    pub(super) fn size_hint(&self) -> usize {
        self.text
    }

    /// Writes the table and empties it.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        put_number(out, self.table.len() as u64);
        for owner in self.table.drain(..) {
            put_number(out, owner.pid.into());
            put_number(out, owner.comm.len() as u64);
            out.extend_from_slice(owner.comm.as_bytes());
        }
        self.numbers.clear();
        self.text = 0;
    }
}

fn same(one: &Arc<Owner>, other: &Arc<Owner>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// A payload's table of owners.
pub(super) fn read_owners(bytes: &mut Bytes<'_>) -> Result<Vec<Arc<Owner>>, Malformed> {
    let length = bytes.size()?;
    let mut owners = Vec::new();
    for _ in 0..length {
        let pid = u32::try_from(bytes.number()?).map_err(|_| Malformed("a pid is too large"))?;
        let comm = bytes.size()?;
        if comm > MOST_TEXT {
            return Err(Malformed("an owner's name is too long"));
        }
        let comm = str::from_utf8(bytes.take(comm)?)
            .map_err(|_| Malformed("an owner's name is not UTF-8"))?;
        owners.push(Arc::new(Owner { pid, comm: comm.to_owned() }));
    }
    Ok(owners)
}

/// The addresses of a payload being written.
#[derive(Default)]
pub(super) struct Addresses {
    numbers: HashMap<IpAddr, u64>,
    families: ColumnWriter,
    v4: ColumnWriter,
    v6: [ColumnWriter; 2],
}

impl Addresses {
    /// What a flow's column says: 0 for the table's next address, which `address` is now, or its
    /// number, counted from 1.
    pub(super) fn reference(&mut self, address: IpAddr) -> u64 {
        let next = self.numbers.len() as u64 + 1;
        let number = *self.numbers.entry(address).or_insert(next);
        if number != next {
            return number;
        }
        match address {
            IpAddr::V4(address) => {
                self.families.push(4);
                self.v4.push(address.to_bits().into());
            }
            IpAddr::V6(address) => {
                self.families.push(6);
                self.v6[0].push((address.to_bits() >> 64) as u64);
                self.v6[1].push(address.to_bits() as u64);
            }
        }
        0
    }

    pub(super) fn len(&self) -> usize {
        self.families.len()
    }

    pub(super) fn size_hint(&self) -> usize {
        4 * self.v4.len() + 16 * self.v6[0].len()
    }

    /// Writes the table and empties it.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.families.finish(out, 0);
        self.v4.finish(out, 0);
        for half in &mut self.v6 {
            half.finish(out, 0);
        }
        self.numbers.clear();
    }
}

/// A payload's addresses, in the order in which flows bring them.
pub(super) struct AddressTable {
    all: Vec<IpAddr>,
    /// How many flows have brought so far.
    brought: usize,
}

impl AddressTable {
    /// The table's columns; the caller has bounded `length` by the payload's bytes.
    pub(super) fn read(bytes: &mut Bytes<'_>, length: usize) -> Result<Self, Malformed> {
        let families = Column::read(bytes, length, 0)?;
        let mut family = families.numbers();
        let v4 = (0..length).filter(|_| family.next() == 4).count();
        let mut v4s = Column::read(bytes, v4, 0)?.numbers();
        let mut highs = Column::read(bytes, length - v4, 0)?.numbers();
        let mut lows = Column::read(bytes, length - v4, 0)?.numbers();
        let mut family = families.numbers();
        let mut address = || match family.next() {
            4 => v4_address(v4s.next()),
            6 => Ok(v6_address(&mut highs, &mut lows)),
            _ => Err(Malformed("an address is neither IPv4 nor IPv6")),
        };
        let all = (0..length).map(|_| address()).collect::<Result<_, _>>()?;
        Ok(Self { all, brought: 0 })
    }

    /// The address a flow's column refers to.
    pub(super) fn take(&mut self, reference: u64) -> Result<IpAddr, Malformed> {
        let place = match usize::try_from(reference) {
            Ok(0) => {
                self.brought += 1;
                self.brought - 1
            }
            Ok(number) if number <= self.brought => number - 1,
            _ => return Err(Malformed("a flow names an address before it was brought")),
        };
        self.all.get(place).copied().ok_or(Malformed("an address is missing"))
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.brought == self.all.len()
    }
}

fn v4_address(number: u64) -> Result<IpAddr, Malformed> {
    let bits = u32::try_from(number).map_err(|_| Malformed("an IPv4 address is too large"))?;
    Ok(IpAddr::V4(bits.into()))
}

fn v6_address(highs: &mut Numbers<'_>, lows: &mut Numbers<'_>) -> IpAddr {
    let (high, low) = (highs.next(), lows.next());
    IpAddr::V6((u128::from(high) << 64 | u128::from(low)).into())
}
