"""Texts on a backend: prompts in chunks, then token after token, several texts side by side in a tile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from models.sampling import Sampler
from sim.backend import Backend, Outcome, Request
from sim.entries import Entry
from sim.requests import prompt_requests

__all__ = ["Plan", "Text", "Timing", "generate"]

#: Decode steps of one doorbell where somebody outside the machine has to look now and then: stop strings,
#: a state to save.
WATCHED_STEPS = 8
#: And where nobody has to, but somebody reads along.
STREAMED_STEPS = 16


@dataclass
class Text:
    """One text: its ids so far and where its rows of the KV memory begin.

    prompt: given ids; tokens: generated ones, of these `earlier` by the run that it was resumed from. done:
    why it ended ("stop", "count"), or "". The first `processed` ids have their rows in the KV memory.
    """

    prompt: list[int]
    base: int = 0
    tokens: list[int] = field(default_factory=list)
    processed: int = 0
    done: str = ""
    earlier: int = 0

    @property
    def ids(self) -> list[int]:
        """All ids."""
        return self.prompt + self.tokens


@dataclass(frozen=True)
class Plan:
    """How to generate.

    count: tokens for each text, besides earlier ones. chunk, tile: of the prompt. stops: ids that end a text.
    watch: called with the number of a text and its newest id, says whether the text ends there (stop
    strings). steps: decode steps for one doorbell; 0: a few, so that text is seen as it comes. log: tokens
    that the machine's output log holds: a doorbell gives no more; 0: no limit. most: tokens of a tile of the
    prompt at most, by the rows that its last token sees.
    """

    count: int
    chunk: int
    tile: int
    sampler: Sampler
    stops: Sequence[int] = ()
    watch: Callable[[int, int], bool] | None = None
    steps: int = 0
    log: int = 0
    most: Callable[[int], int] = lambda rows: 1 << 16

    def left(self, text: Text) -> int:
        """Tokens that a text may yet have."""
        return self.count + text.earlier - len(text.tokens)

    @property
    def group(self) -> int:
        """Most decode steps of one doorbell."""
        if not self.sampler.greedy:
            return 1
        return self.steps or (WATCHED_STEPS if self.watch else STREAMED_STEPS)


@dataclass
class Timing:
    """Cycles of each doorbell, of prompts and of decoding, and what the latter ran.

    decoded: (positions of a step's tokens) of each decode step.
    """

    prefill: list[int] = field(default_factory=list)
    decode: list[int] = field(default_factory=list)
    decoded: list[list[int]] = field(default_factory=list)


def generate(
    backend: Backend,
    texts: Sequence[Text],
    plan: Plan,
    on_run: Callable[[int], None] = lambda tokens: None,
    on_token: Callable[[int, int], None] = lambda text, token: None,
) -> Timing:
    """Continue every text until it is `done`; they are as many as the machine's tile holds, or fewer.

    on_run(tokens) is told the prompt's tokens as they are processed, on_token(text, id) every new id. Greedy
    text of several steps comes from the machine's own token loop; sampled text takes its ranked logits step
    by step.
    """
    timing = Timing()
    for number, text in enumerate(texts):
        if text.done or (text.processed == len(text.ids) - 1 and text.tokens):
            continue  # a resumed one
        rest = text.ids[text.processed :]
        requests = prompt_requests(
            rest, chunk=plan.chunk, tile=plan.tile, position=text.processed, base=text.base, most=plan.most
        )
        for request in requests:
            outcome = backend.run(request)
            _note(timing.prefill, outcome)
            text.processed += len(request.entries)
            on_run(len(request.entries))
            if request.head:
                last = request.last_tile(1) - 1
                found = _choose(backend, plan, text, last, number, outcome.tokens[0][-1])
                _accept(text, found, plan, number, on_token)
    while going := [(number, text) for number, text in enumerate(texts) if not text.done]:
        steps = min(plan.group, *(plan.left(text) for _, text in going))
        if plan.log:
            steps = min(steps, max(1, plan.log // len(going)))
        entries = [Entry(text.ids[-1], text.processed, text.base) for _, text in going]
        request = Request(entries, len(entries), steps, plan.stops, batch=len(entries) > 1)
        outcome = backend.run(request)
        _note(timing.decode, outcome)
        for row in outcome.tokens:
            timing.decoded.append([text.processed for _, text in going])
            for place, (number, text) in enumerate(going):
                text.processed += 1
                if not text.done:
                    found = _choose(backend, plan, text, place, number, row[place])
                    _accept(text, found, plan, number, on_token)
        for _, text in going:
            text.processed = min(text.processed, len(text.ids) - 1)
    return timing


def _note(cycles: list[int], outcome: Outcome) -> None:
    if outcome.cycles is not None:
        cycles.append(outcome.cycles)


def _choose(backend: Backend, plan: Plan, text: Text, place: int, number: int, greedy: int) -> int:
    """The next id of a text, which is token `place` of the last tile."""
    if plan.sampler.greedy:
        return greedy
    return plan.sampler.choose(*backend.top(place), position=len(text.ids) - 1, sequence=number)


def _accept(text: Text, token: int, plan: Plan, number: int, on_token: Callable[[int, int], None]) -> None:
    text.tokens.append(token)
    on_token(number, token)
    if token in plan.stops or (plan.watch is not None and plan.watch(number, token)):
        text.done = "stop"
    elif plan.left(text) <= 0:
        text.done = "count"
