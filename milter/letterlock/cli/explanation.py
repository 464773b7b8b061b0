"""The whole story of one address, as `letterlock explain` prints it."""

from collections.abc import Sequence

from keyservice.client import BoundCertificate, Explanation, Outcome, Outgoing, Subkey
from letterlock.cli.output import console, day, moment, print_table

STATES = {
    Outcome.FOUND: "in use",
    Outcome.NOT_FOUND: "none",
    Outcome.REJECTED: "must not be used",
    Outcome.OUTSIDE: "not ours",
    Outcome.UNAVAILABLE: "unknown",
}

_OUTGOING = {
    Outgoing.NEVER: "never",
    Outgoing.WHEN_KNOWN: "when a certificate is known",
    Outgoing.REQUIRED: "or refused",
}


def print_explanation(explanation: Explanation) -> None:
    """Say what is in use and why; then who said what, and what happened."""
    out = console()
    reason = f" ({explanation.reason})" if explanation.reason else ""
    out.print(f"{explanation.mailbox}: certificate {STATES[explanation.outcome]}{reason}")
    if not explanation.is_ours:
        out.print("A mailbox of somebody else: this is about mail to it.")
    if explanation.had_certificate:
        out.print("It has or had a certificate: never plaintext, whatever the domain says.")
    _print_sender(explanation)
    for decision in explanation.decisions:
        out.print(f"- {decision}.")
    _print_bindings(explanation.bindings)
    _print_autocrypt(explanation)
    _print_history(explanation)


def print_subkeys(subkeys: Sequence[Subkey]) -> None:
    """Print encryption subkeys, and why some are not used."""
    rows = [(s.fingerprint, day(s.not_after), s.refused or "encrypted to") for s in subkeys]
    print_table("Encryption subkeys", ("fingerprint", "until", "use"), rows)


def _print_bindings(bindings: Sequence[BoundCertificate]) -> None:
    rows = [
        (
            b.fingerprint,
            f"{b.state} until {day(b.until)}" if b.until else b.state,
            day(b.since),
            f"{b.level} ({b.source})",
            _use(b),
            day(b.not_after),
            day(b.vetted_at),
            b.refused,
        )
        for b in bindings
    ]
    bound = ("fingerprint", "state", "since", "level", "used", "ends", "vetted", "refused")
    print_table("Certificates", bound, rows)
    for binding in bindings:
        if binding.state == "active":
            print_subkeys(binding.subkeys)


def _print_sender(explanation: Explanation) -> None:
    if (sender := explanation.sender) is None:
        return
    policy = sender.policy
    known = f", from level {policy.outgoing_level:d} on" * (policy.outgoing is not Outgoing.NEVER)
    field = "no certificate for one" if sender.keydata is None else f"{len(sender.keydata)} octets"
    console().print(
        f"Mail from it: encrypted {_OUTGOING[policy.outgoing]}{known};"
        f" Autocrypt field {'on' if policy.autocrypt else 'off'} ({field});"
        f" client certificates of {', '.join(sender.issuers) or 'nobody'}."
    )


def _use(binding: BoundCertificate) -> str:
    done = [("encrypted to", binding.encrypted_to_at), ("proved", binding.possession_proved_at)]
    return ", ".join(what for what, at in done if at is not None) or "no"


def _print_autocrypt(explanation: Explanation) -> None:
    if (view := explanation.autocrypt) is None:
        return
    target = f" to {view.fingerprint}" if view.fingerprint else ""
    console().print(
        f"Autocrypt, by its own rules, says {view.recommendation.value}{target}"
        f" (prefer-encrypt={view.prefer_encrypt.value})."
    )


def _print_history(explanation: Explanation) -> None:
    asked = [(moment(i.at), i.source, i.result, i.detail, i.refused) for i in explanation.inquiries]
    print_table("Asked", ("at", "source", "answer", "detail", "refused"), asked)
    sightings = [
        (moment(s.at), s.source, str(s.level), "yes" if s.authenticated else "no", s.fingerprint)
        for s in explanation.evidence
    ]
    seen = ("seen", "source", "level", "authenticated", "fingerprint")
    print_table("Evidence", seen, sightings)
    events = [(moment(e.at), e.kind, e.fingerprint, e.reason, e.detail) for e in explanation.events]
    print_table("Events", ("at", "kind", "fingerprint", "reason", "detail"), events)
