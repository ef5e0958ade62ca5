"""Real Helm for the tests: one process lints, renders and packages what it is told on stdin as JSON, and answers in JSON.

    {"chart": DIRECTORY, "cases": {NAME: {"files": [VALUES FILE...], "values": {...}, "release": NAME, "namespace": NAME, "upgrade": BOOL}}, "package": DIRECTORY}

Each case is answered with `texts` (template -> what it rendered), `documents` (the objects in them, read by Helm's own YAML) and `lint`, or with `error`.
No cluster is asked: Helm then assumes one, as `helm template` does.
"""

import json
import re
import sys

import helm_python
from helm_python import Chart
from helm_python.chart import expand, lint, package, values_from_yaml

SEVERITIES = ["unknown", "info", "warning", "error"]


def merged(under, over):
    """As Helm puts one source of values over another: maps are merged, everything else is replaced."""
    result = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def documents(text):
    for part in re.split(r"(?m)^---\s*$", text):
        if any(line.strip() and not line.lstrip().startswith("#") for line in part.splitlines()):
            yield values_from_yaml(part)


def case_of(chart, directory, case):
    values = {}
    for path in case.get("files", []):
        with open(path, encoding="utf-8") as file:
            values = merged(values, values_from_yaml(file.read()))
    values = merged(values, case.get("values", {}))
    release = {"name": case["release"], "namespace": case["namespace"]}
    upgrade = case.get("upgrade", False)
    try:
        texts = chart.render(values, is_install=not upgrade, is_upgrade=upgrade, **release)
    except helm_python.HelmError as error:
        return {"error": str(error)}
    # "chart/templates/x.yaml" -> "x.yaml"; partials render nothing.
    texts = {path.split("/templates/", 1)[1]: text for path, text in texts.items() if text.strip()}
    answer = {"texts": texts, "documents": {}}
    for path, text in texts.items():
        if path.endswith(".yaml"):
            answer["documents"][path] = list(documents(text))
    if case.get("lint"):
        report = lint(directory, values, strict=True, namespace=case["namespace"])
        answer["lint"] = [f"{SEVERITIES[m['severity']]}: {m['path']}: {m['error']}" for m in report["messages"]] + report["errors"]
    return answer


def main():
    told = json.load(sys.stdin)
    directory = told["chart"]
    answer = {"helm": helm_python.helm_sdk_version() if hasattr(helm_python, "helm_sdk_version") else "", "cases": {}}
    with Chart.load(directory) as chart:
        answer["metadata"] = chart.metadata
        answer["values"] = chart.values
        for name, case in told.get("cases", {}).items():
            answer["cases"][name] = case_of(chart, directory, case)
    if "package" in told:
        archive = package(directory, destination=told["package"])
        expand(told["package"], archive)
        answer["archive"] = archive
    json.dump(answer, sys.stdout)


main()
