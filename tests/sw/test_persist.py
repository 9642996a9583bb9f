"""The store: what comes back is what was saved, or nothing does."""
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sw.errors import StoreRefused
from sw.persist.records import DeviceRecord, DomainRecord, Handover, UnitRecord, pack, unpack
from sw.persist.seal import seal
from sw.persist.store import SLOT_BYTES, STORE_BASE, MemoryStore, PageRange, page_ranges
from tests.sw.machine import Machine, drive

KEY = bytes(range(32))
SLOT_0, SLOT_1 = STORE_BASE + 0x1000, STORE_BASE + 0x1000 + SLOT_BYTES
HEADER_BYTES, FRAME_BYTES, SEAL_BYTES = 20, 12, 32

UNIT = UnitRecord(0x100000, 0xD2008C222F0606, 0xF42)
DOMAIN = DomainRecord(3, 0x200000, 4, 2, False)
DEVICE = DeviceRecord(0x0018, 3, True)
STRANGER = DeviceRecord(0x0020, 4, False)


def handover(**changes):
    parts = {"unit": UNIT, "unit_pages": (0x100000, 0x101000), "domains": {3: DOMAIN},
             "domain_pages": {3: (0x200000, 0x201000, 0x300000)}, "devices": {0x18: DEVICE, 0x20: STRANGER}}
    return Handover(**{**parts, **changes})


def sealed(what=None, *, machine=None, key=KEY):
    machine = machine or Machine()
    drive((what or handover()).save(MemoryStore(machine.transport, key)))
    return machine


def reload(machine, key=KEY):
    return drive(Handover.load(MemoryStore(machine.transport, key)))


def body_bytes(machine, slot=SLOT_0):
    return struct.unpack_from("<I", machine.memory.read(slot + 12, 4))[0]


def test_next_kernel_reads_what_was_handed_over():
    machine = sealed()
    assert reload(machine) == handover()
    assert reload(machine).preserved == {0x18}


def test_store_keeps_names_data_and_pages_apart():
    machine = Machine()
    store = MemoryStore(machine.transport, KEY)
    drive(store.save("a", b"one", pages=[0x3000, 0x1000, 0x2000]))
    drive(store.save("b", b"", pages=[]))
    drive(store.seal())
    again = MemoryStore(machine.transport, KEY)
    drive(again.verify())
    assert drive(again.names()) == ["a", "b"]
    assert (drive(again.load("a")), drive(again.load("b"))) == (b"one", b"")
    assert (drive(again.pages("a")), drive(again.pages("b"))) == ([0x1000, 0x2000, 0x3000], [])
    with pytest.raises(StoreRefused, match="record c: is not there; there are a, b"):
        drive(again.load("c"))


def test_pages_become_ranges():
    assert page_ranges([0x3000, 0x1000, 0x2000, 0x9000, 0x1000]) == (PageRange(1, 3), PageRange(9, 1))


def test_nothing_counts_before_the_seal_and_one_store_makes_it_count():
    machine = Machine()
    store = MemoryStore(machine.transport, KEY)
    drive(store.save("a", b"one"))
    with pytest.raises(StoreRefused, match="names no store; was one sealed"):
        drive(MemoryStore(machine.transport, KEY).verify())
    machine.transport.log.clear()
    drive(store.seal())
    assert machine.transport.kinds() == ["memory", "store64"]
    assert machine.transport.log[1][1] == STORE_BASE


def test_second_seal_goes_to_the_other_slot_and_the_first_stands_until_the_last_store():
    machine = sealed()
    before = machine.memory.read(SLOT_0, 4096)
    commit = machine.memory.read64(STORE_BASE)
    other = handover(devices={0x18: DEVICE})
    sealed(other, machine=machine)
    assert machine.memory.read(SLOT_0, 4096) == before
    assert reload(machine) == other
    machine.memory.store64(STORE_BASE, commit)  # as if the power had gone before the last store
    assert reload(machine) == handover()
    sealed(other, machine=machine)
    assert machine.memory.read64(STORE_BASE) >> 24 & 0xFF == 1


def test_erased_store_is_no_store():
    machine = sealed()
    drive(MemoryStore(machine.transport, KEY).erase())
    with pytest.raises(StoreRefused, match="names no store"):
        reload(machine)


def test_verifying_writes_nothing():
    machine = sealed()
    machine.transport.log.clear()
    reload(machine)
    assert machine.transport.log == []


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_refused(data):
    machine = sealed()
    length = body_bytes(machine) + SEAL_BYTES
    place = data.draw(st.sampled_from([*range(SLOT_0, SLOT_0 + length), *range(STORE_BASE, STORE_BASE + 8)]))
    byte = machine.memory.read(place, 1)[0] ^ 1 << data.draw(st.integers(0, 7))
    machine.memory.write(place, bytes([byte]))
    machine.transport.log.clear()
    with pytest.raises(StoreRefused):
        reload(machine)
    assert machine.transport.log == []


def frames(machine):
    """Where each record's frame begins, read by hand: (place, name)."""
    body = machine.memory.read(SLOT_0, body_bytes(machine))
    place, result = HEADER_BYTES, []
    while place < len(body):
        title, ranges, length, _ = struct.unpack_from("<HHII", body, place)
        result.append((place, body[place + FRAME_BYTES:place + FRAME_BYTES + title].decode()))
        place += FRAME_BYTES + title + 12 * ranges + length
    return result


@pytest.mark.parametrize("number", range(4))
def test_flipped_byte_in_a_record_names_the_record(number):
    machine = sealed()
    place, name = frames(machine)[number]
    target = SLOT_0 + place + FRAME_BYTES + len(name) + 1
    machine.memory.write(target, bytes([machine.memory.read(target, 1)[0] ^ 0x40]))
    with pytest.raises(StoreRefused, match=f"number {number} \\('{name}'\\): its checksum does not fit"):
        reload(machine)


def test_flipped_seal_and_other_key_are_refused_by_name():
    machine = sealed()
    with pytest.raises(StoreRefused, match="record seal: does not fit the records"):
        reload(machine, key=bytes(32))
    place = SLOT_0 + body_bytes(machine)
    machine.memory.write(place, bytes([machine.memory.read(place, 1)[0] ^ 1]))
    with pytest.raises(StoreRefused, match="record seal"):
        reload(machine)


def rewrite(machine, change, *, key=KEY):
    """Change the body as somebody who knows the key and the checksums could."""
    body = bytearray(machine.memory.read(SLOT_0, body_bytes(machine)))
    body = bytearray(change(body))
    struct.pack_into("<I", body, 16, 0)
    struct.pack_into("<I", body, 16, zlib.crc32(bytes(body[:HEADER_BYTES])))
    machine.memory.write(SLOT_0, bytes(body) + seal(key, bytes(body)))


def test_unknown_version_of_the_store_is_refused():
    machine = sealed()

    def change(body):
        struct.pack_into("<H", body, 4, 2)
        return body
    rewrite(machine, change)
    with pytest.raises(StoreRefused, match="record header: is of version 2; this kernel reads version 1"):
        reload(machine)


def test_old_body_under_a_new_commit_record_is_refused():
    machine = sealed()
    machine.memory.store64(STORE_BASE, machine.memory.read64(STORE_BASE) + (1 << 32))
    with pytest.raises(StoreRefused, match="record header: is of generation 1, the commit record is of 2"):
        reload(machine)


@pytest.mark.parametrize(("change", "message"), [
    (lambda body, last: body[:last], "number 3: is cut short"),
    (lambda body, last: body[:-1], r"number 3 \('device/0020'\): is cut short"),
    (lambda body, last: body + b"x", "record header: 1 bytes stand after the last record"),
], ids=["without the last record", "a byte less", "a byte more"])
def test_body_of_another_length_is_refused_even_if_sealed(change, message):
    machine = sealed()
    last = frames(machine)[3][0]

    def rebuilt(body):
        body = bytearray(change(bytes(body), last))
        struct.pack_into("<I", body, 12, len(body))
        return body
    rewrite(machine, rebuilt)
    with pytest.raises(StoreRefused, match=message):
        reload(machine)


def test_record_that_is_there_twice_is_refused_even_if_sealed():
    machine = sealed()
    last = frames(machine)[3][0]

    def change(body):
        body += body[last:]
        struct.pack_into("<H", body, 6, 5)
        struct.pack_into("<I", body, 12, len(body))
        return body
    rewrite(machine, change)
    with pytest.raises(StoreRefused, match=r"number 4 \('device/0020'\): is there twice"):
        reload(machine)


def test_length_that_no_slot_can_hold_is_refused_before_it_is_read():
    machine = sealed()

    def change(body):
        struct.pack_into("<I", body, 12, 1 << 31)
        return body
    rewrite(machine, change)
    with pytest.raises(StoreRefused, match="a body of 2147483648 bytes does not fit"):
        reload(machine)


@pytest.mark.parametrize(("pages", "message"), [
    ((0x200000, 0x101000), "record domain/3: page 0x101000 belongs to unit too"),
    ((0x200000, STORE_BASE), f"record domain/3: page {STORE_BASE:#x} belongs to the store itself too"),
    ((0x200000, STORE_BASE + 0x2000), "record domain/3: page .* belongs to the store itself too"),
])
def test_page_that_belongs_to_two_is_refused_when_it_is_saved(pages, message):
    with pytest.raises(StoreRefused, match=message):
        sealed(handover(domain_pages={3: pages}))


def test_page_that_belongs_to_two_is_refused_when_it_is_read():
    machine = sealed()

    def change(body):
        """Let the domain's first range begin at the unit's page."""
        place, name = frames(machine)[1]
        struct.pack_into("<Q", body, place + FRAME_BYTES + len(name), 0x101)
        end = frames(machine)[2][0]
        struct.pack_into("<I", body, place + 8, zlib.crc32(bytes(body[place + FRAME_BYTES:end])))
        return body
    rewrite(machine, change)
    with pytest.raises(StoreRefused, match="record domain/3: page 0x101000 belongs to unit too"):
        reload(machine)


def test_name_is_saved_once_and_too_much_does_not_fit():
    store = MemoryStore(Machine().transport, KEY)
    drive(store.save("a", b""))
    with pytest.raises(StoreRefused, match="record a: is there already"):
        drive(store.save("a", b""))
    drive(store.save("b", bytes(SLOT_BYTES)))
    with pytest.raises(StoreRefused, match="do not fit in"):
        drive(store.seal())


def test_short_key_is_no_key():
    with pytest.raises(ValueError, match="at least 16 bytes, not 8"):
        sealed(key=bytes(8))


@pytest.mark.parametrize("record", [UNIT, DOMAIN, DEVICE, STRANGER, DomainRecord(5, 0, 0, 3, True)])
def test_record_survives_packing(record):
    assert unpack(record.name, pack(record)) == record


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda raw: raw[:3], "has 3 bytes, less than the 4"),
    (lambda raw: raw[:-1], "must have 9 bytes, says 5 and has 8"),
    (lambda raw: raw + b"\0", "must have 9 bytes, says 5 and has 10"),
    (lambda raw: b"\x07" + raw[1:], r"is of type 7; there are \[1, 2, 3\]"),
    (lambda raw: raw[:1] + b"\x02" + raw[2:], "is of version 2; this kernel reads version 1"),
    (lambda raw: raw[:2] + b"\x04" + raw[3:], "must have 9 bytes, says 4"),
    (lambda raw: raw[:4] + b"\x19" + raw[5:], "holds device/0019"),
])
def test_record_that_this_kernel_does_not_read_is_refused_by_name(spoil, message):
    with pytest.raises(StoreRefused, match=f"record device/0018: {message}"):
        unpack("device/0018", spoil(pack(DEVICE)))


@pytest.mark.parametrize(("changes", "message"), [
    ({"unit_pages": (0x101000,)}, "record unit: its root table 0x100000 is not among"),
    ({"domain_pages": {3: (0x201000,)}}, "record domain/3: its top table 0x200000 is not among"),
    ({"domains": {}, "domain_pages": {}}, "record device/0018: is preserved, but its domain 3 is not"),
    ({"devices": {0x20: STRANGER}}, "record domain/3: no preserved device uses it"),
])
def test_records_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(StoreRefused, match=message):
        reload(sealed(handover(**changes)))


def test_store_without_a_unit_is_refused():
    machine = Machine()
    store = MemoryStore(machine.transport, KEY)
    drive(store.save("device/0020", pack(STRANGER)))
    drive(store.seal())
    with pytest.raises(StoreRefused, match="record unit: is not there"):
        reload(machine)
