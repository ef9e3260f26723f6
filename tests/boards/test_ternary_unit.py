"""The small design against numerics: the unit by its CSRs, and its top through the UART pins."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator

from boards.link_protocol import CSR_WRITE, FLAG, Command, Status, decode, encode
from boards.ternary_host import CsrOperation, matrix_vector, program
from boards.ternary_top import TernaryTop
from boards.ternary_unit import CONFIG, IDENTITY, VALUE, TernaryUnit
from models import numerics


def draw(seed: int, rows: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, activations and the sums of numerics."""
    source = torch.Generator().manual_seed(seed)
    trits = torch.randint(-1, 2, (rows, k), generator=source)
    activations = torch.randint(-127, 128, (1, k), generator=source)
    sums = numerics.integer_linear(activations, trits)[0]
    return numerics.pack_trits(trits).numpy(), activations[0].numpy().astype(np.int8), sums.numpy()


#: Tails of a word and of a chunk, one row, one activation, everything full.
SHAPES = [(7, 60), (1, 1), (1, 137), (40, 39), (512, 40), (39, 512), (3, 21)]


@pytest.mark.parametrize(("rows", "k"), SHAPES)
def test_sums_equal_numerics(rows, k):
    dut = TernaryUnit()
    products = [draw(seed, rows, k) for seed in (1, 2)]

    async def bench(ctx) -> None:
        for codes, activations, expected in products:
            for address, value in program(codes, activations):
                ctx.set(dut.csr.addr, address)
                ctx.set(dut.csr.wdata, value)
                ctx.set(dut.csr.write, 1)
                await ctx.tick()
            ctx.set(dut.csr.write, 0)
            cycles = 0
            while ctx.get(dut.busy):
                await ctx.tick()
                cycles += 1
            chunks = -(-k // (5 * CONFIG.tables))
            assert cycles <= chunks * max(rows, 31) + 50
            found = []
            for row in range(rows):
                ctx.set(dut.csr.addr, 0x800 + row)
                await ctx.tick()
                found.append(ctx.get(dut.csr.rdata))
            assert np.array_equal(np.array(found, np.uint32).view(np.int32), expected)

    run(dut, bench)


def run(dut, bench) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_what_does_not_fit_is_refused():
    codes, activations, _ = draw(1, 40, 40)
    with pytest.raises(ValueError, match="8 bytes a row"):
        program(codes[:, :3], activations)
    with pytest.raises(ValueError, match="1 to 512"):
        program(np.zeros((4, 103), np.uint8), np.zeros(513, np.int8))
    with pytest.raises(ValueError, match="at most 1024"):
        program(np.zeros((512, 13), np.uint8), np.zeros(61, np.int8))


@pytest.mark.slow
def test_a_product_through_the_uart():
    """Frames of the host's protocol on the pins; a damaged one is not answered, and sent again."""
    dut = TernaryTop(clock_mhz=4.0, baud=1_000_000)
    codes, activations, expected = draw(5, 6, 33)
    rng = random.Random(1)
    found: list[np.ndarray] = []

    async def bench(ctx) -> None:
        async def byte(value: int) -> None:
            for bit in (0, *(value >> i & 1 for i in range(8)), 1):
                ctx.set(dut.rx, bit)
                await ctx.tick().repeat(dut.divisor)

        async def answer(limit: int) -> bytes | None:
            body, begun = bytearray(), False
            for _ in range(limit):
                await ctx.tick()
                if ctx.get(dut.tx):
                    continue
                await ctx.tick().repeat(dut.divisor // 2)
                value = 0
                for i in range(8):
                    await ctx.tick().repeat(dut.divisor)
                    value |= ctx.get(dut.tx) << i
                await ctx.tick().repeat(dut.divisor)
                if value == FLAG and begun and body:
                    return decode(bytes(body))
                begun = begun or value == FLAG
                if value != FLAG:
                    body.append(value)
            return None

        sequence = 0

        async def request(command: Command, words: Sequence[int], damage: bool = False) -> list[int]:
            payload = b"".join(
                word.to_bytes(4, "little") for word in (command | sequence << 16, 0x1234, *words)
            )
            for attempt in range(2):
                frame = bytearray(encode(payload))
                if damage and attempt == 0:
                    frame[rng.randrange(2, len(frame) - 2)] ^= 0x10
                for value in frame:
                    await byte(value)
                if (reply := await answer(4_000)) is not None:
                    reply_words = np.frombuffer(reply, "<u4").tolist()
                    assert reply_words[0] == command | 0x80 | Status.OK << 8 | sequence << 16
                    return reply_words[2:]
                assert damage and attempt == 0, "no answer"
            raise AssertionError

        assert (await request(Command.HELLO, [0, 0]))[2] == int(CONFIG.digest()[:8], 16)

        async def csr(operations: Sequence[CsrOperation], damage: bool = False) -> list[int]:
            nonlocal sequence
            sequence += 1
            words = [0, len(operations)]
            for address, value in operations:
                words += [address | (0 if value is None else CSR_WRITE), value or 0]
            return await request(Command.CSR, words, damage)

        await csr([(IDENTITY, None)])
        await csr(program(codes, activations), damage=True)
        while (await csr([(0, None)]))[0]:
            pass
        sums = await csr([(0x800 + i, None) for i in range(6)])
        found.append(np.array(sums, np.uint32).view(np.int32))

    run(dut, bench)
    assert np.array_equal(found[0], expected)


def test_a_device_that_is_never_done_is_given_up():
    codes, activations, _ = draw(1, 2, 2)

    def busy(operations):
        return [VALUE if address == IDENTITY else 1 for address, value in operations if value is None]

    with pytest.raises(RuntimeError, match=r"within 0.05 s, found .* still at work; reset"):
        matrix_vector(busy, codes, activations, patience=0.05)


def test_the_host_takes_another_device_for_what_it_is():
    codes, activations, _ = draw(1, 2, 2)
    with pytest.raises(RuntimeError, match="wanted the ternary unit"):
        matrix_vector(lambda operations: [0] * len(operations), codes, activations)
