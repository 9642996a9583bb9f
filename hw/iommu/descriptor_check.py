"""Which tails and descriptors are legal, as pure functions.

Each takes the module for its statements and returns a signal. Of several causes the first in this order is the one:
BAD_TAIL, MISALIGNED_TAIL, (before the fetch) FETCH, BAD_WIDTH, BAD_TYPE, RESERVED_FIELD.

Source: VT-d 4.1, 6.5.2.10 (types and widths), 11.4.9.9 (causes); their order is ours.
"""
from amaranth import *
from amaranth.lib import data

from hw.spec.invalidation import (
    ABORT_MODE_DESCRIPTORS,
    DESCRIPTOR_LAYOUTS,
    LEGACY_DESCRIPTORS,
    DescriptorHeader,
    DescriptorType,
    Granularity,
    QueueError,
    TranslationTableMode,
)

__all__ = ["SMALLEST_QUEUE", "queue_units", "tail_error", "descriptor_error"]

SMALLEST_QUEUE = 4096 // 16
"""Units of 16 bytes in a queue of one page, IQA.QS = 0."""


def queue_units(size_log2):
    """Size of a queue in units of 16 bytes."""
    return SMALLEST_QUEUE << size_log2


def tail_error(m, *, tail, size_log2, wide):
    """QueueError of a tail, given in units of 16 bytes, before a descriptor is fetched."""
    error = Signal(QueueError, name="tail_error")
    with m.If(tail >= queue_units(size_log2)):
        m.d.comb += error.eq(QueueError.BAD_TAIL)
    with m.Elif(wide & tail[0]):
        m.d.comb += error.eq(QueueError.MISALIGNED_TAIL)
    return error


def descriptor_error(m, *, descriptor, second_half, memory_error, wide, table_mode, max_address_mask):
    """QueueError of a descriptor as read: its first 16 bytes and, if it is wide, the second 16.

    In abort-DMA mode the fields of types 6 to 9, which have no effect, are not looked at, but for the second half of a
    wide descriptor: it is reserved in every type except PAGE_GROUP_RESPONSE, which has data there.
    """
    header = DescriptorHeader(descriptor[:DescriptorHeader.as_shape().size])
    error = Signal(QueueError, name="descriptor_error")
    width_exists, type_exists, bad_field = (Signal(name=name) for name in ("width_exists", "type_exists", "bad_field"))
    with m.Switch(table_mode):
        with m.Case(TranslationTableMode.LEGACY):
            m.d.comb += [width_exists.eq(1), type_exists.eq(_is_one_of(header.type, LEGACY_DESCRIPTORS))]
        with m.Case(TranslationTableMode.ABORT_DMA):
            m.d.comb += [width_exists.eq(wide), type_exists.eq(_is_one_of(header.type, ABORT_MODE_DESCRIPTORS))]
    with m.Switch(header.type):
        for descriptor_type, layout in DESCRIPTOR_LAYOUTS.items():
            with m.Case(descriptor_type):
                m.d.comb += bad_field.eq(_fields_are_bad(descriptor_type, layout(descriptor), max_address_mask))
    bad_half = wide & second_half.any() & (header.type != DescriptorType.PAGE_GROUP_RESPONSE)

    with m.If(memory_error):
        m.d.comb += error.eq(QueueError.FETCH)
    with m.Elif(~width_exists):
        m.d.comb += error.eq(QueueError.BAD_WIDTH)
    with m.Elif(~type_exists | header.type_high.any()):
        m.d.comb += error.eq(QueueError.BAD_TYPE)
    with m.Elif(bad_field | bad_half):
        m.d.comb += error.eq(QueueError.RESERVED_FIELD)
    return error


def _is_one_of(descriptor_type, types):
    return Cat(descriptor_type == each for each in types).any()


def _fields_are_bad(descriptor_type, fields, max_address_mask):
    """A reserved bit is set, or the granularity is none, or a page range is larger than CAP.MAMV."""
    layout = data.Layout.cast(fields.shape())
    bad = Cat(fields[name] for name, _ in layout if name.startswith("_reserved")).any()
    if descriptor_type in (DescriptorType.CONTEXT_CACHE, DescriptorType.IOTLB):
        bad |= fields.granularity == Granularity.RESERVED_0
    if descriptor_type == DescriptorType.IOTLB:
        bad |= (fields.granularity == Granularity.SELECTIVE) & (fields.address_mask > max_address_mask)
    return bad
