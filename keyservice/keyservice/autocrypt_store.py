"""Autocrypt's table of peers as it is stored, and what it recommends for one of them.

Each public function runs in the transaction of the connection it is given.
"""

import msgspec
from sqlalchemy import Connection, select

from keyservice import ledger, packets, schema, store
from keyservice.autocrypt import Header, PreferEncrypt
from keyservice.autocrypt_peer import Peer, recommend, updated
from keyservice.certificate import RejectedCertificate, alive_subkeys
from keyservice.mailbox import Mailbox
from keyservice.peer_wire import AutocryptView
from keyservice.upsert import upsert


def read(connection: Connection, mailbox: Mailbox) -> Peer | None:
    """Return the row of `mailbox`."""
    a, m = schema.autocrypt_peer, schema.mailbox
    row = connection.execute(
        select(a).join(m, m.c.id == a.c.mailbox_id).where(m.c.address == mailbox.key)
    ).one_or_none()
    if row is None:
        return None
    columns = {name: getattr(row, name) for name in Peer.__struct_fields__}
    return Peer(**columns | {"prefer_encrypt": PreferEncrypt(row.prefer_encrypt)})


def heard(
    connection: Connection, mailbox: Mailbox, effective_date: int, header: Header | None
) -> None:
    """Update the row after a message from `mailbox`; `header` is its one valid header."""
    old = read(connection, mailbox)
    if old is None and header is None:
        return  # a row that says no more than that there was mail recommends what none does
    peer = updated(old, effective_date, header)
    columns = msgspec.structs.asdict(peer) | {"prefer_encrypt": peer.prefer_encrypt.value}
    key = {"mailbox_id": ledger.mailbox_id_of(connection, mailbox)}
    upsert(connection, schema.autocrypt_peer, key, columns)


def view(connection: Connection, mailbox: Mailbox, now: float) -> AutocryptView | None:
    """Return what Autocrypt recommends for mail to `mailbox`; None: it never heard of it.

    For a sender without a preference of his own: who prefers `mutual` and meets it has ENCRYPT
    where this says AVAILABLE.
    """
    peer = read(connection, mailbox)
    if peer is None:
        return None
    recommendation = recommend(
        {mailbox.key: peer},
        PreferEncrypt.NOPREFERENCE,
        reply_to_encrypted=False,
        is_usable=lambda octets: _is_usable(connection, octets, now),
    )
    target = recommendation.target_keys.get(mailbox.key)
    return AutocryptView(
        recommendation=recommendation.ui,
        prefer_encrypt=peer.prefer_encrypt,
        fingerprint=fingerprint_of(target) if target else None,
    )


def fingerprint_of(octets: bytes) -> str | None:
    """Return the fingerprint of the certificate in `octets`, None if there is none."""
    try:
        return packets.fingerprint(packets.split(octets)[0])
    except (RejectedCertificate, IndexError):
        return None


def _is_usable(connection: Connection, octets: bytes, now: float) -> bool:
    # Only what passed vetting is stored; whose user ID it bears does not matter to Autocrypt.
    facts = store.facts_of(connection, fingerprint_of(octets) or "")
    return facts is not None and facts.refusal is None and bool(alive_subkeys(facts, now))
