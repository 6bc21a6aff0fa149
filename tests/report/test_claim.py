"""The claim is a rule: every branch of it, and no way to credit masking that it did not earn."""

import itertools

import pytest

from unseen.report.claim import PIXELS, RANDOM, TWIN, claim, is_floor, scaled

AHEAD = {"difference": 0.1, "low": 0.05, "high": 0.15}
TIE = {"difference": 0.01, "low": -0.02, "high": 0.04}
BEHIND = {"difference": -0.1, "low": -0.15, "high": -0.05}
FEW = {"difference": 0.1, "low": None, "high": None, "per_log": {"a": 0.05, "b": 0.1, "c": 0.15}}
ABSENT = None


def evaluation(n_logs: int = 8, registered: bool = True, **against) -> dict:
    """An evaluation whose pretrained row stands so against random, raw, hand and twin."""
    names = dict(zip(("random", "raw", "hand", "twin"), (RANDOM, *PIXELS, TWIN), strict=True))
    found = {names[key]: value for key, value in against.items() if value is not None}
    row = {
        "features": "pretrained",
        "classifier": "logistic",
        "metrics": {"miou": 0.4},
        "interval": None,
        "against": found,
    }
    one = {"name": "p", "primary": "miou", "n_logs": n_logs, "registered_before_training": registered, "rows": [row]}
    return {"format": 1, "probes": [one]}


CASES = {
    "all beaten": (dict(random=AHEAD, raw=AHEAD, hand=AHEAD, twin=AHEAD), "credited", "Masked prediction pays"),
    "twin as good": (dict(random=AHEAD, raw=AHEAD, hand=AHEAD, twin=TIE), "none", "not by masked modelling"),
    "twin ahead": (dict(random=AHEAD, raw=AHEAD, hand=AHEAD, twin=BEHIND), "none", "not by masked modelling"),
    "no twin": (dict(random=AHEAD, raw=AHEAD, hand=AHEAD, twin=ABSENT), "open", "no nearly-unmasked twin"),
    "hand-made as good": (dict(random=AHEAD, raw=AHEAD, hand=TIE, twin=AHEAD), "none", "not shown to beat hand-made"),
    "no hand-made": (dict(random=AHEAD, raw=AHEAD, hand=ABSENT, twin=AHEAD), "open", "hand-made not evaluated"),
    "hand-made ahead": (dict(random=AHEAD, raw=AHEAD, hand=BEHIND, twin=AHEAD), "worse", "worse than hand-made"),
    "random as good": (dict(random=TIE, raw=AHEAD, hand=AHEAD, twin=AHEAD), "none", "No gain from pretraining"),
    "no random": (dict(random=ABSENT, raw=AHEAD, hand=AHEAD, twin=AHEAD), "none", "Nothing is claimed"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_branch(case):
    against, verdict, words = CASES[case]
    found = claim(evaluation(**against))
    assert found.verdict == verdict
    assert words in found.sentence


def test_the_floor_of_text_is_in_the_claim():
    def told(random, tf_idf):
        found = evaluation(random=random)
        found["probes"][0]["rows"][0]["against"]["tf-idf"] = tf_idf
        return claim(found)

    assert "worse than tf-idf" in told(AHEAD, BEHIND).sentence and told(AHEAD, BEHIND).verdict == "worse"
    assert "not shown to beat tf-idf" in told(AHEAD, TIE).sentence
    assert told(AHEAD, AHEAD).verdict == "open" and "raw pixels" not in told(AHEAD, AHEAD).sentence


def test_masking_is_credited_in_exactly_one_of_all_combinations():
    states = (AHEAD, TIE, BEHIND, ABSENT)
    credited = [
        combination
        for combination in itertools.product(states, repeat=4)
        if claim(evaluation(**dict(zip(("random", "raw", "hand", "twin"), combination, strict=True)))).verdict
        == "credited"
    ]
    assert credited == [(AHEAD,) * 4]


def test_few_logs_are_never_credited_even_with_a_spread_inside_the_recordings():
    everything = dict(random=FEW, raw=FEW, hand=FEW, twin=FEW)
    assert claim(evaluation(n_logs=3, **everything)).verdict == "none"
    narrow = FEW | {"low": 0.09, "high": 0.11}
    found = claim(evaluation(n_logs=3, **dict.fromkeys(everything, narrow)))
    assert found.verdict == "none"
    assert "No claim can be made, for or against, from 3 held-out logs: too few for an interval." in found.sentence
    assert "no interval: 3 logs" in found.sentence


def test_one_log_is_no_evidence_against_the_encoder():
    worse = {"difference": -0.1, "low": None, "high": None, "per_log": {"a": -0.1}}
    found = claim(evaluation(n_logs=1, random=worse, raw=worse))
    assert found.verdict == "none" and "is worse than" not in found.sentence
    assert "No claim can be made, for or against, from 1 held-out log: too few" in found.sentence


def test_logs_that_differ_in_sign_are_counted():
    mixed = FEW | {"per_log": {"a": -0.01, "b": 0.2, "c": 0.1}}
    found = claim(evaluation(n_logs=3, random=mixed, raw=FEW, hand=FEW, twin=FEW))
    assert found.verdict == "none"
    assert "ahead on 2" in found.sentence


def test_a_late_probe_and_a_transductive_one_are_marked():
    late = evaluation(registered=False, random=AHEAD)
    late["probes"][0]["transductive"] = ["log-1"]
    sentence = claim(late).sentence
    assert "not registered before training" in sentence
    assert "saw 1 of the test logs" in sentence


def test_the_registered_probe_is_the_headline(make_probe):
    late, early = make_probe(registered_before_training=False, name="late"), make_probe(name="early")
    assert "On early" in claim({"probes": [late, early]}).sentence


def test_nothing_evaluated():
    assert claim(None).verdict == "none"
    assert "not evaluated" in claim({"probes": []}).sentence


def test_names_of_floors():
    assert is_floor("random_init", "random init")
    assert is_floor("hand-made features", "hand-made")
    assert is_floor("mae-5pct-unmasked", TWIN)
    assert not is_floor("pretrained", TWIN)


def test_shares_are_read_in_per_cent():
    assert scaled("miou", -0.0123) == "\N{MINUS SIGN}1.2"
    assert scaled("loss", 0.0123) == "0.0123"


def test_an_unknown_lineage_stands_in_the_sentence():
    found = evaluation(random=AHEAD)
    assert "lineage" not in claim(found).sentence
    found["probes"][0]["unknown_lineage"] = ["a.pth"]
    assert "lineage of the initial weights (a.pth) is unknown" in claim(found).sentence
