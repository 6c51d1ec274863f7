"""Disposable Debian machines with systemd and SSH, for tests that need more than one machine.

A host is a systemd-nspawn container on an overlay of a cached root, in namespaces that the kernel
ends together with the process they were made for. It needs Linux, root or ``sudo -n``, and the
commands that a missing one's error names.
"""

from tests.support.hosts.base import HostsError
from tests.support.hosts.client import Host, Run, Spec, runs

__all__ = ["Host", "HostsError", "Run", "Spec", "runs"]
