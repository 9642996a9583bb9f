"""Descriptors of the invalidation queue: made, and put into words.

A descriptor is an integer: its first 16 bytes, little-endian. The rest of a wide one is reserved, and zero.

Source: VT-d 4.1, 6.5.2.
"""
from amaranth.lib import data

from hw.spec.codec import decode, encode
from hw.spec.invalidation import (
    DESCRIPTOR_LAYOUTS,
    ContextCacheDescriptor,
    DescriptorHeader,
    DescriptorType,
    DeviceTlbDescriptor,
    Granularity,
    InterruptEntryCacheDescriptor,
    IotlbDescriptor,
    WaitDescriptor,
)
from sw.errors import BadRange

__all__ = ["STATUS_BYTES", "context_cache", "describe", "device_tlb", "interrupt_entry_cache", "iotlb", "type_of", "wait"]

STATUS_BYTES = 4  # of the status word that a wait stores, and its alignment


def context_cache(granularity: Granularity, *, domain_id: int = 0, source_id: int = 0, function_mask: int = 0) -> int:
    """Forget cached contexts; `source_id` and `function_mask` count for the selective granularity only."""
    return int(encode(ContextCacheDescriptor, type=DescriptorType.CONTEXT_CACHE, granularity=granularity,
                      domain_id=domain_id, source_id=source_id, function_mask=function_mask))


def iotlb(granularity: Granularity, *, domain_id: int = 0, page: int = 0, address_mask: int = 0,
          hint: int = 0) -> int:
    """Forget cached translations, and drain reads and writes that used them."""
    return int(encode(IotlbDescriptor, type=DescriptorType.IOTLB, granularity=granularity, drain_writes=1,
                      drain_reads=1, domain_id=domain_id, page=page, address_mask=address_mask,
                      hint=hint))


def device_tlb(source_id: int, *, page: int = 0, address_mask: int = 0) -> int:
    """Ask a device to forget 2**address_mask pages. It must stand behind the IOTLB invalidation of the same pages.

    Raises
    ------
    BadRange
        If the page is not a multiple of their number.
    """
    count = 1 << address_mask
    if page % count:
        raise BadRange("page", page, f"must be a multiple of {count:#x}, the number of pages")
    # With S the lowest address bit that is zero tells the size: none below it is one that counts (VT-d 6.5.2.5).
    return int(encode(DeviceTlbDescriptor, type=DescriptorType.DEVICE_TLB, source_id=source_id,
                      size=int(address_mask > 0), page=page + count // 2 - 1 if address_mask else page))


def interrupt_entry_cache() -> int:
    """Forget every cached entry of the interrupt remapping table."""
    return int(encode(InterruptEntryCacheDescriptor, type=DescriptorType.INTERRUPT_ENTRY_CACHE))


def wait(status_hpa: int, status_data: int, *, interrupt: bool = False) -> int:
    """Store the status data when everything ahead of it is complete; begin nothing behind it before."""
    if status_hpa % STATUS_BYTES:
        raise BadRange("status address", status_hpa, f"must be a multiple of {STATUS_BYTES}")
    return int(encode(WaitDescriptor, type=DescriptorType.WAIT, status_write=1, fence=1, interrupt=int(interrupt),
                      status_data=status_data, status_address=status_hpa // STATUS_BYTES))


def type_of(descriptor: int) -> DescriptorType:
    """The type in its lowest bits."""
    return DescriptorType(decode(DescriptorHeader, descriptor % (1 << data.Layout.cast(DescriptorHeader).size)).type)


def describe(descriptor: int) -> str:
    """A descriptor in words: its type, every field that is not zero, reserved ones too, and the whole of it."""
    kind = type_of(descriptor)
    layout = DESCRIPTOR_LAYOUTS.get(kind)
    if layout is None:
        return f"{kind.name} [{descriptor:#034x}]"
    values = decode(layout, descriptor)
    fields = []
    for name, _ in data.Layout.cast(layout):
        value = values[name]
        if name != "type" and getattr(value, "value", value):
            fields.append(f"{name}={value.name if isinstance(value, Granularity) else hex(int(value))}")
    return " ".join([kind.name, *fields, f"[{descriptor:#034x}]"])
