"""Answers by generation while a run goes on: sample prompts before and after, validation examples at evaluations.

All are greedy, so that they differ by the training alone, and leave the run's random numbers where they were. Samples
are for reading, and small models loop when they are greedy, so words that were used count less there. Where weights are
in parts all processes must answer; elsewhere the first one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from lft.base.decode import Answer, Asking, Decoding, generate
from lft.data.example import Turn
from lft.data.prompts import prompt_text, stop_id
from lft.train.events import Note, Sample
from lft.train.ledger import Ledger
from lft.train.model import Subject

_AT_ONCE = 8
_AGAINST_LOOPS = 1.3  # CTRL's penalty on repetition (https://arxiv.org/abs/1909.05858, 1.2 there)


def answer_samples(tuned: Subject, ledger: Ledger, when: str) -> None:
    """Write and tell the answers to the recipe's sample prompts ``when`` (before, after)."""
    if not (ledger.world.is_main or tuned.sharded):
        return
    prompts = tuned.inputs.recipe.train.sample_prompts
    for prompt, answer in zip(prompts, sample_answers(tuned), strict=True):
        if ledger.world.is_main:
            record = {"when": when, "prompt": prompt, "text": answer.text, "finished": answer.finished}
            ledger.folder.append("samples.jsonl", record)
        ledger.report(Sample(when, prompt, answer.text))


def sample_answers(tuned: Subject) -> list[Answer]:
    """Answers to the recipe's sample prompts."""
    inputs = tuned.inputs
    prompts = [(Turn("user", prompt),) for prompt in inputs.recipe.train.sample_prompts]
    return _answers(tuned, [prompt_text(inputs.form, turns, inputs.tokenizer) for turns in prompts], 1, _AGAINST_LOOPS)


def answer_questions(tuned: Subject, ledger: Ledger, step: int) -> None:
    """Answer the first ``train.eval_answers`` validation examples and record how near they come to a person's."""
    questions = tuned.inputs.questions
    if not questions or not (ledger.world.is_main or tuned.sharded):
        return
    answers = _answers(tuned, [one.prompt for one in questions], at_once=_AT_ONCE)
    count = len(questions)
    f1 = sum(word_f1(a.text, q.reference) for a, q in zip(answers, questions, strict=True)) / count
    finished = sum(answer.finished for answer in answers) / count
    words = sum(len(answer.text.split()) for answer in answers) / count
    ledger.record({"step": step, "answered": count, "word_f1": f1, "finished": finished, "words": words})
    ledger.report(
        Note(f"{count} validation examples answered: word F1 {f1:.3f}, {finished:.0%} finished, {words:.0f} words each")
    )


def word_f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the words, each counted as often as it stands (SQuAD's F1)."""
    ours, theirs = Counter(text.lower().split()), Counter(reference.lower().split())
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def _answers(tuned: Subject, texts: Sequence[str], at_once: int, penalty: float = 1.0) -> list[Answer]:
    """Greedy answers to prompts in the model's format, a few at a time."""
    train, form, tokenizer = tuned.inputs.recipe.train, tuned.inputs.form, tuned.inputs.tokenizer
    model = tuned.tuned.model
    decoding = Decoding(max_new_tokens=train.sample_tokens, greedy=True, seed=train.seed, repetition_penalty=penalty)
    asking = Asking(form.adds_special_tokens, stop_id(form, tokenizer), form.restored)
    trained_with, training = model.config._attn_implementation, model.training
    if tuned.inputs.shares_rows:  # the attention of packed rows knows no cache
        model.set_attn_implementation("sdpa")
    made: list[Answer] = []
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
        for start in range(0, len(texts), at_once):
            part = texts[start : start + at_once]
            made += generate(model, tokenizer, part, decoding, asking)
    if tuned.inputs.shares_rows:
        model.set_attn_implementation(trained_with)
    model.train(training)
    return made
