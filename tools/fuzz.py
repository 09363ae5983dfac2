"""``make fuzz``: a million structure-aware mutations of a small signed bundle, and of callers' tables, against the runtime.

Mutation number N is the same in every run of a seed (``--only N`` repeats it).  Each is judged in one process; every
500th runs in a child of its own as well, with so much more memory as is allowed and no more.  Ends with 1 where something
changed was accepted, an exception outside the family came out, or one mutation took more time or memory than is allowed.
Python and Linux or macOS only: memory is measured with `resource`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alphaseal.scoring import golden

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "converter" / "src"), str(ROOT / "runtime" / "src")]

import numpy as np

import fuzz_mutations as mutations
import fuzz_tables as tables
from alphaseal import bundle as bundles
from alphaseal.bars import calendar as bars
from alphaseal.errors import AlphasealError
from alphaseal.format import manifest as m
from alphaseal.gate import data as data_gate
from alphaseal.gate import model as model_gate
from alphaseal.tables import feature_files, features
from alphaseal.tables import origin as feature_origin
from fuzz_bundle import ROWS, TRUST, canonical, known_ids, sealed, small_bundle
from onnx_runs import run
from small_models import network_model, trees_model

SEED = 20261122
MAXIMUM_SECONDS = 1.0
MAXIMUM_GROWTH = 200 << 20
CHUNK = 5_000
"""Mutations of one process."""
CHILD_EVERY = 500
_SILENCE = 360
"""Seconds after which a process that does not get on is taken to hang."""
_HARD_LIMIT = 10.0
_KEPT_MODELS = 300
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of Ed25519: a second half of a signature beyond it is another spelling."""


class Finding(Exception):
    """What must not be: a false acceptance, a foreign exception, too much time or memory."""


class Slow(BaseException):
    """One mutation has taken ten times what is allowed."""


# --- the judges: each runs one mutation and says what became of it -----------------------------------------------------


def judged(call: Callable[[], object]) -> str:
    """The word accepted, or the code of the refusal, which is one line of a readable length."""
    try:
        call()
    except AlphasealError as error:
        line = str(error)
        if not 3 <= type(error).exit <= 19 or "\n" in line or len(line) > 4_000 or not error.code.isprintable():
            raise Finding(f"a refusal that is none: {type(error).__name__} {error.code} {line[:300]!r}") from error
        return error.code
    return "accepted"


def require(condition: bool, text: str) -> None:
    """A property of what was accepted."""
    if not condition:
        raise Finding(text)


class Areas:
    """One method per area; what they share is made once."""

    def __init__(self, scratch: Path) -> None:
        self.small = small_bundle()
        self.scratch = scratch
        self.manifest = self.small.files[m.FILE_NAME]
        self.envelope = self.small.files["manifest.dsse.json"]
        self.signatures = {entry["keyid"]: entry["sig"] for entry in json.loads(self.envelope)["signatures"]}
        self.schema = golden.golden_schema(self.small.manifest.features)
        self.models = (self.small.files["model.onnx"], self.small.files["model.onnx"], trees_model(), network_model())
        self.accepted_models: list[bytes] = []
        self.areas: dict[str, tuple[int, Callable[[random.Random], str]]] = {
            "manifest": (24, self.on_manifest),
            "envelope": (24, self.on_envelope),
            "model": (32, self.on_model),
            "parquet": (12, self.on_parquet),
            "tree": (4, self.on_tree),
            "resealed": (4, self.on_resealed),
            "features": (16, self.on_features),
            "bars": (6, self.on_bars),
            "table": (12, self.on_table),
        }

    def run(self, seed: int, number: int) -> tuple[str, str]:
        """(area, outcome) of one mutation."""
        chance = random.Random(f"{seed}:{number}")
        names = list(self.areas)
        (name,) = chance.choices(names, [self.areas[name][0] for name in names])
        return name, self.areas[name][1](chance)

    def on_manifest(self, chance: random.Random) -> str:
        """Never accepted under the signatures there are; under new ones only in the one byte form."""
        if chance.random() < 0.4:
            data = mutations.json_text(self.manifest, chance)
        elif chance.random() < 0.1:
            data = mutations.bytes_mutation(self.manifest, chance)
        else:
            data = canonical_or_raw(mutations.json_value(json.loads(self.manifest), chance))
        if data == self.manifest:
            return "unchanged"
        if chance.random() < 0.2:
            require(
                judged(lambda: TRUST.check_signatures(data, self.envelope)) == "signature.payload",
                "a changed manifest passes under old signatures",
            )
        outcome = judged(lambda: m.parse(data))
        if outcome == "accepted":
            check_manifest_bytes(data)
        return outcome

    def on_envelope(self, chance: random.Random) -> str:
        """Accepted only where both signatures are the ones there were, over the same payload, in the one byte form."""
        kind = chance.random()
        if kind < 0.3:
            data = mutations.json_text(self.envelope, chance)
        elif kind < 0.4:
            data = mutations.bytes_mutation(self.envelope, chance)
        else:
            data = canonical_or_raw(mutations.envelope_value(self.envelope, chance, GROUP_ORDER))
        if data == self.envelope:
            return "unchanged"
        outcome = judged(lambda: TRUST.check_signatures(self.manifest, data))
        if outcome == "accepted":
            value = json.loads(data)
            found = {entry["keyid"]: entry["sig"] for entry in value["signatures"]}
            require(canonical(value) == data, "an envelope in another byte form is accepted")
            require({name: found.get(name) for name in known_ids()} == self.signatures, "another signature is accepted")
            require(base64.b64decode(value["payload"]) == self.manifest, "another payload is accepted")
            # What is left to differ is a signature by a key that nobody here knows.
            require(len(found) == len(value["signatures"]) > len(self.signatures), "a changed envelope is accepted")
        return outcome

    def on_model(self, chance: random.Random) -> str:
        """The gate answers; what it lets pass is run by onnxruntime later, a sample of it."""
        data = mutations.model_mutation(chance.choice(self.models), chance)
        outcome = judged(lambda: model_gate.check_model(data, "model.onnx"))
        if outcome == "accepted" and len(self.accepted_models) < _KEPT_MODELS and chance.random() < 0.3:
            self.accepted_models.append(data)
        return outcome

    def on_parquet(self, chance: random.Random) -> str:
        """Whatever passes has the schema and the rows of the manifest; a factor table is looked at without decoding."""
        if chance.random() < 0.25:
            data = mutations.parquet_mutation(chance.choice(self.small.factors), chance)
            assert self.small.manifest.factors is not None
            factors = self.small.manifest.factors
            return judged(lambda: data_gate.check_factors(io.BytesIO(data), factors))
        data = mutations.parquet_mutation(chance.choice(self.small.goldens), chance)
        tables: list[Any] = []
        outcome = judged(lambda: tables.append(data_gate.read_exact(data, self.schema, ROWS, "golden.parquet")))
        if outcome == "accepted":
            (table,) = tables
            require(table.schema.equals(self.schema) and table.num_rows == ROWS, "another table is accepted")
            table.validate(full=True)
            table.drop_columns(["datetime"]).to_pylist()
        return outcome

    def on_features(self, chance: random.Random) -> str:
        """A caller's file of features: one date gives the rows that reading all dates gives for it, or a refusal."""
        data = mutations.parquet_mutation(chance.choice(tables.files()), chance)
        found: list[Any] = []
        kind = chance.randrange(4)
        if kind == 0:
            return judged(lambda: found.extend(feature_files.iter_parquet(data, tables.FEATURES, block_bytes=1 << 10)))
        if kind == 1:
            judged(lambda: feature_origin.read_origin(data))
        date = tables.day(chance)
        outcome = judged(lambda: found.append(feature_files.read_parquet(data, tables.FEATURES, date=date)))
        if (
            outcome == "accepted"
            and judged(lambda: found.append(feature_files.read_parquet(data, tables.FEATURES))) == "accepted"
        ):
            one, whole = found
            of_the_day = whole.dates == np.datetime64(date, "D")
            same = one.instruments.to_pylist() == whole.instruments.filter(pa_mask(of_the_day)).to_pylist()
            require(same, "rows of the date are missing, or are others")
            require(
                np.array_equal(one.values, whole.values[of_the_day], equal_nan=True),
                "other values for one date than for all",
            )
        return outcome

    def on_bars(self, chance: random.Random) -> str:
        """A caller's file of bars: answered or refused."""
        data = mutations.parquet_mutation(chance.choice(tables.files()), chance)
        return judged(lambda: bars.read_bars(data, tables.FIELDS, window=3, date=tables.day(chance)))

    def on_table(self, chance: random.Random) -> str:
        """A table in memory whose bytes lie: answered or refused."""
        table, kind = tables.table(chance), chance.randrange(4)
        if kind == 0:
            return judged(lambda: bars.read_bars(table, tables.FIELDS, window=2, date=tables.DAY))
        if kind == 1:
            return judged(lambda: features.read_table(features.table_of(table), tables.FEATURES, date=tables.DAY))
        return judged(lambda: features.read_table(table, tables.FEATURES, date=tables.DAY if kind == 2 else None))

    def on_tree(self, chance: random.Random) -> str:
        """Accepted only where the same files with the same bytes are there as before."""
        root = self._write(dict(self.small.files))
        mutations.tree_mutation(root, chance)
        outcome = judged(lambda: bundles.open_bundle(root, trust=TRUST).verify())
        if outcome == "accepted":
            require(read_tree(root, optional="provenance.dsse.json") == self.small.files, "a changed tree is accepted")
        return outcome

    def on_resealed(self, chance: random.Random) -> str:
        """A hostile signer: whatever is accepted has the digests of its manifest, and scores or is refused in words."""
        files, value = dict(self.small.files), json.loads(self.manifest)
        kind = chance.randrange(4)
        if kind == 0:
            files["model.onnx"] = mutations.model_mutation(files["model.onnx"], chance)
        elif kind == 1:
            files["golden.parquet"] = mutations.parquet_mutation(chance.choice(self.small.goldens), chance)
        elif kind == 2:
            value = mutations.json_value(value, chance)
        else:
            files["factors.parquet"] = mutations.parquet_mutation(chance.choice(self.small.factors), chance)
        if kind != 2:
            for entry in value["files"]:
                entry["size"], entry["sha256"] = (
                    len(files[entry["path"]]),
                    hashlib.sha256(files[entry["path"]]).hexdigest(),
                )
        files[m.FILE_NAME] = canonical_or_raw(value)
        files["manifest.dsse.json"] = sealed(files[m.FILE_NAME])
        root = self._write(files)
        opened: list[bundles.Bundle] = []

        def verify() -> None:
            opened.append(bundles.open_bundle(root, trust=TRUST))
            opened[0].verify()

        outcome = judged(verify)
        if outcome != "accepted":
            return outcome
        check_manifest_bytes(files[m.FILE_NAME])
        found = read_tree(root, optional="provenance.dsse.json")
        listed = {entry["path"]: entry for entry in json.loads(files[m.FILE_NAME])["files"]}
        require(
            found.keys() == listed.keys() | {m.FILE_NAME, "manifest.dsse.json"}, "files that the manifest does not list"
        )
        for path, entry in listed.items():
            require(
                (entry["size"], entry["sha256"]) == (len(found[path]), hashlib.sha256(found[path]).hexdigest()),
                f"a wrong digest of {path}",
            )
        tested = judged(opened[0].selftest)
        return f"accepted, then {tested} and {judged(opened[0].check_factors)}"

    def _write(self, files: dict[str, bytes]) -> Path:
        root = self.scratch / "tree"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        mutations.write_tree(root / "bundle", files)
        return root / "bundle"


def pa_mask(mask: Any) -> Any:
    """A numpy mask as Arrow's."""
    import pyarrow

    return pyarrow.array(mask)


def canonical_or_raw(value: Any) -> bytes:
    """The one byte form; numbers and texts that it does not have are written as json would."""
    try:
        return canonical(value)
    except (ValueError, TypeError):
        return json.dumps(value, indent=2, sort_keys=False).encode()


def check_manifest_bytes(data: bytes) -> None:
    """What is accepted as a manifest is in the one byte form, by the standard library's own reading and writing."""
    value = json.loads(data)
    require(canonical(value) == data, "a manifest in another byte form is accepted")
    require(value["format"] == m.FORMAT, "another format is accepted")
    paths = [entry["path"] for entry in value["files"]]
    require(paths == sorted(set(paths)), "files are accepted in another order")
    require(
        all(
            part not in ("", ".", "..") and part == part.lower() and part.isascii()
            for path in paths
            for part in path.split("/")
        ),
        "a path outside the rule is accepted",
    )
    require(value["eligibility"]["ready"] == (not value["eligibility"]["reasons"]), "ready with reasons is accepted")


def read_tree(root: Path, optional: str) -> dict[str, bytes]:
    """Bytes of all plain files; Finding for anything else."""
    found = {}
    for folder, folders, names in os.walk(root):
        require(bool(folders or names), "an empty directory is accepted")
        for name in [*folders, *names]:
            path = Path(folder, name)
            require(not path.is_symlink(), "a link is accepted")
            if name in names:
                require(path.is_file(), "a special file is accepted")
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return {path: data for path, data in found.items() if path != optional}


# --- a process of many mutations ----------------------------------------------------------------------------------------


def _resident() -> int:
    """The most memory that this process has had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most << 10


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def run_guarded(areas: Areas, seed: int, number: int) -> tuple[str, str, float]:
    """(area, outcome, seconds of CPU); Finding."""
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, _HARD_LIMIT)
    try:
        area, outcome = areas.run(seed, number)
    except Finding:
        raise
    except (Exception, Slow) as error:
        raise Finding("".join(traceback.format_exception(error))[-1500:]) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - started
    require(seconds <= MAXIMUM_SECONDS, f"{seconds:.2f} s in area {area}: {outcome}")
    return area, outcome, seconds


def run_in_child(areas: Areas, seed: int, number: int) -> None:
    """The same in a child that has no more memory than is allowed; Finding where it ends otherwise than well."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (limit := _address_space() + MAXIMUM_GROWTH, limit))
            run_guarded(areas, seed, number)
            status = 0
        except Finding as finding:
            print(finding, file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    require(status == 0, f"in a child of its own: exit status {status}")


def run_chunk(seed: int, first: int, last: int, place: Path, children: bool) -> dict[str, Any]:
    """Mutations `first` to before `last`; where it is stands in the file `place` all the time."""

    def slow(*_: object) -> None:
        raise Slow

    signal.signal(signal.SIGPROF, slow)
    outcomes: Counter[str] = Counter()
    findings: list[str] = []
    slowest, growth = (0.0, -1), 0
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch,
        place.open("r+b") as file,
    ):
        at = mmap.mmap(file.fileno(), 8)
        areas = Areas(Path(scratch))
        for warm in range(200):  # what libraries load at their first use counts for nobody
            areas.run(seed, -1 - warm)
        for number in range(first, last):
            at[:8] = struct.pack("<q", number)
            before = _resident()
            try:
                area, outcome, seconds = run_guarded(areas, seed, number)
                grown = _resident() - before
                require(grown <= MAXIMUM_GROWTH, f"{grown >> 20} MB more memory in area {area}: {outcome}")
                if children and number % CHILD_EVERY == 0:
                    run_in_child(areas, seed, number)
                    outcomes["(in a child)"] += 1
                outcomes[f"{area}: {outcome}"] += 1
                slowest, growth = max(slowest, (seconds, number)), max(growth, grown)
            except Finding as finding:
                findings.append(f"mutation {number}: {finding}")
        ran = run_models(areas.accepted_models, Path(scratch))
        if isinstance(ran, str):
            findings.append(f"mutations {first} to {last - 1}: {ran}")
        else:
            outcomes.update(ran)
    return {"outcomes": outcomes, "findings": findings, "slowest": slowest, "growth": growth}


def run_models(models: list[bytes], scratch: Path) -> Counter[str] | str:
    """Load and run what the gate let pass, in a child of its own: counts, or what went wrong."""
    found = run(models, sys.executable, scratch)
    if found.findings:
        at, said = found.findings[0]
        return f"onnxruntime with a model that the gate let pass {said} {base64.b64encode(models[at]).decode()}"
    counts = {"given": len(models), "loaded": found.loaded, "ran": found.ran}
    names = {"given": "(onnxruntime was given)", "loaded": "(onnxruntime loaded)", "ran": "(onnxruntime ran)"}
    return Counter({names[kind]: number for kind, number in counts.items() if number})


# --- all of them --------------------------------------------------------------------------------------------------------


def chunks(count: int) -> Iterator[tuple[int, int]]:
    """Parts of the mutations 0 to before `count`."""
    for first in range(0, count, CHUNK):
        yield first, min(first + CHUNK, count)


def watch(process: subprocess.Popen[str], place: Path) -> tuple[str, str | None]:
    """(output of a process, what went wrong with it): it may end without a word, or stand still."""
    seen, since = place.read_bytes(), time.monotonic()
    while True:
        try:
            out, _ = process.communicate(timeout=2)
            number = struct.unpack("<q", place.read_bytes())[0]
            return (
                out,
                None if process.returncode == 0 else f"mutation {number}: the process ended with {process.returncode}",
            )
        except subprocess.TimeoutExpired:
            now = place.read_bytes()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > _SILENCE:
                process.kill()
                process.communicate()
                return "", f"mutation {struct.unpack('<q', now)[0]}: no end after {_SILENCE} s"


def run_all(count: int, seed: int, children: bool, talk: bool) -> dict[str, Any]:
    """All mutations, chunk by chunk, each in a process of its own."""
    total: dict[str, Any] = {
        "mutations": count,
        "outcomes": Counter(),
        "findings": [],
        "slowest": (0.0, -1),
        "growth": 0,
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "place")
        for first, last in chunks(count):
            place.write_bytes(struct.pack("<q", first))
            command = [
                sys.executable,
                __file__,
                "--chunk",
                str(first),
                str(last),
                str(place),
                "--seed",
                str(seed),
                *(["--no-children"] if not children else []),
            ]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            out, wrong = watch(process, place)
            if wrong is not None:
                total["findings"].append(wrong)
                continue
            part = json.loads(out)
            total["outcomes"].update(part["outcomes"])
            total["findings"].extend(part["findings"])
            total["slowest"] = max(total["slowest"], tuple(part["slowest"]))
            total["growth"] = max(total["growth"], part["growth"])
            if talk:
                print(
                    f"{last} of {count} mutations, {len(total['findings'])} findings, {time.monotonic() - started:.0f} s",
                    flush=True,
                )
    total["seconds"] = time.monotonic() - started
    return total


def main() -> int:
    """See the module; 0 where there is no finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", type=int, help="run one mutation here and say what becomes of it")
    parser.add_argument("--no-children", action="store_true", help="leave out the sample in children")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--chunk", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only is not None:
        with tempfile.TemporaryDirectory() as scratch:
            print(*Areas(Path(scratch)).run(options.seed, options.only))
        return 0
    if options.chunk:
        first, last, place = options.chunk
        print(json.dumps(run_chunk(options.seed, int(first), int(last), Path(place), not options.no_children)))
        return 0
    total = run_all(options.count, options.seed, not options.no_children, not options.json)
    if options.json:
        print(json.dumps(total))
    else:
        for name, number in sorted(total["outcomes"].items()):
            print(f"{number:9} {name}")
        print(
            f"{total['mutations']} mutations in {total['seconds']:.0f} s, the slowest {total['slowest'][0]:.2f} s, the largest growth {total['growth'] >> 20} MB"
        )
        for finding in total["findings"][:50]:
            print("FINDING", finding)
        print(f"{len(total['findings'])} findings")
    return 1 if total["findings"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
