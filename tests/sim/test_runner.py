# amaranth: UnusedElaboratable=no
"""A simulator is built once for each content, and what happens in a run comes back readably."""
import json
import threading
import time

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.spec.bench import HostRequest
from hw.spec.memory import MemoryRequest
from sim import runner
from sim.runner import BuildFailed, SimulationFailed
from sim.wrapper import Attachment, WrapperError, generate_top, generate_types, memory_ports
from tests.sim.stand_in import StandIn, built, in_simulator


class Counter(wiring.Component):
    """The smallest machine: it counts by `step`, and may have ports that nothing in it uses."""

    def __init__(self, step=1, **ports):
        self._step = step
        super().__init__({"count": Out(8), **ports})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.count.eq(self.count + self._step)
        return m


# --- content and cache -------------------------------------------------------------------------------------------------

def test_same_content_has_the_same_fingerprint():
    assert runner.fingerprint(Counter(), "counter") == runner.fingerprint(Counter(), "counter")


def test_every_ingredient_changes_the_fingerprint(monkeypatch, tmp_path):
    attachment = Attachment(claims=(), body="", sources=(tmp_path / "extra.cpp",))
    (tmp_path / "extra.cpp").write_text("int x = 1;")
    prints = [runner.fingerprint(Counter(), "counter"), runner.fingerprint(Counter(step=2), "counter"),
              runner.fingerprint(Counter(), "counter", waves=True),
              runner.fingerprint(Counter(), "counter", attachments=[attachment])]
    (tmp_path / "extra.cpp").write_text("int x = 2;")
    prints.append(runner.fingerprint(Counter(), "counter", attachments=[attachment]))
    with monkeypatch.context() as patch:
        patch.setattr(runner, "VERILATOR_FLAGS", ("--other",))
        prints.append(runner.fingerprint(Counter(), "counter"))
    with monkeypatch.context() as patch:
        patch.setattr(runner, "simulator_version", lambda: "Verilator of tomorrow")
        prints.append(runner.fingerprint(Counter(), "counter"))
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_SOURCES", runner._SOURCES[1:])
        prints.append(runner.fingerprint(Counter(), "counter"))
    assert len(set(prints)) == 8


def test_builders_of_the_same_thing_wait_and_one_compiles(monkeypatch, tmp_path):
    compiled = []

    def slow_compile(place, sources, waves):
        compiled.append(place)
        time.sleep(0.3)
    monkeypatch.setattr(runner, "_compile", slow_compile)
    results = []
    builders = [threading.Thread(target=lambda: results.append(runner.build(Counter(), "counter", folder=tmp_path)))
                for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(compiled) == 1
    assert sorted(result.cached for result in results) == [False, True, True]
    assert {result.folder for result in results} == set(compiled)


def test_the_simulators_own_library_is_compiled_for_the_first_build_only(tmp_path):
    logs = [(runner.build(Counter(step), "counter", folder=tmp_path).folder / "build.log").read_text() for step in (3, 4)]
    assert ["-o verilated.o" in log for log in logs] == [True, False]


def test_a_build_that_failed_is_not_taken_for_one(monkeypatch, tmp_path):
    def failing_compile(place, sources, waves):
        raise BuildFailed("no compiler")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_compile", failing_compile)
        with pytest.raises(BuildFailed, match="no compiler"):
            runner.build(Counter(), "counter", folder=tmp_path)
    monkeypatch.setattr(runner, "_compile", lambda place, sources, waves: None)
    assert not runner.build(Counter(), "counter", folder=tmp_path).cached
    assert runner.build(Counter(), "counter", folder=tmp_path).cached


def test_verilator_objections_are_in_the_failure(tmp_path):
    attachment = Attachment(claims=(), body="    assign nothing = to_see;")
    with pytest.raises(BuildFailed, match="to_see"):
        runner.build(Counter(), "counter", attachments=[attachment], folder=tmp_path)


# --- the wrapper -------------------------------------------------------------------------------------------------------

def test_ports_are_found_by_their_signatures():
    assert memory_ports(StandIn()) == ("table", "data")
    top = generate_top(StandIn(), name="stand_in")
    assert ".WIDE(2'b01)" in top  # the table port, number 0, has 512 bits
    assert "event_recorder #(.PORTS(5))" in top
    assert "logic [15:0] chunk_delay /*verilator public_flat_rw*/;" in top
    assert "logic [15:0] access_count /*verilator public_flat_rd*/;" in top
    assert "logic [0:0] data_requests__valid;" in top


def test_layouts_reach_systemverilog_top_bit_first():
    # MemoryRequest from bit 0: operation 2, hpa 52, data 128, expected 128, write_mask 16, tag 11.
    struct = generate_types().split("typedef struct packed {")[1].split("}")[0].split("\n")
    assert [line.strip() for line in struct if line.strip()] == [
        "logic [10:0] tag;", "logic [15:0] write_mask;", "logic [127:0] expected;", "logic [127:0] data;",
        "logic [51:0] hpa;", "logic [1:0] operation;"]


@pytest.mark.parametrize(("ports", "objection"), [
    ({"lonely": In(stream.Signature(8))}, "nobody drives lonely"),
    ({"table_requests": Out(stream.Signature(MemoryRequest))}, "table_requests needs table_replies"),
    ({"host_requests": In(stream.Signature(HostRequest))}, "one host port at most"),
    ({"events": Out(8)}, "`events` must be an array of EventPort"),
])
def test_a_component_that_cannot_be_wrapped_is_refused(ports, objection):
    with pytest.raises(WrapperError, match=objection):
        generate_top(Counter(**ports), name="counter")


def test_an_attachment_takes_over_ports_and_may_claim_only_what_is_there():
    counter = Counter(lonely=In(stream.Signature(8)))
    top = generate_top(counter, name="counter", attachments=[Attachment(claims=("lonely",), body="    // at work")])
    assert "// at work" in top
    with pytest.raises(WrapperError, match="claims other"):
        generate_top(counter, name="counter", attachments=[Attachment(claims=("other",), body="")])


# --- runs --------------------------------------------------------------------------------------------------------------

def test_a_run_gets_its_config_and_gives_a_value_and_has_a_folder_of_its_own():
    results = [in_simulator("gives_back_its_config", config={"cycles": cycles}) for cycles in (3, 4)]
    assert [result.value for result in results] == [{"cycles": 3}, {"cycles": 4}]
    assert results[0].folder != results[1].folder
    assert [result.tests for result in results] == [1, 1]


def test_a_failure_names_test_and_reason():
    with pytest.raises(SimulationFailed, match=r"fails_readably: AssertionError: the answer is 42"):
        in_simulator("fails_readably")


def test_a_simulator_that_dies_is_a_failure():
    with pytest.raises(SimulationFailed, match="ended with status 3"):
        in_simulator("crashes")


def test_a_simulator_that_hangs_is_killed():
    with pytest.raises(SimulationFailed, match="killed after 8 s"):
        in_simulator("hangs_in_python", seconds=8)


def test_a_test_that_does_not_exist_does_not_pass():
    with pytest.raises(SimulationFailed, match="no such test ran: gives_back"):
        in_simulator("gives_back", config={"cycles": 1})


def test_an_objection_of_the_hardware_is_in_the_failure():
    with pytest.raises(SimulationFailed, match=r"memory port 1, cycle \d+: reserved operation 3"):
        in_simulator("uses_a_reserved_operation")


def test_a_machine_that_never_answers_is_ended_at_the_deadline_with_what_it_did():
    with pytest.raises(SimulationFailed) as failure:
        in_simulator("waits_for_a_reply_that_never_comes")
    text = str(failure.value)
    assert "the deadline of 500 cycles has passed" in text
    assert "waiting for the reply to a write of 0x38" in text
    assert "memory port data: 3 of 3 unanswered" in text
    assert "MEMORY             hpa=0x20 client=CONTEXT_WALKER tag=2 operation=READ" in text


def test_straps_inputs_and_cycles():
    values = in_simulator("straps_and_inputs_reach_the_machine", "cycles_count_as_in_the_machine").values
    # Pauses cost what they say. An access: one edge to be taken over, one for the machine, one for its reply.
    assert values["cycles_count_as_in_the_machine"] == [1, 2, 3, 100, 3, 3, 3]


def test_lines_of_the_log_come_as_they_are_written():
    lines = []
    in_simulator("gives_back_its_config", config={"cycles": 1}, log=lines.append)
    assert any("gives_back_its_config passed" in line for line in lines)


def test_waves_record_every_signal_of_the_design():
    result = in_simulator("gives_back_its_config", config={"cycles": 20}, waves=True)
    text = (result.folder / "dump.vcd").read_text()
    assert "burst_address" in text
    assert "component_under_simulation" in text


def test_waves_need_a_build_that_has_them(tmp_path):
    plain = runner.BuildResult(folder=tmp_path, name="x", key="x", waves=False, memory_ports=(), seconds=0, cached=True)
    with pytest.raises(ValueError, match="waves=True"):
        runner.run(plain, "tests.sim.cosim_stand_in", waves=True)


def test_a_build_says_what_made_it():
    stamp = json.loads((built().folder / "build.json").read_text())
    assert stamp["simulator"].startswith("Verilator 5.48.0, cocotb 2.1.0, g++")
