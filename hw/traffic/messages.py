"""What passes between the blocks of the traffic engine. Ours."""
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from hw.spec.bench import MAX_DEVICES, DeviceDomains
from hw.spec.dma import TAG_BITS, Access, Status

__all__ = ["Flight", "Outcome", "PagePort", "Strobe", "TablePort"]


class Flight(data.Struct):
    """What is remembered of a DMA while it is in flight."""

    device: range(MAX_DEVICES)   # row of the device table
    source_id: 16
    access: Access
    iova: 64                     # byte address
    sequence: 32                 # of the engine's DMAs, from 1
    old_page: 40                 # HPA page that the old tables give, from the page list
    new_page: 40                 # ... and the new ones
    declared: DeviceDomains      # as it stood when the unit accepted the request


class Outcome(data.Struct):
    """All that the judge needs to know of one DMA."""

    tag: TAG_BITS
    flight: Flight
    status: Status
    domain_id: 16                # under which it was translated, says the reply
    hpa: 52                      # byte address; zero unless `status` is OK
    colour: 1                    # to be handed back
    error: 1                     # the memory refused the address
    signature: 64                # as read from memory; zero without a data access


class Strobe(Signature):
    """Something happens in the cycles in which `valid` is high. Never waits."""

    def __init__(self, payload):
        super().__init__({"valid": Out(1), "payload": Out(payload)})


class TablePort(Signature):
    """The host's way to one row of a table: `read_data` follows `row` at once, `write` stores `write_data` there."""

    def __init__(self, payload, *, rows):
        super().__init__({
            "row": Out(range(rows)),
            "write": Out(1), "write_data": Out(payload),
            "read_data": In(payload),
        })


class PagePort(Signature):
    """The host's way into the page list: `write` stores one 64-bit word of one entry."""

    def __init__(self, *, rows, words):
        super().__init__({
            "row": Out(range(rows)), "word": Out(range(words)),
            "write": Out(1), "write_data": Out(64),
        })
