"""Lists of those who wait for something that is under way, and their answering one after the other.

::

    append --> [ payloads: one memory ] ------------------------------+--> current
          |    [ behind: who is next  ] --> place of the next reader --+
          +--> first, newest, per list         ^            ^
    finish --> queue of list numbers ----------+   advance, again

A list is a chain of places: a place holds a payload, and the number of the place behind it.
"""
from amaranth import *
from amaranth.lib import data, fifo, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.lib.plain_memory import plain_memory
from hw.lib.stream import Queue

__all__ = ["WaiterLists"]


class WaiterLists(wiring.Component):
    """First-in first-out lists of waiting payloads in one block RAM.

    A list begins, grows, is finished, and is then drained: one waiter after the other is `current`, until nobody is left
    or the rest is sent back to wait for another finish. Finished lists are drained one at a time, in the order of
    their finish.

    Parameters
    ----------
    payload
        Shape of what waits.
    lists : int
        1 to 64.
    places : int
        Payloads in all lists together, 2 to 512.

    Members
    -------
    append
        `valid`, `list`, `payload`. With `begins` the list begins anew, whatever it was; otherwise the payload is put behind
        those who wait. With `begins` and `lonely` it begins with no waiter, and `payload` is ignored.
    room
        A place is free. Everything but the beginning of a lonely list needs it.
    closing
        A bit per list: it must not be appended to in this cycle, since it is current, and has no other waiter or has had
        `places` of them answered in this drain.
    finish
        `valid`, `list`: a list that has begun, and is neither finished nor current, is to be drained.
    selected
        `valid`, `list`: the list that is current from the next cycle on.
    current
        `valid`, `list` and `payload`: the waiter to be answered. `last`: nobody waits behind it. `first`: it is the first
        one since the list was finished. `lonely`: the list has no waiter, `payload` means nothing.
        `fresh`: it was there when the list began, or when it was last sent back; not `fresh`: it joined later.
        What is lonely is `last`, and not `fresh`.
    advance
        The current waiter has been answered: it leaves, and its place is free. After the `last` one, or from a lonely
        list, the list has ended; it may begin again from this cycle on.
    again
        Instead of `advance`: the current waiter and all behind it go on waiting, all of them fresh, for another finish of
        their list. Both are ignored while no waiter is current.

    Timing
    ------
    One append, one finish and one advance per cycle. `finish` to `current`: one cycle if no list is current, or
    if the current one ends in the cycle of `finish`; `selected` is then combinational from `finish`, `advance` and
    `again`. No cycle is lost between two waiters, nor between two lists that are finished. A place that was left can be
    taken again two cycles later. `current` and `closing` come from registers and small tables: nothing of the same
    cycle reaches them.

    Races
    -----
    Who joins a list in the cycle of `finish`, or in any cycle in which it is not `closing`, is answered with it. Who joins
    a lonely list in the cycle in which it is selected is current one cycle late: `current` is not valid for that cycle,
    and the list is not closing. Who joins in the cycle of `again` is not fresh.

    Forward progress
    ----------------
    A list that is joined as fast as it is drained would hold up all others for ever. It closes after `places` answers; those who
    wait by then are `places` at most, so that a finished list waits for 2 * `places` answers of every list before it.

    Source: ours.
    """

    def __init__(self, payload, *, lists, places):
        if not 1 <= lists <= 64:
            raise ValueError(f"lists must be between 1 and 64, not {lists!r}")
        if not 2 <= places <= 512:
            raise ValueError(f"places must be between 2 and 512, not {places!r}")
        self._payload = payload
        self._lists = lists
        self._places = places
        self._list_bits = max(1, ceil_log2(lists))
        self._place_bits = ceil_log2(places)
        choice = wiring.Signature({"valid": Out(1), "list": Out(self._list_bits)})
        super().__init__({
            "append": In(wiring.Signature({
                "valid": Out(1), "list": Out(self._list_bits), "payload": Out(payload), "begins": Out(1),
                "lonely": Out(1),
            })),
            "room": Out(1),
            "closing": Out(lists),
            "finish": In(choice),
            "selected": Out(choice),
            "current": Out(wiring.Signature({
                "valid": Out(1), "list": Out(self._list_bits), "payload": Out(payload), "first": Out(1),
                "fresh": Out(1), "last": Out(1), "lonely": Out(1),
            })),
            "advance": In(1),
            "again": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        append, current = self.append, self.current
        m.submodules.behind = behind = memory.Memory(shape=self._place_bits, depth=self._places, init=[])
        behind_write = behind.write_port()
        behind_read = behind.read_port(domain="comb")

        # What is known of each list. `restarts` and `resumed` are of the lists that have been sent back.
        beginning = data.StructLayout({"place": self._place_bits, "late": 1})
        resumption = data.StructLayout({"place": self._place_bits, "newest": self._place_bits})
        m.submodules.beginnings = beginnings = memory.Memory(shape=beginning, depth=self._lists, init=[])
        m.submodules.newest = newest = memory.Memory(shape=self._place_bits, depth=self._lists, init=[])
        m.submodules.restarts = restarts = memory.Memory(shape=resumption, depth=self._lists, init=[])
        beginning_write, newest_write, restart_write = (each.write_port() for each in (beginnings, newest, restarts))
        beginning_read = beginnings.read_port(domain="comb")
        newest_of_append, newest_of_current = (newest.read_port(domain="comb") for _ in range(2))
        restart_read = restarts.read_port(domain="comb")
        lonely = Signal(self._lists)
        resumed = Signal(self._lists)

        place = Signal(self._place_bits)  # of the current waiter

        reading = Signal(self._place_bits)  # whose payload is read in this cycle, to be current in the next

        # Append: a free place, at the end of the list.
        places = append.valid & ~(append.begins & append.lonely)
        free_place = self._free_place(m, taken=places, left=current.valid & self.advance & ~current.lonely, place=place)
        (payload,) = plain_memory(      # nothing that is used is read in the cycle in which it is written
            m, "payloads", self._payload, depth=self._places, enable=places, address=free_place, data=append.payload,
            reads=[reading])
        joins_lonely = ~append.begins & lonely.bit_select(append.list, 1)
        starts_chain = append.begins | joins_lonely
        m.d.comb += [
            newest_write.addr.eq(append.list), newest_write.data.eq(free_place), newest_write.en.eq(places),
            newest_of_append.addr.eq(append.list),
            behind_write.addr.eq(newest_of_append.data), behind_write.data.eq(free_place),
            behind_write.en.eq(places & ~starts_chain),
            beginning_write.addr.eq(append.list), beginning_write.data.place.eq(free_place),
            beginning_write.data.late.eq(joins_lonely), beginning_write.en.eq(places & starts_chain),
        ]
        with m.If(append.valid):
            m.d.sync += lonely.bit_select(append.list, 1).eq(append.begins & append.lonely)

        # Finish: straight to the drain if that is free.
        m.submodules.finished = finished = Queue(self._list_bits, depth=self._lists)
        late = Signal()  # the current list is lonely no more: its first waiter is read in this cycle
        ends = current.valid & ((self.advance & current.last) | self.again)
        free = (~current.valid & ~late) | ends
        m.d.comb += [
            self.selected.list.eq(Mux(finished.o.valid, finished.o.payload, self.finish.list)),
            self.selected.valid.eq(free & (finished.o.valid | self.finish.valid)),
            finished.o.ready.eq(free),
            finished.i.payload.eq(self.finish.list),
            finished.i.valid.eq(self.finish.valid & (finished.o.valid | ~free)),
        ]

        # Whose payload is read.
        begun = Mux(late, current.list, self.selected.list)
        is_resumed = resumed.bit_select(begun, 1)
        m.d.comb += [beginning_read.addr.eq(begun), reading.eq(place)]
        with m.If(self.selected.valid | late):
            m.d.comb += reading.eq(Mux(is_resumed, restart_read.data.place, beginning_read.data.place))
        with m.Elif(self.advance):
            m.d.comb += reading.eq(behind_read.data)
        m.d.comb += [restart_read.addr.eq(begun), behind_read.addr.eq(place)]
        m.d.sync += place.eq(reading)

        # The current waiter.
        joined = append.valid & (append.list == self.selected.list)
        oldest_newest = Signal(self._place_bits)  # the last fresh one of a list that was sent back
        may_stay_fresh = Signal()
        with m.If(self.selected.valid):
            is_lonely = lonely.bit_select(self.selected.list, 1)
            m.d.sync += [
                current.valid.eq(~(is_lonely & joined)),
                late.eq(is_lonely & joined),
                current.lonely.eq(is_lonely & ~joined),
                current.list.eq(self.selected.list),
                current.first.eq(1),
                current.fresh.eq(~is_lonely & (is_resumed | ~beginning_read.data.late)),
                may_stay_fresh.eq(is_resumed),
                oldest_newest.eq(restart_read.data.newest),
            ]
        with m.Elif(late):
            m.d.sync += [late.eq(0), current.valid.eq(1)]
        with m.Elif(ends):
            m.d.sync += current.valid.eq(0)
        with m.Elif(current.valid & self.advance):
            m.d.sync += [
                current.first.eq(0),
                current.fresh.eq(current.fresh & may_stay_fresh & (place != oldest_newest)),
            ]
        m.d.comb += [
            current.payload.eq(payload),
            newest_of_current.addr.eq(current.list),
            current.last.eq(current.lonely | (newest_of_current.data == place)),
        ]
        answered = Signal(range(self._places + 1))  # in this drain
        with m.If(self.selected.valid):
            m.d.sync += answered.eq(0)
        with m.Elif(current.valid & self.advance & (answered != self._places)):
            m.d.sync += answered.eq(answered + 1)
        with m.If(current.valid & (current.last | (answered == self._places))):
            m.d.comb += self.closing.bit_select(current.list, 1).eq(1)

        # Sent back: the list begins with the current waiter, and all who wait in it now are fresh.
        m.d.comb += [
            restart_write.addr.eq(current.list), restart_write.data.place.eq(place),
            restart_write.data.newest.eq(newest_of_current.data),
            restart_write.en.eq(current.valid & self.again),
        ]
        with m.If(current.valid & self.again):
            m.d.sync += resumed.bit_select(current.list, 1).eq(~current.lonely)
        with m.If(append.valid & append.begins):
            m.d.sync += resumed.bit_select(append.list, 1).eq(0)
        return m

    def _free_place(self, m, *, taken, left, place):
        """The place of the next waiter: at first those never used, in order; then those that were left, in that order."""
        m.submodules.free_places = free_places = fifo.SyncFIFOBuffered(width=self._place_bits, depth=self._places + 1)
        unused = Signal(range(self._places + 1))
        untouched = unused != self._places
        m.d.comb += [
            self.room.eq(untouched | free_places.r_rdy),
            free_places.w_data.eq(place),
            free_places.w_en.eq(left),
            free_places.r_en.eq(taken & ~untouched),
        ]
        with m.If(taken & untouched):
            m.d.sync += unused.eq(unused + 1)
        return Mux(untouched, unused, free_places.r_data)[:self._place_bits]
