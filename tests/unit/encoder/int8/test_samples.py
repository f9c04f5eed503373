"""The texts that choose and those that measure are different ones, and a caller's own are among
both.
"""

from bothways.encoder.int8.samples import CHOSEN, HELD, OWN, divided


def test_no_text_both_chooses_and_measures():
    own = [f"text {number}" for number in range(1000)]
    chosen, held = divided(own)
    assert not set(chosen) & set(held)
    assert len(chosen) == len(CHOSEN) + OWN // 2 and len(held) == len(HELD) + OWN // 2
    assert "text 0" in chosen and any(int(text.split()[1]) > 900 for text in held if text in own)


def test_few_texts_of_a_caller_are_all_taken():
    assert divided(["one", "two", "three"]) == ([*CHOSEN, "one", "three"], [*HELD, "two"])
    assert divided(None) == ([*CHOSEN], [*HELD])
