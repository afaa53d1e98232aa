import hashlib
import json
from dataclasses import replace

from sweeps.config import Config, to_dict
from sweeps.identity import DEFAULTS, _is_site, flatten, signature

CONTENTS = {"codec": "c", "store": "s"}


def test_the_seed_and_site_settings_are_kept_apart():
    base = signature(Config(), CONTENTS)
    moved = replace(Config(), seed=7, root="elsewhere", jobs=4, shards=9, debug=True)
    assert signature(moved, CONTENTS) == base


def test_whatever_decides_the_result_changes_the_signature():
    base = Config()
    others = [
        replace(base, train=replace(base.train, batch=32)),
        replace(base, train=replace(base.train, precision="16-mixed")),
        replace(base, losses=replace(base.losses, mr_stft=0.1)),
        replace(base, blocks=replace(base.blocks, partition=[2, 6])),
    ]
    signatures = {signature(c, CONTENTS) for c in [base, *others]}
    assert len(signatures) == 5


def test_a_key_that_the_default_lacks_counts():
    base = Config()
    auto = [replace(base, losses=replace(base.losses, auto=shares)) for shares in ({}, {"mr_stft": 0.3}, {"mr_stft": 0.1})]
    assert len({signature(c, CONTENTS) for c in auto}) == 3


def test_another_store_or_teacher_is_another_point_wherever_it_lies():
    assert signature(Config(), CONTENTS) != signature(Config(), {**CONTENTS, "store": "t"})
    moved = replace(Config(), teacher=replace(Config().teacher, checkpoint="/another/place"))
    assert signature(moved, CONTENTS) == signature(Config(), CONTENTS)


def test_a_new_field_with_its_default_leaves_old_signatures_alone(monkeypatch):
    import sweeps.identity as identity

    before = signature(Config(), CONTENTS)
    grown = {**to_dict(Config()), "later": {"field": 3}}
    monkeypatch.setattr(identity, "to_dict", lambda config: grown)
    assert signature(Config(), CONTENTS) == before


def test_defaults_are_pinned_to_their_version():
    # A changed default gives old signatures a new meaning: raise DEFAULTS, then pin the new hash here.
    decisive = {name: value for name, value in flatten(to_dict(Config())).items() if not _is_site(name)}
    text = json.dumps(decisive, sort_keys=True)
    assert (DEFAULTS, hashlib.sha256(text.encode()).hexdigest()[:12]) == (2, "20c1a6cd9192")
