"""The verb ``alphaseal-convert factor``: compile one factor's source, and say what it is."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow.parquet as pq

from alphaseal.disk.targets import check_target, replacing
from alphaseal.plain_text import printable
from alphaseal.terminal.console import Outcome, Parser, Progress
from alphaseal_converter.factors.expressions.properties import properties
from alphaseal_converter.factors.expressions.words import readable
from alphaseal_converter.factors.process import Runner, read_file
from alphaseal_converter.isolation.sandbox import IsolationLimits


def add_factor(parser: Parser) -> None:
    """The arguments of ``factor``."""
    parser.add_json()
    parser.add_argument("program", type=Path, metavar="FACTOR.py", help="source of one factor, as RD-Agent writes it")
    parser.add_argument(
        "--bars", type=Path, required=True, metavar="FILE", help="RD-Agent's daily_pv.h5 (key data), or a parquet file"
    )
    parser.add_argument(
        "--static", type=Path, metavar="FILE", help="static_factors.parquet, for a factor that reads it"
    )
    parser.add_argument(
        "--pandas",
        type=int,
        choices=(2, 3),
        default=2,
        help="major version that the values are to be those of (default: 2)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="VALUES.parquet", help="write the values of all dates, computed by the graphs"
    )
    parser.add_argument("--onnx", type=Path, metavar="DIR", help="write the graphs into a new directory")
    parser.add_argument(
        "--python", type=Path, metavar="PYTHON", help="Python with pandas and tables that reads bars of HDF5"
    )


def run_factor(options: argparse.Namespace) -> Outcome:
    """What the factor is; RefusalError `factor.*` where it cannot be compiled."""
    from alphaseal_converter.emission.factor import as_table, compile_source
    from alphaseal_converter.emission.tables import read_tables

    inputs = (options.program, options.bars, options.static)
    for path in (options.out, options.onnx):
        if path is not None:
            check_target(path, inputs=inputs)
    source = read_file(options.program)
    with Progress(enabled=not options.json) as progress:
        progress("reading the tables")
        grids, instruments = read_tables(options.bars, options.static, Runner(options.python, IsolationLimits()))
        factor = compile_source(options.program, source, grids, instruments, options.pandas, progress)
    if options.out is not None:
        with replacing(options.out) as staged:
            pq.write_table(as_table(factor, grids, instruments), staged)
    if options.onnx is not None:
        with replacing(options.onnx) as staged:
            staged.mkdir()
            for name, data in factor.files.items():
                (staged / Path(name).name).write_bytes(data)
    traced, program = factor.traced, factor.program
    told = {
        "name": traced.name,
        "expression": readable(traced.value),
        "pandas": traced.pandas,
        **properties(traced.value, traced.rows),
        "window": program.window,
        "graphs": len(program.graphs),
        "stages": sum(map(len, program.stages)),
        "values": int((~(factor.values != factor.values) & factor.known).sum()),
        "unknown": int((~factor.known & factor.asked).sum()),
        "largest_difference": factor.largest,
    }
    return printable(f"{key}: {value}" for key, value in told.items()), told
