"""The two roles of the milter: each has a socket and worker processes of its own."""

from enum import Enum

from letterlock.config import Config


class Role(Enum):
    """Whose mail it is; also the name of an inherited socket (sd_listen_fds(3))."""

    INBOUND = "inbound"
    """From outside, for mailboxes of ours."""

    SUBMISSION = "submission"
    """From our own users, for whomever."""

    def socket(self, config: Config) -> str:
        """Return where it is reached; empty: it is not taken."""
        return config.socket if self is Role.INBOUND else config.submission.socket

    def workers(self, config: Config) -> int:
        """Return how many processes it has."""
        return config.workers if self is Role.INBOUND else config.submission.workers

    @classmethod
    def taken(cls, config: Config) -> list["Role"]:
        """Return those that `config` wants."""
        return [role for role in cls if role.socket(config)]
