"""Run real RD-Agent loops with scripted answers and leave a task directory behind.

    python run_task.py --plan plans/quant.json --market MARKET_DIR --out TASK_DIR --format signed

TASK_DIR/log/<stamp>/__session__/<loop>/<step>_<name>   session snapshots
TASK_DIR/workspaces/<uuid>/                             what RD-Agent and qrun wrote
TASK_DIR/artifact_signing.key                           32 raw bytes (format "signed" only)
TASK_DIR/history.json                                   what happened, read from the live objects

Format "signed" is what rdagent 1.0.0 writes: magic line + HMAC-SHA256 + pickle protocol 5, five steps, history grows in 4_record.
Format "plain" is how older versions and forks write it.  It is made by running the same loops with three changes to the loop class:
the step list loses "record", the step "feedback" appends to the history, and `dump` writes a bare pickle, protocol 4.
--embed-weights puts the bytes of the newest params.pkl into sub_workspace_list[0].file_dict["model.pkl"] of accepted experiments
while the state is dumped (older deployments do that in their runner).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONDA = """#!/bin/sh
# Stand-in for conda: rdagent asks for "env list" and "run -n NAME CMD"; the only environment is the running one.
if [ "$1" = env ]; then echo "rdagent4qlib $VIRTUAL_ENV"; echo "current $VIRTUAL_ENV"; exit 0; fi
shift
while [ "$1" = -n ] || [ "$1" = --no-capture-output ]; do [ "$1" = -n ] && shift; shift; done
exec "$@"
"""


def set_environment(options: argparse.Namespace, market: dict[str, Any]) -> None:
    """rdagent reads its settings from environment variables at import time."""
    scratch = options.out / "scratch"
    (scratch / "bin").mkdir(parents=True, exist_ok=True)
    (scratch / "bin/conda").write_text(CONDA)
    (scratch / "bin/conda").chmod(0o755)
    variables = {
        "PATH": f"{scratch}/bin:{sys.prefix}/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": sys.prefix,
        "HOME": str(scratch),
        "CONDA_DEFAULT_ENV": "current",
        "PYTHONPATH": str(HERE),
        "BACKEND": "scripted_backend.ScriptedBackend",
        "CHAT_MODEL": "scripted",
        "EMBEDDING_MODEL": "scripted",
        "SCRIPT_PLAN": str(options.plan),
        "SCRIPT_IDEAS": str(options.ideas),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "WORKSPACE_PATH": str(options.out / "workspaces"),
        "LOG_TRACE_PATH": str(options.out / "log" / options.stamp),
        "PICKLE_CACHE_FOLDER_PATH_STR": str(scratch / "cache"),
        "ARTIFACT_SIGNING_KEY_PATH": str(options.out / "artifact_signing.key"),
        "FACTOR_CoSTEER_DATA_FOLDER": str(options.market / "src_full"),
        "FACTOR_CoSTEER_DATA_FOLDER_DEBUG": str(options.market / "src_debug"),
        "FACTOR_CoSTEER_PYTHON_BIN": sys.executable,
        "FACTOR_CoSTEER_MAX_LOOP": "2",
        "CoSTEER_MAX_LOOP": "2",
        "MODEL_CoSTEER_ENV_TYPE": "conda",
        "QLIB_QUANT_ACTION_SELECTION": "llm",
        "RD_AGENT_DISABLE_SQLITE_REGISTRY": "1",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": str(options.threads),
        "PYTHONHASHSEED": "0",
    }
    for kind in ("FACTOR", "MODEL", "QUANT"):
        for name, (start, end) in market["segments"].items():
            variables |= {f"QLIB_{kind}_{name.upper()}_START": start, f"QLIB_{kind}_{name.upper()}_END": end}
    os.environ.update(variables)
    os.chdir(scratch)
    sys.path.insert(0, str(HERE))


def adapt_templates(options: argparse.Namespace, market: dict[str, Any]) -> None:
    """Workspace templates get the simulated data, its universe and a thread count; nothing else changes."""
    from rdagent.scenarios.qlib.experiment.workspace import QlibFBWorkspace

    def inject(self: Any, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml", ".md"):
                text = path.read_text(encoding="utf-8")
                if path.suffix == ".yaml":
                    for pattern, value in (
                        (r"provider_uri: .*", f'provider_uri: "{options.market / "qlib_bin"}"'),
                        (r"market: &market .*", f"market: &market {market['market']}"),
                        (r"benchmark: &benchmark .*", f"benchmark: &benchmark {market['benchmark']}"),
                        (r"(num_threads|n_jobs): \d+", rf"\1: {options.threads}"),
                    ):
                        text = re.sub(pattern, value, text)
                self.inject_files(**{str(path.relative_to(folder)): text})

    QlibFBWorkspace.inject_code_from_folder = inject
    execute = QlibFBWorkspace.execute

    def patient_execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        """qlib 0.9.7 logs metrics in a thread; now and then mlflow's file store reads one of them too early and qrun dies."""
        for _ in range(4):
            shutil.rmtree(self.workspace_path / "mlruns", ignore_errors=True)
            result = execute(self, *args, **kwargs)
            if result[0] is not None or "malformed. No data found" not in " ".join(str(result[1]).split()):
                break
        return result

    QlibFBWorkspace.execute = patient_execute
    for name in ("quant", "factor", "model"):  # a text for the prompt only; it would start a Python process per prompt
        module: Any = __import__(f"rdagent.scenarios.qlib.experiment.{name}_experiment", fromlist=["x"])
        module.get_runtime_environment_by_env = lambda env: '{"runtime": "python"}'


def newest_weights(experiment: Any) -> Path | None:
    """params.pkl of the newest run in the workspace of an experiment."""
    found = sorted(
        Path(experiment.experiment_workspace.workspace_path).glob("mlruns/*/*/artifacts/params.pkl"),
        key=lambda p: p.stat().st_mtime,
    )
    return found[-1] if found else None


def use_plain_format(loop_class: Any, embed: bool) -> None:
    """Turn the loop class into one that writes the plain format (see the module text)."""
    loop_class.steps = [s for s in loop_class.steps if s != "record"]
    original = loop_class.feedback

    def feedback(self: Any, prev_out: dict[str, Any]) -> Any:
        result = original(self, prev_out)
        self.record({**prev_out, "feedback": result})
        return result

    def dump(self: Any, path: str | Path) -> None:
        added = []
        for experiment, verdict in self.trace.hist if embed else []:
            weights = newest_weights(experiment) if verdict.decision else None
            if weights is not None:
                files = experiment.sub_workspace_list[0].file_dict
                files["model.pkl"] = weights.read_bytes()
                added.append(files)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(pickle.dumps(self, protocol=4))
        for files in added:  # rdagent would try to write these bytes as text in the next loop
            del files["model.pkl"]

    loop_class.feedback, loop_class.dump = feedback, dump


def describe(loop: Any) -> list[dict[str, Any]]:
    """One dictionary per history entry."""
    out = []
    for experiment, verdict in loop.trace.hist:
        reviews = [] if experiment.prop_dev_feedback is None else list(experiment.prop_dev_feedback)
        out.append(
            {
                "experiment": type(experiment).__name__,
                "decision": verdict.decision,
                "tasks": [t.name for t in experiment.sub_tasks],
                "approved": [bool(r) for r in reviews],
                "workspace": Path(experiment.experiment_workspace.workspace_path).name,
                "based_on": [
                    Path(b.experiment_workspace.workspace_path).name for b in experiment.based_experiments or []
                ],
                "metrics": None
                if experiment.result is None
                else {k: float(v) for k, v in dict(experiment.result).items()},
            }
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ideas", type=Path, default=HERE / "ideas")
    parser.add_argument("--format", choices=["signed", "plain"], default="signed")
    parser.add_argument("--embed-weights", action="store_true")
    parser.add_argument("--stamp", default="2022-03-07_09-15-42-120345")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    options.plan, options.market, options.out, options.ideas = (
        x.absolute() for x in (options.plan, options.market, options.out, options.ideas)
    )
    market = json.loads((options.market / "market.json").read_text())
    plan = json.loads(options.plan.read_text(encoding="utf-8"))
    set_environment(options, market)
    adapt_templates(options, market)
    import torch
    from rdagent.app.qlib_rd_loop import conf

    module = __import__(f"rdagent.app.qlib_rd_loop.{plan['kind']}", fromlist=["x"])
    loop_class = getattr(module, f"{plan['kind'].capitalize()}RDLoop")
    if options.format == "plain":
        use_plain_format(loop_class, options.embed_weights)
    torch.manual_seed(options.seed)
    loop = loop_class(getattr(conf, f"{plan['kind'].upper()}_PROP_SETTING"))
    asyncio.run(loop.run(loop_n=len(plan["loops"])))
    summary = {
        "kind": plan["kind"],
        "format": options.format,
        "embedded_weights": options.embed_weights,
        "loop_class": f"{loop_class.__module__}.{loop_class.__name__}",
        "steps": loop_class.steps,
        "history": describe(loop),
    }
    (options.out / "history.json").write_text(json.dumps(summary, indent=1))
    for h in summary["history"]:
        print(
            h["experiment"],
            h["decision"],
            h["tasks"],
            h["approved"],
            h["workspace"],
            {k: round(v, 4) for k, v in (h["metrics"] or {}).items() if k in ("IC", "Rank IC")},
        )


if __name__ == "__main__":
    main()
