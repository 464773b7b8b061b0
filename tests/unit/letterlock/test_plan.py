"""Who gets which copy, and what becomes of the envelope."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.client import Answer, Mailbox, Outcome
from letterlock.envelope import ForwardPath
from letterlock.errors import RecipientsLost
from letterlock.plan import UNCHANGED, Treated, plan
from letterlock.policy import Disposition, Treatment
from letterlock.transaction import Recipient

GRANTED = [
    t for t in Treatment if t.disposition not in (Disposition.DEFERRED, Disposition.REJECTED)
]


def treated(address: str, treatment: Treatment) -> Treated:
    mailbox = Mailbox.parse(address)
    answer = Answer(mailbox=mailbox.key, outcome=Outcome.FOUND)
    return Treated(Recipient(mailbox, answer, (), {address: ()}), treatment)


def path(address: str) -> ForwardPath:
    return ForwardPath(f"<{address}>", address)


ALICE, BOB, CAROL = (f"{name}@example.test" for name in ("alice", "bob", "carol"))


def test_a_single_recipient_has_the_primary_and_the_envelope_stays():
    """The usual case costs Postfix nothing but the message itself."""
    made = plan([treated(ALICE, Treatment.WRAP)], {path(ALICE): (ALICE,)})

    assert ((), (), ()) == (made.copies, made.deleted, made.added)


def test_the_second_recipient_leaves_the_envelope_and_gets_a_copy():
    """No two recipients share a message that is encrypted to one of them."""
    both = [treated(ALICE, Treatment.WRAP), treated(BOB, Treatment.WRAP)]

    made = plan(both, {path(ALICE): (ALICE,), path(BOB): (BOB,)})

    assert [BOB] == [t.recipient.mailbox.key for t in made.copies]
    assert [path(BOB)] == list(made.deleted)
    assert () == made.added


def test_recipients_whose_message_does_not_change_share_the_primary():
    """The message that Postfix holds is theirs already."""
    three = [
        treated(ALICE, Treatment.WRAP),
        treated(BOB, Treatment.PLAIN_OUTSIDE),
        treated(CAROL, Treatment.PASS),
    ]

    made = plan(three, {path(a): (a,) for a in (ALICE, BOB, CAROL)})

    assert [BOB, CAROL] == [t.recipient.mailbox.key for t in made.primary]
    assert [path(ALICE)] == list(made.deleted)


def test_an_alias_for_several_is_replaced_by_the_one_who_has_the_primary():
    """Postfix must not expand it again for the primary."""
    both = [treated(ALICE, Treatment.WRAP), treated(BOB, Treatment.WRAP)]
    team = path("team@example.test")

    made = plan(both, {team: (ALICE, BOB)})

    assert (team,) == made.deleted
    assert ((ALICE, ()),) == made.added


def test_an_empty_transaction_is_refused():
    """Postfix takes the removal of all recipients for an order to throw the message away."""
    with pytest.raises(RecipientsLost):
        plan([], {})


@given(st.data())
def test_everybody_gets_exactly_one_message(data):
    """Whatever the aliases and treatments: one copy each, and the primary has a recipient."""
    names = [f"m{i}@example.test" for i in range(data.draw(st.integers(1, 6)))]
    everybody = [treated(n, data.draw(st.sampled_from(GRANTED))) for n in names]
    finals = {path(n): (n,) for n in names if data.draw(st.booleans())}
    reached = {key for keys in finals.values() for key in keys}
    finals[path("all@example.test")] = tuple(n for n in names if n not in reached) or (names[0],)
    groups = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4))
    finals[path("group@example.test")] = tuple(dict.fromkeys(groups))

    made = plan(everybody, finals)

    primary = [t.recipient.mailbox.key for t in made.primary]
    copies = [t.recipient.mailbox.key for t in made.copies]
    kept = [p for p in finals if p not in made.deleted]
    delivered = {key for p in kept for key in finals[p]} | {address for address, _ in made.added}
    assert sorted(names) == sorted(primary + copies)
    assert set(primary) == delivered
    assert all(t.treatment not in UNCHANGED for t in made.copies)
