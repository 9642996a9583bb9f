"""What ICC and IVT ask for, as invalidations. Source: VT-d 4.1, 11.4.6 (CCMD), 11.4.8 (IVA, IOTLB)."""
from hw.spec.invalidation import Granularity, InvalidationKind
from sim.model.caches import InvalidationView
from sim.model.register_file import RegisterFile

__all__ = ["context_command", "iotlb_command"]


def context_command(registers: RegisterFile) -> InvalidationView:
    """What CCMD asks for. Granularity 0 invalidates nothing and is answered 0."""
    get = registers.get
    return InvalidationView(InvalidationKind.CONTEXT_CACHE.value, get("CCMD", "CIRG"), get("CCMD", "DID"),
                            get("CCMD", "SID"), get("CCMD", "FM")).canonical()


def iotlb_command(registers: RegisterFile) -> InvalidationView:
    """What IOTLB and IVA ask for, likewise. More pages than CAP.MAMV allows are the whole domain, and IAIG says so."""
    get = registers.get
    granularity, order = get("IOTLB", "IIRG"), get("IVA", "AM")
    if granularity == Granularity.SELECTIVE.value and order > registers.strap["max_address_mask"]:
        granularity = Granularity.DOMAIN_SELECTIVE.value
    return InvalidationView(InvalidationKind.IOTLB.value, granularity, get("IOTLB", "DID"), page=get("IVA", "ADDR"),
                            address_mask=order, drain=get("IOTLB", "DR") | get("IOTLB", "DW"), hint=get("IVA", "IH")).canonical()
