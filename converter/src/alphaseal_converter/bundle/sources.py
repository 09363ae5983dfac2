"""The texts of others that a bundle carries, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alphaseal.format import strict_json
from alphaseal_converter.factors import trial
from alphaseal_converter.plain import json_value
from alphaseal_converter.proof.proven import Proven


@dataclass(frozen=True)
class SourceTexts:
    """Inert texts that go below sources/, numbered: bundle path -> text, their real names, and whose they are.

    `factors` is parallel to `Proven.sota_factors`: the path of each factor's code or None; `base` maps a base feature to
    the path of its code.
    """

    texts: Mapping[str, str]
    titles: Mapping[str, str]
    factors: Sequence[str | None]
    base: Mapping[str, str]

    @classmethod
    def of(cls, proven: Proven) -> SourceTexts:
        """Code of the accepted factors, of the base factors and of the model, and the configuration."""
        texts: dict[str, str] = {}
        titles: dict[str, str] = {}

        def add(path: str, text: str, title: str) -> str:
            texts[path] = text.encode("utf-8", "backslashreplace").decode("utf-8")
            titles[path] = title.encode("utf-8", "backslashreplace").decode("utf-8")[:1000]
            return path

        factors = [
            add(f"sources/factors/{number:03}.py", factor.code, factor.name) if factor.code is not None else None
            for number, factor in enumerate(proven.sota_factors)
        ]
        base = {
            Path(name).stem: add(f"sources/base/{number:03}.py", code, name)
            for number, (name, code) in enumerate(sorted(proven.located.origin.base_codes.items()))
        }
        if proven.model_code is not None:
            add("sources/model.py", proven.model_code, "model.py")
        configuration = proven.located.parts.configuration
        if configuration.recorded:
            text = strict_json.dumps(json_value(dict(configuration.plain))).decode("utf-8")
            add("sources/task.json", text, "artifacts/task, the configuration that was run")
        return cls(texts, titles, factors, base)


def factors_to_try(proven: Proven) -> list[trial.TriedFactor]:
    """The features of the model that a factor's code computes, in model order."""
    codes: dict[str, str | None] = {Path(name).stem: code for name, code in proven.located.origin.base_codes.items()}
    codes |= {factor.name: factor.code for factor in proven.sota_factors if factor.status == "in_model"}
    return [
        trial.TriedFactor(feature.name, feature.dtype, code)
        for feature in proven.features.features
        if feature.origin in ("sota", "base") and (code := codes.get(feature.name)) is not None
    ]
