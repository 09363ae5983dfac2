"""What one run left of itself: configuration, dataset and predictions, each read once, where it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from alphaseal_converter.errors import RefusalError
from alphaseal_converter.locate.artifacts import (
    DatasetState,
    Predictions,
    read_dataset,
    read_predictions,
    read_task_configuration,
)
from alphaseal_converter.locate.configuration import Expression, Loader, TaskConfiguration
from alphaseal_converter.locate.runs import Artifacts, Run
from alphaseal_converter.processors.kinds import fitted_processors
from alphaseal_converter.processors.processor import Processor


@dataclass(frozen=True)
class RunParts:
    """One run, None where there is none, and what its artefacts say; of those that are gone nothing is known."""

    run: Run | None

    @property
    def artifacts(self) -> Artifacts:
        return self.run.artifacts if self.run is not None else Artifacts()

    @cached_property
    def configuration(self) -> TaskConfiguration:
        path = self.artifacts.task
        return read_task_configuration(path) if path is not None else TaskConfiguration()

    @cached_property
    def dataset(self) -> DatasetState | None:
        path = self.artifacts.dataset
        return read_dataset(path) if path is not None else None

    @cached_property
    def predictions(self) -> Predictions | None:
        path = self.artifacts.pred
        return read_predictions(path) if path is not None else None

    def to_replay(self) -> Predictions:
        """The recorded predictions; RefusalError ``replay.no_predictions`` where the run has none."""
        if self.predictions is None:
            raise RefusalError(
                "replay.no_predictions",
                "the run recorded no predictions to replay",
                expected="artifacts/pred.pkl in the run",
            )
        return self.predictions

    @cached_property
    def processors(self) -> tuple[Processor, ...]:
        """The fitted processors before the model, in order; none where the dataset that holds them is gone."""
        return fitted_processors(self.dataset.infer_processors) if self.dataset is not None else ()

    @property
    def processors_known(self) -> bool:
        """The dataset says which there were, or the configuration says that there were none."""
        configuration = self.configuration
        return self.dataset is not None or (configuration.recorded and not configuration.infer_processors)

    @property
    def loader(self) -> Loader | None:
        """As configured; else, where the handler builds its own, as the dataset kept it."""
        if self.dataset is None or self.configuration.loader is not None:
            return self.configuration.loader
        return self.dataset.loader

    @property
    def computed(self) -> tuple[Expression, ...]:
        """The expressions that the dataset's own loaders computed, in their order."""
        loader = self.dataset.loader if self.dataset is not None else None
        return loader.computed if loader is not None else ()

    @property
    def dataset_class(self) -> str | None:
        """The name of the dataset's class, without its module."""
        class_name = self.dataset.dataset_class.rpartition(".")[2] if self.dataset is not None else None
        return self.configuration.dataset.class_name or class_name

    @property
    def step_length(self) -> int | None:
        """Days of the dataset's windows; None for rows of one day."""
        of_dataset = self.dataset.step_len if self.dataset is not None else None
        return self.configuration.step_len if self.configuration.step_len is not None else of_dataset
