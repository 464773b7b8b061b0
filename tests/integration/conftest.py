"""The stack that all tests share which do not break it."""

from collections.abc import Iterator

import pytest

from dkim_directory import write_keys
from lmtp_sink import LMTPSink
from stack import Owner, Stack
from stack.submission import dkim_directory

DOMAINS: dict[str, dict[str, object]] = {
    "example.test": {},
    "shy.test": {"header_policy": "hcp_shy"},
    "all.test": {"header_policy": "hcp_all"},
    "wrap.test": {"arrived_encrypted": "wrap"},
    "pass.test": {"arrived_encrypted": "pass"},
    "reject.test": {"without_certificate": "reject"},
    "accept.test": {"without_certificate": "accept"},
    "catchall.test": {},
    "params.test": {},
}
VIRTUAL = {
    "info@example.test": "alice@example.test",
    "chain@example.test": "info@example.test",
    "team@example.test": "alice@example.test, bob@example.test",
    "crowd@example.test": "team@example.test, info@example.test",
    "mixed@example.test": "alice@example.test, newcomer@accept.test",
    "partners@example.test": "alice@example.test, partner@outside.test",
    "outward@example.test": "partner@outside.test",
    "hopeless@example.test": "alice@example.test, nobody@example.test",
    "@catchall.test": "alice@example.test",
}
LOCAL = {
    "root": "alice@example.test",
    "postmaster": "root",
    "staff": "alice@example.test, bob@example.test",
    "archived": "alice@example.test, |exit 0",
    "members": ":include:/etc/hostname",
}
PARAMETERS = {
    # Mail may leave this stack after all: into Maildirs of domains that it does not serve.
    "default_transport": "$virtual_transport",
    "relay_transport": "$virtual_transport",
    "relay_domains": "relay.test, bounce.test",
}
TRANSPORTS = "inline:{{ bounce.test={sink}, params.test={sink} }}"


@pytest.fixture(scope="session")
def sink() -> Iterator[LMTPSink]:
    """Where mail for params.test is delivered, and mail for bounce.test refused."""
    with LMTPSink() as listening:
        yield listening


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, alice: Owner, bob: Owner, sink: LMTPSink
) -> Iterator[Stack]:
    """A running stack in whose domains Alice and Bob are enrolled.

    Do not break it, and leave no mail behind that was not waited for.
    """
    shared = Stack(
        tmp_path_factory.mktemp("shared"),
        domains=DOMAINS,
        virtual_aliases=VIRTUAL,
        local_aliases=LOCAL,
        parameters=PARAMETERS
        | {"transport_maps": TRANSPORTS.format(sink=f"lmtp:inet:127.0.0.1:{sink.port}")},
    )
    with shared:
        for domain in (
            "example.test",
            "shy.test",
            "all.test",
            "wrap.test",
            "pass.test",
            "params.test",
        ):
            shared.enrol(f"alice@{domain}", alice.certificate)
            shared.enrol(f"bob@{domain}", bob.certificate)
        yield shared


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, alice: Owner, bob: Owner) -> Iterator[Stack]:
    """A stack of both roles, in order as far as a stack on a test machine can be."""
    aliases = {"team@example.test": "alice@example.test, bob@example.test"}
    running = Stack(tmp_path_factory.mktemp("host"), virtual_aliases=aliases, submission=True)
    with running as stack:
        stack.enrol("alice@example.test", alice.certificate)
        stack.enrol("bob@example.test", bob.certificate)
        write_keys(dkim_directory(stack.layout), "example.test")
        yield stack
