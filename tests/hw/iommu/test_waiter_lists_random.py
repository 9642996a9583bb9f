"""Lists of waiters, used at random, against deques in Python."""

import random
from collections import deque

import pytest

from tests.hw.iommu.waiter_bench import PAYLOAD_BITS, WaiterBench


class Model:
    """Lists of waiters as the docstring has it, and what is current."""

    def __init__(self, lists, places):
        self.places = places
        self.answered = 0
        self.waiting = [None] * lists  # deque of [payload, fresh]; None: has not begun
        self.finished = deque()
        self.draining = None
        self.first = False
        self.late = False
        self.held = 0

    @property
    def current(self):
        if self.draining is None or self.late:
            return None
        waiting = self.waiting[self.draining]
        flags = ["first"] * self.first
        if not waiting:
            return " ".join([f"list {self.draining}:", *flags, "last", "lonely"])
        payload, fresh = waiting[0]
        flags += ["fresh"] * fresh + ["last"] * (len(waiting) == 1)
        return " ".join([f"list {self.draining}:", str(payload), *flags])

    @property
    def closing(self):
        if self.draining is None or self.late:
            return 0
        shut = len(self.waiting[self.draining]) <= 1 or self.answered >= self.places
        return shut << self.draining

    def step(self, *, append=None, finish=None, advance=0, again=0):
        """One cycle; the list that is selected in it."""
        was_lonely = [waiting is not None and not waiting for waiting in self.waiting]
        active = self.current is not None
        sent_back = active and again
        if sent_back:
            for waiter in self.waiting[self.draining]:
                waiter[1] = True
            self.draining = None
        elif active and advance:
            self.first = False
            self.answered += 1
            if self.waiting[self.draining]:
                self.waiting[self.draining].popleft()
                self.held -= 1
            if not self.waiting[self.draining]:
                self.waiting[self.draining] = None
                self.draining = None
        self.late = False
        if append is not None:
            number, payload, new = append
            if new:
                self.waiting[number] = deque()
            if payload is not None:
                self.waiting[number].append([payload, bool(new)])
                self.held += 1
        if finish is not None:
            self.finished.append(finish)
        if self.draining is not None or not self.finished:
            return None
        self.draining = self.finished.popleft()
        self.first = True
        self.answered = 0
        self.late = was_lonely[self.draining] and bool(self.waiting[self.draining])
        return self.draining


@pytest.mark.parametrize(
    ("lists", "places", "seed"),
    [(1, 2, 0), (2, 2, 1), (3, 5, 2), (4, 8, 3), (4, 64, 4), (16, 64, 5), (16, 9, 6), (64, 70, 7), (5, 3, 8)],
)
def test_random_use_agrees_with_a_model_of_deques_and_no_place_is_lost(lists, places, seed):
    choose = random.Random(seed)
    bench = WaiterBench(lists=lists, places=places)
    model = Model(lists, places)
    seen = dict.fromkeys(("late", "lonely", "again", "full", "closing", "back to back"), 0)

    def inputs(room, patience):
        """Anything that the docstring allows."""
        taken = choose.random()
        active = model.current is not None
        again = active and taken > 0.93
        step = dict(advance=active and not again and taken < 0.8 * patience, again=again)
        ending = active and (again or (step["advance"] and len(model.waiting[model.draining]) <= 1))
        if choose.random() < 0.75 and patience < 1.2:
            number = choose.randrange(lists)
            dead = model.waiting[number] is None or (number == model.draining and ending and step["advance"])
            payload = None if dead and choose.random() < 0.3 else choose.getrandbits(PAYLOAD_BITS)
            shut = not dead and model.closing >> number & 1
            seen["closing"] += shut
            if not shut and (room or payload is None):
                step["append"] = (number, payload, int(dead))
        pending = [
            number
            for number, waiting in enumerate(model.waiting)
            if waiting is not None and number != model.draining and number not in model.finished
        ]
        if pending and choose.random() < 0.35 * patience:
            step["finish"] = choose.choice(pending)
            lonely = not model.waiting[step["finish"]]
            if lonely and room and "append" in step and choose.random() < 0.7:
                step["append"] = (step["finish"], choose.getrandbits(PAYLOAD_BITS), 0)
        return step

    async def testbench(ctx):
        unseen = 0
        for cycle in range(1500):
            patience = (0.1, 1, 1.24)[cycle // (40 + 2 * places) % 3]  # at times it fills up, at times it drains
            room = ctx.get(bench.dut.room)
            unseen = unseen + 1 if not room and model.held < places else 0
            assert unseen <= 3, f"no room, {model.held} places held"
            assert not room or model.held < places
            step = inputs(room, patience)
            bench.drive(ctx, **step)
            before = model.current
            assert bench.current(ctx) == before, cycle
            assert ctx.get(bench.dut.closing) == model.closing, cycle
            selected = model.step(**step)
            assert bench.selected(ctx) == selected, cycle
            seen["late"] += model.late
            seen["full"] += not room
            seen["again"] += bool(step["again"])
            seen["lonely"] += before is not None and "lonely" in before
            seen["back to back"] += before is not None and selected is not None
            await ctx.tick()
        # Empty everything; then there is room for as many as there are places, and each keeps its own payload.
        for _ in range(4 * (places + lists)):
            pending = [
                number
                for number, waiting in enumerate(model.waiting)
                if waiting is not None and number != model.draining and number not in model.finished
            ]
            step = dict(advance=model.current is not None, finish=pending[0] if pending else None)
            bench.drive(ctx, **step)
            assert bench.current(ctx) == model.current
            model.step(**step)
            await ctx.tick()
        assert model.held == 0
        for payload in range(places):
            assert ctx.get(bench.dut.room)
            await bench.step(ctx, append=(0, payload, int(payload == 0)))
        assert not ctx.get(bench.dut.room)
        await bench.step(ctx, finish=0)
        for payload in range(places):
            assert ctx.get(bench.dut.current.payload) == payload
            await bench.step(ctx, advance=1)
        assert bench.current(ctx) is None

    bench.run(testbench)
    assert places >= 64 or lists == 1 or all(seen.values()), seen
