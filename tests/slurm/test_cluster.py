"""Cluster profiles: read, checked, and what of them reaches sbatch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import submitit

from slurm.cluster import Cluster, ClusterError, light, load_cluster, make_executor, python_command, sbatch_text, submitit_parameters
from slurm.profiles import FOLDERS

SHIPPED = ("local", "2x48gb", "template")


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """A folder of one's own profiles."""
    folder = tmp_path / "my profiles"
    folder.mkdir()
    monkeypatch.setenv(FOLDERS, str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def srun(tmp_path, monkeypatch):
    """submitit wants an srun on the path before it makes a script."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")


def text(*overrides: str, elements: int = 3, **more) -> str:
    return sbatch_text(load_cluster("2x48gb", overrides), name="codes", elements=elements, parallel=2, folder="runs", **more)


def flags(script: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH --")]
    return {line.partition("=")[0]: line.partition("=")[2] for line in lines}


def bash(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout


# --- reading


@pytest.mark.parametrize("name", SHIPPED)
def test_the_profiles_that_ship_can_be_read(name):
    assert load_cluster(name).name == name


def test_the_template_shows_every_field_with_its_default():
    template, path = load_cluster("template"), Path(__file__).parents[2] / "slurm" / "clusters" / "template.yaml"
    differing = [f.name for f in fields(Cluster) if getattr(template, f.name) != getattr(Cluster(), f.name)]
    assert differing == ["name", "kind"]
    said = path.read_text().splitlines()
    assert [f.name for f in fields(Cluster) if f.name != "name" and not any(line.startswith(f"{f.name}:") for line in said)] == []


def test_the_profile_for_nodes_of_two_gpus_uses_both():
    cluster = load_cluster("2x48gb")
    assert (cluster.kind, cluster.tasks_per_node, cluster.gpus_per_task) == ("slurm", 2, 1)


def test_ones_own_profile_comes_before_the_one_that_ships(profiles):
    (profiles / "local.yaml").write_text("processes: 7\n")
    assert load_cluster("local").processes == 7


def test_profiles_are_found_in_the_home_folder(profiles, tmp_path):
    home = tmp_path / "home" / ".config" / "lcm" / "clusters"
    home.mkdir(parents=True)
    (home / "mine.yaml").write_text("account: me\n")
    assert load_cluster("mine").account == "me"


def test_a_profile_may_be_a_path(tmp_path):
    (tmp_path / "odd name.yaml").write_text("kind: slurm\n")
    assert load_cluster(str(tmp_path / "odd name.yaml")).name == "odd name"


def test_a_profile_goes_over_its_base(profiles):
    (profiles / "mine.yaml").write_text("base: 2x48gb\naccount: me\n")
    cluster = load_cluster("mine")
    assert (cluster.name, cluster.account, cluster.tasks_per_node) == ("mine", "me", 2)


def test_a_profile_that_is_its_own_base_is_refused(profiles):
    (profiles / "a.yaml").write_text("base: b\n")
    (profiles / "b.yaml").write_text("base: a\n")
    with pytest.raises(ClusterError, match="its own base"):
        load_cluster("a")


def test_an_unknown_profile_names_those_that_exist_and_where(profiles):
    (profiles / "mine.yaml").write_text("")
    with pytest.raises(ClusterError) as error:
        load_cluster("2x48")
    assert "Did you mean '2x48gb'?" in str(error.value)
    assert f"{profiles}: mine" in str(error.value)


def test_an_unknown_key_is_refused_with_the_nearest_and_all_valid_ones(profiles):
    (profiles / "mine.yaml").write_text("partitoin: high\n")
    with pytest.raises(ClusterError, match=r"partitoin.*mine.yaml.*Did you mean 'partition'\? Valid keys: account,.*umask"):
        load_cluster("mine")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("partitoin=high", "Did you mean 'partition'"),
        ("partition", "KEY=VALUE"),
        ("partition=true", "not text"),
        ("cpus_per_task=many", "cpus_per_task='many' .* not a whole number"),
        ("cpus_per_task=2.5", "not a whole number"),
        ("cpus_per_task=0", "at least 1"),
        ("mem_gb=lots", "not a number"),
        ("setup=module load cuda", "not a list of lines"),
        ("env=A", "not a table"),
        ("env.A=[1]", "env.A=.* not text"),
        ("kind=slrum", "Did you mean 'slurm'"),
        ("time=soon", "no time limit"),
        ("time=1:2:3:4", "no time limit"),
        ("time=0", "no time at all"),
        ("time=2", "signal_s=180 .* not below the time limit, 120 s"),
        ("umask=9", "octal"),
        ("gres=gpu:rtx8000:4", "asks for 4 GPUs a node, .* need 2"),
        ("light.tme=1", "Did you mean 'time'"),
        ("light.time=soon", "no time limit"),
        ("flags.array=1-5", "max_parallel"),
        ("flags.signal=USR1", "signal_s"),
        ("flags.time=5", "there is a field for it, time"),
        ("flags.time=false", "there is a field for it, time"),
        ("flags.x=[1]", "flags.x"),
        ("partition.x=1", "has no 'x' inside"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(word, said):
    with pytest.raises(ClusterError, match=said):
        load_cluster("2x48gb", [*(["partition=main"] if word.startswith("partition.") else []), word])


def test_a_profile_that_is_not_yaml_is_named(profiles):
    (profiles / "mine.yaml").write_text("setup: [a\n")
    with pytest.raises(ClusterError, match=r"mine\.yaml is not YAML"):
        load_cluster("mine")


def test_yaml_takes_words_for_what_they_look_like(profiles):
    lines = ("time: 12:00:00", "umask: 002", "account: 0815", "partition: on", "qos: 5", "mem_gb: 1.5", "env: {A: 010, B: 1}")
    (profiles / "mine.yaml").write_text("\n".join(lines))
    cluster = load_cluster("mine")
    assert (cluster.time_min, cluster.umask, cluster.account, cluster.partition, cluster.qos) == (720, "002", "0815", "on", "5")
    assert cluster.mem_gb == 1.5
    assert cluster.env == {"A": "010", "B": "1"}


def test_a_line_of_setup_is_left_as_it_is():
    lines = ["module load cuda/12.4", "export X=${SLURM_TMPDIR:-$TMPDIR}"]
    assert load_cluster("2x48gb", [f"setup={lines!r}"]).setup == lines


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("30", 30), ("90:00", 90), ("00:30", 1), ("04:00:00", 240), ("1-00:00:00", 1440), ("1-12", 2160), ("2-01:30", 2970), ("01:00:01", 61)],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(time, minutes):
    assert Cluster(time=time).time_min == minutes


def test_words_change_one_entry_of_a_table():
    cluster = load_cluster("2x48gb", ["env.A=1", "env.B=$HOME", "flags.reservation=night"])
    assert (cluster.env, cluster.flags) == ({"A": "1", "B": "$HOME"}, {"reservation": "night"})


# --- jobs without GPU


def test_a_job_without_gpu_is_one_task_that_asks_for_none():
    plain = light(load_cluster("2x48gb", ["gres=gpu:rtx8000:2,tmpfs:10G", "flags.gpu-freq=low", "flags.comment=x", "nodes=3"]))
    assert (plain.nodes, plain.tasks_per_node, plain.gpus_per_task, plain.gres, plain.flags) == (1, 1, 0, "tmpfs:10G", {"comment": "x"})
    assert "gpu" not in sbatch_text(plain, name="merge", elements=1, parallel=1, folder="runs").lower()


def test_a_job_without_gpu_asks_for_no_more_memory_than_it_needs():
    assert light(load_cluster("2x48gb", ["mem_gb=200"])).mem_gb == 16
    assert light(load_cluster("2x48gb", ["mem_gb=2"])).mem_gb == 2
    assert light(load_cluster("2x48gb", ["mem_gb=0"])).mem_gb == 16


def test_what_the_profile_says_of_jobs_without_gpu_goes_over_the_rest():
    cluster = light(load_cluster("2x48gb", ["partition=gpu", "light.partition=cpu", "light.time=01:00:00", "light.mem_gb=40"]))
    assert (cluster.partition, cluster.time_min, cluster.mem_gb, cluster.cpus_per_task) == ("cpu", 60, 40, 8)


def test_a_job_without_gpu_sees_none():
    command = python_command(Cluster(kind="slurm", gpus_per_task=0))
    assert command is not None
    assert bash(f"export CUDA_VISIBLE_DEVICES=1; {command} -c 'import os; print(os.environ[\"CUDA_VISIBLE_DEVICES\"])'") == "\n"


# --- what sbatch is told


@pytest.mark.parametrize("elements", [1, 3])
@pytest.mark.parametrize(
    "overrides", [[], ["gres=gpu:rtx8000:2", "umask=002", "env.A=$B", "flags.exclusive=true"], ["python=conda run python"]]
)
def test_the_text_is_the_one_that_submitit_submits(elements, overrides, srun, tmp_path):
    cluster, folder = load_cluster("2x48gb", overrides), tmp_path / "a folder"
    more = {"name": "codes", "parallel": 2, "dependency": "afterok:7", "exclude": ["n3"], "setup": ["cd /"]}
    executor = make_executor(cluster, folder, **more)
    if elements > 1:
        executor.parameters["map_count"] = elements  # as submitit does for an array
    submitted = executor._make_submission_file_text(executor._submitit_command_str, "uid")
    assert sbatch_text(cluster, elements=elements, folder=folder, **more) == submitted


def test_an_auto_executor_takes_the_parameters(srun, tmp_path):
    cluster = load_cluster("2x48gb", ["partition=main", "mem_gb=1.5", "flags.nice=0"])
    auto = submitit.AutoExecutor(folder=tmp_path, cluster="slurm")
    auto.update_parameters(**submitit_parameters(cluster, name="codes", parallel=2))
    script = flags(auto._executor._make_submission_file_text("true", "uid"))
    assert script.pop("wckey") == "submitit"  # which make_executor leaves out
    assert script == flags(make_executor(cluster, tmp_path, name="codes", parallel=2)._make_submission_file_text("true", "uid"))


def test_the_text_needs_no_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "srun" in text()


def test_a_job_is_requeued_told_before_its_limit_and_kept_in_bounds():
    said = flags(text("time=1-00:00:00", "signal_s=300", "mem_gb=1.5", "partition=high", "account=me", "qos=low", "constraint=a40|a6000"))
    assert said["requeue"] == ""
    assert said["signal"] == "USR2@300"
    assert said["time"] == "1440"
    assert said["mem"] == "1536M"
    assert (said["partition"], said["account"], said["qos"], said["constraint"]) == ("high", "me", "low", "'a40|a6000'")
    assert said["array"] == "0-2%2"


def test_what_a_profile_leaves_empty_is_not_said():
    assert not {"partition", "account", "qos", "constraint", "gres", "exclude", "nodelist", "dependency", "wckey"} & set(flags(text()))


def test_no_more_elements_run_at_once_than_the_profile_allows():
    assert flags(text("max_parallel=1"))["array"] == "0-2%1"


def test_a_job_whose_dependency_can_never_be_met_does_not_wait_for_ever():
    said = flags(text(dependency="afterok:7"))
    assert (said["dependency"], said["kill-on-invalid-dep"]) == ("afterok:7", "yes")
    assert "kill-on-invalid-dep" not in flags(text())


def test_one_element_is_no_array():
    assert "array" not in flags(text(elements=1))


def test_each_task_asks_for_gpus_of_its_own():
    said = flags(text())
    assert (said["ntasks-per-node"], said["gpus-per-task"]) == ("2", "1")
    assert "gres" not in said


def test_gpus_of_a_type_are_bound_to_tasks_instead():
    said = flags(text("gres=gpu:rtx8000:2"))
    assert (said["gres"], said["gpu-bind"]) == ("gpu:rtx8000:2", "per_task:1")
    assert "gpus-per-task" not in said  # sbatch refuses both


def test_other_resources_stand_beside_the_gpus():
    said = flags(text("gres=tmpfs:10G"))
    assert (said["gres"], said["gpus-per-task"]) == ("tmpfs:10G", "1")


def test_tasks_keep_their_cpus_inside_srun():
    assert "--cpus-per-task=8 " in text().split("srun", 1)[1]


def test_a_task_that_fails_does_not_take_its_neighbour_with_it():
    assert "--kill-on-bad-exit=0 --wait=0 " in text().split("srun", 1)[1]


def test_flags_are_passed_through_and_false_ones_vanish():
    words = ("exclusive=true", "mail_type=FAIL", "nice=0", "hold=false", "wckey=project", "x=null")
    said = flags(text(*(f"flags.{word}" for word in words)))
    assert (said["exclusive"], said["mail-type"], said["nice"], said["wckey"]) == ("", "FAIL", "0", "project")
    assert not {"hold", "x"} & set(said)


def test_a_false_flag_takes_out_what_is_said_by_default():
    said = flags(text("flags.requeue=false", "flags.gpus-per-task=false", "flags.mem=false"))
    assert not {"requeue", "gpus-per-task", "mem"} & set(said)


def test_nodes_to_keep_off_are_joined():
    assert flags(text("exclude=node1,node[3,5]", exclude=["node7"]))["exclude"] == "'node1,node[3,5],node7'"


def test_the_environment_is_set_up_in_order():
    script = text("umask=027", "setup=[module load a, module load b]", "env.A=$TMPDIR/x y", "threads=3", setup=["cd /"])
    places = [script.index(line) for line in ("umask 027", "module load a", "module load b", 'export A="$TMPDIR/x y"', "\ncd /", "srun")]
    assert places == sorted(places)
    assert "export OMP_NUM_THREADS=3" in script


def test_a_variable_may_name_others_and_run_nothing():
    script = text(r"env.A='$HOME `x` $(x) \"q\"'")
    line = next(line for line in script.splitlines() if line.startswith("export A="))
    assert bash(f'HOME=/h; {line}; printf %s "$A"') == r'/h `x` $(x) \"q\"'


def test_threads_are_the_cpus_of_a_task_unless_set():
    assert "export OMP_NUM_THREADS=8" in text()


@pytest.mark.parametrize(("gpus", "flag"), [(1, "--nv "), (0, "")])
def test_a_container_runs_python_inside_it(gpus, flag, tmp_path, monkeypatch):
    runtime = tmp_path / "apptainer"
    runtime.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    runtime.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("IMAGES", "/my images")
    cluster = Cluster(kind="slurm", container="$IMAGES/lcm.sif", container_args="--bind /data", gpus_per_task=gpus)
    told = ["exec", *flag.split(), "--bind", "/data", "/my images/lcm.sif", "python", "-u"]
    assert bash(f"{python_command(cluster)} -u").splitlines() == told


def test_python_is_this_interpreter_unless_the_profile_says_so():
    assert python_command(load_cluster("2x48gb")).endswith(f" bash {sys.executable}")
    assert python_command(load_cluster("2x48gb", ["python=python3.11"])).endswith(" bash python3.11")


def test_a_profile_of_this_machine_says_nothing_to_sbatch():
    with pytest.raises(ClusterError, match="kind 'local'"):
        submitit_parameters(Cluster(), name="codes", parallel=1)
