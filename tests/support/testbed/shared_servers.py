"""PostgreSQL and a watched Redis, as an operator of several hosts runs them (docs/scaling.md)."""

from collections.abc import Sequence

from testbed.authority import Authority
from testbed.host import Host

_BY_TLS = """\
port 0
bind {address} 127.0.0.1
protected-mode no
tls-cert-file /etc/redis/server.pem
tls-key-file /etc/redis/server.key
tls-ca-cert-file /etc/redis/ca.pem
tls-auth-clients no
tls-replication yes
supervised systemd
logfile ""
dir /var/lib/redis
"""

_REDIS = (
    _BY_TLS
    + """\
tls-port 6379
save ""
repl-diskless-sync-delay 0
aclfile /etc/redis/users.acl
masterauth {password}
replica-announce-ip {name}
{replication}
"""
)

_SENTINEL = (
    _BY_TLS
    + """\
tls-port 26379
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip {name}
sentinel monitor letterlock {primary} 6379 2
sentinel auth-pass letterlock {password}
sentinel down-after-milliseconds letterlock 1500
sentinel failover-timeout letterlock 10000
"""
)

_INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y"


def start_postgresql(host: Host, authority: Authority, password: str) -> str:
    """Install it, make the database, and return where that is."""
    host.run(f"{_INSTALL} postgresql")
    directory = "/etc/postgresql/15/main"
    authority.certify(host, f"{directory}/server.pem", f"{directory}/server.key", "postgres:")
    settings = {
        "listen_addresses": "*",
        "ssl_cert_file": f"{directory}/server.pem",
        "ssl_key_file": f"{directory}/server.key",
    }
    lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    host.write(f"{directory}/conf.d/testbed.conf", lines)
    everybody = "hostssl letterlock letterlock samenet scram-sha-256\n"
    host.run(f"cat >>{directory}/pg_hba.conf", everybody)
    host.run("systemctl restart postgresql")
    statements = (
        f"CREATE ROLE letterlock LOGIN PASSWORD '{password}';\n"
        "CREATE DATABASE letterlock OWNER letterlock ENCODING 'UTF8' LOCALE 'C' "
        "TEMPLATE template0;\n"
    )
    host.run("cd / && runuser -u postgres -- psql -q -v ON_ERROR_STOP=1", statements)
    return f"postgresql://letterlock@{host.fqdn}/letterlock?sslrootcert=/etc/letterlock/ca.pem"


def start_redis(
    servers: Sequence[Host], watchers: Sequence[Host], authority: Authority, password: str
) -> str:
    """Start a server on each of `servers`, led by the first; return the Sentinels' part of a URL.

    The first one leads. Their default user has all rights, and `password`.
    """
    primary = servers[0]
    for host in {host.name: host for host in (*servers, *watchers)}.values():
        packages = "redis-server redis-sentinel" if host in servers else "redis-sentinel"
        host.run(f"{_INSTALL} {packages}")
        authority.certify(host, "/etc/redis/server.pem", "/etc/redis/server.key", "redis:")
        host.write("/etc/redis/ca.pem", authority.certificate)
        given = {
            "address": host.address,
            "name": host.fqdn,
            "password": password,
            "primary": primary.fqdn,
            "replication": "" if host is primary else f"replicaof {primary.fqdn} 6379",
        }
        host.write("/etc/redis/users.acl", f"user default on >{password} ~* &* +@all\n")
        host.run("chown redis: /etc/redis/users.acl")
        for program, template in (("server", _REDIS), ("sentinel", _SENTINEL)):
            if f"redis-{program}" in packages:
                file = {"server": "redis.conf", "sentinel": "sentinel.conf"}[program]
                host.write(f"/etc/redis/{file}", template.format(**given))
                # Each of them writes down what it learns.
                host.run(f"chown redis: /etc/redis/{file}; systemctl restart redis-{program}")
    return ",".join(f"{host.fqdn}:26379" for host in watchers) + "/letterlock"
