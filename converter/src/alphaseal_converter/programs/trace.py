"""Traces the source of one factor.  A program of its own, only ever run isolated, without pandas.

Run by `factors.tracing` inside `isolation`: it reads ``order.json`` (tables with their columns and dtypes, the major version of
pandas) and ``factor.py``, and writes ``answer.json``, the document of `factors.expressions.document`.  The source runs in this
process, so the answer is no more than a claim: whoever asked reads it by rule, and the proof judges it.
"""

from __future__ import annotations

import json
import os
import sys

from alphaseal_converter.factors.expressions.document import write
from alphaseal_converter.factors.trace.run import trace

ANSWER = "answer.json"


def main() -> None:
    with open("order.json", encoding="utf-8") as file:
        order = json.load(file)
    os.unlink("order.json")
    answer = os.open(ANSWER, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    sys.setrecursionlimit(3000)
    os.write(answer, write(trace(order["tables"], order["pandas"])))
    # No exit handler and no thread that the factor's code left behind has a say any more.
    os._exit(0)


if __name__ == "__main__":
    main()
