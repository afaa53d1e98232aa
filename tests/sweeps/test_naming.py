from dataclasses import replace

from lcm.losses import LossConfig
from lcm.objectives import ObjectiveConfig
from lcm.teachers import TeacherConfig
from lcm.training.optim import TrainConfig
from sweeps.config import BlocksConfig, Config
from sweeps.naming import point_name


def test_a_point_is_named_by_its_differences_from_the_defaults():
    assert point_name(replace(Config(), blocks=BlocksConfig([4, 4]), objective=ObjectiveConfig(stages=3))) == (
        "blocks.partition=[4,4] objective.stages=3"
    )
    losses = LossConfig(hf_log_magnitude=1.0, si_sdr=0.5, auto={"mr_stft": 0.3}, copied=False)
    assert point_name(replace(Config(), init="none", losses=losses)) == "init=none losses.copied=false losses.auto.mr_stft=0.3"


def test_the_defaults_have_a_name_too():
    assert point_name(Config()) == "default"


def test_seed_and_site_are_no_part_of_a_name_but_the_teacher_is():
    site = replace(Config(), root="/elsewhere", seed=3, jobs=4, train=TrainConfig(devices=2, checkpoint_every=5))
    assert point_name(site) == "default"
    assert point_name(replace(site, teacher=TeacherConfig(steps=4))) == "teacher.steps=4"
