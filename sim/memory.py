"""The simulated machine's memory, as Python sees it: the same bytes as the ports see, without a port and without time.

Works inside the simulator process, whose own symbols it uses (sim/sparse_memory.cpp).
"""
import ctypes

from hw.spec.bench import DataWord, page_signature
from hw.spec.codec import encode

__all__ = ["PAGE_BYTES", "Memory"]

PAGE_BYTES = 4096

_U64, _U32, _U8 = ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint8
_FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "memory_read_block": (None, (_U64, ctypes.c_char_p, _U64)),
    "memory_write_block": (None, (_U64, ctypes.c_char_p, _U64)),
    "memory_fill_block": (None, (_U64, _U8, _U64)),
    "memory_set_timing": (None, (_U32, _U32, _U32, _U8, _U64)),
    "memory_set_limit": (None, (_U64,)),
    "memory_set_signed_pages": (None, (_U64, _U64, _U64, _U32)),
    "memory_mark_error": (None, (_U64, _U8)),
    "memory_reset": (None, ()),
    "memory_limit": (_U64, ()),
    "memory_pages": (_U64, ()),
    "memory_accepted": (_U64, (_U32,)),
    "memory_in_flight": (_U64, (_U32,)),
}
_SPACE_BYTES = 1 << 52
_SIGNATURE_AT = (encode(DataWord, signature=1).bit_length() - 1) // 8  # byte of a DataWord


class Memory:
    """A sparse space of 2**52 bytes. What was never written reads as zero, except in signed pages.

    Parameters
    ----------
    library : ctypes.CDLL
        Where the functions are; by default in this process itself.
    """

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        library = library or ctypes.CDLL(None)
        self._call = {}
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            self._call[name] = function

    def read(self, hpa: int, length: int) -> bytes:
        """The bytes there. Raises ValueError if the block leaves the space, as all of these do."""
        _check_block(hpa, length)
        buffer = ctypes.create_string_buffer(length)
        self._call["memory_read_block"](hpa, buffer, length)
        return buffer.raw

    def write(self, hpa: int, data: bytes) -> None:
        """Put bytes there."""
        _check_block(hpa, len(data))
        self._call["memory_write_block"](hpa, bytes(data), len(data))

    def fill(self, hpa: int, length: int, byte: int) -> None:
        """Put the same byte everywhere in a block."""
        _check_block(hpa, length)
        if not 0 <= byte <= 0xFF:
            raise ValueError(f"`byte` must be between 0 and 255, not {byte}")
        self._call["memory_fill_block"](hpa, byte, length)

    def set_timing(self, *, latency: int = 1, jitter: int = 0, interval: int = 1, reorder: bool = False,
                   seed: int = 1) -> None:
        """When requests are answered, from the next one on.

        Parameters
        ----------
        latency : int
            Cycles from a request to its reply, at least 1.
        jitter : int
            Up to that many cycles more, at random.
        interval : int
            Cycles between two requests of one port, at least 1.
        reorder : bool
            Replies that are due leave in random order; otherwise in the order of their requests.
        seed : int
            Of what is random.
        """
        for name, value, least in (("latency", latency, 1), ("jitter", jitter, 0), ("interval", interval, 1)):
            if not least <= value < 1 << 31:
                raise ValueError(f"`{name}` must be between {least} and 2**31-1, not {value}")
        self._call["memory_set_timing"](latency, jitter, interval, reorder, seed)

    def set_latency(self, cycles: int) -> None:
        """Answer that many cycles after the request, in order, one request a cycle."""
        self.set_timing(latency=cycles)

    def set_limit(self, length: int) -> None:
        """From now on the memory ends there: the ports answer with an error at and above it."""
        if not 0 <= length <= _SPACE_BYTES:
            raise ValueError(f"`length` must be between 0 and 2**52, not {length:#x}")
        self._call["memory_set_limit"](length)

    def set_signed_pages(self, pages: range) -> None:
        """Let these HPA pages (numbers, one range, step 1) be data pages that need no preparation; range(0): none.

        A 16-byte word there that was never written reads as the untouched DataWord of its page. Only words that are
        written take space, so that a random walk may write all over a hundred gigabytes. Set it first: a page that was
        written before keeps what it holds, and one written under an earlier range stays signed.
        """
        if pages.step != 1:
            raise ValueError(f"`pages` must have a step of 1, not {pages.step}")
        if pages:
            _check_block(pages.start * PAGE_BYTES, len(pages) * PAGE_BYTES)
        self._call["memory_set_signed_pages"](pages.start if pages else 0, len(pages), page_signature(0),
                                              _SIGNATURE_AT)

    def mark_error(self, hpa: int, *, bad: bool = True) -> None:
        """From now on the ports answer every access to the page of `hpa` with an error, or not any more."""
        _check_block(hpa, 1)
        self._call["memory_mark_error"](hpa // PAGE_BYTES, bad)

    def reset(self) -> None:
        """Forget contents, signed pages, limit, bad pages and timing. Requests in flight are still answered."""
        self._call["memory_reset"]()

    @property
    def limit(self) -> int:
        """Where the memory ends."""
        return int(self._call["memory_limit"]())

    @property
    def pages(self) -> int:
        """Pages that were written, except for signed ones of which only a part was."""
        return int(self._call["memory_pages"]())

    def accepted(self, port: int) -> int:
        """Requests that a port took since the reset."""
        return int(self._call["memory_accepted"](port))

    def in_flight(self, port: int) -> int:
        """Requests that a port took and has not answered."""
        return int(self._call["memory_in_flight"](port))


def _check_block(hpa: int, length: int) -> None:
    if hpa < 0 or length < 0 or hpa + length > _SPACE_BYTES:
        raise ValueError(f"{length:#x} bytes at hpa {hpa:#x} are not within 2**52 bytes")
