from __future__ import annotations

import pytest
import yaml

from analysis.parse import flatten, parse_config
from sweeps.config import Config, to_yaml

ODD = [
    "a: 1\nb:\n- 1\n- 2\nc:\n  d: x\n",
    "a: {b: 1, c: [1, 2]}\n# words\nd: ''\n",
    "a: |\n  b: 1\n  c: 2\nd: 3\n",
    "a: |\nb: 2\n",
    "a: &x\n  b: 1\nc: *x\n",
    "---\na: 1\n",
    "a: 'two\n  lines'\nb: 2\n",
    'a: "x: y"\n"quoted key": 1\n',
    "größe: 1\nb: ü\n",
    "1: one\ntwo: 2\n",
    "a:\nb: null\n",
    "- 1\n- 2\n",
    "",
    "a: {}\nb: 1\n",
    "a: 'b:\n  c: 1'\n",
]


@pytest.mark.parametrize("text", ODD)
def test_parsing_by_blocks_is_parsing(text):
    tree = yaml.safe_load(text)
    assert parse_config(text) == (flatten(tree) if isinstance(tree, dict) else {})


def test_a_points_config_is_parsed_as_yaml_parses_it():
    text = to_yaml(Config())
    assert parse_config(text) == flatten(yaml.safe_load(text))


@pytest.mark.parametrize("text", ["a: [1\nb: 2\n", "a: 1\n b: 2\n", "\t- x\n"])
def test_what_is_no_yaml_is_refused(text):
    with pytest.raises(yaml.YAMLError):
        parse_config(text)
