"""Disposable hosts on the command line: ``python -m tests.support.hosts VERB``, such as ``up``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.support.hosts.base import HostsError
from tests.support.hosts.client import Run, Spec, runs


def up(args: argparse.Namespace) -> None:
    """Add hosts to a run, which is started if there is none of that name."""
    run = Run(args.run, owner=args.owner)
    new = all(row["name"] != args.run for row in runs())
    specs = []
    for word in args.host:
        name, _, release = word.partition(":")
        specs.append(
            Spec(
                name,
                release or "bookworm",
                [package for package in args.packages.split(",") if package],
                args.memory,
                args.cpus,
                args.cache,
            )
        )
    try:
        if new:
            run.start()
        else:
            run.attach()
        for host in run.up_all(specs):
            print(host.name, host.address)
    except BaseException:
        if new:
            run.end()
        raise


def down(args: argparse.Namespace) -> None:
    """End a run."""
    Run(args.run).end()


def show(args: argparse.Namespace) -> None:
    """Print the runs that live, with their hosts."""
    found = runs()
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for row in found:
        owner = f"owner {row['owner']}" if row["owner"] else "no owner"
        print(f"{row['name']}: gateway {row['gateway']}, {owner}")
        for host in row["hosts"]:
            print(f"  {host['name']} {host['address']} {host['release']}")


def inventory(args: argparse.Namespace) -> None:
    """Print an Ansible inventory of a run."""
    print(json.dumps(Run(args.run).attach().inventory(), indent=2))


def ssh(args: argparse.Namespace) -> None:
    """Print the ssh command for an account of a host."""
    user, _, name = args.host.rpartition("@")
    for host in Run(args.run).attach().hosts:
        if host.name == name:
            print(" ".join(host.ssh(user or "dev")))
            return
    raise HostsError(f"run {args.run} has no host {name}")


def main() -> int:
    """Do what the command line says and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.hosts", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("up", help="boot hosts, in a new run or in one that lives")
    verb.set_defaults(do=up)
    verb.add_argument("run")
    verb.add_argument("host", nargs="+", metavar="NAME[:RELEASE]")
    verb.add_argument("--packages", default="", help="Debian packages, separated by commas")
    verb.add_argument("--memory", help="limit per host, such as 512M")
    verb.add_argument("--cpus", type=float, help="limit per host, such as 0.5")
    verb.add_argument("--cache", type=Path, help="directory to be seen at /var/cache/uv")
    verb.add_argument("--owner", type=int, metavar="PID", help="end a new run with this process")

    verb = verbs.add_parser("down", help="end a run")
    verb.set_defaults(do=down)
    verb.add_argument("run")

    verb = verbs.add_parser("list", help="show the runs that live")
    verb.set_defaults(do=show)
    verb.add_argument("--json", action="store_true")

    verb = verbs.add_parser("inventory", help="print an Ansible inventory of a run, as JSON")
    verb.set_defaults(do=inventory)
    verb.add_argument("run")

    verb = verbs.add_parser("ssh", help="print the ssh command for a host")
    verb.set_defaults(do=ssh)
    verb.add_argument("run")
    verb.add_argument("host", metavar="[USER@]NAME")

    args = parser.parse_args()
    try:
        args.do(args)
    except HostsError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
