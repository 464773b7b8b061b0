"""Second opinion about a certification: PGPy, where it can read what it is given.

Its own reading of the packets and its own idea of what is hashed; times, revocations and
what a certification is worth are not asked of it. The only importer of PGPy, which knows
neither version 6 nor Ed25519 and Ed448 under their own algorithm IDs.
"""

import warnings

from keyservice.certification import Opinion
from keyservice.packets import Packet, framed

with warnings.catch_warnings():
    # It names ciphers and modules that are on their way out.
    warnings.simplefilter("ignore")
    import pgpy
    from pgpy.constants import PubKeyAlgorithm

_ALGORITHMS = frozenset(
    {
        PubKeyAlgorithm.RSAEncryptOrSign,
        PubKeyAlgorithm.RSASign,
        PubKeyAlgorithm.ECDSA,
        PubKeyAlgorithm.EdDSA,
    }
)


def second_opinion(
    issuer: Packet, certified: Packet, user_id: Packet, signature: Packet
) -> Opinion:
    """Return what PGPy says of the question that `certification_opinion` answers."""
    try:
        return _opinion(issuer, certified, user_id, signature)
    except Exception:  # noqa: BLE001 (its parser raises whatever it stumbles over: no opinion)
        return Opinion.SILENT


def _opinion(issuer: Packet, certified: Packet, user_id: Packet, signature: Packet) -> Opinion:
    # Only what is asked about, whatever else there is in the certificates.
    old, _ = pgpy.PGPKey.from_blob(framed(issuer))
    new, _ = pgpy.PGPKey.from_blob(b"".join(map(framed, (certified, user_id, signature))))
    (name,) = new.userids
    (made,) = name.__sig__
    if old.key_algorithm not in _ALGORITHMS or made.key_algorithm is not old.key_algorithm:
        return Opinion.SILENT
    # It writes some subpackets differently from how it read them, Boolean ones for example,
    # and hashes what it would write.
    if not bytes(made).endswith(signature.body):
        return Opinion.SILENT
    # Not `PGPKey.verify`: it answers "expired" instead, and looks for subkeys.
    algorithm = getattr(pgpy.pgp.hashes, made.hash_algorithm.name)()
    verified = old._key.verify(made.hashdata(name), made.__sig__, algorithm)
    if verified is NotImplemented:
        return Opinion.SILENT
    return Opinion.HOLDS if verified else Opinion.FAILS
