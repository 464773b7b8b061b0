"""Vetting from the service's side: one child at a time, ended when it takes too long."""

import socket
import subprocess
import sys
import threading
import time

import msgspec

from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.foreign import Question
from keyservice.vetting_child import FRAME_OCTETS_MAX, Verdict

DEADLINE = 2.0
"""Seconds of wall clock for one certificate."""

_START_DEADLINE = 15.0
"""Seconds for a new child on a busy machine."""

_REQUESTS_PER_CHILD = 5_000
"""Then it is replaced: what a hostile certificate left in its memory should not stay."""

_question_encoder = msgspec.json.Encoder()
_verdict_decoder = msgspec.json.Decoder(Verdict)


class _ChildFailed(Exception):
    """The child died, or answered nonsense."""


class Vetter:
    """Has certificates judged by a child that can be killed. Any thread may call it."""

    def __init__(self, *arguments: str) -> None:
        """Start no child before there is something to vet; give it `arguments`."""
        self._arguments = arguments
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def vet(self, octets: bytes) -> Verdict:
        """Return the verdict about the certificate in `octets` within a few seconds.

        Raises RejectedCertificate with a reason in `certificate.TRANSIENT` if the child took
        too long or died; the next call gets a new one.
        """
        return self._ask(octets)

    def examine(self, question: Question) -> Verdict:
        """Return the verdict about a certificate that strangers showed; else as `vet`."""
        return self._ask(_question_encoder.encode(question))

    def _ask(self, frame: bytes) -> Verdict:
        with self._lock:
            try:
                return self._living_child().vet(frame)
            except TimeoutError:
                self._end_child()
                raise RejectedCertificate(
                    RefusalReason.VETTING_TIMEOUT, f"vetting took more than {DEADLINE:g} s"
                ) from None
            except (OSError, _ChildFailed):
                self._end_child()
                raise RejectedCertificate(
                    RefusalReason.VETTING_FAILED, "the process that vets it ran into its limits"
                ) from None

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end_child()

    def _living_child(self) -> "_Child":
        if self._child is not None and self._child.requests >= _REQUESTS_PER_CHILD:
            self._end_child()
        if self._child is None:
            self._child = _Child(self._arguments)
            self._child.await_ready()
        return self._child

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None


class _Child:
    """One vetting process and our end of its socket."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self.requests = 0
        # A socket, not pipes: a timeout on it also holds for a child that does not read.
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (constants of our own)
                [sys.executable, "-I", "-m", "keyservice.vetting_child", *arguments],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"RUST_BACKTRACE": "0"},
            )

    def await_ready(self) -> None:
        self._read_frame(time.monotonic() + _START_DEADLINE)

    def vet(self, frame: bytes) -> Verdict:
        self.requests += 1
        until = time.monotonic() + DEADLINE
        self._ours.settimeout(DEADLINE)
        self._ours.sendall(len(frame).to_bytes(4, "big") + frame)
        try:
            return _verdict_decoder.decode(self._read_frame(until))
        except msgspec.MsgspecError:
            raise _ChildFailed from None

    def end(self) -> None:
        self._ours.close()
        self._process.kill()
        self._process.wait()

    def _read_frame(self, until: float) -> bytes:
        length = int.from_bytes(self._read(4, until), "big")
        if length > FRAME_OCTETS_MAX:
            raise _ChildFailed
        return self._read(length, until)

    def _read(self, length: int, until: float) -> bytes:
        received = bytearray()
        while len(received) < length:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._ours.settimeout(left)
            chunk = self._ours.recv(length - len(received))
            if not chunk:
                raise _ChildFailed
            received += chunk
        return bytes(received)
