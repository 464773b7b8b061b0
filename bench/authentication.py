"""What it costs to find out who vouches for a mail that comes in: 10 KB with an RSA signature.

The DNS is a resolver on loopback, which is on nobody's bill. Warm: all mail has one selector.
Cold: each message has a selector of its own, whose record nobody has seen.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from statistics import median

import arriving
import load
import rivals
from arriving import FROM_HERE, FROM_THERE, MAILBOX, SEEN, has_verdict, has_verdict_inside
from host import Command, Cost, Host
from report import Findings, Target
from rivals import Rival
from turns import COLUMNS, NOTE, SESSIONS, Way, figures, in_turns, ratio, require_right

from letterlock.dkim.signer import KeyType, Signer
from smtp_sink import SMTPSink
from stack import Owner, daemons

_MESSAGE = arriving.unsigned(load.body(10_240))
_MESSAGES = 300
_NOTHING, _WARM, _COLD = "nothing", "DKIM, warm", "DKIM, cold"
_COLD_RATIO_MAX = 1.3

_Messages = Callable[[int], Sequence[bytes]]


def measure(*, quick: bool) -> Findings:
    """Return the CPU time for each message."""
    rounds = 3 if quick else 7
    signer = Signer.generate("rsa", KeyType.RSA)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ll-bench-")))
        dns = stack.enter_context(arriving.resolver(directory / "dns", signer))
        sink = stack.enter_context(SMTPSink())
        owner, seeing = (stack.enter_context(Owner(address)) for address in (MAILBOX, SEEN))
        host = Host(
            authentication={"nameserver": f"127.0.0.1:{dns.port}"},
            relays={SEEN: sink.address},
            parameters={"smtpd_authorized_xclient_hosts": "127.0.0.1"},
        )
        ways = _ways(host, dns.port, signer, seeing)
        stack.enter_context(host)
        for each in (owner, seeing):
            host.stack.enrol(each.address, each.certificate)
        for way in ways:
            require_right(way, sink)
        costs = in_turns(host, ways, rounds)
    return Findings(
        "authentication",
        f"Arriving, 10 KB, CPU ms per message (median of {rounds} rounds, {SESSIONS} sessions)",
        ("milter", "verifies", *COLUMNS),
        tuple(
            (way.milter, way.what, *figures(cost, costs[0]))
            for way, cost in zip(ways, costs, strict=True)
        ),
        tuple(_targets(ways, costs)),
        (NOTE, "Letterlock encrypts as well, whatever it verifies", *rivals.missing()),
    )


def _ways(host: Host, dns_port: int, signer: Signer, owner: Owner) -> list[Way]:
    warm, cold = _warm(signer), _cold(signer)
    right, silent = has_verdict(b"dkim=pass"), has_verdict()
    inside = has_verdict_inside(owner, b"dkim=pass")
    both = has_verdict_inside(owner, b"dkim=pass", b"spf=pass")
    off = host.add_door(f"smtpd_milters={host.add_milter(_without_authentication(host))}")
    on = host.stack.layout.ports["smtp"]
    wanted = (
        Rival(rivals.OPENDKIM, "", rivals.opendkim_verifier(dns_port)),
        Rival(rivals.DKIMPY_MILTER, "", rivals.dkimpy_verifier(dns_port)),
    )
    ways = [Way("no milter", "", host.add_door("smtpd_milters="), FROM_HERE, warm, SEEN, silent)]
    for each in rivals.installed(wanted):
        port = host.add_door(f"smtpd_milters={host.add_milter(each.command)}")
        ways += [
            Way(each.program, _WARM, port, FROM_HERE, warm, SEEN, right),
            Way(each.program, _COLD, port, FROM_HERE, cold, SEEN, right),
        ]
    return [
        *ways,
        Way("Letterlock", _NOTHING, off, FROM_HERE, warm, SEEN, has_verdict_inside(owner)),
        Way("Letterlock", _WARM, on, FROM_HERE, warm, SEEN, inside),
        Way("Letterlock", _COLD, on, FROM_HERE, cold, SEEN, inside),
        Way("Letterlock", "with SPF, warm", on, FROM_THERE, warm, SEEN, both),
    ]


def _without_authentication(host: Host) -> Command:
    """Return what starts a second Letterlock, configured like the first but for one setting."""

    def command(folder: Path, socket: Path) -> list[str]:
        layout = host.stack.layout
        changes = {
            daemons.milter_socket(layout): str(socket),
            f":{layout.ports['milter_metrics']}": f":{host.free_port()}",
            "[authentication]\n": "[authentication]\nenabled = false\n",
        }
        text = (layout.config / "letterlock.toml").read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        folder.mkdir()
        (folder / "letterlock.toml").write_text(text)
        return [sys.executable, "-m", "letterlock", "--config", str(folder / "letterlock.toml")]

    return command


def _warm(signer: Signer) -> _Messages:
    messages = [arriving.signed_once(signer, _MESSAGE)] * _MESSAGES
    return lambda _: messages


def _cold(signer: Signer) -> _Messages:
    # Each round is asked for several times in a row: by those who take turns.
    @lru_cache(maxsize=1)
    def messages(turn: int) -> list[bytes]:
        selectors = (f"s{turn}-{number}" for number in range(_MESSAGES))
        return arriving.signed_anew(signer, _MESSAGE, selectors)

    return messages


def _targets(ways: Sequence[Way], costs: Sequence[list[Cost]]) -> list[Target]:
    by = {(way.milter, way.what): cost for way, cost in zip(ways, costs, strict=True)}
    off, warm, cold = (by["Letterlock", what] for what in (_NOTHING, _WARM, _COLD))
    promised = [
        Target(f"warm: milter's CPU, relative to {name}", _added(warm, off, other), at_most=1.0)
        for name in (rivals.OPENDKIM, rivals.DKIMPY_MILTER)
        if (other := by.get((name, _WARM)))
    ]
    return [*promised, Target("cold relative to warm", ratio(cold, warm), at_most=_COLD_RATIO_MAX)]


def _added(on: Sequence[Cost], off: Sequence[Cost], others: Sequence[Cost]) -> float:
    """Return what verifying adds, relative to all that a milter costs which does nothing else."""
    rounds = zip(on, off, others, strict=True)
    return median((one.milter_ms - base.milter_ms) / o.milter_ms for one, base, o in rounds)
