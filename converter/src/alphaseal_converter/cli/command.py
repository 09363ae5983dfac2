"""The command ``alphaseal-convert``: inspect, build, replay, features, validate; keys and signatures; doctor, completion."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaseal.errors import UsageError
from alphaseal.format import instants
from alphaseal.plain_text import Printable, printable
from alphaseal.terminal.console import SHELLS, Outcome, Parser, Progress, Version, run_command
from alphaseal_converter.version import __version__

if TYPE_CHECKING:
    from alphaseal.format.manifest import Manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the return value is the exit status of the table in spec/bundle-v1.md."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(_parser(given[0] if given else ""), given, {name: run for name, (_, _, run) in _VERBS.items()})


def _parser(verb: str) -> Parser:
    """The parser of the command; of its verbs only `verb` where there is one of that name.

    The others' options load libraries, one of which may be what doctor is to find.
    """
    parser = Parser(prog="alphaseal-convert", description="Turn an RD-Agent task into a bundle that needs no pickle.")
    parser.add_argument("--version", action=Version, text=_version)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
    for name, (text, add_arguments, _) in _VERBS.items():
        if name == verb or verb not in _VERBS:
            options = verbs.add_parser(name, help=text)
            options.add_argument("--json", action="store_true", help="one JSON object on standard output")
            add_arguments(options)
    return parser


def _of(module: str, name: str) -> Callable[[Any], Any]:
    """A function of a module of this wing that is loaded when it is called."""
    return lambda given: getattr(importlib.import_module(f"{__package__}.{module}"), name)(given)


def _add_doctor(parser: Parser) -> None:
    parser.add_argument(
        "target", type=Path, nargs="?", metavar="MODEL_FILE|TASK_DIR", help="weights file or task to look at too"
    )


def _add_inspect(parser: Parser) -> None:
    parser.add_argument("task", type=Path, metavar="TASK_DIR", help="log/<timestamp> of an RD-Agent task")
    _add_places(parser)


def _add_replay(parser: Parser) -> None:
    parser.add_argument("task", type=Path, nargs="?", metavar="TASK_DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="RAW.parquet", help="file to write")
    _add_places(parser)
    _add_choice(parser)
    _add_values(parser)


def _add_validate(parser: Parser) -> None:
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="manifest.json, or a bundle directory; an envelope, a trust file, a store's current.json",
    )


def _add_completion(parser: Parser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def _add_build(build: argparse.ArgumentParser) -> None:
    from alphaseal.format.manifest import FORMAT, FORMATS
    from alphaseal_converter.cli import signing as signing_commands

    build.add_argument(
        "task", type=Path, nargs="?", metavar="TASK_DIR", help="log/<timestamp> of an RD-Agent task; none for a scan"
    )
    build.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="directory to make; must not exist")
    _add_places(build)
    _add_choice(build)
    _add_values(build)
    build.add_argument(
        "--feature-order",
        type=Path,
        metavar="FILE",
        help="feature names in model order, where nothing in the run says it",
    )
    build.add_argument("--name", help="bundle name (default: from the task)")
    build.add_argument(
        "--sequence",
        type=_sequence,
        metavar="N",
        help="sequence number (default: the run's end, in seconds since 1970)",
    )
    build.add_argument(
        "--expires",
        type=_instant,
        metavar="INSTANT",
        help="the bundle is refused from then on, 2027-01-31T00:00:00Z (default: never)",
    )
    build.add_argument("--require-ready", action="store_true", help="refuse (20) where the bundle would not be ready")
    build.add_argument(
        "--bars",
        type=Path,
        metavar="FILE",
        help="RD-Agent's daily_pv.h5, or parquet: run the factors' code on it, isolated, to find look-back and look-ahead",
    )
    build.add_argument("--static", type=Path, metavar="FILE", help="static_factors.parquet for factors that read it")
    build.add_argument(
        "--python", type=Path, metavar="PYTHON", help="Python with pandas and tables that runs the factors' code"
    )
    build.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMAT,
        help="version of the bundle format: an older one for runtimes that read no other, without the guards that it lacks "
        "(default: %(default)s)",
    )
    build.add_argument("--without-factors", action="store_true", help="leave the factor table out of the bundle")
    signing_commands.add_build_key(build)


def _version() -> Printable:
    from alphaseal.desk import doctor as runtime
    from alphaseal.format.manifest import FORMAT
    from alphaseal_converter.cli import doctor

    return printable(
        [f"alphaseal-convert {__version__}, bundle format {FORMAT}", runtime.versions(), doctor.versions()]
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workspace-root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="where workspaces are looked for by name; repeatable",
    )
    parser.add_argument(
        "--map",
        type=_mapping,
        action="append",
        default=[],
        metavar="FROM=TO",
        help="what a recorded path is called here; repeatable",
    )
    parser.add_argument(
        "--session-key",
        type=Path,
        metavar="FILE",
        help="key of a signed session (default: ARTIFACT_SIGNING_KEY, then rdagent's own key file)",
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        choices=["auto", "session", "workspace", "scan"],
        default="auto",
        help="where the trained model is taken from",
    )
    parser.add_argument(
        "--anchor", default="auto", metavar="auto|model|factor|INDEX", help="which accepted experiment is converted"
    )


def _add_values(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE.parquet",
        help="raw feature values of the run, to prove the feature order",
    )
    parser.add_argument(
        "--replay-with", type=Path, metavar="PYTHON", help="Python of an environment with qlib, to compute those values"
    )
    parser.add_argument(
        "--provider",
        type=Path,
        metavar="DIR",
        help="qlib's market data: proves the order without qlib, and alphas.onnx (default: the run's own path, if there)",
    )
    parser.add_argument(
        "--without-provider", action="store_true", help="leave the run's own market data alone, though they are there"
    )
    parser.add_argument(
        "--run-model-code", action="store_true", help="allow code of the workspace to run, in an isolated child process"
    )


def _mapping(text: str) -> tuple[str, str]:
    source, equals, target = text.partition("=")
    if not equals or not source or not target:
        raise argparse.ArgumentTypeError(f"expected FROM=TO, found {text!r}")
    return source, target


def _instant(text: str) -> str:
    if instants.read(text) is None:
        raise argparse.ArgumentTypeError(f"expected YYYY-MM-DDThh:mm:ssZ, found {text!r}")
    return text


def _sequence(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 2**53:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2**53, found {text!r}")
    return int(text)


def _inspect(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal_converter.cli.story import inspect_task

    progress = Progress(enabled=not options.json)
    story = inspect_task(options.task, options.workspace_root, options.map, options.session_key, progress)
    progress.close()
    return story.text(), story.to_plain()


def _build(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal_converter.build import build
    from alphaseal_converter.bundle.write import result_object

    progress = Progress(enabled=not options.json)
    try:
        bundle = build(_request(options, options.out), progress)
    finally:
        progress.close()
    manifest = bundle.manifest
    parity = manifest.parity
    verdict = (
        "ready"
        if manifest.eligibility.ready
        else "not ready: " + "; ".join(f"{reason.code} ({reason.text})" for reason in manifest.eligibility.reasons)
    )
    rows, same = sum(case.rows for case in parity.cases), sum(case.bit_identical for case in parity.cases)
    lines = [
        f"{verdict}",
        f"parity  {same} of {rows} rows bit-identical to {' and '.join(parity.judges)}; order {manifest.order.proof}"
        + (
            f"; {parity.days.same_order} of {parity.days.days} days in the same order"
            if parity.days is not None
            else ""
        ),
        *_differences(manifest),
        *(trial.line(name) for name, trial in bundle.trials.items()),
        f"bundle  {bundle.path}  sha256 {bundle.digest}",
        f"card    {bundle.path / 'card.html'}",
    ]
    return printable(lines), result_object(bundle)


def _differences(manifest: Manifest) -> list[str]:
    """Near ties and noise, where there are any: a bundle is as good with them, and its owner should know."""
    days, replay, lines = manifest.parity.days, manifest.order.replay, []
    if days is not None and days.swaps:
        lines.append(
            f"ties    {days.swaps} pairs of stocks changed places within near ties, at most {days.largest_gap:.3g} apart"
        )
    if replay is not None and replay.noise is not None:
        from alphaseal_converter.evidence.noise import in_words

        lines.append(f"noise   {in_words(replay.noise, replay.rows)}")
    return lines


def _replay(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal_converter.build import write_raw_values

    if options.replay_with is None and importlib.util.find_spec("qlib") is not None:
        options.replay_with = Path(sys.executable)  # qlib's own numbers, where it is installed beside us
    if options.features is not None:
        raise UsageError("usage.arguments", "replay computes the raw values; --features does not go with it")
    progress = Progress(enabled=not options.json)
    try:
        written = write_raw_values(_request(options, options.out), progress)
    finally:
        progress.close()
    text = printable([f"written: {options.out} ({written} features)"])
    return text, {"out": str(options.out), "features": written}


def _request(options: argparse.Namespace, out: Path) -> Any:
    from alphaseal.format.manifest import FORMAT
    from alphaseal_converter.cli import signing as signing_commands
    from alphaseal_converter.proof.request import BuildRequest

    return BuildRequest(
        out=out,
        task_directory=options.task,
        workspace_roots=options.workspace_root,
        path_maps=options.map,
        weights=options.weights,
        anchor=options.anchor,
        run_model_code=options.run_model_code,
        features=options.features,
        feature_order=getattr(options, "feature_order", None),
        replay_with=options.replay_with,
        provider=options.provider,
        without_provider=options.without_provider,
        session_key=options.session_key,
        name=getattr(options, "name", None),
        sequence=getattr(options, "sequence", None),
        with_factors=not getattr(options, "without_factors", False),
        expires=getattr(options, "expires", None),
        require_ready=getattr(options, "require_ready", False),
        trial=_trial(options),
        signing_key=signing_commands.build_key(options) if "sign" in options else None,
        format=getattr(options, "format", FORMAT),
    )


def _completion(options: argparse.Namespace) -> tuple[Printable, Any]:
    from alphaseal.desk import completion

    text = completion.script(options.shell, _parser(""))
    return printable(text.split("\n")), {"shell": options.shell, "script": text}


def _trial(options: argparse.Namespace) -> Any:
    """The bars of ``build --bars``; None where there are none."""
    from alphaseal_converter.factors.trial import TrialRequest

    bars = getattr(options, "bars", None)
    if bars is None:
        if getattr(options, "static", None) is not None:
            raise UsageError("usage.arguments", "--static goes with --bars", next_step="name the bars, too")
        return None
    return TrialRequest(bars, options.static, options.python)


def _validate(options: argparse.Namespace) -> Outcome:
    from alphaseal_converter.bundle.validate import validate

    return validate(options.files)


_Verb = tuple[str, Callable[[Parser], None], Callable[[argparse.Namespace], Outcome]]
_VERBS: dict[str, _Verb] = {
    "inspect": ("the story of a task: experiments, decisions, weights, the anchor", _add_inspect, _inspect),
    "build": ("read, prove, write a bundle", _add_build, _build),
    "replay": (
        "write the raw feature values of a run, to carry them elsewhere: qlib's, or from bars",
        _add_replay,
        _replay,
    ),
    "validate": ("check manifests, envelopes and trust files against the published schemas", _add_validate, _validate),
    "doctor": (
        "what of this machine would stop the work; whether a file can be read",
        _add_doctor,
        _of("doctor", "run"),
    ),
    "completion": ("print a script for tab completion", _add_completion, _completion),
    "features": (
        "run a bundle's SOTA factors on bars, isolated, and write a day's features",
        _of("features", "add_arguments"),
        _of("features", "run"),
    ),
    "keygen": (
        "make a pair of keys: PREFIX.key (keep it secret) and PREFIX.pub",
        _of("signing", "add_keygen"),
        _of("signing", "keygen"),
    ),
    "sign": ("verify a bundle wholly and sign it", _of("signing", "add_sign"), _of("signing", "sign")),
    "approve": (
        "verify a bundle that others have signed, and sign it too",
        _of("signing", "add_approve"),
        _of("signing", "approve"),
    ),
    "attest": (
        "verify a bundle wholly and write its signed provenance (in-toto, SLSA)",
        _of("signing", "add_attest"),
        _of("signing", "attest"),
    ),
    "provenance": (
        "check the provenance of a bundle and show it",
        _of("signing", "add_provenance"),
        _of("signing", "show_provenance"),
    ),
}
