"""A MutatingAdmissionPolicy applied to pods as the API server does it, its expressions evaluated by Google's CEL (cel-expr-python, the C++ implementation).

    {"objects": [the policy, its bindings], "requests": {NAME: {"pod": {...}, "namespace": {its object}, "times": N}}}

is answered with {NAME: {"met": [BINDING...], "pod": {...}, "operations": N} or {"error": WHY}}. The answer is the pod after N admissions in a row.

What is Kubernetes' own and not in that library is mapped here, and so is not proven:

- `Object.a.b{c: x}` and `JSONPatch{...}` become maps that carry their type's name. As in the API server a value must be of the type that its field's path names; whether such a
  field exists shows when the result is read as a pod.
- `flatten`, `indexOf` of lists and `jsonpatch.escapeKey` are written in Python. Any other function that is Kubernetes' own is an error here.
- The cost of an expression is not counted. Types are checked at run time more often than in the API server: variables are `dyn` here. That the literals of a list or map are of one type,
  which the API server demands, is not checked.
- A variable is evaluated when an expression names it, also in a branch that is not taken.
"""

import copy
import json
import re
import sys

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

TYPE = "$type"
DYN = cel.Type.DYN


class Refused(Exception):
    """What the API server would answer with an error."""


# -- Expressions --

TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<string>[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    |(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)
    |(?P<other>[\[\](){},:?]|[^\s])""",
    re.X | re.S,
)


def mapped(expression):
    """The expression with Kubernetes' types as maps."""
    tokens = [m for m in TOKEN.finditer(expression)]
    meaningful = [m for m in tokens if m.lastgroup]
    following = {m.start(): n for m, n in zip(meaningful, meaningful[1:])}
    out, open_brackets, at_field = [], [], False
    skip = set()
    for token in tokens:
        text = token.group()
        if token.start() in skip:
            continue
        if not token.lastgroup:
            out.append(text)
            continue
        after = following.get(token.start())
        message = bool(open_brackets) and open_brackets[-1] == "message"
        if token.lastgroup == "name":
            name = re.sub(r"\s", "", text)
            if message and at_field:
                out.append(json.dumps(name))
            elif re.match(r"(Object|JSONPatch)\b", name) and after is not None and after.group() == "{":
                skip.add(after.start())
                empty = following[after.start()].group() == "}"
                out.append(f'dyn({{"{TYPE}": "{name}"{"" if empty else ", "}')
                open_brackets.append("message")
                at_field = True
                continue
            else:
                out.append(text)
            at_field = False
        elif text in "{[(":
            open_brackets.append(text)
            out.append(text)
            at_field = False
        elif text in "}])" and token.lastgroup == "other":
            out.append("})" if open_brackets.pop() == "message" else text)
            at_field = False
        else:
            out.append(text)
            # Also behind the `?` of an optional field.
            at_field = message and (text == "," or (text == "?" and at_field))
    return "".join(out)


def overload(name, parameters, result, implementation):
    types = "_".join(str(p.name()).lower().split("<")[0] for p in parameters)
    return cel.FunctionDecl(
        name,
        [cel.Overload(id=f"{name.replace('.', '_')}_{types}", return_type=result, parameters=parameters, is_member="." not in name, impl=implementation)],
    )


def plain(value):
    return value.plain_value() if isinstance(value, cel.Value) else value


def flatten(outer):
    result = []
    for item in plain(outer):
        item = plain(item)
        result.extend(item if isinstance(item, list) else [item])
    return result


def index_of(items, item):
    items = [plain(each) for each in plain(items)]
    return items.index(plain(item)) if plain(item) in items else -1


ANY_LIST = cel.Type.List(DYN)
ENV = cel.NewEnv(
    variables={name: DYN for name in ["object", "oldObject", "request", "namespaceObject", "variables", "params"]},
    extensions=[
        ext_optional.ExtOptional(),
        ext_strings.ExtStrings(),
        cel.CelExtension(
            "kubernetes",
            [
                overload("flatten", [ANY_LIST], ANY_LIST, flatten),
                overload("indexOf", [ANY_LIST, DYN], cel.Type.INT, index_of),
                overload("jsonpatch.escapeKey", [cel.Type.STRING], cel.Type.STRING, lambda key: plain(key).replace("~", "~0").replace("/", "~1")),
            ],
        ),
    ],
)
COMPILED = {}


def compiled(expression):
    if expression not in COMPILED:
        try:
            COMPILED[expression] = ENV.compile(mapped(expression))
        except Exception as error:
            raise Refused(f"compilation failed: {error}\n{expression}") from error
    return COMPILED[expression]


class Admission:
    """One evaluation of a policy on one object."""

    def __init__(self, policy, pod, namespace):
        self.variables = {v["name"]: v["expression"] for v in policy["spec"].get("variables", [])}
        self.known = {}
        meta = pod["metadata"]
        self.data = {
            "object": pod,
            "oldObject": None,
            "namespaceObject": namespace,
            "params": None,
            "request": {"operation": "CREATE", "namespace": namespace["metadata"]["name"], "name": meta.get("name", ""), "kind": {"group": "", "version": "v1", "kind": "Pod"}},
        }

    def evaluate(self, expression, before=None):
        """The value of an expression; one of a variable sees the variables `before` it only."""
        names = list(self.variables)
        for name in re.findall(r"\bvariables\.(\w+)", expression):
            if name not in names or (before is not None and names.index(name) >= names.index(before)):
                raise Refused(f"undeclared reference to variables.{name}")
            if name not in self.known:
                self.known[name] = self.evaluate(self.variables[name], before=name)
        try:
            value = compiled(expression).eval(data={**self.data, "variables": self.known})
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"{error}\n{expression}") from error
        # An evaluation that fails gives its error as a value.
        if value.type() in (cel.Type.ERROR, cel.Type.UNKNOWN):
            raise Refused(f"{value.plain_value()}\n{expression}")
        return value.plain_value()


# -- JSON Patch, RFC 6902 --


def steps(pointer):
    if not pointer.startswith("/"):
        raise Refused(f"no JSON pointer: {pointer}")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def untyped(value, path):
    """The value without type names; each must be the one of the path where it stands."""
    if isinstance(value, list):
        return [untyped(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    said = value.get(TYPE)
    if said is not None and said != path:
        raise Refused(f"unexpected type name {said!r}, expected {path!r}, which matches field name path from root Object type")
    inside = {key: item for key, item in value.items() if key != TYPE}
    return {key: untyped(item, f"{path}.{key}") for key, item in inside.items()}


def operate(document, operation):
    if not isinstance(operation, dict) or operation.get(TYPE) != "JSONPatch":
        raise Refused(f"no JSONPatch: {operation}")
    strange = set(operation) - {TYPE, "op", "path", "value", "from"}
    if strange:
        raise Refused(f"JSONPatch has no {strange}")
    *parents, last = steps(operation["path"])
    place = document
    for step in parents:
        try:
            place = place[int(step)] if isinstance(place, list) else place[step]
        except (KeyError, IndexError, ValueError) as error:
            raise Refused(f"{operation['op']} {operation['path']}: doc is missing path") from error
    if "value" in operation:
        value = operation["value"]
        # A typed value names its own place; lists have no type of their own.
        said = value.get(TYPE) if isinstance(value, dict) else None
        names = [step for step in steps(operation["path"]) if not (step.isdigit() or step == "-")]
        expected = ".".join(["Object", *names])
        if said is not None and said != expected:
            raise Refused(f"{operation['path']}: a value of type {said}")
        value = untyped(copy.deepcopy(value), expected)
    match operation["op"], place:
        case "add", list():
            if last == "-":
                place.append(value)
            elif last.isdigit() and int(last) <= len(place):
                place.insert(int(last), value)
            else:
                raise Refused(f"add {operation['path']}: no such index")
        case "add", dict():
            place[last] = value
        case "replace", dict() if last in place:
            place[last] = value
        case "replace", list() if last.isdigit() and int(last) < len(place):
            place[int(last)] = value
        case "remove", dict() if last in place:
            del place[last]
        case "remove", list() if last.isdigit() and int(last) < len(place):
            del place[int(last)]
        case "test", dict() if place.get(last) == value:
            pass
        case _:
            raise Refused(f"{operation['op']} {operation['path']}: cannot be done")


# -- Admission --


def selects(selector, labels):
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        value, values = labels.get(rule["key"]), rule.get("values", [])
        met = {"In": value in values, "NotIn": value not in values, "Exists": value is not None, "DoesNotExist": value is None}
        if not met[rule["operator"]]:
            return False
    return True


def matches(resources, pod, namespace):
    """Whether matchConstraints or matchResources mean the creation of this pod."""
    name = namespace["metadata"]["name"]
    of_namespace = {"kubernetes.io/metadata.name": name, **namespace["metadata"].get("labels", {})}
    if not selects(resources.get("namespaceSelector", {}), of_namespace):
        return False
    if not selects(resources.get("objectSelector", {}), pod["metadata"].get("labels", {})):
        return False
    rules = resources.get("resourceRules")
    wanted = {"apiGroups": "", "apiVersions": "v1", "operations": "CREATE", "resources": "pods"}
    return rules is None or any(all({value, "*"} & set(rule[key]) for key, value in wanted.items()) for rule in rules)


def compile_all(policy):
    """As the API server does when the policy is created."""
    spec = policy["spec"]
    for part in spec.get("matchConditions", []) + spec.get("variables", []):
        compiled(part["expression"])
    for mutation in spec["mutations"]:
        if mutation["patchType"] != "JSONPatch":
            raise Refused(f"this driver applies JSONPatch, not {mutation['patchType']}")
        compiled(mutation["jsonPatch"]["expression"])


def admit(policies, bindings, pod, namespace):
    """One admission: the bindings that met, the pod as it is then, and how many operations were done."""
    pod, met, done = copy.deepcopy(pod), [], 0
    for binding in bindings:
        policy = policies[binding["spec"]["policyName"]]
        if not matches(policy["spec"].get("matchConstraints", {}), pod, namespace):
            continue
        if not matches(binding["spec"].get("matchResources", {}), pod, namespace):
            continue
        admission = Admission(policy, pod, namespace)
        conditions = [admission.evaluate(c["expression"]) for c in policy["spec"].get("matchConditions", [])]
        if any(not isinstance(condition, bool) for condition in conditions):
            raise Refused(f"a condition is no bool: {conditions}")
        if not all(conditions):
            continue
        met.append(binding["metadata"]["name"])
        for mutation in policy["spec"]["mutations"]:
            # Each sees what the one before made, variables included.
            operations = Admission(policy, pod, namespace).evaluate(mutation["jsonPatch"]["expression"])
            changed = copy.deepcopy(pod)
            for operation in operations:
                operate(changed, operation)
                done += 1
            pod = changed
    return met, pod, done


def answer(policies, bindings, request):
    met, pod, done = [], request["pod"], 0
    try:
        for policy in policies.values():
            compile_all(policy)
        for _ in range(request.get("times", 1)):
            now, pod, operations = admit(policies, bindings, pod, request["namespace"])
            met += now
            done += operations
    except Refused as why:
        return {"error": str(why)}
    return {"met": met, "pod": pod, "operations": done}


def main():
    told = json.load(sys.stdin)
    policies = {o["metadata"]["name"]: o for o in told["objects"] if o["kind"] == "MutatingAdmissionPolicy"}
    bindings = [o for o in told["objects"] if o["kind"] == "MutatingAdmissionPolicyBinding"]
    json.dump({name: answer(policies, bindings, request) for name, request in told["requests"].items()}, sys.stdout)


main()
