"""Read a vector file: table images, many of them malformed, with requests and what an independent implementation answered.

    mode, aw, cap, ecap, ram_bytes              the machine
    rtaddr[k], name[k]                          of image k; only directed files name their images
    page_addr, page_data   from first_page[k]   its memory; the rest below ram_bytes reads as zero, what is above is refused
    sid, iova, write, result, hpa, mask, fault  from first_probe[k]: its requests and their answers
"""
import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hw.spec.dma import Access
from hw.spec.registers import register
from hw.spec.tables import PAGE_BYTES
from sim.model.translate import Request
from sw.capture_files import rules_of
from sw.errors import CaptureUnsupported

__all__ = ["Answer", "Image", "Vector", "VectorFile"]

_NOT_RECORDED = 0xFFFF
_OF_REQUESTS = ("sid", "iova", "write", "result", "hpa", "mask", "fault")


class Answer(Enum):
    """What became of a request."""

    BLOCKED = 0
    TRANSLATED = 1
    PASSED = 2


class Vector(NamedTuple):
    """One request and its recorded answer."""

    source_id: int
    iova: int
    write: bool
    answer: Answer
    hpa: int                   # unless blocked
    page_bytes: int            # if translated
    fault_reason: int | None   # None: nothing was recorded

    @property
    def request(self) -> Request:
        """As the golden model takes it: 4 bytes, untranslated, no PASID."""
        return Request(self.source_id, self.iova, Access.WRITE if self.write else Access.READ)


@dataclass(frozen=True)
class Image:
    """Tables in an otherwise empty memory, and the requests put to them."""

    name: str
    rtaddr: int
    pages: dict[int, bytes]
    vectors: tuple[Vector, ...]

    @property
    def root_table(self) -> int:
        """RTADDR.RTA, a page number."""
        return _field("RTA", self.rtaddr)

    @property
    def table_mode(self) -> int:
        """RTADDR.TTM."""
        return _field("TTM", self.rtaddr)


@dataclass(frozen=True)
class VectorFile:
    """A whole file. Read it with `VectorFile.load`."""

    name: str
    cap: int
    ecap: int
    ram_bytes: int
    images: tuple[Image, ...]

    @classmethod
    def load(cls, path: Path) -> "VectorFile":
        """Read one.

        Raises
        ------
        CaptureMalformed
            If the file is missing, cut short or contradicts itself.
        CaptureUnsupported
            If its machine was in a mode that the unit does not have.
        """
        with rules_of(path.name):
            # numpy leaves a file that it cannot read open if it opened it itself
            with path.open("rb") as stream:
                if not zipfile.is_zipfile(stream):
                    raise ValueError("must be a NumPy archive")
                with np.load(stream, allow_pickle=False) as archive:
                    arrays = {name: archive[name] for name in archive.files}
            if (mode := str(arrays["mode"])) != "legacy":
                raise CaptureUnsupported(path.name, f"its machine ran in {mode} mode; the unit has legacy mode only")
            _check(arrays)
            images = tuple(_image(arrays, index) for index in range(len(arrays["rtaddr"])))
            return cls(path.name, int(arrays["cap"]), int(arrays["ecap"]), int(arrays["ram_bytes"]), images)


def _field(name: str, rtaddr: int) -> int:
    field = register("RTADDR").field(name)
    return int((rtaddr & field.mask) >> field.low)


def _check(arrays: dict[str, Any]) -> None:
    """Sizes must agree, and the places of the images ascend from 0 to the end."""
    count = len(arrays["rtaddr"])
    requests = len(arrays["sid"])
    if any(arrays[column].shape != (requests,) for column in _OF_REQUESTS):
        raise ValueError(f"{', '.join(_OF_REQUESTS)} must be of one length")
    if arrays["page_data"].shape != (len(arrays["page_addr"]), PAGE_BYTES):
        raise ValueError(f"page_data must have {PAGE_BYTES} bytes for each page_addr, not shape {arrays['page_data'].shape}")
    for places, end in (("first_page", len(arrays["page_addr"])), ("first_probe", requests)):
        found = arrays[places].astype(np.int64)
        if found.shape != (count + 1,) or found[0] != 0 or found[-1] != end or (np.diff(found) < 0).any():
            raise ValueError(f"{places} must ascend from 0 to {end}, with one place more than the {count} images")


def _image(arrays: dict[str, Any], index: int) -> Image:
    pages, probes = (slice(*arrays[places][index:index + 2].tolist()) for places in ("first_page", "first_probe"))
    rows = zip(*(arrays[column][probes].tolist() for column in _OF_REQUESTS), strict=True)
    contents = arrays["page_data"][pages].astype(np.uint8)
    return Image(
        name=str(arrays["name"][index]) if "name" in arrays else f"image {index}",
        rtaddr=int(arrays["rtaddr"][index]),
        pages={hpa: page.tobytes() for hpa, page in zip(arrays["page_addr"][pages].tolist(), contents, strict=True)},
        vectors=tuple(Vector(source_id, iova, bool(write), Answer(result), hpa, mask + 1 if result == 1 else 0,
                             None if fault == _NOT_RECORDED else fault)
                      for source_id, iova, write, result, hpa, mask, fault in rows))
