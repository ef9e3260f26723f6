"""Boards by PYNQ and XRT on the command line: a driver that fails is a line and exit code 2, whatever it
raised; a run has the board's clock, and doorbells by its pace."""

import json
import sys
from pathlib import Path

import pytest

from boards.vendor.address_map import AddressMap
from hw.machine import CI
from sim.device_backend import Device
from tests.boards.fake_drivers import FakePynq, FakeXrt
from trine.cli import main


@pytest.mark.parametrize("board", ["kv260", "u280"])
def test_a_drivers_error_on_the_command_line(
    board: str, artefact_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    fake: FakePynq | FakeXrt
    if board == "kv260":
        package, call, product, fake = "pynq", "Bitstream", "trine_kv260.bit", FakePynq(CI)
    else:
        package, call, product, fake = "pyxrt", "device", "trine.xclbin", FakeXrt(CI, 4, 4096)
    fake.broken[call] = RuntimeError("No Devices Found")
    monkeypatch.setitem(sys.modules, package, fake)
    place = AddressMap.of(CI, 0xA000_0000, 0, 0x8000_0000, 4)
    (tmp_path / "address_map.json").write_text(json.dumps(place.to_json()))
    (tmp_path / product).write_bytes(b"")
    assert main(["selftest", str(artefact_path), "--port", f"{board}:{tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert "No Devices Found" in said and "Traceback" not in said


def test_a_run_on_a_device(artefact_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Clock and pace reach `trine run`: steps of 0.3 s are asked for one at a time once that is known."""
    fake = FakePynq(CI)
    monkeypatch.setitem(sys.modules, "pynq", fake)
    monkeypatch.setattr(Device, "pace", property(lambda self: 0.3, lambda self, value: None))
    steps, run = [], Device.run
    monkeypatch.setattr(Device, "run", lambda self, r: (steps.append(r.steps), run(self, r))[1])
    place = AddressMap.of(CI, 0xA000_0000, 0, 0x8000_0000)
    (tmp_path / "address_map.json").write_text(json.dumps(place.to_json()))
    (tmp_path / "trine_kv260.bit").write_bytes(b"")
    found = tmp_path / "found.json"
    told = ["run", str(artefact_path), "--prompt", "once", "--tokens", "6", "--json", str(found)]
    assert main([*told, "--on", "board", "--port", f"kv260:{tmp_path}"]) == 0
    result = json.loads(found.read_text())
    assert result["clock_mhz"] == CI.clock_mhz and set(steps) == {1}
    assert main([*told, "--on", "golden"]) == 0
    golden = json.loads(found.read_text())
    assert golden["clock_mhz"] is None and golden["tokens"] == result["tokens"]
