"""The notebooks: what is committed of them, and that they run on a sweep, a single run, and what the real code writes."""

from __future__ import annotations

import ast
import pydoc
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from synthetic_tree import config, means

from sweeps.demo import quote

nbformat = pytest.importorskip("nbformat", reason="the extra `notebooks` is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra `notebooks` is not installed")
kernelspec = pytest.importorskip("ipykernel.kernelspec", reason="the extra `notebooks` is not installed")

FOLDER = Path(__file__).parents[2] / "analysis" / "notebooks"
NAMES = ("quickstart", "ablation_study", "listen")
every = pytest.mark.parametrize("name", NAMES)
TINY = [
    "corpus.demo_voices=6", "corpus.demo_utterances=2", "corpus.test_fraction=0.5", "shards=1", "network.width=32", "network.depth=1",
    "network.heads=2", "init=none", "train.steps=2", "train.batch=2", "teacher.steps=2", "evaluate.teacher_steps=2",
    "evaluate.steps=[1,2]", "evaluate.samples=1", "evaluate.worst=2",
]  # fmt: skip
AXES = ["seed=0,1", "blocks.partition=[8],[2,6]", "losses.hf_log_magnitude=0.0,1.0"]
ABSOLUTE = re.compile(r"(?:^|[\s\"'`(=])(?:~?/\w|[A-Za-z]:\\)")
MINUTES = 5


def _read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def _code(notebook):
    """Return the code without IPython's own lines."""
    cells = (cell.source for cell in notebook.cells if cell.cell_type == "code")
    return "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith("%"))


def _named(notebook):
    """Yield the dotted names in this project that a notebook uses or writes about."""
    bound, tree = {"analysis": "analysis"}, ast.parse(_code(notebook))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("analysis", "lcm"):
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    yield from bound.values()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
            yield f"{bound[node.value.id]}.{node.attr}"
    for cell in notebook.cells:
        yield from re.findall(r"\banalysis(?:\.\w+)+", cell.source) if cell.cell_type == "markdown" else ()


def test_there_is_a_notebook_for_each_question():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@every
def test_a_notebook_is_valid_and_small(name):
    notebook = _read(name)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert len(notebook.cells) <= 15


@every
def test_a_notebook_is_committed_without_outputs(name):
    for cell in _read(name).cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
        assert not cell.metadata, cell.id


@every
def test_a_notebook_names_no_absolute_path(name):
    found = [line for cell in _read(name).cells for line in cell.source.splitlines() if ABSOLUTE.search(line)]
    assert not found


@every
def test_a_notebook_first_states_its_question_and_what_must_be_there(name):
    first = _read(name).cells[0]
    assert first.cell_type == "markdown"
    for words in ("# ", "**Question.**", "**What must be there.**", "`runs/demo`", "`LCM_RUNS="):
        assert words in first.source


@every
def test_what_a_notebook_names_in_the_project_exists(name):
    named = set(_named(_read(name)))
    assert len(named) > 5
    assert [dotted for dotted in sorted(named) if pydoc.locate(dotted) is None] == []


@pytest.fixture(scope="session")
def run_on(tmp_path_factory):
    """Return a function that runs a notebook on a results folder, once, in a kernel of this interpreter that has no user's settings."""
    home = tmp_path_factory.mktemp("jupyter")
    kernelspec.write_kernel_spec(str(home / "kernels" / "python3"))  # else a user's own python3 may be another Python
    folders = {"JUPYTER_PATH": home, "JUPYTER_RUNTIME_DIR": home / "runtime", "JUPYTER_CONFIG_DIR": home, "IPYTHONDIR": home}

    @cache
    def run(name, root, folder=FOLDER):
        notebook = _read(name)
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in (folders | {"LCM_RUNS": root}).items():
                patch.setenv(variable, str(value))
            resources = {"metadata": {"path": str(folder)}}
            nbclient.NotebookClient(notebook, timeout=60 * MINUTES, kernel_name="python3", resources=resources).execute()
        return notebook

    return run


def _outputs(notebook):
    """Return what each code cell has printed or shown: cell id -> text and, by its media type, data."""
    return {
        cell.id: [(kind, data) for output in cell.outputs for kind, data in _parts(output)]
        for cell in notebook.cells if cell.cell_type == "code"
    }  # fmt: skip


def _parts(output):
    return [("text", output.text)] if output.output_type == "stream" else list(output.get("data", {}).items())


def _tables(notebook, cell):
    """Return the tables that a cell has shown, each row as column -> text."""
    pages = [data for kind, data in _outputs(notebook)[cell] if kind == "text/html" and "<table" in data]
    heads = [re.findall(r"<th>(.+?)</th>", page.partition("<tbody>")[0]) for page in pages]
    rows = [[re.findall(r"<td>(.*?)</td>", row) for row in page.partition("<tbody>")[2].split("</tr>")[:-1]] for page in pages]
    return [[dict(zip(head, row, strict=True)) for row in body] for head, body in zip(heads, rows, strict=True)]


def _count(notebook, kind, containing=""):
    return sum(k == kind and containing in data for found in _outputs(notebook).values() for k, data in found)


def _printed(notebook):
    return "".join(data for found in _outputs(notebook).values() for kind, data in found if kind == "text")


def test_the_quickstart_shows_a_table_a_figure_and_the_answer(run_on, full):
    shown = run_on("quickstart", full.root)
    assert _count(shown, "image/png") == 1
    assert _count(shown, "text/html", "<table") == 2
    assert "better than token_ce" in _printed(shown)
    assert "no clear difference from regression" in _printed(shown)


def test_the_ablation_study_shows_the_axes_that_were_swept_and_names_those_that_were_not(run_on, full):
    shown = run_on("ablation_study", full.root)
    assert _count(shown, "image/png") == 5
    assert _printed(shown).count("Not shown: ") == 2
    assert "sweep +ablation=step_counts" in _printed(shown)
    assert "sweep +ablation=teacher_steps" in _printed(shown)


def test_the_ablation_study_finds_the_known_effects(run_on, full):
    shown = run_on("ablation_study", full.root)
    axes, _ = _tables(shown, "matters")
    assert [row["axis"] for row in axes] == ["blocks.partition", "losses.mr_stft", "blocks.partition x losses.mr_stft"]
    assert [float(row["p_holm"]) < 0.05 for row in axes] == [True, True, False]
    (weights,) = _tables(shown, "levels")
    assert [(row["level"], row["best"], row["flat"]) for row in weights] == [("0.5", "False", "False"), ("1", "True", "True")]
    points, systems = _tables(shown, "points")
    assert [row["verdict"] for row in points if "ect-8" in row["signature"]] == ["worse", "worse"]
    assert {row["system"]: row["P(student better)"][:4] for row in systems}["token_ce"] == "1.00"


def test_listen_plays_a_clip_through_every_system_and_shows_its_spectrograms(run_on, full):
    outputs = _outputs(run_on("listen", full.root))
    (side_by_side,) = (data for kind, data in outputs["players"] if kind == "text/html")
    assert side_by_side.count("<audio") == 7
    assert re.search(r"<b>sinc</b>, LSD-HF 5\.\d\d", side_by_side)
    assert any(kind == "image/png" for kind, _ in outputs["spectrogram"])
    assert sum("<audio" in data for kind, data in outputs["hear"] if kind == "text/html") == 0  # none of the three worst was kept
    assert sum("No audio of it was kept" in data for kind, data in outputs["hear"] if kind == "text/html") == 3


@every
def test_a_notebook_says_of_a_single_run_what_there_is_not(run_on, tree, name):
    """The path is relative, with a space in it, and starts above the folder that the notebook lies in."""
    tree.root = tree.root.parent / "eine Reihe ä"
    tree.run("points/only-s0", tree.rows("only", 0, "student", 1, means(1.3, 20.0, 0.1)), config())
    inside = tree.root.parent / "my" / "notebooks"
    inside.mkdir(parents=True)
    shown = run_on(name, tree.root.name, inside)
    assert _count(shown, "image/png") == 0
    assert "Fewer than 3 seeds: student (1)" in _printed(shown)
    expected = {"quickstart": "No answer: ", "ablation_study": "no loss weight varies", "listen": "No run has kept audio"}
    assert expected[name] in _printed(shown)


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """A small sweep by the real code: speech synthesis, codec, training and evaluation of four students of two seeds each."""
    root = tmp_path_factory.mktemp("real") / "a sweep"
    command = [sys.executable, "-m", "sweeps.run", "--multirun", f"root={quote(str(root))}", *TINY, *AXES]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images", "words"),
    [
        ("quickstart", 1, "In LSD-HF the one-step student"),
        ("ablation_study", 5, "Fewer than 3 seeds: student (2)"),
        ("listen", 1, "warning: 3 test speakers, fewer than 5"),
    ],
)
def test_a_notebook_runs_on_a_real_sweep(run_on, real, name, images, words):
    shown = run_on(name, real)
    assert _count(shown, "image/png") == images
    assert words in _printed(shown)


@pytest.mark.slow
def test_the_worst_clips_of_a_real_sweep_are_heard(run_on, real):
    outputs = _outputs(run_on("listen", real))
    heard = [data for kind, data in outputs["hear"] if kind == "text/html" and "<audio" in data]
    assert len(heard) >= 2
    assert all(re.search(r"<b>student, 1 step</b>, LSD-HF \d", data) for data in heard)
