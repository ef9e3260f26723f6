"""Where `docs.draw_machine` puts units, and where connections run. Names are those of the design."""

from dataclasses import dataclass

WIDTH, HEIGHT = 920, 770


@dataclass(frozen=True)
class Card:
    """What each token has of its own: its name, its place in the box, and the submodules that hold it."""

    name: str
    x: int
    w: int
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Box:
    """A unit: its place, characters and lines of its summary, sizes of the machine, cards.

    sizes: text with members of MachineConfig in braces. stacked: the whole unit is there for each token.
    inside: submodules shown in it.
    """

    x: int
    y: int
    w: int
    h: int
    chars: int
    lines: int
    sizes: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    stacked: bool = False
    inside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Route:
    """Points of a line; where its label begins, ends or has its middle.

    another one. names: single signals that the label shows.
    """

    points: str
    at: tuple[int, int] | None = None
    anchor: str = "start"
    split: bool = False
    oneline: bool = False
    names: tuple[str, ...] = ()


BOXES = {
    "sequencer": Box(
        104, 28, 160, 224, 25, 4, ("{program_words} instructions", "{queue_depth} decoded ahead"),
        inside=("front",),
    ),
    "table": Box(372, 60, 136, 138, 21, 3, ("{max_chunk} entries",)),
    "csr": Box(612, 28, 140, 82, 22, 3),
    "steps": Box(612, 150, 140, 102, 21, 4),
    "counters": Box(796, 150, 108, 76, 17, 3),
    "fetch": Box(
        104, 304, 160, 106, 25, 3,
        ("{outstanding} bursts of {burst_beats} beats", "{fifo_words} words of {fifo_bytes} B"),
    ),
    "tape": Box(104, 476, 160, 76, 25, 3, ("{unit_bytes} B for one unit",)),
    "matmul": Box(
        324, 296, 320, 106, 40, 1,
        ("{tables} bytes of trits or {head_lanes} of integers a cycle",),
        (
            Card("activations", 9, 72, ("buffer",)),
            Card("tables", 93, 68, ("ternary",)),
            Card("sums", 173, 60, ("accumulator",)),
            Card("top {top_k}", 245, 60, ("integer.top_k",)),
        ),
    ),
    "vector": Box(
        324, 452, 320, 106, 40, 1, ("{lanes} lanes of float32",),
        (
            Card("activations", 9, 100, ("memory.activation",)),
            Card("statistics", 124, 100, ("memory.totals", "memory.maxima")),
        ),
    ),
    "attention": Box(
        324, 604, 320, 112, 52, 2, ("{attention_bytes} B of K or V a cycle",),
        (Card("core: queries, scores, sums", 9, 176, ("core_*",)),),
    ),
    "stage": Box(764, 452, 120, 92, 18, 4, (), (Card("", 0, 0, ("memory",)),), stacked=True),
    "store": Box(764, 612, 120, 90, 18, 4),
}  # fmt: skip

#: What is outside: x, y, width, height.
OUTSIDE = {"memory": (14, 304, 34, 450), "host": (864, 28, 40, 82)}
LEGEND = (104, 582)

#: (from, to), unit.member.
ROUTES: dict[tuple[str, str], Route] = {
    ("host.csr", "csr.csr"): Route("864,48 752,48", (808, 43), "middle", split=True),
    ("matmul.top", "csr.top"): Route("644,324 774,324 774,96 752,96", (780, 300)),
    ("csr.write", "table.write"): Route("612,74 508,74", (560, 69), "middle", split=True),
    ("table.read", "csr.entries"): Route("508,102 612,102", (560, 97), "middle", split=True),
    ("steps.write", "table.write"): Route("612,160 508,160", (560, 155), "middle", split=True),
    ("table.read", "steps.entries"): Route("508,188 612,188", (560, 183), "middle", split=True),
    ("table.read", "sequencer.entries"): Route("372,120 264,120", (318, 115), "middle", split=True),
    ("table.read", "attention.entries"): Route(
        "440,198 440,270 274,270 274,690 324,690", (436, 283), "end", oneline=True
    ),
    ("table.read", "store.entries"): Route("274,690 274,736 804,736 804,702"),
    ("sequencer.run", "fetch.run"): Route("150,252 150,304", (156, 276)),
    ("memory.read", "fetch.read"): Route("48,340 104,340", (75, 335), "middle", split=True),
    ("fetch.word", "tape.word"): Route("150,410 150,476", (156, 440)),
    ("tape.consumer", "matmul.tape"): Route("264,520 308,520 308,372 324,372", (314, 424)),
    ("tape.consumer", "vector.tape"): Route("308,520 324,520"),
    ("tape.consumer", "attention.tape"): Route("308,520 308,630 324,630"),
    ("sequencer.units", "matmul.unit"): Route("264,244 290,244 290,324 324,324", (296, 260), oneline=True),
    ("sequencer.units", "vector.unit"): Route("290,324 290,480 324,480"),
    ("sequencer.units", "attention.unit"): Route("290,480 290,660 324,660"),
    ("sequencer.units", "store.unit"): Route("290,660 290,724 784,724 784,702"),
    ("vector.q_write", "matmul.q_write"): Route("386,452 386,402", (392, 424)),
    ("matmul.accumulator", "vector.accumulator"): Route("478,402 478,452", (484, 424)),
    ("vector.scalar", "matmul.scalar"): Route("588,452 588,402", (594, 424)),
    ("vector.query", "attention.query"): Route("370,558 370,604", (376, 580)),
    ("attention.output", "vector.attention"): Route("510,604 510,558", (516, 580)),
    ("vector.stage", "stage.write"): Route("644,476 764,476", (704, 471), "middle", split=True),
    ("stage.attention", "attention.stage"): Route("764,530 672,530 672,640 644,640", (678, 560)),
    ("stage.store", "store.stage"): Route("836,556 836,612", (842, 584)),
    ("vector.activation", "store.activation"): Route("644,504 752,504 752,640 764,640", (758, 660), "end"),
    ("matmul.logits", "store.logits"): Route("644,350 906,350 906,650 884,650", (780, 345), split=True),
    ("store.write", "memory.write"): Route("840,702 840,748 48,748", (104, 743), split=True),
}

#: (from, to): drawn signals. The others are not drawn; nor is anything that goes to the counters.
WIRES: dict[tuple[str, str], Route | None] = {
    ("csr", "sequencer"): Route("612,44 264,44", (438, 39), "middle",
                                names=("program_data", "tile", "memory_base")),
    ("csr", "steps"): Route("630,110 630,150", (636, 128), names=("start",)),
    ("steps", "csr"): Route("690,150 690,110", (696, 128), names=("generated",)),
    ("steps", "sequencer"): Route("612,218 264,218", (318, 213), "start", names=("begin", "chunk")),
    ("sequencer", "steps"): Route("264,234 612,234", (470, 247), "start", names=("finished", "more")),
    ("matmul", "steps"): Route("630,296 630,252", (636, 276), names=("next_token",)),
    ("counters", "csr"): Route("840,150 840,78 752,78", (834, 128), "end", names=("value",)),
    **dict.fromkeys((
        ("csr", "host"), ("csr", "store"), ("steps", "matmul"), ("steps", "table"), ("fetch", "sequencer"),
        ("tape", "sequencer"), ("sequencer", "tape"), ("sequencer", "csr"), ("fetch", "csr"),
        ("store", "csr"), ("vector", "csr"), ("matmul", "attention"),
    )),
}  # fmt: skip
