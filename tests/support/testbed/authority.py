"""An authority that vouches for servers on testbed hosts."""

import authority
from testbed.host import Host


class Authority(authority.Authority):
    """Made anew for each test run."""

    def certify(self, host: Host, certificate: str, key: str, owner: str) -> None:
        """Write a certificate for `host` and its private key into files there, for `owner`."""
        identity = self.identity([host.fqdn, host.address])
        host.write(certificate, identity.certificate)
        host.write(key, identity.key, mode="600")
        host.run(f"chown {owner} {certificate} {key}")
