"""The private stack: Redis, key service, milter, Postfix and Dovecot on loopback, in one directory.

Nothing of the system is read or touched but the programs themselves: own configuration,
own queue, own ports. Several stacks run side by side.
"""

from stack.dovecot import PASSWORD
from stack.layout import Layout
from stack.owner import Owner
from stack.processes import NotReady, wait_until
from stack.smtp import Sent
from stack.stack import Stack

__all__ = ["PASSWORD", "Layout", "NotReady", "Owner", "Sent", "Stack", "wait_until"]
