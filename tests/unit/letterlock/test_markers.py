"""A retry does not deliver twice; a new message is never taken for a retry."""

import pytest

from keyservice.client import Mailbox
from letterlock.markers import Identity, Markers
from letterlock.message import HeaderField, HeaderSection

SECRET = bytes(range(32))
ALICE, BOB = Mailbox("alice", "example.test"), Mailbox("bob", "example.test")


class Store(dict):
    """A Redis that works."""

    def __init__(self):
        self.lifetimes = {}

    def set(self, name, value, seconds):
        self[name] = value
        self.lifetimes[name] = seconds

    def delete(self, names):
        for name in list(names):
            self.pop(name, None)


def section(**fields: str) -> HeaderSection:
    return HeaderSection(
        tuple(
            HeaderField(n.replace("_", "-").encode(), f" {v}".encode()) for n, v in fields.items()
        )
    )


FIELDS = {"Message_ID": "<1@x>", "Date": "today", "From": "a@x", "To": "b@y", "Subject": "hi"}


def markers(
    store: Store,
    sender="a@x",
    body=(b"one", b"two"),
    secret=SECRET,
    without=(),
    to=("alice@example.test", "bob@example.test"),
    **fields,
) -> Markers:
    shown = {name: value for name, value in (FIELDS | fields).items() if name not in without}
    identity = Identity(secret, sender, section(**shown))
    for chunk in body:
        identity.update(chunk)
    return Markers(store, identity, to)


def test_an_accepted_copy_is_known_at_the_next_attempt():
    """And only for the mailbox whose copy it was."""
    store = Store()
    markers(store).accepted(ALICE)

    assert (True, False) == tuple(markers(store).accepted_before(m) for m in (ALICE, BOB))


def test_the_attempts_may_differ_in_what_filters_before_us_write():
    """Fields that other milters add differ with every attempt."""
    store = Store()
    markers(store, X_Spam_Score="1").accepted(ALICE)

    assert markers(store, body=(b"onetwo",), X_Spam_Score="2").accepted_before(ALICE)


@pytest.mark.parametrize(
    "difference",
    [
        {"sender": "c@x"},
        {"body": (b"one",)},
        {"Subject": "ho"},
        {"Message_ID": "<2@x>"},
        {"secret": bytes(32)},
    ],
)
def test_another_message_is_another_message(difference):
    """One octet of the body or of an identifying field is enough."""
    store = Store()
    markers(store).accepted(ALICE)

    assert not markers(store, **difference).accepted_before(ALICE)


def test_once_all_is_accepted_a_repetition_is_known_for_ten_minutes_only():
    """The host may die before the peer reads the reply; later, who repeats means it."""
    store = Store()
    first = markers(store)
    first.accepted(ALICE)
    first.settle()
    again = markers(store, to=("bob@example.test", "alice@example.test"))

    assert [600] == [store.lifetimes[name] for name in store]
    assert again.accepted_before(ALICE)


def test_the_same_message_to_others_is_no_repetition_once_all_is_accepted():
    """It may reach a mailbox on two ways, and is delivered on both as it always was."""
    store = Store()
    first = markers(store)
    first.accepted(ALICE)
    first.settle()

    assert not markers(store, to=("team@example.test",)).accepted_before(ALICE)


def test_messages_without_an_id_may_be_the_same_and_meant_to_be_several():
    """A device that sends the same alarm twice gets it delivered twice."""
    store = Store()
    retry = markers(store, without=["Message_ID"])
    retry.accepted(ALICE)
    retry.settle()

    assert not markers(store, without=["Message_ID"]).accepted_before(ALICE)
    assert {} == store


def test_redis_cannot_make_a_marker_up():
    """A value under the right name is not enough: it would cost a message."""
    store = Store()
    markers(store).accepted(ALICE)
    for name in store:
        store[name] = b"accepted"

    assert not markers(store).accepted_before(ALICE)


def test_redis_learns_nothing_of_the_message():
    """Neither addresses nor a hash that somebody without the secret could compare."""
    store = Store()
    markers(store, Subject="canary-4711").accepted(ALICE)

    shown = repr(dict(store)).encode()
    assert b"canary" not in shown
    assert b"alice" not in shown
