"""Tables of one device, and event logs written by hand, for the tests of the permitted answers and of the follower."""
from hw.spec.capabilities import STRAPS_DEFAULT, Straps, describe_straps
from hw.spec.codec import encode
from hw.spec.dma import Access, Status
from hw.spec.events import ControlDetail, EventKind, FaultDisposition, MessageKind, RegisterAccess, ReplyDetail
from hw.spec.faults import FaultReason
from hw.spec.invalidation import (
    ContextCacheDescriptor,
    DescriptorType,
    Granularity,
    Invalidation,
    InvalidationKind,
    IotlbDescriptor,
    WaitDescriptor,
)
from hw.spec.memory import CLIENT_TAG_BITS, MemoryClient
from hw.spec.registers import register_offset
from hw.spec.tables import ContextEntry, PageSize, RootEntry, SecondStageEntry
from sim.model.follower import Follower, Note
from sim.model.logged_event import LoggedEvent
from sim.model.quanta import Quanta
from sim.model.translate import Request

ROOT, CONTEXTS, QUEUE, STATUS_HPA = 0x10, 0x12, 0x40, 0x50000
LEVELS = {4: 0x20, 3: 0x21, 2: 0x22, 1: 0x23}
DEVICE, DOMAIN, IOVA = 0x0008, 5, 0x3000
OLD, NEW = 0x100, 0x200                          # pages that the IOVA leads to
LEAF = (LEVELS[1] << 12) + 8 * 3
CONTEXT = (CONTEXTS << 12) + 16 * DEVICE


def straps(**changes):
    """The usual machine, changed."""
    return encode(Straps, **describe_straps(STRAPS_DEFAULT) | changes)


def entry(page, **fields):
    """Eight bytes of a second-stage entry."""
    return encode(SecondStageEntry, **dict(readable=1, writable=1, address=page) | fields).to_bytes(8, "little")


def context(**fields):
    """Sixteen bytes of the device's context entry."""
    return encode(ContextEntry, **dict(present=1, second_stage_pointer=LEVELS[4], address_width=2, domain_id=DOMAIN)
                  | fields).to_bytes(16, "little")


def tables(**memory):
    """Memory with tables that lead IOVA to OLD."""
    quanta = Quanta(**memory)
    quanta.preset(ROOT << 12, encode(RootEntry, present=1, context_table_pointer=CONTEXTS).to_bytes(16, "little"))
    quanta.preset(CONTEXT, context())
    for level in (4, 3, 2):
        quanta.preset(LEVELS[level] << 12, entry(LEVELS[level - 1]))
    quanta.preset(LEAF, entry(OLD))
    return quanta


class Log:
    """An event log in the making: each method appends what the unit would say, at a cycle that only grows."""

    def __init__(self, **changes):
        self.straps = straps(**changes)
        self.events, self.notes, self.requests = [], [], []
        self.cycle = 10
        self._begun = 0

    def event(self, kind, *, after=1, **fields):
        """Any event."""
        self.cycle += after
        self.events.append(LoggedEvent(self.cycle, kind, **fields))
        return self

    def register(self, name, value, *, write=False, wide=True, index=0, part=0, violation=False, after=3):
        """A register access."""
        strap = describe_straps(self.straps)
        offset = register_offset(name, fro=strap["fault_record_offset"], iro=strap["invalidation_offset"], index=index)
        return self.event(EventKind.REGISTER, after=after, hpa=offset + part, detail=value,
                          tag=encode(RegisterAccess, write=write, wide=wide, violation=violation))

    def write(self, name, value, **how):
        """A register is written."""
        return self.register(name, value, write=True, **how)

    def enable(self):
        """The root table, and translation."""
        self.write("RTADDR", ROOT << 12)
        self.write("GCMD", 1 << 30, wide=False)
        self.event(EventKind.CONTROL, after=0, hpa=ROOT << 12, detail=encode(ControlDetail, latched=1))
        self.write("GCMD", 1 << 31, wide=False)
        return self.event(EventKind.CONTROL, after=0, hpa=ROOT << 12, detail=encode(ControlDetail, translation_enabled=1))

    def enable_queue(self):
        """The queue, of 16-byte descriptors."""
        self.write("IQA", QUEUE << 12)
        return self.write("GCMD", 3 << 30 & ~(1 << 30) | 1 << 26, wide=False)

    def stored(self, hpa, content):
        """The host stores something."""
        self.cycle += 1
        self.notes.append(Note(self.cycle, "stored", hpa, content))
        return self

    def request(self, *, iova=IOVA, access=Access.READ, source_id=DEVICE, tag=0, **fields):
        """A request is accepted."""
        self.requests.append(Request(source_id, iova, access, **fields))
        return self.event(EventKind.REQUEST, source_id=source_id, tag=tag, iova=iova, detail=access.value)

    def answered(self, page=OLD, *, iova=IOVA, size=PageSize.SIZE_4K, domain_id=DOMAIN, tag=0, source_id=DEVICE, colour=0):
        """A request is answered OK."""
        return self.event(EventKind.REPLY, source_id=source_id, domain_id=domain_id, tag=tag, iova=iova,
                          hpa=page << 12 | iova & 0xFFF,
                          detail=encode(ReplyDetail, status=Status.OK, page_size=size, colour=colour))

    def blocked(self, reason, *, iova=IOVA, tag=0, disposition=FaultDisposition.RECORDED, fault=True):
        """A request is blocked, and a fault raised."""
        self.event(EventKind.REPLY, source_id=DEVICE, tag=tag, iova=iova,
                   detail=encode(ReplyDetail, status=Status.BLOCKED, page_size=PageSize.UNTRANSLATED, fault_reason=reason))
        if fault:
            self.event(EventKind.FAULT, after=0, source_id=DEVICE, iova=iova, tag=disposition, detail=reason)
        return self

    def begin(self, **fields):
        """An invalidation begins."""
        self._begun = encode(Invalidation, **fields)
        return self.event(EventKind.INVALIDATION_BEGIN, detail=self._begun)

    def end(self, after=5):
        """Everything that has begun is complete."""
        return self.event(EventKind.INVALIDATION_END, after=after, detail=self._begun)

    def slot_read(self, slot):
        """The queue reads a slot."""
        return self.event(EventKind.MEMORY, hpa=(QUEUE << 12) + 16 * slot,
                          tag=MemoryClient.INVALIDATION_QUEUE << CLIENT_TAG_BITS)

    def passed(self, slot, descriptor):
        """The queue passes on what it has read there."""
        return self.event(EventKind.DESCRIPTOR, after=3, hpa=(QUEUE << 12) + 16 * slot, detail=descriptor)

    def fetched(self, slot, descriptor):
        """A descriptor that stands in its slot is read, and passed."""
        return self.slot_read(slot).passed(slot, descriptor)

    def queued(self, *descriptors):
        """Descriptors from slot 0 on, and the doorbell."""
        for slot, descriptor in enumerate(descriptors):
            self.stored((QUEUE << 12) + 16 * slot, descriptor.to_bytes(16, "little"))
        return self.write("IQT", len(descriptors) << 4)

    def status(self, data, hpa=STATUS_HPA):
        """The status of a wait is stored."""
        return self.event(EventKind.MESSAGE, hpa=hpa, tag=MessageKind.STATUS, detail=data)

    def follow(self, memory=None):
        """The follower, at the end of it."""
        follower = Follower(self.straps, memory or tables(), requests=self.requests)
        follower.follow(self.events, self.notes)
        return follower

    def troubles(self, memory=None):
        """What the follower has found, as one text."""
        return "\n".join(trouble.sentence for trouble in self.follow(memory).troubles)


EVERYTHING = dict(kind=InvalidationKind.IOTLB, granularity=Granularity.GLOBAL)
CONTEXT_CACHE = dict(kind=InvalidationKind.CONTEXT_CACHE, granularity=Granularity.GLOBAL)
IOTLB_DESCRIPTOR = encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=Granularity.GLOBAL)
CONTEXT_DESCRIPTOR = encode(ContextCacheDescriptor, type=DescriptorType.CONTEXT_CACHE, granularity=Granularity.GLOBAL)
NOT_PRESENT, NO_READ, NO_WRITE = (
    FaultReason.CONTEXT_NOT_PRESENT, FaultReason.READ_PERMISSION, FaultReason.WRITE_PERMISSION)


def wait(data=0x77, **fields):
    """A wait that stores its status."""
    return encode(WaitDescriptor, **dict(type=DescriptorType.WAIT, status_write=1, status_data=data,
                                         status_address=STATUS_HPA >> 2) | fields)


def invalidated_by_queue():
    """A log with an invalidation and a wait, fetched, and the invalidation begun."""
    log = Log().enable().enable_queue().queued(IOTLB_DESCRIPTOR, wait())
    return log.fetched(0, IOTLB_DESCRIPTOR).begin(**EVERYTHING).fetched(1, wait())
