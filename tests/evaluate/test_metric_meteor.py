"""METEOR is NLTK's number, whatever the texts, and takes no longer where they are long."""

import random
import time
from pathlib import Path

import nltk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from nltk.stem.snowball import SnowballStemmer
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer
from nltk.translate.meteor_score import single_meteor_score

from lft.errors import InputError
from lft.evaluate.item import Item, Output, Row
from lft.evaluate.metric import Tools
from lft.evaluate.metrics import meteor, wordnet
from lft.evaluate.metrics.parallel import spread
from lft.evaluate.metrics.wordnet import open_wordnet
from lft.evaluate.metrics.words import nltk_tokens, stem_of
from tests.wordnet_made import NoSynonyms, nltk_reader, write_wordnet

HYPOTHESIS = "It is a guide to action which ensures that the military always obeys the commands of the party"
REFERENCE = "It is a guide to action that ensures that the military will forever heed Party commands"
SYNSETS = [
    ("noun", ["guide", "usher"]),
    ("noun", ["party", "company", "Gotham"]),
    ("noun", ["command", "bid", "bidding", "dictation"]),
    ("noun", ["city", "new_york", "metropolis"]),
    ("noun", ["company", "troupe"]),
    ("noun", ["man", "adult_male"]),
    ("verb", ["obey", "heed"]),
    ("verb", ["party", "celebrate"]),
    ("verb", ["see", "watch", "view"]),
    ("verb", ["go", "run", "pass"]),
    ("adj", ["warm", "tepid(a)", "mild"]),
    ("adj", ["good", "well(p)"]),
    ("adv", ["forever", "always", "ever"]),
]
IRREGULAR = {"verb": {"went": "go", "saw": "see"}, "adj": {"better": "good", "best": "good"}, "noun": {"men": "man"}}
WORDS = sorted({name.partition("(")[0].lower() for _, names in SYNSETS for name in names})
INFLECTED = [word + end for word in WORDS for end in ("", "s", "es", "ed", "ing", "er", "est")]
VOCABULARY = [*INFLECTED, "men", "went", "saw", "better", "best", "the", "The", ",", ".", "İstanbul", "sky", "skies"]
PIECES = [
    *"aB.,:;'\"`?!()[]<>{}-–*«”’&%5",
    *("''", "``", "..", "--", "cannot", "'s", "n't", "'tis", "wanna", "d'ye", "S."),
]
STRETCH = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
GAPS = [" ", " ", " ", "  ", "\n", " \n", "\t", "\xa0", "\x1c", "\r\n", "\u2028"]
TOKENS = st.lists(st.sampled_from(VOCABULARY), max_size=30)


class NoStems:
    @staticmethod
    def stem(word):
        return word


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small WordNet, as we read it and as NLTK reads it."""
    home = tmp_path_factory.mktemp("wordnet")
    nltk.data.path.append(str(home))
    files = write_wordnet(home / "files", SYNSETS, IRREGULAR)
    yield open_wordnet(home / "cache", files), nltk_reader(files, home), files
    nltk.data.path.remove(str(home))


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    """The WordNet of Debian, both ways."""
    if not (wordnet.FOLDER / "index.sense").is_file():
        pytest.skip("Debian's wordnet-base and wordnet-sense-index are not installed")
    home = tmp_path_factory.mktemp("debian")
    nltk.data.path.append(str(home))
    yield open_wordnet(home / "cache", wordnet.FOLDER), nltk_reader(wordnet.FOLDER, home)
    nltk.data.path.remove(str(home))


def tools(tmp_path: Path, workers: int = 1) -> Tools:
    return Tools(workers, tmp_path, lambda line: None)


def row(answer: str, reference: str, lang: str = "en") -> Row:
    return Row(Item("i", lang, "s", "t", "say it", "", reference), Output(answer))


def lower(tokens):
    return [token.lower() for token in tokens]


def nltks_own(text):
    parts = PunktSentenceTokenizer().tokenize(text)
    return [token.lower() for part in parts for token in NLTKWordTokenizer().tokenize(part)]


def plain_names(reader, word):
    """What NLTK's METEOR takes a lower-cased word for."""
    found = {name for synset in reader.synsets(word) for name in synset.lemma_names() if "_" not in name}
    return {name for name in found if name == name.lower()} | {word}


def test_synonyms_of_inflected_words_are_nltks(small):
    ours, theirs, _ = small
    for word in lower(VOCABULARY):
        assert ours.synonyms(word) == plain_names(theirs, word)


def test_irregular_forms_reach_their_synonyms(small):
    assert {"view", "watch"} <= small[0].synonyms("saw")


@settings(max_examples=50)
@given(hypothesis=TOKENS, reference=TOKENS)
def test_the_score_is_nltks_on_any_tokens(small, hypothesis, reference):
    ours, theirs, _ = small
    found = meteor.score(lower(hypothesis), lower(reference), stem_of("en"), ours.synonyms)
    assert found == pytest.approx(single_meteor_score(reference, hypothesis, wordnet=theirs), abs=1e-12)


@settings(max_examples=50)
@given(data=st.data())
def test_the_score_is_nltks_with_the_whole_wordnet(debian, data):
    ours, theirs = debian
    seed = data.draw(st.integers(0, 10**6))
    pick = random.Random(seed)
    names = pick.sample(sorted(ours.beside["noun"]), 30) + pick.sample(sorted(ours.beside["verb"]), 30)
    beside = [other for name in names for other in sorted(ours.synonyms(name))]
    vocabulary = [word + end for word in names + beside for end in ("", "s", "ed", "ing")]
    hypothesis, reference = ([pick.choice(vocabulary) for _ in range(pick.randint(0, 120))] for _ in range(2))
    found = meteor.score(hypothesis, reference, stem_of("en"), ours.synonyms)
    assert found == pytest.approx(single_meteor_score(reference, hypothesis, wordnet=theirs), abs=1e-12)


def test_synonyms_of_the_whole_wordnet_are_nltks(debian):
    ours, theirs = debian
    pick = random.Random(7)
    bases = [pick.choice(sorted(table)) for table in ours.beside.values() for _ in range(100)]
    words = [base + end for base in bases for end in ("", "s", "es", "ed", "ing", "er", "est")]
    words += [form for table in ours.irregular.values() for form in pick.sample(sorted(table), min(len(table), 100))]
    assert all(ours.synonyms(word) == plain_names(theirs, word) for word in words)


@pytest.mark.parametrize("lang", ["de", "es", "fr", "ru"])
def test_other_languages_use_their_stemmer_as_nltk_would(lang):
    names = {"de": "german", "es": "spanish", "fr": "french", "ru": "russian"}
    texts = {
        "de": ("Die Häuser der Stadt leuchten", "Das Haus in der Stadt leuchtete hell"),
        "es": ("Los niños cantaban canciones", "El niño cantó una canción"),
        "fr": ("Les chanteuses continuaient", "La chanteuse continua toujours"),
        "ru": ("важнейшие новости городов", "важная новость города"),
    }
    hypothesis, reference = (nltk_tokens(text, lang) for text in texts[lang])
    theirs = single_meteor_score(reference, hypothesis, stemmer=SnowballStemmer(names[lang]), wordnet=NoSynonyms)
    assert theirs > 0
    assert meteor.score(hypothesis, reference, stem_of(lang)) == pytest.approx(theirs, abs=1e-12)


def test_the_doctest_pair_scores_what_nltk_documents(small):
    pair = HYPOTHESIS.lower().split(), REFERENCE.lower().split()
    assert meteor.score(*pair, stem_of("en")) == pytest.approx(0.694444444444444, abs=1e-12)
    assert meteor.score(*pair, stem_of("en"), small[0].synonyms) > 0.6945  # here obeys is heed, and always forever


@pytest.mark.parametrize(
    ("hypothesis", "reference", "published"),
    [
        ("the cat was sat on the mat", "the cat sat on the mat", 0.9654),  # Wikipedia's example of METEOR
        ("non matching hypothesis", "this is a cat", 0.0),  # NLTK's doctest
        ("Alimentum is located in the city centre. It is not family-friendly.",  # nltk #2655
         "There is a place in the city centre, Alimentum, that is not family-friendly.", 0.6166),
    ],
)  # fmt: skip
def test_published_examples_score_what_was_published(hypothesis, reference, published):
    tokens = (nltk_tokens(text, "en") for text in (hypothesis, reference))
    assert round(meteor.score(*tokens, stem_of("en")), 4) == published


def test_the_doctest_pair_scores_the_same_with_the_whole_wordnet(debian):
    pair = HYPOTHESIS.lower().split(), REFERENCE.lower().split()
    assert round(meteor.score(*pair, stem_of("en"), debian[0].synonyms), 4) == 0.6944


@settings(max_examples=50)
@given(st.text(alphabet="aIs \n\t.,:;'\"`?!()[]<>-–—…*«“”’„&%0é\x85\u3000", max_size=60))
def test_tokens_are_nltks_whatever_the_punctuation(text):
    assert nltk_tokens(text, "en") == nltks_own(text)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(GAPS), st.lists(st.sampled_from(PIECES), max_size=4).map("".join)), max_size=12)
)
def test_tokens_are_nltks_whatever_stands_beside_a_word(stretches):
    text = "".join(gap + stretch for gap, stretch in stretches)
    assert nltk_tokens(text, "en") == nltks_own(text)


def test_tokens_are_nltks_on_thousands_of_odd_texts():
    pick = random.Random(4)
    for _ in range(3_000):
        text = "".join("".join(pick.choices(PIECES, k=3)) + pick.choice(GAPS) for _ in range(pick.randint(1, 8)))
        assert nltk_tokens(text, "en") == nltks_own(text), text


@pytest.mark.parametrize(
    "text",
    [
        " '' a",  # behind a blank the quote opens
        "'' a",
        '  " a',
        "I cannot go; gimme that. You're gonna wanna see it, lemme tell ya!",
        "'Tis the season, 'twas good. D'ye know more'n that? I gotta CANNOT Gimme LEMME.",
        "\"It's\" ''fine'' -- he said: (no) [yes] {so} <b>.. etc... $5 & 50% #1 @home *x* don' go",
        "Wanna\tgo? wanna",
        "He (who came last) left. ) So did she. ' And they. ] } ",
        "dimmed \u017f 'ti\u017f",
    ],
)
def test_contractions_and_quotes_are_split_as_nltk_does(text):
    assert nltk_tokens(text, "en") == nltks_own(text)


def test_chinese_is_compared_character_by_character():
    assert nltk_tokens("今天天气好。", "zh")[:3] == ["今", "天", "天"]


def test_the_table_is_read_once_and_loads_in_a_moment(tmp_path):
    if not wordnet.FOLDER.is_dir():
        pytest.skip("Debian's wordnet-base is not installed")
    open_wordnet.__wrapped__(tmp_path)
    kept = list((tmp_path / "wordnet").iterdir())
    began = time.process_time()
    again = open_wordnet.__wrapped__(tmp_path)
    assert time.process_time() - began < 1
    assert list((tmp_path / "wordnet").iterdir()) == kept
    assert "car" in again.synonyms("automobile")


def test_a_damaged_table_is_made_anew(tmp_path):
    files = write_wordnet(tmp_path / "files", SYNSETS)
    open_wordnet(tmp_path / "cache", files)
    kept = next((tmp_path / "cache" / "wordnet").iterdir())
    kept.write_text(kept.read_text()[:100])
    assert "usher" in open_wordnet.__wrapped__(tmp_path / "cache", files).synonyms("guide")


def test_other_files_make_another_table(tmp_path):
    files = write_wordnet(tmp_path / "files", SYNSETS)
    assert "steward" not in open_wordnet.__wrapped__(tmp_path / "cache", files).synonyms("guide")
    write_wordnet(files, [("noun", ["guide", "steward"])])
    assert "steward" in open_wordnet.__wrapped__(tmp_path / "cache", files).synonyms("guide")


def test_files_that_are_not_wordnets_are_named(tmp_path):
    files = write_wordnet(tmp_path / "files", SYNSETS)
    (files / "data.noun").write_text("not this\n")
    with pytest.raises(InputError, match="this is not WordNet"):
        open_wordnet(tmp_path / "cache", files)


def test_without_wordnet_the_variant_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "FOLDER", tmp_path / "none")
    found = meteor.METEOR.measure([row(HYPOTHESIS, REFERENCE)], "en", tools(tmp_path))
    assert "synonyms off: WordNet is not installed (apt install wordnet-base)" in found.variant
    assert meteor.METEOR.score(found.sums.sum(axis=0)) == pytest.approx(0.694444444444444, abs=1e-12)


def test_with_wordnet_the_variant_names_its_files(tmp_path, small, monkeypatch):
    monkeypatch.setattr(wordnet, "FOLDER", small[2])
    found = meteor.METEOR.measure([row(HYPOTHESIS, REFERENCE)], "en", tools(tmp_path))
    assert f"WordNet synonyms (files {small[0].digest[:12]})" in found.variant
    assert "Porter stems" in found.variant
    assert found.sums[0, 0] > 0.6945


def test_an_empty_answer_scores_nothing_and_an_empty_reference_has_no_score(tmp_path, monkeypatch):
    monkeypatch.setattr(wordnet, "FOLDER", tmp_path / "none")
    pairs = [("", REFERENCE), (HYPOTHESIS, " \n\t"), (" \u200b\x00 ", REFERENCE), ("é" * 9, "한국어 русский")]
    rows = [row(*pair) for pair in pairs]
    found = meteor.METEOR.measure(rows, "en", tools(tmp_path))
    assert found.sums[[0, 2, 3], 0].tolist() == [0, 0, 0]
    assert np.isnan(found.sums[1]).all()
    assert found.reasons == {1: "the reference has no words"}


def test_fifty_thousand_words_take_seconds_and_keep_the_number():
    pick = random.Random(3)
    common, mine, theirs = ([f"{stem}{n}ing" for n in range(2_000)] for stem in ("word", "mine", "their"))
    hypothesis = [pick.choice(common + mine) for _ in range(50_000)]
    reference = [pick.choice(common + theirs) for _ in range(50_000)]
    stem_of("en")("warm")
    began = time.process_time()
    found = meteor.score(hypothesis, reference, stem_of("en"))
    assert time.process_time() - began < 5
    assert found == pytest.approx(single_meteor_score(reference, hypothesis, wordnet=NoSynonyms), abs=1e-12)


def test_fifty_thousand_words_of_text_are_tokenised_in_seconds(tmp_path):
    text = "One day. " * 10_000 + "no end of it " * 7_500
    began = time.process_time()
    found = meteor.METEOR.measure([row(text, text + "!")], "en", tools(tmp_path))
    assert time.process_time() - began < 30
    assert found.sums[0, 0] > 0.99


def test_other_processes_give_the_same_numbers_in_the_same_order(tmp_path, small, monkeypatch):
    monkeypatch.setattr(wordnet, "FOLDER", small[2])
    pick = random.Random(5)
    texts = [(" ".join(pick.choices(VOCABULARY, k=20)), " ".join(pick.choices(VOCABULARY, k=20))) for _ in range(40)]
    of_row = meteor.partial(meteor._of_row, "en", tmp_path, small[2])
    assert spread(of_row, texts, 2, patience=0) == spread(of_row, texts, 1)


def test_without_stems_and_synonyms_only_equal_words_count():
    theirs = single_meteor_score(["a", "cats"], ["a", "cat"], stemmer=NoStems, wordnet=NoSynonyms)
    assert meteor.score(["a", "cat"], ["a", "cats"]) == pytest.approx(theirs, abs=1e-12)
    assert meteor.score(["a", "cat"], ["a", "cats"], PorterStemmer().stem) > theirs
