"""Rules on one document: words of any language, Gopher's and C4's rules, boilerplate, the text's language."""

import json
import random
from pathlib import Path

import pytest
from datatrove.data import Document as Page
from hypothesis import given
from hypothesis import strategies as st

from lft.corpus.schema import Languages, Quality
from lft.corpus.select import quality
from lft.corpus.select.boilerplate import is_boilerplate
from lft.corpus.select.function_words import FUNCTION_WORDS, function_words
from lft.corpus.select.languages import mismatch
from lft.corpus.select.words import UNICODE_WORDS, grams, shingles, word_hashes, words
from tests.corpus.selecting import build, document, prose, selected

TEXTS = {
    "en": "The river runs through the valley and the village lies on its bank, with a bridge that people built.",
    "de": "Der Fluss läuft durch das Tal, und das Dorf liegt an seinem Ufer, mit einer Brücke, die man lange baute.",
    "es": "El río corre por el valle y el pueblo está en su orilla, con un puente que la gente construyó hace mucho.",
    "fr": "La rivière traverse la vallée et le village est sur sa rive, avec un pont que des gens ont bâti jadis.",
    "ru": "Река течёт через долину, и деревня стоит на её берегу, с мостом, который люди построили давным-давно.",
    "hi": "नदी घाटी से होकर बहती है और गाँव उसके किनारे पर है, एक पुल के साथ जिसे लोगों ने बहुत पहले बनाया था।",
    "zh": "河流穿过山谷，村庄坐落在河岸上，有一座人们很久以前建造的桥。",
}


def test_words_are_whole_in_every_script() -> None:
    assert words("L'été, c'est l’HIVER!") == ["l", "été", "c", "est", "l", "hiver"]
    assert words("हिन्दी भाषा।") == ["हिन्दी", "भाषा"]
    assert words("Größe") == ["grösse"]
    assert words("村庄 in 2024") == ["村", "庄", "in", "2024"]


def test_case_space_and_punctuation_do_not_change_hashes() -> None:
    a, b = "The river — runs; through\nthe Valley.", "the RIVER runs through the valley"
    assert (word_hashes(a) == word_hashes(b)).all()
    assert (shingles(a) == shingles(b)).all()


def test_a_short_text_has_one_gram_of_all_its_words() -> None:
    assert grams(word_hashes("two words"), 5).size == 1
    assert grams(word_hashes("..."), 5).size == 0


def test_sentences_end_where_their_punctuation_says() -> None:
    assert UNICODE_WORDS.sent_tokenize('He said "no." Then 3.5 went by! 他来了。她走了。') == [
        'He said "no."', "Then 3.5 went by!", "他来了。", "她走了。",
    ]  # fmt: skip


@pytest.mark.parametrize("lang", sorted(TEXTS))
def test_running_text_of_any_language_passes_gophers_rules(lang: str) -> None:
    one = document(1, TEXTS[lang], lang=lang)
    assert quality.gopher_quality(one) is None
    assert quality.gopher_repetition(one) is None


@pytest.mark.parametrize("lang", ["en", "de", "es", "fr", "ru"])
def test_a_list_of_names_is_no_running_text(lang: str) -> None:
    names = document(1, "Müller Schmidt Петров Иванова Dupont García Smith Jones Bäcker Koch", lang=lang)
    assert quality.gopher_quality(names) == "fewer than two function words: no running text (Gopher)"


def test_function_words_are_written_as_words_are_compared() -> None:
    for lang, listed in FUNCTION_WORDS.items():
        assert len(listed) >= 14, lang
    assert words("ΤΗΣ")[0] in (function_words("el") or ())
    assert function_words("nb") == function_words("no")
    assert function_words("tlh") is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("over 90 % of lines are bullet points", "\n".join(f"- the {word}ing and that" for word in "abcdefghijkl")),
        ("over 20 % of words have no letter", "the number of that is 123 456 789 with 1011 1213 and 1415 1617"),
        ("words too short on average, under 3 letters", "I am to be or no to be it is so as he is to be of it and"),
        ("too many # signs", "the #one of #two and #three with #four that #five have #six"),
    ],
)
def test_gophers_cuts_have_reasons_that_people_understand(reason: str, text: str) -> None:
    assert quality.gopher_quality(document(1, text)) == f"{reason} (Gopher)"


def test_repetition_is_cut() -> None:
    phrase = "the river runs through the valley below our house. "
    assert quality.gopher_repetition(document(1, phrase * 12)) is not None
    lines = quality.gopher_repetition(document(1, "one line of it\n" * 9))
    assert lines == "over 30 % of lines are repeated (Gopher)"


def test_a_long_phrase_that_stands_once_is_no_repetition() -> None:
    text = "Donaudampfschifffahrtsgesellschaft und Kraftfahrzeughaftpflichtversicherung sind lange Wörter der Sprache."
    assert quality._repetition(((2, 0.2),), False).filter(Page(text=text, id="x")) == (False, "top_2_gram")
    assert quality.gopher_repetition(document(1, text, lang="de")) is None


BITS = ["the", "and", "that", "river", "a", "stone", "12", "snow-drop", "…", "#", "x_y", "\n", "\n- ", "..."]


@given(st.lists(st.sampled_from(BITS), min_size=1, max_size=80))
def test_the_quick_bounds_never_keep_what_gophers_rules_cut(said: list[str]) -> None:
    if words(" ".join(said)):
        assert_bounds_hold(" ".join(said))


@given(phrase=st.integers(4, 11), times=st.integers(1, 8), others=st.integers(0, 150))
def test_the_bound_on_repeated_phrases_holds_for_any_share_of_them(phrase: int, times: int, others: int) -> None:
    repeated = " ".join(f"phrase{i}" for i in range(phrase))
    filler = [f"filler{i}" for i in range(others)]
    parts = [" ".join(filler[i::times]) for i in range(times)]
    assert_bounds_hold(" ".join(f"{repeated} {part}" for part in parts))


@given(bullets=st.integers(0, 30), plain=st.integers(0, 4), ellipses=st.integers(0, 12))
def test_the_bound_on_lines_holds_for_any_share_of_bullets_and_ellipses(
    bullets: int, plain: int, ellipses: int
) -> None:
    lines = ["- the number and that"] * bullets + ["the river and that stone"] * plain
    lines += ["the water that flows and..."] * ellipses
    if lines:
        assert_bounds_hold("\n".join(lines))


def assert_bounds_hold(text: str) -> None:
    rules, page = quality._gopher("en"), Page(text=text, id="x")
    if quality.plainly_text(text, rules):
        assert rules.filter(page) is True
    repeated = tuple((n, share) for n, share in quality._TOP_GRAMS if is_repeated(words(text), n))
    whole = quality._repetition(repeated, True).filter(page)
    assert (quality._repetition(*quality.possible_rules(text)).filter(page) is True) == (whole is True)


def is_repeated(found: list[str], size: int) -> bool:
    runs = [tuple(found[i : i + size]) for i in range(len(found) - size + 1)]
    return len(set(runs)) < len(runs)


def test_the_quick_bounds_decide_for_most_real_text(shared_data: Path) -> None:
    lines = (shared_data / "corpus" / "gnome-help.de.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert sum(quality.possible_rules(text) == ((), False) for text in texts) > 0.8 * len(texts)
    assert sum(quality.plainly_text(text, quality._gopher("de")) for text in texts) > 0.6 * len(texts)


def test_c4_removes_lines_and_says_so_in_the_text(tmp_path: Path) -> None:
    sentence = "The river runs through the valley and the village. "
    text = f"Menu\n{sentence * 3}\nEnable javascript to see this page.\n{sentence * 3}"
    report, left = selected(
        tmp_path, [document(1, text)], build(quality={"c4": True, "gopher": False, "repetition": False})
    )
    assert report.kept == 1
    assert "Menu" not in left[0].text
    assert "javascript" not in left[0].text


def test_too_few_and_too_many_words() -> None:
    wanted = Quality(min_words=5, max_words=8)
    assert quality.too_short_or_long(document(1, "one two three four"), wanted) == "fewer than 5 words"
    assert quality.too_short_or_long(document(1, "one two three four five"), wanted) is None
    assert quality.too_short_or_long(document(1, "a b c d e f g h i"), wanted) == "more than 8 words"
    assert quality.too_short_or_long(document(1, "— !"), Quality(min_words=0)) == "fewer than 1 words"


def test_words_of_unspaced_languages_are_their_characters() -> None:
    assert quality.too_short_or_long(document(1, TEXTS["zh"], lang="zh"), Quality(min_words=20)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Home | About us | Contact | Login\nWe use cookies to improve this site.\n© 2020 All rights reserved.",
        "Startseite\nImpressum\nKontakt\nDiese Website verwendet Cookies. Mehr in der Datenschutzerklärung.",
        "Accueil » Produits » Panier\nCe site utilise des cookies pour vous offrir le meilleur service.",
        "Inicio\nContacto\nAviso legal\nEste sitio utiliza cookies propias y de terceros.",
        "Главная · Контакты · О нас\nСайт использует файлы cookie. Все права защищены.",
        "Permission is hereby granted, free of charge, to any person obtaining a copy.",
    ],
)
def test_frames_of_pages_are_boilerplate(text: str) -> None:
    assert is_boilerplate(text)


def test_a_page_about_cookies_is_content() -> None:
    lot = random.Random(1)
    assert not is_boilerplate(prose(lot) + "\nThis site uses cookies.\n" + prose(lot))
    assert not is_boilerplate("Help\n" + prose(lot))
    assert not is_boilerplate("2 eggs\n1 cup of sugar\nflour\nbutter")


def test_untranslated_pages_are_found_and_others_are_not() -> None:
    wanted = Languages()
    for lang in ("de", "es", "fr", "ru"):
        untranslated = document(1, TEXTS["en"] * 2, lang=lang, detected="en")
        assert mismatch(untranslated, wanted) == f"text is en, but its source says {lang}"
        assert mismatch(document(1, TEXTS[lang], lang=lang), wanted) is None


def test_a_wrong_note_of_the_reader_does_not_cut_a_text() -> None:
    assert mismatch(document(1, TEXTS["de"], lang="de", detected="nl"), Languages()) is None


def test_an_unsure_detection_does_not_count() -> None:
    assert mismatch(document(1, "X:1 T:A R:B", lang="de", detected="zz"), Languages(min_confidence=0.99)) is None


def test_a_language_that_the_detector_does_not_know_is_said(tmp_path: Path) -> None:
    report, _ = selected(tmp_path, [document(1, "nuqneH jagh", lang="tlh")], build(language={"check": True}))
    assert report.kept == 1
    assert any("does not know tlh" in note for note in report.notes)


def test_untranslated_real_pages_are_cut(shared_data: Path, tmp_path: Path) -> None:
    def pages(lang: str) -> list[str]:
        lines = (shared_data / "corpus" / f"gnome-help.{lang}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["text"] for line in lines[:40]]

    documents = [document(i, text, lang="de", detected="") for i, text in enumerate(pages("de"))]
    documents += [document(100 + i, text, lang="de", detected="en") for i, text in enumerate(pages("en"))]
    report, left = selected(tmp_path, documents, build(language={"check": True}))
    assert report.cut["text is en, but its source says de"].count == 40
    assert len(left) == 40
