"""Images that stay on disk: the same run as from memory; draws ahead, their lag recorded; resumed as undisturbed."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from _runs import settings, without_time
from robuststream import records, registry
from robuststream.config import Augment, RunSettings
from robuststream.contracts import Split
from robuststream.data.splits import load_splits
from robuststream.data.stored import READERS, Mapped, MappedBatches, StoredBatches, batches_of, open_stored
from robuststream.errors import UserError
from robuststream.training.loop import Stopped, Watch, train
from robuststream.training.step import take_step
from robuststream.training.world import build_world

SHAPE = (9, 8)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of two easy classes as .npy."""
    folder, rng = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    for part, size in (("train", 240), ("test", 40)):
        labels = np.arange(size) % 2
        images = rng.integers(0, 128, (size, *SHAPE), dtype=np.uint8) + (127 * labels[:, None, None]).astype(np.uint8)
        np.save(folder / f"{part}_images.npy", images)
        np.save(folder / f"{part}_labels.npy", labels)
    return folder


@pytest.fixture(scope="module")
def files(arrays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images as files; their order is that of the class, then of the name."""
    folder = tmp_path_factory.mktemp("files")
    for part in ("train", "test"):
        images, labels = (np.load(arrays / f"{part}_{what}.npy") for what in ("images", "labels"))
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            (folder / part / f"class-{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / part / f"class-{label}" / f"{number:04d}.png")
    return folder


def run(data: Path, tmp_path: Path, name: str, *overrides: str, stop_after: int | None = None) -> tuple[dict, list[dict]]:
    own = ("recipe.train_size=null", "recipe.augment.crop=1", "recipe.augment.flip=true")
    chosen = settings("plb", "symmetric-40", f"recipe.data={data}", *own, *overrides)
    folder, asked = tmp_path / name, 0
    folder.mkdir(exist_ok=True)

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return stop_after is not None and asked > stop_after

    result = without_time(train(chosen, folder, Watch(stop=stop)))
    del result["data"]
    return result, [without_time(record) for record in records.read_evaluations(folder / "records.jsonl")]


@pytest.mark.parametrize("form", ["arrays", "files"])
def test_a_run_from_disk_is_the_run_from_memory(form: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """To the bit: few enough images that all of them are in the channels' statistics."""
    data = request.getfixturevalue(form)
    memory, disk = (run(data, tmp_path, str(stored), f"recipe.stored={stored}") for stored in ("false", "true"))
    assert memory == disk


def test_draws_ahead_lag_and_are_recorded(arrays: Path, tmp_path: Path) -> None:
    stored = ("recipe.stored=true", "recipe.lookahead=3")
    ahead, evaluations = run(arrays, tmp_path, "ahead", *stored)
    assert evaluations[-1]["lag"] == 3.0
    assert 0 < evaluations[1]["lag"] < 3.0  # the first mini-batches were drawn when nothing could be known yet
    assert evaluations != run(arrays, tmp_path, "now", "recipe.stored=true")[1]
    assert ahead["totals"]["backwards"] > 0
    with pytest.raises(Stopped):
        run(arrays, tmp_path, "stopped", *stored, stop_after=7)
    assert run(arrays, tmp_path, "stopped", *stored) == (ahead, evaluations)


def test_only_the_drawn_images_are_read(arrays: Path) -> None:
    splits = load_splits(str(arrays), validation=0.25, train_size=None, seed=1, device="cpu", stored=True)
    assert splits.train.images.shape == (180, 1, *SHAPE)
    assert splits.train.images.is_meta
    assert splits.train.stored is not None
    expected = np.load(arrays / "train_images.npy")[splits.train.rows[[5, 5, 0]].numpy()]
    np.testing.assert_array_equal(splits.train.stored.read(splits.train.rows[[5, 5, 0]]).squeeze(3).numpy(), expected)
    resident = load_splits(str(arrays), validation=0.25, train_size=None, seed=1, device="cpu")
    assert torch.equal(resident.validation.images, splits.validation.images)


def test_what_cannot_stay_on_disk_is_refused_in_one_line(arrays: Path, tmp_path: Path) -> None:
    def refusal(name: str) -> str:
        with pytest.raises(UserError) as caught:
            load_splits(name, validation=0.25, train_size=None, seed=0, device="cpu", stored=True)
        return json.dumps(str(caught.value))

    np.savez(tmp_path / "some.npz", x=np.zeros(3))
    assert "stored=true is not possible with 'digits'" in refusal("digits")
    assert "stored=true is not possible with" in refusal(str(tmp_path / "some.npz"))
    short = tmp_path / "short"
    short.mkdir()
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.save(short / f"{name}.npy", np.load(arrays / f"{name}.npy")[: 20 if name == "train_labels" else None])
    assert "20 train_labels" in refusal(str(short))


def scenario_on_disk(kind: str, arrays: Path, **given: Any) -> RunSettings:
    chosen = settings("uniform", "clean", f"recipe.data={arrays}", "recipe.train_size=null", "recipe.stored=true")
    scenario = chosen.scenario.model_copy(update={"label": "it", "kind": kind, "settings": given})
    return chosen.model_copy(update={"scenario": scenario})


WORKS: dict[str, dict[str, Any]] = {
    "clean": {},
    "label-noise": {"noise": "symmetric", "rate": 0.4},
    "duplicates": {},
    "long-tail": {},
    "corruptions": {},  # of the test images, which are in memory
    "adversarial-fgsm": {"eps": 0.1},
    "adversarial-free": {"eps": 0.1},
    "adversarial-pgd": {"eps": 0.1},
    "adversarial-trades": {"eps": 0.1},
}
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("open-set", {}),
    ("backdoor", {}),
    ("poisoned", {"eps": 0.1}),
    ("mixed", {"parts": [{"kind": "label-noise", "noise": "symmetric", "rate": 0.2}, {"kind": "open-set"}]}),
    *(("label-noise", {"noise": noise, "rate": 0.4}) for noise in ("semantic", "instance", "margin", "proto")),
]


@pytest.mark.parametrize("kind", WORKS)
def test_scenarios_that_leave_images_alone_work_on_disk(kind: str, arrays: Path) -> None:
    chosen = scenario_on_disk(kind, arrays, **WORKS[kind])
    world = build_world(chosen)
    world.network.train()
    world.sampler.start(world.pool, world.probe)
    before = world.parameters[0].detach().clone()
    take_step(world, chosen.recipe)
    assert not torch.equal(before, world.parameters[0])


@pytest.mark.parametrize(("kind", "given"), REFUSED)
def test_scenarios_that_look_at_images_are_refused_on_disk(kind: str, given: dict[str, Any], arrays: Path) -> None:
    told = "scenario 'it' looks at training images or changes them; with recipe.stored=true they stay on disk"
    with pytest.raises(UserError, match=told):
        build_world(scenario_on_disk(kind, arrays, **given))


def test_every_scenario_is_tried_on_disk() -> None:
    assert WORKS.keys() | {kind for kind, _ in REFUSED} == set(registry.names("scenarios"))


def test_for_a_gpu_what_was_read_is_pinned_and_copied_without_a_wait(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is here: labels that say they lie on one, and memory that notes how it is treated."""
    done: list[tuple[str, str]] = []

    class Noted(torch.Tensor):
        def pin_memory(self) -> Noted:
            done.append(("pinned", threading.current_thread().name.split("_")[0]))
            return self

        def to(self, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
            done.append(("copied", "without a wait" if non_blocking else "waiting"))
            return self.as_subclass(torch.Tensor)

    class OnGpu(torch.Tensor):
        is_cuda = True

    disk, _ = open_stored(arrays)
    rows = torch.arange(240)
    split = Split(torch.empty(240, 1, *SHAPE, device="meta"), torch.zeros(240).long(), rows, 2, "arrays", 240, disk)
    batches = StoredBatches(split)
    read = Mapped.read
    monkeypatch.setattr(Mapped, "read", lambda self, rows: read(self, rows).as_subclass(Noted))
    index = torch.tensor([5, 3, 200, 7, 5])
    expected, _ = StoredBatches(replace(split, stored=Mapped(disk.array))).fetch(index)  # type: ignore[attr-defined]
    done.clear()
    batches.labels = batches.labels.as_subclass(OnGpu)
    batches.ahead(index)
    images, _ = batches.fetch(index)
    parts = len(index.chunk(READERS))
    assert sorted(done) == [("copied", "without a wait")] * parts + [("pinned", "robuststream-reader")] * parts
    assert torch.equal(images, expected)


@pytest.mark.parametrize("augment", [Augment(crop=1, flip=True), Augment()])
def test_a_file_in_memory_is_fetched_as_memory_is(augment: Augment, arrays: Path) -> None:
    """To the bit as through copies of what was read, in whatever order the examples lie in the file."""
    disk, _ = open_stored(arrays)
    split = Split(
        torch.empty(180, 1, *SHAPE, device="meta"), torch.arange(180) % 2, torch.arange(239, 59, -1), 2, "arrays", 240, disk
    )
    mapped = batches_of(split, augment, torch.Generator().manual_seed(0))
    if not isinstance(mapped, MappedBatches):
        pytest.skip("the native fetch is not built")
    crop, flip = augment.crop, augment.flip
    copied = StoredBatches(split, crop=crop, flip=flip, generator=torch.Generator().manual_seed(0), native=False)
    index = torch.tensor([5, 3, 179, 5, 0, 17, 18, 19])
    for each in (mapped, copied):
        each.ahead(index)
        each.ahead(index[::2])
    for given in (index, torch.tensor([1, 179])):  # the first was read ahead
        for way in ("fetch", "plain"):
            for ours, theirs in zip(*(getattr(each, way)(given) for each in (mapped, copied)), strict=True):
                assert torch.equal(ours, theirs)
    mapped.ahead(torch.tensor([180, -1]))  # asks for nothing
    with pytest.raises(IndexError, match="180"):
        mapped.fetch(torch.tensor([0, 180]))


def test_the_system_is_asked_to_read_ahead_while_something_is_read_at_all(arrays: Path) -> None:
    disk, _ = open_stored(arrays)
    rows = torch.arange(240)
    split = Split(torch.empty(240, 1, *SHAPE, device="meta"), rows % 2, rows, 2, "arrays", 240, disk)
    batches = batches_of(split, Augment(), torch.Generator())
    if not isinstance(batches, MappedBatches) or sys.platform != "linux":
        pytest.skip("the native fetch is not built, or no counter is this thread's own")
    assert batches._native is not None
    source, asked = batches._native._sources[False], []
    for _ in range(200):  # this very file is in memory: it was just written
        batches.ahead(rows[:5])
        asked.append(source.asking)
    assert asked[0] == 63
    assert asked[-1] == 0
    source.read -= 1  # as if something had been read since
    batches.ahead(rows[:5])
    assert source.asking == 63


def test_a_file_in_another_order_of_memory_or_not_all_images_is_read_and_copied(arrays: Path) -> None:
    disk, _ = open_stored(arrays)
    assert isinstance(disk, Mapped)
    split = Split(torch.empty(240, 1, *SHAPE, device="meta"), torch.zeros(240).long(), torch.arange(240), 2, "arrays", 240, disk)
    other = replace(split, stored=Mapped(np.asfortranarray(disk.array)))
    batches = batches_of(other, Augment(), torch.Generator())
    assert isinstance(batches, StoredBatches)
    foreign = replace(split, rows=torch.where(torch.arange(240) == 9, -1, split.rows))  # nowhere in the file
    assert isinstance(batches_of(foreign, Augment(), torch.Generator()), StoredBatches)
    index = torch.tensor([7, 239])
    assert torch.equal(batches.fetch(index)[0], batches_of(split, Augment(), torch.Generator()).fetch(index)[0])
