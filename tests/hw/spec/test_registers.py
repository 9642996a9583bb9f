"""The register file: offsets, fields and what software may write, from VT-d 4.1, 11.4."""
import re

import pytest

from hw.spec.registers import GCMD_ONE_SHOT_MASK, REGISTERS, Access, Base, Register, register, register_offset

OFFSETS = {  # bytes, bits
    "VER": (0x000, 32), "CAP": (0x008, 64), "ECAP": (0x010, 64), "GCMD": (0x018, 32), "GSTS": (0x01C, 32),
    "RTADDR": (0x020, 64), "CCMD": (0x028, 64), "FSTS": (0x034, 32), "FECTL": (0x038, 32), "FEDATA": (0x03C, 32),
    "FEADDR": (0x040, 32), "FEUADDR": (0x044, 32), "AFLOG": (0x058, 64),
    "IQH": (0x080, 64), "IQT": (0x088, 64), "IQA": (0x090, 64), "ICS": (0x09C, 32), "IECTL": (0x0A0, 32),
    "IEDATA": (0x0A4, 32), "IEADDR": (0x0A8, 32), "IEUADDR": (0x0AC, 32), "IQERCD": (0x0B0, 64),
}
FIELDS = [  # register, field, highest bit, lowest bit
    ("VER", "MIN", 3, 0), ("VER", "MAX", 7, 4),
    ("CAP", "ND", 2, 0), ("CAP", "AFL", 3, 3), ("CAP", "RWBF", 4, 4), ("CAP", "PLMR", 5, 5), ("CAP", "PHMR", 6, 6),
    ("CAP", "CM", 7, 7), ("CAP", "SAGAW", 12, 8), ("CAP", "MGAW", 21, 16), ("CAP", "ZLR", 22, 22), ("CAP", "FRO", 33, 24),
    ("CAP", "SSLPS", 37, 34), ("CAP", "PSI", 39, 39), ("CAP", "NFR", 47, 40), ("CAP", "MAMV", 53, 48),
    ("CAP", "DWD", 54, 54), ("CAP", "DRD", 55, 55), ("CAP", "FS1GP", 56, 56), ("CAP", "PI", 59, 59),
    ("CAP", "FS5LP", 60, 60), ("CAP", "ECMDS", 61, 61), ("CAP", "ESIRTPS", 62, 62), ("CAP", "ESRTPS", 63, 63),
    ("ECAP", "C", 0, 0), ("ECAP", "QI", 1, 1), ("ECAP", "DT", 2, 2), ("ECAP", "IR", 3, 3), ("ECAP", "EIM", 4, 4),
    ("ECAP", "PT", 6, 6), ("ECAP", "SC", 7, 7), ("ECAP", "IRO", 17, 8), ("ECAP", "MHMV", 23, 20), ("ECAP", "SMTS", 43, 43),
    ("ECAP", "ADMS", 52, 52),
    ("GCMD", "CFI", 23, 23), ("GCMD", "SIRTP", 24, 24), ("GCMD", "IRE", 25, 25), ("GCMD", "QIE", 26, 26),
    ("GCMD", "WBF", 27, 27), ("GCMD", "EAFL", 28, 28), ("GCMD", "SFL", 29, 29), ("GCMD", "SRTP", 30, 30),
    ("GCMD", "TE", 31, 31),
    ("GSTS", "CFIS", 23, 23), ("GSTS", "IRTPS", 24, 24), ("GSTS", "IRES", 25, 25), ("GSTS", "QIES", 26, 26),
    ("GSTS", "WBFS", 27, 27), ("GSTS", "AFLS", 28, 28), ("GSTS", "FLS", 29, 29), ("GSTS", "RTPS", 30, 30),
    ("GSTS", "TES", 31, 31),
    ("RTADDR", "TTM", 11, 10), ("RTADDR", "RTA", 63, 12),
    ("CCMD", "DID", 15, 0), ("CCMD", "SID", 31, 16), ("CCMD", "FM", 33, 32), ("CCMD", "CAIG", 60, 59),
    ("CCMD", "CIRG", 62, 61), ("CCMD", "ICC", 63, 63),
    ("FSTS", "PFO", 0, 0), ("FSTS", "PPF", 1, 1), ("FSTS", "AFO", 2, 2), ("FSTS", "APF", 3, 3), ("FSTS", "IQE", 4, 4),
    ("FSTS", "ICE", 5, 5), ("FSTS", "ITE", 6, 6), ("FSTS", "FRI", 15, 8),
    ("FECTL", "IP", 30, 30), ("FECTL", "IM", 31, 31),
    ("FEDATA", "IMD", 31, 0), ("FEADDR", "MA", 31, 2), ("FEUADDR", "MUA", 31, 0),
    ("IQH", "QH", 18, 4), ("IQT", "QT", 18, 4), ("IQA", "QS", 2, 0), ("IQA", "DW", 11, 11), ("IQA", "IQA", 63, 12),
    ("ICS", "IWC", 0, 0), ("IECTL", "IP", 30, 30), ("IECTL", "IM", 31, 31), ("IEDATA", "IMD", 31, 0), ("IEADDR", "MA", 31, 2),
    ("IEUADDR", "MUA", 31, 0), ("IQERCD", "IQEI", 3, 0), ("IQERCD", "ITESID", 47, 32), ("IQERCD", "ICESID", 63, 48),
    ("IVA", "AM", 5, 0), ("IVA", "IH", 6, 6), ("IVA", "ADDR", 63, 12),
    ("IOTLB", "DID", 47, 32), ("IOTLB", "DW", 48, 48), ("IOTLB", "DR", 49, 49), ("IOTLB", "IAIG", 58, 57),
    ("IOTLB", "IIRG", 61, 60), ("IOTLB", "IVT", 63, 63),
    ("FRCD", "FI", 63, 12), ("FRCD", "SID", 79, 64), ("FRCD", "T2", 92, 92), ("FRCD", "PRIV", 93, 93),
    ("FRCD", "EXE", 94, 94), ("FRCD", "PP", 95, 95), ("FRCD", "FR", 103, 96), ("FRCD", "PV", 123, 104),
    ("FRCD", "AT", 125, 124), ("FRCD", "T1", 126, 126), ("FRCD", "F", 127, 127),
]
WRITABLE = {  # every bit that a write can change or that starts something
    "VER": 0, "CAP": 0, "ECAP": 0, "GCMD": 0xFF80_0000, "GSTS": 0, "RTADDR": 0xFFFF_FFFF_FFFF_FC00,
    "CCMD": 0xE000_0003_FFFF_FFFF, "FSTS": 0x0000_0071, "FECTL": 0x8000_0000, "FEDATA": 0xFFFF_FFFF,
    "IQH": 0, "IQT": 0x7_FFF0, "IQA": 0xFFFF_FFFF_FFFF_F807, "ICS": 1, "IECTL": 0x8000_0000, "IEDATA": 0xFFFF_FFFF,
    "IEADDR": 0xFFFF_FFFC, "IEUADDR": 0xFFFF_FFFF, "IQERCD": 0,
    "FEADDR": 0xFFFF_FFFC, "FEUADDR": 0xFFFF_FFFF, "AFLOG": 0, "IVA": 0xFFFF_FFFF_FFFF_F07F,
    "IOTLB": 0xB003_FFFF_0000_0000, "FRCD": 1 << 127,
}


def test_every_fixed_register_stands_where_the_specification_puts_it():
    fixed = {name: (row.offset, row.width) for name, row in REGISTERS.items() if row.base is Base.FIXED}
    assert fixed == OFFSETS


@pytest.mark.parametrize(("fro", "iro", "records", "iotlb"), [(0x22, 0x0F, 0x220, 0x0F0), (0x40, 0x50, 0x400, 0x500)])
def test_fault_and_invalidation_registers_stand_where_the_capabilities_say(fro, iro, records, iotlb):
    assert register_offset("FRCD", fro=fro, iro=iro) == records
    assert register_offset("FRCD", fro=fro, iro=iro, index=3) == records + 0x30
    assert register_offset("IVA", fro=fro, iro=iro) == iotlb
    assert register_offset("IOTLB", fro=fro, iro=iro) == iotlb + 8
    assert register_offset("RTADDR", fro=fro, iro=iro) == 0x20


def test_every_register_has_the_fields_of_the_specification():
    found = [(row.name, field.name, field.low + field.width - 1, field.low)
             for row in REGISTERS.values() for field in row.fields]
    assert found == FIELDS


def test_software_can_write_what_the_specification_lets_it_write():
    writable = {name: sum(field.mask for field in row.fields if field.access is not Access.RO)
                for name, row in REGISTERS.items()}
    assert writable == WRITABLE


@pytest.mark.parametrize("name", REGISTERS)
def test_fields_of_a_register_neither_overlap_nor_leave_it(name):
    used = 0
    for field in REGISTERS[name].fields:
        assert used & field.mask == 0
        assert field.mask < 1 << REGISTERS[name].width
        used |= field.mask


@pytest.mark.parametrize(("name", "value"), [
    ("VER", 0x50), ("FECTL", 0x8000_0000), ("IECTL", 0x8000_0000), ("GSTS", 0), ("FSTS", 0)])
def test_registers_reset_to_the_values_of_the_specification(name, value):
    assert register(name).reset == value


def test_one_shot_commands_are_the_bits_that_must_not_be_written_back():
    assert GCMD_ONE_SHOT_MASK ^ 0xFFFF_FFFF == 0x96FF_FFFF


def test_bits_that_report_by_being_cleared_are_declared_so():
    assert register("FSTS").field("PFO").access is Access.RW1C
    assert register("FRCD").field("F").access is Access.RW1C
    assert register("ICS").field("IWC").access is Access.RW1C
    assert [register("FSTS").field(name).access for name in ("IQE", "ICE", "ITE")] == [Access.RW1C] * 3
    assert register("CCMD").field("ICC").access is Access.TRIGGER
    assert register("IOTLB").field("IVT").access is Access.TRIGGER


def test_an_unknown_register_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=re.escape("no register 'PQT'; there are VER, CAP,")):
        register("PQT")


def test_an_unknown_field_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=re.escape("RTADDR has no field 'SMT'; it has TTM, RTA")):
        register("RTADDR").field("SMT")


def test_a_reset_value_is_put_together_from_the_fields():
    fields = register("VER").fields + register("FECTL").fields
    assert Register("BOTH", 0, 32, fields).reset == 0x8000_0050
