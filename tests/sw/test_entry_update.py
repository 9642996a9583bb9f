"""Plans for context entries, transition by transition: the writes are predicted, and every state in between is checked.

A state is fine if what the unit looks at is the old entry or the new one. What it looks at is restated here from the
specification, not taken from the code under test.
"""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sw.entry_update import Outcome, break_plan, plan

# VT-d 9.3, written down by hand.
P = 1 << 0
FPD = 1 << 1
PASS_THROUGH = 2 << 2
AW_48 = 2 << 64
AW_39 = 1 << 64
IGNORED = 0xF << 67
POINTER_BITS = ((1 << 52) - 1) << 12
ALL_BITS = (1 << 128) - 1


def tables(pointer, domain_id, width=AW_48):
    return P | pointer | width | domain_id << 72


def passing(domain_id, pointer=0, width=AW_48):
    return P | PASS_THROUGH | pointer | width | domain_id << 72


def looked_at(entry):
    if not entry & P:
        return P | FPD
    if entry & PASS_THROUGH:
        return ALL_BITS & ~IGNORED & ~POINTER_BITS
    return ALL_BITS & ~IGNORED


def reads_as(state, entry):
    return not (state ^ entry) & looked_at(entry)


A, B, C = 0x111000, 0x222000, 0x333000
NOTHING = 0

HITLESS = {  # name: old, new, quantum, predicted number of writes
    "tables to tables, new domain ID, one exchange": (tables(A, 3), tables(B, 103), 128, 1),
    "tables to tables, new domain ID and width, one exchange": (tables(A, 3), tables(B, 103, AW_39), 128, 1),
    "tables to tables, same domain ID, one store": (tables(A, 3), tables(B, 3), 64, 1),
    "domain ID alone, one store": (tables(A, 3), tables(A, 103), 64, 1),
    "not present to tables: the other word first, then the one with present": (NOTHING, tables(A, 3), 64, 2),
    "tables to not present: present first, then the other word": (tables(A, 3), NOTHING, 64, 2),
    "tables to not present, one exchange": (tables(A, 3), NOTHING, 128, 1),
    "pass-through to tables, same domain ID: pointer and type share a word": (passing(3), tables(B, 3), 64, 1),
    "tables to pass-through, one exchange": (tables(A, 3), passing(103), 128, 1),
    "pass-through with another pointer it does not use": (passing(3, A), passing(3, B), 64, 1),
    "ignored bits alone": (tables(A, 3) | IGNORED, tables(A, 3), 64, 1),
    "not present to not present, new leftovers": (NOTHING, tables(A, 3) & ~P, 64, 2),
    "nothing changes": (tables(A, 3), tables(A, 3), 64, 0),
}
BREAKING = {
    "tables to tables, new domain ID": (tables(A, 3), tables(B, 103)),
    "tables to pass-through, new domain ID": (tables(A, 3), passing(103)),
    "pass-through to tables, new domain ID": (passing(3), tables(B, 103)),
    "tables to tables, new width": (tables(A, 3), tables(B, 3, AW_39)),
}


@pytest.mark.parametrize(("old", "new", "quantum", "writes"), HITLESS.values(), ids=HITLESS.keys())
def test_hitless_transition(old, new, quantum, writes):
    found = plan(old, new, quantum=quantum)
    assert found.outcome is Outcome.HITLESS
    assert len(found.writes) == writes
    states = [old, *found.states(old)]
    assert states[-1] == new
    for state in states:
        assert reads_as(state, old) or reads_as(state, new), hex(state)


@pytest.mark.parametrize(("old", "new"), BREAKING.values(), ids=BREAKING.keys())
def test_transition_that_plain_stores_cannot_make_hitless(old, new):
    found = plan(old, new, quantum=64)
    assert found.outcome is Outcome.BREAK_BEFORE_MAKE
    assert "quanta 0 and 1 of 64 bits" in found.reason
    states = found.states(old)
    assert [state & P for state in states] == [0] * (len(states) - 1) + [P]
    assert states[0] == old & ~P
    assert states[-1] == new


def test_order_of_stores_when_an_entry_appears_and_disappears():
    new = tables(A, 3)
    assert [write.index for write in plan(NOTHING, new, quantum=64).writes] == [1, 0]
    assert [write.index for write in plan(new, NOTHING, quantum=64).writes] == [0, 1]


def test_break_plan_is_made_of_64_bit_stores_even_where_an_exchange_would_do():
    found = break_plan(tables(A, 3), tables(B, 103))
    assert found.outcome is Outcome.BREAK_BEFORE_MAKE
    assert [(write.index, write.quantum) for write in found.writes] == [(0, 64), (1, 64), (0, 64)]
    assert found.writes[0].after == A
    assert found.writes[2].after == B | P


def test_break_plan_keeps_fault_processing_disable_until_the_new_entry():
    states = break_plan(tables(A, 3) | FPD, tables(B, 103)).states(tables(A, 3) | FPD)
    assert [state & FPD for state in states] == [FPD, FPD, 0]


def test_plan_prints_what_it_does_and_why():
    text = str(plan(tables(A, 3), tables(B, 103)))
    assert text.splitlines() == [
        "hitless: bits in use differ only in quantum 0 of 128 bits",
        "  write quantum 0: 00000000000003020000000000111001 -> 00000000000067020000000000222001 (the change itself)",
    ]


def test_quantum_that_no_machine_has_is_refused():
    with pytest.raises(ValueError, match="quantum must be 64 or 128, not 32"):
        plan(0, 0, quantum=32)


ENTRIES = st.one_of(
    st.builds(tables, st.sampled_from([A, B, C]), st.sampled_from([3, 103]), st.sampled_from([AW_39, AW_48])),
    st.builds(passing, st.sampled_from([3, 103]), st.sampled_from([0, A, B]), st.sampled_from([AW_39, AW_48])),
    st.builds(lambda entry: entry & ~P, st.builds(tables, st.sampled_from([0, A]), st.sampled_from([0, 3]))),
).flatmap(lambda entry: st.sampled_from([entry, entry | FPD, entry | IGNORED]))


@given(ENTRIES, ENTRIES, st.sampled_from([64, 128]))
def test_no_plan_shows_the_unit_anything_but_old_new_or_not_present(old, new, quantum):
    found = plan(old, new, quantum=quantum)
    states = [old, *found.states(old)]
    assert states[-1] == new
    if found.outcome is Outcome.HITLESS:
        assert all(reads_as(state, old) or reads_as(state, new) for state in states)
    else:
        assert quantum == 64
        assert all(not state & P for state in states[1:-1])


@given(ENTRIES, ENTRIES)
def test_a_hitless_plan_is_found_whenever_an_order_of_final_words_is_one_and_is_no_longer(old, new):
    """Brute force over the two orders in which the two words can be written with their final values."""
    low = (1 << 64) - 1
    hitless = []
    for between in ((old & ~low) | (new & low), (old & low) | (new & ~low)):
        if reads_as(between, old) or reads_as(between, new):
            hitless.append(len({old, between, new}) - 1)
    found = plan(old, new, quantum=64)
    if hitless:
        assert found.outcome is Outcome.HITLESS
        assert len(found.writes) == min(hitless)
