"""The process that parses foreign certificates: no files, no cores, little memory and time.

Sequoia is memory-safe, but not free of inputs that cost minutes or gigabytes. The parent
ends this process and starts another one whenever a request takes too long.

Frames on stdin and stdout: four octets of length, then octets of a certificate one way and
the JSON of a `Verdict` the other. The first frame out is empty: ready. In place of octets
there may be the JSON of a `foreign.Question`: no certificate begins like that.
"""

import math
import os
import resource
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from keyservice.certificate import (
    Certificate,
    Refusal,
    RefusalReason,
    RejectedCertificate,
)
from keyservice.transition import Transition

FRAME_OCTETS_MAX = 1_048_576
MEMORY_OCTETS_MAX = 256 * 1_048_576
CPU_SECONDS_MAX = 2
"""For one certificate."""

_CPU_SECONDS_LIFE = 600

PUBLISHES = "--publishes"
"""The argument of a child that is asked what may be published, too."""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one certificate: facts and minimised octets, or only a refusal."""

    certificate: Certificate | None = None
    octets: bytes = b""
    publishable: bytes = b""
    """See `publishable`; empty unless this child is there for publication."""

    refusal: Refusal | None = None
    transition: Transition | None = None
    """Whether the certificate in use certified it; None: nobody asked."""


def is_shown(certificate: Certificate) -> bool:
    """Whether the world may see it: it can be used, or carries its owner's revocation."""
    refusal = certificate.refusal
    return refusal is None or refusal.reason is RefusalReason.REVOKED


def read_frame(source: BinaryIO) -> bytes | None:
    """Return the next frame, or None at the end of the stream or a frame cut short."""
    length = int.from_bytes(source.read(4), "big")
    frame = source.read(length) if length <= FRAME_OCTETS_MAX else b""
    return frame if frame and len(frame) == length else None


def write_frame(sink: BinaryIO, frame: bytes) -> None:
    """Write one frame."""
    sink.write(len(frame).to_bytes(4, "big") + frame)
    sink.flush()


def main() -> None:
    """Vet what comes in until the parent closes the pipe."""
    _limit_process()
    # A backtrace per invalid user ID turns 30 kB of them into 13 s of CPU.
    os.environ["RUST_BACKTRACE"] = "0"
    judge = _judgement(sys.argv[1:])
    write_frame(sys.stdout.buffer, b"")
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        _limit_request()
        try:
            verdict = judge(frame)
        except RejectedCertificate as rejected:
            verdict = Verdict(refusal=rejected.refusal)
        write_frame(sys.stdout.buffer, msgspec.json.encode(verdict))


def _judgement(arguments: Collection[str]) -> Callable[[bytes], Verdict]:
    """Return what is done with a frame. The engine must start inside the limits: here."""
    from keyservice.foreign_vet import Question, examine
    from keyservice.publishable import publishable
    from keyservice.vet import vet

    publishes = PUBLISHES in arguments
    decoder = msgspec.json.Decoder(Question)

    def judge(frame: bytes) -> Verdict:
        if frame[:1] == b"{":
            return examine(decoder.decode(frame), time.time())
        certificate, minimised = vet(frame, time.time())
        shown = publishable(minimised) if publishes and is_shown(certificate) else b""
        return Verdict(certificate, minimised, shown)

    return judge


def _limit_process() -> None:
    # At the service's cap on memory this process is the one to go.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_OCTETS_MAX, MEMORY_OCTETS_MAX))
    _limit_request()


def _limit_request() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + CPU_SECONDS_MAX
    limit = min(soft, _CPU_SECONDS_LIFE)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, _CPU_SECONDS_LIFE))


if __name__ == "__main__":
    main()
