"""Rules about what Letterlock needs around it: pages, the key service, a resolver, the clock."""

from collections.abc import Iterator
from enum import Enum

from letterlock.doctor.keyservice_file import Discovery
from letterlock.postfix_findings import Finding, Severity


class Proof(Enum):
    """What a resolver showed of itself."""

    VALIDATES = "it validates"
    BELIEVES_ANYTHING = "it gives answers whose signatures are wrong"
    NO_DNSSEC = "it does not say that it has verified signatures"
    SILENT = "it has no answer about a zone that is in order"


def resolver(discovery: Discovery, proof: Proof) -> Iterator[Finding]:
    """The key service's resolver validates."""
    if not discovery.needs_dnssec or proof is Proof.VALIDATES:
        return
    yield Finding(
        f"resolver {discovery.resolver}",
        "apt-get install unbound; dig +dnssec . SOA @127.0.0.1 must have the flag `ad`",
        "certificates in the DNS (OPENPGPKEY) are not looked for until it validates DNSSEC",
        Severity.NOTE,
        proof.value,
    )


def clock(*, is_synchronised: bool) -> Iterator[Finding]:
    """Somebody keeps the clock right."""
    if not is_synchronised:
        yield Finding(
            "clock",
            "apt-get install chrony; chronyc tracking",
            "answers in the cache count for minutes, certificates and DKIM signatures end: a clock "
            "that is wrong by five seconds defeats the first, by days the others",
            Severity.NOTE,
            "nobody keeps it right, as far as the kernel knows",
        )


def nameserver(address: str, complaint: str) -> Iterator[Finding]:
    """What vouches for mail can be looked up. `complaint`: why not; empty: it can."""
    if complaint:
        yield Finding(
            f"nameserver {address}" if address else "/etc/resolv.conf",
            "a resolver that answers: apt-get install unbound, and [authentication] nameserver ="
            ' "127.0.0.1:53" in letterlock.toml',
            "DKIM, SPF and ARC cannot be checked: each message waits, and nobody vouches for it",
            Severity.FAULT,
            f"the DNS gives no answer: {complaint}",
        )


def tables(complaint: str) -> Iterator[Finding]:
    """The milter finds out who a message is for. `complaint`: why not; empty: it does."""
    if complaint:
        yield Finding(
            "virtual_alias_maps, alias_maps",
            "let the account `letterlock` read the tables that they name",
            "until the milter can ask them, all mail is deferred",
            Severity.FAULT,
            f"the milter cannot ask Postfix' tables: {complaint}",
        )


def page(name: str, address: str, unit: str, workers: tuple[int, int] | None) -> Iterator[Finding]:
    """A daemon runs, and shows its metrics. `workers`: how many there are, and should be."""
    line = f"systemctl restart {unit}; journalctl -u {unit}"
    if workers is None:
        what = f"nothing answers at http://{address}/metrics"
        yield Finding(name, line, "it does not run, or nobody can watch it", Severity.FAULT, what)
    elif workers[0] < workers[1]:
        what = f"{workers[0]} of {workers[1]} workers serve"
        yield Finding(name, line, "fewer messages can be taken at a time", Severity.FAULT, what)


def key_service(*, answers: bool, where: str) -> Iterator[Finding]:
    """It answers."""
    if not answers:
        yield Finding(
            "key service",
            "systemctl restart letterlock-keyservice; journalctl -u letterlock-keyservice",
            "what is not in the cache cannot be looked up, and its mail is deferred",
            Severity.FAULT,
            f"no answer at {where}",
        )
