"""Miniature trees whose objects glee-tiny has words for: a red circle and a green square."""

import json
import pickle

from tests.data.object_trees import make_tree


WORDS = {"hot_dog": "red circle", "car": "green square", "zebra": "blue triangle"}


def renamed_tree(name, folder):
    """The tree of a dataset with other names and, of references, other expressions."""
    root = make_tree(name, folder)
    for path in root.rglob("*.json"):
        content = json.loads(path.read_text())
        for category in content["categories"]:
            category["name"] = WORDS[category["name"]]
        path.write_text(json.dumps(content))
    for path in root.glob("refs*.p"):
        references = pickle.loads(path.read_bytes())
        for each in references:
            for sentence in each["sentences"]:
                sentence["sent"] = list(WORDS.values())[each["ref_id"] - 1]
        path.write_bytes(pickle.dumps(references, protocol=0))
    return root
