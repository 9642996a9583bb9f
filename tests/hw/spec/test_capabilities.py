"""Straps and the CAP and ECAP values that follow from them, against values worked out by hand and read from machines."""
import pytest

from hw.spec.capabilities import (
    STRAPS_DEFAULT,
    Straps,
    cap_value,
    describe_straps,
    ecap_value,
    straps_from_capabilities,
)
from hw.spec.codec import decode, encode

# What the emulated machines of the captures read. ECAP 0xF42: queue, pass-through, IRO 0xF.
CAP_48_BIT, CAP_39_BIT, ECAP = 0x00D2_008C_222F_0606, 0x00D2_008C_2226_0206, 0xF42


def test_capabilities_of_a_48_bit_machine_become_its_straps():
    assert describe_straps(straps_from_capabilities(CAP_48_BIT, ECAP)) == {
        "domain_id_width_code": 6, "caching_mode": 0, "sagaw": 0b00110, "mgaw": 47, "zero_length_read": 0,
        "fault_record_offset": 0x22, "superpages": 0b11, "fault_records": 0, "max_address_mask": 18, "esrtps": 0,
        "pass_through": 1, "snoop_control": 0, "invalidation_offset": 0xF, "host_address_width": 48}


def test_capabilities_of_a_real_client_part_become_its_straps():
    straps = decode(Straps, straps_from_capabilities(0x00D2_008C_4066_0462, 0xF0_50DA, host_address_width=39))
    assert straps.domain_id_width_code == 2
    assert straps.sagaw == 0b00100
    assert straps.mgaw == 38
    assert straps.zero_length_read == 1
    assert straps.fault_record_offset == 0x40
    assert straps.invalidation_offset == 0x50
    assert straps.snoop_control == 1
    assert straps.host_address_width == 39


@pytest.mark.parametrize("cap", [CAP_48_BIT, CAP_39_BIT])
def test_the_unit_reads_the_same_capabilities_as_the_machine_that_it_is_strapped_to(cap):
    assert cap_value(decode(Straps, straps_from_capabilities(cap, ECAP))) == cap


def test_the_unit_always_claims_its_queue_and_the_abort_mode():
    assert ecap_value(decode(Straps, straps_from_capabilities(CAP_48_BIT, ECAP))) == 0x10_0000_0000_0F43
    assert ecap_value(decode(Straps, straps_from_capabilities(0, 0))) == 0x10_0000_0000_0003


def test_the_unit_does_not_claim_what_it_does_not_have():
    everything = decode(Straps, straps_from_capabilities(0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF))
    assert cap_value(everything) == 0x80FF_07_8F_FF7F_1F87
    assert ecap_value(everything) == 0x10_0000_0003_FFC3


def test_fault_records_are_at_most_those_that_were_built():
    cap = CAP_48_BIT | 0xFF << 40
    assert decode(Straps, straps_from_capabilities(cap, ECAP)).fault_records == 7
    assert decode(Straps, straps_from_capabilities(cap, ECAP, fault_records_built=2)).fault_records == 1


def test_host_addresses_are_never_wider_than_an_entry_can_hold():
    cap = CAP_48_BIT & ~(0x3F << 16) | 56 << 16
    assert decode(Straps, straps_from_capabilities(cap, ECAP)).host_address_width == 52


def test_default_straps_have_everything_that_the_unit_has():
    straps = decode(Straps, STRAPS_DEFAULT)
    assert straps.sagaw == 0b01110
    assert straps.mgaw == 56
    assert straps.host_address_width == 52
    assert straps.fault_records == 7
    assert straps.superpages == 0b11


def test_a_strap_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"Straps\.sagaw: 0x20 does not fit in 5 bits"):
        encode(Straps, sagaw=0x20)
