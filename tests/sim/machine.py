"""A small machine for tests: tables written by hand, straps by name, captures as memory."""
import csv
import gzip
import json
from pathlib import Path

import numpy as np

from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps, straps_from_capabilities
from hw.spec.codec import encode
from hw.spec.tables import ContextEntry, RootEntry, SecondStageEntry
from sim.model.memory import Memory

CAPTURES = Path(__file__).parent.parent / "data" / "real-tables"
ROOT, CONTEXT = 0x100, 0x101       # pages


def straps(**changes):
    """Straps of a machine that has everything, with some changed."""
    return encode(Straps, **(describe_straps(STRAPS_DEFAULT) | changes))


def root_entry(context_table=CONTEXT, **fields):
    """A present root entry."""
    return encode(RootEntry, **({"present": 1, "context_table_pointer": context_table} | fields))


def context_entry(table, domain_id, address_width=2, **fields):
    """A present context entry."""
    return encode(ContextEntry, **({"present": 1, "second_stage_pointer": table, "domain_id": domain_id,
                                    "address_width": address_width} | fields))


def entry(page, readable=1, writable=1, **fields):
    """A second-stage entry."""
    return encode(SecondStageEntry, **({"address": page, "readable": readable, "writable": writable} | fields))


def stores_of_path(table, iova, leaf, *, top=4, level=1):
    """(address, entry) of a walk from `table` down to `leaf`; the table of level n stands n pages before the top one."""
    stores = []
    for current in range(top, level, -1):
        stores.append(((table << 12) + 8 * (iova >> 12 + 9 * (current - 1) & 511), entry(table + 1)))
        table += 1
    stores.append(((table << 12) + 8 * (iova >> 12 + 9 * (level - 1) & 511), leaf))
    return stores


class Capture:
    """A capture's first snapshot: its memory, and what it says of it."""

    def __init__(self, name, folder=CAPTURES):
        self.folder = folder / name
        self.epoch = json.loads((self.folder / "capture.json").read_text())["epochs"][0]
        self.memory = Memory()
        with np.load(self.folder / "tables.npz") as tables:
            for address, content in zip(tables["addr"].tolist(), tables["data"], strict=True):
                self.memory.write(address, content.tobytes())
        self.straps = straps_from_capabilities(self.register(0x008), self.register(0x010))
        self.root_table = self.register(0x020) >> 12

    def register(self, offset):
        """A 64-bit register of the snapshot."""
        low, high = (int(self.epoch["regs"][f"0x{place:03x}"], 16) for place in (offset, offset + 4))
        return high << 32 | low

    def rows(self, name):
        """Rows of a CSV file, as dictionaries."""
        with gzip.open(self.folder / f"{name}.csv.gz", "rt") as file:
            yield from csv.DictReader(file)
