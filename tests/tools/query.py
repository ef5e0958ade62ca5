"""Asks a real DuckDB: reads {"setup": [SQL...], "questions": {NAME: SQL}} on stdin, prints the type of `manifests` and what each question is answered.

What needs the network (extensions, credentials of a bucket) is parsed and not carried out.
"""

import datetime
import decimal
import json
import sys

import duckdb

ELSEWHERE = ("INSTALL", "LOAD", "CREATE SECRET")


def tree(kind):
    """A type as nested JSON: a word, {"list": TYPE} or {"struct": [[NAME, TYPE]...]}."""
    if kind.id == "list":
        return {"list": tree(dict(kind.children)["child"])}
    if kind.id == "struct":
        return {"struct": [[name, tree(child)] for name, child in kind.children]}
    return kind.id


def cell(value):
    if isinstance(value, datetime.datetime):
        # Microseconds since the epoch, in UTC.
        return (value - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    if isinstance(value, decimal.Decimal):
        value = float(value)
    return round(value, 6) if isinstance(value, float) else value


def main():
    wanted = json.load(sys.stdin)
    db = duckdb.connect()
    # Times have to come out the same wherever somebody sits.
    db.execute("SET TimeZone = 'Pacific/Chatham'")
    for sql in wanted["setup"]:
        for statement in db.extract_statements(sql):
            text = statement.query.strip()
            if text.upper().startswith(ELSEWHERE):
                continue
            assert "s3://" not in text, text
            db.execute(statement)
    table = db.sql("SELECT * FROM manifests")
    answers = {}
    for name, sql in wanted["questions"].items():
        answer = db.sql(sql.strip().rstrip(";"))
        rows = [[cell(value) for value in row] for row in answer.fetchall()]
        answers[name] = {"columns": answer.columns, "rows": rows}
    columns = [[name, tree(kind)] for name, kind in zip(table.columns, table.types)]
    json.dump({"columns": columns, "answers": answers}, sys.stdout)


main()
