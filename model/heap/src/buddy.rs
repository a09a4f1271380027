//! The buddy system itself.

use crate::links::{Links, Tag};
use crate::order::{MAX_WIDTH, ORDERS, Order, WIDTHS, Width};
use abi::Mfn;

/// Why the allocator refused. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeapError {
    /// The order is above [`MAX_ORDER`](crate::MAX_ORDER).
    BadOrder(u32),
    /// The frame is not aligned to the size of the block.
    Misaligned(Mfn, u32),
    /// No block of this order was allocated there: freed before, never allocated, or allocated
    /// with another order.
    NotAllocated(Mfn, u32),
    /// The block is not wholly free.
    NotFree(Mfn, u32),
    /// The range ends before it starts, is too high, or overlaps what the heap already has.
    BadRange(Mfn, Mfn),
}

/// Frames below 4 GiB: what default allocations leave for devices that reach no further.
const LOW: u64 = (2 << 20) - 1;

/// All free frames of the machine.
///
/// Its own size is about 7 KiB, of which an operation touches a few words.
pub struct Heap<L> {
    links: L,
    /// The first free block of each list.
    heads: [[Mfn; WIDTHS]; ORDERS],
    /// For each order the set of widths that have a free block.
    widths: [u64; ORDERS],
    /// The orders that have a free block above 4 GiB, and below.
    high_orders: u32,
    low_orders: u32,
    /// Free frames of each width.
    free: [u64; WIDTHS],
}

impl<L: Links> Heap<L> {
    /// A heap that has nothing.
    pub const fn new(links: L) -> Heap<L> {
        Heap {
            links,
            heads: [[Mfn::INVALID; WIDTHS]; ORDERS],
            widths: [0; ORDERS],
            high_orders: 0,
            low_orders: 0,
            free: [0; WIDTHS],
        }
    }

    /// The frame table's side, as given to [`new`](Heap::new).
    pub fn links(&self) -> &L {
        &self.links
    }

    /// Allocates 2^`order` frames, aligned to their size.
    ///
    /// With `address_bits` all of them lie below 2^bits bytes. Memory above 4 GiB is used first
    /// in any case; within it, the smallest block that will do.
    /// `None`: no free block is large enough, or `order` is above [`MAX_ORDER`](crate::MAX_ORDER).
    #[must_use]
    pub fn alloc(&mut self, order: u32, address_bits: Option<u32>) -> Option<Mfn> {
        let order = Order::new(order)?;
        let allowed = address_bits.map_or(u64::MAX, Width::below_address_bits);
        let (found, width) = self
            .find(order, self.high_orders, allowed & !LOW)
            .or_else(|| self.find(order, self.low_orders, allowed & LOW))?;
        let mfn = *self.heads.get(found.index())?.get(width.index())?;
        self.unlink(mfn, found, width);
        self.cut(found, mfn, order);
        self.links.set_tag(mfn, Tag::allocated(order).0);
        Some(mfn)
    }

    /// Gives back a block that was allocated, or split off, with this very order.
    ///
    /// # Errors
    /// [`BadOrder`](HeapError::BadOrder), [`NotAllocated`](HeapError::NotAllocated): a double
    /// free among them.
    pub fn free(&mut self, mfn: Mfn, order: u32) -> Result<(), HeapError> {
        let size = Order::new(order).ok_or(HeapError::BadOrder(order))?;
        if self.tag(mfn) != Tag::allocated(size) {
            return Err(HeapError::NotAllocated(mfn, order));
        }
        self.links.set_tag(mfn, Tag::NONE.0);
        self.put(mfn, size);
        Ok(())
    }

    /// Gives back a block whose tag was lost while it had an owner: allocated once, by itself or
    /// as part of a larger block, and cleared since. Slower than [`free`](Heap::free): without a
    /// tag, that the block is not free has to be found out from those around it and in it.
    ///
    /// # Errors
    /// [`BadOrder`](HeapError::BadOrder), [`Misaligned`](HeapError::Misaligned), and
    /// [`NotAllocated`](HeapError::NotAllocated) if a frame of it has a tag or is free, or it is
    /// frame 0.
    pub fn reclaim(&mut self, mfn: Mfn, order: u32) -> Result<(), HeapError> {
        let size = Order::new(order).ok_or(HeapError::BadOrder(order))?;
        if !size.is_aligned(mfn) {
            return Err(HeapError::Misaligned(mfn, order));
        }
        let mut offset = 0;
        while offset < size.pages() {
            if self.tag(Mfn(mfn.0.wrapping_add(offset))) != Tag::NONE {
                return Err(HeapError::NotAllocated(mfn, order));
            }
            offset = offset.wrapping_add(1);
        }
        if mfn.0 == 0 || mfn.0.wrapping_shr(MAX_WIDTH) != 0 || self.is_free(mfn) {
            return Err(HeapError::NotAllocated(mfn, order));
        }
        self.put(mfn, size);
        Ok(())
    }

    /// Makes an allocated block of order `from` into allocated blocks of order `to`, so that each
    /// can be freed by itself. Takes time in proportion to their number.
    ///
    /// # Errors
    /// [`BadOrder`](HeapError::BadOrder) (also when `to` is above `from`),
    /// [`NotAllocated`](HeapError::NotAllocated).
    pub fn split(&mut self, mfn: Mfn, from: u32, to: u32) -> Result<(), HeapError> {
        let size = Order::new(from).ok_or(HeapError::BadOrder(from))?;
        let piece = Order::new(to).filter(|&p| p <= size).ok_or(HeapError::BadOrder(to))?;
        if self.tag(mfn) != Tag::allocated(size) {
            return Err(HeapError::NotAllocated(mfn, from));
        }
        let mut offset = 0;
        while offset < size.pages() {
            self.links.set_tag(Mfn(mfn.0.wrapping_add(offset)), Tag::allocated(piece).0);
            offset = offset.wrapping_add(piece.pages());
        }
        Ok(())
    }

    /// Allocates this very block out of whatever free block it lies in.
    ///
    /// # Errors
    /// [`BadOrder`](HeapError::BadOrder), [`Misaligned`](HeapError::Misaligned),
    /// [`NotFree`](HeapError::NotFree).
    pub fn take(&mut self, mfn: Mfn, order: u32) -> Result<(), HeapError> {
        let size = Order::new(order).ok_or(HeapError::BadOrder(order))?;
        if !size.is_aligned(mfn) {
            return Err(HeapError::Misaligned(mfn, order));
        }
        let mut found = Some(size);
        while let Some(o) = found {
            let block = o.block_of(mfn);
            if self.tag(block) == Tag::free(o) {
                self.unlink(block, o, Width::of(block));
                self.cut(o, mfn, size);
                self.links.set_tag(mfn, Tag::allocated(size).0);
                return Ok(());
            }
            found = o.above();
        }
        Err(HeapError::NotFree(mfn, order))
    }

    /// Makes the frames from `start` up to, not including, `end` free memory of the heap. Meant
    /// for boot: the caller vouches that they are memory and in no range added before. Of an
    /// overlap, only that is seen where a block of the new range lies in one the heap has.
    /// Frame 0 is left out.
    ///
    /// # Errors
    /// [`BadRange`](HeapError::BadRange); what came before the offending block has been added.
    pub fn add_range(&mut self, start: Mfn, end: Mfn) -> Result<(), HeapError> {
        let bad = HeapError::BadRange(start, end);
        if start > end || end.0 > 1u64.wrapping_shl(MAX_WIDTH) {
            return Err(bad);
        }
        let mut next = Mfn(start.0.max(1));
        while next < end {
            let room = Order::fitting(end.0.wrapping_sub(next.0));
            let order = Order::alignment_of(next).min(room);
            if self.covers(next) {
                return Err(bad);
            }
            self.put(next, order);
            next = Mfn(next.0.wrapping_add(order.pages()));
        }
        Ok(())
    }

    /// Free frames in all.
    pub fn free_pages(&self) -> u64 {
        self.free.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Free frames that lie below 2^`bits` bytes.
    pub fn free_pages_below(&self, bits: u32) -> u64 {
        let set = Width::below_address_bits(bits);
        self.free.iter().enumerate().fold(0, |sum, (width, n)| {
            let here = u32::try_from(width).map_or(0, |w| 1u64.wrapping_shl(w));
            if set & here != 0 { sum.wrapping_add(*n) } else { sum }
        })
    }

    /// The largest order that [`alloc`](Heap::alloc) can serve just now; `None` if all is taken.
    pub fn largest_order(&self) -> Option<u32> {
        (self.high_orders | self.low_orders).checked_ilog2()
    }

    /// How many free blocks of each order there are; for diagnostics, walks all lists.
    pub fn blocks_of_order(&self, order: u32) -> u64 {
        let Some(lists) = Order::new(order).and_then(|o| self.heads.get(o.index())) else {
            return 0;
        };
        let mut count: u64 = 0;
        for head in lists {
            let mut mfn = *head;
            while mfn != Mfn::INVALID {
                count = count.wrapping_add(1);
                mfn = self.links.next(mfn);
            }
        }
        count
    }

    fn tag(&self, mfn: Mfn) -> Tag {
        Tag(self.links.tag(mfn))
    }

    /// The smallest order from `order` up, of those in `orders`, that has a block in `allowed`.
    fn find(&self, order: Order, orders: u32, allowed: u64) -> Option<(Order, Width)> {
        let mut left = orders & order.and_above();
        while let Some(o) = Order::new(left.trailing_zeros()) {
            if let Some(width) = Width::widest(self.widths.get(o.index())? & allowed) {
                return Some((o, width));
            }
            left &= left.wrapping_sub(1);
        }
        None
    }

    /// Whether the heap has a block, free or allocated, that `mfn` lies in.
    fn covers(&self, mfn: Mfn) -> bool {
        let mut order = Some(Order::ZERO);
        while let Some(o) = order {
            let tag = self.tag(o.block_of(mfn));
            if tag == Tag::free(o) || tag == Tag::allocated(o) {
                return true;
            }
            order = o.above();
        }
        false
    }

    /// Whether `mfn` lies in a free block.
    fn is_free(&self, mfn: Mfn) -> bool {
        let mut order = Some(Order::ZERO);
        while let Some(o) = order {
            if self.tag(o.block_of(mfn)) == Tag::free(o) {
                return true;
            }
            order = o.above();
        }
        false
    }

    /// Of the unlinked block of order `from` around `keep`, frees all but the block of order
    /// `to` at `keep`.
    fn cut(&mut self, from: Order, keep: Mfn, to: Order) {
        let mut at = from;
        while let Some(half) = at.below().filter(|_| at > to) {
            self.link(half.buddy_of(half.block_of(keep)), half);
            at = half;
        }
    }

    /// Frees a block that is in no list, joining it with its buddies while they are free.
    fn put(&mut self, mfn: Mfn, order: Order) {
        let (mut mfn, mut order) = (mfn, order);
        while let Some(larger) = order.above() {
            let buddy = order.buddy_of(mfn);
            if self.tag(buddy) != Tag::free(order) {
                break;
            }
            self.unlink(buddy, order, Width::of(buddy));
            mfn = larger.block_of(mfn);
            order = larger;
        }
        self.link(mfn, order);
    }

    /// Puts a block at the front of its list: what was freed last is warm in the caches.
    fn link(&mut self, mfn: Mfn, order: Order) {
        let width = Width::of(mfn);
        let Some(head) = self.heads.get_mut(order.index()).and_then(|l| l.get_mut(width.index()))
        else {
            return;
        };
        let old = core::mem::replace(head, mfn);
        self.links.set_next(mfn, old);
        self.links.set_prev(mfn, Mfn::INVALID);
        self.links.set_tag(mfn, Tag::free(order).0);
        if old != Mfn::INVALID {
            self.links.set_prev(old, mfn);
        }
        if let Some(set) = self.widths.get_mut(order.index()) {
            *set |= width.bit();
        }
        if width.bit() & LOW != 0 {
            self.low_orders |= order.bit();
        } else {
            self.high_orders |= order.bit();
        }
        if let Some(free) = self.free.get_mut(width.index()) {
            *free = free.wrapping_add(order.pages());
        }
    }

    /// Takes a free block out of its list and clears its tag.
    fn unlink(&mut self, mfn: Mfn, order: Order, width: Width) {
        let (next, prev) = (self.links.next(mfn), self.links.prev(mfn));
        self.links.set_tag(mfn, Tag::NONE.0);
        if let Some(free) = self.free.get_mut(width.index()) {
            *free = free.wrapping_sub(order.pages());
        }
        if next != Mfn::INVALID {
            self.links.set_prev(next, prev);
        }
        if prev != Mfn::INVALID {
            self.links.set_next(prev, next);
            return;
        }
        if let Some(head) = self.heads.get_mut(order.index()).and_then(|l| l.get_mut(width.index()))
        {
            *head = next;
        }
        if next == Mfn::INVALID {
            self.emptied(order, width);
        }
    }

    /// Notes that a list has become empty.
    fn emptied(&mut self, order: Order, width: Width) {
        let Some(set) = self.widths.get_mut(order.index()) else { return };
        *set &= !width.bit();
        if *set & LOW == 0 {
            self.low_orders &= !order.bit();
        }
        if *set & !LOW == 0 {
            self.high_orders &= !order.bit();
        }
    }
}
