"""The estimators for scikit-learn: its own checks of estimators, and its own results beside ours."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import scipy.sparse
import sklearn.decomposition
import torch
from metalsvd import _devices
from metalsvd.sklearn import PCA, TruncatedSVD
from processes import hide_package, run_code
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

ESTIMATORS = [TruncatedSVD, PCA]
ALGORITHMS = ["exact", "randomized", "lanczos"]
K = 4
# Where the decomposition is in float64, and where it is in float32 (mps, or X in float32): relative to the largest
# entry. The spectra below have gaps of a fifth, which the singular vectors are good for.
TOLERANCE = {np.float64: 1e-9, np.float32: 2e-5}


@parametrize_with_checks(
    [
        TruncatedSVD(),
        TruncatedSVD(algorithm="exact"),
        TruncatedSVD(algorithm="lanczos"),
        PCA(),
        PCA(whiten=True),
        PCA(1, algorithm="randomized"),
        PCA(1, algorithm="lanczos"),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def samples(rows: int = 60, columns: int = 20, dtype=np.float64, seed: int = 0) -> np.ndarray:
    """Singular values 0.8^i about a mean that is not zero."""
    generator = np.random.default_rng(seed)
    k = min(rows, columns)
    U, V = (np.linalg.qr(generator.standard_normal((size, k)))[0] for size in (rows, columns))
    return (10 * (U * 0.8 ** np.arange(k)) @ V.T + generator.standard_normal(columns)).astype(dtype)


def assert_close(ours, theirs, tolerance: float, name: str) -> None:
    ours, theirs = (np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value) for value in (ours, theirs))
    assert ours.shape == theirs.shape, f"{name}: shape {ours.shape}, expected {theirs.shape}"
    off = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30)
    assert off <= tolerance, f"{name}: off by {off:.2e} of the largest entry, bound {tolerance:.2e}"


def attributes(estimator) -> dict[str, object]:
    """All that fit has found."""
    return {name: value for name, value in vars(estimator).items() if name.endswith("_") and not name.startswith("_")}


def tolerance_of(target: torch.device, dtype=np.float64) -> float:
    return TOLERANCE[np.float32 if target.type == "mps" else dtype]


def pair(kind, algorithm: str, k: int = K, **options):
    """Our estimator and scikit-learn's exact one."""
    ours = kind(k, algorithm=algorithm, random_state=0, **options)
    if kind is PCA:
        return ours, sklearn.decomposition.PCA(k, svd_solver="full", **options)
    return ours, sklearn.decomposition.TruncatedSVD(k, algorithm="arpack", **options)


# --- beside scikit-learn's --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(60, 20), (20, 60)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_attributes_and_results_are_scikit_learns(kind, algorithm, shape, dtype, target):
    X, other = samples(*shape, dtype), samples(*shape, dtype, seed=1)[:7]
    ours, theirs = pair(kind, algorithm)
    ours.set_params(device=target)
    tolerance = tolerance_of(target, dtype)
    assert_close(ours.fit_transform(X), theirs.fit_transform(X), tolerance, "fit_transform")
    found, expected = attributes(ours), attributes(theirs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(found[name], value, 10 * tolerance, name)  # variances are squares, noise a difference of them
        assert np.asarray(found[name]).dtype == dtype or np.isscalar(value), name
    transformed = ours.transform(other)
    assert transformed.dtype == dtype
    assert_close(transformed, theirs.transform(other), tolerance, "transform")
    back = ours.inverse_transform(transformed)
    assert back.dtype == dtype
    assert_close(back, theirs.inverse_transform(theirs.transform(other)), tolerance, "inverse_transform")
    assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())


@pytest.mark.parametrize("sparse", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix])
@pytest.mark.parametrize("shape", [(80, 30), (30, 80)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_sparse_matrices_give_what_dense_ones_give(kind, algorithm, shape, sparse, target):
    X = samples(*shape) * (np.random.default_rng(2).random(shape) < 0.3)
    ours, theirs = pair(kind, algorithm, k=2)
    ours.set_params(device=target, n_iter="auto" if algorithm == "exact" else 12)  # no gap: it takes some steps
    tolerance = 10 * tolerance_of(target)
    assert_close(ours.fit_transform(sparse(X)), theirs.fit_transform(X), tolerance, "fit_transform")
    for name, value in attributes(theirs).items():
        assert_close(getattr(ours, name), value, 10 * tolerance, name)


def test_a_sparse_matrix_is_not_made_dense(target, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("made dense")

    X = scipy.sparse.random(200, 3000, density=0.01, format="csr", random_state=0)
    monkeypatch.setattr(type(X), "toarray", refuse)
    for estimator in (PCA(2, device=target), TruncatedSVD(2, device=target)):
        assert estimator.fit(X).transform(X).shape == (200, 2)


def test_lanczos_that_does_not_converge_warns(target):
    X = np.random.default_rng(0).standard_normal((200, 100))
    with pytest.warns(UserWarning, match="triplets did not converge in n_iter=1"):
        PCA(3, algorithm="lanczos", n_iter=1, device=target).fit(X)
    PCA(3, algorithm="lanczos", n_iter=1, tol=0.9, device=target).fit(X)


@pytest.mark.parametrize("whiten", [False, True])
def test_whitening(whiten, target):
    X = samples()
    ours, theirs = pair(PCA, "exact", whiten=whiten)
    transformed = ours.set_params(device=target).fit_transform(X)
    assert_close(transformed, theirs.fit_transform(X), tolerance_of(target), "fit_transform")
    assert_close(
        ours.inverse_transform(transformed), theirs.inverse_transform(transformed), tolerance_of(target), "back"
    )
    if whiten:
        assert_close(transformed.std(0, ddof=1), np.ones(K), tolerance_of(target), "deviations")


@pytest.mark.parametrize("k", [None, 0.5, 0.9, 0.999999, 20])
def test_numbers_of_components(k, target):
    X = samples()
    ours = PCA(k, device=target).fit(X)
    theirs = sklearn.decomposition.PCA(k, svd_solver="full").fit(X)
    assert ours.n_components_ == theirs.n_components_
    assert_close(ours.explained_variance_ratio_, theirs.explained_variance_ratio_, tolerance_of(target), "ratio")
    assert_close(ours.noise_variance_, theirs.noise_variance_, 1e-3, "noise")


@pytest.mark.parametrize("k", [K, None])
def test_the_probabilistic_model(k, target):
    X, other = samples(), samples(seed=1)
    ours = PCA(k, device=target).fit(X)
    theirs = sklearn.decomposition.PCA(k, svd_solver="full").fit(X)
    tolerance = 100 * tolerance_of(target)
    assert_close(ours.get_covariance(), theirs.get_covariance(), tolerance, "covariance")
    assert_close(ours.get_precision(), theirs.get_precision(), tolerance, "precision")
    assert_close(ours.get_covariance() @ ours.get_precision(), np.eye(20), tolerance, "covariance times precision")
    assert_close(ours.score_samples(other), theirs.score_samples(other), tolerance, "score_samples")
    assert ours.score(other) == pytest.approx(theirs.score(other), rel=tolerance)


def test_a_model_without_density_says_so(target):
    ours = PCA(device=target).fit(samples(10, 20))
    with pytest.raises(ValueError, match="no variance in some direction, and so no density: keep fewer components"):
        ours.score(samples(10, 20))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_data_that_do_not_vary(kind, target):
    ours = kind(2, device=target).fit(np.full((6, 5), 3.0))
    assert ours.explained_variance_.max() < 1e-10
    assert not ours.explained_variance_ratio_.any()


def test_a_mean_far_away_costs_nothing(target):
    """Rounding X to float32 before its mean is taken off would leave an error of 0.06 in entries of 1."""
    X = samples()
    near, far = (PCA(K, device=target).fit(data) for data in (X, X + 1e6))
    assert_close(far.singular_values_, near.singular_values_, 2e-5, "singular values")


# --- tensors and devices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int32])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_tensors_give_tensors(kind, dtype, target):
    if target.type == "mps" and dtype == torch.float64:
        pytest.skip("mps has no float64")
    X = torch.from_numpy(10 * samples()).to(dtype).to(target)
    ours, theirs = pair(kind, "exact")
    transformed = ours.fit_transform(X)
    expected = theirs.fit_transform(X.cpu().double().numpy())
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    assert_close(transformed, expected, TOLERANCE[np.float32], "fit_transform")
    for value in (transformed, ours.components_, ours.singular_values_, ours.inverse_transform(transformed)):
        assert (value.device.type, value.dtype) == (target.type, computed)
    if kind is PCA:
        score = sklearn.decomposition.PCA(K).fit(X.cpu().double().numpy()).score(X.cpu().double().numpy())
        assert ours.score(X) == pytest.approx(score, rel=1e-3)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_fitted_on_arrays_or_on_tensors_is_the_same(kind, target):
    X = samples(dtype=np.float32)
    tensor = torch.from_numpy(X).to(target)
    on_array, on_tensor = kind(K, random_state=0, device=target).fit(X), kind(K, random_state=0).fit(tensor)
    assert isinstance(on_array.components_, np.ndarray)
    assert isinstance(on_tensor.components_, torch.Tensor)
    for fitted in (on_array, on_tensor):
        assert isinstance(fitted.transform(X), np.ndarray)
        assert fitted.transform(tensor).device.type == target.type
        assert_close(fitted.transform(X), on_array.transform(X), TOLERANCE[np.float32], "of an array")
        assert_close(fitted.transform(tensor), on_array.transform(X), TOLERANCE[np.float32], "of a tensor")


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_fit_runs_on_the_best_device_and_on_that_of_a_tensor(kind, emulated):
    X = samples()
    for data, device, is_there in ((X, None, True), (torch.from_numpy(X), None, False), (X, "cpu", False)):
        emulated.reset_counters()
        kind(K, device=device).fit(data)
        assert (emulated.counters().dispatches > 0) == is_there, (type(data), device)
    fitted = kind(K).fit(X)
    emulated.reset_counters()
    fitted.inverse_transform(fitted.transform(X))
    assert emulated.counters().dispatches == 0


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (torch.zeros(3), "Expected 2D array, got 1D tensor instead"),
        (torch.zeros(6, 4, dtype=torch.complex64), "Complex data not supported"),
        (torch.full((6, 4), float("nan")), "Input X contains NaN"),
        (torch.zeros(0, 4), "0 sample(s)"),
        (torch.zeros(6, 0), "0 feature(s)"),
    ],
)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_tensors_that_are_refused(kind, X, message, target):
    with pytest.raises(ValueError, match=re.escape(message)):
        kind(2).fit(X.to(target))


def test_a_tensor_of_other_features_is_refused(target):
    fitted = TruncatedSVD(2).fit(torch.rand(6, 4).to(target))
    with pytest.raises(ValueError, match="X has 5 features, but TruncatedSVD is expecting 4 features"):
        fitted.transform(torch.rand(6, 5).to(target))


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (TruncatedSVD, {"n_components": 21}, "n_components=21 must be at most min.n_samples, n_features., but X has"),
        (TruncatedSVD, {"n_components": 0}, "n_components == 0, must be >= 1"),
        (TruncatedSVD, {"n_components": 0.5}, "n_components must be an instance of int"),
        (TruncatedSVD, {"algorithm": "arpack"}, "algorithm: expected one of 'randomized', 'lanczos', 'exact', but got"),
        (TruncatedSVD, {"n_iter": -1}, "n_iter == -1, must be >= 0"),
        (TruncatedSVD, {"n_oversamples": "many"}, "n_oversamples must be an instance of int"),
        (TruncatedSVD, {"tol": -1}, "tol == -1, must be >= 0"),
        (TruncatedSVD, {"device": "meta"}, "device: expected cpu or one that metalsvd has kernels for here, but got"),
        (PCA, {"n_components": 1.5}, "n_components == 1.5, must be < 1"),
        (PCA, {"n_components": "mle"}, "n_components must be an instance of int"),
        (PCA, {"n_components": 0.5, "algorithm": "randomized"}, "a part of the variance, needs algorithm='exact'"),
    ],
)
def test_bad_parameters(kind, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        kind(**options).fit(samples())


@pytest.mark.parametrize("device", ["meta", "xpu"])
def test_another_device_is_refused_beside_cuda_too(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_devices, "is_built_for", lambda device_type: True)
    with pytest.raises(ValueError, match=f"device: expected cpu or one that metalsvd has kernels for.* got '{device}'"):
        TruncatedSVD(device=device).fit(samples())


@pytest.mark.parametrize("algorithm", ["randomized", "lanczos"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_random_state(kind, algorithm, target):
    X = np.random.default_rng(0).standard_normal((200, 100))  # without a gap, so that the start shows

    def components(state):
        return kind(3, algorithm=algorithm, random_state=state, device=target).fit(X).components_

    first = components(7)
    assert np.array_equal(first, components(7))
    assert np.array_equal(first, components(np.random.RandomState(7)))
    assert not np.array_equal(first, components(8))
    state = np.random.RandomState(7)
    components(state)
    assert not np.array_equal(first, components(state))


def test_the_algorithm_that_is_chosen(target):
    def chosen(X, k):
        estimator = PCA(k)
        return estimator._wanted(X)[1]

    small, large = torch.zeros(2000, 500), torch.zeros(600, 501)
    sparse = scipy.sparse.csr_matrix((600, 100))
    assert chosen(small, 3) == chosen(large, None) == chosen(large, 0.9) == chosen(large, 401) == "exact"
    assert chosen(large, 400) == chosen(sparse, 3) == "randomized"
    assert chosen(sparse, None) == "exact"


# --- in scikit-learn's machinery --------------------------------------------------------------------------------------


def labelled() -> tuple[np.ndarray, np.ndarray]:
    """Two classes apart along a direction of large variance."""
    X = samples(80, 12)
    return X, (X[:, 0] > np.median(X[:, 0])).astype(int)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_pipeline_and_grid_search(kind, target):
    X, y = labelled()
    pipeline = make_pipeline(StandardScaler(), kind(2, random_state=0, device=target), LogisticRegression())
    name = f"{kind.__name__.lower()}__n_components"
    search = GridSearchCV(pipeline, {name: [1, 5]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.8
    reference = {PCA: sklearn.decomposition.PCA, TruncatedSVD: sklearn.decomposition.TruncatedSVD}[kind]
    theirs = make_pipeline(StandardScaler(), reference(2, random_state=0), LogisticRegression())
    expected = GridSearchCV(theirs, {name: [1, 5]}, cv=3).fit(X, y)
    assert search.best_params_ == expected.best_params_
    assert search.cv_results_["mean_test_score"] == pytest.approx(expected.cv_results_["mean_test_score"], abs=0.03)


def test_a_grid_search_by_likelihood(target):
    X = samples(80, 12)
    search = GridSearchCV(PCA(device=target), {"n_components": [1, 3, 6]}, cv=3).fit(X)
    theirs = GridSearchCV(sklearn.decomposition.PCA(), {"n_components": [1, 3, 6]}, cv=3).fit(X)
    assert search.best_params_ == theirs.best_params_
    assert search.cv_results_["mean_test_score"] == pytest.approx(theirs.cv_results_["mean_test_score"], rel=1e-4)


def test_a_grid_search_over_tensors(target):
    X, _ = labelled()
    tensor = torch.from_numpy(X.astype(np.float32)).to(target)
    search = GridSearchCV(PCA(), {"n_components": [1, 3]}, cv=3).fit(tensor)
    assert search.best_params_ == GridSearchCV(PCA(), {"n_components": [1, 3]}, cv=3).fit(X).best_params_


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_clone_and_pickle(kind, target):
    X = samples()
    fitted = kind(3, random_state=1, device=target).fit(X)
    assert clone(fitted).get_params() == fitted.get_params()
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), fitted.transform(X))


def test_without_scikit_learn_the_import_says_what_to_do(tmp_path):
    finished = run_code("import metalsvd.sklearn", PYTHONPATH=hide_package("sklearn", tmp_path))
    assert finished.returncode == 1
    last = finished.stderr.splitlines()[-1]
    assert last == "ImportError: metalsvd.sklearn needs scikit-learn 1.6 or later: pip install 'metalsvd[sklearn]'"
