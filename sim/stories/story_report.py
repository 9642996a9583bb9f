"""One told story, what of it goes into the report, and what it must have shown. Ours."""
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.spec.tables import PAGE_BYTES

__all__ = ["Story", "failures_of", "summary_of"]

_COUNTED = ("old", "new", "blocked", "faulted", "after_free")
_BROKEN_BY_BREAKING = {"L1"}         # DMA is blocked, which is what the control is for


@dataclass(frozen=True)
class Story:
    """What came of one telling.

    Parameters
    ----------
    name, strategy : str
        Which.
    old, new : dict
        The kernels' reports.
    value : dict
        The machine's result (sim/stories/machine.py).
    folder : Path
        Its files.
    """

    name: str
    strategy: str
    old: dict[str, Any]
    new: dict[str, Any]
    value: dict[str, Any]
    folder: Path

    @property
    def devices(self) -> list[dict[str, Any]]:
        """Devices with traffic, with the engine's counters."""
        found: list[dict[str, Any]] = self.value["devices"]
        return found

    @property
    def preserved(self) -> list[dict[str, Any]]:
        """Those that survive the handover."""
        return [device for device in self.devices if device["preserved"]]

    @property
    def laws(self) -> dict[str, dict[str, Any]]:
        """The judge's verdict."""
        found: dict[str, dict[str, Any]] = self.value["laws"]
        return found

    def stores(self, source_id: int) -> list[dict[str, Any]]:
        """Stores into a device's context entry, in order."""
        return [store for store in self.value["stores"] if store["source_id"] == source_id]

    def last_store(self, source_id: int) -> dict[str, Any] | None:
        """The store after which the new tables were in force."""
        stores = self.stores(source_id)
        return stores[-1] if stores else None

    def swap_cycles(self, source_id: int) -> int | None:
        """From the first store into the entry to the end of the last one or of the invalidation, whichever is later."""
        stores = self.stores(source_id)
        if not stores or stores[0]["invalidated_cycle"] is None:
            return None
        ended: int = max(stores[-1]["commit_cycle"], stores[0]["invalidated_cycle"])
        return ended - int(stores[0]["commit_cycle"])

    def waveforms(self) -> list[Path]:
        """The waveform around the replacement, and the saved view for it."""
        return sorted(file for file in self.folder.glob(f"{self.name}.*") if file.suffix in {".vcd", ".gtkw"})


def summary_of(story: Story) -> dict[str, Any]:
    """A strategy's part of the report."""
    totals = {name: sum(device[name] for device in story.devices) for name in _COUNTED}
    swaps = [cycles for device in story.preserved if (cycles := story.swap_cycles(device["source_id"])) is not None]
    windows = [window["blocked_window_cycles"] for window in story.value["windows"]]
    return {
        "dma_total": sum(device["issued"] for device in story.devices), **totals,
        "wrong": sum(device["wrong"] + device["error"] for device in story.devices),
        "replaced_devices": len(story.new["replaced_devices"]), "zapped_devices": len(story.new["zapped_devices"]),
        "swap_cycles": _spread(swaps), "blocked_window_cycles": _spread(windows or [0]),  # nothing was blocked: no window
        "laws": {law: {"status": row["status"], "checks": row["checks"], "violations": row["violation_count"],
                       **({"note": row["note"]} if "note" in row else {}), "first": row["violations"][:3]}
                 for law, row in story.laws.items()},
        "cycles": story.value["cycles"], "cycles_per_second": story.value["cycles_per_second"],
        "dma_while_no_kernel_ran": story.value["gap_dma"], "dropped": story.value["dropped"],
        "devices": story.devices, "stores": story.value["stores"], "windows": story.value["windows"],
        "preserved_pages": story.old["preserved_pages"],
    }


def _spread(values: list[int]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def failures_of(story: Story) -> list[str]:
    """What the story promised and did not show, a sentence each."""
    found = []

    def require(held: bool, sentence: str) -> None:
        if not held:
            found.append(sentence)

    require(story.value["gap_dma"] > 0, "no DMA was done while no kernel ran")
    require(len(story.new["replaced_devices"]) == len(story.preserved), "not every preserved device was replaced")
    require(len(story.new["zapped_devices"]) > 0, "no device was zapped")
    require(len(story.value["dropped"]) > 0, "no device that was not preserved was let loose")
    freed = {page for domain in story.new["domains"] for page in domain["old_tables"]}
    require(bool(freed) and freed <= {page * PAGE_BYTES for page in story.value["free_pages"]},
            "not every page of the old tables was freed and poisoned")
    for probe in story.value["dropped"]:
        require(0 < probe["tried"] == probe["blocked"],
                f"device {probe['source_id']:#06x} was not preserved; of {probe['tried']} DMAs {probe['blocked']} blocked")
    for device in story.devices:
        name = f"device {device['source_id']:#06x}"
        for count in ("wrong", "error", "after_free"):
            require(device[count] == 0, f"{name}: {count} is {device[count]}")
        require(device["old"] > 0, f"{name}: no DMA was translated by the old tables")
    for device in story.preserved:
        name = f"device {device['source_id']:#06x}"
        require(device["new"] > 0, f"{name}: no DMA was translated by the new tables")
        require(story.swap_cycles(device["source_id"]) is not None, f"{name}: its old domain was never invalidated")
    (_hitless if story.strategy == "atomic_swap" else _breaking)(story, require)
    return found


def _hitless(story: Story, require: Any) -> None:
    for device in story.preserved:
        name = f"device {device['source_id']:#06x}"
        require(device["blocked"] == 0, f"{name}: {device['blocked']} DMAs were blocked")
        require(device["faulted"] == 0, f"{name}: {device['faulted']} faults were raised")
        stores = story.stores(device["source_id"])
        require(len(stores) == 1 and stores[0]["exchange"], f"{name}: {len(stores)} stores, not one compare-exchange")
        for store in stores:
            require(store["walks_in_flight"] > 0, f"{name}: no walk was in flight at the swap")
            require(store["hits_in_flight"] > 0, f"{name}: no hit was in flight at the swap")
    for law, row in story.laws.items():
        require(row["status"] == "pass", f"{law} {row['title']}: {row['status']}")


def _breaking(story: Story, require: Any) -> None:
    """The control must show what it is the control for, and nothing else."""
    for device in story.preserved:
        require(device["blocked"] > 0, f"device {device['source_id']:#06x}: no DMA was blocked: the control shows nothing")
        require(device["faulted"] == device["blocked"],
                f"device {device['source_id']:#06x}: {device['blocked']} blocked, {device['faulted']} faults")
    require(len(story.value["windows"]) == len(story.preserved), "not every preserved device has its blocked window")
    for window in story.value["windows"]:
        met_before = (window["first_read"] or math.inf) < (window["forgotten_cycle"] or math.inf)
        require(met_before == (story.name == "break_before_make_cold"),
                f"device {window['source_id']:#06x}: the missing entry was first read in cycle {window['first_read']}, its "
                f"context forgotten in cycle {window['forgotten_cycle']}")
    for law, row in story.laws.items():
        wanted = "fail" if law in _BROKEN_BY_BREAKING else "pass"
        require(row["status"] == wanted, f"{law} {row['title']}: {row['status']}, expected {wanted}")
