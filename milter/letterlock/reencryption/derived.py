"""What programs have derived from plaintext and keep beside it in a Maildir."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from letterlock.reencryption.store import StoreFailed
from letterlock.reencryption.uidlist import UIDLIST

_LOG = "dovecot.index.log"
_CACHE = "dovecot.index.cache"
"""Header fields, sizes, structure and the first words of messages; built anew when missed."""

_QUOTA = "maildirsize"
"""The sum of all sizes (Maildir++); calculated anew when missed."""

_SEARCH = (
    "fts-flatcurve",
    "xapian-indexes",
    "lucene-indexes",
    "dovecot.index.search",
    "dovecot.index.search.uids",
)
"""Where plugins of Dovecot's keep the words of messages."""


def is_dovecots(folders: Iterable[Path]) -> bool:
    """Whether Dovecot keeps its files in these folders.

    Raises StoreFailed if it keeps some elsewhere: nobody could forget what they hold.
    """
    found = list(folders)
    has_list = any((path / UIDLIST).exists() for path in found)
    has_log = any((path / _LOG).exists() for path in found)
    if has_list != has_log:
        there, missed = (UIDLIST, _LOG) if has_list else (_LOG, UIDLIST)
        raise StoreFailed(
            f"{there} is here, but no {missed}: Dovecot keeps it elsewhere (CONTROL= or INDEX= in"
            " mail_location); go by IMAP"
        )
    return has_list


def forget(folder: Path) -> None:
    """Remove what describes messages that are not there any more."""
    for name in (_CACHE, _QUOTA):
        (folder / name).unlink(missing_ok=True)


def left_to_do(root: Path, *, is_dovecots: bool) -> Iterator[str]:
    """Yield in words what nobody but the operator can do in a Maildir."""
    for path in root.rglob("*"):
        if path.name in _SEARCH:
            yield f"{path} holds words of the mail: remove it"
    if is_dovecots:
        yield "If Dovecot counts quotas: doveadm quota recalc -u USER"
    else:
        yield (
            f"{root} has no files of Dovecot's. If Dovecot serves it all the same, its indexes are"
            " elsewhere, and in them header fields in plaintext: remove each dovecot.index.cache"
        )
