# SPDX-License-Identifier: Apache-2.0
"""A configuration is read whole or refused whole, with every fault on its line.

Not tested here: lines of exotic TOML (test_toml_lines.py), what the values do to a run.
"""

import json
import tomllib
from contextlib import suppress
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_agent_trainer import canonical, errors
from tiny_agent_trainer.config import trainer_config
from tiny_agent_trainer.config.trainer_config import TrainerConfig, parse_config, read_config

CONFIGS = Path(__file__).resolve().parents[3] / "experiments" / "configs"
SECTIONS = {
    "experiment", "engine", "data", "tokenizer", "model", "optimizer", "schedule", "validator",
}  # fmt: skip


def parse(text):
    return parse_config(text.encode(), "x.toml")


def faults_of(text):
    with pytest.raises(errors.ConfigError) as caught:
        parse(text)
    return list(caught.value.faults)


def only_fault_of(text):
    (fault,) = faults_of(text)
    return fault


class TestDefaults:
    """Defaults are good."""

    def test_an_empty_file_trains_the_phantom(self):
        config = parse("")
        assert (config.data.reader, config.model.name, config.optimizer.name) == (
            "phantom",
            "cnn",
            "adam",
        )

    def test_three_lines_are_a_whole_experiment(self):
        config = parse('[data]\nreader = "medmnist"\ndataset = "breastmnist"\n')
        assert config.data.dataset == "breastmnist"

    def test_naming_a_default_changes_no_digest(self):
        assert parse('[data]\nreader = "phantom"').digest() == parse("").digest()
        assert parse('[engine]\ncheckpoint_every = "200 steps"').digest() == parse("").digest()

    def test_a_value_cannot_be_changed_afterwards(self):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            parse("").engine.epochs = 3


class TestFaults:
    """Every fault at once, with file and line, what was meant, and what is valid."""

    def test_all_faults_of_a_file_are_listed_in_the_order_of_lines(self):
        found = faults_of(
            "[engine]\n"
            "epoch = 3\n"
            'batch_size = "64"\n'
            "threads = 0\n"
            "[modle]\n"
            "[data]\n"
            'reader = "phantm"\n'
            "[optimizer]\n"
            "lr = -1.0\n"
            "[optimizer.loss]\n"
            'name = "crossentropy"\n'
            "[tokenizer]\n"
            "channels = 2\n"
            "[tokenizer.augmentation]\n"
            "shift_pixels = 1.5\n"
        )
        assert [fault.partition(": ")[0] for fault in found] == [
            "x.toml:2", "x.toml:3", "x.toml:4", "x.toml:5", "x.toml:7", "x.toml:9", "x.toml:11",
            "x.toml:13", "x.toml:15",
        ]  # fmt: skip
        keys = [fault.split(": ")[1] for fault in found]
        assert keys == [
            "engine.epoch", "engine.batch_size", "engine.threads", "modle", "data.reader",
            "optimizer.lr", "optimizer.loss.name", "tokenizer.channels",
            "tokenizer.augmentation.shift_pixels",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("[engine]\nepoch = 1", "epochs"),
            ("[enginee]\n", "engine"),
            ('[data]\nreader = "phantm"', "phantom"),
            ('[model]\nname = "resnet81"', "resnet18"),
            ('[model]\nname = "cnn"\nactivation = "rellu"', "relu"),
            ('[optimizer]\nname = "adamx"', "adam"),
            ("[optimizer]\nlearning_rate = 1\nmomentun = 0.9", None),
            ('[optimizer.loss]\nclass_weights = "ballanced"', "balanced"),
            ('[schedule]\nname = "cosin"', "cosine"),
            ('[validator]\nmetric = "xyz"', None),
            ('[validator]\nmetric = "accurracy"', "accuracy"),
            ('[validator]\nmetric = "auc"', "auroc"),
            ('[validator]\nmetric = "AUC"', "auroc"),
            ('[validator]\nmetric = "roc_auc"', "auroc"),
            ('[validator]\nmetric = "AUPRC"', "average_precision"),
            ('[validator]\nmetric = "f1"', "macro_f1"),
            ('[validator]\nmetric = "ACC"', "accuracy"),
            ('[optimizer]\nname = "AdamW"', "adamw"),
            ("[validator]\nf1 = 1", None),
            ("[data.split]\nsead = 1", "seed"),
            ('[model.weights]\npath = "x"\nsha265 = "y"', "sha256"),
        ],
    )
    def test_a_near_miss_is_answered_with_what_was_meant(self, text, meant):
        found = " ".join(faults_of(text))
        assert (f"did you mean {meant}?" in found) if meant else ("did you mean" not in found)

    @pytest.mark.parametrize(
        ("text", "choices"),
        [
            ('[model]\nname = "x"', ["mlp", "cnn", "resnet18", "resnet50", "vit", "monai:<N"]),
            ('[data]\nreader = "x"', ["phantom", "medmnist", "image_folder"]),
            ('[optimizer]\nname = "x"', ["sgd", "adam", "adamw"]),
            ('[schedule]\nname = "x"', ["constant", "step", "cosine", "polynomial"]),
            ('[tokenizer]\nkind = "x"', ["image", "patches"]),
            ("[tokenizer]\nchannels = 4", ["0", "1", "3"]),
            ('[validator]\nmetric = "x"', ["auroc", "loss", "macro_f1"]),
            ("[validator]\nx = 1", ["metric", "batch_size", "every"]),
            ('[engine]\nkeep = ["x"]', ["best", "last", "all"]),
        ],
    )
    def test_a_wrong_word_is_answered_with_the_valid_ones(self, text, choices):
        fault = only_fault_of(text)
        assert fault.startswith("x.toml:2: ")
        assert all(choice in fault for choice in choices)

    @pytest.mark.parametrize(
        "text",
        [
            "engine = 3", "model = 3", "[[model]]\nname = 'cnn'", "[model]\nname = 5",
            "[optimizer]\nloss = 'cross_entropy'", "data = []", "[engine]\nepochs = true",
            "[engine]\nepochs = 3.0", "[engine]\nkeep = 'best'", "[engine]\nkeep = []",
            "[engine]\ncheckpoint_every = '0 steps'", "[engine]\ncheckpoint_every = '5 hours'",
            "[schedule]\nname = 'step'\nmilestones = [0.5, 1.5]", "[engine]\nbase_seed = -1",
            "[model]\nname = 'mlp'\nhidden = [0]", "[model]\nname = 'monai:'",
            "[model]\nname = 'monai:os.system'", "[optimizer.loss]\nclass_weights = [1.0, -1.0]",
            "[data]\nreader = 'medmnist'", "[model]\nname = 'vit'\nwidth = 10",
            "[optimizer]\nname = 'sgd'\nnesterov = true", "[experiment]\nresults_dir = ''",
            "[data.split]\nvalidation_fraction = 0.5\ntest_fraction = 0.5",
            "[engine]\nbatch_size = 8\nshard_size = 9", "[model.weights]\nsha256 = 'x'\npath = 'y'",
        ],
    )  # fmt: skip
    def test_a_value_that_cannot_be_is_one_fault_with_a_line(self, text):
        assert only_fault_of(text).startswith("x.toml:")

    def test_a_key_missing_in_a_section_that_may_be_left_out_is_named_itself(self):
        fault = only_fault_of('[model]\nname = "cnn"\n[model.weights]\npath = "x"')
        assert fault == "x.toml:3: model.weights.sha256: this key is missing"

    @pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
    def test_cuda_is_refused_with_the_reason(self, device):
        fault = only_fault_of(f'[engine]\ndevice = "{device}"')
        assert fault.startswith("x.toml:2: engine.device: ")
        assert "until its bits are proven equal" in fault
        assert 'write device = "cpu"' in fault

    @pytest.mark.parametrize("number", ["nan", "inf", "-inf", "+inf"])
    @pytest.mark.parametrize(
        ("section", "key"),
        [
            ("optimizer", "lr"), ("optimizer", "weight_decay"), ("optimizer", "epsilon"),
            ("data", "label_noise"), ("tokenizer.augmentation", "intensity_offset"),
            ("engine", "epochs"),
        ],
    )  # fmt: skip
    def test_a_number_that_is_not_finite_is_refused(self, section, key, number):
        assert only_fault_of(f"[{section}]\n{key} = {number}").startswith("x.toml:2: ")

    @pytest.mark.parametrize(
        ("section", "key"),
        [
            ("engine", "epochs"), ("engine", "base_seed"), ("engine", "batch_size"),
            ("engine", "patience"), ("data", "patients"), ("model", "width"),
            ("schedule", "warmup_steps"), ("validator", "every"), ("tokenizer", "patch_size"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("number", [2**53, 2**64, 10**30])
    def test_an_integer_that_no_digest_can_hold_is_refused(self, section, key, number):
        assert only_fault_of(f"[{section}]\n{key} = {number}").startswith("x.toml:2: ")

    @pytest.mark.parametrize("value", ["nan", "inf", "1" + "0" * 30, "2020-01-02", "[[nan]]"])
    def test_an_argument_of_a_foreign_network_that_is_not_json_is_refused(self, value):
        fault = only_fault_of(f'[model]\nname = "monai:UNet"\narguments.x = {value}')
        assert fault.startswith("x.toml:3: model.arguments: ")

    @given(st.sampled_from(sorted(SECTIONS)), st.text("abcdefghij_", min_size=1, max_size=6))
    def test_an_unknown_key_is_a_fault_on_its_line_in_every_section(self, section, key):
        known = type(getattr(TrainerConfig(), section)).model_fields
        if key not in known:
            fault = only_fault_of(f"\n[{section}]\n\n{key} = 1\n")
            assert fault.startswith(f"x.toml:4: {section}.{key}: unknown key")


class TestFiles:
    """What is no configuration at all is refused in one sentence."""

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"[engine]\nname = \xff", "byte 16 is not UTF-8"),
            (b"[engine\n", "not TOML"),
            (b"a = 1\na = 2\n", "not TOML"),
            (b"\x00", "not TOML"),
            (b"\xef\xbb\xbf\xef\xbb\xbf[engine]\n", "not TOML"),
            (b"[engine]\n\xef\xbb\xbfepochs = 3\n", "not TOML"),
            (b"\xef\xbb\xbf[engine]\nname = \xff", "byte 19 is not UTF-8"),
            (b"[engine]\nepochs = 1" + b"0" * 5000, "4300"),
            (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        ],
    )
    def test_text_that_cannot_be_read_is_one_fault(self, data, said):
        with pytest.raises(errors.ConfigError) as caught:
            parse_config(data, "x.toml")
        (fault,) = caught.value.faults
        assert fault.startswith("x.toml: ")
        assert said in fault

    def test_a_byte_order_mark_changes_neither_values_nor_lines_and_is_kept(self, tmp_path):
        text = "\ufeff[engine]\nepochs = 7\n"
        path = tmp_path / "marked.toml"
        path.write_text(text, encoding="utf-8")
        found = read_config(path)
        assert found.config.engine.epochs == 7
        assert found.config.digest() == parse(text[1:]).digest()
        assert found.text == path.read_bytes()
        assert only_fault_of("\ufeffepoch = 1\n").startswith("x.toml:1: epoch: unknown key")
        assert only_fault_of("\ufeff[engine]\nepoch = 1\n").startswith("x.toml:2: engine.epoch")

    def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(self, tmp_path):
        path = tmp_path / "large.toml"
        path.write_bytes(b"#" * (trainer_config.CONFIG_SIZE_LIMIT_BYTES + 1))
        with pytest.raises(errors.ConfigError, match="larger than 1048576 bytes"):
            read_config(path)
        path.write_bytes(b"#" * trainer_config.CONFIG_SIZE_LIMIT_BYTES)
        assert read_config(path).config == parse("")

    def test_a_file_that_is_absent_is_refused(self, tmp_path):
        with pytest.raises(errors.ConfigError, match="No such file"):
            read_config(tmp_path / "absent.toml")

    def test_a_directory_is_refused(self, tmp_path):
        with pytest.raises(errors.ConfigError, match="Is a directory"):
            read_config(tmp_path)

    def test_the_exact_bytes_and_the_stem_are_kept(self, tmp_path):
        data = "# Größe\r\n[engine]\r\nepochs = 3\r\n".encode()
        (tmp_path / "exp_007.toml").write_bytes(data)
        loaded = read_config(tmp_path / "exp_007.toml")
        assert (loaded.text, loaded.stem, loaded.config.engine.epochs) == (data, "exp_007", 3)

    @given(st.binary(max_size=60))
    def test_any_bytes_are_a_configuration_or_a_config_error(self, data):
        with suppress(errors.ConfigError):
            parse_config(data, "x.toml").digest()

    @given(
        st.dictionaries(
            st.sampled_from([*sorted(SECTIONS), "x"]),
            st.recursive(
                st.integers() | st.floats() | st.booleans() | st.text("ab", max_size=3),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(
                        st.sampled_from(["name", "reader", "loss", "keep", "weights", "arguments"]),
                        inner,
                        max_size=3,
                    )
                ),
                max_leaves=5,
            ),
            max_size=3,
        )
    )
    def test_any_values_are_a_configuration_or_a_config_error(self, values):
        def literal(value):
            if isinstance(value, dict):
                inner = ", ".join(f"{key} = {literal(v)}" for key, v in value.items())
                return f"{{ {inner} }}"
            if isinstance(value, list):
                return "[" + ", ".join(map(literal, value)) + "]"
            return str(value).lower() if isinstance(value, bool | float) else repr(value)

        text = "".join(f"{key} = {literal(value)}\n" for key, value in values.items())
        tomllib.loads(text)
        with suppress(errors.ConfigError):
            parse(text).digest()


OTHER_PLACES = [
    '[experiment]\nname = "x"', '[experiment]\nnotes = "x"', '[experiment]\nresults_dir = "x"',
    '[experiment]\narchive_dir = "x"', '[data]\nroot = "x"', '[engine]\ncontractions = "float64"',
    "[engine]\nloader_workers = 2", '[data]\ncache = ""', "[data]\ncache_limit_gigabytes = 1",
]  # fmt: skip
OTHER_RESULTS = {
    "engine": [
        'arithmetic = "native"', "base_seed = 1", "epochs = 11", "batch_size = 65",
        "shard_size = 1", "patience = 1", 'arithmetic = "native"\nthreads = 1',
        'checkpoint_every = "201 steps"', 'checkpoint_every = "200 epochs"',
        'keep = ["last"]', 'keep = ["best", "last", "all"]', 'keep = ["last", "best"]',
    ],
    "data": [
        "phantom_seed = 1", "patients = 999", "images_per_patient = 2", "image_size = 33",
        "lesion_fraction = 0.4", "lesion_contrast = 0.9", "label_noise = 0.0", "split.seed = 1",
        "allow_leaks = true", "split.validation_fraction = 0.2", "split.test_fraction = 0.2",
        'reader = "medmnist"\ndataset = "a"', 'reader = "medmnist"\ndataset = "b"',
        'reader = "medmnist"\ndataset = "a"\nsize = 64', 'reader = "image_folder"',
        'reader = "image_folder"\nlabels = "x"', 'reader = "image_folder"\nfile_column = "x"',
        'reader = "image_folder"\nlabel_column = "x"',
        'reader = "image_folder"\npatient_column = "x"',
        'reader = "image_folder"\nsplit_column = "x"', 'reader = "image_folder"\nsplit.seed = 1',
        'reader = "image_folder"\nsplit.keep_linked = true',
    ],
    "tokenizer": [
        'kind = "patches"', "patch_size = 8", "resize = 8", "channels = 3",
        "resize = [8, 8]", 'intensity = "percentile"', 'orientation = "SPL"', "slices = 1",
        'intensity = "percentile"\npercentiles = [1, 99]', "spacing_mm = [1.0, 1.0]", "slice = 3",
        'intensity = "window"\nwindow = [0, 1]', 'intensity = "window"\nwindow = [0.5, 1]',
        "size = [8, 8]", "pad_value = 1",
        'normalization = "half"', "augmentation.flip_horizontal = true",
        "augmentation.flip_vertical = true", "augmentation.quarter_turns = true",
        "augmentation.shift_pixels = 1", "augmentation.intensity_scale = 0.5",
        "augmentation.intensity_offset = 0.5", "augmentation.laterality = true",
        "patches.size = [8, 8]", "patches.foreground_fraction = 0.5",
        "patches.foreground_above = 1", 'patches.evaluation = "grid"',
        "augmentation.rotate_degrees = 10.0", "augmentation.scale = 0.1",
        "augmentation.elastic_pixels = 2.0", "augmentation.elastic_points = 3",
        "augmentation.blur_passes = 1", "augmentation.gamma = 0.5", "augmentation.noise = 0.1",
    ],
    "model": [
        "layers = 4", "width = 17", 'activation = "gelu"', "dropout = 0.5", 'name = "mlp"',
        'name = "mlp"\nhidden = []', 'name = "resnet18"', 'name = "resnet50"', 'name = "vit"',
        'name = "vit"\nheads = 2', 'name = "vit"\nmlp_ratio = 2', 'name = "vit"\ndropout = 0.1',
        'name = "monai:UNet"', 'name = "monai:ViT"', 'name = "monai:UNet"\narguments.a = 1',
        f'weights = {{ path = "x", sha256 = "{"0" * 64}" }}',
        f'weights = {{ path = "x", sha256 = "{"1" * 64}" }}',
        f'weights = {{ path = "x", sha256 = "{"0" * 64}", require_all = false }}',
    ],
    "optimizer": [
        "lr = 0.002", "weight_decay = 0.1", "clip_norm = 1.0", "beta1 = 0.8", "beta2 = 0.99",
        "epsilon = 1e-7", 'name = "adamw"', 'name = "sgd"', 'name = "sgd"\nmomentum = 0.9',
        'name = "sgd"\nmomentum = 0.9\nnesterov = true', "loss.label_smoothing = 0.1",
        'loss.class_weights = "balanced"', "loss.class_weights = [1.0, 2.0]",
        'loss.name = "binary_cross_entropy"',
    ],
    "schedule": [
        "warmup_steps = 1", 'name = "step"', 'name = "step"\ngamma = 0.2',
        'name = "step"\nmilestones = [0.5]', 'name = "cosine"',
        'name = "cosine"\nfinal_fraction = 0.1', 'name = "polynomial"',
        'name = "polynomial"\npower = 2.0',
    ],
    "validator": ['metric = "loss"', "batch_size = 1", "every = 2"],
}  # fmt: skip
SEMANTIC = [f"[{section}]\n{text}" for section, texts in OTHER_RESULTS.items() for text in texts]


class TestDigest:
    """The digest is a function of what can change a result, and of nothing else."""

    @pytest.mark.parametrize("text", OTHER_PLACES)
    def test_names_notes_and_places_have_no_influence(self, text):
        assert parse(text) != parse("")
        assert parse(text).digest() == parse("").digest()

    @pytest.mark.parametrize("key", ["threads = 7", "workers = 4", 'contractions = "int16"'])
    def test_threads_and_engines_have_no_influence_on_exact_arithmetic(self, key):
        exact = '[engine]\narithmetic = "exact"\n'
        assert parse(exact + key) != parse(exact)
        assert parse(exact + key).digest() == parse(exact).digest()

    def test_downloading_has_no_influence(self):
        medmnist = '[data]\nreader = "medmnist"\ndataset = "a"\n'
        assert parse(medmnist + "download = false").digest() == parse(medmnist).digest()

    def test_the_path_of_weights_has_no_influence(self):
        weights = '[model.weights]\nsha256 = "' + "0" * 64 + '"\npath = '
        assert parse(weights + '"a"').digest() == parse(weights + '"b"').digest()

    def test_the_order_of_keys_and_comments_have_no_influence(self):
        one = parse("[engine]\nepochs = 3\nbase_seed = 4\n[model]\nwidth = 8")
        other = parse("[model]\nwidth = 8 # wide\n[engine]\nbase_seed = 4\nepochs = 3")
        assert one.digest() == other.digest()

    def test_every_other_value_has_its_own_digest(self):
        digests = {text: parse(text).digest() for text in ["", *SEMANTIC]}
        equal = [(a, b) for a in digests for b in digests if a < b and digests[a] == digests[b]]
        assert equal == []

    def test_every_key_is_in_one_of_the_two_lists(self):
        """So that a key added tomorrow cannot be forgotten here."""

        def leaves(values, path=()):
            for key, value in values.items():
                if isinstance(value, dict):
                    yield from leaves(value, (*path, key))
                else:
                    yield ".".join((*path, key))

        tried = set()
        for text in [*OTHER_PLACES, *SEMANTIC]:
            tried |= {f"{path}" for path in leaves(tomllib.loads(text))}
        tried |= {"engine.device", "engine.workers"}  # one choice today; for exact only
        for text in ["", *SEMANTIC]:
            resolved = parse(text).resolved()
            resolved["model"].pop("weights", None)
            resolved["model"].pop("arguments", None)
            resolved["data"].pop("download", None)
            missing = set(leaves(resolved)) - tried - {"data.reader", "optimizer.loss.name"}
            assert not missing

    @pytest.mark.parametrize("text", ["", *OTHER_PLACES, *SEMANTIC])
    def test_the_resolved_configuration_reads_back_as_itself(self, text):
        config = parse(text)
        again = TrainerConfig.model_validate(canonical.decode(canonical.encode(config.resolved())))
        assert again == config
        assert again.digest() == config.digest()


class TestSchema:
    """Editors know every key."""

    def test_the_schema_has_every_section_and_is_json(self):
        schema = json.loads(json.dumps(trainer_config.schema()))
        assert set(schema["properties"]) == SECTIONS
        assert schema["additionalProperties"] is False

    @pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
    def test_every_key_of_a_committed_configuration_is_in_the_schema(self, path):
        schema = trainer_config.schema()

        def resolve(node):
            while "$ref" in node:
                node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
            return node

        def members(node):
            node = resolve(node)
            inner = node.get("oneOf", node.get("anyOf"))
            return [m for part in inner for m in members(part)] if inner else [node]

        for section, values in tomllib.loads(path.read_text()).items():
            fits = [m for m in members(schema["properties"][section])
                    if set(values) <= set(m["properties"])]  # fmt: skip
            assert fits, section

    def test_every_key_explains_itself(self):
        for name, part in trainer_config.schema()["$defs"].items():
            for key, about in part["properties"].items():
                assert about.get("description"), f"{name}.{key}"


class TestCommitted:
    """The experiments that come with the package."""

    @pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
    def test_a_committed_configuration_is_valid(self, path):
        assert read_config(path).config.digest().startswith("sha256:canonical-json-v1:")

    def test_the_second_experiment_differs_from_the_first_in_one_line(self):
        first = (CONFIGS / "exp_001_baseline.toml").read_text().splitlines()
        second = (CONFIGS / "exp_002_more_layers.toml").read_text().splitlines()
        assert len(first) == len(second)
        assert [(a, b) for a, b in zip(first, second, strict=True) if a != b] == [
            ("layers = 3", "layers = 4")
        ]
