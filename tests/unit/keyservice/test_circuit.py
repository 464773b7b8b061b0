"""A peer that fails is left alone for a moment."""

from keyservice.circuit import Circuit


def test_it_opens_after_a_failure_and_closes_by_itself() -> None:
    """By the clock it was given."""
    now = 100.0
    circuit = Circuit(3.0, clock=lambda: now)
    assert circuit.is_closed
    circuit.trip()
    assert not circuit.is_closed

    now = 103.0

    assert circuit.is_closed
