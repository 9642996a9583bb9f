"""Straps, and the CAP and ECAP values that follow from them. Ours (the registers: VT-d 4.1, 11.4.2 and 11.4.3).

One build serves every capture: what differs from machine to machine is an input, sampled at reset.
"""
from amaranth.lib import data

from hw.spec.codec import decode, encode
from hw.spec.registers import REGISTERS

__all__ = ["MAX_HOST_ADDRESS_WIDTH", "Straps", "STRAPS_DEFAULT", "cap_value", "ecap_value", "straps_from_capabilities"]

MAX_HOST_ADDRESS_WIDTH = 52


class Straps(data.Struct):
    """What one machine's unit can do."""
    domain_id_width_code: 3   # CAP.ND: 4 + 2*ND bits
    caching_mode: 1           # CAP.CM
    sagaw: 5                  # CAP.SAGAW
    mgaw: 6                   # CAP.MGAW: guest address width - 1
    zero_length_read: 1       # CAP.ZLR
    fault_record_offset: 10   # CAP.FRO, in 16-byte units
    superpages: 2             # CAP.SSLPS: bit 0 2 MiB, bit 1 1 GiB
    fault_records: 8          # CAP.NFR: records - 1; at most what was built
    max_address_mask: 6       # CAP.MAMV
    esrtps: 1                 # CAP.ESRTPS
    pass_through: 1           # ECAP.PT
    snoop_control: 1          # ECAP.SC
    invalidation_offset: 10   # ECAP.IRO, in 16-byte units
    host_address_width: 6     # bits of an HPA, 32..52; higher bits are reserved in every entry


STRAPS_DEFAULT = encode(
    Straps, domain_id_width_code=6, sagaw=0b01110, mgaw=56, zero_length_read=1, fault_record_offset=0x22,
    superpages=0b11, fault_records=7, max_address_mask=18, esrtps=0, pass_through=1, snoop_control=0,
    invalidation_offset=0xF, host_address_width=52)
"""A machine with everything the unit has: 3, 4 and 5 levels, 52-bit host addresses, 8 fault records."""

_CAP = {
    "ND": "domain_id_width_code", "CM": "caching_mode", "SAGAW": "sagaw", "MGAW": "mgaw", "ZLR": "zero_length_read",
    "FRO": "fault_record_offset", "SSLPS": "superpages", "NFR": "fault_records", "MAMV": "max_address_mask",
    "ESRTPS": "esrtps",
}
_ECAP = {"PT": "pass_through", "SC": "snoop_control", "IRO": "invalidation_offset"}
_CAP_ALWAYS = ("PSI", "DWD", "DRD")  # the unit always has them
_ECAP_ALWAYS = ("C", "QI", "ADMS")


def _value(name, follows, always, straps):
    """Register value with straps' fields in place. `straps` is a Straps view or constant, hardware or not."""
    row = REGISTERS[name]
    result = sum(1 << row.field(field).low for field in always)
    for field, strap in follows.items():
        result = result | (straps[strap] << row.field(field).low)
    return result


def cap_value(straps):
    """CAP for these straps: an integer for a constant, a value expression for a hardware view."""
    return _value("CAP", _CAP, _CAP_ALWAYS, straps)


def ecap_value(straps):
    """ECAP for these straps, likewise."""
    return _value("ECAP", _ECAP, _ECAP_ALWAYS, straps)


def straps_from_capabilities(cap, ecap, *, host_address_width=None, fault_records_built=8):
    """Straps that make the unit look like a machine whose CAP and ECAP read so, as far as it can.

    What the unit does not have (interrupt remapping, device-TLB) is not strapped and reads as absent; what it always has
    (queue, abort-DMA mode) reads as present.
    Without `host_address_width` the guest's width (MGAW + 1, at most 52) is taken, as the emulator of the captures does.
    """
    def field(name, register, value):
        row = REGISTERS[register].field(name)
        return (value >> row.low) & ((1 << row.width) - 1)

    fields = {strap: field(name, "CAP", cap) for name, strap in _CAP.items()}
    fields |= {strap: field(name, "ECAP", ecap) for name, strap in _ECAP.items()}
    fields["superpages"] &= 0b11
    fields["fault_records"] = min(fields["fault_records"], fault_records_built - 1)
    fields["host_address_width"] = host_address_width or min(fields["mgaw"] + 1, MAX_HOST_ADDRESS_WIDTH)
    return encode(Straps, **fields)


def describe_straps(value):
    """The straps' fields by name, as a dict of integers."""
    constant = decode(Straps, value)
    return {name: constant[name] for name, _ in data.Layout.cast(Straps)}


__all__ += ["describe_straps"]
