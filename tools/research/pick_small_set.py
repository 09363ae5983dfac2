"""Copy the few small files that tests and demo need from a full fixture set.

    python pick_small_set.py --fixtures FIXTURES_DIR --out tests/data

Folders keep the names they have in the full set, so a test can be pointed at either.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

DIRECT = ("lgb_nested_loader", "lgb_ordered_loader", "lgb_alpha158_filter")


def copy(source: Path, out: Path, names: list[str]) -> None:
    """Copy files and whole folders, given relative to `source`; what was there before goes."""
    for name in names:
        target = out / name
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target)
        else:
            shutil.copyfile(source / name, target)


def features_of(source: Path, truth: str) -> str:
    """The raw features file of one truth folder, relative to `source`."""
    folder = source / truth
    named = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["features_file"]
    return str((folder / named).resolve().relative_to(source.resolve()))


def plain_task(source: Path, out: Path) -> None:
    """The demo's task: every snapshot, the workspaces of accepted experiments, the truth of the last one."""
    expected = json.loads((source / "expected.json").read_text(encoding="utf-8"))
    kept = [f"workspaces/{entry['workspace']}" for entry in expected["history"] if entry["decision"]]
    truth = expected["convert"]["truth"]
    copy(source, out, ["expected.json", "log", *kept, truth, features_of(source, truth)])


def signed_task(source: Path, out: Path) -> None:
    """Signed snapshots and their key, no workspaces: what reading of sessions needs."""
    session = next(source.glob("log/*/__session__"))
    loops = sorted(session.iterdir(), key=lambda folder: int(folder.name))
    last_steps = [max(loop.iterdir(), key=lambda step: int(step.name.split("_")[0])) for loop in loops]
    chosen = [session / "0/1_coding", loops[-1] / "3_feedback", *last_steps]
    copy(source, out, ["expected.json", "artifact_signing.key", *(str(path.relative_to(source)) for path in chosen)])


def network_run(source: Path, out: Path) -> None:
    """The workspace of a network on windows of alpha features alone, and its recorded predictions."""
    truth = json.loads((source / "truth/hist1_model/truth.json").read_text(encoding="utf-8"))
    workspace = Path(truth["workspace"]).name
    kept = [f"truth/hist1_model/{name}" for name in ("truth.json", "pred.parquet")]
    copy(source, out, [f"workspaces/{workspace}", *kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixtures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    plain_task(options.fixtures / "factor_plain", options.out / "factor_plain")
    signed_task(options.fixtures / "quant_signed", options.out / "quant_signed")
    network_run(options.fixtures / "model_plain", options.out / "model_plain")
    direct = options.fixtures / "direct"
    for case in DIRECT:
        copy(direct, options.out / "direct", [case, features_of(direct, f"{case}/truth")])


if __name__ == "__main__":
    main()
