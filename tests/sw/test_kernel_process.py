"""The kernels as operating-system processes, which share the machine's address and the seal key, and nothing else."""
import asyncio
import json
import subprocess
import sys
import threading

import pytest
from typer.testing import CliRunner

from sim.serve import serve
from sw.capture import Capture
from sw.kernel import app
from sw.transport.socket import SocketTransport
from tests.sw.kernels import CAPTURES, KEY, ROOT, comparable, expected, machine_of, reaches
from tests.sw.machine import drive


@pytest.mark.parametrize(("arguments", "message"), [
    (["--key-hex", "00" * 16, "--assign", "3"], "'3' is not a pair such as 3:103"),
    (["--key-hex", "00" * 16, "--assign", "3:x"], "'x' is not a number such as 24 or 0x18"),
    (["--key-hex", "zz"], "the seal key must be hexadecimal"),
    ([], "give the seal key once"),
    (["--key-hex", "00" * 16, "--strategy", "hope"], "must be atomic_swap or break_before_make"),
])
def test_command_line_says_what_would_be_right(arguments, message):
    result = CliRunner().invoke(app, ["new", "--transport", "unix:nobody", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output


def kernel_process(*arguments):
    return subprocess.run([sys.executable, "-m", "sw.kernel", *arguments], cwd=ROOT, capture_output=True, text=True,
                          timeout=100, check=False)


def test_two_processes_hand_over_a_machine_through_its_memory_alone(tmp_path):
    capture = Capture.load(CAPTURES / "hwpt48")
    machine = machine_of(capture)
    address = f"unix:{tmp_path / 'machine'}"
    sessions, came, gone = [], threading.Event(), []
    server = threading.Thread(target=lambda: sessions.extend(asyncio.run(
        serve(machine.transport, address, gap_cycles=10, idle_seconds=60, on_listen=lambda _: came.set(),
              on_disconnect=gone.append))))
    server.start()
    assert came.wait(60)
    key_file = tmp_path / "key"
    key_file.write_text(KEY.hex())
    old = kernel_process("old", "--transport", address, "--key-file", str(key_file), "--capture",
                         str(CAPTURES / "hwpt48"), "--preserve", "0x38,0x18", "--cycles", "50")
    assert old.returncode == 0, old.stderr
    assert json.loads(old.stdout)["preserved_devices"] == [0x18, 0x38]
    refusal = kernel_process("new", "--transport", address, "--key-hex", "00" * 16)
    assert (refusal.returncode, refusal.stdout) == (1, "")
    assert refusal.stderr.startswith("StoreRefused: persisted record seal")
    new = kernel_process("new", "--transport", address, "--key-hex", KEY.hex(), "--assign", "3:103", "--armed", "0x38")
    assert new.returncode == 0, new.stderr
    report = json.loads(new.stdout)
    assert [(row["source_id"], row["triggered"]) for row in report["replaced_devices"]] == [(0x18, False), (0x38, True)]
    assert report["domains"][1]["new_domain_id"] == 103
    with SocketTransport(address) as last:
        drive(last.shutdown())
    server.join(60)
    assert not server.is_alive()
    assert len(sessions) == 4
    for probe in comparable(capture):
        if probe.source_id == 0x38:
            assert reaches(machine, probe) == expected(probe)
