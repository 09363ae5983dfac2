"""Train the run of a workspace once more with changed model arguments: a second recorder below the same mlruns.

    python run_again.py PROVIDER '{"learning_rate": 0.1}'      (in the workspace)

Like qrun it stores the task first, so arguments that the model refuses leave a recorder that holds nothing else.
"""

import json
import pickle
import sys
from pathlib import Path

import qlib
from qlib.model.trainer import task_train

if __name__ == "__main__":
    qlib.init(provider_uri=sys.argv[1], region="cn", kernels=1)
    stored = next(Path("mlruns").glob("*/*/artifacts/params.pkl")).with_name("task")
    task = pickle.loads(stored.read_bytes())  # of our own run, made just before
    task["model"]["kwargs"].update(json.loads(sys.argv[2]))
    task_train(task, experiment_name="workflow")
