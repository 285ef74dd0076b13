"""`FeedLoader` and Composer's Trainer, beyond the snippet: short epochs, several fits, evaluation, what is refused."""

import importlib
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.launcher.stack import LocalStack
from penstock.trainer.adapters.ahead import Ahead, timed

pytestmark = [pytest.mark.integration, pytest.mark.composer, pytest.mark.filterwarnings("default")]

composer: Any = importlib.import_module("composer")
torch: Any = importlib.import_module("torch")


class Noting(composer.ComposerModel):  # type: ignore[misc]
    """A model that notes the items of each batch that it trains on and evaluates, by stretch of either."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[int]] = []
        self.evaluated: list[list[int]] = []

    def forward(self, batch: Any) -> Any:
        """Note the items."""
        self.trained.append(batch["item"].tolist())
        return self.weight.expand(len(batch["item"]))

    def loss(self, outputs: Any, batch: Any) -> Any:
        """Return some loss."""
        return outputs.sum() * batch["label"].float().mean()

    def eval_forward(self, batch: Any, outputs: Any = None) -> Any:  # noqa: ARG002 - Composer's signature
        """Note the items."""
        self.evaluated.append(batch["item"].tolist())
        return self.weight.expand(len(batch["item"]))

    def get_metrics(self, is_train: bool) -> dict[str, Any]:  # noqa: FBT001 - Composer's signature
        """Return a metric, without which Composer does not evaluate."""
        return {} if is_train else {"mean": importlib.import_module("torchmetrics").MeanMetric()}

    def update_metric(self, batch: Any, outputs: Any, metric: Any) -> None:  # noqa: ARG002
        """Keep it."""
        metric.update(outputs)


class Run:
    """A Trainer over a stream, and what its model saw."""

    #: Whether batches are fetched ahead, as they are for a GPU.
    ahead = False

    def __init__(self, stack: LocalStack, stream: str, folder: Path, *, resume: bool = False, **options: Any) -> None:
        """Prepare one; `resume` from the last checkpoint in the folder."""
        self.model = Noting()
        loader = penstock.connect(stack.address, stream).torch()
        if self.ahead:
            loader._ahead = Ahead(loader.feed, timed(loader._put, loader.feed.stats), 2)
        self.loader = penstock.composer.FeedLoader(loader)
        settings: dict[str, Any] = {
            "train_dataloader": self.loader,
            "callbacks": [self.loader],
            "optimizers": torch.optim.SGD(self.model.parameters(), lr=0.1),
            "max_duration": "2ep",
            "save_folder": str(folder),
            "save_interval": "7ba",
            "save_overwrite": True,
            "load_path": str(folder / "latest-rank0.pt") if resume else None,
            "progress_bar": False,
            "device": "cpu",
        }
        self.trainer = composer.Trainer(model=self.model, **settings | options)

    def fit(self, **options: Any) -> list[list[int]]:
        """Train, and return the items of each batch."""
        self.trainer.fit(**options)
        return self.model.trained


@pytest.fixture(params=[False, True], ids=["", "ahead"])
def _ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "ahead", request.param)


@pytest.mark.usefixtures("_ahead")
def test_an_epoch_that_is_shorter_than_its_length_ends_there(stack: LocalStack, tmp_path: Path) -> None:
    """14 batches of 15, since the last images are none: the checkpoint after the 14th goes on with the next epoch."""
    whole = Run(stack, "poor", tmp_path / "whole").fit()
    assert 2 * [list(range(8 * at, min(8 * at + 8, 107))) for at in range(14)] == whole
    cut = Run(stack, "poor", tmp_path / "cut", max_duration="14ba")
    assert 15 == len(cut.loader)
    assert whole[:14] == cut.fit()
    resumed = Run(stack, "poor", tmp_path / "cut", resume=True)
    assert 14 == int(resumed.trainer.state.timestamp.batch_in_epoch)
    assert whole[14:] == resumed.fit()


@pytest.mark.usefixtures("_ahead")
def test_a_second_fit_goes_on_with_the_next_batch(stack: LocalStack, tmp_path: Path) -> None:
    """In mid-epoch, too."""
    whole = Run(stack, "train", tmp_path / "whole").fit()
    parts = Run(stack, "train", tmp_path / "parts", max_duration="4ba")
    parts.fit()
    parts.fit(duration="15ba")
    assert whole[:19] == parts.fit(duration="11ba")[:19]
    assert whole == parts.model.trained


@pytest.mark.usefixtures("_ahead")
def test_an_epoch_of_composer_may_be_a_part_of_one(stack: LocalStack, tmp_path: Path) -> None:
    """Two parts of ten batches and what is left of fifteen; a run that is resumed in the first goes on likewise."""
    options: dict[str, Any] = {"train_subset_num_batches": 10, "max_duration": "3ep"}
    whole = Run(stack, "train", tmp_path / "whole", **options).fit()
    assert 10 + 5 + 10 == len(whole)
    assert list(range(120)) == sorted(item for batch in whole[:15] for item in batch)
    Run(stack, "train", tmp_path / "cut", **options).fit(duration="7ba")
    assert whole[7:] == Run(stack, "train", tmp_path / "cut", resume=True, **options).fit()


def test_each_evaluation_sees_all_batches(stack: LocalStack, tmp_path: Path) -> None:
    """Of a loader of a feed, although Composer takes one of them to set its generators before it trains."""
    evaluate: dict[str, Any] = {
        "eval_interval": "7ba",
        "eval_dataloader": penstock.connect(stack.address, "poor").torch(),
    }
    run = Run(stack, "train", tmp_path, max_duration="7ba", **evaluate)
    run.fit()
    assert 14 == len(run.model.evaluated)
    assert list(range(107)) == [item for batch in run.model.evaluated for item in batch]


def test_resuming_without_spinning_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    """In words; what is left of the epoch would be too long."""
    Run(stack, "train", tmp_path, max_duration="7ba").fit()
    resumed = Run(stack, "train", tmp_path, resume=True, spin_dataloaders=False)
    with pytest.raises(penstock.SpecError, match="leave spin_dataloaders at True"):
        resumed.fit()
    assert [] == resumed.model.trained


def test_a_checkpoint_without_a_position_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    """It is of a run without the callback: going on would train on the first batches once more."""
    other = penstock.connect(stack.address, "train").torch()
    Run(stack, "train", tmp_path, max_duration="7ba", train_dataloader=other, callbacks=[]).fit()
    with pytest.raises(penstock.SpecError, match=r"latest-rank0\.pt', saved after 7 batches, has no position"):
        Run(stack, "train", tmp_path, resume=True)
    over = Run(stack, "train", tmp_path, resume=True, load_weights_only=True, max_duration="1ba")
    assert 1 == len(over.fit())


def test_a_loader_that_is_not_given_as_both_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    """And one that is evaluated from, and a state of something else."""
    with pytest.raises(penstock.SpecError, match="give it both as train_dataloader and in callbacks"):
        Run(stack, "train", tmp_path, callbacks=[]).fit()
    others = Run(stack, "train", tmp_path).loader
    with pytest.raises(penstock.SpecError, match="is in callbacks: give it as both"):
        Run(stack, "train", tmp_path, callbacks=[others]).fit()
    run = Run(stack, "train", tmp_path)
    with pytest.raises(penstock.SpecError, match="evaluate from a feed"):
        run.fit(eval_dataloader=run.loader)
    with pytest.raises(penstock.SpecError, match="not the state of a FeedLoader"):
        run.loader.load_state_dict({"feed": {}})
