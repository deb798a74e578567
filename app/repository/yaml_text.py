"""YAML as people write it: a key that is there twice is refused, of which a YAML library keeps the last in silence."""

from collections.abc import Hashable
from typing import Any

import yaml
from yaml.nodes import MappingNode


def load(text: str) -> Any:
    """The content of `text`; raises `yaml.YAMLError` where it is not YAML, or a key is there twice."""
    return yaml.load(text, _UniqueKeys)


_TEXT = "tag:yaml.org,2002:str"


class _UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[object, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:merge" and key.value in lines:
                raise yaml.YAMLError(
                    f"the key {key.value!r} is there twice, in line {lines[key.value]} and in line {line}; keep one"
                )
            lines[key.value] = line
            if key.value == "on":
                key.tag = _TEXT  # as a key nobody means what YAML 1.1 takes it for: true
        return super().construct_mapping(node, deep)
