"""Estimators for scikit-learn that decompose on the GPU: :class:`TruncatedSVD` and :class:`PCA`.

They follow scikit-learn's conventions (attributes, signs, ``random_state``, pipelines, grid searches) and pass its own
checks of estimators. Needs scikit-learn 1.6 or later: ``pip install 'metalsvd[sklearn]'``.

What runs where: ``fit`` decomposes on ``device``; ``transform``, ``inverse_transform`` and ``score``, one matrix
product each, run where their argument is. Arrays and SciPy's sparse matrices give NumPy arrays, tensors give tensors on
their device. Computed in the dtype of X, but in float32 where the device has no float64 (mps) and for half types.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from . import lowrank, ops
from ._devices import best_device, has_kernels
from ._orthonormal import fix_phases
from ._products import DenseMatrix, OperatorMatrix

try:
    import numpy as np
    import scipy.sparse
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_array, check_random_state, check_scalar
    from sklearn.utils.sparsefuncs import mean_variance_axis
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("metalsvd.sklearn needs scikit-learn 1.6 or later: pip install 'metalsvd[sklearn]'") from error

__all__ = ["PCA", "TruncatedSVD"]

# What PCA decomposes exactly where it may choose, as scikit-learn does: a smaller side up to this, more than this part.
_EXACT_SIDE = 500
_EXACT_PART = 0.8


# --- arrays and tensors -----------------------------------------------------------------------------------------------

# X as it is computed with: a tensor, which shares the memory of an array where it can, or a SciPy matrix in CSR.
_Data = Any


def _checked_tensor(X: Tensor, least_samples: int = 1) -> Tensor:
    """X where it is a finite real matrix: half types as float32, integers as torch's default dtype.

    Raises:
        ValueError: in the words of scikit-learn's check_array.
    """
    if X.dim() != 2:
        raise ValueError(f"Expected 2D array, got {X.dim()}D tensor instead. Reshape your data.")
    if X.is_complex():
        raise ValueError("Complex data not supported")
    for count, least, what in zip(X.shape, (least_samples, 1), ("sample", "feature"), strict=True):
        if count < least:
            raise ValueError(f"Found array with {count} {what}(s) while a minimum of {least} is required.")
    if not X.is_floating_point():
        X = X.to(torch.get_default_dtype())
    if not X.isfinite().all():
        raise ValueError("Input X contains NaN or infinity.")
    return X.detach().to(torch.promote_types(X.dtype, torch.float32))


def _to_tensor(X: np.ndarray) -> Tensor:
    is_shareable = X.flags.writeable and all(stride >= 0 for stride in X.strides)
    return torch.from_numpy(X if is_shareable else X.copy())


def _dtype(data: _Data) -> torch.dtype:
    return data.dtype if isinstance(data, Tensor) else torch.from_numpy(data.data[:0]).dtype


def _beside(data: _Data, value: np.ndarray | Tensor) -> Tensor:
    """A fitted attribute as a tensor to compute with beside ``data``."""
    device = data.device if isinstance(data, Tensor) else "cpu"
    return torch.as_tensor(value).to(_dtype(data)).to(device)


def _product(data: _Data, B: Tensor) -> Tensor:
    return data @ B if isinstance(data, Tensor) else torch.from_numpy(data @ B.numpy())


def _moments(data: _Data) -> tuple[Tensor, Tensor]:
    """Means and variances (over n_samples, not one less) of the features."""
    if isinstance(data, Tensor):
        variance, mean = torch.var_mean(data, 0, correction=0)
        return mean, variance
    return tuple(torch.from_numpy(moment) for moment in mean_variance_axis(data, axis=0))


def _given_back(X: object, value: Tensor) -> np.ndarray | Tensor:
    """``value`` in the kind of X, as the user passed it: a tensor on its device, or an array."""
    return value.to(X.device) if isinstance(X, Tensor) else value.cpu().numpy()


def _attribute(X: object, value: Tensor, dtype: torch.dtype) -> np.ndarray | Tensor:
    """The same of ``dtype``, converted on the CPU: on mps it may be float64 no more, or not yet."""
    return _given_back(X, value.cpu().to(dtype))


def _sparse_products(
    X: scipy.sparse.csr_matrix, mean: Tensor | None
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """``B -> (X - mean) B`` and ``B -> (X - mean)^T B``, B on any device: SciPy multiplies, on the host.

    The difference is not formed, which would be dense.
    """
    mean = torch.zeros(X.shape[1], dtype=_dtype(X)) if mean is None else mean

    def times(B: Tensor) -> Tensor:
        on_host = B.cpu().to(mean.dtype)
        return (_product(X, on_host) - mean @ on_host).to(B.dtype).to(B.device)

    def adjoint_times(B: Tensor) -> Tensor:
        on_host = B.cpu().to(mean.dtype)
        return (_product(X.T, on_host) - torch.outer(mean, on_host.sum(0))).to(B.dtype).to(B.device)

    return times, adjoint_times


# --- what both estimators are -----------------------------------------------------------------------------------------


class _Decomposition(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The data, the device and the factors of both estimators."""

    _least_samples = 1
    _algorithms = ("randomized", "lanczos", "exact")

    def _validated(self, X: object, *, reset: bool, accept_sparse: str | bool = "csr") -> _Data:
        """X as data to compute with; ``reset`` in fit, which remembers the features."""
        least_samples = self._least_samples if reset else 1
        if isinstance(X, Tensor):
            data = _checked_tensor(X, least_samples)
            validate_data(self, X, skip_check_array=True, reset=reset)
            return data
        dtypes = (np.float64, np.float32)
        X = validate_data(
            self, X, accept_sparse=accept_sparse, dtype=dtypes, ensure_min_samples=least_samples, reset=reset
        )
        return X if scipy.sparse.issparse(X) else _to_tensor(X)

    def _check_parameters(self) -> None:
        if self.algorithm not in self._algorithms:
            known = ", ".join(map(repr, self._algorithms))
            raise ValueError(f"algorithm: expected one of {known}, but got {self.algorithm!r}")
        for name in ("n_iter", "n_oversamples"):
            if getattr(self, name) != "auto":
                check_scalar(getattr(self, name), name, Integral, min_val=0)
        check_scalar(self.tol, "tol", Real, min_val=0)

    def _check_count(self, data: _Data) -> None:
        n_samples, n_features = data.shape
        check_scalar(self.n_components, "n_components", Integral, min_val=1)
        if self.n_components > min(n_samples, n_features):
            raise ValueError(
                f"n_components={self.n_components} must be at most min(n_samples, n_features), "
                f"but X has n_samples={n_samples} and n_features={n_features}"
            )

    def _device_for(self, X: object) -> torch.device:
        if self.device is None:
            return X.device if isinstance(X, Tensor) else best_device()
        device = torch.device(self.device)
        if device.type != "cpu" and not has_kernels(device.type):
            raise ValueError(f"device: expected cpu or one that metalsvd has kernels for here, but got {self.device!r}")
        return device

    def _factors(
        self, data: _Data, mean: Tensor | None, k: int | None, algorithm: str, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """U (n_samples, k), S (k) and V (n_features, k) of ``data - mean`` on ``device``; all where k is None.

        The entry of largest magnitude in each column of V is positive, as scikit-learn's svd_flip leaves it.
        """
        dtype = torch.float32 if device.type == "mps" else _dtype(data)
        if not isinstance(data, Tensor) and algorithm == "exact":
            data = torch.from_numpy(data.toarray())
        if isinstance(data, Tensor):
            # The difference first: rounding X to float32 would cost more.
            data = (data if mean is None else data - mean).to(dtype).to(device)
        if algorithm == "exact":
            U, S, V = (factor[..., :k] for factor in ops.svd(data))
        else:
            U, S, V = self._leading(data, mean, k or min(data.shape), algorithm, dtype, device)
        V, U = fix_phases(V, U)
        return U, S, V

    def _leading(
        self, data: _Data, mean: Tensor | None, k: int, algorithm: str, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The k leading triplets of a tensor that is centred, or of a sparse matrix less the mean."""
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        generator = torch.Generator(device).manual_seed(int(seed))
        is_dense = isinstance(data, Tensor)
        A = data if is_dense else _sparse_products(data, mean)
        of_operator = {} if is_dense else {"shape": data.shape, "dtype": dtype, "device": device}
        name, k = f"{type(self).__name__}.fit", int(k)
        if algorithm == "lanczos":
            options = {} if self.n_iter == "auto" else {"n_iter": self.n_iter}
            return lowrank.lanczos_svd(A, k, tol=self.tol or None, generator=generator, **options, **of_operator)
        matrix = DenseMatrix(A) if is_dense else OperatorMatrix(name, A, **of_operator)
        return lowrank.randomized_triplets(name, matrix, k, None, self.n_iter, self.n_oversamples, "krylov", generator)[
            :3
        ]

    @property
    def _n_features_out(self) -> int:
        return self.components_.shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _checked_scores(X: object) -> Tensor:
    """What inverse_transform takes: (n_samples, n_components), dense."""
    if isinstance(X, Tensor):
        return _checked_tensor(X)
    return _to_tensor(check_array(X, dtype=(np.float64, np.float32)))


def _ratio(variances: Tensor, total: Tensor) -> Tensor:
    """Parts of the total variance; 0 where X does not vary."""
    return variances / total if total > 0 else torch.zeros_like(variances)


# --- the estimators ---------------------------------------------------------------------------------------------------


class TruncatedSVD(_Decomposition):
    """The leading singular vectors of X, which is not centred: latent semantic analysis, dense or sparse.

    Args:
        n_components: how many, up to ``min(n_samples, n_features)``.
        algorithm: ``"randomized"`` (:func:`metalsvd.randomized_svd`), ``"lanczos"`` (:func:`metalsvd.lanczos_svd`) or
            ``"exact"`` (:func:`metalsvd.svd`, of which the rest is dropped; a sparse X is made dense).
        n_iter: steps of "randomized", restarts of "lanczos"; "auto" is the default of that function.
        n_oversamples: columns beyond n_components that "randomized" works with; "auto" is its default.
        tol: residual that "lanczos" stops at, relative to the largest singular value; 0 is its default.
        random_state: a seed, a ``numpy.random.RandomState``, or None for NumPy's global one.
        device: where to decompose; None is that of a tensor, and for all else the first there is of mps, cuda and cpu.

    Attributes:
        components_: V^H, shape ``(n_components, n_features)``.
        explained_variance_: variances of the columns of the transformed X, shape ``(n_components,)``.
        explained_variance_ratio_: the same as parts of the sum of the variances of all features.
        singular_values_: shape ``(n_components,)``.
        n_features_in_, feature_names_in_: of X.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        algorithm: str = "randomized",
        n_iter: int | str = "auto",
        n_oversamples: int | str = "auto",
        tol: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.n_components = n_components
        self.algorithm = algorithm
        self.n_iter = n_iter
        self.n_oversamples = n_oversamples
        self.tol = tol
        self.random_state = random_state
        self.device = device

    def fit(self, X, y=None) -> TruncatedSVD:
        """Decomposes X (n_samples, n_features): an array, a data frame, a sparse matrix or a tensor. ``y`` is ignored.

        Raises:
            ValueError, TypeError: X or a parameter is not what is expected; names it.
        """
        self._check_parameters()
        data = self._validated(X, reset=True)
        self._check_count(data)
        U, S, V = self._factors(data, None, self.n_components, self.algorithm, self._device_for(X))
        variances = (U * S).var(0, correction=0)
        total = _moments(data)[1].sum().to(variances.dtype).to(variances.device)
        dtype = _dtype(data)
        self.components_ = _attribute(X, V.mT.contiguous(), dtype)
        self.singular_values_ = _attribute(X, S, dtype)
        self.explained_variance_ = _attribute(X, variances, dtype)
        self.explained_variance_ratio_ = _attribute(X, _ratio(variances, total), dtype)
        return self

    def transform(self, X):
        """``X V``: X (n_samples, n_features) -> (n_samples, n_components), dense, of the dtype of X."""
        check_is_fitted(self)
        data = self._validated(X, reset=False)
        return _given_back(X, _product(data, _beside(data, self.components_).mT))

    def inverse_transform(self, X):
        """(n_samples, n_components) -> the matrix (n_samples, n_features) in the span of the components, dense."""
        check_is_fitted(self)
        data = _checked_scores(X)
        return _given_back(X, data @ _beside(data, self.components_))


class PCA(_Decomposition):
    """Principal component analysis: the singular vectors of X with the mean of each feature taken off.

    Args:
        n_components: how many; None for all ``min(n_samples, n_features)``; a float between 0 and 1 for as many as
            explain more than this part of the variance.
        whiten: transform to unit variances.
        algorithm: ``"exact"`` (:func:`metalsvd.svd`; a sparse X is made dense), ``"randomized"``
            (:func:`metalsvd.randomized_svd`), ``"lanczos"`` (:func:`metalsvd.lanczos_svd`), or ``"auto"``: exact where
            n_components is no number of components, or most of them, or where the smaller side of a dense X is at
            most 500; else randomized.
        n_iter, n_oversamples, tol, random_state, device: as for :class:`TruncatedSVD`.

    Attributes:
        components_: the axes, shape ``(n_components_, n_features)``.
        explained_variance_, explained_variance_ratio_, singular_values_: shape ``(n_components_,)``.
        mean_: shape ``(n_features,)``.
        noise_variance_: the mean variance along the axes that are left out (Tipping and Bishop 1999).
        n_components_, n_samples_: numbers.
        n_features_in_, feature_names_in_: of X.
    """

    _least_samples = 2
    _algorithms = ("auto", "exact", "randomized", "lanczos")

    def __init__(
        self,
        n_components: int | float | None = None,
        *,
        whiten: bool = False,
        algorithm: str = "auto",
        n_iter: int | str = "auto",
        n_oversamples: int | str = "auto",
        tol: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.algorithm = algorithm
        self.n_iter = n_iter
        self.n_oversamples = n_oversamples
        self.tol = tol
        self.random_state = random_state
        self.device = device

    def fit(self, X, y=None) -> PCA:
        """Decomposes X (n_samples, n_features): an array, a data frame, a sparse matrix or a tensor. ``y`` is ignored.

        Raises:
            ValueError, TypeError: X or a parameter is not what is expected; names it.
        """
        self._check_parameters()
        data = self._validated(X, reset=True)
        wanted, algorithm = self._wanted(data)
        n_samples, _ = data.shape
        mean, feature_variances = _moments(data)
        _, S, V = self._factors(data, mean, wanted, algorithm, self._device_for(X))

        variances = S.cpu().double().square() / (n_samples - 1)
        total = (
            variances.sum() if wanted is None else feature_variances.sum().cpu().double() * n_samples / (n_samples - 1)
        )
        ratios = _ratio(variances, total)
        k = self._kept(ratios)
        left_out = min(data.shape) - k
        noise = (total - variances[:k].sum()).clamp(min=0) / left_out if left_out else torch.zeros(())

        dtype = _dtype(data)
        self.components_ = _attribute(X, V[:, :k].mT.contiguous(), dtype)
        self.singular_values_ = _attribute(X, S[:k], dtype)
        self.explained_variance_ = _attribute(X, variances[:k], dtype)
        self.explained_variance_ratio_ = _attribute(X, ratios[:k], dtype)
        self.mean_ = _attribute(X, mean, dtype)
        self.noise_variance_ = noise.item()
        self.n_components_ = k
        self.n_samples_ = n_samples
        return self

    def _wanted(self, data: _Data) -> tuple[int | None, str]:
        """How many triplets to compute, None for all, and the algorithm."""
        all_of_them = min(data.shape)
        if self.n_components is None:
            return None, "exact" if self.algorithm == "auto" else self.algorithm
        if isinstance(self.n_components, Real) and not isinstance(self.n_components, Integral):
            check_scalar(self.n_components, "n_components", Real, min_val=0, max_val=1, include_boundaries="neither")
            if self.algorithm not in ("auto", "exact"):
                raise ValueError(
                    f"n_components={self.n_components}, a part of the variance, needs algorithm='exact' or 'auto', "
                    f"but got {self.algorithm!r}"
                )
            return None, "exact"
        self._check_count(data)
        if self.algorithm != "auto":
            return self.n_components, self.algorithm
        is_small = isinstance(data, Tensor) and all_of_them <= _EXACT_SIDE
        is_most = self.n_components >= _EXACT_PART * all_of_them
        return self.n_components, "exact" if is_small or is_most else "randomized"

    def _kept(self, ratios: Tensor) -> int:
        if self.n_components is None or isinstance(self.n_components, Integral):
            return len(ratios)
        explained = ratios.cumsum(0)
        return min(len(ratios), int(torch.searchsorted(explained, float(self.n_components), right=True)) + 1)

    def transform(self, X):
        """The coordinates of X (n_samples, n_features) along the components, dense, of the dtype of X."""
        check_is_fitted(self)
        data = self._validated(X, reset=False)
        V, mean = _beside(data, self.components_).mT, _beside(data, self.mean_)
        # The mean goes first, but not from a sparse matrix, which it would make dense.
        scores = (data - mean) @ V if isinstance(data, Tensor) else _product(data, V) - mean @ V
        if self.whiten:
            scores = scores / self._deviations(data)
        return _given_back(X, scores)

    def inverse_transform(self, X):
        """(n_samples, n_components) -> the matrix (n_samples, n_features) that is transformed to this, dense."""
        check_is_fitted(self)
        data = _checked_scores(X)
        scores = data * self._deviations(data) if self.whiten else data
        return _given_back(X, scores @ _beside(data, self.components_) + _beside(data, self.mean_))

    def _deviations(self, data: _Data) -> Tensor:
        """Standard deviations along the components, none smaller than eps, to divide by."""
        deviations = _beside(data, self.explained_variance_).sqrt()
        return deviations.clamp(min=torch.finfo(deviations.dtype).eps)

    def get_covariance(self):
        """The covariance of the probabilistic model, (n_features, n_features), in the kind of ``components_``."""
        return self._spectral(lambda variance: variance)

    def get_precision(self):
        """The inverse of :meth:`get_covariance`.

        Raises:
            ValueError: it has none: some direction of the model has no variance.
        """
        self._check_density()
        return self._spectral(lambda variance: 1 / variance)

    def _spectral(self, function: Callable[[Tensor | float], Tensor | float]):
        """A function of the model's covariance, whose eigenvalues are explained_variance_ and else noise_variance_."""
        check_is_fitted(self)
        V = torch.as_tensor(self.components_).mT
        inside = function(torch.as_tensor(self.explained_variance_))
        outside = function(self.noise_variance_) if self._has_noise() else 0.0
        result = (V * (inside - outside)) @ V.mT + outside * torch.eye(len(V), dtype=V.dtype, device=V.device)
        return _given_back(self.components_, result)

    def _has_noise(self) -> bool:
        """Whether the components leave out a direction."""
        return self.n_components_ < self.n_features_in_

    def _check_density(self) -> None:
        check_is_fitted(self)
        if (self._has_noise() and self.noise_variance_ == 0) or not (self.explained_variance_ > 0).all():
            raise ValueError(
                "the model has no variance in some direction, and so no density: keep fewer components, so that "
                "noise_variance_ > 0, or give more samples than features"
            )

    def score_samples(self, X):
        """The log-likelihood of each sample under the probabilistic model (Tipping and Bishop 1999), (n_samples,).

        Raises:
            ValueError: the model has no density: see :meth:`get_precision`.
        """
        self._check_density()
        data = self._validated(X, reset=False, accept_sparse=False)
        V, variances = _beside(data, self.components_).mT, _beside(data, self.explained_variance_)
        centred = data - _beside(data, self.mean_)
        scores = centred @ V
        squares = (scores.square() / variances).sum(1)
        logarithms = variances.log().sum()
        if self._has_noise():
            squares += (centred - scores @ V.mT).square().sum(1) / self.noise_variance_
            logarithms = logarithms + (len(V) - self.n_components_) * math.log(self.noise_variance_)
        return _given_back(X, -0.5 * (squares + logarithms + len(V) * math.log(2 * math.pi)))

    def score(self, X, y=None) -> float:
        """The mean of :meth:`score_samples`, which grid searches maximise. ``y`` is ignored."""
        return float(self.score_samples(X).mean())
