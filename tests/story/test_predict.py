# SPDX-License-Identifier: Apache-2.0
"""`predict` answers as the run did, whatever else is asked, and refuses where it could not.

Not tested here: losses, metrics and decoding themselves.
"""

import csv
import io
import subprocess
import sys

import numpy as np
import plain_folder
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.experiments import load, predict, sameness
from tiny_agent_trainer.experiments.first_config import begin
from tiny_agent_trainer.experiments.run import run_experiment
from tiny_agent_trainer.meta import session
from tiny_agent_trainer.tokenizer.labels import recognise

COUNT = 40


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The root and a function that trains on it, by the kind of label."""
    place = tmp_path_factory.mktemp("predict")
    root = place / "data"
    root.mkdir()
    images = plain_folder.pictures(COUNT)
    for i, image in enumerate(images):
        images[i] = image // 2
        images[i, :10] += np.uint8(60 * (i % 2))
    named = {f"p{i}_0.npy": image for i, image in enumerate(images)}
    table = [(f"p{i}_0", ("no", "yes")[i % 2], 20 + i * 1.5) for i in range(COUNT)]
    plain_folder.write(root, named, ("image", "finding", "age"), table)
    made = {}

    def train(column, arithmetic="exact", scheme=""):
        if (column, arithmetic, scheme) not in made:
            config = place / f"{column}{arithmetic}{scheme}.toml"
            wishes = recognise.Wishes(labels=(column,))
            begin.begin(root, config, "labels.csv", wishes)
            text = config.read_text().replace('"exact"', f'"{arithmetic}"')
            text = text.replace("epochs = 20", "epochs = 1").replace("width = 16", "width = 4")
            if scheme == "ordinal":
                text = text.replace('scheme = "class"', 'scheme = "ordinal"\nclasses=["no","yes"]')
                text = text.replace('"cross_entropy"', '"ordinal"')
            config.write_text(text)
            made[column, arithmetic, scheme] = run_experiment(config, results_dir=place / "runs")
        return made[column, arithmetic, scheme].path

    return root, train


@pytest.mark.parametrize(
    ("column", "scheme", "parts"),
    [("finding", "", ("p_no", "p_yes")), ("age", "", ()), ("finding", "ordinal", ("p_yes",))],
)
def test_the_answers_are_those_of_the_runs_own_predictions(trained, column, scheme, parts):
    root, train = trained
    run = train(column, scheme=scheme)
    (links,) = [
        path for path in (root / ".tiny-agent-trainer").glob("links_*.csv")
        if load_digest(run) in path.name
    ]  # fmt: skip
    paths = {row["ordinal"]: row["path"] for row in rows(links.read_bytes())}
    answers = {row["file"]: row for row in rows(predict.predict(run, [root]))}
    own = rows((run / "predictions_test.csv").read_bytes())
    assert len(own) > 2
    for row in own:
        said = answers[str(root / paths[f"image/{int(row['sample']):07d}"])]
        for name in ("predicted", *parts):
            assert said[name] == row[name]


def load_digest(run):
    from tiny_agent_trainer import digests
    from tiny_agent_trainer.experiments import identity

    return digests.short(identity.digest_data((run / "data/manifest.json").read_bytes()))


@pytest.mark.parametrize("arithmetic", ["exact", "native"])
def test_an_answer_does_not_depend_on_what_else_is_asked(trained, arithmetic):
    root, train = trained
    run = train("finding", arithmetic)
    paths = sorted(root.glob("*.npy"))[:7]
    together = rows(predict.predict(run, paths[::-1]))
    assert [row["file"] for row in together] == [str(path) for path in paths]
    for path, row in zip(paths, together, strict=True):
        assert rows(predict.predict(run, [path])) == [row]


def test_by_command_to_a_file_and_to_standard_output(trained, tmp_path):
    root, train = trained
    run = train("finding")
    command = [sys.executable, "-m", "tiny_agent_trainer", "predict", run, root / "p0_0.npy"]
    shown = subprocess.run(command, capture_output=True, check=True)
    command += ["--output", tmp_path / "a.csv"]
    written = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "a.csv").read_bytes() == shown.stdout
    assert shown.stdout.startswith(b"file,predicted,p_no,p_yes\n")
    assert "a.csv" in written.stdout


def test_another_version_of_a_library_or_of_the_source_is_named(trained, monkeypatch):
    root, train = trained
    run = train("finding")
    versions, source = session.library_versions, session.read_source
    monkeypatch.setattr(session, "library_versions", lambda **k: versions(**k) | {"pydicom": "9"})
    monkeypatch.setattr(
        session, "read_source",
        lambda: source() | {"tokenizer/folder.py": b"", "cli/main.py": b"other words"},
    )  # fmt: skip
    with pytest.raises(errors.PlatformError) as caught:
        predict.predict(run, [root / "p0_0.npy"])
    assert "versions.pydicom" in str(caught.value)
    assert "tokenizer/folder.py" in str(caught.value)
    assert "cli/main.py" not in str(caught.value)


def test_another_version_of_a_decoder_is_named(trained):
    loaded = load.load(trained[1]("finding"))
    assert loaded.decoders == (f"numpy {np.__version__}",)
    sameness.require_decoder("x", loaded.decoders[0], loaded)
    sameness.require_decoder("x", "another 1.0", loaded)
    with pytest.raises(errors.PlatformError, match=r"numpy 0\.1"):
        sameness.require_decoder("x", "numpy 0.1", loaded)


def test_images_of_another_form_are_refused(trained, tmp_path):
    run = trained[1]("finding")
    np.save(tmp_path / "wide.npy", np.zeros((20, 24), np.uint8))
    with pytest.raises(errors.DatasetError, match=r"shape \(1, 20, 24\)"):
        predict.predict(run, [tmp_path / "wide.npy"])
    with pytest.raises(errors.DatasetMissingError):
        predict.predict(run, [tmp_path / "none.npy"])


def test_a_phantom_run_takes_arrays_of_its_stored_shape(tmp_path):
    config = tmp_path / "p.toml"
    config.write_text("[engine]\nepochs = 1\n[data]\npatients = 30\nimage_size = 16\n")
    run = run_experiment(config, results_dir=tmp_path / "runs").path
    np.save(tmp_path / "a.npy", np.zeros((16, 16), np.uint8))
    (row,) = rows(predict.predict(run, [tmp_path / "a.npy"]))
    assert float(row["p_lesion"]) + float(row["p_no lesion"]) == pytest.approx(1, abs=1e-6)
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(errors.DatasetError, match=r"\.npy, \.png"):
        predict.predict(run, [tmp_path / "a.dcm"])
