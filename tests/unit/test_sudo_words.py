"""What sudo says when it refuses, as people are told it."""

from __future__ import annotations

import pytest
from ansible_collections.anywhere.notebook.plugins.filter.sudo_words import LONGEST, sudo_words

# What sudo 1.8 to 1.9 prints, with LC_ALL=C; and shells.
SYNTAX_ERROR = """\
/etc/sudoers.d/lab:1:19: syntax error
lab ALL=(ALL NOPASSWD: ALL
              ^~~~~~~~
sudo: error initializing audit plugin sudoers_audit
"""
SYNTAX_ERROR_1_8 = """\
>>> /etc/sudoers.d/lab: syntax error near line 1 <<<
sudo: parse error in /etc/sudoers.d/lab near line 1
sudo: no valid sudoers sources found, quitting
sudo: unable to initialize policy plugin
"""
LECTURE = """\

We trust you have received the usual lecture from the local System
Administrator. It usually boils down to these three things:

    #1) Respect the privacy of others.

sudo: a terminal is required to read the password
sudo: a password is required
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("sudo: a password is required\n", 'sudo says "a password is required"'),
        (
            "sudo: unable to resolve host box: Name or service not known\r\n"
            "sudo: a password is required\r\n",
            'sudo says "a password is required"',
        ),
        (
            "sudo: sorry, you must have a tty to run sudo\n",
            'sudo says "you must have a tty to run sudo"',
        ),
        (
            "lab is not in the sudoers file.  This incident will be reported.\n",
            'sudo says "lab is not in the sudoers file"',
        ),
        (
            "Sorry, user lab is not allowed to execute '/usr/bin/true' as root on box.\n",
            "sudo says \"user lab is not allowed to execute '/usr/bin/true' as root on box\"",
        ),
        (
            "sudo: account validation failure, is your account locked?\n",
            'sudo says "account validation failure, is your account locked?"',
        ),
        (
            "sudo: Account or password is expired, reset your password and try again\n"
            "sudo: a password is required\n",
            'sudo says "Account or password is expired, reset your password and try again; a '
            'password is required"',
        ),
        (
            "sudo: LDAP: ldap_sasl_bind_s(): Can't contact LDAP server\n",
            'sudo says "LDAP: ldap_sasl_bind_s(): Can\'t contact LDAP server"',
        ),
        (
            "sudo: /etc/sudo.conf is owned by uid 1000, should be 0\n",
            'sudo says "/etc/sudo.conf is owned by uid 1000, should be 0"',
        ),
        (SYNTAX_ERROR, 'sudo says "/etc/sudoers.d/lab:1:19: syntax error"'),
        (
            SYNTAX_ERROR_1_8,
            'sudo says "/etc/sudoers.d/lab: syntax error near line 1; parse error in '
            '/etc/sudoers.d/lab near line 1"',
        ),
        ("/bin/sh: 1: sudo: not found\n", "sudo is not installed"),
        ("bash: line 1: sudo: command not found\n", "sudo is not installed"),
        ("\x1b[31msudo: a\tpassword is required\x1b[0m\x07", 'sudo says "a password is required"'),
        ("sudo: something new\n", 'sudo says "something new"'),
        ("", "sudo does not say why"),
    ],
)
def test_only_why_is_told(said: str, told: str) -> None:
    assert sudo_words(said) == told


def test_a_lecture_is_none_of_it() -> None:
    assert "Respect" not in sudo_words(LECTURE)
    assert "a password is required" in sudo_words(LECTURE)


def test_it_stays_one_sentence_whatever_is_said() -> None:
    assert len(sudo_words("sudo: the password " * 1000)) < LONGEST + 20
