"""Whether a resolver validates DNSSEC: by a zone in order, and by one whose signatures are wrong.

Two fields of the header of an answer are all that is looked at, so no library reads the rest.
"""

import secrets
import socket
import struct
import time

from letterlock.config import host_and_port
from letterlock.doctor.keyservice_file import Discovery
from letterlock.doctor.surroundings import Proof

_SECONDS = 5.0
_SOA, _IN, _OPT = 6, 1, 41
_RD, _AD, _RCODE = 0x0100, 0x0020, 0x000F
_DO = 0x00008000
_PAYLOAD_OCTETS = 1232
_NOERROR, _SERVFAIL = 0, 2


def prove(discovery: Discovery) -> Proof:
    """Ask the resolver about both zones."""
    address = host_and_port(discovery.resolver, "discovery.resolver")
    flags = _flags(address, discovery.signed_name)
    if flags is None or flags & _RCODE != _NOERROR:
        return Proof.SILENT
    if not flags & _AD:
        return Proof.NO_DNSSEC
    bogus = _flags(address, discovery.bogus_name)
    # No answer about the second is no proof against it: that zone is somebody else's.
    if bogus is not None and bogus & _RCODE == _NOERROR:
        return Proof.BELIEVES_ANYTHING
    return Proof.VALIDATES


def _flags(address: tuple[str, int], name: str) -> int | None:
    """Return the flags of the answer about the SOA record of `name`; None: there was none."""
    number = secrets.randbits(16)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    until = time.monotonic() + _SECONDS
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            sock.send(_question(number, name))
            while (left := until - time.monotonic()) > 0:
                sock.settimeout(left)
                answer = sock.recv(_PAYLOAD_OCTETS)
                if len(answer) >= 12 and answer[:2] == struct.pack("!H", number):
                    return int.from_bytes(answer[2:4], "big")
    except OSError:
        pass
    return None


def _question(number: int, name: str) -> bytes:
    # RFC 1035 §4.1; RFC 6891 §6.1.2 for OPT, RFC 3225 for its DO bit, RFC 6840 §5.7 for AD.
    header = struct.pack("!6H", number, _RD | _AD, 1, 0, 0, 1)
    labels = [label.encode("ascii") for label in name.strip(".").split(".") if label]
    owner = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    option = b"\0" + struct.pack("!HHIH", _OPT, _PAYLOAD_OCTETS, _DO, 0)
    return header + owner + struct.pack("!HH", _SOA, _IN) + option
