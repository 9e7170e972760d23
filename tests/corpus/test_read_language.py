"""How often the language of a text is seen, on real documents."""

import json
from collections import defaultdict

import pytest

pytest.importorskip("py3langid")

from lft.corpus.language import detected


@pytest.fixture(scope="module")
def texts(shared_data) -> dict[str, list[str]]:
    found = defaultdict(list)
    for path in sorted((shared_data / "corpus").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[::5]:
            row = json.loads(line)
            found[row["lang"]].append(row.get("text") or "")
    return found


@pytest.mark.parametrize("lang", ["de", "en", "es", "fr", "ru"])
def test_the_language_of_whole_documents_is_seen(texts, lang) -> None:
    right = sum(detected(text)[0] == lang for text in texts[lang])
    assert right >= 0.985 * len(texts[lang])


def test_short_texts_are_uncertain() -> None:
    assert detected("OK 12:30")[1] < 0.5
    assert detected("Öffnen Sie die Einstellungen und klicken Sie auf die Seitenleiste.")[1] > 0.9


def test_a_text_without_letters_has_no_language() -> None:
    assert detected("|  | 6|1|4|") == ("", 0.0) or detected("|  | 6|1|4|")[1] < 0.5
    assert detected("") == ("", 0.0) or detected("")[1] < 0.5


def test_a_long_text_is_seen_by_its_beginning_middle_and_end() -> None:
    spanish = "El gato come pescado en la cocina todos los días de la semana. "
    english = "The settings of this panel have not been translated into your language yet. "
    assert detected(spanish * 200)[0] == "es"
    assert detected(spanish * 10 + english * 400)[0] == "en"
