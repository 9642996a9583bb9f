# amaranth: UnusedElaboratable=no
"""Order within each ID, whatever happens in the same cycle; and choosing in turn."""
import random

import pytest

from hw.axi.order_table import OrderTable
from hw.axi.picker import Picker
from tests.hw.iommu.bench import run


class Model:
    """What the table must say: accesses of each ID, oldest first."""

    def __init__(self, slots):
        self.order = {}            # by ID: slots
        self.issued = set()
        self.slots = slots

    def take(self, slot, id):
        assert slot not in self.busy(), "a slot was given out twice"
        self.order.setdefault(id, []).append(slot)

    def busy(self):
        return [slot for slots in self.order.values() for slot in slots]

    def may_issue(self):
        firsts = ([slot for slot in slots if slot not in self.issued] for slots in self.order.values())
        return {waiting[0] for waiting in firsts if waiting}

    def oldest(self):
        return {slots[0] for slots in self.order.values() if slots}

    def done(self, slot):
        self.issued.discard(slot)
        for slots in self.order.values():
            if slot in slots:
                slots.remove(slot)


def numbers(vector):
    return {number for number in range(vector.bit_length()) if vector >> number & 1}


@pytest.mark.parametrize(("slots", "ids", "seed"), [(2, 1, 0), (4, 2, 1), (8, 1, 2), (8, 3, 3), (16, 16, 4)])
def test_every_combination_of_taking_issuing_and_ending_keeps_the_order(slots, ids, seed):
    dut, model, generator = OrderTable(slots=slots, id_bits=4), Model(slots), random.Random(seed)
    taken = []

    async def bench(ctx):
        offered = None
        for _ in range(600):
            assert numbers(ctx.get(dut.may_issue)) == model.may_issue()
            assert numbers(ctx.get(dut.oldest)) == model.oldest()
            asked = generator.randrange(ids)
            ctx.set(dut.asked_id, asked)
            mine = model.order.get(asked)
            assert ctx.get(dut.owned) == bool(mine)
            assert not mine or ctx.get(dut.owner) == mine[0]

            id, issue, end = generator.randrange(ids), None, None
            if generator.randrange(3) and model.may_issue():
                issue = generator.choice(sorted(model.may_issue()))
            ends = sorted(model.oldest() & model.issued)
            if generator.randrange(3) and ends:
                end = generator.choice(ends)
            valid, slot = ctx.get(dut.free.valid), ctx.get(dut.free.payload)
            assert offered in (None, slot), "a slot that was offered is gone"
            take = valid and generator.randrange(4)
            ctx.set(dut.free.ready, bool(take))
            ctx.set(dut.free_id, id)
            for port, value in ((dut.issued, issue), (dut.done, end)):
                ctx.set(port.valid, value is not None)
                ctx.set(port.slot, value or 0)
            if end is not None:
                queue = next(queue for queue in model.order.values() if end in queue)
                assert numbers(ctx.get(dut.followers)) == set(queue[1:2])
            await ctx.tick()
            if issue is not None:
                model.issued.add(issue)
            if end is not None:
                model.done(end)
            if take:
                model.take(slot, id)
                taken.append(slot)
            offered = slot if valid and not take else None
    run(dut, bench)
    assert len(taken) > 150
    assert set(taken) == set(range(slots))


def test_a_table_of_one_slot_is_refused():
    with pytest.raises(ValueError, match="slots must be at least 2, not 1"):
        OrderTable(slots=1, id_bits=4)


def choices(*rounds, count=4):
    """Who is chosen in each round of candidates; each choice is taken."""
    dut, result = Picker(count=count), []

    async def bench(ctx):
        for candidates in rounds:
            ctx.set(dut.candidates, sum(1 << candidate for candidate in candidates))
            ctx.set(dut.taken, bool(candidates))
            result.append(ctx.get(dut.chosen) if ctx.get(dut.any) else None)
            await ctx.tick()
    run(dut, bench)
    return result


def test_whoever_waits_is_chosen_in_turn():
    assert choices(*[range(4)] * 6) == [0, 1, 2, 3, 0, 1]


def test_those_who_do_not_wait_are_passed_over():
    assert choices([1, 3], [1, 3], [1, 3], [0, 2], [], [2]) == [1, 3, 1, 2, None, 2]


def test_nobody_is_chosen_from_nobody():
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        Picker(count=0)
