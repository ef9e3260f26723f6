"""A board's driver that fails is a line and exit code 2, whatever the driver raised."""

import json
import sys
from pathlib import Path

import pytest

from boards.vendor.address_map import AddressMap
from hw.machine import CI
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
