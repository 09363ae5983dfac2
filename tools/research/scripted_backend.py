"""An LLM backend for rdagent that answers from a script.  Everything else in rdagent runs unchanged.

rdagent picks it up through its own setting BACKEND=scripted_backend.ScriptedBackend.  Two environment variables tell it what to say:
SCRIPT_PLAN  - a JSON file {"kind": "quant|factor|model", "loops": [{...}, ...]}; one entry per loop:
               action "factor": "factors": [names], "refuse": [names the code review turns down],
                                "code": {name: idea file, where it is another one than the factor's name}
               action "model" : "model": name, "training": {n_epochs, lr, early_stop, batch_size, weight_decay}
               both           : "accept": true|false  (the decision of the feedback step)
SCRIPT_IDEAS - a folder with factors/NAME.py and models/NAME.py; their docstrings give description and formula / model type.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

PLAN: dict[str, Any] = json.loads(Path(os.environ["SCRIPT_PLAN"]).read_text(encoding="utf-8"))
IDEAS = Path(os.environ["SCRIPT_IDEAS"])
position = -1  # index of the loop being answered


def source(kind: str, name: str) -> str:
    """Code of one idea."""
    return (IDEAS / kind / f"{name}.py").read_text(encoding="utf-8")


def notes(kind: str, name: str) -> tuple[str, str]:
    """First and second line of the docstring: description, and formula or model type."""
    lines = (ast.get_docstring(ast.parse(source(kind, name)), clean=True) or "\n").splitlines()
    return lines[0], lines[1].split("model_type: ")[-1]


def caller() -> tuple[str, str, str]:
    """File, function and class of the rdagent code that asks."""
    for frame in inspect.stack()[2:14]:
        path = frame.filename.replace("\\", "/")
        if "/rdagent/" in path and "/oai/" not in path and not path.endswith("misc.py"):
            owner = type(frame.frame.f_locals["self"]).__name__ if "self" in frame.frame.f_locals else ""
            return path.split("/rdagent/")[-1], frame.function, owner
    return "", "", ""


def answer(file: str, function: str, owner: str, prompt: str) -> str | dict[str, Any]:
    """The scripted reply to one request."""
    global position
    loops = PLAN["loops"]
    if file.endswith("quant_proposal.py"):  # which arm next?
        return {"action": loops[position + 1]["action"]}
    if file == "components/proposal/__init__.py" and function == "gen":
        position += 1
        topic = ", ".join(loops[position].get("factors", [])) or loops[position].get("model", "")
        return {
            "hypothesis": f"Idea {position}: {topic} tells something about next-day returns.",
            "reason": "scripted 假设",
            "concise_reason": "r",
            "concise_observation": "o",
            "concise_justification": "j",
            "concise_knowledge": "k",
            "action": loops[position]["action"],
        }
    step = loops[max(position, 0)]

    def idea(name: str) -> str:
        return str(step.get("code", {}).get(name, name))

    if file == "components/proposal/__init__.py" and function == "convert":
        if step["action"] == "factor":
            return {
                n: {
                    "description": notes("factors", idea(n))[0],
                    "formulation": notes("factors", idea(n))[1],
                    "variables": {"C_t": "adjusted close"},
                }
                for n in step["factors"]
            }
        description, model_type = notes("models", step["model"])
        return {
            step["model"]: {
                "description": description,
                "formulation": "y=f(X)",
                "architecture": description,
                "variables": {"X": "features"},
                "hyperparameters": {},
                "training_hyperparameters": step["training"],
                "model_type": model_type,
            }
        }
    if file.endswith("factor_coder/evolving_strategy.py"):
        asked = re.findall(r"factor_name: (\w+)", prompt)
        return {"code": source("factors", idea(next(n for n in asked if n in step["factors"])))}
    if file.endswith("model_coder/evolving_strategy.py"):
        return {"code": source("models", step["model"])}
    if file.endswith("eva_utils.py"):
        if owner == "FactorOutputFormatEvaluator":
            return {"output_format_decision": True, "output_format_feedback": "fine"}
        if owner == "FactorFinalDecisionEvaluator":
            asked = re.findall(r"factor_name: (\w+)", prompt)
            refused = any(n in asked for n in step.get("refuse", []))
            return {"final_decision": not refused, "final_feedback": "not convincing" if refused else "fine"}
        return (
            {"final_decision": True, "final_feedback": "fine"}
            if owner == "ModelFinalEvaluator"
            else "No problem found."
        )
    if file.endswith("knowledge_management.py"):
        return {"component_no_list": []}
    if file.endswith("qlib/developer/feedback.py"):
        return {
            "Observations": "seen 观察",
            "Feedback for Hypothesis": "noted",
            "New Hypothesis": "next",
            "Reasoning": f"scripted verdict {position}",
            "Replace Best Result": "yes" if step["accept"] else "no",
            "Decision": "true" if step["accept"] else "false",
        }
    raise RuntimeError(f"the script has no answer for {file}:{function} ({owner})")


class ScriptedBackend:
    """The part of rdagent's APIBackend that the qlib scenarios use."""

    chat_token_limit = 10**9

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def build_messages_and_calculate_token(self, *args: Any, **kwargs: Any) -> int:
        return 10

    def create_embedding(
        self, input_content: str | list[str], *args: Any, **kwargs: Any
    ) -> list[float] | list[list[float]]:
        """A fixed pseudo-random vector per text."""

        def vector(text: str) -> list[float]:
            generator = np.random.default_rng(int(hashlib.md5(text.encode()).hexdigest()[:8], 16))
            return list(generator.normal(size=16).tolist())

        return vector(input_content) if isinstance(input_content, str) else [vector(str(x)) for x in input_content]

    def build_messages_and_create_chat_completion(
        self, user_prompt: str | None = None, system_prompt: str | None = None, *args: Any, **kwargs: Any
    ) -> str:
        reply = answer(*caller(), user_prompt or "")
        return reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
