"""``python -m metalsvd bench``: how fast, how accurate and how frugal metalsvd is beside its peers.

The speed of a decomposition means nothing without its accuracy: each row of the table holds both, and a result that is
wrong, or about which nothing is known, is compared with nothing. Inputs are standard normal numbers, made outside of
what is timed and the same for all; inputs that a cache could hold take turns. On the emulated GPU nothing is timed:
there are its counters, and what a cost model makes of them.

``results.json`` (schema 1; also what ``--json`` prints) is one object. What is unknown is null; NaN and infinity are
the strings ``"nan"``, ``"inf"``, ``"-inf"``.

``environment``
    ``device``, ``driver``, ``runtime``, ``python``, ``system`` in words; ``target`` (cuda, mps, cpu), ``emulated``;
    ``versions`` of torch, metalsvd and the peers by package; ``date`` (ISO 8601, UTC), ``command`` (the command line)
    and ``seeds``: the first and the last that inputs were made with (set i of a shape by seed + i).
``settings``
    ``job``, ``repeat``, ``seconds`` (budget a cell) and ``seed``.
``notes``
    lines about what was left out; ``interrupted``: whether the run was stopped, and more cells would have come.
``records``
    one for each contender and shape:

    ``shape`` as given, ``batch``, ``m``, ``n``, ``dtype``, ``job``
        what was decomposed
    ``contender``, ``package``, ``driver`` (null where it has none), ``version``, ``ours``
        by whom; ``method``: what metalsvd's planner chose, in words
    ``seconds``
        of one call: every sample, each the mean of ``calls_per_sample`` calls in a row; ``median_seconds`` and
        ``quartiles_seconds`` of them. Empty and null on the emulated GPU.
    ``ratio_to_best_peer``
        median of the fastest peer that is not wrong over ``median_seconds``; null where either is unknown or wrong
    ``errors``
        ``residual``         ``|A - U S Vh|_F / |A|_F``, null for the job values
        ``u_orthogonality``  ``|U^H U - I|_max``, null for the job values
        ``v_orthogonality``  ``|Vh Vh^H - I|_max``, null for the job values
        ``norm_error``       ``abs(|S|_2 - |A|_F) / |A|_F``
        ``sigma_error``      ``max |sigma - sigma64| / sigma64_1``, sigma64 by LAPACK in float64 on the CPU; null where
        m n min(m, n) of a matrix is beyond 2048^3

        each the worst of the batch, ``sigma_error`` of ``sigma_sample`` matrices evenly spread over it;
        ``computed_in``: the precision and device that the others were computed in (on mps beyond 2048^3 float32,
        otherwise float64)
    ``wrong``
        whether an error is above 0.05 or NaN
    ``peak_bytes``, ``output_bytes``
        device memory held during a call beyond A, outputs included, where somebody counts it; the outputs' share
    ``counters``, ``model_seconds``
        on the emulated GPU: the fields of ``metalsvd.emulator.Counters``, and the cost model's estimate for an M3 Max
    ``failure``
        why there is nothing, in a line
"""

from .command import DESCRIPTION, add_arguments, run

__all__ = ["DESCRIPTION", "add_arguments", "run"]
