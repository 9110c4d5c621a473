"""Words of a subject.

The migrations emails 0010 and transports 0003 call `split_words`, and the database keeps its results for the search. So a change
of a result below needs a new migration, which writes the stored words again.
"""

import pytest

from project.emails.subject_words import MAX_WORD_LENGTH, MAX_WORDS, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Your order #4711 has shipped!", ["your", "order", "4711", "has", "shipped"]),
        ("ÜBER Straße, café", ["uber", "strasse", "cafe"]),
        ("Re: re: RE:", ["re"]),
        ("snake_case, o'clock", ["snake", "case", "o", "clock"]),
        ("注文 確認", ["注文", "確認"]),
        (" !? ", []),
        ("ﬁrst 5², Åse 👍🏽", ["first", "52", "ase"]),
        ("naïve-e\u0301cole\tnext\u200bword", ["naive", "ecole", "next", "word"]),
    ],
)
def test_splits_a_text_into_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_the_number_and_the_length_of_words_are_limited() -> None:
    assert len(split_words(" ".join(map(str, range(100))))) == MAX_WORDS
    assert split_words("x" * 500) == ["x" * MAX_WORD_LENGTH]
