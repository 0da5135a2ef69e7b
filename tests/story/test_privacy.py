# SPDX-License-Identifier: Apache-2.0
"""Names, ids, dates and UIDs are planted everywhere in a data set; no output holds any of them.

Planted: DICOM elements, names of folders and files, cells of the table. Searched: every file that
any command wrote outside of the data, archives member by member, and what the commands print. The
links beside the data are the control: what is searched for can be found.

Not tested here: text in pixels, which nobody searches; docs/promise.md says so.
"""

import gzip
import io
import stat
import subprocess
import sys
import tarfile

import dicom_files
import numpy as np
import pytest

from tiny_agent_trainer.experiments import isolation

COUNT = 40
IN_TAGS = ("ZZDOE", "ZZMRN", "ZZHOSPITAL", "ZZREFERRER", "19700203", "1.2.826.99887")
IN_NAMES = ("ZZFOLDER", "ZZFILE")
IN_CELLS = ("ZZCELL", "19690508")
SECRETS = [one.encode() for one in (*IN_TAGS, *IN_NAMES, *IN_CELLS)]


def call(*arguments, cwd):
    command = [sys.executable, "-m", "tiny_agent_trainer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, cwd=cwd)


def plant(root):
    rows = ["uid,finding,name,born"]
    for i in range(COUNT):
        pixels = np.random.default_rng(i).integers(0, 120, (20, 20)).astype(np.uint8)
        pixels[:10] += np.uint8(100 * (i % 2))
        uid = f"1.2.826.99887.{i}"
        content = dicom_files.make(
            pixels, Modality="DX", PatientID=f"ZZMRN{i}", PatientName=f"ZZDOE^Jane{i}",
            StudyDate="19700203", PatientBirthDate="19700203", InstitutionName="ZZHOSPITAL",
            ReferringPhysicianName="ZZREFERRER^A", StudyInstanceUID=f"{uid}.1",
            SeriesInstanceUID=f"{uid}.2", SOPInstanceUID=uid, SeriesDescription="ZZDOE",
            BurnedInAnnotation="YES" if i < 3 else "NO",
        )  # fmt: skip
        place = root / f"ZZFOLDER_Doe_{i}_19700203"
        place.mkdir(parents=True)
        (place / f"ZZFILE{i}.dcm").write_bytes(content)
        rows.append(f"{uid},{('no', 'yes')[i % 2]},ZZCELL^Jane{i},19690508")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """The place, and what every command printed."""
    place = tmp_path_factory.mktemp("privacy")
    plant(place / "data")
    said = {}

    def do(name, *arguments, code=0):
        done = call(*arguments, cwd=place)
        assert done.returncode == code, (name, done.stderr.decode())
        said[name] = done.stdout + done.stderr

    do("init", "init", "data", "--labels", "labels.csv", "--output", "c.toml",
       "--label-column", "finding")  # fmt: skip
    text = (place / "c.toml").read_text().replace("epochs = 20", "epochs = 1")
    (place / "c.toml").write_text(text)
    do("run", "--config", "c.toml", "--results", "results", "--log-json")
    (place / "c.toml").write_text(text.replace("base_seed = 0", "base_seed = 1"))
    do("again", "run", "c.toml", "--results", "results")
    runs = sorted((place / "results").iterdir())
    do("compare", "compare", *runs)
    do("list", "list", "--results", "results", "--archive-dir", "archive")
    do("show", "show", runs[0])
    do("ledger", "chronicle", "show", runs[0])
    do("archive", "archive", runs[0], "--archive-dir", "archive", "--keep")
    (archive,) = (place / "archive").glob("*.tar.gz")
    code = 0 if isolation.can_confine() else 3
    do("verify", "verify", archive, code=code)
    do("predict", "predict", runs[0], "data", "--output", "answers.csv")
    (place / "data" / "ZZFOLDER_Doe_5_19700203" / "ZZFILE5.dcm").unlink()
    do("verify without a file", "verify", archive, "--audit-dir", "audit", code=3)
    return place, said


def searched(place):
    """Name and content of every file outside of the data, and of every member of an archive."""
    for path in sorted(place.rglob("*")):
        relative = path.relative_to(place)
        if not path.is_file() or relative.parts[0] == "data":
            continue
        content = path.read_bytes()
        yield str(relative), content
        if path.name.endswith(".tar.gz"):
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as archived:
                for member in archived:
                    yield f"{relative}/{member.name}", archived.extractfile(member).read()


def found_in(content, secrets=SECRETS):
    return [secret for secret in secrets if secret.lower() in content.lower()]


def test_no_file_of_any_command_holds_what_was_planted(story):
    place, _ = story
    names = []
    for name, content in searched(place):
        names.append(name)
        # Predictions name files as the user did, and nothing that stands inside of them.
        inside = [s for s in SECRETS if s.decode() not in (*IN_NAMES, "19700203")]
        secrets = inside if name == "answers.csv" else SECRETS
        assert not found_in(content, secrets), name
        assert not found_in(name.encode()), name
    for part in ("manifest.json", "chronicle.cmeta", "log.txt", "journal.jsonl", "audit.json",
                 "report.html", "c.fingerprint.json", "predictions_test.csv"):  # fmt: skip
        assert any(name.endswith(part) for name in names), part
    assert any(".tar.gz/" in name for name in names)


def test_no_command_prints_what_was_planted(story):
    _, said = story
    for name, words in said.items():
        if name != "verify without a file":
            assert not found_in(words), name


def test_the_user_alone_is_told_which_file_is_missing(story):
    _, said = story
    if isolation.can_confine():
        assert b"1.2.826.99887.5" in said["verify without a file"]


def test_the_links_beside_the_data_find_everything_and_belong_to_their_owner(story):
    place, _ = story
    folder = place / "data" / ".tiny-agent-trainer"
    links = sorted(folder.glob("links_*.csv"))
    assert len(links) == 1  # both runs have the same data
    content = links[0].read_bytes()
    assert set(found_in(content)) == {b"ZZFOLDER", b"ZZFILE", b"19700203"}
    assert content.count(b"image/") == COUNT
    assert content.count(b"file/") == COUNT + 1
    for path in (links[0], folder / "salt"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_burned_in_annotations_are_warned_of(story):
    place, _ = story
    for run in sorted((place / "results").glob("c_*")):
        for name in ("run_summary.md", "report.html"):
            assert "3 of 40 images: burned-in annotations" in (run / name).read_text()


def test_the_run_names_samples_and_files_by_ordinals(story):
    place, _ = story
    run = min((place / "results").glob("c_*"))
    text = (run / "data" / "manifest.json").read_text()
    assert '"key":"image/0000000"' in text
    assert '"path":"file/0000040"' in text
    assert '"decoders":["pydicom 3' in text
