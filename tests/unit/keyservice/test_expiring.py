"""What ends soon is found by the end of what can be encrypted to, and by an index."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyservice import bindings, report, store
from keyservice.certificate import Certificate, Refusal, RefusalReason, usable_until
from keyservice.database import Database
from keyservice.mailbox import Mailbox
from keyservice.overview import DAY
from keyservice.report import Period
from keyservice.wire import EncryptionSubkey

NOW = 1_800_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Mailboxes whose certificates end on day 0, 3, 14 and 60, never, and one that is revoked."""
    database = Database(tmp_path / "k.sqlite")
    for days in (0, 3, 14, 60, None):
        enrol(database, f"d{days}", None if days is None else NOW + days * DAY)
    enrol(database, "revoked", NOW + DAY, Refusal(RefusalReason.REVOKED, ""))
    yield database
    database.close()


def enrol(database: Database, name: str, end: int | None, refusal: Refusal | None = None) -> None:
    """Use a certificate that can be encrypted to until `end`."""
    fingerprint = name.encode().hex().rjust(40, "0")
    mailbox = Mailbox.parse(f"{name}@example.org")
    facts = Certificate(
        fingerprint,
        4,
        user_ids=(mailbox.key,),
        subkeys=(EncryptionSubkey(fingerprint, b"", end),),
        not_after=None if end is None else end + 300 * DAY,
        refusal=refusal,
    )
    with database.writing() as connection:
        store.save_certificate(connection, facts, b"", NOW, NOW)
        bindings.bind(connection, mailbox, fingerprint, NOW)


@pytest.mark.parametrize(
    ("days", "expected"), [(3, ["d3"]), (14, ["d14", "d3"]), (60, ["d14", "d3", "d60"])]
)
def test_the_list_and_the_number_are_the_same(
    database: Database, days: int, expected: list[str]
) -> None:
    """What has ended already, or is refused, is told of elsewhere."""
    period = Period(NOW, NOW + days * DAY)
    with database.reading() as connection:
        listed = report.page(connection, "", 10, period)
        number = report.expiring(connection, period)

    assert expected == [one.mailbox.local_part for one in listed]
    assert len(expected) == number


def test_the_last_subkey_decides() -> None:
    """And without an end to one of them there is none."""
    first, last, endless = (EncryptionSubkey("", b"", end) for end in (1, 2, None))

    assert 2 == usable_until(Certificate("", 4, subkeys=(last, first), not_after=9))
    assert usable_until(Certificate("", 4, subkeys=(first, endless))) is None
    assert 9 == usable_until(Certificate("", 4, not_after=9))
