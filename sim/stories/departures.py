"""When a device has left its old domain for good: its entry was stored to, and then the old domain's IOTLB lines went. Ours."""
from collections.abc import Collection, Iterable
from typing import Any

from hw.spec.invalidation import Granularity, InvalidationKind
from sim.events import detail_of
from sim.stories.experiment import DevicePlan

__all__ = ["Departures"]

_EVERY_DOMAIN = -1


class Departures:
    """Follows invalidations, however they are asked for: what has begun is complete with the next INVALIDATION_END.

    Parameters
    ----------
    devices : iterable of DevicePlan
        Those of interest.
    """

    def __init__(self, devices: Iterable[DevicePlan]) -> None:
        self._devices = tuple(devices)
        self._begun: list[tuple[int, frozenset[int]]] = []   # domain that is emptied; whose entry had been stored to

    def begin(self, event: Any, stored: Collection[int]) -> None:
        """An INVALIDATION_BEGIN; `stored`: source IDs of the devices whose entry has been stored to."""
        domain = _emptied_domain(event)
        if domain is not None:
            self._begun.append((domain, frozenset(stored)))

    def end(self) -> list[DevicePlan]:
        """An INVALIDATION_END: the devices of whose old domain no line is left."""
        left = [device for device in self._devices
                if any(domain in (_EVERY_DOMAIN, device.old_domain_id) and device.source_id in stored
                       for domain, stored in self._begun)]
        self._begun.clear()
        return left


def _emptied_domain(event: Any) -> int | None:
    """Which domain an invalidation empties the IOTLB of: its ID, all, or None if it leaves some lines."""
    detail = detail_of(event)
    if detail.kind is not InvalidationKind.IOTLB:
        return None
    if detail.granularity is Granularity.GLOBAL:
        return _EVERY_DOMAIN
    return int(event["domain_id"]) if detail.granularity is Granularity.DOMAIN_SELECTIVE else None
