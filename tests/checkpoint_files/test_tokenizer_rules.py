"""Rules of tokenizers: those in use pass, those that explode are refused without being run."""

import base64

import pytest

from glus_hf.checkpoint_files.tokenizer_rules import check_regex, check_tokenizer


@pytest.mark.parametrize(
    "regex",
    [
        r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re)?|\p{N}{1,3}",
        r"\p{N}{1,3}(?=(?:\p{N}{3})*\b)",
        r"[一-龥぀-ゟ゠-ヿ]+",
        " {2,}",
    ],
    ids=["llama-3", "gpt-2", "gpt-4o", "threes", "cjk", "blanks"],
)
def test_regular_expressions_in_use_pass(regex):
    check_regex(regex)


@pytest.mark.parametrize(
    "regex, words",
    [
        ("(e+)+$", "a repetition of a repetition"),
        ("((e|ee)*)*$", "a repetition of a repetition"),
        (r"(\w+\s?)*$Q", "a repetition of a repetition"),
        ("(?:a|b|[a-z])*Q", "a repetition of a repetition"),
        ("(a?){50}a{20}", "a repetition of a repetition"),
        ("([(]a*)*", "a repetition of a repetition"),
        (r"(.*)\1", "a reference"),
        ("(?R)", "a reference"),
        ("((e{1000}){1000}){1000}", "counts above 1000"),
        (".*" * 12, "more than 4 repetitions in a row"),
        ("a" * 5000, "5000 letters"),
    ],
)
def test_regular_expressions_that_take_forever_are_refused(regex, words):
    with pytest.raises(ValueError, match=words) as error:
        check_regex(regex)
    assert len(str(error.value)) < 200


def replaces(pattern, content, times=1):
    step = {"type": "Replace", "pattern": pattern, "content": content}
    return {"normalizer": {"type": "Sequence", "normalizers": [step] * times}}


@pytest.mark.parametrize(
    "fields, words",
    [
        (replaces({"String": "e"}, "ee", times=40), "make 1099511627776 letters of one"),
        (replaces({"String": "e"}, "x" * 65), "replaces a text by 65 letters, more than 64"),
        (replaces({"String": ""}, "x"), "replaces the empty text"),
        (replaces({"String": "a"}, "b", times=300), "has 301 rules"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a*)*"}}}, "a repetition of a repetition"),
        ({"normalizer": {"type": "Prepend", "prepend": "x" * 10**6}}, "puts 1000000 letters before a text"),
        ({"model": {"vocab": {"a": 0, "b": 0}}}, "an id for two tokens"),
        (
            {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<unk>"}},
            "no id for its unknown word '<unk>'",
        ),
        ({"post_processor": {"type": "TemplateProcessing", "single": [{}] * 300}}, "a template of 300 parts"),
        ({"model": {"vocab": {"a": -1}}}, "no whole numbers from 0 to 9999999"),
        ({"added_tokens": [{"id": 10**9, "content": "a"}]}, "an added token with the id 1000000000"),
        ({"padding": {"strategy": {"Fixed": 10**9}}}, "pads every text to 1000000000 tokens"),
    ],
)
def test_rules_that_explode_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        check_tokenizer(fields)


def test_the_rules_of_llama_pass():
    check_tokenizer(
        replaces({"String": " "}, "▁")
        | {"model": {"vocab": {"a": 0, "b": 1}}, "decoder": replaces({"String": "▁"}, " ")}
    )


def test_character_maps_that_are_cut_short_are_refused():
    whole = base64.b64encode((2048).to_bytes(4, "little") + bytes(2048)).decode()
    check_tokenizer({"normalizer": {"type": "Precompiled", "precompiled_charsmap": whole}})
    for damaged in (whole[:400], "AAAAAAAAAAAA", "no base64!", None):
        with pytest.raises(ValueError, match="character map"):
            check_tokenizer({"normalizer": {"type": "Precompiled", "precompiled_charsmap": damaged}})
