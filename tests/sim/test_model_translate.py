"""The model against a real machine's tables, against tables worked out by hand, and against itself read backwards."""
import pytest
from hypothesis import given, settings

from hw.spec.dma import Access, RequestKind, Status
from hw.spec.faults import FaultReason
from hw.spec.tables import PageSize, TranslationType
from sim.model.entries import limits
from sim.model.fields import field, reserved_mask
from sim.model.memory import AccessError, Memory
from sim.model.scoreboard import Reply, Scoreboard
from sim.model.translate import Request, translate
from sim.model.translations import Interval, Translations, translations_of
from tests import strategies
from tests.sim.machine import CONTEXT, ROOT, Capture, context_entry, entry, root_entry, stores_of_path, straps

SOURCE, TABLE, PAGE, IOVA, DOMAIN = 0x0018, 0x200, 0x9000, 0x12345678, 5
CONTEXT_PLACE = (CONTEXT << 12) + 16 * SOURCE
READ, WRITE, ATOMIC = Access.READ, Access.WRITE, Access.ATOMIC


# --- a real machine ---

@pytest.mark.parametrize(("name", "probes", "beyond"), [
    ("legacy48", 7924, 0), ("legacy39seq", 5409, 0), ("ident39", 6494, 0), ("hwpt48", 2971, 0),
])
def test_every_probe_of_a_capture_agrees_with_the_independent_implementation(name, probes, beyond):
    """It takes pass-through devices out of the unit and does not check their width: `beyond` counts those."""
    capture = Capture(name)
    count, wide = 0, 0
    for row in capture.rows("probes"):
        count += 1
        request = Request(int(row["sid"], 16), int(row["iova"], 16), WRITE if row["write"] == "1" else READ)
        result = translate(capture.memory, root_table=capture.root_table, straps=capture.straps, request=request)
        reason = int(row["fault"]) if row["fault"] else None
        if row["result"] == "ok":
            size = (1 << 12 + 9 * result.page_size.value) - 1
            assert (result.status, result.hpa, size) == (Status.OK, int(row["hpa"], 16), int(row["mask"], 16)), row
        elif row["result"] == "fault":
            assert result.status is Status.BLOCKED, row
            assert (int(result.fault_reason) if result.recorded else None) == reason, row
        elif result.status is Status.BLOCKED:
            assert (result.fault_reason, request.iova >= limits(capture.straps).hpa_limit) == (
                FaultReason.ADDRESS_BEYOND_WIDTH, True), row
            wide += 1
        else:
            assert (result.page_size, result.hpa) == (PageSize.UNTRANSLATED, request.iova), row
    assert (count, wide) == (probes, beyond)


@pytest.mark.parametrize("name", ["legacy48", "legacy39seq", "ident39", "hwpt48"])
def test_tables_of_a_capture_say_what_its_list_of_mappings_says(name):
    capture = Capture(name)
    listed = {}
    for row in capture.rows("mappings"):
        if row["epoch"] == "0":
            listed.setdefault(int(row["domain"]), []).append(Interval(
                int(row["iova"], 16), int(row["hpa"], 16), int(row["bytes"], 16) * int(row["count"]),
                "R" in row["perm"], "W" in row["perm"]))
    for number, domain in enumerate(capture.epoch["domains"]):
        pointer = int(domain["sltptr"], 16) if isinstance(domain["sltptr"], str) else domain["sltptr"]
        found = translations_of(capture.memory.read, limits(capture.straps), pointer >> 12, domain["levels"])
        assert found == Translations(listed.get(number, [])), number


# --- a machine by hand ---

def machine(*, root=None, context=None, leaf=None, level=1, top=4, limit=1 << 52, iova=IOVA):
    """Memory with one device whose IOVA is mapped; any of the entries may be replaced."""
    memory = Memory(limit=limit)
    memory.write(ROOT << 12, (root_entry() if root is None else root).to_bytes(16, "little"))
    context = context_entry(TABLE, DOMAIN, top - 2) if context is None else context
    memory.write(CONTEXT_PLACE, context.to_bytes(16, "little"))
    for hpa, value in stores_of_path(TABLE, iova, entry(PAGE) if leaf is None else leaf, top=top, level=level):
        memory.store64(hpa, value)
    return memory


def ask(memory, access=READ, *, iova=IOVA, source_id=SOURCE, strap=None, **options):
    own = {name: options.pop(name) for name in ("kind", "pasid_present", "length_bytes") if name in options}
    request = Request(source_id, iova, access, **own)
    return translate(memory, straps=strap or straps(), request=request, **dict(root_table=ROOT) | options)


def reason(memory, access=READ, **options):
    """The fault reason, or the status of what is let through."""
    result = ask(memory, access, **options)
    return result.fault_reason if result.status is Status.BLOCKED else result.status


@pytest.mark.parametrize(("top", "level", "size"), [
    (3, 1, PageSize.SIZE_4K), (4, 1, PageSize.SIZE_4K), (5, 1, PageSize.SIZE_4K),
    (3, 2, PageSize.SIZE_2M), (5, 3, PageSize.SIZE_1G),
])
def test_page_of_each_size_through_each_number_of_levels(top, level, size):
    page = 0x40000   # 1 GiB aligned
    result = ask(machine(top=top, level=level, leaf=entry(page, page_size=int(level > 1))))
    offset = IOVA & (1 << 12 + 9 * (level - 1)) - 1
    assert (result.status, result.hpa, result.page_size) == (Status.OK, page << 12 | offset, size)
    assert (result.domain_id, result.table_pointer, result.readable, result.writable) == (DOMAIN, TABLE, True, True)
    assert [step.structure for step in result.steps] == ["root", "context", *(
        f"level {each}" for each in range(top, level - 1, -1))]


def test_permission_is_what_every_level_allows():
    memory = machine()
    memory.store64((TABLE << 12) + 8 * (IOVA >> 39), entry(TABLE + 1, writable=0))
    result = ask(memory)
    assert (result.readable, result.writable) == (True, False)
    assert reason(memory, WRITE) is FaultReason.WRITE_PERMISSION


def test_leaf_to_which_the_levels_leave_no_permission_is_no_translation():
    memory = machine(leaf=entry(PAGE, readable=0))
    assert len(translations_of(memory.read, limits(straps()), TABLE, 4).intervals) == 1
    memory.store64((TABLE << 12) + 8 * (IOVA >> 39), entry(TABLE + 1, writable=0))
    assert translations_of(memory.read, limits(straps()), TABLE, 4).intervals == []


TABLE_2_ENTRY = (TABLE + 2 << 12) + 8 * (IOVA >> 21 & 511)
BY_REASON = [
    # Each reason, by the one thing that is wrong.
    (FaultReason.ROOT_NOT_PRESENT, dict(root=root_entry(present=0)), {}),
    (FaultReason.ROOT_RESERVED, dict(root=root_entry() | 1 << 64), {}),
    (FaultReason.ROOT_RESERVED, dict(root=root_entry(1 << 40)), {}),
    (FaultReason.CONTEXT_NOT_PRESENT, dict(context=0), {}),
    (FaultReason.CONTEXT_RESERVED, dict(context=context_entry(TABLE, DOMAIN) | 1 << 71), {}),
    (FaultReason.CONTEXT_RESERVED, dict(context=context_entry(1 << 36, DOMAIN)), dict(strap=straps(host_address_width=48))),
    (FaultReason.CONTEXT_RESERVED, dict(context=context_entry(TABLE, 0x100)), dict(strap=straps(domain_id_width_code=2))),
    (FaultReason.CONTEXT_INVALID, dict(context=context_entry(TABLE, DOMAIN, 0)), {}),
    (FaultReason.CONTEXT_INVALID, dict(context=context_entry(TABLE, DOMAIN, 4)), {}),
    (FaultReason.CONTEXT_INVALID, {}, dict(strap=straps(sagaw=0b0010))),
    (FaultReason.CONTEXT_INVALID, dict(context=context_entry(
        TABLE, DOMAIN, translation_type=TranslationType.MULTI_LEVEL_DEVICE_TLB)), {}),
    (FaultReason.CONTEXT_INVALID, dict(context=context_entry(TABLE, DOMAIN, translation_type=TranslationType.RESERVED_3)), {}),
    (FaultReason.CONTEXT_INVALID, dict(context=context_entry(0, DOMAIN, translation_type=TranslationType.PASS_THROUGH)),
     dict(strap=straps(pass_through=0))),
    (FaultReason.CONTEXT_INVALID, dict(context=context_entry(0, DOMAIN, 0, translation_type=TranslationType.PASS_THROUGH)), {}),
    (FaultReason.ADDRESS_BEYOND_WIDTH, {}, dict(iova=IOVA | 1 << 48)),
    (FaultReason.ADDRESS_BEYOND_WIDTH, {}, dict(iova=IOVA | 1 << 40, strap=straps(mgaw=39))),
    (FaultReason.ADDRESS_BEYOND_WIDTH, dict(context=context_entry(0, DOMAIN, translation_type=TranslationType.PASS_THROUGH)),
     dict(iova=1 << 48, strap=straps(host_address_width=48))),
    (FaultReason.ADDRESS_BEYOND_WIDTH, {}, dict(iova=0xFEE0_0000)),
    (FaultReason.WRITE_PERMISSION, dict(leaf=entry(PAGE, writable=0)), dict(access=WRITE)),
    (FaultReason.WRITE_PERMISSION, dict(leaf=entry(PAGE, writable=0)), dict(access=ATOMIC)),
    (FaultReason.WRITE_PERMISSION, dict(leaf=0), dict(access=ATOMIC)),
    (FaultReason.READ_PERMISSION, dict(leaf=entry(PAGE, readable=0)), {}),
    (FaultReason.READ_PERMISSION, dict(leaf=entry(PAGE, readable=0)), dict(access=ATOMIC)),
    (FaultReason.READ_PERMISSION, dict(leaf=entry(PAGE, readable=0, writable=0, executable=1)), {}),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(PAGE, snoop=1)), {}),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(PAGE, transient_mapping=1)), {}),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(1 << 36)), dict(strap=straps(host_address_width=48))),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(0x401, page_size=1), level=2), {}),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(0x40200, page_size=1), level=3), {}),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(0x40000, page_size=1), level=3), dict(strap=straps(superpages=0b01))),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(0x40000, page_size=1), level=4), {}),
    (FaultReason.REQUEST_TYPE_BLOCKED, {}, dict(kind=RequestKind.TRANSLATED)),
    (FaultReason.REQUEST_TYPE_BLOCKED, dict(context=context_entry(0, DOMAIN, translation_type=TranslationType.PASS_THROUGH)),
     dict(kind=RequestKind.TRANSLATION_REQUEST)),
    (FaultReason.OUTPUT_IN_INTERRUPT_WINDOW, dict(leaf=entry(0xFEEFF)), {}),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(translation_table_mode=1)),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(translation_table_mode=2)),
    (FaultReason.DMA_ABORTED, {}, dict(translation_table_mode=3)),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(root_table=1 << 40 | ROOT)),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(root_table=1 << 51 | ROOT)),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(root_table=1 << 27 | ROOT, strap=straps(host_address_width=39))),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(root_table=1 << 40, pasid_present=True, iova=0xFEE0_0000)),
    (FaultReason.DMA_ABORTED, {}, dict(root_table=1 << 40, translation_table_mode=3)),
    (FaultReason.ROOT_NOT_PRESENT, {}, dict(root_table=(1 << 27) - 1, strap=straps(host_address_width=39))),
    (FaultReason.PASID_IN_LEGACY_MODE, {}, dict(pasid_present=True)),
]


@pytest.mark.parametrize(("expected", "wrong", "asked"), BY_REASON)
def test_reason(expected, wrong, asked):
    assert reason(machine(**wrong), **asked) is expected


@pytest.mark.parametrize(("page", "expected"), [
    (ROOT, FaultReason.ROOT_ACCESS), (CONTEXT, FaultReason.CONTEXT_ACCESS), (TABLE, FaultReason.CONTEXT_INVALID),
    (TABLE + 1, FaultReason.SECOND_STAGE_ACCESS), (TABLE + 3, FaultReason.SECOND_STAGE_ACCESS),
])
def test_memory_error_on_each_kind_of_read(page, expected):
    memory = machine()
    memory.mark_error(page)
    assert reason(memory) is expected
    memory.mark_error(page, refused=False)
    assert reason(memory) is Status.OK


def test_every_reason_of_legacy_mode_is_tried():
    tried = {expected for expected, _, _ in BY_REASON} | {
        FaultReason.ROOT_ACCESS, FaultReason.CONTEXT_ACCESS, FaultReason.SECOND_STAGE_ACCESS}
    assert tried == set(FaultReason) - {FaultReason.NONE}


@pytest.mark.parametrize(("expected", "wrong", "asked"), [
    # Two things are wrong; the one that is met first decides.
    (FaultReason.PASID_IN_LEGACY_MODE, dict(root=0), dict(pasid_present=True, iova=0xFEE0_0000)),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(pasid_present=True, translation_table_mode=1)),
    (FaultReason.ROOT_POINTER_INVALID, {}, dict(iova=0xFEE0_0000, translation_table_mode=2)),
    (FaultReason.DMA_ABORTED, {}, dict(pasid_present=True, translation_table_mode=3)),
    (FaultReason.DMA_ABORTED, dict(root=0), dict(iova=0xFEE0_0000, translation_table_mode=3)),
    (FaultReason.ADDRESS_BEYOND_WIDTH, dict(root=0), dict(iova=0xFEE0_0000)),
    (FaultReason.ROOT_NOT_PRESENT, dict(root=root_entry(present=0) | 1 << 64), {}),
    (FaultReason.CONTEXT_NOT_PRESENT, dict(context=context_entry(TABLE, DOMAIN, present=0) | 1 << 71), {}),
    (FaultReason.CONTEXT_RESERVED, dict(context=context_entry(TABLE, DOMAIN, 0) | 1 << 71), {}),
    (FaultReason.CONTEXT_INVALID, dict(context=context_entry(TABLE, DOMAIN, 0)), dict(kind=RequestKind.TRANSLATED)),
    (FaultReason.REQUEST_TYPE_BLOCKED, {}, dict(kind=RequestKind.TRANSLATED, iova=1 << 60)),
    (FaultReason.ADDRESS_BEYOND_WIDTH, dict(context=context_entry(1 << 39, DOMAIN), limit=1 << 40), dict(iova=1 << 60)),
    (FaultReason.WRITE_PERMISSION, dict(leaf=entry(PAGE, writable=0, snoop=1)), dict(access=WRITE)),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(PAGE, writable=0, snoop=1)), {}),
    (FaultReason.SECOND_STAGE_RESERVED, dict(leaf=entry(0xFEE01, snoop=1)), {}),
])
def test_first_fault_of_two_decides(expected, wrong, asked):
    assert reason(machine(**wrong), **asked) is expected


def test_first_failing_level_decides_not_the_worst_fault():
    memory = machine(leaf=entry(PAGE, snoop=1))
    memory.store64(TABLE_2_ENTRY, entry(TABLE + 3, writable=0))
    assert reason(memory, WRITE) is FaultReason.WRITE_PERMISSION
    assert reason(memory, READ) is FaultReason.SECOND_STAGE_RESERVED


def test_snoop_bit_is_free_where_snoop_control_is():
    assert reason(machine(leaf=entry(PAGE, snoop=1)), strap=straps(snoop_control=1)) is Status.OK


@pytest.mark.parametrize("ignored", [1 << 2, 0xF << 3, 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 63])
def test_ignored_bits_of_a_leaf_change_nothing(ignored):
    assert ask(machine(leaf=entry(PAGE) | ignored)).hpa == PAGE << 12 | IOVA & 0xFFF


def test_interrupt_window_takes_dword_writes_only():
    memory = machine()
    window = 0xFEE0_1000
    assert ask(memory, WRITE, iova=window, length_bytes=4).status is Status.INTERRUPT
    assert reason(memory, WRITE, iova=window, length_bytes=8) is FaultReason.ADDRESS_BEYOND_WIDTH
    assert reason(memory, READ, iova=window, length_bytes=4) is FaultReason.ADDRESS_BEYOND_WIDTH
    assert reason(memory, WRITE, iova=window, kind=RequestKind.TRANSLATED) is FaultReason.ADDRESS_BEYOND_WIDTH
    assert reason(memory, iova=0xFEDF_F000) is FaultReason.READ_PERMISSION   # the neighbours are memory
    assert reason(memory, iova=0xFEF0_0000) is FaultReason.READ_PERMISSION


@pytest.mark.parametrize("mode", range(4))
def test_interrupt_is_passed_on_in_every_table_mode_but_not_with_a_pasid(mode):
    dword = dict(access=WRITE, iova=0xFEE0_1000, length_bytes=4, translation_table_mode=mode)
    assert ask(machine(), **dword).status is Status.INTERRUPT
    assert ask(machine(), **dword, pasid_present=True).status is Status.BLOCKED


def test_root_table_that_the_host_does_not_have_is_not_read_blocks_no_interrupt_and_its_faults_are_recorded():
    result = ask(machine(), root_table=1 << 40 | ROOT)
    assert (result.status, result.recorded, result.steps) == (Status.BLOCKED, True, ())
    assert ask(machine(), WRITE, iova=0xFEE0_1000, length_bytes=4, root_table=1 << 40).status is Status.INTERRUPT
    assert ask(machine(), root_table=1 << 40, translation_enabled=False).hpa == IOVA


def test_aborted_dma_is_never_recorded_and_reads_no_table():
    result = ask(Memory(limit=0), translation_table_mode=3)
    assert (result.status, result.recorded, result.steps) == (Status.BLOCKED, False, ())


def test_pass_through_gives_the_address_back_whatever_the_pointer_says():
    result = ask(machine(context=context_entry(0x777, DOMAIN, translation_type=TranslationType.PASS_THROUGH)))
    assert (result.status, result.hpa, result.page_size, result.domain_id) == (Status.OK, IOVA, PageSize.UNTRANSLATED, DOMAIN)


def test_translation_off_reads_no_table_and_passes_what_fits_the_host():
    result = ask(Memory(limit=0), translation_enabled=False)
    assert (result.status, result.hpa, result.steps) == (Status.OK, IOVA, ())
    assert reason(Memory(), iova=1 << 52, translation_enabled=False) is FaultReason.ADDRESS_BEYOND_WIDTH


@pytest.mark.parametrize(("wrong", "recorded"), [
    (dict(context=context_entry(TABLE, DOMAIN, present=0, fault_processing_disable=1)), False),
    (dict(context=context_entry(TABLE, DOMAIN, fault_processing_disable=1) | 1 << 71), False),
    (dict(context=context_entry(TABLE, DOMAIN, fault_processing_disable=1), leaf=0), False),
    (dict(context=context_entry(TABLE, DOMAIN), leaf=0), True),
    (dict(context=context_entry(TABLE, DOMAIN, present=0, fault_processing_disable=1), root=0), True),
])
def test_fault_processing_disable_hides_the_record_and_not_the_block(wrong, recorded):
    result = ask(machine(**wrong))
    assert (result.status, result.recorded) == (Status.BLOCKED, recorded)


# --- any tables ---

def build(leaves, *, top=4):
    """Memory with a table that maps these leaves; tables are taken from page TABLE on."""
    memory, taken = Memory(), [TABLE]
    for iova, level, page, readable, writable in leaves:
        table = TABLE
        for current in range(top, level, -1):
            place = (table << 12) + 8 * (iova >> 12 + 9 * (current - 1) & 511)
            if not memory.read64(place):
                taken.append(taken[-1] + 1)
                memory.store64(place, entry(taken[-1]))
            table = memory.read64(place) >> 12
        memory.store64((table << 12) + 8 * (iova >> 12 + 9 * (level - 1) & 511),
                       entry(page, readable, writable, page_size=int(level > 1)))
    memory.write(ROOT << 12, root_entry().to_bytes(16, "little"))
    memory.write(CONTEXT_PLACE, context_entry(TABLE, DOMAIN, top - 2).to_bytes(16, "little"))
    return memory


@settings(max_examples=50, deadline=None)
@given(leaves=strategies.mappings(), near=strategies.word)
def test_walk_and_enumeration_of_a_table_agree_at_every_edge(leaves, near):
    memory = build(leaves)
    whole = translations_of(memory.read, limits(straps()), TABLE, 4)
    assert sum(each.length for each in whole.intervals) == sum(1 << 12 + 9 * (level - 1) for _, level, *_ in leaves)
    for iova, level, page, readable, writable in leaves:
        length = 1 << 12 + 9 * (level - 1)
        for address in (iova, iova + near % length, iova + length - 1):
            assert whole.lookup(address) == ((page << 12) + address - iova, bool(readable), bool(writable))
            assert (ask(memory, READ, iova=address).status is Status.OK) == bool(readable)
            assert (ask(memory, WRITE, iova=address).status is Status.OK) == bool(writable)
        for address in (iova - 1, iova + length):
            if address >= 0 and whole.lookup(address) is None:
                assert reason(memory, iova=address) is FaultReason.READ_PERMISSION


@settings(max_examples=200, deadline=None)
@given(root=strategies.root_entries(), context=strategies.context_entries(), leaf=strategies.second_stage_entries(),
       iova=strategies.iovas())
def test_any_entries_give_one_answer_and_a_reason_if_it_is_no(root, context, leaf, iova):
    memory = Memory(limit=1 << 50)
    memory.write(ROOT << 12, root.to_bytes(16, "little"))
    for place in (CONTEXT_PLACE, ((root >> 12 & (1 << 38) - 1) << 12) + 16 * SOURCE):
        memory.write(place, context.to_bytes(16, "little"))
    memory.store64(((context >> 12 & (1 << 38) - 1) << 12) + 8 * (iova >> 39 & 511), leaf)
    result = ask(memory, iova=iova)
    assert (result.status is Status.BLOCKED) == bool(result.fault_reason)


# --- the parts ---

def test_intervals_are_kept_in_their_shortest_form_and_may_not_overlap():
    parts = [Interval(0x3000, 0x9000, 0x1000), Interval(0x1000, 0x7000, 0x2000), Interval(0x4000, 0xA000, 0x1000, True, False)]
    assert Translations(parts).intervals == [Interval(0x1000, 0x7000, 0x3000), Interval(0x4000, 0xA000, 0x1000, True, False)]
    with pytest.raises(ValueError, match="intervals overlap at 0x2000"):
        Translations([Interval(0x1000, 0, 0x2000), Interval(0x2000, 0, 0x1000)])
    with pytest.raises(ValueError, match="interval at 0x1000 has length 0"):
        Translations([Interval(0x1000, 0, 0)])


def test_fields_stand_where_the_specification_says():
    from hw.spec.tables import ContextEntry, RootEntry
    assert field(ContextEntry, "domain_id").mask == 0xFFFF << 72
    assert field(ContextEntry, "address_width").get(5 << 64) == 5
    assert reserved_mask(RootEntry) == 0xFFE | ((1 << 64) - 1) << 64


def test_memory_refuses_beyond_its_limit_and_writes_nothing_of_a_refused_write():
    memory = Memory(limit=0x2000)
    with pytest.raises(AccessError, match="memory refuses address 0x2000"):
        memory.write(0x1FFF, b"ab")
    assert memory.read(0x1FFF, 1) == b"\0"
    with pytest.raises(AccessError):
        memory.read(0x1FFF, 2)
    with pytest.raises(ValueError, match="0x1004 is not"):
        memory.read64(0x1004)


def test_compare_exchange_stores_only_over_what_was_expected():
    memory = Memory()
    assert memory.compare_exchange128(0x1000, 0, 7) == 0
    assert memory.compare_exchange128(0x1000, 0, 9) == 7
    assert memory.read128(0x1000) == 7


def test_scoreboard_counts_and_explains_with_the_entries_as_read():
    board = Scoreboard(machine(leaf=entry(PAGE, writable=0)), ROOT, straps())
    request = Request(SOURCE, IOVA, READ)
    assert board.compare(request, Reply(Status.OK, PAGE << 12 | IOVA & 0xFFF, PageSize.SIZE_4K)) is None
    assert board.compare(request, Reply(Status.OK, PAGE << 12 | IOVA & 0xFFF, PageSize.SIZE_2M)) is not None
    assert board.compare(request, Reply(Status.OK, PAGE << 12, PageSize.SIZE_4K)) is not None
    write = Request(SOURCE, IOVA, WRITE)
    assert board.compare(write, Reply(Status.BLOCKED, fault_reason=FaultReason.WRITE_PERMISSION)) is None
    assert board.compare(write, Reply(Status.BLOCKED)) is None
    difference = board.compare(write, Reply(Status.BLOCKED, fault_reason=FaultReason.READ_PERMISSION))
    assert board.summary() == "3 of 6 agree"
    text = difference.explain()
    assert "expected BLOCKED, WRITE_PERMISSION" in text
    assert "answered BLOCKED, READ_PERMISSION" in text
    assert f"level 1  at {(TABLE + 3 << 12) + 8 * (IOVA >> 12 & 511):#x}: {entry(PAGE, writable=0):#x}" in text
