"""Hosts with a real systemd on a bridge of this machine, for the roll-out to be tried on.

A host is a systemd-nspawn container over a tree that mmdebstrap makes of Debian's packages. It has
an address, a name and ssh, and no way out: neither a mail nor a question leaves this machine.
"""

from testbed.controller import Controller, Run
from testbed.host import Host
from testbed.mail_host import PASSWORD, MailHost
from testbed.network import Network
from testbed.tree import tree

__all__ = ["PASSWORD", "Controller", "Host", "MailHost", "Network", "Run", "tree"]
