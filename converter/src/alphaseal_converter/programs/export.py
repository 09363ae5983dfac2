"""Builds a network from its own code, scores with it and exports it: run isolated by `families.network`, never imported.

It reads ``request.json``, ``model.py`` (code that nobody has read), ``tensors.bin`` and ``batches.bin`` from its
working directory and writes ``answer.bin`` (`plain_table`: `score` of all batches, and in `torch` and `error` the version
and why there is no graph) and, where an export is asked for and succeeds, ``graph.onnx``.  Weights come as plain arrays;
nothing is unpickled.
"""

from __future__ import annotations

import importlib.util
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alphaseal_converter.isolation.plain_table import Column, Texts, Told, encode_answer

OPSET = 18


class Refused(Exception):
    """The network cannot be carried over: the code of the rule, then the message."""


class OneColumn(torch.nn.Module):  # type: ignore[misc]  # types are checked where torch is not installed
    """The network with its output as [rows, 1]."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(features)
        return scores.reshape(-1, 1)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    request = json.loads(Path("request.json").read_text(encoding="utf-8"))
    answer: Told | dict[str, Column]
    try:
        network = build(request)
        batches = read_arrays(request["batches"], "batches.bin")
        results = [score(network, batch, 0) for batch in batches]
        again = score(network, batches[-1], 1)
        if not torch.equal(again.nan_to_num(), results[-1].nan_to_num()):
            raise Refused(
                "model.random", "two calls with the same rows give different scores (dropout that never ends?)"
            )
        scores = torch.cat(results).numpy()
        error = None if request["exporter"] is None else export(network, batches[0], request["exporter"])
        answer = {"score": scores, "torch": same(torch.__version__, len(scores)), "error": same(error, len(scores))}
    except Refused as reason:
        answer = Told(*reason.args)
    Path("answer.bin").write_bytes(encode_answer(answer))


def same(text: str | None, rows: int) -> Texts:
    """One text, or none, in every row."""
    names = [] if text is None else [str(text)]
    return Texts(names, np.full(rows, len(names) - 1, np.int32))


def read_arrays(entries: list[dict[str, Any]], name: str) -> list[torch.Tensor]:
    content = bytearray(Path(name).read_bytes())
    arrays = []
    for entry in entries:
        kind, shape = getattr(torch, entry["dtype"]), entry["shape"]
        count = math.prod(shape)
        values = (
            torch.frombuffer(content, dtype=kind, count=count, offset=entry["offset"])
            if count
            else torch.empty(0, dtype=kind)
        )
        arrays.append(values.reshape(shape).clone())
    return arrays


def build(request: dict[str, Any]) -> torch.nn.Module:
    """The network as it was pickled: class by class, tensor by tensor, in evaluation mode."""
    torch.manual_seed(0)
    spec = importlib.util.spec_from_file_location("model", "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model_class = getattr(module, request["variable"], None)
    if model_class is None:
        raise Refused("model.code_mismatch", f"model.py defines no {request['variable']}")
    network = model_class(**request["kwargs"])
    if not isinstance(network, torch.nn.Module):
        raise Refused("model.code_mismatch", f"{request['variable']} of model.py makes no torch module")
    check_classes(network, request["classes"])
    load(network, request)
    return network.eval()


def check_classes(network: torch.nn.Module, expected: dict[str, str]) -> None:
    # A class from model.py itself counts by its name: the pickle says `model.Net`, as this module is called.
    found = {
        path: f"{type(part).__module__}.{type(part).__qualname__}"
        for path, part in network.named_modules(remove_duplicate=False)
    }
    for path in (*expected, *found):
        if expected.get(path) != found.get(path):
            raise Refused(
                "model.code_mismatch",
                f"model.py builds another network than the trained one: {path or 'the network'} is "
                f"{found.get(path, 'absent')} and was {expected.get(path, 'absent')}",
            )


def load(network: torch.nn.Module, request: dict[str, Any]) -> None:
    """All parameters and buffers, those outside of a state_dict among them; then plain attributes that training changed."""
    targets = dict(network.named_parameters(remove_duplicate=False))
    targets.update(network.named_buffers(remove_duplicate=False))
    values = dict(
        zip(
            (entry["name"] for entry in request["tensors"]), read_arrays(request["tensors"], "tensors.bin"), strict=True
        )
    )
    for name in (*values, *targets):
        found = [tuple(part[name].shape) if name in part else "absent" for part in (targets, values)]
        if found[0] != found[1]:
            raise Refused(
                "model.code_mismatch", f"the tensor {name} is {found[0]} in model.py and {found[1]} in the weights"
            )
    with torch.no_grad():
        for name, value in values.items():
            targets[name].copy_(value)
    modules = dict(network.named_modules(remove_duplicate=False))
    for path, value in request["attributes"].items():
        owner, _, name = path.rpartition(".")
        if getattr(modules[owner], name, value) != value:
            setattr(modules[owner], name, value)


def score(network: torch.nn.Module, batch: torch.Tensor, seed: int) -> torch.Tensor:
    """Scores float32 [rows], as qlib's GeneralPTNN.predict takes them."""
    torch.manual_seed(seed)
    with torch.no_grad():
        output = network(batch.clone())
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        raise Refused("model.multi_output", f"the network gives a {type(output).__name__}, not one tensor of scores")
    if output.numel() != len(batch):
        raise Refused(
            "model.multi_output", f"the network gives {tuple(output.shape)} for {len(batch)} rows, not one score a row"
        )
    return output.reshape(-1).to(torch.float32).contiguous()


def export(network: torch.nn.Module, example: torch.Tensor, exporter: str) -> str | None:
    """Writes the graph; an exporter's failure is an answer too."""
    dynamo = exporter == "dynamo"
    varied: dict[str, Any] = (
        {"dynamic_shapes": {"features": {0: torch.export.Dim("rows")}}, "external_data": False}
        if dynamo
        else {"dynamic_axes": {"features": {0: "rows"}}}
    )
    try:
        torch.onnx.export(
            OneColumn(network).eval(),
            (example,),
            "graph.onnx",
            input_names=["features"],
            output_names=["score"],
            opset_version=OPSET,
            dynamo=dynamo,
            verbose=False,
            **varied,
        )
    except Exception as problem:  # noqa: BLE001 - exporters raise dozens of types, ImportError of onnxscript among them
        return f"{type(problem).__name__}: {problem}".splitlines()[0][:300]
    return None


if __name__ == "__main__":
    main()
