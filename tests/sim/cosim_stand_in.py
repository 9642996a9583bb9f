"""cocotb tests that run in a simulator of the stand-in; tests/sim/test_*.py say what they must find."""
import os
import time

import cocotb
import numpy as np

from hw.spec.bench import UPDATE_BASE, UpdateRegister
from hw.spec.capabilities import STRAPS_DEFAULT
from hw.spec.events import EventKind
from hw.spec.memory import MemoryOperation
from sim.bench import Bench, give_result, run_config
from sim.events import detail_of, of_kind
from sim.serve import serve
from sim.transport import CosimTransport
from sw.transport import MemoryRefused, RegisterRefused, Transport
from tests.sim.stand_in import Register

TABLE_REQUESTS, DATA_REQUESTS, TABLE_REPLIES, DATA_REPLIES, ACCESSES = range(5)


async def begin(dut, **options):
    bench = Bench(dut, **options)
    bench.memory.reset()
    await bench.reset(straps=STRAPS_DEFAULT, chunk_delay=7)
    return bench


async def write(bench, register, value):
    reply = await bench.access(write=True, wide=True, address=register.value, value=value)
    assert not reply.error


async def read(bench, register):
    reply = await bench.access(write=False, wide=True, address=register.value)
    assert not reply.error
    return reply.data


async def burst(bench, register, *, count, address=0, cycles=1000):
    """Make reads; returns (requests, replies) as events, for the port of `register`."""
    await write(bench, Register.BURST_ADDRESS, address)
    bench.drain()
    await write(bench, register, count)
    await bench.pause(cycles)
    events = bench.drain()
    first = TABLE_REQUESTS if register is Register.BURST_TABLE else DATA_REQUESTS
    return events[events["port"] == first], events[events["port"] == first + TABLE_REPLIES]


# --- bench -------------------------------------------------------------------------------------------------------------

@cocotb.test()
async def straps_and_inputs_reach_the_machine(dut):
    bench = await begin(dut)
    assert await read(bench, Register.STRAPS) == STRAPS_DEFAULT
    assert await read(bench, Register.CHUNK_DELAY) == 7
    bench.set_port("chunk_delay", 9)
    assert await read(bench, Register.CHUNK_DELAY) == 9
    assert bench.port("access_count") == 3
    await bench.reset(straps=5)
    assert await read(bench, Register.STRAPS) == 5
    assert bench.port("access_count") == 1


@cocotb.test()
async def cycles_count_as_in_the_machine(dut):
    bench = await begin(dut)
    # The machine samples its counter when it takes the access, two edges before Python sees the reply.
    seen = await read(bench, Register.CYCLE)
    assert bench.cycle == seen + 2
    costs = []
    for cycles in (1, 2, 3, 100):
        before = bench.cycle
        await bench.pause(cycles)
        costs.append(bench.cycle - before)
    for _ in range(3):
        before = bench.cycle
        await read(bench, Register.STRAPS)
        costs.append(bench.cycle - before)
    give_result(costs, name="cycles_count_as_in_the_machine")


@cocotb.test()
async def fails_readably(dut):
    await begin(dut)
    answer = 41
    assert answer == 42, "the answer is 42"


@cocotb.test()
async def crashes(dut):
    await begin(dut)
    os._exit(3)


@cocotb.test()
async def hangs_in_python(dut):
    while True:
        time.sleep(0.1)


@cocotb.test()
async def waits_for_a_reply_that_never_comes(dut):
    bench = await begin(dut, deadline_cycles=500)
    bench.memory.set_latency(1000)
    await write(bench, Register.BURST_DATA, 3)
    await bench.access(write=True, wide=True, address=Register.UNANSWERED.value)


@cocotb.test()
async def uses_a_reserved_operation(dut):
    bench = await begin(dut)
    await write(bench, Register.RESERVED, 1)
    await bench.pause(10)


@cocotb.test()
async def gives_back_its_config(dut):
    config = run_config()
    bench = await begin(dut)
    await bench.pause(config["cycles"])
    give_result(config)


@cocotb.test()
async def runs_idle(dut):
    bench = await begin(dut, deadline_cycles=10_000_000)
    await bench.pause(run_config()["cycles"])
    give_result(bench.cycles_per_second, name="runs_idle")


# --- memory ------------------------------------------------------------------------------------------------------------

@cocotb.test()
async def latency_is_what_was_set(dut):
    bench = await begin(dut)
    result = []
    for register in (Register.BURST_TABLE, Register.BURST_DATA):
        for latency in (1, 2, 7, 200):
            bench.memory.set_latency(latency)
            requests, replies = await burst(bench, register, count=40)
            result.append({
                "latency": latency,
                "delays": sorted({int(delay) for delay in replies["cycle"] - requests["cycle"]}),
                "tags": [int(tag) for tag in replies["tag"]],
                "request_gaps": sorted({int(gap) for gap in np.diff(requests["cycle"])}),
            })
    give_result(result, name="latency_is_what_was_set")


@cocotb.test()
async def timing_knobs(dut):
    bench = await begin(dut)
    result = {}
    for name, knobs in run_config()["knobs"].items():
        bench.memory.set_timing(**knobs)
        requests, replies = await burst(bench, Register.BURST_DATA, count=60, cycles=2000)
        started = {int(row["tag"]): int(row["cycle"]) for row in requests}
        result[name] = {
            "tags": [int(tag) for tag in replies["tag"]],
            "delays": [int(row["cycle"]) - started[int(row["tag"])] for row in replies],
            "gaps": [int(gap) for gap in np.diff(requests["cycle"])],
        }
    give_result(result, name="timing_knobs")


@cocotb.test()
async def words_come_from_both_ports(dut):
    bench = await begin(dut)
    base = (1 << 51) + 0x1FC0  # crosses a page
    bench.memory.write(base, bytes(range(256)))
    _, table = await burst(bench, Register.BURST_TABLE, count=5, address=base)
    _, wide = await burst(bench, Register.BURST_TABLE, count=1, address=base + 0x10)
    _, narrow = await burst(bench, Register.BURST_DATA, count=17, address=base)

    def low(rows):
        return [f"{int(row['detail_hi']) << 64 | int(row['detail_lo']):032x}" for row in rows]
    give_result({"table": low(table), "inside": low(wide), "data": low(narrow)}, name="words_come_from_both_ports")


@cocotb.test()
async def errors_are_answered(dut):
    bench = await begin(dut)
    bench.memory.set_limit(0x10000)
    bench.memory.mark_error(0x3FFF)
    errors = {}
    for hpa in (0x2FF0, 0x3000, 0x3FF0, 0x4000, 0xFFF0, 0x10000, (1 << 52) - 16):
        _, replies = await burst(bench, Register.BURST_DATA, count=1, address=hpa, cycles=20)
        errors[f"{hpa:#x}"] = [int(row["hpa"]) for row in replies]
    bench.memory.mark_error(0x3000, bad=False)
    _, replies = await burst(bench, Register.BURST_DATA, count=1, address=0x3000, cycles=20)
    errors["unmarked"] = [int(row["hpa"]) for row in replies]
    give_result(errors, name="errors_are_answered")


@cocotb.test()
async def an_access_takes_effect_when_it_is_accepted(dut):
    bench = await begin(dut)
    bench.memory.set_latency(100)
    bench.memory.write(0x40, b"\x11" * 16)
    await write(bench, Register.BURST_ADDRESS, 0x40)
    await write(bench, Register.BURST_DATA, 1)
    await bench.pause(10)
    in_flight = bench.memory.in_flight(1)
    bench.memory.write(0x40, b"\x22" * 16)
    await bench.pause(200)
    events = bench.drain()
    reply = events[events["port"] == DATA_REPLIES][0]
    data = f"{int(reply['detail_lo']):x}"
    give_result([in_flight, data, bench.memory.in_flight(1), bench.memory.accepted(1)],
                name="an_access_takes_effect_when_it_is_accepted")


# --- events ------------------------------------------------------------------------------------------------------------

@cocotb.test()
async def events_are_in_order_and_complete(dut):
    bench = await begin(dut)
    batches = []
    bench.listeners.append(lambda events: batches.append(len(events)))
    bench.memory.set_latency(3)
    await write(bench, Register.BURST_TABLE, 200)
    await write(bench, Register.BURST_DATA, 200)
    bench.drain()
    await bench.pause(300)
    log = bench.log
    first = of_kind(log, EventKind.REQUEST)[0]
    give_result({
        "ordered": bool(np.all(np.diff(log["cycle"].astype(np.int64) * 8 + log["port"]) > 0)),
        "by_port": [int(np.count_nonzero(log["port"] == port)) for port in range(5)],
        "batches": batches, "total": len(log), "operation": detail_of(of_kind(log, EventKind.MEMORY)[0]).name,
        "first_access": [int(first[name]) for name in ("source_id", "domain_id", "iova", "port")],
    }, name="events_are_in_order_and_complete")


# --- transport ---------------------------------------------------------------------------------------------------------

@cocotb.test()
async def the_transport_does_what_it_says(dut):
    bench = await begin(dut)
    transport = CosimTransport(bench)
    assert isinstance(transport, Transport)
    table = 0x12345000
    await transport.write_memory(table, bytes(range(64)))
    before = await transport.read_memory(table + 16, 16)
    seen = await transport.compare_exchange128(table + 16, int.from_bytes(before, "little"), 0xAB << 120 | 0xCD)
    refused = await transport.compare_exchange128(table + 16, 0, 1)
    await transport.store64(table + 40, 0x1122334455667788)
    operations = of_kind(bench.log, EventKind.MEMORY)
    fresh = await transport.compare_exchange128(0x777000, 0, 5)
    result = {
        "fresh": [fresh, int.from_bytes(bench.memory.read(0x777000, 16), "little")],
        "observed": f"{seen:032x}", "observed_after": f"{refused:032x}",
        "memory": bench.memory.read(table, 64).hex(),
        "operations": [[MemoryOperation(int(row["detail_lo"])).name, int(row["hpa"])] for row in operations],
        "refusals": [],
    }
    bench.memory.mark_error(0x7000)
    for call in (lambda: transport.read_register(0x100, 8), lambda: transport.write_register(0x100, 8, 0),
                 lambda: transport.read_register(0x4, 8), lambda: transport.read_register(0, 2),
                 lambda: transport.write_register(0, 4, 1 << 32), lambda: transport.store64(0x7000, 1),
                 lambda: transport.store64(0x7004, 1), lambda: transport.read_memory((1 << 52) - 8, 16)):
        try:
            await call()
        except (RegisterRefused, MemoryRefused, ValueError) as error:
            result["refusals"].append(f"{type(error).__name__}: {error}")
    give_result(result, name="the_transport_does_what_it_says")


@cocotb.test()
async def the_judge_sees_memory_before_it_changes(dut):
    bench = await begin(dut)
    transport = CosimTransport(bench)
    story = []
    bench.listeners.append(lambda events: story.extend(f"event {EventKind(int(row['kind'])).name}" for row in events))
    transport.on_operation.append(story.append)
    transport.on_memory_write.append(lambda hpa, data: story.append(f"{bench.memory.read(hpa, 2).hex()} to {data.hex()}"))
    await transport.read_register(Register.STRAPS.value, 8)
    await transport.write_memory(0x100, b"\x01\x02")
    await transport.write_memory(0x100, b"\x03\x04")
    await transport.pause(5)
    give_result(story, name="the_judge_sees_memory_before_it_changes")


@cocotb.test()
async def costs_are_the_same_every_time(dut):
    bench = await begin(dut)
    transport = CosimTransport(bench)
    costs = []
    for _ in range(2):
        for call in (lambda: transport.read_register(0, 8), lambda: transport.write_register(0, 4, 1),
                     lambda: transport.read_memory(0, 1), lambda: transport.read_memory(0, 100_000),
                     lambda: transport.write_memory(0, bytes(100_000)), lambda: transport.pause(17),
                     lambda: transport.compare_exchange128(0, 0, 0)):
            before = bench.cycle
            await call()
            costs.append(bench.cycle - before)
    give_result(costs, name="costs_are_the_same_every_time")


# --- serve -------------------------------------------------------------------------------------------------------------

@cocotb.test()
async def serves_drivers(dut):
    bench = await begin(dut)
    transport = CosimTransport(bench)
    told = []
    sessions = await serve(
        transport, run_config()["address"], gap_cycles=1000, idle_seconds=60,
        on_connect=lambda: told.append(f"connected in {bench.cycle}"),
        on_disconnect=lambda session: told.append(f"gone in {bench.cycle} after {session.operations}"))
    commit = (await bench.access(write=False, wide=True, address=UPDATE_BASE + UpdateRegister.COMMIT_CYCLE)).data
    give_result({"told": told, "torn": [session.torn for session in sessions], "cycle": bench.cycle, "commit": commit,
                 "events": len(bench.log)}, name="serves_drivers")
