"""Tables that mean nothing, by seed: a few pages that point at each other, with bits flipped and pages that cannot be read.

Every domain ID stands for one top table and address width, as VT-d 4.1, 6.2.3.1 asks of software; nothing else is as it
should be.
"""
import random
from dataclasses import dataclass

from hw.spec.codec import decode, encode
from hw.spec.dma import Access, RequestKind
from hw.spec.tables import (
    ENTRY_BYTES,
    PAGE_BYTES,
    ContextEntry,
    RootEntry,
    SecondStageEntry,
    TranslationType,
    level_shift,
)
from sim.player import PlayedRequest
from tests.cosim.tables import ROOT_PAGE, straps

__all__ = ["RandomTables"]

_CONTEXT_PAGES = (0x11, 0x12, 0x13)    # of buses 0, 1 and 2
_FUNCTIONS = (0, 1, 0x18, 0xFF)
_TABLE_PAGES = range(0x20, 0x30)
_DATA_PAGES = (0, 0x40000, 0x80200, 0xC0000, 0xFEC00, 0xFEE00, 0xFEE80, 0x7654321, 0x8000000)
_INDICES = (0, 1, 0x0F7, 511)          # that tables have entries for
_MACHINES = (                          # straps, and the address widths that most contexts have
    (dict(), (1, 2, 3)),
    (dict(host_address_width=39, mgaw=38, sagaw=0b00010), (1,)),
    (dict(host_address_width=48, mgaw=47, sagaw=0b00110, domain_id_width_code=0, superpages=0b01), (1, 2)),
    (dict(snoop_control=1, pass_through=0, superpages=0b00), (1, 2)),
)
_TYPES = (TranslationType.MULTI_LEVEL,) * 9 + (TranslationType.PASS_THROUGH,)
_KINDS = (RequestKind.UNTRANSLATED,) * 28 + (RequestKind.TRANSLATION_REQUEST, RequestKind.TRANSLATED)
_SECOND_STAGE_BYTES = 8


@dataclass(frozen=True)
class RandomTables:
    """A machine, its tables and requests of several devices.

    Members
    -------
    seed : int
        That all of it came from.
    straps : int
        Encoded.
    words, unreadable_pages, memory_end
        As in `tests.cosim.tables.Tables`.
    requests : tuple
        Of three buses that there are and one that there is not.
    """

    seed: int
    straps: int
    words: dict
    unreadable_pages: list
    requests: tuple
    memory_end: int = 1 << 52

    @classmethod
    def of_seed(cls, seed, *, requests=150):
        """The same seed, the same tables."""
        dice = random.Random(seed)
        strap_changes, address_widths = dice.choice(_MACHINES)
        words = _roots_and_contexts(dice, address_widths)
        for page in _TABLE_PAGES:
            for index in _INDICES:
                place = page * PAGE_BYTES + index * _SECOND_STAGE_BYTES
                words[place] = _second_stage_entry(dice).to_bytes(_SECOND_STAGE_BYTES, "little")
        unreadable = dice.choices([*_TABLE_PAGES, *3 * _CONTEXT_PAGES], k=dice.choice((0, 0, 1, 2)))
        return cls(seed, straps(**strap_changes), words, unreadable,
                   tuple(_request(dice, 2 + max(address_widths)) for _ in range(requests)))


def _roots_and_contexts(dice, address_widths):
    words, table_of_domain = {}, {}
    for bus, page in enumerate(_CONTEXT_PAGES):
        root = _flipped(dice, RootEntry, dict(present=1, context_table_pointer=page), chance=0.05)
        words[ROOT_PAGE * PAGE_BYTES + bus * ENTRY_BYTES] = root.to_bytes(ENTRY_BYTES, "little")
        for number, function in enumerate(_FUNCTIONS):
            entry = _flipped(dice, ContextEntry, dict(
                present=dice.random() < 0.95, fault_processing_disable=dice.random() < 0.1,
                translation_type=dice.choice(_TYPES), second_stage_pointer=dice.choice(_TABLE_PAGES),
                address_width=dice.choice(address_widths), domain_id=bus * len(_FUNCTIONS) + number + 1), chance=0.1)
            fields = decode(ContextEntry, entry)
            table = (fields.second_stage_pointer, fields.address_width)
            if table_of_domain.setdefault(fields.domain_id, table) == table:  # a flip may have made one ID of another
                words[page * PAGE_BYTES + function * ENTRY_BYTES] = entry.to_bytes(ENTRY_BYTES, "little")
    return words


def _second_stage_entry(dice):
    is_table = dice.random() < 0.8
    return _flipped(dice, SecondStageEntry, dict(
        readable=dice.random() < 0.95, writable=dice.random() < 0.9,
        address=dice.choice(_TABLE_PAGES if is_table else _DATA_PAGES),
        page_size=dice.random() < (0.05 if is_table else 0.7)), chance=0.25)


def _flipped(dice, layout, fields, *, chance):
    """The entry, sometimes with one of its bits flipped."""
    entry = encode(layout, **fields)
    return entry ^ (1 << dice.randrange(layout.as_shape().size)) if dice.random() < chance else entry


def _request(dice, levels):
    iova = sum(dice.choice(_INDICES) << level_shift(level) for level in range(1, levels + 1))
    if levels > 3 and dice.random() < 0.5:
        iova %= 1 << level_shift(4)  # what three levels can translate
    if dice.random() < 0.03:
        iova |= 1 << dice.randrange(39, 64)
    bus = dice.randrange(len(_CONTEXT_PAGES)) if dice.random() < 0.97 else len(_CONTEXT_PAGES)
    return PlayedRequest(bus << 8 | dice.choice(_FUNCTIONS), iova | dice.randrange(0, PAGE_BYTES, 4),
                         dice.choice((Access.READ, Access.READ, Access.WRITE, Access.ATOMIC)), dice.choice(_KINDS),
                         pasid_present=dice.random() < 0.01)
