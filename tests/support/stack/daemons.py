"""The two daemons of the project, configured for one stack."""

import json
import secrets
import sys
from collections.abc import Mapping

from stack import postfix, redis_server, submission
from stack.layout import Layout
from stack.processes import Session, greets, spawn, wait_for

_MILTER = """\
socket = "unix:{socket}"
socket_group = "postfix"
workers = {workers}
metrics = "127.0.0.1:{metrics}"
authserv_id = "{authserv_id}"

[postfix]
config_directory = "{postfix}/etc"
reentry = "127.0.0.1:{reentry}"

[keyservice]
socket = "{keyservice}"
deadline_seconds = {deadline}
stale_seconds = {stale}

[redis]
url = "{redis}"
secret_file = "{secret}"

[spill]
directory = "{spill}"
"""

_KEYSERVICE = """\
socket = "{socket}"
metrics = "127.0.0.1:{metrics}"
database = "{database}"

[redis]
url = "{redis}"
secret_file = "{secret}"

[discovery]
methods = []
"""


def keyservice_socket(layout: Layout) -> str:
    """Where the key service listens."""
    return str(layout.run / "keyservice.sock")


def milter_socket(layout: Layout) -> str:
    """Where the milter listens: inside the queue directory, as Postfix expects it."""
    return str(layout.queue / postfix.MILTER_SOCKET)


def write_milter_config(
    layout: Layout,
    *,
    hostname: str,
    workers: int,
    deadline_seconds: float,
    stale_seconds: int,
    authentication: Mapping[str, object] | None,
    has_submission: bool,
) -> None:
    """Write `letterlock.toml`.

    `authentication`: settings of that section; None: incoming mail is not authenticated, and
    no DNS is asked.
    """
    (layout.state / "spill").mkdir(exist_ok=True)
    text = _MILTER.format(
        socket=milter_socket(layout),
        workers=workers,
        metrics=layout.ports["milter_metrics"],
        authserv_id=hostname,
        postfix=layout.postfix,
        reentry=layout.ports["reentry"],
        keyservice=keyservice_socket(layout),
        deadline=deadline_seconds,
        stale=stale_seconds,
        redis=redis_server.url(layout),
        secret=secret_file(layout),
        spill=layout.state / "spill",
    )
    text += section("authentication", authentication or {"enabled": False})
    if has_submission:
        text += section("submission", submission.milter_settings(layout))
    (layout.config / "letterlock.toml").write_text(text)


def section(name: str, settings: Mapping[str, object]) -> str:
    """Return a table of TOML. Strings, numbers and lists are written in it as in JSON."""
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    return f"\n[{name}]\n" + "".join(lines)


def secret_file(layout: Layout) -> str:
    """Return the file with the secret that both daemons share; made on first use."""
    file = layout.state / "cache.key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32) + "\n")
    return str(file)


def start_milter(layout: Layout, environment: Mapping[str, str]) -> Session:
    """Start it and return when it accepts connections."""
    log = layout.logs / "milter.log"
    config = str(layout.config / "letterlock.toml")
    command = [sys.executable, "-m", "letterlock", "--config", config]
    session = spawn("milter", command, log, layout.ledger, environment)
    wait_for(session, lambda: greets(milter_socket(layout)), log)
    return session


def start_keyservice(layout: Layout, environment: Mapping[str, str]) -> Session:
    """Start it and return when it accepts connections."""
    log = layout.logs / "keyservice.log"
    config = str(layout.config / "keyservice.toml")
    command = [sys.executable, "-m", "keyservice", "--config", config]
    session = spawn("keyservice", command, log, layout.ledger, environment)
    wait_for(session, lambda: greets(keyservice_socket(layout)), log)
    return session


def write_keyservice_config(
    layout: Layout,
    domains: Mapping[str, Mapping[str, object]],
    *,
    notices: bool = False,
    has_submission: bool = False,
) -> None:
    """Write `keyservice.toml`; `domains` as in its `[domains]` tables."""
    text = _KEYSERVICE.format(
        socket=keyservice_socket(layout),
        metrics=layout.ports["keyservice_metrics"],
        database=layout.state / "keyservice.sqlite",
        redis=redis_server.url(layout),
        secret=secret_file(layout),
    )
    if notices:
        text += section("notices", {"smtp": "{}:{}".format(*layout.address("smtp"))})
    if has_submission:
        for name, settings in submission.keyservice_settings(layout).items():
            text += section(name, settings)
    for domain, settings in domains.items():
        text += section(f'domains."{domain}"', settings)
    (layout.config / "keyservice.toml").write_text(text)
