#!/usr/bin/env python3
"""A tenant that shares a dump directory and wants the agent to read, store or delete what is not a dump.

attacker.py DIRECTORY [--seconds N] [--seed N] [--uid N] [--outside PATH] [--spare GLOB]...

Works in DIRECTORY until the time is over or stdin ends, in an order that --seed fixes, and then prints one line of JSON: per act how often it succeeded and how
often the kernel refused it. Started as root with --uid it opens DIRECTORY first and drops to that user then, so neither this file nor the directories above
need to be readable by it. --outside is what its links point at; names that match --spare are left alone, so that a test can demand that they are stored.
"""
import argparse
import ctypes
import fnmatch
import json
import os
import random
import select
import socket
import sys
import time

# What the agent looks for, what it makes itself, and what its log, keys and tables must escape.
NAMES = [
    b"core", b"core.1", b"core.77", b"coredump.1.dmp", b"app.core", b"heap.hprof", b"x.crashreport.json", b"down/core", b"down/down/core",
    b".salvage", b".salvage/core", b".salvage/claim", b"line\nbreak.core", b"\xff\xfe.core", b"\x1b[2J.core", b"..core", b"-rf", b"n" * 255,
]
RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, other):
    """Swaps two names in one step; Python has no call for renameat2."""
    if libc.renameat2(-100, one, -100, other, RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Attacker:
    def __init__(self, chance, outside, spare):
        self.chance = chance
        self.outside = outside
        self.spare = spare
        self.serial = 0

    def spared(self, name):
        return any(fnmatch.fnmatch(name.split(b"/")[0], glob) for glob in self.spare)

    def name(self):
        """One of the known names, or any that is there now: a victim's dump, a claim, something of our own."""
        present = [entry for entry in os.listdir(b".") if not self.spared(entry)]
        known = [entry for entry in NAMES if not self.spared(entry)]
        return self.chance.choice(known + present)

    def own(self):
        """A fresh name of our own, to be renamed over another."""
        self.serial += 1
        return b".atk-%d" % self.serial

    @staticmethod
    def opened(name, flags):
        """The last name may be a fifo by now (which must not stop us) or a link (behind which we write nothing ourselves)."""
        return os.fdopen(os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644), "wb", buffering=0)

    def over(self, own):
        """Puts what we made in the place of another name, in one step; what cannot go there goes away."""
        try:
            os.rename(own, self.name())
        except OSError:
            try:
                os.unlink(own)
            except OSError:
                os.rmdir(own)
            raise

    def link_outside(self):
        own = self.own()
        os.link(self.outside, own)
        self.over(own)

    def link_inside(self):
        own = self.own()
        os.link(self.name(), own)
        self.over(own)

    def symlink_outside(self):
        own = self.own()
        os.symlink(self.outside, own)
        self.over(own)

    def symlink_to_directory(self):
        own = self.own()
        os.symlink(self.chance.choice([os.path.dirname(self.outside), b"/", b"..", b".", b"/proc/self/fd"]), own)
        self.over(own)

    def fifo(self):
        own = self.own()
        os.mkfifo(own, 0o666)
        self.over(own)

    def unix_socket(self):
        own = self.own()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(own)
        self.over(own)

    def plain_file(self):
        own = self.own()
        with self.opened(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            file.write(self.chance.choice([b"", b"\x7fELF", b"\x7fELF\x02\x01\x01" + bytes(57), b"MDMP", b"JAVA PROFILE 1.0.2\0", os.urandom(4096)]))
        self.over(own)

    def huge_hole(self):
        own = self.own()
        with self.opened(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            file.truncate(1 << 40)
        self.over(own)

    def unreadable_file(self):
        own = self.own()
        os.close(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0))
        self.over(own)

    def growing_file(self):
        with self.opened(self.name(), os.O_WRONLY | os.O_APPEND) as file:
            file.write(b"x" * 4096)

    def cut_file(self):
        with self.opened(self.name(), os.O_WRONLY) as file:
            file.truncate(self.chance.randrange(8192))

    def directory(self):
        own = self.own()
        os.mkdir(own, 0o777)
        self.over(own)

    def deep_directory(self):
        os.makedirs(b"/".join([b"down"] * self.chance.randrange(1, 40)), exist_ok=True)

    def plant_holding(self):
        """The directory that the agent would make for itself, made by us, with something in it."""
        os.makedirs(b".salvage", exist_ok=True)
        planted = b".salvage/" + self.chance.choice([b"core", b"claim", b"01arz3ndektsv4rrffq69g5fav"])
        with self.opened(planted, os.O_WRONLY | os.O_CREAT) as file:
            file.write(b"\x7fELF planted")

    def plant_holding_link(self):
        own = self.own()
        os.symlink(os.path.dirname(self.outside), own)
        try:
            os.rename(own, b".salvage")
        except OSError:
            os.unlink(own)
            raise

    def open_holding(self):
        os.chmod(b".salvage", 0o777)

    def swap(self):
        exchange(self.name(), self.name())

    def swap_directory_for_link(self):
        """For an instant a directory's name leads elsewhere, between the look at it and the use of it."""
        own = self.own()
        os.symlink(os.path.dirname(self.outside), own)
        directory = self.chance.choice([b"down", b".salvage"])
        try:
            exchange(own, directory)
            exchange(own, directory)
        finally:
            os.unlink(own)

    def rename_over(self):
        os.rename(self.name(), self.name())

    def remove(self):
        name = self.name()
        try:
            os.unlink(name)
        except IsADirectoryError:
            os.rmdir(name)

    def acts(self):
        return [
            self.link_outside, self.link_inside, self.symlink_outside, self.symlink_to_directory, self.fifo, self.unix_socket, self.plain_file,
            self.huge_hole, self.unreadable_file, self.growing_file, self.cut_file, self.directory, self.deep_directory, self.plant_holding,
            self.plant_holding_link, self.open_holding, self.swap, self.swap_directory_for_link, self.rename_over, self.remove,
        ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--outside", default="/etc/shadow")
    parser.add_argument("--spare", action="append", default=[])
    options = parser.parse_args()

    os.chdir(options.directory)
    if options.uid is not None:
        os.setgroups([])
        os.setresgid(options.uid, options.uid, options.uid)
        os.setresuid(options.uid, options.uid, options.uid)
    os.umask(0)

    # Its acts go through links that lead out. What it may write there it would destroy, so it starts only where it may not.
    for beyond in (os.path.dirname(options.outside), ".."):
        if os.access(beyond, os.W_OK):
            sys.exit("attacker.py: uid %d may write to %s: run it as root with --uid of a user who may not" % (os.getuid(), os.path.abspath(beyond)))

    attacker = Attacker(random.Random(options.seed), os.fsencode(options.outside), [os.fsencode(glob) for glob in options.spare])
    acts = attacker.acts()
    counts = {act.__name__: {"done": 0, "refused": 0} for act in acts}
    print("ready uid=%d" % os.getuid(), flush=True)
    end = time.monotonic() + options.seconds
    while time.monotonic() < end and not select.select([sys.stdin], [], [], 0)[0]:
        act = attacker.chance.choice(acts)
        try:
            act()
            counts[act.__name__]["done"] += 1
        except OSError:
            counts[act.__name__]["refused"] += 1
    print("did " + json.dumps(counts), flush=True)


main()
