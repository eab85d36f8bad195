"""The shipped sample and folders of embeddings."""

from pathlib import Path

import numpy as np
import pytest

from streamlsh.datasets import glosses, load_folder
from streamlsh.datasets.__main__ import main


def test_the_sample_holds_5000_unit_vectors_with_unique_ids_and_texts() -> None:
    sample = glosses()
    assert len(sample) == len(sample.ids) == len(set(sample.ids)) == len(sample.texts) == 5_000
    assert sample.vectors.shape == (5_000, 384)
    assert sample.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(sample.vectors, axis=1), 1, atol=1e-6)


def test_ids_of_the_sample_are_words_and_later_entries_of_a_word_are_numbered() -> None:
    sample = glosses()
    assert sample.ids[:5] == ["troll", "team", "sinister", "poultice", "light_up"]
    entries = dict(zip(sample.ids, sample.texts, strict=True))
    assert entries["light_up"].startswith("light up: ")
    assert entries["draw"].startswith("draw: ")
    assert entries["draw.2"].startswith("draw: ")
    assert entries["draw"] != entries["draw.2"]


def test_near_vectors_of_the_sample_have_kindred_texts() -> None:
    sample = glosses()
    scores = sample.vectors @ sample.vectors[sample.ids.index("Recurvirostridae")]
    nearest = sample.texts[int(np.argsort(-scores)[1])]
    assert "bird" in nearest or "shore" in nearest


def test_a_folder_of_codes_and_scales_is_read_as_unit_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "mine-codes.npy", np.array([[3, 4], [0, -5]], dtype=np.int8))
    np.save(tmp_path / "mine-scales.npy", np.array([0.1, 0.2], dtype=np.float32))
    expected = np.array([[0.6, 0.8], [0, -1]], dtype=np.float32)
    np.testing.assert_allclose(load_folder(tmp_path, "mine"), expected, atol=1e-7)


def test_codes_and_scales_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mine-codes.npy", np.ones((2, 2), dtype=np.int8))
    np.save(tmp_path / "mine-scales.npy", np.ones(3, dtype=np.float32))
    with pytest.raises(ValueError, match=r"expected .* received int8 \(2, 2\) and float32 \(3,\)"):
        load_folder(tmp_path, "mine")


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mine-codes\.npy"):
        load_folder(tmp_path, "mine")


def test_the_sample_can_be_written_as_a_file_to_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "glosses.jsonl"
    assert main([str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith('{"id": "troll", "vector": [')
    assert "5,000" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["a", "b"]])
def test_the_writer_of_the_sample_says_how_it_is_used(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err
