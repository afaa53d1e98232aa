import random

import pytest

from lcm.corpus.splits import Item, assign, limit


def corpus(speakers, utterances=5, seconds=4.0):
    return [Item(f"s{i}-{j}", f"s{i}", seconds + 0.1 * j) for i in range(speakers) for j in range(utterances)]


def voices(items, splits, name):
    return {item.speaker for item in items if splits[item.utterance] == name}


@pytest.mark.parametrize("speakers", [3, 4, 10, 60])
@pytest.mark.parametrize("seed", range(5))
def test_no_speaker_is_in_two_splits_and_none_is_empty(speakers, seed):
    items = corpus(speakers)
    splits, warnings = assign(items, 0.06, 0.15, seed)
    train, valid, test = (voices(items, splits, name) for name in ("train", "valid", "test"))
    assert train
    assert valid
    assert test
    assert len(train | valid | test) == speakers == len(train) + len(valid) + len(test)
    assert not warnings


def test_shares_are_met_where_there_are_many_speakers():
    items = corpus(200)
    splits, _ = assign(items, 0.1, 0.2, 0)
    total = sum(i.seconds for i in items)
    share = {name: sum(i.seconds for i in items if splits[i.utterance] == name) / total for name in ("valid", "test")}
    assert 0.07 < share["valid"] < 0.13
    assert 0.14 < share["test"] < 0.26


def test_a_speaker_with_most_of_the_speech_stays_in_training():
    items = [*corpus(6), *[Item(f"big-{j}", "big", 60.0) for j in range(20)]]
    for seed in range(20):
        splits, _ = assign(items, 0.1, 0.1, seed)
        assert splits["big-0"] == "train"


def test_splits_do_not_depend_on_the_order_of_files():
    items = corpus(12)
    shuffled = random.Random(1).sample(items, len(items))
    assert assign(items, 0.1, 0.2, 3) == assign(shuffled, 0.1, 0.2, 3)


def test_another_seed_gives_other_splits():
    items = corpus(12)
    assert assign(items, 0.1, 0.2, 0)[0] != assign(items, 0.1, 0.2, 1)[0]


def test_with_two_speakers_one_is_the_test_and_validation_is_reported_empty():
    items = corpus(2)
    splits, warnings = assign(items, 0.1, 0.1, 0)
    assert len(voices(items, splits, "train")) == len(voices(items, splits, "test")) == 1
    assert warnings == ["No speaker is left for the valid split: it is empty."]


def test_a_single_speaker_is_split_by_file_with_a_warning():
    items = corpus(1, utterances=20)
    splits, warnings = assign(items, 0.1, 0.2, 0)
    assert {"train", "valid", "test"} == set(splits.values())
    assert any("single speaker" in warning for warning in warnings)


def test_a_stated_test_leaves_every_other_speaker_to_training_and_validation():
    items = [*corpus(5), Item("t", "stranger", 5.0, "test")]
    splits, warnings = assign(items, 0.1, 0.5, 0)
    assert [u for u, name in splits.items() if name == "test"] == ["t"]
    assert "valid" in splits.values()
    assert not warnings


def test_a_test_speaker_who_is_in_training_too_is_named():
    _, warnings = assign([*corpus(5), Item("t", "s1", 5.0, "test")], 0.1, 0.1, 0)
    assert "1 speaker(s) of the test are in training or validation too: s1" in warnings[0]


def test_a_single_training_speaker_who_is_the_test_too_is_named():
    _, warnings = assign([*corpus(1), Item("t", "s0", 5.0, "test")], 0.1, 0.1, 0)
    assert any("test are in training or validation too: s0" in warning for warning in warnings)


def test_a_limit_keeps_about_so_much_of_every_split():
    items = corpus(30)
    splits, _ = assign(items, 0.1, 0.2, 0)
    kept = limit(items, splits, 200.0)
    assert 160 <= sum(i.seconds for i in items if i.utterance in kept) <= 205
    assert {splits[u] for u in kept} == {"train", "valid", "test"}
    assert {splits[u] for u in limit(items, splits, 0.1)} == {"train", "valid", "test"}
