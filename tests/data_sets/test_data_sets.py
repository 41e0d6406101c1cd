"""The built-in sets, the split and the standardisation: the same on every call, stratified, without leakage."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradlab import data
from gradlab.base.errors import ConfigError, DataError
from gradlab.cli.listing import KINDS
from gradlab.data.dataset import Samples
from gradlab.data.registry import DATASETS, digits, gaussian, moons, spirals
from gradlab.data.split import prepare, scale_of, stratified_split

DRAWN = ["moons", "circles", "spirals", "gaussian"]
VARIANTS = [
    "digits",
    "moons:samples=300:noise=0.1",
    "circles:samples=200:factor=0.3",
    "spirals:classes=3:samples=450",
    "gaussian:features=7:classes=4:samples=400",
]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_data_set_is_the_same_on_every_call(name: str) -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    one, two = data.load(name), data.load(name)
    for part in ("x_train", "y_train", "x_val", "y_val"):
        np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_types_and_classes(name: str) -> None:
    dataset = data.load(name)
    rows = len(dataset.y_train)
    assert dataset.x_train.shape == (rows, dataset.features)
    assert dataset.x_val.shape == (len(dataset.y_val), dataset.features)
    assert dataset.x_train.dtype == dataset.x_val.dtype == np.float64
    assert dataset.y_train.dtype == dataset.y_val.dtype == np.int64
    assert dataset.classes == len(dataset.class_names)
    assert set(dataset.y_train) == set(dataset.y_val) == set(range(dataset.classes))
    assert dataset.name == data.canonical(name) and dataset.digest == data.digest(name)


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    table = digits({})
    np.testing.assert_array_equal(table.x, x)
    np.testing.assert_array_equal(table.y, y)
    assert data.load("digits").features == 64 and data.load("digits").classes == 10


@pytest.mark.parametrize("counts", [[50, 50], [2, 3, 97], [1000, 7, 12, 481], [2, 2]])
def test_a_fifth_of_every_class_is_for_validation(counts: list[int]) -> None:
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    train, val = stratified_split(y)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), np.arange(len(y)))
    for label, count in enumerate(counts):
        in_val = int((y[val] == label).sum())
        assert abs(in_val - count / 5) <= 0.5 or (count == 2 and in_val == 1)
        assert 1 <= in_val < count


def test_digits_are_split_in_the_proportions_of_scikit_learns_stratified_split() -> None:
    from sklearn.model_selection import train_test_split

    y = digits({}).y
    theirs = np.bincount(train_test_split(y, test_size=0.2, stratify=y, random_state=0)[1])
    assert np.abs(np.bincount(data.load("digits").y_val) - theirs).max() <= 1


def test_the_first_training_rows_hold_every_class_even_when_the_source_is_sorted() -> None:
    y = np.repeat(np.arange(10), 200)
    table = Samples(np.random.default_rng(0).standard_normal((2000, 3)), y, tuple("0123456789"))
    for held_out in (None, (table.x[:50], table.y[:50])):
        probe = prepare(Samples(table.x, y, table.class_names, held_out), "sorted", "").y_train[:512]
        assert np.bincount(probe, minlength=10).min() > 25


def test_rows_keep_their_class_through_split_and_shuffle() -> None:
    x = np.arange(600.0)[:, None]
    y = (np.arange(600) // 10) % 3
    dataset = prepare(Samples(x, y, ("a", "b", "c")), "rows", "")
    train, val = stratified_split(y)
    for part, rows in ((dataset.x_train, train), (dataset.x_val, val)):
        raw = part[:, 0] * x[train].std() + x[train].mean()
        np.testing.assert_allclose(raw, rows, atol=1e-9)
    np.testing.assert_array_equal(dataset.y_train, y[train])
    np.testing.assert_array_equal(dataset.y_val, y[val])


def test_standardisation_is_learned_on_the_training_part_only() -> None:
    x, y = digits({}).x, digits({}).y
    train, val = stratified_split(y)
    x_val = x[val].copy()
    x_val[0] += 1e3  # a validation row must not move the scale
    scale = scale_of(x, train)
    one, moved = scale.of(x[train]), scale.of(x_val)
    alone = scale_of(x[train], np.arange(len(train)))
    np.testing.assert_array_equal(one, alone.of(x[train]))

    from sklearn.preprocessing import StandardScaler

    alive = x[train].std(axis=0) > 0
    scaler = StandardScaler().fit(x[train][:, alive])
    np.testing.assert_allclose(one[:, alive], scaler.transform(x[train][:, alive]), atol=1e-12)
    np.testing.assert_allclose(moved[:, alive], scaler.transform(x_val[:, alive]), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(data.load("digits").x_train[:, alive].std(axis=0), 1, rtol=1e-12)


def test_no_training_row_of_digits_is_a_validation_row() -> None:
    dataset = data.load("digits")
    train = {row.tobytes() for row in dataset.x_train}
    assert not any(row.tobytes() in train for row in dataset.x_val)


def test_a_column_constant_in_training_becomes_zero_in_both_parts() -> None:
    x_train = np.column_stack([np.full(30, 0.1), np.arange(30.0)])
    x_val = np.array([[0.1, 3.0], [7.0, 4.0]])
    assert x_train[:, 0].std() > 0, "the premise: rounding makes the deviation of a constant positive"
    scale = scale_of(x_train, np.arange(len(x_train)))
    for part in (scale.of(x_train), scale.of(x_val)):
        np.testing.assert_array_equal(part[:, 0], 0.0)
        assert np.abs(part[:, 1]).max() > 0


@pytest.mark.parametrize("scale", [1e307, 1e160, 1e-310])
def test_columns_that_float64_cannot_standardise_are_an_error(scale: float) -> None:
    x = np.arange(1.0, 17.0)[:, None] * scale
    with pytest.raises(DataError, match="input 1 of 1 cannot be standardised"):
        prepare(Samples(x, np.arange(16) % 2, ("0", "1")), "t", "")


def test_gaussian_inputs_are_standard_normal_and_labels_know_nothing_of_them() -> None:
    table = gaussian({"features": 50, "classes": 5, "samples": 4000})
    assert table.x.mean() == pytest.approx(0, abs=5 / np.sqrt(table.x.size))
    assert table.x.var() == pytest.approx(1, abs=5 * np.sqrt(2 / table.x.size))
    np.testing.assert_array_equal(np.bincount(table.y), 800)
    means = np.array([table.x[table.y == label].mean(axis=0) for label in range(5)])
    assert np.abs(means).max() < 5 / np.sqrt(800)


def test_spirals_lie_where_the_formula_says() -> None:
    table = spirals({"samples": 600, "noise": 0.0, "classes": 3, "turns": 1.25})
    radius = np.hypot(table.x[:, 0], table.x[:, 1])
    assert radius.min() >= 0.05 and radius.max() <= 1
    turn = np.arctan2(table.x[:, 1], table.x[:, 0]) / (2 * np.pi) - 1.25 * radius - table.y / 3
    np.testing.assert_allclose(turn, np.round(turn), atol=1e-12)


def test_moons_and_circles_are_scikit_learns() -> None:
    from sklearn.datasets import make_circles, make_moons

    for name, make in (
        ("moons", make_moons(1000, noise=0.2, random_state=0)),
        ("circles", make_circles(1000, noise=0.1, factor=0.5, random_state=0)),
    ):
        raw, y = make
        dataset = data.load(name)
        train, _ = stratified_split(y.astype(np.int64))
        expected = (raw[train] - raw[train].mean(axis=0)) / raw[train].std(axis=0)
        np.testing.assert_allclose(dataset.x_train, expected, atol=1e-12)


def test_noise_is_what_was_asked_for() -> None:
    quiet, loud = moons({"samples": 400, "noise": 0.0}), moons({"samples": 400, "noise": 0.3})
    assert (loud.x - quiet.x).std() == pytest.approx(0.3, rel=0.15)


def test_canonical_text_and_digest() -> None:
    assert data.canonical(" moons:noise=0.2:samples=1000 ") == "moons"
    assert data.canonical("moons:noise=0.10:samples=500.0") == "moons:samples=500:noise=0.1"
    assert data.digest("moons") == data.digest("moons:noise=0.20")
    assert len({data.digest(name) for name in [*VARIANTS, *DRAWN]}) == len(VARIANTS) + len(DRAWN)


def test_names_and_descriptions_cover_the_registry() -> None:
    rows = {row["name"]: row for row in KINDS["datasets"]()}
    assert data.names() == list(DATASETS) and set(DATASETS) < set(rows)
    assert "noise=0.2 (standard deviation" in rows["moons"]["parameters"]
    assert {"FILE", "FOLDER", "openml:NAME"} < set(rows)


def test_a_batch_larger_than_the_training_part_is_an_error() -> None:
    dataset = data.load("moons:samples=50")
    data.check_batch(dataset, 40)
    with pytest.raises(
        DataError, match=r"--batch-size: 41 is more than the 40 training rows of moons:samples=50"
    ):
        data.check_batch(dataset, 41)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("digit", "did you mean 'digits'?"),
        ("", "unknown data set"),
        ("digits:seed=3", "digits takes no parameters"),
        ("moons:sample=3", "did you mean 'samples'?"),
        ("moons:noise=-1", "a number >= 0"),
        ("moons:noise=nan", "out of range"),
        ("moons:samples=100.5", "a whole number"),
        ("moons:300", "'300' after 'moons' is not key=value"),
        ("gaussian:classes=100:samples=150", "150 samples are too few for 100 classes"),
        ("gaussian:features=100000:samples=1e6", "at most 1e+08"),
        ("openml:", "openml:NAME"),
        ("openml", "openml:NAME"),
        ("openml:iris:3", "'3' after 'openml' is not key=value"),
        ("openml:iris:version=0", "a whole number >= 1"),
    ],
)
def test_a_wrong_name_or_parameter_names_the_flag_and_what_is_allowed(text: str, says: str) -> None:
    for call in (data.load, data.digest):
        with pytest.raises(ConfigError) as caught:
            call(text, "", "--data")
        assert says in str(caught.value) and "--data" in str(caught.value)


def test_every_problem_of_an_item_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        data.load("moons:noise=-1:sample=3")
    assert len(caught.value.problems) == 2


def test_a_target_for_a_set_with_its_own_classes_is_an_error() -> None:
    with pytest.raises(DataError, match="leave --target out"):
        data.load("digits", "label")
    assert (
        not data.takes_target("digits") and data.takes_target("a/b.CSV") and data.takes_target("openml:iris")
    )


def test_looking_up_names_imports_nothing_heavy_and_digits_need_only_numpy() -> None:
    code = (
        "import sys; from gradlab import data\n"
        "data.names(), data.digest('moons:noise=0.1'), data.canonical('spirals')\n"
        "data.digest('openml:iris')\n"
        "assert not {'numpy', 'pandas', 'sklearn', 'scipy', 'torch'} & set(sys.modules)\n"
        "data.load('digits'), data.load('gaussian'), data.load('spirals')\n"
        "assert not {'pandas', 'sklearn', 'scipy', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_mnist1d_names_its_extra_when_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mnist1d", None)
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(DataError, match=r"pip install 'gradlab\[mnist1d\]'"):
        data.load("mnist1d")


@pytest.mark.slow
def test_mnist1d_is_the_authors_default_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = pytest.importorskip("mnist1d.data")
    monkeypatch.chdir(tmp_path)
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    dataset = data.load("mnist1d")
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # type: ignore[index]
    assert dataset.x_train.shape == (4000, 40) and dataset.x_val.shape == (1000, 40)
    theirs = generator.make_dataset(generator.get_dataset_args())
    np.testing.assert_array_equal(dataset.y_val, theirs["y_test"])
    assert sorted(dataset.y_train) == sorted(theirs["y"])
    expected = (theirs["x_test"] - theirs["x"].mean(axis=0)) / theirs["x"].std(axis=0)
    np.testing.assert_allclose(dataset.x_val, expected, atol=1e-12)
    assert not list(tmp_path.iterdir()), "nothing is downloaded or cached"


def test_the_default_set_and_its_split_have_not_moved() -> None:
    """Published tables stand on this split: whoever changes it raises RECIPE_VERSION and this sum with it."""
    train, val = stratified_split(digits({}).y)
    rows = np.concatenate([train, val]).astype("<i8").tobytes()
    assert hashlib.sha256(rows).hexdigest()[:16] == "b937d7b06bc74736"
