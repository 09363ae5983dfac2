"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alphaseal_converter.proof.request import BuildRequest


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where the files of a run are."""
    parser.add_argument(
        "--workspace-root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="directory to search for workspaces by name; repeatable",
    )
    parser.add_argument(
        "--map",
        type=_mapping,
        action="append",
        default=[],
        metavar="FROM=TO",
        help="use the path TO for the recorded path FROM; repeatable",
    )
    parser.add_argument(
        "--session-key",
        type=Path,
        metavar="FILE",
        help="key of a signed session (default: ARTIFACT_SIGNING_KEY, then rdagent's own key file)",
    )


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Which of a task's models is converted."""
    parser.add_argument(
        "--weights",
        choices=["auto", "session", "workspace", "scan"],
        default="auto",
        help="where the trained model is taken from",
    )
    parser.add_argument(
        "--anchor", default="auto", metavar="auto|model|factor|INDEX", help="which accepted experiment is converted"
    )


def add_values(parser: argparse.ArgumentParser) -> None:
    """What proves the order of the features."""
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE.parquet",
        help="raw feature values of the run, to prove the feature order",
    )
    parser.add_argument(
        "--replay-with",
        type=Path,
        metavar="PYTHON",
        help="Python of an environment with qlib, to compute the raw feature values",
    )
    parser.add_argument(
        "--provider",
        type=Path,
        metavar="DIR",
        help="qlib's market data, to prove the order without qlib and to build alphas.onnx (default: the run's own path, if it exists)",
    )
    parser.add_argument("--without-provider", action="store_true", help="do not use the run's own market data")
    parser.add_argument(
        "--run-model-code", action="store_true", help="allow code of the workspace to run, in an isolated child process"
    )


def _mapping(text: str) -> tuple[str, str]:
    source, equals, target = text.partition("=")
    if not equals or not source or not target:
        raise argparse.ArgumentTypeError(f"expected FROM=TO, found {text!r}")
    return source, target


def request(options: argparse.Namespace) -> BuildRequest:
    """What the options ask for that ``build`` and ``replay`` share."""
    from alphaseal_converter.proof.request import BuildRequest

    return BuildRequest(
        out=options.out,
        task_directory=options.task,
        workspace_roots=options.workspace_root,
        path_maps=options.map,
        weights=options.weights,
        anchor=options.anchor,
        run_model_code=options.run_model_code,
        features=options.features,
        replay_with=options.replay_with,
        provider=options.provider,
        without_provider=options.without_provider,
        session_key=options.session_key,
    )
