"""Delay lines: what travels beside a pipeline."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["delay"]


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
