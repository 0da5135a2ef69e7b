# SPDX-License-Identifier: Apache-2.0
"""NIfTI: published volumes, and nibabel's closest canonical volume as the oracle.

Not tested here: what each rule does on small files (tests/unit/tokenizer/images/test_nifti.py).
"""

import nibabel
import numpy as np
import pytest

from tiny_agent_trainer import errors
from tiny_agent_trainer.config.images import ImagesOptions, NiftiOptions
from tiny_agent_trainer.tokenizer.images import folder, nifti, pairing

FILES = {
    "anatomical.nii": None, "example4d.nii.gz": 1, "example_nifti2.nii.gz": 0, "functional.nii": 7,
    "reoriented_anat_moved.nii": None, "standard.nii.gz": None,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_values_spacing_and_orientation_are_nibabels(shared_data, name):
    path = shared_data / "nifti" / "nibabel" / name
    index = FILES[name]
    expected = nibabel.as_closest_canonical(nibabel.load(path))
    found = folder.read_path(path, ImagesOptions(nifti=NiftiOptions(index=index)))
    data = np.asanyarray(expected.dataobj)
    chosen = data if index is None else data[..., index]
    assert (found.values[..., 0] == chosen.astype(found.values.dtype)).all()
    assert found.orientation == "".join(nibabel.aff2axcodes(expected.affine))
    assert np.allclose(found.spacing_mm, nibabel.affines.voxel_sizes(expected.affine), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name, index in FILES.items() if index is not None])
def test_four_dims_are_refused_without_an_index(shared_data, name):
    with pytest.raises(errors.DatasetError, match="choose a volume"):
        folder.read_path(shared_data / "nifti" / "nibabel" / name, ImagesOptions())


class TestHippocampus:
    """105 volumes of the Medical Segmentation Decathlon with their label maps."""

    @pytest.fixture
    def listings(self, shared_data):
        place = shared_data / "nifti" / "hippocampus"
        return tuple(
            folder.list_folder(place / part, ImagesOptions()) for part in ("images", "labels")
        )

    def test_every_volume_and_label_map_is_read(self, listings, shared_data):
        images, labels = listings
        assert (len(images.items), len(labels.items)) == (105, 105)
        for item in images.items[::8]:
            volume = item.read()
            stored = nibabel.load(shared_data / "nifti/hippocampus/images" / item.key)
            assert (volume.values[..., 0] == np.asanyarray(stored.dataobj)).all()
            assert volume.spacing_mm == (1.0, 1.0, 1.0)
            assert volume.orientation == "RAS"
        for item in labels.items[::8]:
            found = nifti.read_label_map(
                shared_data / "nifti/hippocampus/labels", item.key, NiftiOptions()
            )
            assert set(np.unique(found.values)) == {0, 1, 2}
            assert found.values.dtype == np.uint8

    def test_all_pairs_agree_and_a_fault_that_is_made_is_named(self, listings):
        images, labels = listings
        found = pairing.pair_label_maps(images, labels)
        assert len(found.pairs) == 105
        assert not found.faults

    def test_label_maps_that_are_exchanged_are_found_by_their_shapes(
        self, listings, tmp_path, shared_data
    ):
        place = shared_data / "nifti" / "hippocampus" / "labels"
        names = sorted(path.name for path in place.iterdir())
        for name, source in zip(names, [names[-1], *names[:-1]], strict=True):
            (tmp_path / name).write_bytes((place / source).read_bytes())
        (tmp_path / names[3]).unlink()
        shifted = folder.list_folder(tmp_path, ImagesOptions())
        found = pairing.pair_label_maps(listings[0], shifted)
        assert len(found.faults) > 95
        assert sum("shape" in fault.reason for fault in found.faults) > 95
        assert sum(fault.reason == "no label map of this name" for fault in found.faults) == 1
