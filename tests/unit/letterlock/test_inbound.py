"""What is known about a message: when it is asked, where it is written, who is told."""

import email

import pytest

from gateway_world import World
from keyservice.client import Answer, Outcome
from letterlock import evidence
from letterlock.authentication import Findings
from letterlock.ciphertext import Ciphertext, Spill
from letterlock.gateway import Effects
from letterlock.inbound import Inbound, Vouching
from letterlock.message import HeaderField

VERDICTS = HeaderField(b"Authentication-Results", b" mx.example.test; dkim=pass")


class Asked:
    """An authenticator, and each inquiry that it began."""

    def __init__(self) -> None:
        self.needs_body = True
        self.findings = Findings(VERDICTS, frozenset(), (), False)
        self.begun = []
        self.written = []
        self.closed = 0

    def begin(self, client, reverse_path, section):
        self.begun.append((client, reverse_path))
        return self

    def write(self, chunk):
        self.written.append(chunk)

    def close(self):
        self.closed += 1
        return self.findings


class InboundWorld(World):
    """A world in which somebody vouches for messages."""

    def made(self, effects: Effects, spill: Spill) -> Inbound:
        self.asked = Asked()
        self.offered = []
        vouching = Vouching(self.asked, self)
        return Inbound(effects, "mx.example.test", bytes(32), spill, vouching)

    def offer(self, report):
        self.offered.append(report)


@pytest.fixture
def payloads(monkeypatch):
    """What was encrypted, by ciphertext, in the order in which it was written."""
    written = {}
    write = Ciphertext.write

    def recorded(self, plaintext):
        written.setdefault(id(self), []).append(plaintext)
        write(self, plaintext)

    monkeypatch.setattr(Ciphertext, "write", recorded)
    return written


@pytest.fixture
def world(tmp_path):
    world = InboundWorld(Spill(str(tmp_path), 65_536))
    yield world
    for transaction in world.transactions:
        transaction.discard()


@pytest.mark.parametrize("needs_body", [True, False])
def test_the_verdicts_stand_before_the_message_they_are_about(world, payloads, needs_body):
    """Whether they depend on the body or not; and the body is all there."""
    world.asked.needs_body = needs_body

    world.run("alice@example.test", body=b"text\r\n" * 50_000)

    (pieces,) = payloads.values()
    payload = email.message_from_bytes(b"".join(pieces))
    assert ["Letterlock-Original", "Authentication-Results"] == list(payload)[:2]
    assert b"text\r\n" * 50_000 == payload.get_payload().encode()


def test_a_body_that_decides_nothing_is_not_held(world):
    """It streams."""
    world.asked.needs_body = False
    transaction = world.begin("alice@example.test")

    world.gateway.body(transaction, b"text\r\n")

    assert (None, []) == (transaction.held, world.asked.written)


def test_a_held_body_is_encrypted_where_it_rests(world, tmp_path, monkeypatch):
    """In memory or on disk, it is ciphertext under a key that dies with it."""
    transaction = world.begin("alice@example.test")
    world.gateway.body(transaction, b"canary" * 20_000)

    held = transaction.held._spool
    held.seek(0)
    assert b"canary" not in held.read()
    assert [] == list(tmp_path.iterdir())


def test_nobody_is_asked_about_mail_that_is_not_for_us(world):
    """What passes untouched costs no questions."""
    world.answers["x@relay.test"] = Answer(mailbox="x@relay.test", outcome=Outcome.OUTSIDE)

    _, verdict = world.run("x@relay.test")

    assert [] == world.asked.begun
    assert ([], [], []) == (
        list(verdict.changes),
        list(verdict.insertions),
        list(verdict.additions),
    )


def test_a_forged_verdict_leaves_the_outer_header_as_well(world):
    """Only ours may be found under our name."""
    world.asked.findings = Findings(VERDICTS, frozenset({1}), (), None)
    fields = ((b"Subject", b" hi"), (b"Authentication-Results", b" mx.example.test; dkim=pass"))

    _, verdict = world.run("alice@example.test", fields=fields)

    assert ("Authentication-Results", 1, None) in list(verdict.changes)
    assert [] == list(verdict.insertions)


def test_the_sender_s_certificate_counts_once_the_mail_is_accepted(world, monkeypatch):
    """Not before, and not for mail that is refused."""
    monkeypatch.setattr(evidence, "report", lambda *arguments: arguments)
    transaction, verdict = world.run("alice@example.test", "bob@example.test")

    assert [] == world.offered
    world.gateway.accepted(transaction, verdict)

    ((section, received_at, *_),) = world.offered
    assert (transaction.section, int(world.now)) == (section, received_at)
