"""Autocrypt Level 1's table of peers, and what it recommends from it. Pure.

This is the specification's own opinion, kept beside ours: what it names as target is a
candidate like any other, and `replacement` decides what is encrypted to.
Times are whole seconds since 1970 (UTC) and passed in.
"""

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

from keyservice.autocrypt import Header, PreferEncrypt

OUTDATED_SECONDS = 35 * 86_400
"""Level 1, "Preliminary Recommendation": silence of an Autocrypt client beside other mail."""


_MUTUAL = PreferEncrypt.MUTUAL


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One row, named as in Level 1, "Communication Peers"."""

    last_seen: int | None = None
    autocrypt_timestamp: int | None = None
    public_key: bytes | None = None
    prefer_encrypt: PreferEncrypt = PreferEncrypt.NOPREFERENCE
    gossip_timestamp: int | None = None
    gossip_key: bytes | None = None


class UIRecommendation(Enum):
    """`ui-recommendation`; what a client offers to the person who writes."""

    DISABLE = "disable"
    DISCOURAGE = "discourage"
    AVAILABLE = "available"
    ENCRYPT = "encrypt"


class Recommendation(msgspec.Struct, frozen=True):
    """For one message to all of its recipients."""

    ui: UIRecommendation
    target_keys: dict[str, bytes]
    """Certificate by recipient; those to whom nothing can be encrypted are missing."""


def updated(peer: Peer | None, effective_date: int, header: Header | None) -> Peer:
    """Return the row after a message from the peer; `header` is its one valid header, if any.

    The steps are those of Level 1, "Updating Autocrypt Peer State".
    """
    peer = peer or Peer()
    if peer.autocrypt_timestamp is not None and effective_date < peer.autocrypt_timestamp:  # 1
        return peer
    if peer.last_seen is None or effective_date > peer.last_seen:  # 2
        peer = msgspec.structs.replace(peer, last_seen=effective_date)
    if header is None:  # 3
        return peer
    return msgspec.structs.replace(
        peer,
        autocrypt_timestamp=effective_date,  # 4
        public_key=header.keydata,  # 5
        prefer_encrypt=header.prefer_encrypt,  # 6
    )


def gossiped(peer: Peer | None, effective_date: int, header: Header) -> Peer:
    """Return the row of the peer whom `header`, valid gossip of somebody else, is about.

    The steps are those of Level 1, "Updating Autocrypt Peer State from Key Gossip"; the
    first is `autocrypt.gossiped_to`.
    """
    peer = peer or Peer()
    if peer.gossip_timestamp is not None and peer.gossip_timestamp > effective_date:  # 2
        return peer
    return msgspec.structs.replace(
        peer,
        gossip_timestamp=effective_date,  # 3
        gossip_key=header.keydata,  # 4
    )


def recommend(
    recipients: Mapping[str, Peer | None],
    own_preference: PreferEncrypt,
    *,
    reply_to_encrypted: bool,
    is_usable: Callable[[bytes], bool],
) -> Recommendation:
    """Return the recommendation for a message; `recipients` are rows by `Mailbox.key`.

    `is_usable` says whether a certificate can be encrypted to now: one that is revoked,
    expired or broken counts as absent. To nobody at all nothing can be encrypted.
    """
    opinions = []
    target_keys = {}
    for mailbox, peer in recipients.items():
        target, preliminary = _preliminary(peer, is_usable)
        if target is not None:
            target_keys[mailbox] = target
        is_mutual = peer is not None and own_preference is peer.prefer_encrypt is _MUTUAL
        opinions.append(_final(preliminary, reply_to_encrypted, is_mutual))
    return Recommendation(_together(opinions), target_keys)


def _preliminary(
    peer: Peer | None, is_usable: Callable[[bytes], bool]
) -> tuple[bytes | None, UIRecommendation]:
    if peer is None:
        return None, UIRecommendation.DISABLE
    if peer.public_key is not None and is_usable(peer.public_key):
        return peer.public_key, _by_age(peer)
    if peer.gossip_key is not None and is_usable(peer.gossip_key):
        return peer.gossip_key, UIRecommendation.DISCOURAGE
    return None, UIRecommendation.DISABLE


def _by_age(peer: Peer) -> UIRecommendation:
    silent = (peer.last_seen or 0) - (peer.autocrypt_timestamp or 0)
    return UIRecommendation.DISCOURAGE if silent > OUTDATED_SECONDS else UIRecommendation.AVAILABLE


def _final(
    preliminary: UIRecommendation, reply_to_encrypted: bool, is_mutual: bool
) -> UIRecommendation:
    if preliminary is UIRecommendation.DISABLE:
        return preliminary
    if reply_to_encrypted or (preliminary is UIRecommendation.AVAILABLE and is_mutual):
        return UIRecommendation.ENCRYPT
    return preliminary


def _together(opinions: list[UIRecommendation]) -> UIRecommendation:
    if not opinions or UIRecommendation.DISABLE in opinions:
        return UIRecommendation.DISABLE
    if set(opinions) == {UIRecommendation.ENCRYPT}:
        return UIRecommendation.ENCRYPT
    if UIRecommendation.DISCOURAGE in opinions:
        return UIRecommendation.DISCOURAGE
    return UIRecommendation.AVAILABLE
