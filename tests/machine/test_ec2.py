"""Hosts that are EC2 instances: found, woken, put to sleep, launched and terminated."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import CHECKOUT, PASSWORD
from tests.support.edge.client import Edge, fetch
from tests.support.hosts import Host, Run, ready
from tests.support.hosts.controller import RECONNECT, SETUP, environment
from tests.support.hosts.moto import AMAZON, IMAGE, NOWHERE, PROGRAMS, Aws, serve, text
from tests.support.hosts.world import CACHE, equip, inventory
from tests.support.plays import Play, errors, refused, run
from tests.support.visitors import Visitor

SLEEP = "anywhere.notebook.sleep"
LAUNCH = "anywhere.notebook.launch"
TERMINATE = "anywhere.notebook.terminate"
FILES = CHECKOUT / "roles/ec2/files"
POLICY = FILES / "policy.json"
README = CHECKOUT / "roles/ec2/README.md"
# What Systems Manager is to ssh: a way to the instance's own port 22.
SYSTEMS_MANAGER = """\
#!/bin/sh
[ "$1 $2 $3 $4" = "ssm start-session --target {instance}" ] || exit 1
[ "$5 $6 $7 $8" = "--document-name AWS-StartSSHSession --parameters portNumber=22" ] || exit 1
exec {ssh} -W localhost:22
"""
# What the policy allows, and what takes it.
NEEDED = {
    "ec2:DescribeInstances": RECONNECT,
    "ec2:DescribeInstanceAttribute": "shutdown.yml",
    "ec2:StartInstances": RECONNECT,
    "ec2:StopInstances": SLEEP,
}
STARTED = "ec2:StartInstances"
# The environment of the tests, which has no boto3.
HERE = Path(sys.executable).parent
# A play of somebody's own.
OWN = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: anywhere.notebook.ec2
        tasks_from: {}
"""


class Person:
    """Somebody with a home, an AWS, and no inventory."""

    def __init__(self, home: Path, aws: Aws) -> None:
        self.home = home
        self.aws = aws
        self.programs = PROGRAMS
        self.collections = CHECKOUT / ".venv/collections"
        for part in ("launch", "shutdown"):
            (home / f"{part}.yml").write_text(OWN.format(part))
        # What the names of variables contain that are to be missing.
        self.without = "-"
        self.ssh: list[str] = []
        self.variables: dict[str, Any] = {"ec2_address_from": "tag:address", "ec2_timeout": 60}

    def join(self, run: Run, edge: Edge) -> None:
        """Have what it takes to log in to the run's hosts, and their keys in this home."""
        told = inventory(run, edge, [], self.home)["all"]["vars"]
        # As an option of the command, because a variable of it would outrank the role's.
        options = told.pop("ansible_ssh_common_args").replace(
            "/dev/null", str(self.home / "known_hosts")
        )
        self.ssh = ["--ssh-common-args", options.replace("-oStrictHostKeyChecking=no ", "")]
        # The instance says the one, and the other would hold for this computer as well.
        del told["ansible_user"], told["ansible_python_interpreter"]
        self.variables |= told | ready.VARIABLES

    def hosts(self, **hosts: dict[str, Any]) -> list[str]:
        """Flags for an inventory with these hosts, which have these variables."""
        file = self.home / "inventory.json"
        file.write_text(json.dumps({"all": {"hosts": hosts}}))
        return ["-i", str(file)]

    def environment(self) -> dict[str, str]:
        """This computer's, with the person's AWS and no other."""
        return environment(self.home) | {
            "PATH": f"{self.home}/bin:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            **self.aws.environment(),
        }

    def play(self, playbook: str, *flags: str, **more: object) -> Play:
        """Run a playbook, with the person's variables and the ones given."""
        file = self.home / "variables.json"
        file.write_text(json.dumps(self.variables | more))
        command = [self.programs / "ansible-playbook", playbook, "-e", f"@{file}", *flags]
        told = {
            name: value for name, value in self.environment().items() if self.without not in name
        }
        return run([*map(str, command)], cwd=self.home, env=told)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Aws]:
    with serve(tmp_path) as running:
        yield running


@pytest.fixture
def person(tmp_path: Path, aws: Aws) -> Person:
    home = tmp_path / "home"
    home.mkdir()
    return Person(home, aws)


@pytest.fixture
def box(network: tuple[Run, Edge], person: Person, aws: Aws) -> tuple[Host, str]:
    """A host with a notebook that is a running instance, and its id; the person may log in."""
    run, edge = network
    (host,) = run.up_all([ready.spec("box")])
    ready.wait(edge)
    person.join(run, edge)
    return host, aws.launch("box", address=host.address, notebook="true", notebook_user="dev")


def test_an_instance_is_woken_put_to_sleep_and_woken_again(
    box: tuple[Host, str], person: Person, aws: Aws
) -> None:
    host, instance = box
    known = person.home / "known_hosts"
    aws.stop(instance)
    # The host keeps its address, which may be written in another way (inet_aton(3)).
    first, second, third, fourth = host.address.split(".")
    other_address = f"{first}.{second}.{int(third) * 256 + int(fourth)}"
    with aws.followed(instance, host.on, host.off):
        wake = person.play(RECONNECT, *person.ssh, ec2_instance="box")
        assert wake.status == 0, wake.output
        assert json.loads(fetch(wake.url, "/api").body)["version"]
        assert f"dev@{host.address}" in wake.card("Jupyter log")
        key = known.read_text()
        assert {line.split()[0] for line in key.splitlines()} == {instance}

        visitor = Visitor(wake.url)
        visitor.log_in(PASSWORD)
        kernel = visitor.kernel()
        with visitor.computing(kernel):
            busy = person.play(SLEEP, *person.ssh, ec2_instance="box")
        assert f"box ({instance}) was not stopped: a cell still runs" in refused(busy)
        visitor.end_kernels()
        sleep = person.play(SLEEP, *person.ssh, ec2_instance="box")
        assert (sleep.status, sleep.changed) == (0, 1), sleep.output
        assert aws.state(instance) == "stopped"
        again = person.play(SLEEP, ec2_instance="box")
        assert (again.status, again.changed) == (0, 0), again.output

        # As with each start.
        aws.tag(instance, "address", other_address)
        reconnect = person.play(RECONNECT, *person.ssh, ec2_instance=instance, ec2_type="t3.large")
        assert reconnect.status == 0, reconnect.output
        assert aws.kind(instance) == "t3.large"
        assert f"dev@{other_address}" in reconnect.card("Jupyter log")
        assert json.loads(fetch(reconnect.url, "/api").body)["version"]
        assert known.read_text() == key


def test_an_instance_is_reached_through_systems_manager_and_known_by_its_key(
    box: tuple[Host, str], person: Person
) -> None:
    host, instance = box
    told = re.findall(r"```yaml\n(ec2_address_from: .*?)```", README.read_text(), re.DOTALL)
    variables = {"ec2_instance": "box"} | yaml.safe_load(told[0])
    variables["ansible_ssh_common_args"] += f" {person.ssh[1]}"
    relay = shlex.join(host.ssh())
    program = person.home / "bin/aws"
    program.parent.mkdir()
    program.write_text(SYSTEMS_MANAGER.format(instance=instance, ssh=relay))
    program.chmod(0o755)
    del person.variables["ec2_address_from"]

    through = person.play(RECONNECT, *person.hosts(box=variables))

    assert through.status == 0, through.output
    assert f"dev@{instance}" in through.card("Jupyter log")

    # Another machine, or another disk, has another key.
    host.run("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")
    person.variables["ec2_address_from"] = "tag:address"
    other = person.play(RECONNECT, *person.ssh, ec2_instance=instance)
    assert "does not have the host key that" in refused(other)


@pytest.mark.acceptance
def test_setup_wakes_an_instance_and_leaves_reconnect_nothing_to_do(
    network: tuple[Run, Edge], person: Person, aws: Aws
) -> None:
    run, edge = network
    host = run.up("box", "trixie", packages=ready.PACKAGES, cache=CACHE)
    equip(host, run, edge)
    instance = aws.launch("box", address=host.address, notebook="true", notebook_user="dev")
    person.join(run, edge)
    aws.stop(instance)
    with aws.followed(instance, host.on, host.off):
        setup = person.play(SETUP, *person.ssh, ec2_instance="box")
        again = person.play(RECONNECT, *person.ssh, ec2_instance="box")
        host.run(AMAZON)
        aws.on_shutdown(instance, "terminate")
        idle = person.play(SETUP, *person.ssh, ec2_instance="box", notebook_idle_minutes=600)

    assert setup.status == 0, setup.output
    assert json.loads(fetch(setup.url, "/api").body)["version"]
    assert f"dev@{host.address}" in setup.card("Jupyter log")
    assert (again.status, again.changed) == (0, 0), again.output
    assert "is terminated when its system shuts down" in refused(idle)


def test_who_names_no_instance_neither_needs_nor_sees_anything_of_aws(person: Person) -> None:
    collections = person.home / "collections"
    ours = collections / "ansible_collections/anywhere/notebook"
    ours.parent.mkdir(parents=True)
    ours.symlink_to(CHECKOUT)
    person.collections = collections
    person.programs = HERE
    person.variables = {"ngrok_authtoken": "any"}

    for playbook in (SETUP, RECONNECT):
        play = person.play(playbook, "-i", f"{NOWHERE},")

        assert f"fatal: [{NOWHERE}]: UNREACHABLE!" in play.output
        assert "localhost" not in play.output
        assert "WARNING" not in play.output


def test_an_instance_that_cannot_be_had_is_told_for_each_host(person: Person, aws: Aws) -> None:
    twins = [aws.launch("twin"), aws.launch("twin")]
    restless = aws.launch("restless")
    aws.stop(restless)
    person.without = "REGION"
    here = {"ec2_region": "us-east-1"}
    report = person.home / "report.json"

    with aws.followed(restless, lambda: aws.stop(restless), lambda: None):
        person.play(
            RECONNECT,
            *person.hosts(
                missing=here | {"ec2_instance": "box"},
                twin=here | {"ec2_instance": "twin"},
                nowhere={"ec2_instance": "box"},
                restless=here | {"ec2_instance": "restless"},
            ),
            notebook_report=str(report),
        )

    said = {row["host"]: row["error"] for row in json.loads(report.read_text())}
    assert "There is no EC2 instance box in the region us-east-1" in said["missing"]
    assert "2 EC2 instances" in said["twin"]
    assert [each in said["twin"] for each in twins] == [True, True]
    assert "Set ec2_region or AWS_REGION." in said["nowhere"]
    assert "did not run within 60 s: it is stop" in said["restless"]


def test_no_credentials(person: Person) -> None:
    person.without = "_KEY"

    sentence = refused(person.play(RECONNECT, ec2_instance="box"))

    assert "There are no AWS credentials." in sentence
    assert "AWS_PROFILE" in sentence


def test_credentials_that_aws_does_not_know(person: Person, aws: Aws) -> None:
    aws.check(True)

    sentence = refused(person.play(RECONNECT, ec2_instance="box"))

    assert "AWS does not know these credentials." in sentence
    assert aws.credentials["AWS_SECRET_ACCESS_KEY"] not in sentence


@pytest.mark.parametrize(
    ("action", "playbook"),
    [
        pytest.param(*needed, marks=() if needed[0] == STARTED else pytest.mark.acceptance)
        for needed in NEEDED.items()
    ],
)
def test_the_policy_has_not_one_action_too_many(
    person: Person, aws: Aws, action: str, playbook: str
) -> None:
    instance = aws.launch("box")
    if playbook == RECONNECT:
        aws.stop(instance)
    policy = json.loads(POLICY.read_text())
    assert {each for row in policy["Statement"] for each in row["Action"]} == NEEDED.keys()
    for statement in policy["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action]
    aws.permit(policy)

    named = person.hosts(box={"ec2_instance": "box"})
    play = person.play(playbook, *named, notebook_force=True)

    assert f"it lacks the permission {action}" in refused(play)
    assert "/roles/ec2/files/policy.json" in refused(play)


def test_an_instance_that_never_lets_anybody_in(person: Person, aws: Aws) -> None:
    instance = aws.launch("box")
    aws.stop(instance)
    # It is enough.
    aws.permit(json.loads(POLICY.read_text()))

    dry = person.play(RECONNECT, "--check", "--diff", ec2_instance="box")
    play = person.play(RECONNECT, ec2_instance="box", ec2_timeout=2)

    aws.check(False)
    assert dry.status == 0, dry.output
    assert f"box ({instance}) would be started." in dry.output
    assert f"nobody could log in at {NOWHERE} within 2 s" in refused(play)
    assert aws.state(instance) == "running"


@pytest.mark.acceptance
def test_a_stopped_instance_is_woken_as_another_type_and_one_that_runs_says_how(
    person: Person, aws: Aws
) -> None:
    instance = aws.launch("box")
    aws.stop(instance)
    # Nobody can log in; what is of concern is over by then.
    said: dict[str, Any] = {"ec2_instance": "box", "ec2_timeout": 2}

    woken = person.play(RECONNECT, ec2_type="t3.large", **said)
    assert (aws.state(instance), aws.kind(instance)) == ("running", "t3.large"), woken.output
    running = person.play(RECONNECT, ec2_type="m7i.xlarge", **said)

    assert aws.kind(instance) == "t3.large"
    stays = f"box ({instance}) runs, and stays a t3.large. To have it a m7i.xlarge, run sleep"
    assert stays in " ".join(running.output.split())
    assert "stays a" not in woken.output
    # Nobody has said which: it stays what it is.
    aws.stop(instance)
    person.play(RECONNECT, **said)
    assert (aws.state(instance), aws.kind(instance)) == ("running", "t3.large")


def test_no_sleep_where_nobody_can_look_for_cells(person: Person, aws: Aws) -> None:
    instance = aws.launch("box")

    play = person.play(SLEEP, ec2_instance="box", ec2_timeout=2)

    assert "nobody can say whether a cell runs" in refused(play)
    assert aws.state(instance) == "running"


def test_an_instance_that_a_shutdown_would_terminate(person: Person, aws: Aws) -> None:
    aws.launch("stops")
    aws.on_shutdown(aws.launch("ends"), "terminate")

    play = person.play(
        "shutdown.yml",
        *person.hosts(stops={"ec2_instance": "stops"}, ends={"ec2_instance": "ends"}),
    )

    assert re.search(r"^stops .* changed=0 .* failed=0 ", play.output, re.MULTILINE), play.output
    assert re.search(r"\bends \(i-\w+\) is terminated when its system shuts down", refused(play))


def test_no_boto3(person: Person) -> None:
    person.programs = HERE

    sentence = refused(person.play(RECONNECT, ec2_instance="box"))

    assert "pip install boto3 botocore" in sentence


def test_launch_says_what_it_takes(person: Person, aws: Aws) -> None:
    (person.home / "key.pub").touch()
    enough = {
        "ec2_instance": "box",
        "ec2_public_key_file": "~/key.pub",
        "ec2_ssh_from": "203.0.113.7/32",
    }

    launch = person.play(
        "launch.yml",
        *person.hosts(
            name=enough | {"ec2_instance": "i-0123456789abcdef0"},
            key=enough | {"ec2_public_key_file": "~/none.pub"},
            # As when nobody tells it its address.
            address=enough | {"ec2_ssh_from": "/32"},
        ),
    )

    said = "\n".join(sorted(errors(launch)))
    assert len(errors(launch)) == 3, launch.output
    assert "Set ec2_instance to a name for the new instance; an id is what AWS gives it." in said
    assert "There is no ~/none.pub. Make yourself" in said
    assert "Who may log in is not known:" in said
    assert aws.ask("DescribeInstances").findall(".//instanceId") == []


@pytest.mark.acceptance
def test_launch_and_terminate(person: Person, aws: Aws) -> None:
    key = person.home / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    given = {
        "ec2_instance": "box",
        "ec2_public_key_file": f"{key}.pub",
        "ec2_ssh_from": "203.0.113.7/32",
    }

    dry = person.play(LAUNCH, "--check", "--diff", **given)
    assert dry.status == 0, dry.output
    assert aws.ask("DescribeInstances").findall(".//instanceId") == []

    (policy,) = re.findall(r"```json\n(.*?)```", README.read_text(), re.DOTALL)
    aws.permit(json.loads(policy))
    launch = person.play(LAUNCH, **given)
    aws.check(False)
    assert launch.status == 0, launch.output
    made = aws.ask("DescribeInstances")
    instance = text(made, ".//instanceId")
    assert "anywhere.notebook.setup -e ec2_instance=box" in launch.output
    assert tags(made) == {"Name": "box", "notebook": "true", "notebook_user": "admin"}
    assert text(made, ".//instancesSet/item/imageId") == IMAGE
    assert text(made, ".//ebs/deleteOnTermination") == "false"
    volume = aws.ask("DescribeVolumes")
    assert (text(volume, ".//encrypted"), text(volume, ".//size")) == ("true", "20")
    (rule,) = aws.ask("DescribeSecurityGroups", GroupName__1="notebook-box").findall(
        ".//ipPermissions/item"
    )
    assert (text(rule, "fromPort"), text(rule, "toPort")) == ("22", "22")
    assert text(rule, ".//cidrIp") == "203.0.113.7/32"
    shutdown = aws.ask(
        "DescribeInstanceAttribute",
        InstanceId=instance,
        Attribute="instanceInitiatedShutdownBehavior",
    )
    assert text(shutdown, ".//instanceInitiatedShutdownBehavior/value") == "stop"

    again = person.play(LAUNCH, **given)
    assert (again.status, again.changed) == (0, 0), again.output

    other = person.play(TERMINATE, ec2_instance="box", ec2_confirm="boxer")
    assert '"boxer" is not "box", so nothing was terminated.' in refused(other)
    unasked = person.play(TERMINATE, ec2_instance="box")
    assert "nothing was terminated" in refused(unasked)
    assert aws.state(instance) == "running"

    aws.check(True)
    terminate = person.play(TERMINATE, ec2_instance="box", ec2_confirm="box")
    aws.check(False)
    assert (terminate.status, terminate.changed) == (0, 1), terminate.output
    assert aws.state(instance) == "terminated"
    assert text(aws.ask("DescribeVolumes"), ".//volumeId") in terminate.output
    again = person.play(TERMINATE, ec2_instance="box", ec2_confirm="box")
    assert (again.status, again.changed) == (0, 0), again.output


def test_a_disk_that_would_be_lost_is_not(person: Person, aws: Aws) -> None:
    # moto's own default, as it is that of AWS.
    instance = aws.launch("box")

    play = person.play(TERMINATE, ec2_instance="box", ec2_confirm="box")

    assert text(aws.instance(instance), ".//ebs/volumeId") in refused(play)
    assert aws.state(instance) == "running"


def test_the_inventory_has_running_and_stopped_instances_of_several_regions(
    person: Person, aws: Aws, tmp_path: Path
) -> None:
    inventory_file = tmp_path / "notebook.aws_ec2.yml"
    written = (FILES / inventory_file.name).read_text()
    inventory_file.write_text(written.replace("- us-east-1", "- us-east-1\n  - eu-west-1"))
    running = aws.launch("runs", notebook="true", notebook_user="ubuntu")
    stopped = aws.launch("sleeps", notebook="true")
    aws.stop(stopped)
    far = aws.launch("far", region="eu-west-1", notebook="true")
    aws.launch("other")
    aws.permit(json.loads(POLICY.read_text()))

    done = subprocess.run(
        [PROGRAMS / "ansible-inventory", "-i", inventory_file, "--list"],
        env=person.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "reserved name" not in done.stderr
    # What AWS says is no template to Ansible, and marked so.
    found = json.loads(done.stdout, object_hook=lambda value: value.get("__ansible_unsafe", value))
    assert sorted(found["notebook"]["hosts"]) == ["far", "runs", "sleeps"]
    hosts = found["_meta"]["hostvars"]
    assert [hosts[name]["ec2_instance"] for name in ("runs", "sleeps", "far")] == [
        running,
        stopped,
        far,
    ]
    assert (hosts["far"]["ec2_region"], hosts["runs"]["ec2_region"]) == ("eu-west-1", "us-east-1")
    assert (hosts["runs"]["ansible_user"], hosts["sleeps"]["ansible_user"]) == ("ubuntu", "admin")
    assert hosts["runs"]["ansible_host"] == hosts["runs"]["aws_public_ip_address"]

    # Named by its id, it is the host of the inventory.
    one = person.play(
        SLEEP,
        "-i",
        str(inventory_file),
        ec2_instance=running,
        ec2_region="us-east-1",
        notebook_force=True,
    )
    assert (one.status, one.changed) == (0, 1), one.output
    assert re.findall(r"^(\S+) +: ok=", one.output, re.MULTILINE) == ["localhost", "runs"]
    rest = person.play(SLEEP, "-i", str(inventory_file), notebook_force=True)
    assert (rest.status, rest.changed) == (0, 1), rest.output
    assert re.findall(r"^(\S+) +: ok=.* changed=1 ", rest.output, re.MULTILINE) == ["far"]

    # Each is woken, though nobody can log in to any.
    wake = person.play(RECONNECT, "-i", str(inventory_file), ec2_timeout=1)
    assert wake.changed == 3, wake.output
    assert len(errors(wake)) == 3
    table = re.findall(r"- (\w+) +- +- +- +see below", wake.output)
    assert sorted(table) == ["far", "runs", "sleeps"]


def tags(answer: ElementTree.Element) -> dict[str, str]:
    """The tags of the one instance there."""
    return {text(item, "key"): text(item, "value") for item in answer.findall(".//tagSet/item")}
