"""The VT-d register file, one row per field. Source: VT-d 4.1, 11.4.

The gateware's register block, the driver's typed access and the register reference all come from `REGISTERS`.
Rows whose `base` is FRO or IRO stand at 16 times CAP.FRO or ECAP.IRO; everything else at its offset.
"""
from dataclasses import dataclass
from enum import Enum

__all__ = ["Access", "Base", "Field", "Register", "REGISTERS", "REGISTER_WINDOW_BYTES", "FRCD_STRIDE",
           "GCMD_ONE_SHOT_MASK", "register", "register_offset"]

REGISTER_WINDOW_BYTES = 0x5000  # 4 KiB of fixed registers, and as far as a 10-bit FRO or IRO can point (16 KiB + FRCD)
FRCD_STRIDE = 16


class Access(Enum):
    """How software sees a field."""
    RO = "read only: hardware sets it"
    RW = "read and write"
    WO = "write only: reads zero"
    RW1C = "reads the state; writing 1 clears it"
    TRIGGER = "writing 1 starts an action; reads 1 until it has ended (the write that carries this dword starts it)"
    ONE_SHOT = "writing 1 starts an action; the status register tells when it has ended"


class Base(Enum):
    """What an offset is relative to."""
    FIXED = "the register window"
    FRO = "16 * CAP.FRO"
    IRO = "16 * ECAP.IRO"


@dataclass(frozen=True)
class Field:
    """One field: `low` is its lowest bit in the register."""
    name: str
    low: int
    width: int
    access: Access
    reset: int = 0
    doc: str = ""

    @property
    def mask(self):
        """The field's bits, in place."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True)
class Register:
    """One register: byte offset, width in bits (32, 64 or 128), fields from low to high."""
    name: str
    offset: int
    width: int
    fields: tuple[Field, ...]
    base: Base = Base.FIXED
    doc: str = ""

    def field(self, name):
        """The field of that name. Raises KeyError naming the register and its fields."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}; it has {', '.join(f.name for f in self.fields)}")

    @property
    def reset(self):
        """Value after reset, of the fields that do not follow the straps."""
        return sum(field.reset << field.low for field in self.fields)


def _ro(name, low, width, doc="", reset=0):
    return Field(name, low, width, Access.RO, reset, doc)


def _rw(name, low, width, doc="", reset=0):
    return Field(name, low, width, Access.RW, reset, doc)


_REGISTERS = (
    Register("VER", 0x000, 32, (
        _ro("MIN", 0, 4, "minor version"),
        _ro("MAX", 4, 4, "5: both register-based and queued invalidation", 5),
    ), doc="Architecture version"),
    Register("CAP", 0x008, 64, (
        _ro("ND", 0, 3, "domain ID width is 4 + 2*ND bits"),
        _ro("AFL", 3, 1, "advanced fault log: absent"), _ro("RWBF", 4, 1, "write buffers to be flushed: none"),
        _ro("PLMR", 5, 1, "protected low memory: absent"), _ro("PHMR", 6, 1, "protected high memory: absent"),
        _ro("CM", 7, 1, "caching mode: what is not present may be cached too"),
        _ro("SAGAW", 8, 5, "bit 1: 39-bit, bit 2: 48-bit, bit 3: 57-bit"),
        _ro("MGAW", 16, 6, "guest address width - 1"),
        _ro("ZLR", 22, 1, "reads of no bytes are permitted on pages that are write only"),
        _ro("FRO", 24, 10, "fault records at 16*FRO"),
        _ro("SSLPS", 34, 4, "bit 0: 2 MiB, bit 1: 1 GiB"),
        _ro("PSI", 39, 1, "page-selective IOTLB invalidation"),
        _ro("NFR", 40, 8, "fault records - 1"),
        _ro("MAMV", 48, 6, "largest address mask"),
        _ro("DWD", 54, 1, "writes can be drained"), _ro("DRD", 55, 1, "reads can be drained"),
        _ro("FS1GP", 56, 1, "first-stage pages of 1 GiB: absent"), _ro("PI", 59, 1, "posted interrupts: absent"),
        _ro("FS5LP", 60, 1, "first-stage tables of 5 levels: absent"), _ro("ECMDS", 61, 1, "enhanced commands: absent"),
        _ro("ESIRTPS", 62, 1, "SIRTP implies global invalidation: absent"),
        _ro("ESRTPS", 63, 1, "SRTP implies global invalidation"),
    ), doc="Capabilities; follow the straps"),
    Register("ECAP", 0x010, 64, (
        _ro("C", 0, 1, "table reads snoop"), _ro("QI", 1, 1, "invalidation queue"),
        _ro("DT", 2, 1, "device-TLB: absent"),
        _ro("IR", 3, 1, "interrupt remapping: absent"),
        _ro("EIM", 4, 1, "extended interrupt mode: absent"), _ro("PT", 6, 1, "pass-through"),
        _ro("SC", 7, 1, "snoop control"),
        _ro("IRO", 8, 10, "IVA and IOTLB at 16*IRO"),
        _ro("MHMV", 20, 4, "largest index mask of an interrupt-entry-cache invalidation"),
        _ro("SMTS", 43, 1, "scalable mode: absent"),
        _ro("ADMS", 52, 1, "abort-DMA mode: RTADDR.TTM = 11"),
    ), doc="Extended capabilities; follow the straps"),
    Register("GCMD", 0x018, 32, (
        Field("CFI", 23, 1, Access.WO, 0, "compatibility-format interrupts: absent, a protocol error"),
        Field("SIRTP", 24, 1, Access.ONE_SHOT, 0, "interrupt-remapping table: absent, a protocol error"),
        Field("IRE", 25, 1, Access.WO, 0, "interrupt remapping: absent, a protocol error"),
        Field("QIE", 26, 1, Access.WO, 0, "invalidation queue on"),
        Field("WBF", 27, 1, Access.ONE_SHOT, 0, "write-buffer flush: absent, a protocol error"),
        Field("EAFL", 28, 1, Access.WO, 0, "advanced fault log: absent, a protocol error"),
        Field("SFL", 29, 1, Access.ONE_SHOT, 0, "fault log address: absent, a protocol error"),
        Field("SRTP", 30, 1, Access.ONE_SHOT, 0, "latches RTADDR"),
        Field("TE", 31, 1, Access.WO, 0, "translation enable"),
    ), doc="Global command; one change at a time"),
    Register("GSTS", 0x01C, 32, (
        _ro("CFIS", 23, 1, "always 0"), _ro("IRTPS", 24, 1, "always 0"), _ro("IRES", 25, 1, "always 0"),
        _ro("QIES", 26, 1, "the queue is on; falls when what was fetched has been executed"),
        _ro("WBFS", 27, 1, "always 0"), _ro("AFLS", 28, 1, "always 0"), _ro("FLS", 29, 1, "always 0"),
        _ro("RTPS", 30, 1, "the root table has been latched, and what ESRTPS implies is done"),
        _ro("TES", 31, 1, "translation is on; falls when what was translated has been drained"),
    ), doc="Global status"),
    Register("RTADDR", 0x020, 64, (
        _rw("TTM", 10, 2, "translation table mode: 00 legacy, 11 abort DMA; 01 (scalable) and 10 (reserved): every request is "
            "blocked with reason 30 until scalable mode exists"),
        _rw("RTA", 12, 52, "page number of the root table; beyond the host address width: every request is blocked with reason 30"),
    ), doc="Root table address; takes effect with GCMD.SRTP"),
    Register("CCMD", 0x028, 64, (
        _rw("DID", 0, 16, "domain ID"), _rw("SID", 16, 16, "source ID"),
        _rw("FM", 32, 2, "function mask: how many of the source ID's low three bits, from bit 2 down, are ignored"),
        _ro("CAIG", 59, 2, "granularity performed; 0: refused"), _rw("CIRG", 61, 2, "granularity requested"),
        Field("ICC", 63, 1, Access.TRIGGER, 0, "invalidate the context cache"),
    ), doc="Context command"),
    Register("FSTS", 0x034, 32, (
        Field("PFO", 0, 1, Access.RW1C, 0, "fault overflow"), _ro("PPF", 1, 1, "a record is pending"),
        _ro("AFO", 2, 1, "advanced fault log: absent"), _ro("APF", 3, 1, "advanced fault log: absent"),
        Field("IQE", 4, 1, Access.RW1C, 0, "queue error: the head stands still at the descriptor that caused it"),
        Field("ICE", 5, 1, Access.RW1C, 0, "a device answered an invalidation of its TLB with an error"),
        Field("ITE", 6, 1, Access.RW1C, 0, "a device did not answer: the waits that had been fetched are abandoned"),
        _ro("FRI", 8, 8, "first pending record"),
    ), doc="Fault status"),
    Register("FECTL", 0x038, 32, (_ro("IP", 30, 1, "event pending"), _rw("IM", 31, 1, "event masked", 1)),
             doc="Fault event control"),
    Register("FEDATA", 0x03C, 32, (_rw("IMD", 0, 32, "what is stored"),), doc="Fault event data"),
    Register("FEADDR", 0x040, 32, (_rw("MA", 2, 30, "bits 31:2 of where it is stored"),), doc="Fault event address"),
    Register("FEUADDR", 0x044, 32, (_rw("MUA", 0, 32, "bits 63:32 of where it is stored"),), doc="Fault event upper address"),
    Register("AFLOG", 0x058, 64, (), doc="Advanced fault log: absent, reads zero"),
    Register("IQH", 0x080, 64, (_ro("QH", 4, 15, "byte offset of the next descriptor to be fetched, / 16"),),
             doc="Invalidation queue head: fetched, not done"),
    Register("IQT", 0x088, 64, (_rw("QT", 4, 15, "byte offset behind the last descriptor, / 16"),),
             doc="Invalidation queue tail: the doorbell"),
    Register("IQA", 0x090, 64, (
        _rw("QS", 0, 3, "2**QS pages"), _rw("DW", 11, 1, "descriptors of 32 bytes, not of 16"),
        _rw("IQA", 12, 52, "page number of the queue"),
    ), doc="Invalidation queue address; stands still while GSTS.QIES is set"),
    Register("ICS", 0x09C, 32, (Field("IWC", 0, 1, Access.RW1C, 0, "a wait with IF has completed"),),
             doc="Invalidation completion status"),
    Register("IECTL", 0x0A0, 32, (_ro("IP", 30, 1, "event pending"), _rw("IM", 31, 1, "event masked", 1)),
             doc="Invalidation event control"),
    Register("IEDATA", 0x0A4, 32, (_rw("IMD", 0, 32, "what is stored"),), doc="Invalidation event data"),
    Register("IEADDR", 0x0A8, 32, (_rw("MA", 2, 30, "bits 31:2 of where it is stored"),), doc="Invalidation event address"),
    Register("IEUADDR", 0x0AC, 32, (_rw("MUA", 0, 32, "bits 63:32 of where it is stored"),),
             doc="Invalidation event upper address"),
    Register("IQERCD", 0x0B0, 64, (
        _ro("IQEI", 0, 4, "hw.spec.invalidation.QueueError; 0 unless FSTS.IQE"),
        _ro("ITESID", 32, 16, "who did not answer; 0 unless FSTS.ITE"),
        _ro("ICESID", 48, 16, "who answered with an error; 0 unless FSTS.ICE"),
    ), doc="Invalidation queue error record"),
    Register("IVA", 0x000, 64, (
        Field("AM", 0, 6, Access.WO, 0, "2**AM pages"), Field("IH", 6, 1, Access.WO, 0, "only leaves changed"),
        Field("ADDR", 12, 52, Access.WO, 0, "IOVA page number"),
    ), Base.IRO, "Invalidate address"),
    Register("IOTLB", 0x008, 64, (
        _rw("DID", 32, 16, "domain ID"), _rw("DW", 48, 1, "drain writes"), _rw("DR", 49, 1, "drain reads"),
        _ro("IAIG", 57, 2, "granularity performed; 0: refused"), _rw("IIRG", 60, 2, "granularity requested"),
        Field("IVT", 63, 1, Access.TRIGGER, 0, "invalidate the IOTLB"),
    ), Base.IRO, "IOTLB invalidate"),
    Register("FRCD", 0x000, 128, (
        _ro("FI", 12, 52, "IOVA page number"), _ro("SID", 64, 16, "source ID"),
        _ro("T2", 92, 1, "with T1: 00 write, 10 read, 11 atomic (T1 first)"),
        _ro("PRIV", 93, 1, "privileged; 0 unless PP"), _ro("EXE", 94, 1, "execute; 0 unless PP"),
        _ro("PP", 95, 1, "the request had a PASID"), _ro("FR", 96, 8, "fault reason"),
        _ro("PV", 104, 20, "PASID; 0 unless PP"), _ro("AT", 124, 2, "address type of the request: 0 untranslated"),
        _ro("T1", 126, 1, "see T2"),
        Field("F", 127, 1, Access.RW1C, 0, "record valid"),
    ), Base.FRO, "Fault record n, at 16*n"),
)

REGISTERS = {register.name: register for register in _REGISTERS}
"""Every register that the unit has, by its specification name."""

GCMD_ONE_SHOT_MASK = sum(f.mask for f in REGISTERS["GCMD"].fields if f.access is Access.ONE_SHOT)
"""GCMD bits that may not be written back from GSTS."""


def register(name):
    """The register of that name. Raises KeyError naming what there is."""
    try:
        return REGISTERS[name]
    except KeyError:
        raise KeyError(f"no register {name!r}; there are {', '.join(REGISTERS)}") from None


def register_offset(name, *, fro, iro, index=0):
    """Byte offset of a register in the window, given CAP.FRO and ECAP.IRO; `index` counts fault records."""
    row = register(name)
    base = {Base.FIXED: 0, Base.FRO: 16 * fro, Base.IRO: 16 * iro}[row.base]
    return base + row.offset + FRCD_STRIDE * index
