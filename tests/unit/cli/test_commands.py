"""Each command does what its help says, for people and for scripts."""

import json
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from tests.unit.cli.conftest import DIM, Run


def test_create_makes_an_index_and_says_what_it_is(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.index"
    outcome = run("create", path, "--dim", DIM, "--metric", "cosine", "--seed", 3)
    assert outcome.code == 0
    assert "8 dimensions, cosine, crosspolytope" in outcome.out
    with streamlsh.open(path) as reader:
        assert (reader.config.dim, reader.config.seed) == (DIM, 3)


def test_create_passes_the_family_and_its_parameters_on(run: Run, tmp_path: Path) -> None:
    outcome = run(
        "create", tmp_path / "new.index", "--dim", DIM, "--family", "hyperplane",
        "--bits", 6, "--tables", 4, "--json",
    )  # fmt: skip
    assert outcome.code == 0
    assert outcome.json["family"] == "hyperplane"
    assert outcome.json["parameters"]["bits"] == 6
    assert outcome.json["parameters"]["tables"] == 4


@pytest.mark.parametrize(
    ("metric", "options", "parameters"),
    [
        ("cosine", ["--family", "crosspolytope", "--tables", 2], {"tables": 2}),
        (
            "euclidean",
            ["--bucket-length", 2.5, "--hashes", 4, "--tables", 3],
            {"bucket_length": 2.5, "hashes": 4, "tables": 3},
        ),
    ],
)
def test_create_takes_the_parameters_of_every_family(
    run: Run, tmp_path: Path, metric: str, options: list[object], parameters: dict[str, object]
) -> None:
    path = tmp_path / "new.index"
    outcome = run("create", path, "--dim", DIM, "--metric", metric, *options, "--json")
    assert outcome.code == 0
    assert outcome.json["parameters"].items() >= parameters.items()


def test_create_takes_the_vectors_of_a_trained_model(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "model.npy", np.eye(DIM)[:3])
    outcome = run(
        "create", tmp_path / "new.index", "--dim", DIM, "--metric", "euclidean",
        "--bucket-length", 2, "--vectors", tmp_path / "model.npy", "--json",
    )  # fmt: skip
    assert outcome.code == 0
    assert outcome.json["parameters"]["tables"] == 3


def test_create_passes_map_size_and_delete_retention_on(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new.index"
    assert run(
        "create", path, "--dim", DIM, "--map-size", 1 << 24, "--delete-retention", 60
    ).code == 0  # fmt: skip
    with streamlsh.open(path) as reader:
        assert reader.info()["bytes"]["map"] == 1 << 24
        assert reader.config.delete_retention == 60


def test_create_takes_a_sample_in_every_format_of_load(run: Run, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = np.random.default_rng(1).standard_normal((60, DIM)).astype(np.float32)
    lines = [json.dumps({"id": str(i), "vector": row.tolist()}) for i, row in enumerate(rows)]
    (tmp_path / "sample.jsonl").write_text("\n".join(lines), encoding="utf-8")
    parquet.write_table(
        pyarrow.table({"id": [str(i) for i in range(60)], "vector": list(rows)}),
        tmp_path / "sample.parquet",
    )
    np.save(tmp_path / "sample.npy", rows)
    digests = set()
    for ending in ("npy", "jsonl", "parquet"):
        path = tmp_path / f"{ending}.index"
        sample = tmp_path / f"sample.{ending}"
        assert run("create", path, "--dim", DIM, "--sample", sample, "--cells", 4).code == 0
        digests.add(run("digest", path).out)
    assert len(digests) == 1


def test_create_calibrates_cells_on_a_sample(run: Run, tmp_path: Path) -> None:
    sample = np.random.default_rng(1).standard_normal((400, DIM))
    np.save(tmp_path / "sample.npy", sample)
    outcome = run(
        "create", tmp_path / "new.index", "--dim", DIM, "--sample", tmp_path / "sample.npy",
        "--cells", 16, "--json",
    )  # fmt: skip
    assert outcome.code == 0
    assert outcome.json["family"] == "voronoi"


def test_search_by_id_leaves_the_item_itself_out(run: Run, index: Path) -> None:
    outcome = run("search", index, "--id", "item-03", "-k", 5, "--json")
    assert outcome.code == 0
    ids = [hit["id"] for hit in outcome.json["hits"]]
    assert len(ids) == 5
    assert "item-03" not in ids
    scores = [hit["score"] for hit in outcome.json["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_search_says_which_commit_and_positions_it_reflects(run: Run, index: Path) -> None:
    answer = run("search", index, "--id", "item-03", "--json").json
    assert answer["commit"] >= 1
    assert answer["positions"] == [{"stream": "topic", "partition": 0, "offset": 42}]
    assert 0 <= answer["plan"]["share"] <= 1


def test_search_takes_a_history_of_several_ids(run: Run, index: Path) -> None:
    answer = run("search", index, "--id", "item-03", "--id", "item-04", "-k", 20, "--json").json
    ids = {hit["id"] for hit in answer["hits"]}
    assert len(ids) == 18
    assert not ids & {"item-03", "item-04"}


def test_search_by_one_vector_finds_the_item_that_has_it(
    run: Run, index: Path, tmp_path: Path
) -> None:
    with streamlsh.open(index) as reader:
        item = reader.get("item-09")
    assert item is not None
    np.save(tmp_path / "query.npy", item.vector)
    answer = run("search", index, "--vector", tmp_path / "query.npy", "-k", 1, "--json").json
    assert answer["hits"][0]["id"] == "item-09"
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=1e-6)


def test_search_by_many_vectors_answers_each(run: Run, index: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "queries.npy", np.random.default_rng(5).standard_normal((3, DIM)))
    answer = run("search", index, "--vector", tmp_path / "queries.npy", "-k", 2, "--json").json
    assert [len(hits) for hits in answer["hits"]] == [2, 2, 2]
    text = run("search", index, "--vector", tmp_path / "queries.npy", "-k", 2).out
    assert [line for line in text.splitlines() if line.startswith("query")] == [
        "query 0",
        "query 1",
        "query 2",
    ]


def test_search_shows_attributes_when_asked(run: Run, index: Path) -> None:
    answer = run("search", index, "--id", "item-03", "-k", 19, "--attributes", "--json").json
    shown = {hit["id"]: hit["attributes"] for hit in answer["hits"]}
    assert shown["item-07"] == {"text": "grün [bold]", "price": 9.5}
    assert shown["item-00"] is None
    text = run("search", index, "--id", "item-03", "-k", 19, "--attributes").out
    assert "grün [bold]" in text


def test_search_of_an_empty_index_finds_nothing_and_says_so(
    run: Run, empty: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "query.npy", np.ones(DIM))
    assert run("search", empty, "--vector", tmp_path / "query.npy", "--json").json["hits"] == []
    outcome = run("search", empty, "--vector", tmp_path / "query.npy")
    assert outcome.code == 0
    assert "nothing found" in outcome.out


def test_search_keeps_only_what_carries_the_tags(run: Run, index: Path) -> None:
    def found(*tags: str) -> list[str]:
        answer = run("search", index, "--id", "item-03", "-k", 19, *tags, "--json").json
        return [hit["id"] for hit in answer["hits"]]

    assert found("--tag", "new") == ["item-07"]
    assert found("--tag", "new", "--tag", "sale") == ["item-07"]
    assert found("--tag", "new", "--tag", "old") == []
    assert found("--tag", "old", "new") == ["item-07"]
    assert len(found()) == 19


def test_search_leaves_out_what_is_excluded(run: Run, index: Path) -> None:
    answer = run(
        "search", index, "--id", "item-03", "-k", 20, "--exclude", "item-04", "--exclude",
        "unknown", "--json",
    ).json  # fmt: skip
    ids = {hit["id"] for hit in answer["hits"]}
    assert len(ids) == 18
    assert not ids & {"item-03", "item-04"}


@pytest.mark.parametrize("effort", [["--exact"], ["--recall", "1"]])
def test_search_scores_every_vector_when_all_must_be_found(
    run: Run, index: Path, effort: list[str]
) -> None:
    plan = run("search", index, "--id", "item-03", *effort, "--json").json["plan"]
    assert (plan["route"], plan["recall"], plan["candidates"]) == ("exact", 1.0, 20)


def test_search_says_in_a_line_how_the_answer_was_found(run: Run, index: Path) -> None:
    last = run("search", index, "--id", "item-03", "--recall", "1").out.splitlines()[-1]
    assert last.startswith("commit 1; scan of all vectors, 20 candidates, 100.0% of the index")
    assert "recall 1.000" in last
    assert last.endswith("(recall 1 was asked for)")


def test_a_recall_out_of_range_is_one_line_and_exit_code_1(run: Run, index: Path) -> None:
    outcome = run("search", index, "--id", "item-03", "--recall", "1.5", "--json")
    assert outcome.code == 1
    assert "recall is out of range" in outcome.json["error"]["message"]


def test_get_shows_an_item_in_the_form_of_export(run: Run, index: Path) -> None:
    item = run("get", index, "item-07", "--json").json
    assert list(item) == ["id", "vector", "version", "tags", "attributes"]
    assert (item["id"], item["version"], item["tags"]) == ("item-07", 5, ["new", "sale"])
    assert item["attributes"] == {"text": "grün [bold]", "price": 9.5}
    assert len(item["vector"]) == DIM
    text = run("get", index, "item-07").out
    assert "new, sale" in text
    assert "8 numbers" in text


def test_get_of_an_unknown_item_is_one_line_and_exit_code_1(run: Run, index: Path) -> None:
    outcome = run("get", index, "nothing", "--json")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert outcome.json["error"]["type"] == "ItemNotFoundError"
    assert "'nothing'" in outcome.json["error"]["message"]


def test_info_prints_json_and_text_of_the_same_facts(run: Run, index: Path) -> None:
    with streamlsh.open(index) as reader:
        facts = reader.info()
    assert run("info", index, "--json").json == facts
    text = run("info", index).out
    assert "20" in text
    assert "not calibrated: run streamlsh calibrate" in text


def test_verify_of_a_sound_index_exits_with_0(run: Run, index: Path) -> None:
    outcome = run("verify", index)
    assert outcome.code == 0
    assert "sound" in outcome.out
    assert run("verify", index, "--json").code == 0


def test_digest_is_the_readers_own(run: Run, index: Path) -> None:
    with streamlsh.open(index) as reader:
        expected = reader.digest()
    assert run("digest", index).out == f"{expected}\n"
    assert run("digest", index, "--json").json["digest"] == expected


def test_export_is_sorted_and_loads_into_an_index_of_the_same_digest(
    run: Run, index: Path, tmp_path: Path
) -> None:
    out = tmp_path / "items.jsonl"
    assert run("export", index, out, "--json").json["items"] == 20
    lines = out.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 20
    assert lines == sorted(lines)
    copy = tmp_path / "copy.index"
    assert run("create", copy, "--dim", DIM).code == 0
    loaded = run("load", copy, out, "--json").json
    assert (loaded["rows"], loaded["inserted"]) == (20, 20)
    assert run("digest", copy).out == run("digest", index).out


def test_export_leaves_no_half_file_when_it_fails(run: Run, tmp_path: Path) -> None:
    outcome = run("export", tmp_path / "missing.index", tmp_path / "items.jsonl")
    assert outcome.code == 1
    assert list(tmp_path.iterdir()) == []


def test_export_into_a_missing_folder_names_the_file_that_was_asked_for(
    run: Run, index: Path, tmp_path: Path
) -> None:
    out = tmp_path / "missing" / "items.jsonl"
    outcome = run("export", index, out)
    assert outcome.code == 1
    assert outcome.err == f"error: {out}: No such file or directory\n"


def test_export_writes_json_lines_only(run: Run, index: Path, tmp_path: Path) -> None:
    outcome = run("export", index, tmp_path / "items.parquet")
    assert outcome.code == 2
    assert ".jsonl" in outcome.err


def test_output_for_people_cannot_carry_control_characters(run: Run, empty: Path) -> None:
    with streamlsh.writer(empty) as writer:
        writer.upsert(["a\x1b[31m\n"], np.ones((1, DIM), dtype=np.float32))
    outcome = run("get", empty, "a\x1b[31m\n")
    assert "\x1b" not in outcome.out
    assert r"a\x1b[31m\n" in outcome.out
