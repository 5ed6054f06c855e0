"""A tree ensemble as plain arrays: scikit-learn grows it, NumPy evaluates it, and a file of it can be opened safely.

A pickle (or joblib) of a scikit-learn model runs code when it is opened and ties the file to one version of the
library. Six arrays a forest do neither, need no further dependency (as ONNX or skops would), and can be checked first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pose2d.errors import InputError

_LEAF = -1


@dataclass(frozen=True)
class Forest:
    """Regression trees, all nodes in one list; a sample's prediction is the mean over trees of its leaf's value.

    Attributes:
        roots: node number of each tree's root.
        feature: that a node looks at, -1 for a leaf.
        threshold: a sample goes left where its feature is <= this.
        left, right: node numbers of the children, always above the node's own.
        value: mean target of the training samples in the node.
    """

    roots: Int[np.ndarray, " t"]
    feature: Int[np.ndarray, " n"]
    threshold: Float[np.ndarray, " n"]
    left: Int[np.ndarray, " n"]
    right: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]

    def predict(self, features: Float[np.ndarray, "s f"]) -> Float[np.ndarray, " s"]:
        """Mean over the trees, as `ExtraTreesRegressor.predict` gives it (features rounded to float32 likewise)."""
        features = features.astype(np.float32)
        total = np.zeros(len(features))
        for root in self.roots:
            node = np.full(len(features), root, dtype=np.int64)
            walking = np.arange(len(features))
            while len(walking):
                here = node[walking]
                inner = self.feature[here] != _LEAF
                walking, here = walking[inner], here[inner]
                goes_left = features[walking, self.feature[here]] <= self.threshold[here]
                node[walking] = np.where(goes_left, self.left[here], self.right[here])
            total += self.value[node]
        return total / len(self.roots)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """For an .npz, each key beginning with `name`."""
        return {f"{name}_{field}": getattr(self, field) for field in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], name: str, num_features: int, where: str) -> Forest:
        """Rebuild what `arrays` gave, after checking that every walk stays inside the forest and ends.

        Raises:
            InputError: an array is missing or of the wrong shape, or a node points outside or backwards.
        """
        missing = [field for field in cls.__dataclass_fields__ if f"{name}_{field}" not in arrays]
        if missing:
            raise InputError(f"{where} lacks {name}_{missing[0]}")
        forest = cls(*(arrays[f"{name}_{field}"] for field in cls.__dataclass_fields__))
        nodes = np.arange(len(forest.feature))
        inner = forest.feature != _LEAF
        whole = all(
            getattr(forest, field).shape == (nodes.shape if field != "roots" else forest.roots.shape[:1])
            and getattr(forest, field).dtype.kind == ("f" if field in ("threshold", "value") else "i")
            for field in cls.__dataclass_fields__
        )
        sound = whole and (
            len(forest.roots) > 0
            and bool(np.isin(forest.roots, nodes).all())
            and bool(((forest.feature >= _LEAF) & (forest.feature < num_features)).all())
            and all(bool(((c > nodes) & (c < len(nodes)))[inner].all()) for c in (forest.left, forest.right))
            and bool(np.isfinite(forest.value).all() and np.isfinite(forest.threshold).all())
        )
        if not sound:
            raise InputError(f"{where}: {name} is not a sound forest over {num_features} features")
        return forest


def grow_forest(
    features: Float[np.ndarray, "s f"], target: Float[np.ndarray, " s"], trees: int = 60, seed: int = 0
) -> Forest:
    """Grow extremely randomised trees (Geurts et al., 2006) of at most about 2,000 leaves."""
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(
        n_estimators=trees,
        min_samples_leaf=max(5, len(target) // 2000),
        max_features=1 / 4,
        random_state=seed,
    ).fit(features, target)
    found = [estimator.tree_ for estimator in model.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in found[:-1])])

    def children(which: str) -> np.ndarray:
        shifted = [np.where(getattr(t, which) < 0, -1, getattr(t, which) + r) for t, r in zip(found, roots)]
        return np.concatenate(shifted).astype(np.int32)

    return Forest(
        roots=roots.astype(np.int32),
        feature=np.concatenate([np.where(t.children_left < 0, _LEAF, t.feature) for t in found]).astype(np.int32),
        threshold=np.concatenate([t.threshold for t in found]),
        left=children("children_left"),
        right=children("children_right"),
        value=np.concatenate([t.value[:, 0, 0] for t in found]),
    )
