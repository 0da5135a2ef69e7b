# SPDX-License-Identifier: Apache-2.0
"""A synthetic study: patients with several images each, some of them with a lesion.

Every image shows a body with a smooth background, bright vessels, specks and noise; a lesion is a
round bright bump at a place of its own. Vessels are as bright as lesions, so brightness alone does
not tell; lesions may be anywhere, so no pixel alone tells. All shapes are polynomials of single
IEEE operations, so the pixels are the same on every machine.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from tiny_agent_trainer import randomness
from tiny_agent_trainer.config.data import PhantomOptions
from tiny_agent_trainer.tokenizer import samples
from tiny_agent_trainer.tokenizer.splits import fractions

CLASSES = ("no lesion", "lesion")
_AGE_BANDS = ("18-39", "40-59", "60-79", "80+")
_SCANNERS = ("A", "B", "C")
_SCANNER_GAIN = np.array([0.94, 1.0, 1.06])
_SCANNER_NOISE = np.array([0.05, 0.06, 0.075])
_VESSELS = 3
_SPECKS = 3
_IMAGES_AT_ONCE = 256

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class PhantomReader:
    """Reader of the built-in phantom.

    Guarantees:
        The study is a pure function of the options; with more patients the first ones stay as
        they are, apart from their split.
    """

    options: PhantomOptions
    progress: samples.Progress = samples.silent

    def read(self) -> samples.Dataset:
        """Generate the study; it has no files."""
        slots = self._slots()
        patients = _Patients.draw(self.options)
        has_lesion = patients.has_lesion[slots.patient]
        splits = fractions.split_patients(
            [f"{patient:07d}" for patient in range(self.options.patients)],
            [int(lesion) for lesion in patients.has_lesion],
            self.options.split,
        )
        labels = has_lesion ^ (self._uniform("label noise", slots) < self.options.label_noise)
        places = zip(slots.patient.tolist(), slots.index.tolist(), strict=True)
        listed = [
            samples.Sample(
                key=f"phantom/{patient:07d}/{index:03d}",
                patient=f"{patient:07d}",
                label=(int(labels[position]),),
                split=splits[f"{patient:07d}"],
                attributes=patients.attributes(patient),
            )
            for position, (patient, index) in enumerate(places)
        ]
        return samples.Dataset(
            name="phantom",
            task="multiclass",
            classes=CLASSES,
            dims=2,
            samples=listed,
            images=list(self._render(patients, slots, has_lesion)),
            files=(),
        )

    def _slots(self) -> "_Slots":
        most = self.options.images_per_patient
        stream = randomness.stream(self.options.phantom_seed, "phantom", "images per patient")
        counts = 1 + stream.integers(self.options.patients, most)
        patient_of = np.repeat(np.arange(self.options.patients), counts)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        return _Slots(patient_of, np.arange(len(patient_of)) - starts, most)

    def _uniform(self, name: str, slots: "_Slots", count: int = 1) -> Floats:
        """`count` numbers in [0, 1) per image, found by patient and index."""
        stream = randomness.stream(self.options.phantom_seed, "phantom", name)
        drawn = stream.uniform(self.options.patients * slots.most * count).astype(np.float64)
        table: Floats = drawn.reshape(-1, count)[slots.slot]
        return table[:, 0] if count == 1 else table

    def _render(
        self,
        patients: "_Patients",
        slots: "_Slots",
        has_lesion: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.uint8]:
        draw = {
            "field": self._uniform("field", slots, 25),
            "vessels": self._uniform("vessels", slots, 5 * _VESSELS),
            "specks": self._uniform("specks", slots, 3 * _SPECKS),
            "lesion": self._uniform("lesion", slots, 4),
        }
        noise = randomness.stream(self.options.phantom_seed, "phantom", "noise")
        scanner = patients.scanner[slots.patient]
        rendered = []
        for start in range(0, len(has_lesion), _IMAGES_AT_ONCE):
            part = slice(start, start + _IMAGES_AT_ONCE)
            image = _anatomy({name: values[part] for name, values in draw.items()}, self.options)
            image += self._lesions(draw["lesion"][part]) * has_lesion[part, None, None]
            image *= _SCANNER_GAIN[scanner[part], None, None]
            grain = _grain(noise, slots.slot[part], self.options.image_size)
            image += grain * _SCANNER_NOISE[scanner[part], None, None]
            rendered.append(np.clip(np.rint(image * 255.0), 0, 255).astype(np.uint8)[..., None])
        return np.concatenate(rendered)

    def _lesions(self, draw: Floats) -> Floats:
        radius = (0.09 + 0.07 * draw[:, 2]) * self.options.image_size
        height = (0.26 + 0.26 * draw[:, 3]) * self.options.lesion_contrast
        return _bumps(_inside(draw[:, 0:2]), radius, height, self.options.image_size)


@dataclasses.dataclass(frozen=True, slots=True)
class _Slots:
    """Places of images: patient, index within the patient, and the most images of a patient."""

    patient: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    most: int

    @property
    def slot(self) -> npt.NDArray[np.int64]:
        return self.patient * self.most + self.index


@dataclasses.dataclass(frozen=True, slots=True)
class _Patients:
    """What is known of each patient, one entry per patient in each array."""

    has_lesion: npt.NDArray[np.bool_]
    sex: npt.NDArray[np.int64]
    age_band: npt.NDArray[np.int64]
    scanner: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, options: PhantomOptions) -> "_Patients":
        def stream(name: str) -> randomness.Stream:
            return randomness.stream(options.phantom_seed, "phantom", name)

        count = options.patients
        return cls(
            has_lesion=stream("disease").uniform(count) < options.lesion_fraction,
            sex=stream("sex").integers(count, 2),
            age_band=stream("age").integers(count, len(_AGE_BANDS)),
            scanner=stream("scanner").integers(count, len(_SCANNERS)),
        )

    def attributes(self, patient: int) -> dict[str, str]:
        return {
            "sex": "FM"[self.sex[patient]],
            "age_band": _AGE_BANDS[self.age_band[patient]],
            "scanner": _SCANNERS[self.scanner[patient]],
        }


def _anatomy(draw: dict[str, Floats], options: PhantomOptions) -> Floats:
    size = options.image_size
    image = 0.18 + 0.22 * _smooth_field(draw["field"].reshape(-1, 5, 5), size)
    image = image * _body(size)
    for vessel in np.split(draw["vessels"], _VESSELS, axis=1):
        image += _vessels(vessel, size)
    for speck in np.split(draw["specks"], _SPECKS, axis=1):
        radius = np.full(len(speck), 0.045 * size)
        image += _bumps(_inside(speck[:, 0:2]), radius, 0.2 + 0.25 * speck[:, 2], size)
    return image


def _grid(size: int) -> tuple[Floats, Floats]:
    centers = (np.arange(size) + 0.5) / size
    return centers[:, None], centers[None, :]


def _body(size: int) -> Floats:
    """1 inside an ellipse, falling to 0 at its edge."""
    y, x = _grid(size)
    distance = ((y - 0.5) / 0.48) * ((y - 0.5) / 0.48) + ((x - 0.5) / 0.44) * ((x - 0.5) / 0.44)
    return np.clip((1.0 - distance) * 4.0, 0.0, 1.0)


def _inside(unit: Floats) -> Floats:
    """Places in the unit square, moved into the body."""
    return 0.22 + 0.56 * unit


def _smooth_field(corners: Floats, size: int) -> Floats:
    """Bilinear interpolation of 5 x 5 corner values, shape (n, size, size)."""
    last = corners.shape[1] - 1
    position = (np.arange(size) + 0.5) * last / size
    low = np.minimum(position.astype(np.int64), last - 1)
    weight = position - low
    rows = corners[:, low] * (1.0 - weight)[:, None] + corners[:, low + 1] * weight[:, None]
    field: Floats = rows[:, :, low] * (1.0 - weight) + rows[:, :, low + 1] * weight
    return field


def _bumps(center: Floats, radius_pixels: Floats, height: Floats, size: int) -> Floats:
    """Height * (1 - d^2 / r^2)^2 within the radius, shape (n, size, size)."""
    y, x = _grid(size)
    dy = (y - center[:, 0, None, None]) * size
    dx = (x - center[:, 1, None, None]) * size
    square = (dy * dy + dx * dx) / (radius_pixels * radius_pixels)[:, None, None]
    falloff = np.maximum(1.0 - square, 0.0)
    bumps: Floats = height[:, None, None] * (falloff * falloff)
    return bumps


def _vessels(draw: Floats, size: int) -> Floats:
    """Bright segments of 5 numbers each: two ends, brightness; shape (n, size, size)."""
    start, end = _inside(draw[:, 0:2]), _inside(draw[:, 2:4])
    y, x = _grid(size)
    along = end - start
    length = np.maximum(along[:, 0] * along[:, 0] + along[:, 1] * along[:, 1], 1e-6)
    dy, dx = y - start[:, 0, None, None], x - start[:, 1, None, None]
    share = (dy * along[:, 0, None, None] + dx * along[:, 1, None, None]) / length[:, None, None]
    share = np.clip(share, 0.0, 1.0)
    dy = (dy - share * along[:, 0, None, None]) * size
    dx = (dx - share * along[:, 1, None, None]) * size
    falloff = np.maximum(1.0 - (dy * dy + dx * dx) / (0.05 * size * 0.05 * size), 0.0)
    vessels: Floats = (0.2 + 0.25 * draw[:, 4])[:, None, None] * (falloff * falloff)
    return vessels


def _grain(noise: randomness.Stream, slots: npt.NDArray[np.int64], size: int) -> Floats:
    """Triangular noise in (-1, 1), found by the image's slot, shape (n, size, size)."""
    blocks = -(-size * size // randomness.WORDS_PER_BLOCK)
    indices = (slots[:, None] * blocks + np.arange(blocks)).astype(np.uint64).reshape(-1)
    words = noise.blocks(indices).reshape(len(slots), -1)[:, : size * size]
    low, high = words & np.uint32(0xFFFF), words >> np.uint32(16)
    grain = (low.astype(np.float64) + high.astype(np.float64)) / 65535.0 - 1.0
    return grain.reshape(-1, size, size)
