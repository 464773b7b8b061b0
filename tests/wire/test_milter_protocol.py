"""The daemon and an MTA that keeps the rules: transactions, one after another."""

import random
from collections.abc import Iterator

import pytest

from fake_keyservice import MemoryOwner
from milter_process import MilterProcess
from milterproto import CHUNK_OCTETS, MilterClient

FIELDS = [
    (b"From", b" Eve <eve@outside.test>"),
    (b"To", b" undisclosed-recipients:;"),
    (b"Subject", b" canarysubject55a1"),
]


@pytest.fixture(scope="module")
def owners() -> list[MemoryOwner]:
    return [MemoryOwner(f"{name}@example.test") for name in ("alice", "bob", "carol")]


@pytest.fixture(scope="module")
def milter(owners: list[MemoryOwner]) -> Iterator[MilterProcess]:
    with MilterProcess(*owners) as milter:
        yield milter


@pytest.fixture
def client(milter: MilterProcess) -> Iterator[MilterClient]:
    milter.reentry.received.clear()
    with milter.client() as client:
        yield client


def path(owner: MemoryOwner) -> str:
    return f"<{owner.address}>"


def test_a_message_leaves_encrypted(client: MilterClient, owners: list[MemoryOwner]) -> None:
    """Header section and body as Postfix will store them give nothing away."""
    ended = client.transact([path(owners[0])], FIELDS, b"canarybody\r\n")
    stored = ended.header_section(FIELDS) + b"\n" + (ended.body or b"")

    assert 250 == ended.code
    assert b"canary" not in stored
    assert b"Subject: [...]\n" in stored
    assert b"canarybody\r\n" in owners[0].decrypt(stored)


@pytest.mark.parametrize(
    "octets",
    [0, 1, CHUNK_OCTETS - 1, CHUNK_OCTETS, CHUNK_OCTETS + 1, 3 * CHUNK_OCTETS, 1_000_000],
)
def test_bodies_of_any_number_of_chunks_arrive_whole(
    client: MilterClient, owners: list[MemoryOwner], octets: int
) -> None:
    """Also those larger than the spill threshold."""
    body = random.Random(octets).randbytes(octets)
    ended = client.transact([path(owners[0])], FIELDS, body)

    assert owners[0].decrypt(ended.body or b"").endswith(b"55a1\r\n\r\n" + body)


def test_each_further_recipient_gets_a_copy_of_its_own(
    client: MilterClient, milter: MilterProcess, owners: list[MemoryOwner]
) -> None:
    """Postfix keeps the first one's; the others' re-enter and leave its envelope."""
    ended = client.transact([path(owner) for owner in owners], FIELDS, b"shared\r\n")
    copies = {recipients[0]: copy for recipients, copy in milter.reentry.received}

    assert [path(owner).encode() for owner in owners[1:]] == ended.deleted
    assert b"shared\r\n" in owners[0].decrypt(ended.body or b"")
    assert {owner.address for owner in owners[1:]} == set(copies)
    for owner in owners[1:]:
        assert b"shared\r\n" in owner.decrypt(copies[owner.address])
        assert b"canary" not in copies[owner.address]


def test_a_recipient_without_certificate_is_deferred_alone(
    client: MilterClient, owners: list[MemoryOwner]
) -> None:
    """The others of the transaction get their mail."""
    client.mail()
    assert 450 == client.rcpt("<nobody@example.test>").code
    assert 250 == client.rcpt(path(owners[0])).code
    client.header(*FIELDS[0])
    client.eoh()
    client.body(b"x")
    assert 250 == client.end().code


def test_a_malformed_recipient_is_refused_alone(
    client: MilterClient, owners: list[MemoryOwner]
) -> None:
    """One address that is none must not bounce the mail of the others."""
    client.mail()
    assert 553 == client.rcpt('<"two words"@example.test>').code
    assert 250 == client.rcpt(path(owners[0])).code
    client.header(*FIELDS[0])
    client.eoh()
    client.body(b"x")
    ended = client.end()

    assert 250 == ended.code
    assert b"x" in owners[0].decrypt(ended.body or b"")


def test_hundreds_of_transactions_in_one_session_stay_independent(
    client: MilterClient, milter: MilterProcess, owners: list[MemoryOwner]
) -> None:
    """Whatever came before, also where it was broken off, leaves no trace in the next mail."""
    choice = random.Random(9164)
    for number in range(300):
        chosen = choice.sample(owners, choice.randint(1, 3))
        canary = f"canary-{number:04d}-of-300"
        milter.reentry.received.clear()
        if choice.random() < 0.5:
            break_off(client, choice, owners)
        fields = [*FIELDS[:2], (b"Subject", f" {canary}".encode())]
        ended = client.transact([path(o) for o in chosen], fields, f"{canary}\r\n".encode())
        copies = {recipients[0]: copy for recipients, copy in milter.reentry.received}
        copies[chosen[0].address] = ended.body or b""

        assert 250 == ended.code
        assert {owner.address for owner in chosen} == set(copies)
        expected = b"\r\n".join(n + b":" + v for n, v in fields) + f"\r\n\r\n{canary}\r\n".encode()
        for owner in chosen:
            assert owner.decrypt(copies[owner.address]).endswith(expected)


def break_off(client: MilterClient, choice: random.Random, owners: list[MemoryOwner]) -> None:
    """Begin a transaction and abort it at some step."""
    owner = choice.choice(owners)
    steps = [
        lambda: client.mail("<other@outside.test>"),
        lambda: client.rcpt(choice.choice([path(owner), "<nobody@example.test>"])),
        lambda: client.rcpt(path(owner)),
        lambda: client.header(b"X-Trace", b" of a transaction that was broken off"),
        lambda: client.eoh(),
        lambda: client.body(b"trace " * choice.choice([1, 30_000])),
    ]
    for step in steps[: choice.randint(1, len(steps))]:
        step()
    client.abort()


def test_sessions_at_the_same_time_stay_independent(
    milter: MilterProcess, owners: list[MemoryOwner]
) -> None:
    """Transactions of eight sessions, step by step in turns."""
    sessions = [milter.client() for _ in range(8)]
    recipients = [owners[i % 3] for i in range(8)]
    for client in sessions:
        client.mail()
    for client, owner in zip(sessions, recipients, strict=True):
        assert 250 == client.rcpt(path(owner)).code
    for number, client in enumerate(sessions):
        client.header(b"Subject", f" {number}".encode())
    for client in sessions:
        client.eoh()
    for _ in range(3):
        for number, client in enumerate(sessions):
            client.body(f"part of {number}\r\n".encode())
    for client in sessions:
        client.send(b"E")
    ended = [client.ended() for client in sessions]
    for client in sessions:
        client.socket.close()

    for number, (owner, end) in enumerate(zip(recipients, ended, strict=True)):
        expected = f"Subject: {number}\r\n\r\n" + 3 * f"part of {number}\r\n"
        assert owner.decrypt(end.body or b"").endswith(expected.encode())
