"""Descriptors written out by hand, from VT-d 6.5.2: 16 bytes each, as integers."""

__all__ = ["context_cache", "device_tlb", "interrupt_entry_cache", "iotlb", "typed", "wait"]


def typed(number, *, low=0, high=0):
    """A descriptor of any type, and the rest of its two words."""
    return high << 64 | low | number


def context_cache(granularity, *, domain_id=0, source_id=0, function_mask=0):
    """Type 1."""
    return typed(1, low=granularity << 4 | domain_id << 16 | source_id << 32 | function_mask << 48)


def iotlb(granularity, *, domain_id=0, drain_writes=0, drain_reads=0, address=0, address_mask=0, hint=0):
    """Type 2."""
    return typed(
        2,
        low=granularity << 4 | drain_writes << 6 | drain_reads << 7 | domain_id << 16,
        high=address_mask | hint << 6 | address,
    )


def device_tlb(source_id, *, address=0, size=0):
    """Type 3."""
    return typed(3, low=source_id << 32, high=size | address)


def interrupt_entry_cache(*, granularity=0, index=0, mask=0):
    """Type 4."""
    return typed(4, low=granularity << 4 | mask << 27 | index << 32)


def wait(*, address=None, data=0, interrupt=0, fence=0):
    """Type 5, with SW if there is an address."""
    status_write = address is not None
    return typed(5, low=interrupt << 4 | status_write << 5 | fence << 6 | data << 32, high=address or 0)
