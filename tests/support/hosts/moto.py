"""An AWS without AWS: a server of moto, asked as AWS is asked. boto3 is not needed here.

moto invents public addresses, which belong to strangers. Tests take an instance's address from its
tag ``address``, which holds a disposable host's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.support import CHECKOUT
from tests.support.waiting import wait_until

PROGRAMS = CHECKOUT / ".venv/aws/bin"
VERSIONS = {"ec2": "2016-11-15", "iam": "2010-05-08"}
START_SECONDS = 30.0
# Of this machine, where nobody listens.
NOWHERE = "127.0.0.9"
# What a machine of Amazon's says of itself.
AMAZON = """
mount -t tmpfs dmi /sys/devices/virtual && mkdir -p /sys/devices/virtual/dmi/id
echo "Amazon EC2" > /sys/devices/virtual/dmi/id/sys_vendor
"""
IMAGE = "ami-0debian130000000"
# What launch looks for; moto keeps no volume's encryption or size in an image.
IMAGES = [
    {
        "ami_id": ami,
        "name": f"debian-13-amd64-{date}",
        "description": "Debian 13",
        "owner_id": "136693071363",
        "public": True,
        "virtualization_type": "hvm",
        "architecture": "x86_64",
        "state": "available",
        "platform": None,
        "image_type": "machine",
        "hypervisor": "xen",
        "root_device_name": "/dev/xvda",
        "root_device_type": "ebs",
        "sriov": "simple",
        "creation_date": f"{date[:4]}-{date[4:6]}-{date[6:8]}T00:00:00.000Z",
    }
    for ami, date in ((IMAGE, "20261101-2300"), ("ami-0debian130000009", "20260101-2000"))
]

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def serve(directory: Path) -> Iterator[Aws]:
    """An AWS that lives as long as the ``with`` block."""
    images = directory / "images.json"
    images.write_text(json.dumps(IMAGES))
    log = directory / "moto.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [PROGRAMS / "moto_server", "--port", "0"],
            env=os.environ | {"MOTO_AMIS_PATH": str(images), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        at = re.compile(r"http://127\.0\.0\.1:\d+")
        wait_until(lambda: at.search(log.read_text()) or child.poll() is not None, START_SECONDS)
        found = at.search(log.read_text())
        if not found:
            raise RuntimeError(f"moto's server did not start:\n{log.read_text()}")
        yield Aws(found[0])
    finally:
        child.terminate()
        child.wait()


class Aws:
    """An AWS, as its account sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Not so short that Ansible, which hides them in what it prints, hides letters.
        self.credentials = {
            "AWS_ACCESS_KEY_ID": "AKIAEVERYTHINGALLOWED",
            "AWS_SECRET_ACCESS_KEY": "not-checked-by-moto",
        }

    def environment(self) -> dict[str, str]:
        """What tells boto3 of this AWS and of nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-east-1",
            **self.credentials,
        }

    def ask(
        self, action: str, *, service: str = "ec2", region: str = "us-east-1", **given: str
    ) -> ElementTree.Element:
        """Ask for an action, with parameters as the query API writes them ("." as "__")."""
        fields = {"Action": action, "Version": VERSIONS[service]}
        fields |= {name.replace("__", "."): value for name, value in given.items()}
        scope = f"AKIAEVERYTHINGALLOWED/20260101/{region}/{service}/aws4_request"
        told = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}"}
        request = urllib.request.Request(self.url, urlencode(fields).encode(), told)
        with _opener.open(request, timeout=30) as reply:
            text = reply.read().decode()
        # Namespaces differ by service and help nobody here.
        return ElementTree.fromstring(re.sub(r' xmlns="[^"]+"', "", text))

    def launch(
        self, name: str, *, region: str = "us-east-1", address: str = NOWHERE, **tags: str
    ) -> str:
        """Start an instance that a test needs; its id."""
        tags |= {"Name": name, "address": address}
        fields = {"ImageId": IMAGE, "MinCount": "1", "MaxCount": "1"}
        fields["TagSpecification__1__ResourceType"] = "instance"
        for number, (key, value) in enumerate(tags.items(), 1):
            fields[f"TagSpecification__1__Tag__{number}__Key"] = key
            fields[f"TagSpecification__1__Tag__{number}__Value"] = value
        return text(self.ask("RunInstances", region=region, **fields), ".//instanceId")

    def stop(self, instance: str) -> None:
        """Stop an instance, as the console does."""
        self.ask("StopInstances", InstanceId__1=instance)

    def on_shutdown(self, instance: str, behavior: str) -> None:
        """Have a shutdown from within "stop" an instance, or "terminate" it."""
        attribute = {"Attribute": "instanceInitiatedShutdownBehavior", "Value": behavior}
        self.ask("ModifyInstanceAttribute", InstanceId=instance, **attribute)

    def tag(self, instance: str, key: str, value: str) -> None:
        """Have a tag of an instance say something else."""
        self.ask("CreateTags", ResourceId__1=instance, Tag__1__Key=key, Tag__1__Value=value)

    def instance(self, instance: str) -> ElementTree.Element:
        """All that AWS says of an instance."""
        return self.ask("DescribeInstances", InstanceId__1=instance)

    def state(self, instance: str) -> str:
        """What an instance does."""
        return text(self.instance(instance), ".//instanceState/name")

    def kind(self, instance: str) -> str:
        """Of which type an instance is."""
        return text(self.instance(instance), ".//instanceType")

    def permit(self, policy: dict[str, object]) -> None:
        """Make an account that may do no more than the policy says; ``ask`` has to be over by then.

        moto holds it to its actions and resources, and knows no conditions.
        """
        self.ask("CreateUser", service="iam", UserName="me")
        self.ask(
            "PutUserPolicy",
            service="iam",
            UserName="me",
            PolicyName="notebook",
            PolicyDocument=json.dumps(policy),
        )
        key = self.ask("CreateAccessKey", service="iam", UserName="me")
        self.credentials = {
            "AWS_ACCESS_KEY_ID": text(key, ".//AccessKeyId"),
            "AWS_SECRET_ACCESS_KEY": text(key, ".//SecretAccessKey"),
        }
        self.check(True)

    def check(self, checked: bool) -> None:
        """Whether permissions count from now on."""
        free = b"0" if checked else b"inf"
        told = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", free, told)
        _opener.open(request, timeout=30).close()

    @contextmanager
    def followed(
        self, instance: str, started: Callable[[], None], stopped: Callable[[], None]
    ) -> Iterator[None]:
        """Have something done each time the instance runs, or does so no longer."""
        ended = threading.Event()
        failed: list[Exception] = []

        def follow() -> None:
            on = True
            try:
                while not ended.wait(0.5):
                    runs = self.state(instance) == "running"
                    if runs != on:
                        (started if runs else stopped)()
                        on = runs
            except Exception as exc:
                failed.append(exc)

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert not failed, failed


def text(answer: ElementTree.Element, path: str) -> str:
    """The text of the one element there."""
    (found,) = answer.findall(path)
    return found.text or ""
