"""Delay lines: what travels beside a pipeline."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["any_in_flight", "delay", "in_flight"]


def delay(m: Module, value: Value, cycles: int, en: Value | int = 1) -> Value:
    """``value`` as it was ``cycles`` enabled cycles ago; 0 before that much time has passed since reset.

    Parameters
    ----------
    m : Module
        Where the registers go; not inside a condition, which would hold them.
    value : Value
        What is delayed.
    cycles : int
        Number of registers, 0 or more.
    en : Value
        The line advances in cycles in which this is 1, as the pipeline beside it.

    Raises
    ------
    ValueError
        If ``cycles`` is negative.
    """
    if cycles < 0:
        raise ValueError(f"A delay must be 0 or more cycles, not {cycles!r}")
    for _ in range(cycles):
        stage = Signal.like(value, name="delayed", init=0)
        with m.If(en):
            m.d.sync += stage.eq(value)
        value = stage
    return value


def in_flight(m: Module, valid: Value, cycles: int, en: Value | int = 1) -> list[Value]:
    """For each register of a pipeline beside which ``valid`` travels, whether it need take a new value.

    Registers whose enable this is stand still while nothing passes; what they hold then belongs to nothing.

    Parameters
    ----------
    m, cycles, en : as in `delay`
        Registers of the pipeline; they are to take a value only in enabled cycles.
    valid : Value
        Something enters the pipeline; of several bits, in several pipelines side by side.

    Returns
    -------
    list of Value
        Of each register in turn, as wide as ``valid``.
    """
    enables = []
    for _ in range(cycles):
        enables.append(valid)
        valid = delay(m, valid, 1, en)
    return enables


def any_in_flight(m: Module, valid: Value, cycles: int, en: Value | int = 1) -> Value:
    """Whether something passes through any of the registers of `in_flight`, for one enable of all."""
    enables = in_flight(m, valid, cycles, en)
    total = enables[0]
    for enable in enables[1:]:
        total = total | enable
    return total
