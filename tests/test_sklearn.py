"""The estimators for scikit-learn: its own checks of estimators, and its own results beside ours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from metalsvd.sklearn import PCA, TruncatedSVD
from sklearn.utils.estimator_checks import parametrize_with_checks


@parametrize_with_checks([TruncatedSVD(), TruncatedSVD(algorithm="exact"), PCA(), PCA(2, algorithm="randomized")])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)
