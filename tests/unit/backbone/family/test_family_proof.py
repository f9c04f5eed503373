"""A family is proven by measurement, and a switch that does nothing fails."""

from bothways.backbone.family import family_proof
from bothways.backbone.family.families import measure_families


def test_a_family_that_is_causal_in_its_code_would_fail():
    """The measurement, not the list of names, is what stops GPT-Neo."""
    found = family_proof.prove_family("gpt_neo")
    assert found["verdict"] == "failed" and found["reason"] == "token 1 does not see token 2"


def test_a_switch_that_does_nothing_fails(monkeypatch):
    """The table would notice if the switch stopped working."""
    real = family_proof.set_direction

    def idle(model, direction, **kwargs):
        report = real(model, direction, **kwargs)
        if direction == "bidirectional":
            model.config.is_causal = True
            model.config.use_bidirectional_attention = None
        return report

    monkeypatch.setattr(family_proof, "set_direction", idle)
    (row,) = measure_families(["llama"])
    assert row.verdict == "failed"


def test_windows_that_are_not_lifted_fail(monkeypatch):
    real = family_proof.set_direction
    monkeypatch.setattr(family_proof, "set_direction", lambda model, direction: real(model, direction, windows="keep"))
    (row,) = measure_families(["mistral"])
    assert row.verdict == "failed" and "explicit mask" in row.reason
