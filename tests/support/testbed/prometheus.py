"""The Prometheus of a host."""

import json
import urllib.parse

from testbed.host import Host


def metric(host: Host, query: str) -> float:
    """Return what it answers: the first number, or 0."""
    where = "http://127.0.0.1:9090/api/v1/query?query=" + urllib.parse.quote(query)
    script = f"import urllib.request as u; print(u.urlopen({where!r}).read().decode())"
    result = json.loads(host.run("python3 -", script))["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0
