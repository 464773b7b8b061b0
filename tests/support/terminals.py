"""Pseudoterminals, on which a command believes that somebody looks."""

import os


def read(terminal: int) -> bytes:
    """Return what was written; empty: nobody is at the other end any more."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""
