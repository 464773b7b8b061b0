"""The role of a submission server with the world replaced: what leaves, for whom, signed."""

import base64
import email
import re

import dkim
import pytest

import openpgp_content
import openpgp_subkeys
from gateway_world import ALICE, FINGERPRINT, NEWCOMER, PACKET, World
from keyservice.client import (
    Answer,
    EncryptionSubkey,
    Mailbox,
    MailboxPolicy,
    Outcome,
    Outgoing,
    PeerAnswer,
    PeerOutcome,
    Sender,
    SenderPolicy,
    WithoutCertificate,
)
from keyservice.levels import Level
from letterlock.aliases import Rules
from letterlock.ciphertext import Spill
from letterlock.dkim.signer import KeyType, Signer
from letterlock.errors import SenderUnknown, SigningImpossible
from letterlock.gateway import Effects
from letterlock.origins import NotAllowed
from letterlock.policy import Treatment
from letterlock.submission import Submission, Submitting
from letterlock.verdict import Refused

CAROL, DAVE = (Mailbox(name, "outside.test") for name in ("carol", "dave"))
PEER_PACKET = openpgp_subkeys.bodies()["cv25519"]
FIELDS = (
    (b"From", b" Alice <alice@example.test>"),
    (b"To", b" carol@outside.test"),
    (b"Subject", b" canary"),
    (b"User-Agent", b" something/1.0"),
    (b"Bcc", b" dave@outside.test"),
)


def peer(mailbox: Mailbox, outcome: PeerOutcome = PeerOutcome.FOUND, **more) -> PeerAnswer:
    """What the key service says about somebody outside."""
    if outcome is PeerOutcome.FOUND:
        subkeys = (EncryptionSubkey("cd" * 20, PEER_PACKET),)
        more = {"level": Level.PROVIDER_TRUST, "fingerprint": "cd" * 20, "subkeys": subkeys} | more
    return PeerAnswer(mailbox=mailbox.key, outcome=outcome, **more)


class SubmissionWorld(World):
    """A world in which Alice hands in mail."""

    rules = Rules(origin="example.test", delimiters="+")

    def made(self, effects: Effects, spill: Spill) -> Submission:
        self.client.login = "alice@example.test"
        self.reverse_path = "alice@example.test"
        self.answers |= {
            m.key: Answer(mailbox=m.key, outcome=Outcome.OUTSIDE) for m in (CAROL, DAVE)
        }
        self.policy = SenderPolicy()
        self.known = {CAROL: peer(CAROL), DAVE: peer(DAVE, PeerOutcome.NOT_FOUND)}
        self.is_reachable = True
        self.asked = []
        self.anew = []
        self.used = []
        self.enrolled = []
        self.signs = True
        submitting = Submitting(
            tables=self,
            sender=self.sender,
            peers=self.peers,
            aftermath=self,
            keys=self,
            signature_days=0,
        )
        return Submission(effects, "mx.example.test", bytes(32), spill, submitting)

    def sender(self, mailbox, *, anew=False):
        self.anew.append(anew)
        if not self.is_reachable:
            return None
        return Sender(
            mailbox=mailbox.key,
            is_ours=mailbox.domain == "example.test",
            policy=self.policy,
            fingerprint=FINGERPRINT,
            subkeys=(EncryptionSubkey(FINGERPRINT, PACKET),),
            keydata=b"five packets",
        )

    def peers(self, mailboxes):
        self.asked += mailboxes
        return {mailbox: self.known[mailbox] for mailbox in mailboxes}

    def encrypted_to(self, mailbox, fingerprint):
        self.used.append((mailbox, fingerprint))

    def wrote(self, mailbox, section):
        self.enrolled.append((mailbox, section))

    def login_owners(self, address):
        return None

    def signers(self, domain):
        if not self.signs:
            raise SigningImpossible("no key")
        return (SIGNER,)

    def submit(self, *forward_paths: str, fields=FIELDS, body=b"canary\r\n"):
        return self.run(*forward_paths, fields=fields, body=body)


SIGNER = Signer.generate("s1", KeyType.ED25519)
RECORD = b"v=DKIM1; k=ed25519; p=" + base64.b64encode(SIGNER.public_octets)


def verifies(message: bytes) -> bool:
    """Whether dkimpy finds the first signature good."""
    return dkim.verify(message, dnsfunc=lambda name, timeout=5: RECORD)


def pkesks(message: bytes) -> int:
    """To how many subkeys a message is encrypted."""
    armor = re.search(rb"-----BEGIN PGP MESSAGE-----\r\n\r\n(.*?)-----END", message, re.DOTALL)
    octets = base64.b64decode(armor[1])
    return [tag for tag, _ in openpgp_content.packets(octets)].count(1)


def left(world: SubmissionWorld, transaction, verdict) -> bytes:
    """The primary as Postfix then has it."""
    fields = [(f.name.decode(), f.value) for f in transaction.submitted.received]
    for change in verdict.changes:
        at = [i for i, (n, _) in enumerate(fields) if n.lower() == change.name.lower()]
        if change.value is None:
            del fields[at[change.occurrence - 1]]
        else:
            fields[at[change.occurrence - 1]] = (change.name, change.value.encode())
    fields += [(n, v.encode()) for n, v in verdict.additions]
    for name, value in verdict.insertions:
        fields.insert(0, (name, value.encode()))
    head = b"".join(
        b"%b:%b\r\n" % (n.encode(), v.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        for n, v in fields
    )
    return head + b"\r\n" + (b"".join(verdict.body) or b"canary\r\n")


@pytest.fixture
def world(tmp_path):
    world = SubmissionWorld(Spill(str(tmp_path), 65_536))
    yield world
    for transaction in world.transactions:
        transaction.discard()


def treatments(verdict) -> list[Treatment]:
    return [treated.treatment for treated in verdict.treated]


def test_a_known_peer_gets_a_copy_of_its_own_and_the_others_the_clear(world):
    """Both signed, and each signature holds."""
    transaction, verdict = world.submit("dave@outside.test", "carol@outside.test")

    assert [Treatment.PLAIN_PEER_UNKNOWN, Treatment.ENCRYPT_PEER] == treatments(verdict)
    ((recipients, copy),) = world.sent
    assert (("carol@outside.test", ()),) == recipients
    assert b"canary" not in copy
    assert b"canary" in left(world, transaction, verdict)
    assert verifies(copy)
    assert verifies(left(world, transaction, verdict))


def test_what_leaves_is_cleaned_and_completed(world):
    """No Bcc, no program; Date, Message-ID and Autocrypt where the client wrote none."""
    transaction, verdict = world.submit("dave@outside.test")
    names = list(email.message_from_bytes(left(world, transaction, verdict)))

    assert {"DKIM-Signature", "From", "To", "Subject", "Date", "Message-ID", "Autocrypt"} == set(
        names
    )
    assert "DKIM-Signature" == names[0]


def test_a_copy_alone_replaces_what_postfix_holds(world):
    """One recipient, one message: wrapped, signed, nothing of the subject outside."""
    transaction, verdict = world.submit("carol@outside.test")
    message = left(world, transaction, verdict)

    assert b"canary" not in message
    assert b"multipart/encrypted" in message
    assert b"Letterlock" not in message
    assert verifies(message)


def test_mail_for_a_mailbox_of_ours_is_encrypted_as_if_it_came_from_outside(world):
    """With the marker, and without a signature: it does not leave."""
    transaction, verdict = world.submit("bob@example.test")
    message = left(world, transaction, verdict)

    assert [Treatment.WRAP] == treatments(verdict)
    assert b"canary" not in message
    assert b"Letterlock: v=1; by=mx.example.test" in message
    assert b"DKIM-Signature" not in message
    assert [] == world.asked


def test_the_sender_may_read_what_is_encrypted_for_others(world):
    """copy_to_self: one more PKESK in the copy, and only then."""
    world.submit("dave@outside.test", "carol@outside.test")
    world.policy = SenderPolicy(copy_to_self=True)
    world.submit("dave@outside.test", "carol@outside.test", body=b"other\r\n")

    assert [1, 2] == [pkesks(copy) for _, copy in world.sent]


def test_required_refuses_the_whole_mail_and_names_the_mailboxes(world):
    """550, nothing sent to anybody."""
    world.policy = SenderPolicy(outgoing=Outgoing.REQUIRED)

    with pytest.raises(Refused) as refused:
        world.submit("carol@outside.test", "dave@outside.test")

    assert (550, "5.7.5") == (refused.value.reply.code, refused.value.reply.enhanced)
    assert refused.value.reply.text.endswith("for dave@outside.test")
    assert [] == world.sent


def test_a_refusal_names_what_the_sender_wrote(world):
    """Not where an alias leads."""
    world.policy = SenderPolicy(outgoing=Outgoing.REQUIRED)
    world.aliases["hotline@example.test"] = [CAROL, DAVE]

    with pytest.raises(Refused) as refused:
        world.submit("hotline@example.test", "carol@outside.test")

    assert refused.value.reply.text.endswith("for hotline@example.test")


@pytest.mark.parametrize(
    ("outgoing", "outcome", "expected"),
    [
        (Outgoing.REQUIRED, PeerOutcome.UNAVAILABLE, Treatment.DEFER_PEER_SOUGHT),
        (Outgoing.REQUIRED, PeerOutcome.UNREACHABLE, Treatment.DEFER_UNAVAILABLE),
        (Outgoing.WHEN_KNOWN, PeerOutcome.UNREACHABLE, Treatment.DEFER_UNAVAILABLE),
    ],
)
def test_who_could_not_be_asked_may_have_a_certificate(world, outgoing, outcome, expected):
    """Deferred, where the policy forbids to go on without an answer."""
    world.policy = SenderPolicy(outgoing=outgoing)
    world.known[CAROL] = peer(CAROL, outcome)

    with pytest.raises(Refused) as refused:
        world.submit("carol@outside.test")

    assert expected is refused.value.treatment


def test_never_asks_nobody(world):
    """The policy says so; what leaves is signed all the same."""
    world.policy = SenderPolicy(outgoing=Outgoing.NEVER)

    transaction, verdict = world.submit("carol@outside.test")

    assert [Treatment.PLAIN_NEVER] == treatments(verdict)
    assert [] == world.asked
    assert verifies(left(world, transaction, verdict))


def test_a_certificate_that_is_attested_too_badly_is_not_known(world):
    """outgoing_level decides."""
    world.known[CAROL] = peer(CAROL, level=Level.WEAK_CHAIN)

    _, verdict = world.submit("carol@outside.test")

    assert [Treatment.PLAIN_PEER_UNKNOWN] == treatments(verdict)


def test_somebody_else_s_from_sends_nothing(world):
    """The rule is in the reply."""
    fields = ((b"From", b" bob@example.test"), *FIELDS[1:])

    with pytest.raises(NotAllowed) as refused:
        world.submit("carol@outside.test", fields=fields)

    assert refused.value.reply.text == "From is not an address of the login's owner"
    assert world.anew[-1]


def test_what_cannot_be_signed_does_not_leave(world):
    """Deferred before a copy is sent; mail for our own mailboxes needs no signature."""
    world.signs = False

    with pytest.raises(SigningImpossible):
        world.submit("carol@outside.test", "dave@outside.test")
    _, verdict = world.submit("bob@example.test")

    assert ([], [Treatment.WRAP]) == (world.sent, treatments(verdict))


def test_what_stays_here_in_the_clear_is_not_signed(world):
    """A domain that takes mail without a certificate needs no key for mail within it."""
    policy = MailboxPolicy(without_certificate=WithoutCertificate.ACCEPT)
    world.answers[NEWCOMER.key] = Answer(
        mailbox=NEWCOMER.key, outcome=Outcome.NOT_FOUND, policy=policy
    )
    world.signs = False

    transaction, verdict = world.submit("newcomer@example.test")

    assert [Treatment.PLAIN_ACCEPTED] == treatments(verdict)
    assert b"DKIM-Signature" not in left(world, transaction, verdict)


def test_without_the_key_service_nobody_sends(world):
    """Whose certificate is in force, and what the policy is, only it knows."""
    world.is_reachable = False

    with pytest.raises(SenderUnknown):
        world.submit("carol@outside.test")


def test_what_was_done_is_told_once_the_mail_is_accepted(world):
    """Whose certificate was used; and, if he lets his client enrol one, what it wrote."""
    transaction, verdict = world.submit("carol@outside.test", "dave@outside.test")
    assert [] == world.used
    world.gateway.accepted(transaction, verdict)
    assert ([(CAROL, "cd" * 20)], []) == (world.used, world.enrolled)

    world.policy = SenderPolicy(autocrypt_enrols=True)
    transaction, verdict = world.submit("dave@outside.test")
    world.gateway.accepted(transaction, verdict)
    assert [(ALICE, transaction.submitted.received)] == world.enrolled


def test_the_clear_does_not_say_how_its_sender_was_authenticated(world):
    """A mailbox of ours reads it inside; others' filters have no use for it."""
    transaction, verdict = world.submit("dave@outside.test")

    assert b"auth=pass" not in left(world, transaction, verdict)


def test_who_may_send_for_somebody_does_not_enrol_for_him(world, monkeypatch):
    """His program speaks of the owner's certificate; the owner has not been asked."""
    world.policy = SenderPolicy(autocrypt_enrols=True)
    world.client.login = "secretary"
    monkeypatch.setattr(world, "login_owners", lambda address: ("secretary",))
    transaction, verdict = world.submit("dave@outside.test")
    world.gateway.accepted(transaction, verdict)

    assert [] == world.enrolled
